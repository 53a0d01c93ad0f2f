// SPDX-License-Identifier: MIT
/// The matrices and vectors of a sublayer, by what reads and what feeds what.
#pragma once

#include "transformer.hpp"

namespace edgequant::inline EDGEQUANT_ABI {

/// Points into the weights, which must outlive it.
struct sublayer_matrices {
  sublayer_matrices(const model_weights& weights, std::size_t layer, sublayer part);

  /// At one end: the readers, or the writer alone.
  [[nodiscard]] std::vector<const named_weight*> at(sublayer_end end) const {
    return end == sublayer_end::in ? readers : std::vector{writer};
  }

  std::vector<const named_weight*> readers; ///< of the normalised vectors; the last one's outputs
                                            ///< are what the writer's inputs are made of, linearly
  const named_weight* writer;
  std::string norm_name;
  const std::vector<float>* norm;
  std::string bias_name;          ///< of the last reader
  const std::vector<float>* bias; ///< empty: none
};

inline sublayer_matrices::sublayer_matrices(const model_weights& weights, std::size_t layer,
                                            sublayer part) {
  const layer_weights& w = weights.layers()[layer];
  const std::string prefix = "blk." + std::to_string(layer) + ".";
  if (part == sublayer::attention) {
    readers = {&w.q, &w.k, &w.v}, writer = &w.attention_output;
    norm_name = prefix + "attn_norm.weight", norm = &w.attention_norm;
    bias_name = prefix + "attn_v.bias", bias = &w.v_bias;
  } else {
    readers = {&w.gate, &w.up}, writer = &w.down;
    norm_name = prefix + "ffn_norm.weight", norm = &w.feed_forward_norm;
    bias_name = prefix + "ffn_up.bias", bias = &w.up_bias;
  }
}

} // namespace edgequant::inline EDGEQUANT_ABI
