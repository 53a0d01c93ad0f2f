// SPDX-License-Identifier: MIT
/// The best scale and minimum of a group while nothing stores them yet.
#pragma once

#include "../core/rounded.hpp"
#include "../format/block_packing.hpp"
#include "../kernel/absmax.hpp"
#include "../kernel/group_error.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <limits>
#include <utility>

namespace edgequant::inline EDGEQUANT_ABI::quantizer::detail {

/// A product that is rounded before anything is added to it.
[[nodiscard]] inline double times(double a, double b) noexcept { return rounded(a * b); }

/// Scale and minimum of a group, and the error of the nearest codes.
struct free_scale {
  float scale = 0, minimum = 0;
  double error = std::numeric_limits<double>::infinity();
};

/// The groups of one block. Guesses are compared sixteen at a time in float, the best ones improved
/// by least squares in double; both in a fixed order, the same on every machine.
class group_search {
public:
  static constexpr std::size_t lanes = 16;
  struct guesses {
    std::array<float, lanes> scales{}, minimums{};
  };

  explicit group_search(const block_layout& layout) : f_(layout) {}

  /// The values of a block, which must stay, and their importance or null.
  void take(const float* values, const float* importance);
  [[nodiscard]] free_scale find(std::size_t g);

  /// The error of group g, in double, and the sums at its codes.
  [[nodiscard]] double error_at(std::size_t g, double scale, double minimum,
                                kernel::group_sums* sums = nullptr) const noexcept {
    return kernel::group_error(set_, length_, values_ + g * length_, importance_ + g * length_,
                               scale, minimum, sums);
  }
  /// Errors of sixteen guesses, in float, to compare with each other.
  [[nodiscard]] std::array<float, lanes> compare(std::size_t g, const guesses& at) const noexcept;
  /// The nearest codes of group g.
  void codes_at(std::size_t g, double scale, double minimum, std::int8_t* codes) const noexcept {
    kernel::group_codes(set_, length_, values_ + g * length_, scale, minimum, codes);
  }
  [[nodiscard]] const float* values() const noexcept { return values_; }
  /// Sums of c and of c x in group g.
  [[nodiscard]] double weight(std::size_t g) const noexcept { return weight_[g]; }
  [[nodiscard]] double weighted(std::size_t g) const noexcept { return weighted_[g]; }

private:
  void keep_best(std::size_t g, const guesses& at);
  void guess_scales(std::size_t g, double largest);
  void guess_ranges(std::size_t g, double least, double most);
  void improve(std::size_t g, free_scale& at) const;

  block_layout f_;
  kernel::code_set set_{f_};
  std::size_t length_ = f_.group_length;
  std::size_t code_count_ = f_.codebook.empty()
                                ? static_cast<std::size_t>(f_.highest_code - f_.lowest_code + 1)
                                : f_.codebook.size();
  bool has_minimum_ = f_.has_minimum(), has_steps_ = f_.has_steps();
  /// Minimums are steps from 0 on of a half that is not negative.
  bool minimum_of_one_sign_ = has_minimum_ && has_steps_;
  /// Whether a negative scale gives other values.
  bool both_signs_ =
      f_.lowest_code != -f_.highest_code && !has_minimum_ && f_.unit == scale_unit::half_of_block;
  const float* values_ = nullptr;
  float importance_[encoded_block::longest];
  float scaled_[encoded_block::longest];            ///< values over unit_
  float scaled_importance_[encoded_block::longest]; ///< importance over its largest
  float unit_ = 1;                                  ///< a power of two
  double weight_[encoded_block::most_groups];
  double weighted_[encoded_block::most_groups];
  std::array<free_scale, 6> best_; ///< guesses of the present group, by their errors in float
};

/// The part of the range of a group's values below which the best scale never lies, for codes of
/// so many values: bell-shaped values clip the more the fewer there are.
[[nodiscard]] constexpr double narrowest_part(std::size_t code_count) noexcept {
  if (code_count <= 4) return 0.15;
  if (code_count <= 8) return 0.35;
  if (code_count <= 16) return 0.5;
  return code_count <= 32 ? 0.7 : 0.85;
}

/// Columns that never count get a little of the others' importance: their codes are then the
/// nearest ones and not just any.
inline void group_search::take(const float* values, const float* importance) {
  values_ = values;
  const std::size_t n = f_.block_length;
  double sum = 0;
  if (importance != nullptr)
    for (std::size_t i = 0; i < n; ++i) sum += importance[i];
  const auto least = static_cast<float>(sum / static_cast<double>(n) * 0x1p-16);
  float most = 0;
  for (std::size_t i = 0; i < n; ++i) {
    importance_[i] = sum > 0 ? std::max(importance[i], least) : 1.0f;
    most = std::max(most, importance_[i]);
  }
  const float largest =
      std::bit_cast<float>(kernel::absmax_bits(std::span<const float>(values, n)));
  int exponent = 0;
  (void)std::frexp(largest, &exponent);
  unit_ = std::ldexp(1.0f, std::clamp(exponent, -120, 120));
  for (std::size_t i = 0; i < n; ++i) {
    scaled_[i] = values[i] / unit_;
    scaled_importance_[i] = importance_[i] / most;
  }
  for (std::size_t g = 0; g < f_.groups(); ++g) {
    weight_[g] = weighted_[g] = 0;
    for (std::size_t i = g * length_; i < (g + 1) * length_; ++i) {
      weight_[g] += importance_[i];
      weighted_[g] += times(importance_[i], values[i]);
    }
  }
}

/// Errors of sixteen guesses, to compare with each other.
inline std::array<float, group_search::lanes>
group_search::compare(std::size_t g, const guesses& at) const noexcept {
  using S = simd::native;
  const auto inverse = S::broadcast(1 / unit_);
  std::array<float, lanes> errors;
  S::store(errors.data(),
           kernel::errors_of_16<S>(set_, length_, scaled_ + g * length_,
                                   scaled_importance_ + g * length_,
                                   S::mul(S::load(at.scales.data()), inverse),
                                   S::rounded(S::mul(S::load(at.minimums.data()), inverse))));
  return errors;
}

/// The scale and minimum of least error that least squares reach from the best guesses.
inline free_scale group_search::find(std::size_t g) {
  const float* x = values_ + g * length_;
  const auto [low, high] = std::minmax_element(x, x + length_);
  const double least = minimum_of_one_sign_ ? std::min(*low, 0.0f) : *low, most = *high;
  free_scale found{0, has_minimum_ ? static_cast<float>(-least) : 0.0f, 0};
  found.error = error_at(g, 0, found.minimum);
  if (least == most) return found;
  best_ = {};
  if (has_minimum_)
    guess_ranges(g, least, most);
  else
    guess_scales(g, std::max(-least, most));
  for (std::size_t i = 0; i < (has_steps_ ? 3 : best_.size()); ++i) {
    free_scale& guess = best_[i];
    if (guess.scale == 0) continue;
    improve(g, guess);
    if (guess.error < found.error) found = guess;
  }
  return found;
}

/// Keeps the best of sixteen guesses beside those that are best so far.
inline void group_search::keep_best(std::size_t g, const guesses& at) {
  const auto errors = compare(g, at);
  for (std::size_t i = 0; i < lanes; ++i) {
    free_scale guess{at.scales[i], at.minimums[i], errors[i]};
    for (free_scale& kept : best_)
      if (guess.error < kept.error) std::swap(guess, kept);
  }
}

/// Scales from a little above the one that clips nothing down.
inline void group_search::guess_scales(std::size_t g, double largest) {
  const double widest = both_signs_ ? 1.25 : 1.05;        // the lowest code and the highest differ
  const std::size_t count = (has_steps_ ? 3 : 4) * lanes; // with steps there is more to come
  const double clips_nothing = largest / std::max(-f_.lowest_code, f_.highest_code);
  const double step = (widest - narrowest_part(code_count_)) / static_cast<double>(count - 1);
  guesses at;
  for (std::size_t i = 0; i < count; ++i) {
    const double part = widest - times(static_cast<double>(i), step);
    at.scales[i % lanes] = static_cast<float>(times(clips_nothing, part));
    if (i % lanes + 1 < lanes) continue;
    keep_best(g, at);
    if (!both_signs_) continue;
    for (float& s : at.scales) s = -s;
    keep_best(g, at);
  }
}

/// Ranges that are narrower and narrower, at the low end, the high end and the middle of the
/// group's.
inline void group_search::guess_ranges(std::size_t g, double least, double most) {
  constexpr double widest = 1.04;
  const double narrowest = narrowest_part(2 * code_count_);
  const double step = (widest - narrowest) / (lanes - 1);
  for (const double where : {0.0, 0.5, 1.0}) {
    guesses at;
    for (std::size_t i = 0; i < lanes; ++i) {
      const double range = times(most - least, widest - times(static_cast<double>(i), step));
      const double begin = least + times(where, most - least - range);
      at.scales[i] = static_cast<float>(range / f_.highest_code);
      at.minimums[i] = static_cast<float>(minimum_of_one_sign_ ? std::max(-begin, 0.0) : -begin);
    }
    keep_best(g, at);
  }
}

/// The best scale and minimum for the codes, the codes for those, and so on.
inline void group_search::improve(std::size_t g, free_scale& at) const {
  kernel::group_sums s;
  at.error = error_at(g, at.scale, at.minimum, &s);
  for (int round = 0; round < 6; ++round) {
    double scale = 0, minimum = 0;
    const double w = weight_[g], x = weighted_[g];
    const double determinant = times(s.square, w) - times(s.linear, s.linear);
    if (has_minimum_ && determinant > 0) {
      scale = (times(s.cross, w) - times(x, s.linear)) / determinant;
      minimum = (times(scale, s.linear) - x) / w;
    }
    if (!has_minimum_ || (minimum_of_one_sign_ && minimum < 0)) {
      if (!(s.square > 0)) return;
      scale = s.cross / s.square, minimum = 0;
    }
    free_scale next{static_cast<float>(scale), static_cast<float>(minimum), 0};
    if (next.scale == 0 || !is_finite(next.scale) || !is_finite(next.minimum)) return;
    next.error = error_at(g, next.scale, next.minimum, &s);
    // The codes stay where so little is gained.
    const bool settled = !(next.error < at.error * (1 - 0x1p-20));
    if (next.error < at.error) at = next;
    if (settled) return;
  }
}

} // namespace edgequant::inline EDGEQUANT_ABI::quantizer::detail
