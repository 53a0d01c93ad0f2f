// SPDX-License-Identifier: MIT
/// Super-blocks of 256 values as they lie in a file: scales of groups as small integers, times one
/// or two halves of the super-block. Source: ggml's block layouts (ggml-common.h).
#pragma once

#include "../core/float_types.hpp"

#include <cstdint>

namespace edgequant::inline EDGEQUANT_ABI {

// In the comments value i is 128 n + 32 k + l, with l below 32, and g its group.

/// Sixteen groups of 16: value = scale * (s & 15) * u - minimum * (s >> 4), s = scales[g]. u is
/// bits 2 k and 2 k + 1 of pairs[32 n + l].
struct block_q2_k {
  std::uint8_t scales[16];
  std::uint8_t pairs[64];
  half scale, minimum;
};
static_assert(sizeof(block_q2_k) == 84);

/// Sixteen groups of 16: value = scale * (s - 32) * (u - 4). The low bits of u are as in
/// block_q2_k, the third is bit 4 n + k of high_bits[l]. s has its low four bits in a nibble of
/// scales[g % 8], low for g < 8, and the others as bits 2 (g / 4) and on of scales[8 + g % 4].
struct block_q3_k {
  std::uint8_t high_bits[32];
  std::uint8_t pairs[64];
  std::uint8_t scales[12];
  half scale;
};
static_assert(sizeof(block_q3_k) == 110);

/// Eight groups of 32: value = scale * s * u - minimum * m. u of the even group 2 c lies in the low
/// nibbles of nibbles[32 c + l], of the odd one in the high ones. For s and m see k_scale().
struct block_q4_k {
  half scale, minimum;
  std::uint8_t scales[12];
  std::uint8_t nibbles[128];
};
static_assert(sizeof(block_q4_k) == 144);

/// As block_q4_k; the fifth bit of u in group g is bit g of high_bits[l].
struct block_q5_k {
  half scale, minimum;
  std::uint8_t scales[12];
  std::uint8_t high_bits[32];
  std::uint8_t nibbles[128];
};
static_assert(sizeof(block_q5_k) == 176);

/// Sixteen groups of 16: value = scale * scales[g] * (u - 32). The low four bits of u lie in
/// nibbles[64 n + 32 (k % 2) + l], low for k < 2; the others are bits 2 k and on of
/// pairs[32 n + l].
struct block_q6_k {
  std::uint8_t nibbles[128];
  std::uint8_t pairs[64];
  std::int8_t scales[16];
  half scale;
};
static_assert(sizeof(block_q6_k) == 210);

/// Eight groups of 32, nibbles of each as in block_q4_0: value = scale * (s - 32) * iq4_levels[u].
/// s has its low four bits in nibble g of scales_low, the others as bits 2 g and on of the
/// little-endian word scales_high.
struct block_iq4_xs {
  half scale;
  std::uint8_t scales_high[2];
  std::uint8_t scales_low[4];
  std::uint8_t nibbles[128];
};
static_assert(sizeof(block_iq4_xs) == 136);

/// value = scale * (u - 1). Byte b holds five digits u to the base of 3, as the fraction b / 256:
/// the first five of values j, j + 32, ... (j < 32), then of 160 + j, 176 + j, ... (j < 16), and in
/// last[j] four of 240 + j, 244 + j, ...
struct block_tq1_0 {
  std::uint8_t digits[48];
  std::uint8_t last[4];
  half scale;
};
static_assert(sizeof(block_tq1_0) == 54);

/// value = scale * (u - 1), u as in block_q2_k.
struct block_tq2_0 {
  std::uint8_t pairs[64];
  half scale;
};
static_assert(sizeof(block_tq2_0) == 66);

// The lattice formats: eight (iq3: four) values at once are a point of a grid, with a sign each.

/// Each 32 values take eight bytes: four indices, and a little-endian word of four times seven bits
/// of signs and four bits s: value = scale * (s + 1/2) / 4 * magnitude.
struct block_iq2_xxs {
  half scale;
  std::uint8_t groups[8][8];
};
static_assert(sizeof(block_iq2_xxs) == 66);

/// Each word: nine bits of index, seven of signs. Groups of 16: s is nibble g of scales, value as
/// in block_iq2_xxs.
struct block_iq2_xs {
  half scale;
  std::uint8_t points[32][2];
  std::uint8_t scales[8];
};
static_assert(sizeof(block_iq2_xs) == 74);

/// As block_iq2_xs with ten bits of index, the last two in high_bits, and eight of signs.
struct block_iq2_s {
  half scale;
  std::uint8_t points[32];
  std::uint8_t signs[32];
  std::uint8_t high_bits[8];
  std::uint8_t scales[8];
};
static_assert(sizeof(block_iq2_s) == 82);

/// Each 32 values: eight indices, and a word of signs and s as in block_iq2_xxs: value = scale *
/// (s + 1/2) / 2 * magnitude.
struct block_iq3_xxs {
  half scale;
  std::uint8_t points[64];
  std::uint8_t signs[8][4];
};
static_assert(sizeof(block_iq3_xxs) == 98);

/// Nine bits of index, the last in high_bits. Groups of 32: s is nibble g of scales, value = scale
/// * (2 s + 1) * magnitude.
struct block_iq3_s {
  half scale;
  std::uint8_t points[64];
  std::uint8_t high_bits[8];
  std::uint8_t signs[32];
  std::uint8_t scales[4];
};
static_assert(sizeof(block_iq3_s) == 110);

/// Groups of 32, a little-endian word each: three bits of index for each of four points, three bits
/// s, and the sign of a shift: value = scale * (2 s + 1) * (v + shift), shift = 1/8 or -1/8.
struct block_iq1_s {
  half scale;
  std::uint8_t points[32];
  std::uint8_t groups[8][2];
};
static_assert(sizeof(block_iq1_s) == 50);

/// Groups of 16: a nibble of high_bits has three bits of index and the sign of the shift of a
/// point. The four words of scales have three bits s for each of four groups, and in their upper
/// nibbles the super-block's half.
struct block_iq1_m {
  std::uint8_t points[32];
  std::uint8_t high_bits[16];
  std::uint8_t scales[4][2];
};
static_assert(sizeof(block_iq1_m) == 56);

} // namespace edgequant::inline EDGEQUANT_ABI
