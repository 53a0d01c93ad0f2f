// SPDX-License-Identifier: MIT
/// Whether two figures put things in the same order.
#pragma once

#include "../config.hpp"

#include <algorithm>
#include <cmath>
#include <span>
#include <vector>

namespace edgequant::inline EDGEQUANT_ABI {

/// Spearman's rank correlation of two series of equal length, 1 for the same order and -1 for the
/// reverse; equal values share their mean rank. NaN for fewer than two values and for a series
/// whose values are all equal. Values are finite.
[[nodiscard]] double rank_correlation(std::span<const double> a, std::span<const double> b);

namespace metric::detail {

[[nodiscard]] inline std::vector<double> ranks(std::span<const double> values) {
  std::vector<double> sorted(values.begin(), values.end()), result;
  std::sort(sorted.begin(), sorted.end());
  for (const double v : values) {
    const auto [first, last] = std::equal_range(sorted.begin(), sorted.end(), v);
    result.push_back(static_cast<double>((first - sorted.begin()) + (last - sorted.begin()) - 1) /
                     2);
  }
  return result;
}

} // namespace metric::detail

inline double rank_correlation(std::span<const double> a, std::span<const double> b) {
  const auto x = metric::detail::ranks(a), y = metric::detail::ranks(b);
  const double mean = (static_cast<double>(x.size()) - 1) / 2;
  double both = 0, first = 0, second = 0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    both += (x[i] - mean) * (y[i] - mean);
    first += (x[i] - mean) * (x[i] - mean);
    second += (y[i] - mean) * (y[i] - mean);
  }
  return both / std::sqrt(first * second);
}

} // namespace edgequant::inline EDGEQUANT_ABI
