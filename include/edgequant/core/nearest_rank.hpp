// SPDX-License-Identifier: MIT
/// Percentiles that are values of the series.
#pragma once

#include "exception.hpp"

#include <span>

namespace edgequant::inline EDGEQUANT_ABI {

/// The smallest value that at least `percent` of 100 of the values do not exceed (nearest rank).
/// `sorted`: ascending and not empty; percent: 1 to 100. Anything else is bad_argument, order
/// aside.
[[nodiscard]] double nearest_rank(std::span<const double> sorted, unsigned percent);

inline double nearest_rank(std::span<const double> sorted, unsigned percent) {
  if (sorted.empty()) fail(error_code::bad_argument, "nearest_rank", "no values");
  if (percent < 1 || percent > 100)
    fail(error_code::bad_argument, "nearest_rank", "percent must be 1 to 100");
  // In integers: 0.07 * 100 is above 7 in floating point, and would be rank 8.
  return sorted[(sorted.size() * percent + 99) / 100 - 1];
}

} // namespace edgequant::inline EDGEQUANT_ABI
