// SPDX-License-Identifier: MIT
/// The largest magnitude of a group, and the door at which NaN and infinity are refused.
#pragma once

#include "lanes.hpp"

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

/// Index of the first value that is NaN or infinite, if there is one.
template <simd::backend S = simd::native>
[[nodiscard]] std::optional<std::size_t> find_non_finite(std::span<const float> values) noexcept {
  if (absmax_bits<S>(values) < infinity_bits) return std::nullopt;
  std::size_t i = 0;
  while (is_finite(values[i])) ++i;
  return i;
}

} // namespace edgequant::inline EDGEQUANT_ABI::kernel
