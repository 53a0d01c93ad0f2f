// SPDX-License-Identifier: MIT
/// Noisy estimates that are known to be about proportional to something, drawn towards that.
#pragma once

#include "../config.hpp"

#include <cmath>
#include <cstddef>
#include <numeric>
#include <span>
#include <vector>

namespace edgequant::inline EDGEQUANT_ABI::plan::detail {

/// Estimates of one matrix in several formats, each from so many samples, which gives it a relative
/// variance of 2 over their number: the log ratio to what it is expected to be proportional to is
/// drawn towards the mean of all, but for the share of its variance beyond that noise (empirical
/// Bayes, Efron and Morris 1973). Estimates that are not positive stay.
inline void draw_together(std::span<double> estimates, std::span<const double> expected,
                          std::size_t samples) {
  std::vector<double> ratios;
  for (std::size_t f = 0; f < estimates.size(); ++f)
    if (estimates[f] > 0 && expected[f] > 0) ratios.push_back(std::log(estimates[f] / expected[f]));
  if (ratios.size() < 2) return;
  const double count = static_cast<double>(ratios.size());
  const double mean = std::accumulate(ratios.begin(), ratios.end(), 0.0) / count;
  double variance = 0;
  for (const double r : ratios) variance += (r - mean) * (r - mean) / (count - 1);
  const double noise = 2 / static_cast<double>(samples);
  const double kept = variance > noise ? (variance - noise) / variance : 0;
  for (std::size_t f = 0; f < estimates.size(); ++f)
    if (estimates[f] > 0 && expected[f] > 0)
      estimates[f] =
          expected[f] * std::exp(mean + kept * (std::log(estimates[f] / expected[f]) - mean));
}

} // namespace edgequant::inline EDGEQUANT_ABI::plan::detail
