// SPDX-License-Identifier: MIT
/// The squared error of a group at one scale: what the `mse` rule minimises.
#pragma once

#include "quantize.hpp"

#include <cassert>

namespace edgequant::inline EDGEQUANT_ABI::kernel {

/// Sum of c * (w - q * scale)^2 with q the nearest code of w, in double, in 16 lanes and a fixed
/// tree; `importance` holds c, or is empty for c = 1. A scale of 0 has only zero codes.
template <int Bits, simd::backend S = simd::native>
[[nodiscard]] double squared_error(std::span<const float> values, std::span<const float> importance,
                                   float scale) noexcept {
  assert(importance.empty() || importance.size() == values.size());
  using range = code_range<Bits>;
  const double step = scale;
  const auto s = S::broadcast(step), inverse = S::broadcast(scale == 0 ? 0.0 : 1.0 / step);
  auto sum = S::broadcast(0.0);
  for_each_16(values.size(), [&](std::size_t i, auto lanes) {
    const auto w = S::widen(load_floats<S>(lanes, values.data() + i));
    const auto q = S::clamp_round(S::mul(w, inverse), range::lowest, range::highest);
    const auto d = S::sub(w, S::mul(q, s)); // the product is exact: 8 + 24 bits
    auto square = S::rounded(S::mul(d, d));
    if (!importance.empty()) {
      const auto c = S::widen(load_floats<S>(lanes, importance.data() + i));
      square = S::rounded(S::mul(square, c));
    }
    sum = S::add(sum, square);
  });
  return S::reduce_add(sum);
}

} // namespace edgequant::inline EDGEQUANT_ABI::kernel
