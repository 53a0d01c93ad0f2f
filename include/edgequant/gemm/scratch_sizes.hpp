// SPDX-License-Identifier: MIT
/// Sizes of the buffers that products and attention work in. Estimates of memory read them here.
#pragma once

#include "../config.hpp"

#include <cstddef>

namespace edgequant::inline EDGEQUANT_ABI::gemm {

/// Tokens whose keys and values attention holds as floats at a time. Tiles begin at multiples of
/// it, so that a query's sums do not depend on which other queries run beside it.
inline constexpr std::size_t attention_tile_tokens = 32;
/// Bytes of the running maximum and sum of a query's softmax.
inline constexpr std::size_t softmax_state_bytes = 8;
/// Bytes of the range of tokens that a query sees.
inline constexpr std::size_t token_range_bytes = 16;

/// Activations of a group, which share a scale, and the bytes that a group takes when it is coded.
inline constexpr std::size_t activation_group_length = 32, activation_group_bytes = 52;

/// Tokens that matrix units, and products in float, take at a time. The last tile is padded.
inline constexpr std::size_t matrix_tile_tokens = 16;

} // namespace edgequant::inline EDGEQUANT_ABI::gemm
