// SPDX-License-Identifier: MIT
/// The layers of a model in their formats, one after the other: each calibrates on what the encoded
/// layers before it give.
#pragma once

#include "../core/progress.hpp"
#include "../model/layer_walk.hpp"
#include "../quantizer/awq.hpp"
#include "../quantizer/gptq.hpp"
#include "encoded_tensors.hpp"
#include "format_plan.hpp"

namespace edgequant::inline EDGEQUANT_ABI {

/// The text that calibrates, in tokens.
struct calibration_text {
  std::vector<std::int32_t> tokens;
  std::int32_t bos = 0;
  std::size_t context = 0; ///< tokens of a chunk, BOS included; 0: the model's, at most 512
};

/// The tokens of a chunk that `text` stands for.
[[nodiscard]] inline std::size_t chunk_context(const model_weights& weights,
                                               const calibration_text& text) {
  return text.context != 0 ? text.context : std::min<std::size_t>(512, weights.shape().context);
}

/// How the matrices of a layer are rounded.
struct layer_method {
  bool awq = false;  ///< columns are scaled first; norms, v and up take the scales over
  bool gptq = false; ///< columns make up for each other's errors; else the mse rule alone
  gptq_options options = {};
};

/// `rtn`, `gptq`, `awq` or `awq+gptq`; bad_argument for anything else.
[[nodiscard]] layer_method parse_method(std::string_view name);

/// Encodes the matrices of all layers, each in its format, and puts them into `encoded` under their
/// names, with AWQ also the vectors that change. Tensors that have no format are left out; those
/// that are there already are taken as they are. The weights end as the encoded ones, which must
/// live as long as them. Memory: the encoded tensors, a layer in float, and its Gram matrices.
void encode_layers(model_weights& weights, const calibration_text& text,
                   const named_formats& formats, const layer_method& method,
                   encoded_tensors& encoded, const progress_callback& listener = {});

namespace detail {

/// Matrices of a layer that read the same inputs: the first of them is observed.
inline std::vector<std::vector<const named_weight*>> shared_inputs(const layer_weights& w) {
  return {{&w.q, &w.k, &w.v}, {&w.attention_output}, {&w.gate, &w.up}, {&w.down}};
}

/// One layer on its way into its formats.
class layer_encoder {
public:
  layer_encoder(model_weights& weights, std::size_t layer, const named_formats& formats,
                const layer_method& method, encoded_tensors& encoded)
      : weights_(weights), layer_(layer), formats_(formats), method_(method), encoded_(encoded),
        prefix_("blk." + std::to_string(layer) + ".") {}

  /// Whether something of it is still to be encoded.
  [[nodiscard]] bool is_open() const;
  /// Encodes what is open, with statistics of the first matrix of each group.
  void encode(const calibration& seen, const std::function<void(const std::string&)>& on_tensor);
  /// Gives the model's weights the encoded values.
  void install();

private:
  struct part { // matrices with the same inputs
    std::vector<const named_weight*> readers;
    Eigen::MatrixXd gram;
  };

  [[nodiscard]] const layer_weights& layer() const { return weights_.layers()[layer_]; }
  [[nodiscard]] std::optional<format> format_of(const std::string& name) const;
  [[nodiscard]] std::vector<std::string> vectors() const;
  void scale(part& p, std::size_t index);
  void put(const std::string& name, std::vector<std::byte> bytes);

  model_weights& weights_;
  std::size_t layer_;
  const named_formats& formats_;
  const layer_method& method_;
  encoded_tensors& encoded_;
  std::string prefix_;
  std::map<std::string, matrix_f> matrices_;
  std::map<std::string, std::vector<float>> changed_; // vectors
};

} // namespace detail

inline layer_method parse_method(std::string_view name) {
  if (name == "rtn") return {};
  if (name == "gptq") return {.awq = false, .gptq = true};
  if (name == "awq") return {.awq = true, .gptq = false};
  if (name == "awq+gptq") return {.awq = true, .gptq = true};
  fail(error_code::bad_argument, "method '" + escaped(name) + "'",
       "expected rtn, gptq, awq or awq+gptq");
}

namespace detail {

inline std::optional<format> layer_encoder::format_of(const std::string& name) const {
  const auto found = formats_.find(name);
  return found == formats_.end() ? std::nullopt : std::optional(found->second);
}

/// The vectors that AWQ changes.
inline std::vector<std::string> layer_encoder::vectors() const {
  if (!method_.awq) return {};
  std::vector<std::string> names{prefix_ + "attn_norm.weight", prefix_ + "ffn_norm.weight"};
  if (!layer().v_bias.empty()) names.push_back(prefix_ + "attn_v.bias");
  return names;
}

inline bool layer_encoder::is_open() const {
  const auto open = [&](const std::string& name) {
    return format_of(name) && encoded_.find(name) == nullptr;
  };
  for (const auto& group : shared_inputs(layer()))
    for (const auto* w : group)
      if (open(w->name)) return true;
  const auto names = vectors();
  return std::any_of(names.begin(), names.end(), open);
}

inline void layer_encoder::put(const std::string& name, std::vector<std::byte> bytes) {
  encoded_.put(name, {*format_of(name), std::move(bytes)});
}

/// Scales the columns of a part's matrices, and the other way round what feeds them.
inline void layer_encoder::scale(part& p, std::size_t index) {
  const auto& shape = weights_.shape();
  const shared_columns shared =
      index == 1 ? shared_columns{shape.head_size, shape.heads / shape.kv_heads} : shared_columns{};
  std::vector<rounded_weight> readers;
  for (const auto* w : p.readers)
    readers.push_back({w->name, &matrices_.at(w->name), format_of(w->name).value_or(format::f32)});
  const auto factors = awq_factors(
      readers, p.gram, shared, method_.gptq ? &method_.options : nullptr, method_.options.threads);
  const Eigen::Map<const Eigen::VectorXf> f(factors.data(),
                                            static_cast<Eigen::Index>(factors.size()));
  for (const auto* w : p.readers) {
    matrix_f& m = matrices_.at(w->name);
    m = m * f.asDiagonal();
  }
  p.gram = divided_gram(p.gram, f);
  const auto divide = [&](const std::string& name, std::vector<float> values) {
    for (std::size_t i = 0; i < values.size(); ++i) values[i] /= factors[shared.of_row(i)];
    changed_[name] = std::move(values);
  };
  const auto divide_rows = [&](matrix_f& m) {
    for (Eigen::Index r = 0; r < m.rows(); ++r)
      m.row(r) /= factors[shared.of_row(static_cast<std::size_t>(r))];
  };
  switch (index) {
  case 0:
    return divide(prefix_ + "attn_norm.weight", layer().attention_norm);
  case 1:
    if (!layer().v_bias.empty()) divide(prefix_ + "attn_v.bias", layer().v_bias);
    return divide_rows(matrices_.at(layer().v.name));
  case 2:
    return divide(prefix_ + "ffn_norm.weight", layer().feed_forward_norm);
  default:
    return divide_rows(matrices_.at(layer().up.name));
  }
}

inline void layer_encoder::encode(const calibration& seen,
                                  const std::function<void(const std::string&)>& on_tensor) {
  std::vector<part> parts;
  for (const auto& group : shared_inputs(layer())) {
    parts.push_back({group, seen.all().find(group[0]->name)->second.gram});
    for (const auto* w : group)
      matrices_[w->name] = decode_matrix(w->view.type, w->view.data, w->view.rows, w->view.columns,
                                         method_.options.threads);
  }
  // What feeds a part is changed before it is encoded itself.
  for (std::size_t i = 0; method_.awq && i < parts.size(); ++i) scale(parts[i], i);
  for (const auto& p : parts) {
    std::optional<gptq_columns> columns;
    for (const auto* w : p.readers) {
      if (!format_of(w->name) || encoded_.find(w->name) != nullptr) continue;
      if (on_tensor) on_tensor(w->name);
      const format type = *format_of(w->name);
      const matrix_f& m = matrices_.at(w->name);
      if (!method_.gptq || !is_block_format(type)) {
        put(w->name, encode_matrix(type, scale_rule::mse, m, w->name, method_.options.threads));
        continue;
      }
      if (!columns) columns.emplace(p.gram, method_.options.damping);
      put(w->name, gptq_matrix(type, m, *columns, method_.options, w->name));
    }
  }
  for (const auto& name : vectors()) {
    if (!format_of(name) || encoded_.find(name) != nullptr) continue;
    const auto& values = changed_.at(name);
    std::vector<std::byte> bytes(row_bytes(*format_of(name), values.size()));
    row_encoder(*format_of(name), scale_rule::absmax, name)(values, {}, 0, bytes.data());
    put(name, std::move(bytes));
  }
}

inline void layer_encoder::install() {
  for (const auto& group : shared_inputs(layer()))
    for (const auto* w : group)
      if (const auto* t = encoded_.find(w->name))
        weights_.replace(w->name, {t->type, w->view.rows, w->view.columns, t->bytes.data()});
  for (const auto& name : vectors())
    if (const auto* t = encoded_.find(name)) {
      std::vector<float> values(t->bytes.size() / row_bytes(t->type, 1));
      decode_row(t->type, t->bytes.data(), values);
      weights_.replace_vector(layer_, name, std::move(values));
    }
}

} // namespace detail

inline void encode_layers(model_weights& weights, const calibration_text& text,
                          const named_formats& formats, const layer_method& method,
                          encoded_tensors& encoded, const progress_callback& listener) {
  layer_walk walk(weights, text.tokens, text.bos, chunk_context(weights, text),
                  method.options.threads);
  const std::size_t layers = weights.layers().size();
  const auto report = [&](const char* stage, const std::string& item, std::size_t done) {
    if (listener) listener({stage, item, done, 2 * layers, "steps"});
  };
  for (std::size_t i = 0; i < layers; ++i) {
    detail::layer_encoder layer(weights, i, formats, method, encoded);
    if (layer.is_open()) {
      const auto groups = detail::shared_inputs(weights.layers()[i]);
      report("calibrate", groups[0][0]->name, 2 * i);
      const calibration seen = walk.observe([&](std::string_view name) {
        return std::any_of(groups.begin(), groups.end(),
                           [&](const auto& group) { return group[0]->name == name; });
      });
      layer.encode(seen, [&](const std::string& name) { report("encode", name, 2 * i + 1); });
    }
    layer.install();
    walk.advance();
  }
  report("encode", "", 2 * layers);
}

} // namespace edgequant::inline EDGEQUANT_ABI
