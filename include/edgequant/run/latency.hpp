// SPDX-License-Identifier: MIT
/// What a series of latencies comes to.
#pragma once

#include "../core/exception.hpp"
#include "../core/nearest_rank.hpp"

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

/// Sums up a series in milliseconds. NaN, infinity and negative latencies: bad_argument.
[[nodiscard]] latency_summary summarize_latency(std::span<const double> milliseconds);

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
