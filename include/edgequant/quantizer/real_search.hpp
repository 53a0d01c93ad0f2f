// SPDX-License-Identifier: MIT
/// The real number that is the best scale of a group, for scales stored as float.
#pragma once

#include "weighted_group.hpp"

#include <cstdint>
#include <vector>

namespace edgequant::inline EDGEQUANT_ABI {

/// Up to this many values a group gets the exact optimum.
inline constexpr std::size_t longest_exact_group = 1024;

/// A sweep over all scales at which some code changes. Between two of them the error is the
/// parabola signal - 2 s cross + s^2 square, whose minimum is known; the best of all, rounded to
/// float, is the answer. At most longest_exact_group values.
template <int Bits> class real_search {
public:
  /// The best scale. Weights are looked at as they come: `Weighted` changes nothing.
  template <bool Weighted> [[nodiscard]] float find(const weighted_group& group) {
    return search(group);
  }

private:
  using range = kernel::code_range<Bits>;
  static constexpr bool both_signs = range::lowest != -range::highest;
  static constexpr int levels = -range::lowest;

  [[nodiscard]] float search(const weighted_group& group);
  void collect_breakpoints(double lowest);
  void sweep(bool negative);

  weighted_group group_;
  scored_scale best_; ///< scored exactly
  double least_ = 0;  ///< least estimate so far
  double signal_ = 0; ///< sum of c w^2
  double slack_ = 0;  ///< how far an estimate may be off
  std::vector<std::uint64_t> breakpoints_;
};

template <int Bits> float real_search<Bits>::search(const weighted_group& group) {
  group_ = group;
  best_ = group.template score<Bits>(0);
  signal_ = best_.error;
  if (signal_ == 0) return 0;
  const auto widest = static_cast<float>(static_cast<double>(group.largest) / range::lowest);
  if (is_finite(1 / widest)) best_ = std::min(best_, group.template score<Bits>(widest), better);
  collect_breakpoints(clipping_bound(group, best_.error, levels));
  // Each of m additions to a running sum adds at most one rounding (2^-53) of at most 4 signals. A
  // breakpoint that is misordered by 2^-35 leaves one code off by a step next to its tie: at most
  // 2^-33 signals over all values.
  const auto additions = static_cast<double>(group.values.size() + breakpoints_.size());
  slack_ = signal_ * (0x1p-33 + 16 * additions * 0x1p-53);
  least_ = best_.error;
  sweep(false);
  if constexpr (both_signs) sweep(true);
  return best_.scale;
}

/// Every scale at which a value passes from code k to k + 1, as sortable words: the upper 47 bits
/// of the double, then value and k. What that truncation misorders is part of the slack.
template <int Bits> void real_search<Bits>::collect_breakpoints(double lowest) {
  static_assert(longest_exact_group <= 1024 && levels <= 128);
  breakpoints_.clear();
  for (std::size_t i = 0; i < group_.values.size(); ++i) {
    if (group_.weight(i) == 0) continue;
    const double magnitude = std::fabs(group_.values[i]);
    for (int k = 0; k < levels; ++k) {
      const double at = magnitude / (k + 0.5);
      if (at < lowest || at == 0) break;
      breakpoints_.push_back((std::bit_cast<std::uint64_t>(at) & ~std::uint64_t{0x1ffff}) |
                             std::uint64_t{i} << 7 | static_cast<std::uint64_t>(k));
    }
  }
  std::sort(breakpoints_.begin(), breakpoints_.end());
}

/// Walks from large scales, where all codes are 0, to small ones.
template <int Bits> void real_search<Bits>::sweep(bool negative) {
  double cross = 0, square = 0;
  for (auto at = breakpoints_.rbegin(); at != breakpoints_.rend(); ++at) {
    const auto i = static_cast<std::size_t>(*at >> 7 & 0x3ff);
    const int k = static_cast<int>(*at & 0x7f);
    const bool low_side = (group_.values[i] < 0) != negative;
    if (k >= (low_side ? -range::lowest : range::highest)) continue;
    cross += group_.weight(i) * std::fabs(static_cast<double>(group_.values[i]));
    square += group_.weight(i) * (2 * k + 1);
    // Its minimum, signal - cross^2 / square, must not be worse than what is known.
    if (cross * cross < (signal_ - least_ - slack_) * square) continue;
    const double scale = cross / square;
    const auto stored = static_cast<float>(negative ? -scale : scale);
    if (!is_finite(1 / stored)) continue;
    const scored_scale candidate = group_.template score<Bits>(stored);
    least_ = std::min(least_, signal_ - cross * scale);
    if (better(candidate, best_)) best_ = candidate;
  }
}

} // namespace edgequant::inline EDGEQUANT_ABI
