// SPDX-License-Identifier: MIT
/// The matrices and vectors of a sublayer, by what reads and what feeds what.
#pragma once

#include "transformer.hpp"

namespace edgequant::inline EDGEQUANT_ABI {

/// Points into the weights, which must outlive it. A layer without the sublayer, or with experts,
/// has no readers and no writer.
struct sublayer_matrices {
  sublayer_matrices(const model_weights& weights, std::size_t layer, sublayer part);

  /// At one end: the readers, or the writer alone.
  [[nodiscard]] std::vector<const biased_weight*> at(sublayer_end end) const {
    if (end == sublayer_end::in) return readers;
    return writer == nullptr ? std::vector<const biased_weight*>{} : std::vector{writer};
  }
  /// What the writer's inputs are made of, linearly: rows of the last reader, from this one on.
  [[nodiscard]] std::size_t first_feeding_row() const noexcept {
    return readers.back()->view.rows - feeding_rows;
  }

  std::vector<const biased_weight*> readers;
  const biased_weight* writer = nullptr;
  std::size_t feeding_rows = 0;
  std::string norm_name, post_norm_name;
  const std::vector<float>* norm;      ///< of what the readers see; empty: none
  const std::vector<float>* post_norm; ///< of what the writer gives; empty: none
};

inline sublayer_matrices::sublayer_matrices(const model_weights& weights, std::size_t layer,
                                            sublayer part) {
  const layer_weights& w = weights.layers()[layer];
  const layer_shape& shape = weights.shape().layers[layer];
  const std::string prefix = "blk." + std::to_string(layer) + ".";
  const auto set = [&](const std::vector<biased_weight>& inputs, const biased_weight& output) {
    for (const auto& reader : inputs) readers.push_back(&reader);
    if (!inputs.empty()) writer = &output;
  };
  if (part == sublayer::attention) {
    set(w.attention_inputs, w.attention_output);
    feeding_rows = shape.kv_heads * weights.shape().head_size;
    norm_name = prefix + "attn_norm.weight", norm = &w.attention_norm;
    post_norm_name = prefix + "post_attention_norm.weight", post_norm = &w.post_attention_norm;
  } else {
    // Experts see other tokens each: they have no place here.
    if (w.router.name.empty()) set(w.feed_forward_inputs, w.down);
    feeding_rows = shape.feed_forward;
    norm_name = prefix + "ffn_norm.weight", norm = &w.feed_forward_norm;
    post_norm_name = prefix + "post_ffw_norm.weight", post_norm = &w.post_feed_forward_norm;
  }
}

} // namespace edgequant::inline EDGEQUANT_ABI
