// SPDX-License-Identifier: MIT
/// Bounds on a group's squared error for sixteen scales, or ranges of scales, at a time.
#pragma once

#include "lanes.hpp"

namespace edgequant::inline EDGEQUANT_ABI::kernel {

/// A group's magnitudes |w| and importance c (empty: 1). The first `split` may use codes 0..top[0],
/// the others 0..top[1].
struct split_group {
  std::span<const float> magnitudes, importance;
  std::size_t split = 0;
  float top[2] = {};
};

/// Lane by lane, for all scales s with x = |w| / s within x0 * (1 - spread) .. x0 * (1 + spread),
/// x0 = |w| * inverse: a lower bound of sum c * (x - q)^2 over the codes q, or some value that is
/// not below `limit` in any lane.
///
/// Accuracy: each |x - q| is off by less than top * 2^-21, or by 2^-21 of itself where x > 2 top,
/// and the sum of n terms by n * 2^-23 of itself. Bounds need no more, so products may be fused.
template <bool Weighted, simd::backend S = simd::native>
[[nodiscard]] typename S::f32 cell_errors(const split_group& group, typename S::f32 inverse,
                                          typename S::f32 spread, typename S::f32 limit) noexcept {
  const auto zero = S::broadcast(0.0f), narrower = S::sub(zero, spread);
  const float* magnitude = group.magnitudes.data();
  const float* importance = group.importance.data();
  auto sum = zero;
  std::size_t i = 0;
  for (int side = 0; side < 2; ++side) {
    const auto top = S::broadcast(group.top[side]);
    const std::size_t side_end = side == 0 ? group.split : group.magnitudes.size();
    while (i < side_end) {
      for (const std::size_t end = std::min(side_end, i + 8); i < end; ++i) {
        const auto x = S::mul(S::broadcast(magnitude[i]), inverse);
        const auto nearest = S::sub(x, S::min(S::round_even(x), top));
        const auto d = S::max(S::multiply_add(x, narrower, S::abs(nearest)), zero);
        if constexpr (Weighted)
          sum = S::multiply_add(S::mul(d, S::broadcast(importance[i])), d, sum);
        else
          sum = S::multiply_add(d, d, sum);
      }
      if (S::less(sum, limit) == 0) return sum; // no lane can stay below its limit
    }
  }
  return sum;
}

/// Lane by lane: the sum of `energies` over the values whose magnitude is below `threshold`.
template <simd::backend S = simd::native>
[[nodiscard]] typename S::f32 sums_below(std::span<const float> magnitudes,
                                         std::span<const float> energies,
                                         typename S::f32 threshold) noexcept {
  auto sum = S::broadcast(0.0f);
  for (std::size_t i = 0; i < magnitudes.size(); ++i)
    sum = S::add(sum,
                 S::where_less(S::broadcast(magnitudes[i]), threshold, S::broadcast(energies[i])));
  return sum;
}

} // namespace edgequant::inline EDGEQUANT_ABI::kernel
