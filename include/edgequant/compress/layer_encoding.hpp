// SPDX-License-Identifier: MIT
/// The layers of a model in their formats, one after the other: each calibrates on what the encoded
/// ones before it give, and makes up for what they have changed.
#pragma once

#include "../core/progress.hpp"
#include "../model/sublayer_matrices.hpp"
#include "../plan/format_plan.hpp"
#include "../quantizer/awq.hpp"
#include "ends_encoding.hpp"
#include "expert_encoding.hpp"
#include "residual_compensation.hpp"

namespace edgequant::inline EDGEQUANT_ABI {

/// `rtn`, `gptq`, `awq` or `awq+gptq`; bad_argument for anything else.
[[nodiscard]] layer_method parse_method(std::string_view name);

/// Encodes the matrices of all layers, each in its format, and puts them into `encoded` under their
/// names, with AWQ also the vectors that change. Tensors that have no format are left out, and
/// those whose format the model's file has already, but with AWQ, where all are encoded anew; those
/// that are there already are taken as they are. The weights end as the encoded ones, which must
/// live as long as them. Memory: the encoded tensors, a sublayer in float, what compensation and
/// gptq_columns say of its columns, and twice the hidden floats of every token.
template <class = void>
void encode_layers(model_weights& weights, const calibration_text& text,
                   const named_formats& formats, const layer_method& method,
                   encoded_tensors& encoded, const progress_callback& listener = {});

namespace compression::detail {

/// One sublayer on its way into its formats.
class sublayer_encoder {
public:
  sublayer_encoder(model_weights& weights, const layer_walk& at, const named_formats& formats,
                   const layer_method& method, const loss_weights& by_loss,
                   encoded_tensors& encoded)
      : weights_(weights), layer_(at.layer()), part_(at.part()), formats_(formats), method_(method),
        by_loss_(by_loss), encoded_(encoded), matrices_(weights, layer_, part_) {
    awq_ = method.awq && !matrices_.readers.empty() && has_formats();
  }

  /// Whether something of it is still to be encoded.
  [[nodiscard]] bool is_open() const;
  /// Encodes what is open. Both walks stand before it.
  template <class = void>
  void encode(layer_walk& walk, layer_walk& original,
              const std::function<void(const std::string&)>& on_tensor);
  /// Gives the model's weights the encoded values.
  void install();

private:
  [[nodiscard]] std::optional<format> format_of(const std::string& name) const;
  /// Whether everything that AWQ changes is to be encoded.
  [[nodiscard]] bool has_formats() const;
  [[nodiscard]] bool is_open(const std::string& name) const {
    return format_of(name) && encoded_.find(name) == nullptr;
  }
  [[nodiscard]] std::vector<const biased_weight*> all() const;
  [[nodiscard]] std::vector<std::string> vectors() const;
  template <class = void> void scale(sublayer_end end, const Eigen::MatrixXd& gram);
  void divide_feeders(sublayer_end end, const shared_columns& shared,
                      std::span<const float> factors);
  template <class = void>
  void encode_end(sublayer_end end, layer_walk& walk, layer_walk& original,
                  const std::function<void(const std::string&)>& on_tensor);
  void encode_vectors();

  model_weights& weights_;
  std::size_t layer_;
  sublayer part_;
  const named_formats& formats_;
  const layer_method& method_;
  const loss_weights& by_loss_;
  encoded_tensors& encoded_;
  sublayer_matrices matrices_;
  bool awq_ = false;
  std::map<std::string, matrix_f> values_;  ///< as they are to be encoded
  std::map<std::string, matrix_f> targets_; ///< what the original has, outputs in the same units
  std::map<std::string, std::vector<float>> changed_; ///< vectors
};

} // namespace compression::detail

inline layer_method parse_method(std::string_view name) {
  if (name == "rtn") return {};
  if (name == "gptq") return {.awq = false, .gptq = true};
  if (name == "awq") return {.awq = true, .gptq = false};
  if (name == "awq+gptq") return {.awq = true, .gptq = true};
  fail(error_code::bad_argument, "method '" + escaped(name) + "'",
       "expected rtn, gptq, awq or awq+gptq");
}

namespace compression::detail {

inline std::optional<format> sublayer_encoder::format_of(const std::string& name) const {
  const auto found = formats_.find(name);
  return found == formats_.end() ? std::nullopt : std::optional(found->second);
}

inline std::vector<const biased_weight*> sublayer_encoder::all() const {
  auto list = matrices_.readers;
  if (matrices_.writer != nullptr) list.push_back(matrices_.writer);
  return list;
}

inline bool sublayer_encoder::has_formats() const {
  const auto matrices = all();
  const auto names = vectors();
  return std::all_of(names.begin(), names.end(),
                     [&](const auto& name) { return format_of(name); }) &&
         std::all_of(matrices.begin(), matrices.end(),
                     [&](const auto* w) { return format_of(w->name); });
}

/// The vectors that AWQ changes.
inline std::vector<std::string> sublayer_encoder::vectors() const {
  std::vector<std::string> names;
  if (!method_.awq || matrices_.readers.empty()) return names;
  if (!matrices_.norm->empty()) names.push_back(matrices_.norm_name);
  const auto& feeder = *matrices_.readers.back();
  if (!feeder.bias.empty()) names.push_back(feeder.bias_name());
  return names;
}

inline bool sublayer_encoder::is_open() const {
  for (const auto* w : all())
    if (is_open(w->name)) return true;
  if (!awq_) return false;
  const auto names = vectors();
  return std::any_of(names.begin(), names.end(), [&](const auto& name) { return is_open(name); });
}

/// Scales the columns of the matrices at one end, and the other way round what feeds them.
template <class> void sublayer_encoder::scale(sublayer_end end, const Eigen::MatrixXd& gram) {
  const auto& shape = weights_.shape().layers[layer_];
  const bool by_heads = part_ == sublayer::attention && end == sublayer_end::out;
  const shared_columns shared =
      by_heads ? shared_columns{weights_.shape().head_size, shape.heads / shape.kv_heads}
               : shared_columns{};
  const auto group = matrices_.at(end);
  std::vector<rounded_weight> rounded;
  for (const auto* w : group)
    rounded.push_back({w->name, &values_.at(w->name), format_of(w->name).value_or(format::f32)});
  const auto factors = awq_factors(rounded, gram, shared, method_.gptq ? &method_.options : nullptr,
                                   method_.options.threads);
  const Eigen::Map<const Eigen::VectorXf> f(factors.data(),
                                            static_cast<Eigen::Index>(factors.size()));
  for (const auto* w : group) values_.at(w->name) *= f.asDiagonal();
  divide_feeders(end, shared, factors);
}

inline void sublayer_encoder::divide_feeders(sublayer_end end, const shared_columns& shared,
                                             std::span<const float> factors) {
  const auto divide = [&](const std::string& name, std::vector<float> values, std::size_t first) {
    for (std::size_t i = first; i < values.size(); ++i)
      values[i] /= factors[shared.of_row(i - first)];
    weights_.replace_vector(name, values);
    changed_[name] = std::move(values);
  };
  if (end == sublayer_end::in) return divide(matrices_.norm_name, *matrices_.norm, 0);
  const biased_weight& feeder = *matrices_.readers.back();
  const std::size_t first = matrices_.first_feeding_row();
  if (!feeder.bias.empty()) divide(feeder.bias_name(), feeder.bias, first);
  for (auto* of : {&values_, &targets_}) {
    matrix_f& m = of->at(feeder.name);
    for (std::size_t r = first; r < feeder.view.rows; ++r)
      m.row(static_cast<Eigen::Index>(r)) /= factors[shared.of_row(r - first)];
  }
}

template <class>
void sublayer_encoder::encode(layer_walk& walk, layer_walk& original,
                              const std::function<void(const std::string&)>& on_tensor) {
  for (const auto* w : all()) {
    values_[w->name] = decode_matrix(w->view.type, w->view.data, w->view.rows, w->view.columns,
                                     method_.options.threads);
    targets_[w->name] = values_[w->name];
  }
  if (awq_) { // what feeds the writer is changed before it is encoded itself
    const auto in = walk.statistics(sublayer_end::in).gram;
    const auto out = walk.statistics(sublayer_end::out).gram;
    if (!matrices_.norm->empty()) scale(sublayer_end::in, in); // else nothing can take the scales
    scale(sublayer_end::out, out);
    encode_vectors();
  }
  std::map<std::string, weight_view> before;
  for (const auto* w : all()) before[w->name] = w->view;
  for (const auto* w : all())
    weights_.replace(w->name, {format::f32, w->view.rows, w->view.columns,
                               reinterpret_cast<const std::byte*>(values_.at(w->name).data())});
  for (const auto end : {sublayer_end::in, sublayer_end::out}) {
    encode_end(end, walk, original, on_tensor);
    install();
  }
  for (const auto& [name, view] : before)
    if (encoded_.find(name) == nullptr) weights_.replace(name, view);
}

template <class>
void sublayer_encoder::encode_end(sublayer_end end, layer_walk& walk, layer_walk& original,
                                  const std::function<void(const std::string&)>& on_tensor) {
  const auto group = matrices_.at(end);
  if (std::none_of(group.begin(), group.end(), [&](auto* w) { return is_open(w->name); })) return;
  const unsigned threads = method_.options.threads;
  // Matrices with the same inputs and weights share the sums.
  std::vector<std::span<const float>> token_weights;
  for (const auto* w : group) token_weights.push_back(by_loss_.of(w->name));
  if (token_weights[0].empty()) token_weights.resize(1);
  std::vector<compensation> sums;
  if (method_.compensate || !token_weights[0].empty())
    sums = measure_compensation(walk, original, end, token_weights, threads);
  std::optional<gptq_columns> columns;
  Eigen::MatrixXd gram;
  for (std::size_t i = 0; i < group.size(); ++i) {
    const auto* w = group[i];
    if (i < token_weights.size()) {
      columns.reset();
      gram = sums.empty() ? walk.statistics(end).gram : gram_of(sums[i]);
    }
    if (!is_open(w->name)) continue;
    if (on_tensor) on_tensor(w->name);
    const format type = *format_of(w->name);
    matrix_f& m = values_.at(w->name);
    if (method_.compensate)
      m = compensated(m, targets_.at(w->name), sums[std::min(i, sums.size() - 1)],
                      method_.options.damping, threads);
    const bool by_gptq = method_.gptq && is_block_format(type);
    if (by_gptq && !columns) columns.emplace(gram, method_.options.damping);
    encoded_.put(w->name,
                 encode_weighed(type, m, gram, by_gptq ? &*columns : nullptr, method_, w->name));
  }
}

inline void sublayer_encoder::encode_vectors() {
  for (const auto& name : vectors()) {
    if (!is_open(name)) continue;
    const auto& values = changed_.at(name);
    std::vector<std::byte> bytes(row_bytes(*format_of(name), values.size()));
    row_encoder(*format_of(name), scale_rule::absmax, name)(values, {}, 0, bytes.data());
    encoded_.put(name, {*format_of(name), std::move(bytes), {}});
  }
}

inline void sublayer_encoder::install() {
  for (const auto* w : all())
    if (const auto* t = encoded_.find(w->name))
      weights_.replace(w->name, {t->type, w->view.rows, w->view.columns, t->bytes.data()});
  for (const auto& name : awq_ ? vectors() : std::vector<std::string>{})
    if (const auto* t = encoded_.find(name)) {
      std::vector<float> values(t->bytes.size() / row_bytes(t->type, 1));
      decode_row(t->type, t->bytes.data(), values);
      weights_.replace_vector(name, std::move(values));
    }
}

/// Without those that matrices have already, whose codes stay: a second rounding could only lose.
/// Where AWQ scales columns, values change and are encoded anew.
inline named_formats changed_formats(const model_weights& weights, named_formats formats,
                                     const layer_method& method) {
  if (method.awq) return formats;
  std::erase_if(formats, [&](const auto& item) {
    return is_block_format(item.second) && weights.has_matrix(item.first) &&
           weights.find_matrix(item.first).type == item.second;
  });
  return formats;
}

} // namespace compression::detail

template <class>
void encode_layers(model_weights& weights, const calibration_text& text,
                   const named_formats& all_formats, const layer_method& method,
                   encoded_tensors& encoded, const progress_callback& listener) {
  const named_formats formats = compression::detail::changed_formats(weights, all_formats, method);
  const std::size_t context = chunk_context(weights, text);
  const unsigned threads = method.options.threads;
  const model_weights exact(weights.file());
  loss_weights by_loss;
  const bool is_open = std::any_of(formats.begin(), formats.end(), [&](const auto& item) {
    return is_block_format(item.second) && weights.has_matrix(item.first) &&
           encoded.find(item.first) == nullptr;
  });
  if (method.gptq && method.guided && is_open)
    by_loss = measure_loss_weights(weights, text, threads, listener);
  const std::size_t steps = 2 * weights.layers().size() + 2;
  const auto tell = [&](const std::string& name, std::size_t done) {
    if (listener) listener({"encode", name, done, steps, "sublayers"});
  };
  compression::detail::ends_encoder ends(weights, formats, method, by_loss, encoded);
  tell(weights.embedding().name, 0);
  ends.encode_embedding();
  layer_walk walk(weights, text.tokens, text.bos, context, threads);
  layer_walk original(exact, text.tokens, text.bos, context, threads);
  for (std::size_t done = 1; !walk.is_behind(); ++done) {
    compression::detail::sublayer_encoder part(weights, walk, formats, method, by_loss, encoded);
    if (part.is_open())
      part.encode(walk, original, [&](const std::string& name) { tell(name, done); });
    part.install();
    if (walk.part() == sublayer::feed_forward) {
      compression::detail::expert_encoder experts(weights, walk.layer(), formats, method, by_loss,
                                                  encoded);
      if (experts.is_open()) {
        tell(weights.layers()[walk.layer()].down.name, done);
        experts.encode(walk);
      }
      experts.install();
    }
    walk.advance();
    original.advance();
  }
  tell(weights.output().name, steps - 1);
  ends.encode_output(walk, original);
  tell("", steps);
}

} // namespace edgequant::inline EDGEQUANT_ABI
