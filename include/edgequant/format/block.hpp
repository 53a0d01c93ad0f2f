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

/// 32 values; value j is u * scale + minimum, u within 0..15 in nibbles as in block_q4_0.
struct block_q4_1 {
  half scale, minimum;
  std::uint8_t nibbles[16];
};
static_assert(sizeof(block_q4_1) == 20);

/// 32 values; value j is u * scale + minimum, u within 0..31, stored as in block_q5_0.
struct block_q5_1 {
  half scale, minimum;
  std::uint8_t high_bits[4];
  std::uint8_t nibbles[16];
};
static_assert(sizeof(block_q5_1) == 24);

/// 32 values; value j is iq4_levels[u] * scale, u in nibbles as in block_q4_0.
struct block_iq4_nl {
  half scale;
  std::uint8_t nibbles[16];
};
static_assert(sizeof(block_iq4_nl) == 18);

/// 32 values; value j is fp4_levels[u] * 2^(exponent - 128), u in nibbles as in block_q4_0.
struct block_mxfp4 {
  std::uint8_t exponent;
  std::uint8_t nibbles[16];
};
static_assert(sizeof(block_mxfp4) == 17);

/// 64 values in groups of 16, each with a scale as UE4M3 (no sign, 4 bits of exponent with bias 7,
/// 3 of mantissa). Value j of a group is fp4_levels[u] * scale / 2; byte j of its eight bytes has u
/// of value j in the low nibble, of value j + 8 in the high one.
struct block_nvfp4 {
  std::uint8_t scales[4];
  std::uint8_t nibbles[32];
};
static_assert(sizeof(block_nvfp4) == 36);

/// 128 values, a bit each from the low end: scale where it is set, else -scale.
struct block_q1_0 {
  half scale;
  std::uint8_t bits[16];
};
static_assert(sizeof(block_q1_0) == 18);

/// 64 values, two bits u each from the low end: value = (u - 1) * scale.
struct block_q2_0 {
  half scale;
  std::uint8_t pairs[16];
};
static_assert(sizeof(block_q2_0) == 18);

} // namespace edgequant::inline EDGEQUANT_ABI
