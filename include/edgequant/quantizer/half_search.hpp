// SPDX-License-Identifier: MIT
/// The f16 scale of least squared error, proven against every other f16 of either sign.
#pragma once

#include "../kernel/scale_intervals.hpp"
#include "weighted_group.hpp"

#include <array>
#include <bit>
#include <cassert>
#include <cstdint>
#include <limits>
#include <numeric>
#include <vector>

namespace edgequant::inline EDGEQUANT_ABI {

[[nodiscard]] inline float half_from_bits(std::uint16_t bits) noexcept {
  return static_cast<float>(Eigen::numext::bit_cast<half>(bits));
}
[[nodiscard]] inline std::uint16_t bits_of_half(double scale) noexcept {
  const float clamped = std::min(static_cast<float>(scale), largest_half);
  return Eigen::numext::bit_cast<std::uint16_t>(static_cast<half>(clamped));
}

/// The bits of the least half that is not below a positive float of at most largest_half.
[[nodiscard]] inline std::uint16_t bits_at_or_above(float scale) noexcept {
  const std::uint16_t bits = bits_of_half(scale);
  return half_from_bits(bits) < scale ? static_cast<std::uint16_t>(bits + 1) : bits;
}
/// The bits of the largest half that is not above a positive float, at most largest_half.
[[nodiscard]] inline std::uint16_t bits_at_or_below(float scale) noexcept {
  const std::uint16_t bits = bits_of_half(scale);
  return half_from_bits(bits) > scale ? static_cast<std::uint16_t>(bits - 1) : bits;
}

/// Index of the least of sixteen, the first of several, without a branch to mispredict.
[[nodiscard]] inline int least_of(const std::array<float, 16>& values) noexcept {
  float least = values[0];
  int at = 0;
  for (int i = 1; i < 16; ++i) {
    const float value = values[static_cast<std::size_t>(i)];
    at = value < least ? i : at;
    least = std::min(least, value);
  }
  return at;
}

/// All halves that may be the best get a lower bound of their error, sixteen at a time, and those
/// that the bound leaves are scored exactly. Blocks of halves are bounded before, where they are
/// wide enough to save work. Bounds are in float with a margin for their rounding; only exact
/// scores are compared, so the answer is the same on every machine.
template <int Bits> class half_search {
public:
  /// The best scale; 0 where nothing beats a group of zeros. `Weighted`: the group has importance.
  template <bool Weighted> [[nodiscard]] float find(const weighted_group& group) {
    assert(group.importance.empty() != Weighted);
    group_ = group;
    return search<Weighted>();
  }

private:
  using S = simd::native;
  using f32 = typename S::f32;
  using range = kernel::code_range<Bits>;
  /// 8-bit codes are symmetric: a negative scale ties with its positive twin and loses.
  static constexpr bool both_signs = range::lowest != -range::highest;
  static constexpr std::size_t signs = both_signs ? 2 : 1; ///< positive, negative
  static constexpr int levels = -range::lowest;
  /// Up to this multiple of the scale without clipping every scale is bounded by itself: intervals
  /// would be too short to save work.
  static constexpr float exhaustive_up_to = Bits < 8 ? 0.0f : 1.14f;
  /// How much looser than that of its middle the bound of an interval may be: see
  /// interval_length(). Tuned by timing.
  static constexpr float bound_slack = Bits == 4 ? 0.06f : Bits == 5 ? 0.12f : 0.2f;
  /// Of the scale without clipping, a second one to begin with: near the best of bell-shaped
  /// values.
  static constexpr double shrunk = Bits == 4 ? 0.92 : Bits == 5 ? 0.96 : 0.996;

  /// Consecutive f16 scales.
  struct scale_interval {
    float error;     ///< lower bound of sum c (w / s - q)^2: error / s^2
    float low;       ///< the least of its scales
    int first, last; ///< bits
  };

  template <bool Weighted> float search();
  template <bool Weighted> void arrange(float lowest);
  void consider(float magnitude, bool negative);
  void consider_zeros();
  void start();
  [[nodiscard]] float first_scale() const;
  template <bool Weighted> [[nodiscard]] float last_scale() const;
  [[nodiscard]] int interval_length(float low) const;
  template <bool Weighted> void list_intervals(int first, int last, int length);
  template <bool Weighted> void score_halves(int first, int last);
  template <bool Weighted> void score_sixteen(int first, int last);
  /// The magnitudes for scales from the half with the bits `first` on.
  [[nodiscard]] const kernel::magnitude_group& from_scale(int first) const {
    return first > clips_to_ ? unclipped_group_ : clipped_group_;
  }
  /// Errors below this, in units of the square of 1 / inverse, may be the best.
  [[nodiscard]] f32 limit(f32 inverse) const;
  /// Whether the scale, bounded when the best was another, may still be the best.
  [[nodiscard]] bool may_be_best(float error, float scale) const {
    const float root = root_ / scale + absolute_margin_;
    return error < root * root * relative_margin_;
  }

  weighted_group group_;
  kernel::magnitude_group clipped_group_, unclipped_group_;
  std::vector<float> magnitudes_, importance_; ///< importance relative to its maximum
  float importance_scale_ = 1;                 ///< that maximum
  std::vector<float> tops_;                    ///< of the values that clip, which stand first
  float per_widest_ = 0;                       ///< one over the least scale without clipping
  int clips_to_ = 0; ///< bits of the largest half at which a value may clip
  float absolute_margin_ = 0, relative_margin_ = 1; ///< what float rounding may hide
  scored_scale best_;
  float root_ = 0; ///< of the best error over importance_scale_
  std::vector<scale_interval> intervals_;
};

template <int Bits> template <bool Weighted> float half_search<Bits>::search() {
  if (group_.largest == 0) return 0;
  start();
  const float lowest = first_scale();
  arrange<Weighted>(lowest);
  int first = bits_at_or_above(lowest);
  const int last = bits_at_or_below(last_scale<Weighted>());
  intervals_.clear();
  const int wide = std::min(last, static_cast<int>(bits_of_half(exhaustive_up_to / per_widest_)));
  for (; first <= wide; first += 16) score_halves<Weighted>(first, std::min(first + 15, last));
  while (first <= last) {
    const int length = interval_length(half_from_bits(static_cast<std::uint16_t>(first)));
    list_intervals<Weighted>(first, last, length);
    first += 16 * length;
  }
  // The most promising block first: what it holds rules out most of the others.
  const auto error = [](const scale_interval& b) { return b.error * b.low * b.low; };
  const auto best = std::min_element(intervals_.begin(), intervals_.end(),
                                     [&](auto& a, auto& b) { return error(a) < error(b); });
  if (best != intervals_.end()) std::swap(*best, intervals_.front());
  for (const scale_interval& b : intervals_)
    if (may_be_best(b.error, b.low)) score_halves<Weighted>(b.first, b.last);
  consider_zeros();
  return best_.scale;
}

template <int Bits> void half_search<Bits>::consider(float magnitude, bool negative) {
  if (magnitude == 0) return;
  const auto candidate = group_.template score<Bits>(negative ? -magnitude : magnitude);
  if (!better(candidate, best_)) return;
  best_ = candidate;
  root_ = static_cast<float>(std::sqrt(best_.error / importance_scale_));
}

/// Zeros lose the whole group: where the largest value alone is more than the best error, no score
/// is needed.
template <int Bits> void half_search<Bits>::consider_zeros() {
  const double w = group_.largest;
  if (group_.importance.empty() && best_.error < w * w) return;
  const auto zeros = group_.template score<Bits>(0);
  if (better(zeros, best_)) best_ = zeros;
}

/// A first error to beat: the scale without clipping, and smaller ones.
template <int Bits> void half_search<Bits>::start() {
  const auto& c = group_.importance;
  importance_scale_ = c.empty() ? 1.0f : *std::max_element(c.begin(), c.end());
  best_ = {0, std::numeric_limits<double>::infinity()};
  root_ = std::numeric_limits<float>::infinity();
  const double widest = static_cast<double>(group_.largest) / range::lowest;
  per_widest_ = static_cast<float>(1 / std::fabs(widest));
  for (const double shrink : {1.0, shrunk})
    consider(half_from_bits(bits_of_half(std::fabs(widest * shrink))), both_signs && widest < 0);
}

template <int Bits> float half_search<Bits>::first_scale() const {
  const double lowest = clipping_bound(group_, best_.error, levels);
  return std::max(static_cast<float>(lowest) * (1 - 0x1p-20f), half_from_bits(1));
}

/// The magnitudes for scales from `lowest` on: those whose code may be the largest stand first.
template <int Bits> template <bool Weighted> void half_search<Bits>::arrange(float lowest) {
  const std::size_t n = group_.values.size();
  magnitudes_.assign(group_.values.begin(), group_.values.end());
  auto total = static_cast<float>(n);
  if constexpr (Weighted) {
    importance_.resize(n);
    for (std::size_t i = 0; i < n; ++i) importance_[i] = group_.importance[i] / importance_scale_;
    total = std::accumulate(importance_.begin(), importance_.end(), 0.0f);
  }
  const float clips = (range::highest + 0.5f) * lowest * (1 - 0x1p-20f);
  const float unclipped = std::fabs(group_.largest) / (range::highest + 0.5f);
  clips_to_ = bits_of_half(unclipped * (1 + 0x1p-20f)) + 1; // it may have been rounded down
  std::size_t clipped = 0;
  for (std::size_t i = 0; i < n; ++i) {
    if (std::fabs(magnitudes_[i]) < clips) continue;
    std::swap(magnitudes_[i], magnitudes_[clipped]);
    if constexpr (Weighted) std::swap(importance_[i], importance_[clipped]);
    ++clipped;
  }
  tops_.resize(std::min(n, (clipped + 3) / 4 * 4)); // the others go by fours
  for (std::size_t i = 0; i < tops_.size(); ++i)
    tops_[i] = static_cast<float>(magnitudes_[i] < 0 ? levels : range::highest);
  for (float& m : magnitudes_) m = std::fabs(m);
  const std::span<const float> importance(importance_);
  clipped_group_ = {magnitudes_, Weighted ? importance : importance.first(0), tops_,
                    levels + range::highest};
  unclipped_group_ = clipped_group_;
  unclipped_group_.max_codes = {};
  // Errors |x - q| are off by at most levels * 2^-21 each (kernel::interval_errors), so the root of
  // their sum of squares by sqrt(sum c) as much. The rest are relative errors of a few 2^-21 and of
  // n * 2^-23, doubled for the roundings in the limit itself.
  absolute_margin_ = std::sqrt(total) * levels * 0x1p-20f;
  relative_margin_ = 1 + 0x1p-18f + static_cast<float>(n) * 0x1p-22f;
}

/// Above some scale the values below scale / 2 have code 0 and alone cost more than the best error:
/// tried at sixteen scales, each 1.125 times the one before.
template <int Bits> template <bool Weighted> float half_search<Bits>::last_scale() const {
  const float most = std::fabs(group_.largest);
  std::array<float, 16> halves{};
  float scale = most / levels;
  for (auto& h : halves) h = scale / 2, scale *= 1.125f;
  const auto sums = kernel::energy_below<Weighted, S>(clipped_group_, S::load(halves.data()));
  const std::uint32_t above = S::less(S::broadcast(root_ * root_ * relative_margin_), sums);
  const float last = above != 0 ? 2 * halves[static_cast<std::size_t>(std::countr_zero(above))]
                                : 2 * most * (1 + 0x1p-20f);
  return std::min(std::max(last, half_from_bits(1)), largest_half);
}

template <int Bits> typename half_search<Bits>::f32 half_search<Bits>::limit(f32 inverse) const {
  const auto root = S::multiply_add(inverse, S::broadcast(root_), S::broadcast(absolute_margin_));
  return S::mul(S::mul(root, root), S::broadcast(relative_margin_));
}

/// Bits first, first + step, ... of sixteen halves, none above `last`.
[[nodiscard]] inline std::array<std::uint16_t, 16> sixteen_halves(int first, int step,
                                                                  int last) noexcept {
  std::array<std::uint16_t, 16> bits;
  for (int i = 0; i < 16; ++i)
    bits[static_cast<std::size_t>(i)] =
        static_cast<std::uint16_t>(std::min(first + i * step, last));
  return bits;
}

/// How many f16 scales to bound as one interval, from the scale `low` on. With u = low / the scale
/// without clipping (1 or more), a bound is looser by x times the interval's relative half width h;
/// the largest x is levels / u, and errors are about u^2 times those at u = 1. So h may be
/// bound_slack * u^3 / levels, and at most 0.75 u / levels.
template <int Bits> int half_search<Bits>::interval_length(float low) const {
  const float u = std::max(low * per_widest_, 1.0f);
  const float width = 2 * std::min(bound_slack * u * u, 0.75f) * u / levels;
  const float halves = std::min(width * 0x1p10f, 64.0f); // they are up to 2^-10 apart
  // Subnormal halves are further apart: no block is wider than twice its least scale.
  return static_cast<int>(std::min(halves, 1 + low * 0x1p25f));
}

/// Bounds sixteen blocks from `first` on and lists those that may hold the best.
template <int Bits>
template <bool Weighted>
void half_search<Bits>::list_intervals(int first, int last, int length) {
  const auto one = S::broadcast(1.0f), two = S::broadcast(2.0f);
  const auto low = S::load_f16(sixteen_halves(first, length, last).data());
  const auto high = S::load_f16(sixteen_halves(first + length - 1, length, last).data());
  const auto half_width = S::mul(S::sub(high, low), S::broadcast(0.5f));
  const auto inverse = S::div(one, S::add(low, half_width));
  // With h = half_width / middle of at most 1/2, middle / low = 1 / (1 - h) is at most 1 + 2 h.
  const auto h = S::mul(half_width, inverse), to_low = S::multiply_add(h, two, one);
  const auto spread = S::multiply_add(h, to_low, S::broadcast(0x1p-20f)); // and for rounding
  const auto most = limit(S::mul(inverse, to_low));
  const auto each = kernel::interval_errors<Weighted, kernel::lane_scales::interval, signs, S>(
      from_scale(first), inverse, spread, most);
  const auto sums = both_signs ? S::min(each.of_sign[0], each.of_sign[signs - 1]) : each.of_sign[0];
  std::array<float, 16> errors, lows;
  S::store(errors.data(), sums);
  S::store(lows.data(), low);
  auto alive = S::less(sums, most) & ((2u << std::min((last - first) / length, 15)) - 1);
  for (; alive != 0; alive &= alive - 1) {
    const auto lane = static_cast<std::size_t>(std::countr_zero(alive));
    const int begin = first + length * static_cast<int>(lane);
    intervals_.push_back({errors[lane], lows[lane], begin, std::min(begin + length - 1, last)});
  }
}

template <int Bits>
template <bool Weighted>
void half_search<Bits>::score_halves(int first, int last) {
  for (; first <= last; first += 16) score_sixteen<Weighted>(first, last);
}

/// Scores those of the halves first .. first + 15, up to `last`, that may be the best.
template <int Bits>
template <bool Weighted>
void half_search<Bits>::score_sixteen(int first, int last) {
  const auto scales = S::load_f16(sixteen_halves(first, 1, last).data());
  const auto inverse = S::div(S::broadcast(1.0f), scales);
  const auto sums = kernel::interval_errors<Weighted, kernel::lane_scales::point, signs, S>(
      from_scale(first), inverse, inverse, limit(inverse));
  for (std::size_t sign = 0; sign < signs; ++sign) {
    auto rest = (2u << std::min(last - first, 15)) - 1;
    auto alive = rest & S::less(sums.of_sign[sign], limit(inverse));
    if (alive == 0) continue;
    // The least bound first: what one finds rules out most of the others.
    std::array<float, 16> errors;
    S::store(errors.data(), S::mul(sums.of_sign[sign], S::mul(scales, scales)));
    int lane = least_of(errors);
    do {
      rest &= ~(1u << lane);
      consider(half_from_bits(static_cast<std::uint16_t>(first + lane)), sign == 1);
      alive = rest & S::less(sums.of_sign[sign], limit(inverse));
      lane = std::countr_zero(alive);
    } while (alive != 0);
  }
}

} // namespace edgequant::inline EDGEQUANT_ABI
