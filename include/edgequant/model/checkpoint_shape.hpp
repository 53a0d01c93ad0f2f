// SPDX-License-Identifier: MIT
/// A checkpoint's network: what its config.json says, and the row of its architecture.
#pragma once

#include "../text/vocabulary.hpp"
#include "architecture.hpp"
#include "rope_config.hpp"

#include <optional>
#include <string>
#include <vector>

namespace edgequant::inline EDGEQUANT_ABI {

/// The sizes of a layer that differs from the others.
struct checkpoint_layer {
  std::uint64_t heads = 0, kv_heads = 0, feed_forward_size = 0;
};

struct checkpoint_config : config_tokens {
  const architecture_row* family = nullptr;
  std::uint64_t hidden_size = 0, feed_forward_size = 0, layers = 0, heads = 0, kv_heads = 0;
  std::uint64_t head_size = 0;
  std::uint64_t context = 2048;                ///< tokens
  std::uint64_t experts = 0, experts_used = 0; ///< whose length is feed_forward_size
  std::uint64_t dense_feed_forward_size = 0;   ///< beside experts: said, and used by no layer
  double rms_epsilon = 1e-6;
  rope_config rope;
  std::optional<rope_config> local_rope; ///< of layers with a window
  std::uint64_t window = 0;              ///< tokens; 0: none
  std::vector<bool> local;               ///< which layers have the window; empty: as the family's
  double attention_scale = 0;            ///< what queries are multiplied by; 0: as the family's
  std::optional<double> attention_softcap, logit_softcap;
  double embedding_scale = 1, residual_scale = 1, logit_divisor = 1;
  std::vector<checkpoint_layer> sizes; ///< one a layer where they differ, else empty
  bool tied_embeddings = false;
  std::optional<bool> attention_bias; ///< q, k, v and o have biases; nothing: the file is silent
  std::optional<bool> mlp_bias;       ///< likewise gate, up and down
  std::vector<std::string> notes;     ///< one line each: fields that are unknown or have no effect

  /// Values of a head that RoPE turns.
  [[nodiscard]] std::uint64_t rope_size() const noexcept {
    return static_cast<std::uint64_t>(static_cast<double>(head_size) * rope.rotary_share);
  }
  [[nodiscard]] checkpoint_layer sizes_of(std::uint64_t layer) const {
    return sizes.empty() ? checkpoint_layer{heads, kv_heads, feed_forward_size} : sizes[layer];
  }
};

/// The row of a model_type, or null.
[[nodiscard]] constexpr const architecture_row*
find_model_type(std::string_view model_type) noexcept {
  for (const auto& row : architecture_table)
    if (row.model_type == model_type) return &row;
  return nullptr;
}

} // namespace edgequant::inline EDGEQUANT_ABI
