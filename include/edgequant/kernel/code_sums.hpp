// SPDX-License-Identifier: MIT
/// What a scale search needs to know of a group at one scale.
#pragma once

#include "quantize.hpp"

namespace edgequant::inline EDGEQUANT_ABI::kernel {

/// With codes q at some scale s, the squared error is signal - 2 s cross + s^2 square.
struct code_sums {
  double cross = 0;  ///< sum of c * w * q
  double square = 0; ///< sum of c * q^2
};

/// Sums for the nearest codes of `values` at 1/inverse. `weighted` holds c * w and `importance` c,
/// or both are empty: c = 1.
template <int Bits, simd::backend S = simd::native>
[[nodiscard]] code_sums sum_codes(std::span<const float> values, std::span<const float> weighted,
                                  std::span<const float> importance, float inverse) noexcept {
  assert(weighted.size() == importance.size());
  const auto factor = S::broadcast(inverse);
  auto cross = S::broadcast(0.0), square = S::broadcast(0.0);
  for_each_16(values.size(), [&](std::size_t i, auto lanes) {
    const auto w = load_floats<S>(lanes, values.data() + i);
    const auto q = S::widen(S::to_f32(to_codes<Bits, rounding::half_even, S>(w, factor)));
    // Exact products: a float times a code, and a float times a code's square.
    if (importance.empty()) {
      cross = S::add(cross, S::mul(S::widen(w), q));
      square = S::add(square, S::mul(q, q));
    } else {
      const auto cw = S::widen(load_floats<S>(lanes, weighted.data() + i));
      const auto c = S::widen(load_floats<S>(lanes, importance.data() + i));
      cross = S::add(cross, S::mul(cw, q));
      square = S::add(square, S::mul(c, S::mul(q, q)));
    }
  });
  return {S::reduce_add(cross), S::reduce_add(square)};
}

} // namespace edgequant::inline EDGEQUANT_ABI::kernel
