// SPDX-License-Identifier: MIT
/// How much each sequence of a step counts, so that no single one decides it.
#pragma once

#include "../core/nearest_rank.hpp"

#include <algorithm>
#include <span>
#include <vector>

namespace edgequant::inline EDGEQUANT_ABI {

/// What each of some vectors of these lengths counts: 1 for those of at most twice the median
/// length, and longer ones are shortened to that.
[[nodiscard]] inline std::vector<float> clip_weights(std::span<const double> lengths) {
  constexpr double most_times_median = 2;
  std::vector<double> sorted(lengths.begin(), lengths.end());
  std::sort(sorted.begin(), sorted.end());
  const double most = most_times_median * nearest_rank(sorted, 1, 2);
  std::vector<float> weights;
  for (const double length : lengths)
    weights.push_back(length > most ? static_cast<float>(most / length) : 1.0f);
  return weights;
}

} // namespace edgequant::inline EDGEQUANT_ABI
