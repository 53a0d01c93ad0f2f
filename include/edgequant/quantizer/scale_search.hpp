// SPDX-License-Identifier: MIT
/// The `mse` rule: the scale with the least squared error of a group.
#pragma once

#include "../kernel/code_sums.hpp"
#include "scale_error.hpp"

#include <array>
#include <cstdint>
#include <vector>

namespace edgequant::inline EDGEQUANT_ABI {

/// Groups up to this length get the exact optimum, longer ones the grid search.
inline constexpr std::size_t longest_exact_group = 1024;

/// Finds the best scale of a group. An object is scratch memory for one thread; its answers do not
/// depend on earlier ones.
///
/// Up to longest_exact_group values: the stored scale, of either sign, with the least squared error
/// over all finite values of its type (half), or the real optimum rounded to float (float). Ties go
/// to the smaller magnitude, then to the positive.
///
/// Longer groups: a geometric grid with steps of 1/256, then descent from its best point. With E*
/// the optimum and W the sum of c * w^2, the error found is at most E* + W / 512^2, plus what
/// rounding the scale to its type adds.
///
/// Importance c: finite, not negative, one per value or none at all; all zeros count as none.
template <int Bits, scale_type Scale> class scale_search {
public:
  [[nodiscard]] float operator()(std::span<const float> values, std::span<const float> importance);

private:
  using range = kernel::code_range<Bits>;
  /// 8-bit codes are symmetric: a negative scale ties with its positive twin and loses.
  static constexpr bool both_signs = range::lowest != -range::highest;
  static constexpr int most_levels = -range::lowest;

  /// Scales at which some code changes lie in [lowest, highest]: outside, the error is larger than
  /// one that is already known.
  struct bracket {
    double lowest, highest;
  };

  void prepare(std::span<const float> values, std::span<const float> importance);
  [[nodiscard]] double estimate_start() const;
  [[nodiscard]] bracket bracket_scales(double known_error) const;
  [[nodiscard]] double clipping_error(double scale) const;
  [[nodiscard]] double vanishing_error(double scale) const;
  void collect_breakpoints(bracket limits);
  void sweep(bool negative);
  void offer(double scale, double cross, double square, bool negative);
  void offer_stored(float scale, double cross, double square, bool negative);
  void shorten_list();
  [[nodiscard]] float best_of_list() const;
  [[nodiscard]] float exact();
  [[nodiscard]] float grid();

  [[nodiscard]] double weight(std::size_t i) const {
    return importance_.empty() ? 1.0 : importance_[i];
  }
  /// The largest code magnitude of value i at a positive (or negative) scale.
  [[nodiscard]] int levels(std::size_t i, bool negative) const {
    return (values_[i] < 0) != negative ? -range::lowest : range::highest;
  }

  std::span<const float> values_, importance_;
  double signal_ = 0; ///< W
  double slack_ = 0;  ///< how far an estimate may be off
  double best_ = 0;   ///< least estimate so far
  float largest_ = 0; ///< the value of largest magnitude that matters
  std::vector<std::uint64_t> breakpoints_;
  std::vector<std::int8_t> start_codes_; ///< code magnitudes at the bracket's upper end
  std::vector<float> weighted_;
  std::array<scored_scale, 64> list_; ///< scales whose estimate is within slack of the best
  std::size_t listed_ = 0;
};

/// The half next to `scale` (positive, at most largest_half) towards zero.
[[nodiscard]] inline float half_below(double scale) noexcept {
  const auto nearest = static_cast<half>(static_cast<float>(scale));
  if (static_cast<double>(static_cast<float>(nearest)) <= scale) return static_cast<float>(nearest);
  return static_cast<float>(Eigen::numext::bit_cast<half>(
      static_cast<std::uint16_t>(Eigen::numext::bit_cast<std::uint16_t>(nearest) - 1)));
}

template <int Bits, scale_type Scale>
float scale_search<Bits, Scale>::operator()(std::span<const float> values,
                                            std::span<const float> importance) {
  prepare(values, importance);
  if (signal_ == 0) return 0;
  return values.size() <= longest_exact_group ? exact() : grid();
}

template <int Bits, scale_type Scale>
void scale_search<Bits, Scale>::prepare(std::span<const float> values,
                                        std::span<const float> importance) {
  values_ = values;
  importance_ = importance;
  const bool all_zero =
      std::all_of(importance.begin(), importance.end(), [](float c) { return c == 0; });
  if (all_zero) importance_ = {};
  signal_ = 0;
  largest_ = 0;
  for (std::size_t i = 0; i < values_.size(); ++i) {
    const double w = values_[i];
    signal_ += rounded(rounded(w * w) * weight(i));
    if (weight(i) > 0 && std::fabs(values_[i]) > std::fabs(largest_)) largest_ = values_[i];
  }
}

/// The error of a few plain scales: an upper bound of the optimum.
template <int Bits, scale_type Scale> double scale_search<Bits, Scale>::estimate_start() const {
  double least = signal_;
  for (const double shrink : {1.0, 0.93}) {
    const auto scale = static_cast<float>(largest_ / range::lowest * shrink);
    const float stored = static_cast<float>(static_cast<Scale>(scale));
    if (stored != 0 && is_finite(stored))
      least = std::min(least, squared_error<Bits>(values_, importance_, stored));
  }
  return least;
}

template <int Bits, scale_type Scale>
auto scale_search<Bits, Scale>::bracket_scales(double known_error) const -> bracket {
  const double enough = known_error * (1 + 0x1p-40); // room for the rounding of the sums below
  const double most = std::fabs(static_cast<double>(largest_)), step = 1.125;
  const double widest = most / most_levels; // nothing is clipped
  // Too small a scale clips too much: sum of c (|w| - levels * s)^2 is above the known error. One
  // value alone gives a bound in closed form, all of them together one in steps.
  double lowest = 0;
  for (std::size_t i = 0; i < values_.size(); ++i) {
    if (weight(i) == 0) continue;
    const double clipped = std::fabs(values_[i]) - std::sqrt(enough / weight(i));
    lowest = std::max(lowest, clipped / most_levels * (1 - 0x1p-40));
  }
  for (double s = widest / step; s > lowest && s > widest * 0x1p-20; s /= step)
    if (clipping_error(s) > enough) lowest = s;
  // Too large a scale turns everything below its half into 0.
  double highest = widest;
  const double top = 2 * most * (1 + 0x1p-40);
  while (highest < top && vanishing_error(highest) <= enough) highest *= step;
  return {lowest, std::min(highest, top)};
}

template <int Bits, scale_type Scale>
double scale_search<Bits, Scale>::clipping_error(double scale) const {
  double sum = 0;
  for (std::size_t i = 0; i < values_.size(); ++i) {
    const double excess = std::fabs(values_[i]) - most_levels * scale;
    if (excess > 0) sum += rounded(rounded(excess * excess) * weight(i));
  }
  return sum;
}

template <int Bits, scale_type Scale>
double scale_search<Bits, Scale>::vanishing_error(double scale) const {
  double sum = 0;
  for (std::size_t i = 0; i < values_.size(); ++i) {
    const double w = values_[i];
    if (std::fabs(w) < scale / 2) sum += rounded(w * w * weight(i));
  }
  return sum;
}

/// Every scale at which a value passes from code k to k + 1, as sortable words: the upper 47 bits
/// of the double, then value and k. What that truncation misorders is part of the slack.
template <int Bits, scale_type Scale>
void scale_search<Bits, Scale>::collect_breakpoints(bracket limits) {
  breakpoints_.clear();
  start_codes_.assign(values_.size(), 0);
  for (std::size_t i = 0; i < values_.size(); ++i) {
    const double magnitude = std::fabs(values_[i]);
    const double passed = std::min<double>(magnitude / limits.highest, most_levels);
    int k = std::max(0, static_cast<int>(passed - 0.5));
    while (k < most_levels && magnitude / (k + 0.5) > limits.highest) ++k;
    start_codes_[i] = static_cast<std::int8_t>(k);
    for (; k < most_levels && weight(i) > 0; ++k) {
      const double at = magnitude / (k + 0.5);
      if (at < limits.lowest || at == 0) break;
      breakpoints_.push_back((std::bit_cast<std::uint64_t>(at) & ~std::uint64_t{0x1ffff}) |
                             std::uint64_t{i} << 7 | static_cast<std::uint64_t>(k));
    }
  }
  std::sort(breakpoints_.begin(), breakpoints_.end());
}

/// Walks from large scales to small ones. Between two breakpoints the codes are fixed and the error
/// is the parabola signal - 2 s cross + s^2 square. The optimum over stored scales is one of the
/// two neighbours of some such parabola's minimum: if it were not, the neighbour on its side would
/// have a smaller error with the same codes.
template <int Bits, scale_type Scale> void scale_search<Bits, Scale>::sweep(bool negative) {
  double cross = 0, square = 0;
  for (std::size_t i = 0; i < values_.size(); ++i) {
    const double magnitude = std::fabs(values_[i]);
    const double code = std::min<int>(levels(i, negative), start_codes_[i]);
    cross += weight(i) * magnitude * code;
    square += weight(i) * code * code;
  }
  const auto visit = [&] {
    // The parabola's minimum, signal - cross^2 / square, is no better than what is known.
    if (cross * cross < (signal_ - best_ - slack_) * square || square == 0) return;
    offer(cross / square, cross, square, negative);
  };
  visit();
  for (auto at = breakpoints_.rbegin(); at != breakpoints_.rend(); ++at) {
    const auto i = static_cast<std::size_t>(*at >> 7 & 0x3ff);
    const int k = static_cast<int>(*at & 0x7f);
    if (k >= levels(i, negative)) continue;
    cross += weight(i) * std::fabs(static_cast<double>(values_[i]));
    square += weight(i) * (2 * k + 1);
    visit();
  }
}

template <int Bits, scale_type Scale>
void scale_search<Bits, Scale>::offer(double scale, double cross, double square, bool negative) {
  if constexpr (std::same_as<Scale, float>) {
    offer_stored(static_cast<float>(scale), cross, square, negative);
  } else {
    if (scale >= largest_half) return offer_stored(largest_half, cross, square, negative);
    const float below = half_below(scale);
    offer_stored(below, cross, square, negative);
    if (static_cast<double>(below) < scale) {
      const auto bits = Eigen::numext::bit_cast<std::uint16_t>(static_cast<half>(below));
      const auto above = Eigen::numext::bit_cast<half>(static_cast<std::uint16_t>(bits + 1));
      offer_stored(static_cast<float>(above), cross, square, negative);
    }
  }
}

template <int Bits, scale_type Scale>
void scale_search<Bits, Scale>::offer_stored(float scale, double cross, double square,
                                             bool negative) {
  const double s = scale;
  const double estimate = signal_ - s * (2 * cross - s * square);
  if (estimate > best_ + slack_) return;
  best_ = std::min(best_, estimate);
  const float signed_scale = negative ? -scale : scale;
  for (std::size_t i = 0; i < listed_; ++i) {
    if (list_[i].scale != signed_scale) continue;
    list_[i].error = std::min(list_[i].error, estimate);
    return;
  }
  if (listed_ == list_.size()) shorten_list();
  list_[listed_++] = {signed_scale, estimate};
}

/// Makes room: drops what is no longer near the best or, where all are, all but the true best.
template <int Bits, scale_type Scale> void scale_search<Bits, Scale>::shorten_list() {
  const auto end =
      std::remove_if(list_.begin(), list_.begin() + static_cast<std::ptrdiff_t>(listed_),
                     [&](const scored_scale& s) { return s.error > best_ + slack_; });
  listed_ = static_cast<std::size_t>(end - list_.begin());
  if (listed_ == list_.size()) {
    list_[0].scale = best_of_list();
    list_[0].error = best_;
    listed_ = 1;
  }
}

/// Compares what is listed by the exact error sum. No scale at all (0) is a candidate too.
template <int Bits, scale_type Scale> float scale_search<Bits, Scale>::best_of_list() const {
  scored_scale best{0, squared_error<Bits>(values_, importance_, 0)};
  for (std::size_t i = 0; i < listed_; ++i) {
    if (list_[i].error > best_ + slack_) continue;
    const scored_scale candidate{list_[i].scale,
                                 squared_error<Bits>(values_, importance_, list_[i].scale)};
    if (better(candidate, best)) best = candidate;
  }
  return best.scale;
}

template <int Bits, scale_type Scale> float scale_search<Bits, Scale>::exact() {
  best_ = estimate_start();
  const bracket limits = bracket_scales(best_);
  collect_breakpoints(limits);
  // Each of m additions to a running sum adds at most one rounding (2^-53) of at most 4 W in all.
  // A breakpoint misordered by 2^-35 leaves one code off by a step next to its tie: at most
  // 2^-33 W over all values.
  const auto additions = static_cast<double>(values_.size() + breakpoints_.size());
  slack_ = signal_ * (0x1p-33 + 16 * additions * 0x1p-53);
  listed_ = 0;
  sweep(false);
  if constexpr (both_signs) sweep(true);
  return best_of_list();
}

template <int Bits, scale_type Scale> float scale_search<Bits, Scale>::grid() {
  weighted_.resize(importance_.size());
  for (std::size_t i = 0; i < weighted_.size(); ++i) weighted_[i] = importance_[i] * values_[i];
  const auto sums = [&](float scale) {
    return kernel::sum_codes<Bits>(values_, weighted_, importance_, 1.0f / scale);
  };
  const auto error = [&](float s, const kernel::code_sums& k) {
    return signal_ - rounded(s * (2 * k.cross - rounded(s * k.square)));
  };
  scored_scale best{0, signal_};
  const bracket limits = bracket_scales(estimate_start());
  const auto consider = [&](double scale) {
    const auto s = static_cast<float>(static_cast<Scale>(static_cast<float>(scale)));
    if (!is_finite(1 / s) || !is_finite(s)) return;
    const scored_scale candidate{s, error(s, sums(s))};
    if (better(candidate, best)) best = candidate;
  };
  for (double s = limits.lowest > 0 ? limits.lowest : limits.highest / 4096;
       s <= limits.highest * 257 / 256; s *= 1 + 1.0 / 256) {
    consider(s);
    if (both_signs) consider(-s);
  }
  for (int step = 0; step < 16 && best.scale != 0; ++step) { // codes, then their best scale
    const auto k = sums(best.scale);
    const float before = best.scale;
    if (k.square > 0) consider(k.cross / k.square);
    if (best.scale == before) break;
  }
  return best.scale;
}

} // namespace edgequant::inline EDGEQUANT_ABI
