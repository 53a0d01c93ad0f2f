// SPDX-License-Identifier: MIT
/// Blocks as they lie in a file. Source: ggml's block layouts (ggml-common.h).
#pragma once

#include "../core/float_types.hpp"

#include <cstdint>

namespace edgequant::inline EDGEQUANT_ABI {

/// 32 values; value j is codes[j] * scale, codes within -127..127.
struct block_q8_0 {
  half scale;
  std::int8_t codes[32];
};
static_assert(sizeof(block_q8_0) == 34 && alignof(block_q8_0) == 2);

/// 32 values; byte j holds value j in its low nibble and value j + 16 in its high one, each as
/// code + 8. Value = code * scale, codes within -8..7; the scale may be negative.
struct block_q4_0 {
  half scale;
  std::uint8_t nibbles[16];
};
static_assert(sizeof(block_q4_0) == 18 && alignof(block_q4_0) == 2);

/// 32 values; value j is (u - 16) * scale, u within 0..31. Byte j of nibbles holds the low four
/// bits of u of value j in its low nibble and of value j + 16 in its high one; bit j of high_bits,
/// a little-endian word, is the fifth bit of u of value j. The scale may be negative.
struct block_q5_0 {
  half scale;
  std::uint8_t high_bits[4];
  std::uint8_t nibbles[16];
};
static_assert(sizeof(block_q5_0) == 22 && alignof(block_q5_0) == 2);

} // namespace edgequant::inline EDGEQUANT_ABI
