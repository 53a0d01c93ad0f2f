// SPDX-License-Identifier: MIT
/// The matrices and vectors of a layer.
#pragma once

#include "../gemm/weight_view.hpp"

#include <string>
#include <vector>

namespace edgequant::inline EDGEQUANT_ABI {

/// A matrix with the name that it has in the file.
struct named_weight {
  std::string name;
  weight_view view;
};

/// A matrix, and what is added to its outputs.
struct biased_weight : named_weight {
  std::vector<float> bias; ///< empty: none

  [[nodiscard]] std::string bias_name() const { return name.substr(0, name.rfind('.')) + ".bias"; }
};

/// Norms that an architecture does not have are empty, and so are the matrices of a sublayer that
/// the layer does not have.
struct layer_weights {
  std::vector<float> attention_norm, post_attention_norm, feed_forward_norm, post_feed_forward_norm;
  std::vector<float> q_norm, k_norm;           ///< of a head, or of all heads
  std::vector<biased_weight> attention_inputs; ///< q, k and v, or one matrix of all three
  biased_weight attention_output;
  std::vector<biased_weight> feed_forward_inputs; ///< gate and up, or one matrix of both
  biased_weight down;
  biased_weight router;     ///< of experts, whose matrices lie behind each other; else empty
  std::vector<float> sinks; ///< a logit a head, or none

  /// Calls body(weight) for each matrix.
  template <class Self, class Body> static void for_each_matrix(Self& self, Body body) {
    for (auto& w : self.attention_inputs) body(w);
    if (!self.attention_inputs.empty()) body(self.attention_output);
    for (auto& w : self.feed_forward_inputs) body(w);
    if (!self.feed_forward_inputs.empty()) body(self.down);
    if (!self.router.name.empty()) body(self.router);
  }
  /// Calls body(ending, vector) for the vectors that are there: norms, then biases.
  template <class Self, class Body> static void for_each_vector(Self& self, Body body);
};

template <class Self, class Body> void layer_weights::for_each_vector(Self& self, Body body) {
  const auto norm = [&](const char* ending, auto& vector) {
    if (!vector.empty()) body(std::string(ending) + ".weight", vector);
  };
  norm("attn_norm", self.attention_norm);
  norm("attn_sinks", self.sinks);
  norm("attn_q_norm", self.q_norm);
  norm("attn_k_norm", self.k_norm);
  norm("post_attention_norm", self.post_attention_norm);
  norm("ffn_norm", self.feed_forward_norm);
  norm("post_ffw_norm", self.post_feed_forward_norm);
  for_each_matrix(self, [&](auto& w) {
    const std::string name = w.bias_name();
    if (!w.bias.empty()) body(name.substr(name.find('.', name.find('.') + 1) + 1), w.bias);
  });
}

} // namespace edgequant::inline EDGEQUANT_ABI
