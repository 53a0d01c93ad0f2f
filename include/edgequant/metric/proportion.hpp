// SPDX-License-Identifier: MIT
/// Shares of right answers: their intervals, and the difference of two models on one set of
/// questions.
#pragma once

#include "../config.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>

namespace edgequant::inline EDGEQUANT_ABI {

/// From `low` to `high`.
struct interval {
  double low = 0, high = 0;
};

/// The standard normal quantile of two-sided 95 %.
inline constexpr double normal_95 = 1.959963984540054;

/// The share of `right` in `count` answers, with the interval of Wilson 1927 at `z` standard
/// errors: it stays within 0 to 1 and covers at small counts and shares near 0 or 1, too. Of no
/// answers: 0 to 1.
[[nodiscard]] inline interval wilson_interval(std::size_t right, std::size_t count,
                                              double z = normal_95) noexcept {
  if (count == 0) return {0, 1};
  const double n = static_cast<double>(count), p = static_cast<double>(right) / n;
  const double middle = (p + z * z / (2 * n)) / (1 + z * z / n);
  const double half = z / (1 + z * z / n) * std::sqrt(p * (1 - p) / n + z * z / (4 * n * n));
  // The share itself is inside; at 0 and 1 it is an end, which rounding may miss.
  return {std::clamp(middle - half, 0.0, p), std::clamp(middle + half, p, 1.0)};
}

/// Two models on the same questions: how many the first alone got right, and the second alone.
struct paired_answers {
  std::size_t count = 0, first_alone = 0, second_alone = 0;
};

/// The difference of shares, the first's less the second's, with an interval: Wald's with two
/// questions added to each side. Source: Bonett and Price 2012, "Adjusted Wald confidence interval
/// for a difference of binomial proportions based on paired data".
[[nodiscard]] inline interval paired_interval(const paired_answers& a,
                                              double z = normal_95) noexcept {
  const double n = static_cast<double>(a.count) + 2;
  const double p = (static_cast<double>(a.first_alone) + 1) / n;
  const double q = (static_cast<double>(a.second_alone) + 1) / n;
  const double half = z * std::sqrt(std::max(0.0, (p + q - (p - q) * (p - q)) / n));
  return {std::max(-1.0, p - q - half), std::min(1.0, p - q + half)};
}

/// The chance of a split of the questions that one model alone got right that is at least as uneven
/// as this one, if both were equally good: the exact two-sided test of McNemar 1947, by the
/// binomial distribution. 1 where there are none.
[[nodiscard]] inline double mcnemar_test(const paired_answers& a) noexcept {
  const std::size_t n = a.first_alone + a.second_alone,
                    least = std::min(a.first_alone, a.second_alone);
  const double m = static_cast<double>(n);
  double sum = 0;
  for (std::size_t k = 0; k <= least; ++k) {
    const double x = static_cast<double>(k);
    sum += std::exp(std::lgamma(m + 1) - std::lgamma(x + 1) - std::lgamma(m - x + 1) -
                    m * std::log(2.0));
  }
  return std::min(1.0, 2 * sum);
}

} // namespace edgequant::inline EDGEQUANT_ABI
