// SPDX-License-Identifier: MIT
/// The largest magnitude of a group, and the door at which NaN and infinity are refused.
#pragma once

#include "lanes.hpp"

#include <bit>
#include <optional>

namespace edgequant::inline EDGEQUANT_ABI::kernel {

/// Largest |x| as its bit pattern, 0 for no values. From infinity_bits on, some value is infinite
/// or NaN: the integer order puts both above every finite magnitude.
template <simd::backend S = simd::native>
[[nodiscard]] std::uint32_t absmax_bits(std::span<const float> values) noexcept {
  auto most = S::bits(S::broadcast(0.0f));
  for_each_16(values.size(), [&](std::size_t i, auto lanes) {
    most = S::max(most, S::bits(S::abs(load_floats<S>(lanes, values.data() + i))));
  });
  return static_cast<std::uint32_t>(S::reduce_max(most));
}

/// The finite value of largest magnitude, the first of several; 0 for no values.
template <simd::backend S = simd::native>
[[nodiscard]] float largest_value(std::span<const float> values) noexcept {
  const std::uint32_t most = absmax_bits<S>(values);
  const float magnitude = std::bit_cast<float>(most);
  const auto high = S::broadcast(magnitude), low = S::broadcast(-magnitude);
  for (std::size_t i = 0; i + 16 <= values.size(); i += 16) {
    // No value is above `high` or below `low`: not less means equal.
    const auto x = S::load(values.data() + i);
    const std::uint32_t positive = ~S::less(x, high) & 0xffff, negative = ~S::less(low, x) & 0xffff;
    if ((positive | negative) == 0) continue;
    return std::countr_zero(positive) <= std::countr_zero(negative) ? magnitude : -magnitude;
  }
  for (std::size_t i = values.size() / 16 * 16; i < values.size(); ++i)
    if (abs_bits(values[i]) == most) return most == 0 ? 0 : values[i];
  return 0;
}

/// Largest |x| of sixteen groups of finite values that follow each other; lane i is group i. Their
/// common length is a multiple of 16.
template <simd::backend S = simd::native>
[[nodiscard]] inline typename S::f32 absmax_of_16(const float* values,
                                                  std::size_t length) noexcept {
  typename S::f32 most[16];
  for (std::size_t g = 0; g < 16; ++g, values += length) {
    most[g] = S::abs(S::load(values));
    for (std::size_t i = 16; i < length; i += 16)
      most[g] = S::max(most[g], S::abs(S::load(values + i)));
  }
  return S::max_of_each(most);
}

/// largest_value of sixteen groups, as absmax_of_16.
template <simd::backend S = simd::native>
[[nodiscard]] inline typename S::f32 largest_of_16(const float* values,
                                                   std::size_t length) noexcept {
  const auto zero = S::broadcast(0.0f);
  typename S::f32 highest[16], lowest[16];
  for (std::size_t g = 0; g < 16; ++g) {
    const float* group = values + g * length;
    auto low = S::load(group);
    highest[g] = low;
    for (std::size_t i = 16; i < length; i += 16) {
      highest[g] = S::max(highest[g], S::load(group + i));
      low = S::min(low, S::load(group + i));
    }
    lowest[g] = S::sub(zero, low);
  }
  const auto high = S::max_of_each(highest), low = S::max_of_each(lowest);
  std::uint32_t ties = ~(S::less(high, low) | S::less(low, high)) & 0xffff;
  // One of the two differences is 0 - 0 or x - 0.
  const auto largest = S::sub(S::where_less(low, high, high), S::where_less(high, low, low));
  if (ties == 0) return largest;
  float result[16];
  S::store(result, largest);
  for (; ties != 0; ties &= ties - 1) { // both signs of the largest magnitude: the first counts
    const auto g = static_cast<std::size_t>(std::countr_zero(ties));
    result[g] = largest_value<S>({values + g * length, length});
  }
  return S::load(result);
}

/// Index of the first value that is NaN or infinite, if there is one.
template <simd::backend S = simd::native>
[[nodiscard]] std::optional<std::size_t> find_non_finite(std::span<const float> values) noexcept {
  if (absmax_bits<S>(values) < infinity_bits) return std::nullopt;
  std::size_t i = 0;
  while (is_finite(values[i])) ++i;
  return i;
}

} // namespace edgequant::inline EDGEQUANT_ABI::kernel
