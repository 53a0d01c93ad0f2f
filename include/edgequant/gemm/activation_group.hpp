// SPDX-License-Identifier: MIT
/// Activations as products of quantized matrices take them: int8 codes in groups of 32.
#pragma once

#include "../kernel/absmax.hpp"
#include "../kernel/quantize.hpp"
#include "scratch_sizes.hpp"

#include <numeric>

namespace edgequant::inline EDGEQUANT_ABI::gemm {

/// A group of 32 activations of each of N tokens, quantized for one backend.
template <std::size_t N> struct activation_group {
  std::int8_t codes[N][32]; ///< within -127..127
  float scales[N];
  /// The zero-point corrections, with which accumulators begin: for weights of 4 bits and of 8.
  std::int32_t correction_4[N], correction_8[N];
  std::int32_t half_sums[2][N]; ///< of the codes of values 0 .. 15 and 16 .. 31
};
static_assert(sizeof(activation_group<1>) == activation_group_bytes);

/// Sets the zero-point corrections of token c. Weights come as code + zero point (8 at 4 bits,
/// S::code_offset at 8), so that a dot product is too large by zero point * sum, where `sum` is the
/// sum of the token's codes, of the lower and the upper half of the group: the accumulators begin
/// with minus that.
template <simd::backend S = simd::native, std::size_t N>
void set_corrections(activation_group<N>& group, std::size_t c, std::int32_t lower,
                     std::int32_t upper) noexcept {
  const std::int32_t sum = lower + upper;
  group.half_sums[0][c] = lower;
  group.half_sums[1][c] = upper;
  group.correction_4[c] = S::first_sum - 8 * sum;
  group.correction_8[c] = S::first_sum - S::code_offset * sum;
}

/// Quantizes values[32] as token c of a group: scale = largest magnitude / 127. A group that is not
/// finite has codes of 0 and that scale, so that the product is NaN. Where 1 / scale overflows,
/// codes and scale are 0.
template <simd::backend S = simd::native, std::size_t N>
void quantize_group(const float* values, activation_group<N>& to, std::size_t c) noexcept {
  const std::span<const float> group(values, 32);
  const float scale = std::bit_cast<float>(kernel::absmax_bits<S>(group)) / 127.0f;
  const float inverse = 1.0f / scale;
  const bool valid = is_finite(scale) && is_finite(inverse);
  if (valid)
    kernel::quantize<8, kernel::rounding::half_even, S>(group, inverse, to.codes[c]);
  else
    std::fill_n(to.codes[c], 32, std::int8_t{0});
  to.scales[c] = valid || !is_finite(scale) ? scale : 0.0f;
  set_corrections<S>(to, c, std::accumulate(to.codes[c], to.codes[c] + 16, 0),
                     std::accumulate(to.codes[c] + 16, to.codes[c] + 32, 0));
}

/// quantize_group() for sixteen groups of finite values: values[16][32], to[16].
template <simd::backend S = simd::native, std::size_t N>
void quantize_16_groups(const float* values, activation_group<N>* to, std::size_t c) noexcept {
  const auto zero = S::broadcast(0.0f);
  const auto largest = S::div(kernel::absmax_of_16<S>(values, 32), S::broadcast(127.0f));
  const auto inverse = S::div(S::broadcast(1.0f), largest);
  const std::uint32_t valid = S::less(inverse, S::broadcast(std::bit_cast<float>(infinity_bits)));
  float scales[16], inverses[16], lower[16], upper[16];
  S::store(scales, S::choose(valid, largest, zero));
  S::store(inverses, S::choose(valid, inverse, zero));
  typename S::f32 lower_codes[16], upper_codes[16];
  for (std::size_t g = 0; g < 16; ++g, values += 32) {
    const auto factor = S::broadcast(inverses[g]);
    const auto low = kernel::to_codes<8, kernel::rounding::half_even, S>(S::load(values), factor);
    const auto high =
        kernel::to_codes<8, kernel::rounding::half_even, S>(S::load(values + 16), factor);
    S::store_i8(to[g].codes[c], low);
    S::store_i8(to[g].codes[c] + 16, high);
    lower_codes[g] = S::to_f32(low);
    upper_codes[g] = S::to_f32(high);
  }
  S::store(lower, S::sum_of_each(lower_codes)); // exact: integers below 2^24
  S::store(upper, S::sum_of_each(upper_codes));
  for (std::size_t g = 0; g < 16; ++g) {
    to[g].scales[c] = scales[g];
    set_corrections<S>(to[g], c, static_cast<std::int32_t>(lower[g]),
                       static_cast<std::int32_t>(upper[g]));
  }
}

/// Quantizes values[groups][32] of one token, per group, as token c of to[groups].
template <simd::backend S = simd::native, std::size_t N>
void quantize_token(const float* values, std::size_t groups, activation_group<N>* to,
                    std::size_t c) noexcept {
  std::size_t g = 0;
  for (; g + 16 <= groups; g += 16)
    if (kernel::absmax_bits<S>({values + g * 32, 512}) < infinity_bits)
      quantize_16_groups<S>(values + g * 32, to + g, c);
    else
      for (std::size_t i = g; i < g + 16; ++i) quantize_group<S>(values + i * 32, to[i], c);
  for (; g < groups; ++g) quantize_group<S>(values + g * 32, to[g], c);
}

/// The scale and the sum of a token that was quantized per token.
struct token_codes {
  float scale;      ///< largest magnitude / 127
  std::int32_t sum; ///< of the codes
};

/// Quantizes values[length] of one token with one scale. The codes of values i .. i + 15 go to
/// place(i), for i = 0, 16, ...; the last sixteen are padded with zeros. What is not finite, or too
/// small, is treated as in quantize_group().
template <simd::backend S = simd::native, class Place>
[[nodiscard]] token_codes encode_per_token(const float* values, std::size_t length,
                                           Place place) noexcept {
  const float scale = std::bit_cast<float>(kernel::absmax_bits<S>({values, length})) / 127.0f;
  const float inverse = 1.0f / scale;
  const bool valid = is_finite(scale) && is_finite(inverse);
  const auto factor = S::broadcast(valid ? inverse : 0.0f);
  auto sums = S::broadcast(0.0f);                              // exact: integers below 2^24
  kernel::for_each_16(length, [&](std::size_t i, auto lanes) { // zeros are behind the tail
    const auto x = kernel::load_floats<S>(lanes, values + i);
    const auto codes =
        kernel::to_codes<8, kernel::rounding::half_even, S>(valid ? x : S::broadcast(0.0f), factor);
    S::store_i8(place(i), codes);
    sums = S::add(sums, S::to_f32(codes));
  });
  return {valid || !is_finite(scale) ? scale : 0.0f,
          static_cast<std::int32_t>(S::reduce_add(sums))};
}

/// Quantizes values[length] per token as token c of to[ceil(length / 32)]. Scale and correction_8
/// are those of to[0]; the other groups have none.
template <simd::backend S = simd::native, std::size_t N>
void quantize_per_token(const float* values, std::size_t length, activation_group<N>* to,
                        std::size_t c) noexcept {
  const auto [scale, sum] = encode_per_token<S>(
      values, length, [&](std::size_t i) { return to[i / 32].codes[c] + i % 32; });
  if (length % 32 != 0 && length % 32 <= 16)
    std::fill_n(to[length / 32].codes[c] + 16, 16, std::int8_t{0});
  to[0].scales[c] = scale;
  to[0].correction_8[c] = -S::code_offset * sum;
}

} // namespace edgequant::inline EDGEQUANT_ABI::gemm
