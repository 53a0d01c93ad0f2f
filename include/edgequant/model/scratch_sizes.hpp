// SPDX-License-Identifier: MIT
/// How many tokens the engine works on at a time: its memory beside weights and KV cache follows.
#pragma once

#include "../config.hpp"

#include <cstddef>

namespace edgequant::inline EDGEQUANT_ABI {

/// Tokens that go through the network together.
inline constexpr std::size_t chunk_tokens = 256;
/// Tokens of a chunk that one attention task takes; it takes one head of keys and values.
inline constexpr std::size_t attention_part_tokens = 64;
/// Tokens whose logits are computed together, where the logits of all tokens are wanted.
inline constexpr std::size_t logits_tokens = 16;

namespace model::detail {
/// Bytes of an attention task's object, at most: six vectors.
inline constexpr std::size_t head_attention_bytes = 192;
} // namespace model::detail

} // namespace edgequant::inline EDGEQUANT_ABI
