// SPDX-License-Identifier: MIT
/// A model's tensors by their role, as they lie in the file or packed for products; never expanded.
#pragma once

#include "../core/progress.hpp"
#include "../gemm/product.hpp"
#include "../io/split_gguf.hpp"
#include "../quantizer/row_codec.hpp"
#include "../system/stream_memory.hpp"
#include "architecture_keys.hpp"
#include "layer_weights.hpp"

#include <algorithm>
#include <string>
#include <unordered_map>
#include <vector>

namespace edgequant::inline EDGEQUANT_ABI {

/// The tensors of a model. Vectors are copied; matrices are views of the file, which the
/// object keeps mapped.
class model_weights {
public:
  /// bad_file, naming the tensor, if one is missing, has another shape than the metadata says, a
  /// format that the engine cannot multiply, or no place in the network that it runs; naming the
  /// key, for what read_model_shape() and refuse_unknown_keys() refuse; for one part of a split
  /// model (see read_model_gguf()).
  explicit model_weights(gguf_file file);

  /// Copies the quantized matrices into panels, from which products are faster, and lets their
  /// pages of the file go: it takes packed_bytes() of memory in all. What cannot be allocated stays
  /// in the file.
  void pack(unsigned threads = 0, const progress_callback& on_progress = {});
  [[nodiscard]] std::size_t packed_bytes() const noexcept;

  /// A matrix by its name: where its values are now. bad_argument if there is none.
  [[nodiscard]] weight_view find_matrix(std::string_view name) const;
  [[nodiscard]] bool has_matrix(std::string_view name) const noexcept {
    bool found = embedding_.name == name;
    for_each_matrix(*this, [&](const named_weight& w) { found = found || w.name == name; });
    return found;
  }
  /// Takes other values for a matrix, row by row in any format that can be multiplied; they must
  /// live as long as they are used. bad_argument if there is no such matrix of this shape.
  void replace(std::string_view name, const weight_view& view);
  /// The same for a norm or a bias.
  void replace_vector(std::string_view name, std::vector<float> values);
  /// Calls body(name, values) for each norm and bias.
  template <class Body> void for_each_vector(Body body) const { for_each_vector(*this, body); }

  [[nodiscard]] const gguf_file& file() const noexcept { return file_; }
  [[nodiscard]] const model_shape& shape() const noexcept { return shape_; }
  [[nodiscard]] std::size_t vocabulary() const noexcept { return embedding_.view.rows; }
  [[nodiscard]] const named_weight& embedding() const noexcept { return embedding_; }
  [[nodiscard]] const named_weight& output() const noexcept { return output_; }
  [[nodiscard]] const std::vector<float>& output_norm() const noexcept { return output_norm_; }
  [[nodiscard]] const std::vector<layer_weights>& layers() const noexcept { return layers_; }
  /// Divisors of the RoPE frequencies in a cache of so many tokens, or empty.
  [[nodiscard]] const std::vector<float>& rope_divisors(std::size_t tokens) const noexcept {
    const bool is_long = !long_divisors_.empty() && tokens > shape_.original_context;
    return is_long ? long_divisors_ : divisors_;
  }
  /// Fails with bad_value, naming the tensor and the index, if a weight is NaN or infinite.
  void require_finite_weights() const;

private:
  /// Calls body(matrix) for each that products read. A tied output is one of them.
  template <class Self, class Body> static void for_each_matrix(Self& self, Body body) {
    for (auto& w : self.layers_) layer_weights::for_each_matrix(w, body);
    body(self.output_);
  }
  template <class Self, class Body> static void for_each_vector(Self& self, Body body) {
    for (std::size_t i = 0; i < self.layers_.size(); ++i)
      layer_weights::for_each_vector(self.layers_[i], [&](const std::string& ending, auto& values) {
        body("blk." + std::to_string(i) + "." + ending, values);
      });
    body(std::string("output_norm.weight"), self.output_norm_);
  }
  [[noreturn]] void refuse_name(std::string_view name) const {
    fail(error_code::bad_argument, place_of(file_.metadata.place(), "tensor", name),
         "no matrix of this name and shape");
  }
  // These mark the tensor as used.
  [[nodiscard]] const stored_tensor* find(const std::string& name);
  [[nodiscard]] const stored_tensor& tensor(const std::string& name, std::size_t columns,
                                            std::size_t rows);
  [[nodiscard]] named_weight matrix(const std::string& name, std::size_t columns, std::size_t rows);
  [[nodiscard]] std::vector<float> vector(const std::string& name, std::size_t length,
                                          std::size_t rows = 1);
  [[nodiscard]] layer_weights layer(std::size_t index);
  /// `stacked`: matrices of `rows` rows behind each other.
  [[nodiscard]] biased_weight biased(const std::string& name, std::size_t columns, std::size_t rows,
                                     bool has_bias = false, std::size_t stacked = 1);
  void read_attention(const std::string& prefix, const layer_shape& shape, layer_weights& w);
  void read_feed_forward(const std::string& prefix, const layer_shape& shape, layer_weights& w);
  void read_experts(const std::string& prefix, const layer_shape& shape, layer_weights& w);
  void read_rope_divisors();
  [[nodiscard]] std::vector<float> rope_divisors_in(const std::string& name);
  void refuse_unused_tensors() const;
  [[noreturn]] void refuse(const std::string& name, const std::string& problem) const {
    fail(error_code::bad_file, place_of(file_.metadata.place(), "tensor", name), problem);
  }

  gguf_file file_;
  model_shape shape_;
  std::unordered_map<std::string, std::size_t> index_;
  std::vector<bool> used_; ///< a tensor of the file
  named_weight embedding_, output_;
  std::vector<float> output_norm_, divisors_, long_divisors_;
  std::vector<layer_weights> layers_;
  std::vector<stream_memory> panels_;
};

inline model_weights::model_weights(gguf_file file)
    : file_((refuse_split_part(file.metadata), std::move(file))),
      shape_(read_model_shape(file_.metadata)), used_(file_.tensors.size()) {
  refuse_unknown_keys(file_.metadata, shape_);
  for (std::size_t i = 0; i < file_.tensors.size(); ++i) index_[file_.tensors[i].name] = i;
  const auto* embedding = find("token_embd.weight");
  if (embedding == nullptr) refuse("token_embd.weight", "the tensor is missing");
  const std::size_t words = embedding->rows();
  embedding_ = matrix("token_embd.weight", shape_.hidden, words);
  output_ = find("output.weight") ? matrix("output.weight", shape_.hidden, words) : embedding_;
  output_norm_ = vector("output_norm.weight", shape_.hidden);
  read_rope_divisors();
  for (std::size_t i = 0; i < shape_.layers.size(); ++i) layers_.push_back(layer(i));
  refuse_unused_tensors();
}

/// All layers have the same divisors: a layer's own ones must be a copy.
inline std::vector<float> model_weights::rope_divisors_in(const std::string& name) {
  const auto* divisors = find(name);
  if (divisors == nullptr) return {};
  auto values = vector(name, shape_.rope_size / 2);
  for (const float d : values)
    if (!(d > 0)) refuse(name, "a divisor that is not positive");
  for (std::size_t i = 0; i < file_.tensors.size(); ++i) {
    const auto& t = file_.tensors[i];
    if (t.name.starts_with("blk.") && t.name.ends_with("." + name) && t.type == divisors->type &&
        std::equal(t.data.begin(), t.data.end(), divisors->data.begin(), divisors->data.end()))
      used_[i] = true;
  }
  return values;
}

inline void model_weights::read_rope_divisors() {
  divisors_ = rope_divisors_in("rope_freqs.weight");
  if (!divisors_.empty()) return;
  divisors_ = rope_divisors_in("rope_factors_short.weight");
  long_divisors_ = rope_divisors_in("rope_factors_long.weight");
  const std::string prefix = std::string(shape_.architecture->name) + ".";
  const bool is_longrope = file_.metadata.get_string(prefix + "rope.scaling.type") == "longrope";
  if (divisors_.empty() && (is_longrope || !long_divisors_.empty()))
    refuse("rope_factors_short.weight", "the tensor is missing");
  if (long_divisors_.empty() && !divisors_.empty())
    refuse("rope_factors_long.weight", "the tensor is missing");
}

/// What the engine has not asked for would be missing from what it computes.
inline void model_weights::refuse_unused_tensors() const {
  const auto unused = static_cast<std::size_t>(std::count(used_.begin(), used_.end(), false));
  if (unused == 0) return;
  const auto first =
      static_cast<std::size_t>(std::find(used_.begin(), used_.end(), false) - used_.begin());
  refuse(file_.tensors[first].name,
         "the engine's " + std::string(shape_.architecture->name) + " has no such tensor" +
             (unused == 1 ? "" : " (one of " + std::to_string(unused) + ")"));
}

inline std::size_t model_weights::packed_bytes() const noexcept {
  std::size_t sum = 0;
  for_each_matrix(*this, [&](const named_weight& w) {
    if (can_pack(w.view.type)) sum += panel_bytes(w.view);
  });
  return sum;
}

inline void model_weights::pack(unsigned threads, const progress_callback& on_progress) {
  const std::size_t total = packed_bytes();
  std::size_t done = 0;
  for_each_matrix(*this, [&](named_weight& w) {
    const weight_view rows = w.view;
    if (!can_pack(rows.type) || rows.layout != weight_layout::rows) return;
    auto memory = allocate_stream(panel_bytes(rows));
    if (memory == nullptr) return;
    if (on_progress) on_progress({"load", w.name, done, total});
    done += panel_bytes(rows);
    w.view = pack_panels(rows, memory.get(), threads);
    panels_.push_back(std::move(memory));
    const auto& stored = file_.tensors[index_.at(w.name)];
    if (stored.file && stored.data.data() == rows.data) stored.file->drop(stored.data);
  });
}

inline weight_view model_weights::find_matrix(std::string_view name) const {
  const weight_view* found = embedding_.name == name ? &embedding_.view : nullptr;
  for_each_matrix(*this, [&](const named_weight& w) {
    if (w.name == name && found == nullptr) found = &w.view;
  });
  if (found == nullptr) refuse_name(name);
  return *found;
}

inline void model_weights::replace(std::string_view name, const weight_view& view) {
  bool found = false;
  const auto change = [&](named_weight& w) {
    if (w.name != name || w.view.rows != view.rows || w.view.columns != view.columns) return;
    w.view = view;
    found = true;
  };
  for_each_matrix(*this, change);
  change(embedding_);
  if (!found || !can_multiply(view.type) || view.layout != weight_layout::rows) refuse_name(name);
}

inline void model_weights::replace_vector(std::string_view name, std::vector<float> values) {
  bool found = false;
  for_each_vector(*this, [&](const std::string& own, std::vector<float>& vector) {
    if (name != own || vector.size() != values.size()) return;
    vector = std::move(values);
    found = true;
  });
  if (!found) refuse_name(name);
}

inline const stored_tensor* model_weights::find(const std::string& name) {
  const auto found = index_.find(name);
  if (found == index_.end()) return nullptr;
  used_[found->second] = true;
  return &file_.tensors[found->second];
}

inline const stored_tensor& model_weights::tensor(const std::string& name, std::size_t columns,
                                                  std::size_t rows) {
  const auto* found = find(name);
  if (found == nullptr) refuse(name, "the tensor is missing");
  if (found->columns() != columns || found->rows() != rows)
    refuse(name, std::to_string(found->columns()) + " x " + std::to_string(found->rows()) +
                     " values where the metadata asks for " + std::to_string(columns) + " x " +
                     std::to_string(rows));
  return *found;
}

inline named_weight model_weights::matrix(const std::string& name, std::size_t columns,
                                          std::size_t rows) {
  const auto& found = tensor(name, columns, rows);
  if (!can_multiply(found.type))
    refuse(name, "format " + std::string(name_of(found.type)) + " cannot be run");
  if (reinterpret_cast<std::uintptr_t>(found.data.data()) % 4 != 0)
    refuse(name, "its data is not aligned to 4 bytes");
  return {name, {found.type, rows, columns, found.data.data()}};
}

inline std::vector<float> model_weights::vector(const std::string& name, std::size_t length,
                                                std::size_t rows) {
  const auto& found = tensor(name, length, rows);
  if (info_of(found.type).use == format_use::carried)
    refuse(name, "format " + std::string(name_of(found.type)) + " cannot be read");
  std::vector<float> values(rows * length);
  for (std::size_t r = 0; r < rows; ++r)
    decode_row(found.type, found.data.data() + r * row_bytes(found.type, length),
               std::span(values).subspan(r * length, length));
  return values;
}

inline biased_weight model_weights::biased(const std::string& name, std::size_t columns,
                                           std::size_t rows, bool has_bias, std::size_t stacked) {
  biased_weight w{matrix(name + ".weight", columns, stacked * rows), {}};
  if (has_bias || find(name + ".bias") != nullptr) w.bias = vector(name + ".bias", rows, stacked);
  return w;
}

inline layer_weights model_weights::layer(std::size_t index) {
  const std::string prefix = "blk." + std::to_string(index) + ".";
  const layer_shape& shape = shape_.layers[index];
  layer_weights w;
  if (shape.heads != 0) read_attention(prefix, shape, w);
  if (shape.feed_forward != 0) read_feed_forward(prefix, shape, w);
  return w;
}

inline void model_weights::read_attention(const std::string& prefix, const layer_shape& shape,
                                          layer_weights& w) {
  const auto& row = *shape_.architecture;
  const std::size_t hidden = shape_.hidden, d = shape_.head_size;
  const std::size_t q_rows = shape.heads * d, kv_rows = shape.kv_heads * d;
  if (row.norms != norm_place::after)
    w.attention_norm = vector(prefix + "attn_norm.weight", hidden);
  if (find(prefix + "attn_qkv.weight") != nullptr) {
    w.attention_inputs.push_back(biased(prefix + "attn_qkv", hidden, q_rows + 2 * kv_rows));
  } else {
    w.attention_inputs.push_back(biased(prefix + "attn_q", hidden, q_rows, row.qkv_bias));
    w.attention_inputs.push_back(biased(prefix + "attn_k", hidden, kv_rows, row.qkv_bias));
    w.attention_inputs.push_back(biased(prefix + "attn_v", hidden, kv_rows, row.qkv_bias));
  }
  if (row.qk_norms != qk_norm::none) {
    const bool all = row.qk_norms == qk_norm::all;
    w.q_norm = vector(prefix + "attn_q_norm.weight", all ? q_rows : d);
    w.k_norm = vector(prefix + "attn_k_norm.weight", all ? kv_rows : d);
  }
  w.attention_output = biased(prefix + "attn_output", q_rows, hidden);
  if (row.attention_sinks) w.sinks = vector(prefix + "attn_sinks.weight", shape.heads);
  if (row.norms != norm_place::before)
    w.post_attention_norm = vector(prefix + "post_attention_norm.weight", hidden);
}

inline void model_weights::read_feed_forward(const std::string& prefix, const layer_shape& shape,
                                             layer_weights& w) {
  const auto& row = *shape_.architecture;
  const std::size_t hidden = shape_.hidden, inner = shape.feed_forward;
  if (row.norms != norm_place::after)
    w.feed_forward_norm = vector(
        prefix + (row.renamed_norm ? "post_attention_norm.weight" : "ffn_norm.weight"), hidden);
  if (shape.experts != 0) {
    read_experts(prefix, shape, w);
  } else if (row.fused) {
    w.feed_forward_inputs.push_back(biased(prefix + "ffn_up", hidden, 2 * inner));
  } else {
    w.feed_forward_inputs.push_back(biased(prefix + "ffn_gate", hidden, inner));
    w.feed_forward_inputs.push_back(biased(prefix + "ffn_up", hidden, inner));
  }
  if (shape.experts == 0) w.down = biased(prefix + "ffn_down", inner, hidden);
  if (row.norms != norm_place::before)
    w.post_feed_forward_norm = vector(prefix + "post_ffw_norm.weight", hidden);
}

/// Experts stand behind each other: rows of the first, of the second and so on, and their biases.
inline void model_weights::read_experts(const std::string& prefix, const layer_shape& shape,
                                        layer_weights& w) {
  const bool biases = shape_.architecture->expert_biases;
  const std::size_t hidden = shape_.hidden, inner = shape.feed_forward;
  const auto stacked = [&](const std::string& name, std::size_t columns, std::size_t rows) {
    return biased(prefix + name, columns, rows, biases, shape.experts);
  };
  w.router = biased(prefix + "ffn_gate_inp", hidden, shape.experts, biases);
  w.feed_forward_inputs.push_back(stacked("ffn_gate_exps", hidden, inner));
  w.feed_forward_inputs.push_back(stacked("ffn_up_exps", hidden, inner));
  w.down = stacked("ffn_down_exps", inner, hidden);
}

inline void model_weights::require_finite_weights() const {
  for (const auto& t : file_.tensors) {
    if (info_of(t.type).use == format_use::carried) continue;
    std::vector<float> row(t.columns());
    const std::uint64_t bytes = row_bytes(t.type, t.columns());
    for (std::uint64_t r = 0; r < t.rows(); ++r) {
      decode_row(t.type, t.data.data() + r * bytes, row);
      require_finite(row, place_of(file_.metadata.place(), "tensor", t.name), r * t.columns());
    }
  }
}

} // namespace edgequant::inline EDGEQUANT_ABI
