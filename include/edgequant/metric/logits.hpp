// SPDX-License-Identifier: MIT
/// How well logits predict a token, and how far they are from other logits.
#pragma once

#include "../config.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <span>

namespace edgequant::inline EDGEQUANT_ABI {

/// log of the sum of exp(logits), in double; logits are finite and at least one.
[[nodiscard]] inline double log_sum_exp(std::span<const float> logits) noexcept {
  const double most = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (const float x : logits) sum += std::exp(x - most);
  return most + std::log(sum);
}

/// Natural logarithm of softmax(logits)[token].
[[nodiscard]] inline double log_probability(std::span<const float> logits,
                                            std::size_t token) noexcept {
  return logits[token] - log_sum_exp(logits);
}

/// Kullback-Leibler divergence of softmax(test) from softmax(reference), in nats: the sum of
/// p log(p / q). Both have the same length.
[[nodiscard]] inline double kl_divergence(std::span<const float> reference,
                                          std::span<const float> test) noexcept {
  const double p0 = log_sum_exp(reference), q0 = log_sum_exp(test);
  double sum = 0;
  for (std::size_t i = 0; i < reference.size(); ++i) {
    const double p = reference[i] - p0, q = test[i] - q0;
    sum += std::exp(p) * (p - q);
  }
  return std::max(sum, 0.0); // rounding may leave a little less than nothing
}

/// Index of the largest logit, the first of several.
[[nodiscard]] inline std::size_t top_token(std::span<const float> logits) noexcept {
  return static_cast<std::size_t>(std::max_element(logits.begin(), logits.end()) - logits.begin());
}

} // namespace edgequant::inline EDGEQUANT_ABI
