// SPDX-License-Identifier: MIT
/// Percentiles that are values of the series.
#pragma once

#include "exception.hpp"

#include <span>

namespace edgequant::inline EDGEQUANT_ABI {

/// The smallest value that at least `part` of `whole` of the values do not exceed (nearest rank).
/// `sorted`: ascending and not empty; part: 1 to whole. Anything else is bad_argument, order aside.
[[nodiscard]] double nearest_rank(std::span<const double> sorted, unsigned part,
                                  unsigned whole = 100);

inline double nearest_rank(std::span<const double> sorted, unsigned part, unsigned whole) {
  if (sorted.empty()) fail(error_code::bad_argument, "nearest_rank", "no values");
  if (part < 1 || part > whole)
    fail(error_code::bad_argument, "nearest_rank",
         "the part must be 1 to " + std::to_string(whole));
  // In integers: 0.07 * 100 is above 7 in floating point, and would be rank 8.
  return sorted[(sorted.size() * part + whole - 1) / whole - 1];
}

} // namespace edgequant::inline EDGEQUANT_ABI
