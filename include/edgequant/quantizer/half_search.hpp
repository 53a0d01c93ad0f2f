// SPDX-License-Identifier: MIT
/// The half that is the best scale of a group, proven against every other half of either sign.
#pragma once

#include "../kernel/scale_cells.hpp"
#include "weighted_group.hpp"

#include <array>
#include <bit>
#include <cstdint>
#include <type_traits>
#include <vector>

namespace edgequant::inline EDGEQUANT_ABI {

/// Branch and bound. The scales of one sign are cut into cells, sixteen at a time get a lower bound
/// of their error, and a cell that may hold the best is cut again, until it holds so few halves
/// that they are scored exactly. Bounds are in float with a margin for their rounding; only exact
/// scores are compared, so the answer is the same on every machine.
template <int Bits> class half_search {
public:
  /// The best scale; 0 where nothing beats a group of zeros.
  [[nodiscard]] float operator()(const weighted_group& group);

private:
  using S = simd::native;
  using range = kernel::code_range<Bits>;
  /// 8-bit codes are symmetric: a negative scale ties with its positive twin and loses.
  static constexpr bool both_signs = range::lowest != -range::highest;
  static constexpr int levels = -range::lowest;

  /// A range of scales.
  struct cell {
    float error;     ///< lower bound of sum c (x - q)^2, in units of the scale
    float low, high; ///< scales
    int split;       ///< index of split_: 0 positive, 1 negative, 2 both
  };

  void prepare(const weighted_group& group);
  void consider(std::uint16_t bits, bool negative);
  void start();
  [[nodiscard]] float first_scale() const;
  [[nodiscard]] float last_scale() const;
  void survey(float first, float last);
  std::uint32_t bound(typename S::f32 middle, float spread, int split,
                      std::array<float, 16>& errors) const;
  /// Cuts low..high into sixteen cells and calls use() with those that may hold the best.
  template <class Use> void cut(float low, float high, int split, Use use) const;
  void look_closer(std::span<const cell> surveyed, int split);
  /// Opens those of the cells that may hold the best.
  void explore(std::span<cell> cells);
  void open(const cell& c);
  void score_halves(int first, int last, int split);
  /// Whether the cell, bounded when the best was another, may still hold the best.
  [[nodiscard]] bool may_hold_best(const cell& c) const {
    const float root = root_ / c.low + margin_;
    return c.error < root * root * growth_;
  }

  weighted_group group_;
  kernel::split_group split_[3]; ///< for positive scales, negative ones, and a bound for both
  std::vector<float> magnitudes_, importance_, energies_; ///< importance relative to its maximum
  float importance_scale_ = 1;                            ///< that maximum
  float margin_ = 0, growth_ = 1, rounding_ = 0;          ///< what float rounding may hide
  scored_scale best_;
  float root_ = 0; ///< of the best error over importance_scale_
  std::vector<cell> surveyed_, cells_;
};

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

template <int Bits> float half_search<Bits>::operator()(const weighted_group& group) {
  prepare(group);
  best_ = group_.template score<Bits>(0);
  if (best_.error == 0) return 0;
  start();
  surveyed_.clear();
  survey(first_scale(), last_scale());
  cells_.clear();
  for (int negative = 0; negative <= int{both_signs}; ++negative)
    for (std::size_t i = 0; i < surveyed_.size(); i += 16)
      look_closer(std::span(surveyed_).subspan(i, std::min<std::size_t>(16, surveyed_.size() - i)),
                  negative);
  explore(cells_);
  return best_.scale;
}

template <int Bits> void half_search<Bits>::prepare(const weighted_group& group) {
  group_ = group;
  const std::size_t n = group.values.size();
  const bool weighted = !group.importance.empty();
  magnitudes_.resize(n);
  energies_.resize(n);
  importance_.resize(weighted ? n : 0);
  importance_scale_ =
      weighted ? *std::max_element(group.importance.begin(), group.importance.end()) : 1.0f;
  std::size_t front = 0, back = n; // values that are not negative in front, the others behind
  float total = weighted ? 0 : static_cast<float>(n);
  for (std::size_t i = 0; i < n; ++i) {
    // Written to both free ends, one of which then counts: signs are too random to branch on.
    const float w = group.values[i], c = weighted ? group.importance[i] / importance_scale_ : 1.0f;
    --back;
    for (const std::size_t at : {front, back}) {
      magnitudes_[at] = std::fabs(w);
      energies_[at] = w * w * c;
      if (weighted) importance_[at] = c;
    }
    const bool behind = w < 0;
    front += !behind;
    back += !behind;
    if (weighted) total += c;
  }
  constexpr float high = range::highest, low = -range::lowest;
  split_[0] = {magnitudes_, importance_, front, {high, low}};
  split_[1] = {magnitudes_, importance_, front, {low, high}};
  split_[2] = {magnitudes_, importance_, front, {low, low}};
  // Errors |x - q| are off by at most levels * 2^-21 each (kernel::cell_errors), so the root of
  // their sum of squares by sqrt(sum c) as much. The rest are relative errors of a few 2^-21 and of
  // n * 2^-23, doubled for the roundings in the limit itself.
  margin_ = std::sqrt(total) * levels * 0x1p-20f;
  growth_ = 1 + 0x1p-18f + static_cast<float>(n) * 0x1p-22f;
  rounding_ = total * static_cast<float>(n) * 0x1p-22f; // of kernel::cell_parabolas
}

template <int Bits> void half_search<Bits>::consider(std::uint16_t bits, bool negative) {
  const float magnitude = half_from_bits(bits);
  const auto candidate = group_.template score<Bits>(negative ? -magnitude : magnitude);
  if (better(candidate, best_)) best_ = candidate;
  root_ = static_cast<float>(std::sqrt(best_.error / importance_scale_));
}

/// A first error to beat: the scale without clipping, and smaller ones.
template <int Bits> void half_search<Bits>::start() {
  const double widest = static_cast<double>(group_.largest) / range::lowest;
  for (const double shrink : {1.0, Bits == 4 ? 0.95 : 0.997, Bits == 4 ? 0.9 : 0.993})
    consider(bits_of_half(std::fabs(widest * shrink)), both_signs && widest < 0);
}

template <int Bits> float half_search<Bits>::first_scale() const {
  const double lowest = clipping_bound(group_, best_.error, levels);
  return std::max(static_cast<float>(lowest) * (1 - 0x1p-20f), half_from_bits(1));
}

/// Above some scale the values below its half are 0 and alone cost more than the best error: tried
/// at sixteen scales, each 1.125 times the one before.
template <int Bits> float half_search<Bits>::last_scale() const {
  const float most = std::fabs(group_.largest);
  std::array<float, 16> halves{};
  float scale = most / levels;
  for (auto& h : halves) h = scale / 2, scale *= 1.125f;
  const auto sums = kernel::sums_below<S>(magnitudes_, energies_, S::load(halves.data()));
  const std::uint32_t above = S::less(S::broadcast(root_ * root_ * growth_), sums);
  const float last = above != 0 ? 2 * halves[static_cast<std::size_t>(std::countr_zero(above))]
                                : 2 * most * (1 + 0x1p-20f);
  return std::min(std::max(last, half_from_bits(1)), largest_half);
}

/// Bounds all cells between the two scales and lists those that may hold the best.
template <int Bits> void half_search<Bits>::survey(float first, float last) {
  // A bound loses x times half a cell's relative width. At the scale without clipping the largest x
  // is `levels`; `loss` is what a value of that size loses of an error up to 0.5. At u times that
  // scale, x is 1/u of that and errors are about u^2 of the best, so that a bound may lose more and
  // still suffice.
  constexpr float loss = Bits == 4 ? 0.04f : 0.14f; // what was fastest
  const float widest = std::fabs(group_.largest) / levels;
  for (float low = first; low <= last;) {
    const float u = std::max(low / widest, 1.0f);
    const float width = 2 * std::min(loss * u * u, 0.75f) * u / levels;
    const float high = low * (1 + std::min(16 * width, 1.0f)); // width is over 2^-10
    cut(low, high, both_signs ? 2 : 0, [&](const cell& c) { surveyed_.push_back(c); });
    low = high;
    if (high >= last) break;
  }
}

/// Bounds sixteen ranges of scales of one sign: `middle` of each, and how far its ends are from it,
/// relatively. Bit i of the result says that range i may hold the best.
template <int Bits>
std::uint32_t half_search<Bits>::bound(typename S::f32 middle, float spread, int split,
                                       std::array<float, 16>& errors) const {
  const auto inverse = S::div(S::broadcast(1.0f), middle), width = S::broadcast(spread);
  // Error e at scale s is below the best if sum c (x - q)^2 is below (root / s)^2.
  const auto root = S::broadcast(root_ * (1 + 2 * spread));
  auto limit = S::multiply_add(inverse, root, S::broadcast(margin_));
  limit = S::mul(S::mul(limit, limit), S::broadcast(growth_));
  const auto& values = split_[split];
  const auto sums = importance_.empty()
                        ? kernel::cell_errors<false, S>(values, inverse, width, limit)
                        : kernel::cell_errors<true, S>(values, inverse, width, limit);
  S::store(errors.data(), sums);
  return S::less(sums, limit);
}

template <int Bits>
template <class Use>
void half_search<Bits>::cut(float low, float high, int split, Use use) const {
  // Cell i is low + i * width .. low + (i + 1) * width; 2^-20 is for the rounding of its ends.
  const float width = (high - low) / 16;
  const auto middle =
      S::multiply_add(S::iota(), S::broadcast(width), S::broadcast(low + width / 2));
  std::array<float, 16> errors;
  auto alive = bound(middle, width / 2 / low + 0x1p-20f, split, errors);
  for (; alive != 0; alive &= alive - 1) {
    const auto lane = static_cast<std::size_t>(std::countr_zero(alive));
    const auto at = static_cast<float>(lane);
    use(cell{errors[lane], low + at * width, low + (at + 1) * width, split});
  }
}

/// Keeps those of up to sixteen surveyed cells that may hold the best with this sign.
template <int Bits> void half_search<Bits>::look_closer(std::span<const cell> surveyed, int split) {
  std::array<float, 16> middle, spread, error;
  for (std::size_t i = 0; i < 16; ++i) {
    const cell& c = surveyed[std::min(i, surveyed.size() - 1)];
    middle[i] = c.low + (c.high - c.low) / 2;
    spread[i] = (c.high - c.low) / 2 / c.low + 0x1p-20f;
  }
  const auto inverse = S::div(S::broadcast(1.0f), S::load(middle.data()));
  const auto width = S::load(spread.data());
  S::store(error.data(), importance_.empty()
                             ? kernel::cell_parabolas<false, S>(split_[split], inverse, width)
                             : kernel::cell_parabolas<true, S>(split_[split], inverse, width));
  for (std::size_t i = 0; i < surveyed.size(); ++i) {
    const float ratio = middle[i] / surveyed[i].low; // from units of the middle to those of `low`
    const cell closer{(error[i] - rounding_) * ratio * ratio, surveyed[i].low, surveyed[i].high,
                      split};
    if (may_hold_best(closer)) cells_.push_back(closer);
  }
}

/// The most promising cell first: what it finds closes most of the others.
template <int Bits> void half_search<Bits>::explore(std::span<cell> cells) {
  const auto first = std::min_element(cells.begin(), cells.end(), [](const cell& a, const cell& b) {
    return a.error * a.low * a.low < b.error * b.low * b.low;
  });
  if (first != cells.end()) std::iter_swap(cells.begin(), first);
  for (const cell& c : cells)
    if (may_hold_best(c)) open(c);
}

/// Goes through the halves of a cell, or cuts it again if they are many.
template <int Bits> void half_search<Bits>::open(const cell& c) {
  const int first = bits_at_or_above(c.low), last = bits_at_or_below(c.high);
  if (last - first < 32) {
    for (int at = first; at <= last; at += 16) score_halves(at, std::min(at + 15, last), c.split);
    return;
  }
  std::array<cell, 16> parts;
  std::size_t count = 0;
  cut(c.low, c.high, c.split, [&](const cell& part) { parts[count++] = part; });
  explore(std::span(parts).first(count));
}

/// Scores those of up to sixteen halves that may be the best, the one with the least bound first.
template <int Bits> void half_search<Bits>::score_halves(int first, int last, int split) {
  std::array<std::uint16_t, 16> halves;
  for (int i = 0; i < 16; ++i)
    halves[static_cast<std::size_t>(i)] = static_cast<std::uint16_t>(std::min(first + i, last));
  const auto loaded = S::load_f16(halves.data());
  std::array<float, 16> scales, errors;
  auto alive = bound(loaded, 0x1p-20f, split, errors) & ((2u << (last - first)) - 1);
  if (alive == 0) return;
  S::store(scales.data(), loaded);
  while (alive != 0) {
    std::size_t best = 16;
    for (auto rest = alive; rest != 0; rest &= rest - 1) {
      const auto i = static_cast<std::size_t>(std::countr_zero(rest));
      if (best == 16 ||
          errors[i] * scales[i] * scales[i] < errors[best] * scales[best] * scales[best])
        best = i;
    }
    alive &= ~(1u << best);
    if (may_hold_best({errors[best], scales[best], scales[best], split}))
      consider(halves[best], split == 1);
  }
}

} // namespace edgequant::inline EDGEQUANT_ABI
