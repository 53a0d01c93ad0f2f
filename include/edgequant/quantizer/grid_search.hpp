// SPDX-License-Identifier: MIT
/// A scale near the best for groups that are long: a geometric grid, then descent.
#pragma once

#include "../kernel/code_sums.hpp"
#include "weighted_group.hpp"

#include <vector>

namespace edgequant::inline EDGEQUANT_ABI {

/// With E* the least error over all real scales and W = sum c w^2, the error found is at most
/// E* + W / 512^2, plus what rounding the scale to its type adds: the grid has a point within
/// 1/512 of the best scale s*, and at it the codes of s* alone cost E* + (s - s*)^2 sum c q^2,
/// where s*^2 sum c q^2 <= W.
template <int Bits, scale_type Scale> class grid_search {
public:
  [[nodiscard]] float operator()(const weighted_group& group);

private:
  using range = kernel::code_range<Bits>;
  static constexpr bool both_signs = range::lowest != -range::highest;
  static constexpr int levels = -range::lowest;

  [[nodiscard]] double clipping_error(double scale) const;
  [[nodiscard]] double vanishing_error(double scale) const;
  [[nodiscard]] kernel::code_sums sums(float scale) const;
  void consider(double scale);

  weighted_group group_;
  std::vector<float> weighted_; ///< c * w
  double signal_ = 0;
  scored_scale best_;
};

template <int Bits, scale_type Scale>
float grid_search<Bits, Scale>::operator()(const weighted_group& group) {
  group_ = group;
  weighted_.resize(group.importance.size());
  for (std::size_t i = 0; i < weighted_.size(); ++i)
    weighted_[i] = group.importance[i] * group.values[i];
  best_ = group.template score<Bits>(0);
  signal_ = best_.error;
  if (signal_ == 0) return 0;
  // From the scale without clipping, steps to both sides until even the values that are clipped, or
  // those that vanish, cost more than the best so far.
  const double step = 1 + 1.0 / 256, most = std::fabs(static_cast<double>(group.largest));
  const double widest = most / levels;
  const auto visit = [&](double scale) {
    consider(scale);
    if (both_signs) consider(-scale);
  };
  int count = 0; // the bounds are looked at every 16 steps
  for (double s = widest; s > widest * 0x1p-20; s /= step) {
    visit(s);
    if (++count % 16 == 0 && clipping_error(s) > best_.error) break;
  }
  for (double s = widest * step; s < 2 * most * step; s *= step) {
    visit(s);
    if (++count % 16 == 0 && vanishing_error(s) > best_.error) break;
  }
  for (int i = 0; i < 16 && best_.scale != 0; ++i) { // codes, then their best scale, and again
    const float before = best_.scale;
    const auto k = sums(before);
    if (k.square > 0) consider(k.cross / k.square);
    if (best_.scale == before) break;
  }
  return best_.scale;
}

template <int Bits, scale_type Scale>
kernel::code_sums grid_search<Bits, Scale>::sums(float scale) const {
  return kernel::sum_codes<Bits>(group_.values, weighted_, group_.importance, 1 / scale);
}

template <int Bits, scale_type Scale> void grid_search<Bits, Scale>::consider(double scale) {
  const auto s = static_cast<float>(static_cast<Scale>(static_cast<float>(scale)));
  if (!is_finite(s) || !is_finite(1 / s)) return;
  const auto k = sums(s);
  const double product = rounded(s * k.square);
  const scored_scale candidate{s, signal_ - rounded(s * (2 * k.cross - product))};
  if (better(candidate, best_)) best_ = candidate;
}

/// The error of the values beyond the last code alone.
template <int Bits, scale_type Scale>
double grid_search<Bits, Scale>::clipping_error(double scale) const {
  double sum = 0;
  for (std::size_t i = 0; i < group_.values.size(); ++i) {
    const double excess = std::fabs(group_.values[i]) - rounded(levels * scale);
    if (excess > 0) sum += rounded(rounded(excess * excess) * group_.weight(i));
  }
  return sum;
}

/// The error of the values that become 0 alone.
template <int Bits, scale_type Scale>
double grid_search<Bits, Scale>::vanishing_error(double scale) const {
  double sum = 0;
  for (std::size_t i = 0; i < group_.values.size(); ++i) {
    const double w = group_.values[i];
    if (std::fabs(w) < scale / 2) sum += rounded(w * w * group_.weight(i));
  }
  return sum;
}

} // namespace edgequant::inline EDGEQUANT_ABI
