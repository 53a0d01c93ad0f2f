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

/// A bound that is closer than cell_errors, for the same ranges of scales at twice the work: lane
/// by lane, no scale of the range has a squared error below the result times the square of the
/// middle scale 1 / inverse. The values whose code is the same in the whole range have one parabola
/// in s together, whose minimum in the range counts; the others count as in cell_errors.
///
/// Accuracy: as cell_errors, and n * 2^-22 * sum c.
template <bool Weighted, simd::backend S = simd::native>
[[nodiscard]] typename S::f32 cell_parabolas(const split_group& group, typename S::f32 inverse,
                                             typename S::f32 spread) noexcept {
  const auto zero = S::broadcast(0.0f), one = S::broadcast(1.0f);
  auto square = zero, cross = zero, codes = zero,
       moving = zero; // sums of d^2, d q, q^2; the others
  std::size_t i = 0;
  for (int side = 0; side < 2; ++side) {
    const auto top = S::broadcast(group.top[side]);
    const std::size_t side_end = side == 0 ? group.split : group.magnitudes.size();
    for (; i < side_end; ++i) {
      const auto x = S::mul(S::broadcast(group.magnitudes[i]), inverse);
      const auto q = S::min(S::round_even(x), top);
      const auto d = S::sub(x, q), distance = S::abs(d), reach = S::mul(x, spread);
      // Fixed: |d| + reach < 0.5, with room for rounding.
      const auto room = S::sub(S::broadcast(0.4999f), reach);
      const auto fixed_d = S::where_less(distance, room, d);
      const auto fixed_q = S::where_less(distance, room, q);
      const auto least = S::max(S::sub(distance, reach), zero);
      const auto moving_d = S::sub(least, S::where_less(distance, room, least));
      const auto c = Weighted ? S::broadcast(group.importance[i]) : one;
      const auto cd = Weighted ? S::mul(fixed_d, c) : fixed_d;
      square = S::multiply_add(cd, fixed_d, square);
      cross = S::multiply_add(cd, fixed_q, cross);
      codes = S::multiply_add(Weighted ? S::mul(fixed_q, c) : fixed_q, fixed_q, codes);
      moving = S::multiply_add(Weighted ? S::mul(moving_d, c) : moving_d, moving_d, moving);
    }
  }
  // At s = (1 - u) / inverse a fixed value is off by d + u q: least at u = -cross / codes.
  const auto free = S::div(S::sub(zero, cross), S::max(codes, S::broadcast(0x1p-100f)));
  const auto u = S::min(S::max(free, S::sub(zero, spread)), spread);
  const auto fixed = S::multiply_add(u, S::multiply_add(u, codes, S::add(cross, cross)), square);
  const auto smallest = S::sub(one, spread); // of the range, over the middle
  return S::multiply_add(S::mul(smallest, smallest), moving, fixed);
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
