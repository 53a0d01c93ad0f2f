// SPDX-License-Identifier: MIT
/// A group as a scale search sees it, and how its answers are compared.
#pragma once

#include "../core/rounded.hpp"
#include "../kernel/absmax.hpp"
#include "../kernel/squared_error.hpp"
#include "scale_storage.hpp"

#include <algorithm>
#include <cmath>
#include <span>

namespace edgequant::inline EDGEQUANT_ABI {

/// A scale and the squared error of the group's nearest codes at it.
struct scored_scale {
  float scale = 0;
  double error = 0;
};

/// The order of the `mse` rule: smaller error first, then smaller magnitude, then the positive.
[[nodiscard]] inline bool better(const scored_scale& a, const scored_scale& b) noexcept {
  if (a.error != b.error) return a.error < b.error;
  const float x = std::fabs(a.scale), y = std::fabs(b.scale);
  return x != y ? x < y : a.scale > b.scale;
}

/// In the place of importance: every value counts the same. A type of its own, so that programs
/// that never weigh values do not compile the weighted searches.
struct no_importance {};

/// The part of per-column importance that belongs to a group.
[[nodiscard]] constexpr no_importance part_of(no_importance, std::size_t, std::size_t) noexcept {
  return {};
}
[[nodiscard]] inline std::span<const float> part_of(std::span<const float> all, std::size_t begin,
                                                    std::size_t length) noexcept {
  return all.empty() ? all : all.subspan(begin, length);
}

/// Values w and their importance c. Importance that is all zeros counts as none: c = 1.
struct weighted_group {
  std::span<const float> values, importance;
  float largest = 0; ///< the value of largest magnitude that has c > 0; the first of several

  weighted_group() = default;
  weighted_group(std::span<const float> w, no_importance)
      : values(w), largest(kernel::largest_value(w)) {}
  weighted_group(std::span<const float> w, std::span<const float> c);

  [[nodiscard]] double weight(std::size_t i) const noexcept {
    return importance.empty() ? 1.0 : importance[i];
  }
  template <int Bits> [[nodiscard]] scored_scale score(float scale) const noexcept {
    return {scale, kernel::squared_error<Bits>(values, importance, scale)};
  }
};

/// Scales of either sign whose magnitude is below the result have more than `known_error`, because
/// one value alone is clipped too far: c (|w| - levels * s)^2 > known_error.
[[nodiscard]] double clipping_bound(const weighted_group& group, double known_error, int levels);

inline weighted_group::weighted_group(std::span<const float> w, std::span<const float> c)
    : values(w), importance(c) {
  if (std::all_of(c.begin(), c.end(), [](float x) { return x == 0; })) importance = {};
  if (importance.empty()) largest = kernel::largest_value(values);
  for (std::size_t i = 0; i < importance.size(); ++i)
    if (std::fabs(values[i]) > std::fabs(largest) && importance[i] > 0) largest = values[i];
}

inline double clipping_bound(const weighted_group& group, double known_error, int levels) {
  const double room = known_error * (1 + 0x1p-40); // for the rounding here
  const auto bound = [&](double magnitude, double weight) {
    return (magnitude - std::sqrt(room / weight)) / levels * (1 - 0x1p-40);
  };
  double lowest = 0;
  if (group.importance.empty()) lowest = bound(std::fabs(group.largest), 1);
  for (std::size_t i = 0; i < group.importance.size(); ++i)
    if (group.importance[i] > 0)
      lowest = std::max(lowest, bound(std::fabs(group.values[i]), group.importance[i]));
  return std::max(lowest, 0.0);
}

} // namespace edgequant::inline EDGEQUANT_ABI
