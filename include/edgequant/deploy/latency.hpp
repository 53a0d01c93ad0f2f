// SPDX-License-Identifier: MIT
/// What a series of latencies comes to.
#pragma once

#include "../core/exception.hpp"

#include <algorithm>
#include <cmath>
#include <span>
#include <vector>

namespace edgequant::inline EDGEQUANT_ABI {

/// All in milliseconds; all 0 for an empty series.
struct latency_summary {
  double p50 = 0, p90 = 0, p99 = 0; ///< by nearest rank: each is a latency that occurred
  double mean = 0;
  double jitter = 0; ///< standard deviation of the series itself: divided by n, not n - 1
  double max = 0;
};

/// The smallest value that at least `percent` of 100 of the values do not exceed (nearest rank).
/// `sorted`: ascending and not empty; percent: 1 to 100. Anything else is bad_argument, order
/// aside.
[[nodiscard]] double nearest_rank(std::span<const double> sorted, unsigned percent);

/// Sums up a series in milliseconds. NaN, infinity and negative latencies: bad_argument.
[[nodiscard]] latency_summary summarize_latency(std::span<const double> milliseconds);

inline double nearest_rank(std::span<const double> sorted, unsigned percent) {
  if (sorted.empty()) fail(error_code::bad_argument, "nearest_rank", "no values");
  if (percent < 1 || percent > 100)
    fail(error_code::bad_argument, "nearest_rank", "percent must be 1 to 100");
  // In integers: 0.07 * 100 is above 7 in floating point, and would be rank 8.
  return sorted[(sorted.size() * percent + 99) / 100 - 1];
}

inline latency_summary summarize_latency(std::span<const double> milliseconds) {
  if (milliseconds.empty()) return {};
  std::vector<double> sorted(milliseconds.begin(), milliseconds.end());
  for (const double value : sorted)
    if (!std::isfinite(value) || value < 0)
      fail(error_code::bad_argument, "summarize_latency", "a latency is not a number from 0 on");
  std::sort(sorted.begin(), sorted.end());

  const auto count = static_cast<double>(sorted.size());
  double sum = 0, squares = 0;
  for (const double value : sorted) sum += value;
  const double mean = sum / count;
  for (const double value : sorted) squares += (value - mean) * (value - mean);
  return {.p50 = nearest_rank(sorted, 50),
          .p90 = nearest_rank(sorted, 90),
          .p99 = nearest_rank(sorted, 99),
          .mean = mean,
          .jitter = std::sqrt(squares / count),
          .max = sorted.back()};
}

} // namespace edgequant::inline EDGEQUANT_ABI
