// SPDX-License-Identifier: MIT
/// Bounds on a group's squared error for sixteen scales, or ranges of scales, at a time.
#pragma once

#include "lanes.hpp"

namespace edgequant::inline EDGEQUANT_ABI::kernel {

/// A group without its signs: magnitudes |w| and importance c (empty: 1). The first values may be
/// clipped at the scales in question: `max_codes` holds their largest codes at positive scales, and
/// max_code_sum - max_codes those at negative ones.
struct magnitude_group {
  std::span<const float> magnitudes, importance, max_codes;
  float max_code_sum = 0;
};

/// A vector of sixteen lower bounds for positive scales and, with two `Signs`, one for negative.
template <std::size_t Signs, class S> struct interval_bounds { typename S::f32 of_sign[Signs]; };

enum class lane_scales {
  point,    ///< one scale a lane
  interval, ///< an interval of scales a lane
};

/// Lane by lane, for all scales s with x = |w| / s within x0 * (1 - spread) .. x0 * (1 + spread),
/// x0 = |w| * inverse: a lower bound of sum c * (x - q)^2 over the codes q. Once every lane
/// is at or above its `limit` the sums may end early. `spread` counts for intervals only.
///
/// Accuracy: each |x - q| is off by less than the largest code times 2^-21, or by 2^-21 of itself
/// where x > twice that, and the sum of n terms by n * 2^-23 of itself. Bounds need no more, so
/// products may be fused.
///
/// Inlined always: the calls are few, and with both kinds of argument in registers a search of
/// short groups gains 4 %.
template <bool Weighted, lane_scales Width, std::size_t Signs, simd::backend S = simd::native>
[[nodiscard, gnu::always_inline]] inline interval_bounds<Signs, S>
interval_errors(const magnitude_group& group, typename S::f32 inverse, typename S::f32 spread,
                typename S::f32 limit) noexcept {
  using f32 = typename S::f32;
  const auto zero = S::broadcast(0.0f), narrower = S::sub(zero, spread);
  const float* magnitude = group.magnitudes.data();
  const float* importance = group.importance.data();
  const auto add = [&](std::size_t i, f32 x, f32 code, f32 sum) {
    auto d = S::sub(x, code);
    if constexpr (Width == lane_scales::interval)
      d = S::max(S::multiply_add(x, narrower, S::abs(d)), zero);
    return S::multiply_add(Weighted ? S::mul(d, S::broadcast(importance[i])) : d, d, sum);
  };
  interval_bounds<Signs, S> sums;
  for (auto& sum : sums.of_sign) sum = zero;
  std::size_t i = 0;
  for (; i < group.max_codes.size(); ++i) {
    const auto x = S::mul(S::broadcast(magnitude[i]), inverse), code = S::round_even(x);
    const float max_codes[] = {group.max_codes[i], group.max_code_sum - group.max_codes[i]};
    for (std::size_t k = 0; k < Signs; ++k)
      sums.of_sign[k] = add(i, x, S::min(code, S::broadcast(max_codes[k])), sums.of_sign[k]);
  }
  // The others have the same codes with both signs.
  const auto unclipped = [&](std::size_t at, f32& sum) {
    const auto x = S::mul(S::broadcast(magnitude[at]), inverse);
    sum = add(at, x, S::round_even(x), sum);
  };
  f32 rest[] = {zero, zero, zero, zero}; // four, to hide the latency of additions
  const auto total = [&] { return S::add(S::add(rest[0], rest[1]), S::add(rest[2], rest[3])); };
  const std::size_t n = group.magnitudes.size();
  for (std::size_t check = i + (Width == lane_scales::interval ? 16 : 32); i + 4 <= n; i += 4) {
    for (std::size_t k = 0; k < 4; ++k) unclipped(i + k, rest[k]);
    if (i < check) continue; // a short group is done sooner than a branch is mispredicted
    check += (Width == lane_scales::interval ? 16 : 32);
    if (S::less(total(), limit) == 0) break; // no lane can stay below its limit
  }
  if (i + 4 > n)
    for (; i < n; ++i) unclipped(i, rest[0]);
  for (auto& sum : sums.of_sign) sum = S::add(sum, total());
  return sums;
}

/// Lane by lane: the sum of c * w^2 over the values whose magnitude is below `threshold`.
template <bool Weighted, simd::backend S = simd::native>
[[nodiscard]] typename S::f32 energy_below(const magnitude_group& group,
                                           typename S::f32 threshold) noexcept {
  typename S::f32 sums[] = {S::broadcast(0.0f), S::broadcast(0.0f)};
  for (std::size_t i = 0; i < group.magnitudes.size(); ++i) {
    const float w = group.magnitudes[i], c = Weighted ? group.importance[i] : 1.0f;
    const auto energy = S::where_less(S::broadcast(w), threshold, S::broadcast(w * w * c));
    sums[i % 2] = S::add(sums[i % 2], energy);
  }
  return S::add(sums[0], sums[1]);
}

} // namespace edgequant::inline EDGEQUANT_ABI::kernel
