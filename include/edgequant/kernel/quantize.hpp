// SPDX-License-Identifier: MIT
/// Values to codes and back, for a group whose scale is known.
#pragma once

#include "../format/block.hpp"
#include "lanes.hpp"

#include <cassert>

namespace edgequant::inline EDGEQUANT_ABI::kernel {

/// Codes that `Bits` bits may hold. -128 is left out at 8 bits: it has no negative, which breaks
/// sign tricks in integer products.
template <int Bits> struct code_range {
  static_assert(Bits == 4 || Bits == 5 || Bits == 8);
  static constexpr int highest = (1 << (Bits - 1)) - 1;
  static constexpr int lowest = Bits == 8 ? -127 : -highest - 1;
};

enum class rounding {
  half_even, ///< the library's own
  ggml,      ///< as ggml's reference encoders: away from zero (8 bits), floor(x + 0.5) (4 and 5)
};

/// 16 codes from 16 values and 1/scale in every lane.
template <int Bits, rounding R, simd::backend S>
[[nodiscard]] inline typename S::i32 to_codes(typename S::f32 x, typename S::f32 inverse) noexcept {
  using range = code_range<Bits>;
  const auto scaled = S::mul(x, inverse);
  if constexpr (R == rounding::half_even) {
    return S::clamp_round(scaled, range::lowest, range::highest);
  } else if constexpr (Bits == 8) {
    return S::round_away(S::clamp(S::rounded(scaled), range::lowest, range::highest));
  } else {
    constexpr float zero = -range::lowest, most = range::highest + zero;
    const auto shifted = S::add(S::rounded(scaled), S::broadcast(zero + 0.5f));
    const auto code = S::to_f32(S::truncate(S::clamp(shifted, 0.0f, most)));
    return S::truncate(S::add(code, S::broadcast(-zero)));
  }
}

/// codes[i] = values[i] * inverse, rounded and clamped; `codes` has room for values.size() codes.
template <int Bits, rounding R = rounding::half_even, simd::backend S = simd::native>
void quantize(std::span<const float> values, float inverse, std::int8_t* codes) noexcept {
  const auto factor = S::broadcast(inverse);
  for_each_16(values.size(), [&](std::size_t i, auto lanes) {
    const auto code = to_codes<Bits, R, S>(load_floats<S>(lanes, values.data() + i), factor);
    lanes.store(codes + i, [&](std::int8_t* p) { S::store_i8(p, code); });
  });
}

/// values[i] = codes[i] * scale: one product, so the same on every machine.
template <simd::backend S = simd::native>
void dequantize(std::span<const std::int8_t> codes, float scale, float* values) noexcept {
  const auto factor = S::broadcast(scale);
  for_each_16(codes.size(), [&](std::size_t i, auto lanes) {
    const auto code = lanes.load(codes.data() + i, [](const auto* p) { return S::load_i8(p); });
    const auto value = S::mul(S::to_f32(code), factor);
    lanes.store(values + i, [&](float* p) { S::store(p, value); });
  });
}

/// The codes of a block from 32 values. Sets the codes only.
template <rounding R = rounding::half_even, simd::backend S = simd::native>
inline void quantize_block(const float* values, float inverse, block_q8_0& block) noexcept {
  const auto factor = S::broadcast(inverse);
  S::store_i8(block.codes, to_codes<8, R, S>(S::load(values), factor));
  S::store_i8(block.codes + 16, to_codes<8, R, S>(S::load(values + 16), factor));
}

template <rounding R = rounding::half_even, simd::backend S = simd::native>
inline void quantize_block(const float* values, float inverse, block_q4_0& block) noexcept {
  const auto factor = S::broadcast(inverse);
  const auto low = to_codes<4, R, S>(S::load(values), factor);
  const auto high = to_codes<4, R, S>(S::load(values + 16), factor);
  S::store_nibbles(block.nibbles, low, high, 0x88);
}

template <rounding R = rounding::half_even, simd::backend S = simd::native>
inline void quantize_block(const float* values, float inverse, block_q5_0& block) noexcept {
  const auto factor = S::broadcast(inverse), zero = S::broadcast(0.0f);
  const auto low = to_codes<5, R, S>(S::load(values), factor);
  const auto high = to_codes<5, R, S>(S::load(values + 16), factor);
  // Of a code's five bits, u = code + 16 differs in the fifth, set where the code is not negative.
  const std::uint32_t fifth =
      ~(S::less(S::to_f32(low), zero) | S::less(S::to_f32(high), zero) << 16);
  std::memcpy(block.high_bits, &fifth, sizeof fifth);
  S::store_nibbles(block.nibbles, low, high, 0);
}

/// The 32 values of a block.
template <simd::backend S = simd::native>
inline void dequantize_block(const block_q8_0& block, float* values) noexcept {
  const auto factor = S::broadcast(static_cast<float>(block.scale));
  S::store(values, S::mul(S::to_f32(S::load_i8(block.codes)), factor));
  S::store(values + 16, S::mul(S::to_f32(S::load_i8(block.codes + 16)), factor));
}

template <simd::backend S = simd::native>
inline void dequantize_block(const block_q4_0& block, float* values) noexcept {
  const auto factor = S::broadcast(static_cast<float>(block.scale));
  S::store(values, S::mul(S::to_f32(S::load_low_nibbles(block.nibbles, 0x88)), factor));
  S::store(values + 16, S::mul(S::to_f32(S::load_high_nibbles(block.nibbles, 0x88)), factor));
}

/// The 32 codes of a block, as whole floats: sixteen and sixteen.
template <simd::backend S> struct float_codes { typename S::f32 low, high; };
template <simd::backend S>
[[nodiscard]] inline float_codes<S> read_codes(const block_q5_0& block) noexcept {
  std::uint32_t fifth;
  std::memcpy(&fifth, block.high_bits, sizeof fifth);
  // A nibble n comes as n - 8. With the fifth bit the code is n, 8 more; without it n - 16, 8 less.
  const auto up = S::broadcast(8.0f), down = S::broadcast(-8.0f);
  return {S::add(S::to_f32(S::load_low_nibbles(block.nibbles, 0x88)), S::choose(fifth, up, down)),
          S::add(S::to_f32(S::load_high_nibbles(block.nibbles, 0x88)),
                 S::choose(fifth >> 16, up, down))};
}

template <simd::backend S = simd::native>
inline void dequantize_block(const block_q5_0& block, float* values) noexcept {
  const auto factor = S::broadcast(static_cast<float>(block.scale));
  const auto codes = read_codes<S>(block);
  S::store(values, S::mul(codes.low, factor));
  S::store(values + 16, S::mul(codes.high, factor));
}

} // namespace edgequant::inline EDGEQUANT_ABI::kernel
