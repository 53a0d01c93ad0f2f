// SPDX-License-Identifier: MIT
/// Blocks taken apart: integer codes, and a scale and a minimum a group.
#pragma once

#include "group_format.hpp"
#include "lattice_grids.hpp"

#include <algorithm>
#include <bit>
#include <cstring>

namespace edgequant::inline EDGEQUANT_ABI {

/// Value i of a block is codes[i] * scales[g] - minimums[g], g = i / F::group_length. The product
/// is exact in float, so that a value has one rounding at most and every program gets the same.
template <coded_format F> struct block_groups {
  static constexpr std::size_t count = F::block_length / F::group_length;
  /// With a codebook: its entries. Aligned by name: GCC 12 at -O3 otherwise reads them as aligned
  /// from a stack slot that is not.
  alignas(64) std::int8_t codes[F::block_length];
  float scales[count];
  float minimums[count]; ///< zeros unless F::has_minimum
};

/// How the scales of a block of any encodable format are stored. The scale of group g is `scale`
/// times scale_steps[g], or step_value() where the format has no half; its minimum is `minimum`
/// times minimum_steps[g].
struct stored_scales {
  static constexpr std::size_t most_groups = 16;
  half scale{}, minimum{};
  std::int16_t scale_steps[most_groups] = {};
  std::uint8_t minimum_steps[most_groups] = {};
};

/// unpack(block, groups) takes a block apart. Any bytes are a block: what NaN or infinite scales
/// give follows from the formula.

namespace formats {

[[nodiscard]] inline std::uint32_t word16(const std::uint8_t* p) noexcept {
  return p[0] | std::uint32_t{p[1]} << 8;
}
[[nodiscard]] inline std::uint32_t word32(const std::uint8_t* p) noexcept {
  return word16(p) | word16(p + 2) << 16;
}
[[nodiscard]] inline float to_float(half x) noexcept { return static_cast<float>(x); }

/// Scale and minimum of group g in the twelve bytes of q4_K and q5_K, six bits each.
struct k_scale_pair {
  std::uint8_t scale, minimum;
};
[[nodiscard]] inline k_scale_pair k_scale(const std::uint8_t* s, std::size_t g) noexcept {
  const auto byte = [](int x) { return static_cast<std::uint8_t>(x); };
  if (g < 4) return {byte(s[g] & 63), byte(s[g + 4] & 63)};
  return {byte((s[g + 4] & 15) | s[g - 4] >> 6 << 4), byte(s[g + 4] >> 4 | s[g] >> 6 << 4)};
}

/// codes[32] = level(low nibble of byte j), level(high nibble of byte j) at j + half.
template <class Level>
void unpack_nibbles(const std::uint8_t* from, std::size_t half, std::int8_t* codes,
                    Level level) noexcept {
  for (std::size_t j = 0; j < half; ++j) {
    codes[j] = level(from[j] & 15u, j);
    codes[j + half] = level(from[j] >> 4u, j + half);
  }
}
[[nodiscard]] constexpr std::int8_t to_code(unsigned x) noexcept {
  return static_cast<std::int8_t>(x);
}

/// Two bits a value, bits 2 k and on of from[32 n + l].
template <class Code> void unpack_pairs(const std::uint8_t* from, std::int8_t* codes, Code code) {
  for (std::size_t n = 0; n < 2; ++n)
    for (std::size_t k = 0; k < 4; ++k)
      for (std::size_t l = 0; l < 32; ++l)
        codes[128 * n + 32 * k + l] = code(from[32 * n + l] >> 2 * k & 3, 4 * n + k, l);
}

/// Two to the power of exponent - 128, a subnormal for 0 and 1: half of an E8M0 number.
[[nodiscard]] inline float half_power(std::uint8_t exponent) noexcept {
  return std::bit_cast<float>(exponent < 2 ? 0x00200000u << exponent
                                           : (std::uint32_t{exponent} - 1) << 23);
}
/// Half of a UE4M3 number; 127, its NaN, is 0 as in ggml.
[[nodiscard]] inline float half_of_ue4m3(std::uint8_t x) noexcept {
  if (x == 127) return 0;
  const int exponent = x >> 3 & 15, mantissa = x & 7;
  const float fraction = static_cast<float>(exponent == 0 ? mantissa : mantissa + 8);
  return fraction * half_power(static_cast<std::uint8_t>(117 + std::max(exponent, 1)));
}

/// Seven bits of signs; the eighth makes the number of minus signs even.
[[nodiscard]] inline unsigned even_signs(unsigned seven) noexcept {
  return seven | (static_cast<unsigned>(std::popcount(seven)) & 1) << 7;
}
[[nodiscard]] inline std::int8_t with_sign(int magnitude, unsigned signs, std::size_t j) noexcept {
  const int minus = -static_cast<int>(signs >> j & 1); // all bits or none
  return static_cast<std::int8_t>((magnitude ^ minus) - minus);
}
inline void unpack_iq2(unsigned point, unsigned signs, std::int8_t* codes) noexcept {
  constexpr std::int8_t levels[4] = {8, 25, 43, 0};
  for (std::size_t j = 0; j < 8; ++j) codes[j] = with_sign(levels[point >> 2 * j & 3], signs, j);
}
/// Shifted values of iq1 times 8.
inline void unpack_iq1(unsigned index, bool minus, std::int8_t* codes) noexcept {
  const int shift = minus ? -1 : 1;
  for (std::size_t j = 0; j < 8; ++j)
    codes[j] =
        static_cast<std::int8_t>(8 * (static_cast<int>(iq1_grid[index] >> 2 * j & 3) - 1) + shift);
}

} // namespace formats

/// What a step of a scale stands for.
[[nodiscard]] inline float step_value(scale_unit unit, int step) noexcept {
  if (unit == scale_unit::e8m0) return formats::half_power(static_cast<std::uint8_t>(step));
  if (unit == scale_unit::ue4m3) return formats::half_of_ue4m3(static_cast<std::uint8_t>(step));
  return static_cast<float>(step);
}

// Of each encodable format the codes, and what its scales are made of.

inline void unpack_codes(const block_q8_0& b, std::int8_t* codes) noexcept {
  std::memcpy(codes, b.codes, 32);
}
inline void unpack_codes(const block_q4_0& b, std::int8_t* codes) noexcept {
  formats::unpack_nibbles(b.nibbles, 16, codes,
                          [](unsigned u, std::size_t) { return formats::to_code(u - 8); });
}
inline void unpack_codes(const block_q4_1& b, std::int8_t* codes) noexcept {
  formats::unpack_nibbles(b.nibbles, 16, codes,
                          [](unsigned u, std::size_t) { return formats::to_code(u); });
}
inline void unpack_codes(const block_q5_0& b, std::int8_t* codes) noexcept {
  const std::uint32_t high = formats::word32(b.high_bits);
  formats::unpack_nibbles(b.nibbles, 16, codes, [high](unsigned u, std::size_t j) {
    return formats::to_code((u | (high >> j & 1) << 4) - 16);
  });
}
inline void unpack_codes(const block_q5_1& b, std::int8_t* codes) noexcept {
  const std::uint32_t high = formats::word32(b.high_bits);
  formats::unpack_nibbles(b.nibbles, 16, codes, [high](unsigned u, std::size_t j) {
    return formats::to_code(u | (high >> j & 1) << 4);
  });
}
inline void unpack_codes(const block_iq4_nl& b, std::int8_t* codes) noexcept {
  formats::unpack_nibbles(b.nibbles, 16, codes,
                          [](unsigned u, std::size_t) { return iq4_levels[u]; });
}
inline void unpack_codes(const block_mxfp4& b, std::int8_t* codes) noexcept {
  formats::unpack_nibbles(b.nibbles, 16, codes,
                          [](unsigned u, std::size_t) { return fp4_levels[u]; });
}
inline void unpack_codes(const block_nvfp4& b, std::int8_t* codes) noexcept {
  for (std::size_t g = 0; g < 4; ++g)
    formats::unpack_nibbles(b.nibbles + 8 * g, 8, codes + 16 * g,
                            [](unsigned u, std::size_t) { return fp4_levels[u]; });
}
inline void unpack_codes(const block_q1_0& b, std::int8_t* codes) noexcept {
  for (std::size_t i = 0; i < 16; ++i)
    for (std::size_t j = 0; j < 8; ++j)
      codes[8 * i + j] = formats::to_code((b.bits[i] >> j & 1u) * 2 - 1);
}
inline void unpack_codes(const block_q2_0& b, std::int8_t* codes) noexcept {
  for (std::size_t i = 0; i < 16; ++i)
    for (std::size_t j = 0; j < 4; ++j)
      codes[4 * i + j] = formats::to_code((b.pairs[i] >> 2 * j & 3u) - 1);
}
inline void unpack_codes(const block_q2_k& b, std::int8_t* codes) noexcept {
  formats::unpack_pairs(
      b.pairs, codes, [](int u, std::size_t, std::size_t) { return static_cast<std::int8_t>(u); });
}
inline void unpack_codes(const block_q3_k& b, std::int8_t* codes) noexcept {
  formats::unpack_pairs(b.pairs, codes, [&](int u, std::size_t bit, std::size_t l) {
    return static_cast<std::int8_t>(u - (b.high_bits[l] >> bit & 1 ? 0 : 4));
  });
}
inline void unpack_codes(const block_q4_k& b, std::int8_t* codes) noexcept {
  for (std::size_t c = 0; c < 4; ++c)
    formats::unpack_nibbles(b.nibbles + 32 * c, 32, codes + 64 * c,
                            [](unsigned u, std::size_t) { return formats::to_code(u); });
}
inline void unpack_codes(const block_q5_k& b, std::int8_t* codes) noexcept {
  for (std::size_t c = 0; c < 4; ++c)
    formats::unpack_nibbles(b.nibbles + 32 * c, 32, codes + 64 * c, [&](unsigned u, std::size_t j) {
      const unsigned high = b.high_bits[j % 32] >> (2 * c + j / 32) & 1u;
      return formats::to_code(u | high << 4);
    });
}
inline void unpack_codes(const block_q6_k& b, std::int8_t* codes) noexcept {
  formats::unpack_pairs(b.pairs, codes, [&](int high, std::size_t part, std::size_t l) {
    const std::size_t n = part / 4, k = part % 4;
    const int low = b.nibbles[64 * n + 32 * (k % 2) + l] >> (k < 2 ? 0 : 4) & 15;
    return static_cast<std::int8_t>((low | high << 4) - 32);
  });
}
inline void unpack_codes(const block_iq4_xs& b, std::int8_t* codes) noexcept {
  for (std::size_t g = 0; g < 8; ++g)
    formats::unpack_nibbles(b.nibbles + 16 * g, 16, codes + 32 * g,
                            [](unsigned u, std::size_t) { return iq4_levels[u]; });
}
inline void unpack_codes(const block_tq1_0& b, std::int8_t* codes) noexcept {
  const auto digits = [&](const std::uint8_t* from, std::size_t length, int count) {
    for (unsigned power = 1; count > 0; --count, power *= 3)
      for (std::size_t j = 0; j < length; ++j)
        *codes++ = formats::to_code((from[j] * power % 256 * 3 >> 8) - 1);
  };
  digits(b.digits, 32, 5), digits(b.digits + 32, 16, 5), digits(b.last, 4, 4);
}
inline void unpack_codes(const block_tq2_0& b, std::int8_t* codes) noexcept {
  formats::unpack_pairs(b.pairs, codes, [](int u, std::size_t, std::size_t) {
    return static_cast<std::int8_t>(u - 1);
  });
}

/// Blocks with one half, their scale, and perhaps another one.
template <class Block> void unpack_scales(const Block& b, stored_scales& to) noexcept {
  to.scale = b.scale, to.scale_steps[0] = 1;
  if constexpr (requires { b.minimum; }) to.minimum = -b.minimum, to.minimum_steps[0] = 1;
}
inline void unpack_scales(const block_mxfp4& b, stored_scales& to) noexcept {
  to.scale_steps[0] = b.exponent;
}
inline void unpack_scales(const block_nvfp4& b, stored_scales& to) noexcept {
  for (std::size_t g = 0; g < 4; ++g) to.scale_steps[g] = b.scales[g];
}
inline void unpack_scales(const block_q2_k& b, stored_scales& to) noexcept {
  to.scale = b.scale, to.minimum = b.minimum;
  for (std::size_t g = 0; g < 16; ++g) {
    to.scale_steps[g] = b.scales[g] & 15;
    to.minimum_steps[g] = b.scales[g] >> 4;
  }
}
inline void unpack_scales(const block_q3_k& b, stored_scales& to) noexcept {
  to.scale = b.scale;
  for (std::size_t g = 0; g < 16; ++g) {
    const int low = b.scales[g % 8] >> (g < 8 ? 0 : 4) & 15;
    const int high = b.scales[8 + g % 4] >> 2 * (g / 4) & 3;
    to.scale_steps[g] = static_cast<std::int16_t>((low | high << 4) - 32);
  }
}
/// q4_K and q5_K.
template <class Block> void unpack_k_scales(const Block& b, stored_scales& to) noexcept {
  to.scale = b.scale, to.minimum = b.minimum;
  for (std::size_t g = 0; g < 8; ++g) {
    const auto s = formats::k_scale(b.scales, g);
    to.scale_steps[g] = s.scale, to.minimum_steps[g] = s.minimum;
  }
}
inline void unpack_scales(const block_q4_k& b, stored_scales& to) noexcept {
  unpack_k_scales(b, to);
}
inline void unpack_scales(const block_q5_k& b, stored_scales& to) noexcept {
  unpack_k_scales(b, to);
}
inline void unpack_scales(const block_q6_k& b, stored_scales& to) noexcept {
  to.scale = b.scale;
  for (std::size_t g = 0; g < 16; ++g) to.scale_steps[g] = b.scales[g];
}
inline void unpack_scales(const block_iq4_xs& b, stored_scales& to) noexcept {
  to.scale = b.scale;
  const unsigned high = formats::word16(b.scales_high);
  for (std::size_t g = 0; g < 8; ++g) {
    const unsigned s = (b.scales_low[g / 2] >> 4 * (g % 2) & 15u) | (high >> 2 * g & 3) << 4;
    to.scale_steps[g] = static_cast<std::int16_t>(static_cast<int>(s) - 32);
  }
}

/// Takes a block of an encodable format apart.
template <encodable_format F>
void unpack(const typename F::block& block, block_groups<F>& to) noexcept {
  unpack_codes(block, to.codes);
  stored_scales s;
  unpack_scales(block, s);
  const bool has_half = F::steps::unit == scale_unit::half_of_block;
  const float unit = has_half ? formats::to_float(s.scale) : 1.0f;
  for (std::size_t g = 0; g < to.count; ++g) {
    to.scales[g] = unit * step_value(F::steps::unit, s.scale_steps[g]);
    if constexpr (F::has_minimum)
      to.minimums[g] = formats::to_float(s.minimum) * static_cast<float>(s.minimum_steps[g]);
  }
}

// One function a block of a lattice format. They have no minimums.

inline void unpack(const block_iq2_xxs& b, block_groups<iq2_xxs>& to) noexcept {
  for (std::size_t g = 0; g < 8; ++g) {
    const std::uint32_t word = formats::word32(b.groups[g] + 4);
    for (std::size_t l = 0; l < 4; ++l)
      formats::unpack_iq2(formats::iq2_xxs_grid[b.groups[g][l]],
                          formats::even_signs(word >> 7 * l & 127), to.codes + 32 * g + 8 * l);
    to.scales[g] = formats::to_float(b.scale) * (0.5f + static_cast<float>(word >> 28)) * 0.25f;
  }
}
inline void unpack(const block_iq2_xs& b, block_groups<iq2_xs>& to) noexcept {
  for (std::size_t i = 0; i < 32; ++i) {
    const unsigned word = formats::word16(b.points[i]);
    formats::unpack_iq2(formats::iq2_xs_grid[word & 511], formats::even_signs(word >> 9),
                        to.codes + 8 * i);
  }
  for (std::size_t g = 0; g < 16; ++g)
    to.scales[g] = formats::to_float(b.scale) *
                   (0.5f + static_cast<float>(b.scales[g / 2] >> 4 * (g % 2) & 15)) * 0.25f;
}
inline void unpack(const block_iq2_s& b, block_groups<iq2_s>& to) noexcept {
  for (std::size_t i = 0; i < 32; ++i) {
    const unsigned index = b.points[i] | (b.high_bits[i / 4] >> 2 * (i % 4) & 3u) << 8;
    formats::unpack_iq2(formats::iq2_s_grid[index], b.signs[i], to.codes + 8 * i);
  }
  for (std::size_t g = 0; g < 16; ++g)
    to.scales[g] = formats::to_float(b.scale) *
                   (0.5f + static_cast<float>(b.scales[g / 2] >> 4 * (g % 2) & 15)) * 0.25f;
}
inline void unpack(const block_iq3_xxs& b, block_groups<iq3_xxs>& to) noexcept {
  for (std::size_t g = 0; g < 8; ++g) {
    const std::uint32_t word = formats::word32(b.signs[g]);
    for (std::size_t p = 0; p < 8; ++p) {
      const unsigned point = formats::iq3_xxs_grid[b.points[8 * g + p]];
      const unsigned signs = formats::even_signs(word >> 7 * (p / 2) & 127) >> 4 * (p % 2);
      for (std::size_t j = 0; j < 4; ++j)
        to.codes[32 * g + 4 * p + j] =
            formats::with_sign(formats::iq3_xxs_levels[point >> 3 * j & 7], signs, j);
    }
    to.scales[g] = formats::to_float(b.scale) * (0.5f + static_cast<float>(word >> 28)) * 0.5f;
  }
}
inline void unpack(const block_iq3_s& b, block_groups<iq3_s>& to) noexcept {
  for (std::size_t p = 0; p < 64; ++p) {
    const unsigned index = b.points[p] | (b.high_bits[p / 8] >> p % 8 & 1u) << 8;
    const unsigned point = formats::iq3_s_grid[index], signs = b.signs[p / 2] >> 4 * (p % 2);
    for (std::size_t j = 0; j < 4; ++j)
      to.codes[4 * p + j] =
          formats::with_sign(static_cast<int>(2 * (point >> 3 * j & 7) + 1), signs, j);
  }
  for (std::size_t g = 0; g < 8; ++g)
    to.scales[g] = formats::to_float(b.scale) *
                   static_cast<float>(2 * (b.scales[g / 2] >> 4 * (g % 2) & 15) + 1);
}
inline void unpack(const block_iq1_s& b, block_groups<iq1_s>& to) noexcept {
  for (std::size_t g = 0; g < 8; ++g) {
    const unsigned word = formats::word16(b.groups[g]);
    for (std::size_t l = 0; l < 4; ++l)
      formats::unpack_iq1(b.points[4 * g + l] | (word >> 3 * l & 7) << 8, word >> 15 != 0,
                          to.codes + 32 * g + 8 * l);
    to.scales[g] =
        formats::to_float(b.scale) * static_cast<float>(2 * (word >> 12 & 7) + 1) * 0.125f;
  }
}
inline void unpack(const block_iq1_m& b, block_groups<iq1_m>& to) noexcept {
  unsigned bits = 0;
  for (std::size_t c = 0; c < 4; ++c) bits |= formats::word16(b.scales[c]) >> 12 << 4 * c;
  const auto scale =
      formats::to_float(Eigen::numext::bit_cast<half>(static_cast<std::uint16_t>(bits)));
  for (std::size_t i = 0; i < 32; ++i) {
    const unsigned high = b.high_bits[i / 2] >> 4 * (i % 2) & 15u;
    formats::unpack_iq1(b.points[i] | (high & 7) << 8, high > 7, to.codes + 8 * i);
  }
  for (std::size_t g = 0; g < 16; ++g) {
    const unsigned s = formats::word16(b.scales[g / 4]) >> 3 * (g % 4) & 7;
    to.scales[g] = scale * static_cast<float>(2 * s + 1) * 0.125f;
  }
}

/// values[F::block_length] of a block.
template <coded_format F>
void decode_block(const typename F::block& block, float* values) noexcept {
  block_groups<F> b;
  unpack(block, b);
  for (std::size_t g = 0; g < b.count; ++g)
    for (std::size_t i = g * F::group_length; i < (g + 1) * F::group_length; ++i) {
      values[i] = static_cast<float>(b.codes[i]) * b.scales[g];
      if constexpr (F::has_minimum) values[i] -= b.minimums[g];
    }
}

} // namespace edgequant::inline EDGEQUANT_ABI
