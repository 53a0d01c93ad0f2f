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

/// Index of the first value that is NaN or infinite, if there is one.
template <simd::backend S = simd::native>
[[nodiscard]] std::optional<std::size_t> find_non_finite(std::span<const float> values) noexcept {
  if (absmax_bits<S>(values) < infinity_bits) return std::nullopt;
  std::size_t i = 0;
  while (is_finite(values[i])) ++i;
  return i;
}

} // namespace edgequant::inline EDGEQUANT_ABI::kernel
