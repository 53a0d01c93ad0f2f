// SPDX-License-Identifier: MIT
/// How well logits predict a token, and how far they are from other logits.
#pragma once

#include "../kernel/exponential.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <span>

namespace edgequant::inline EDGEQUANT_ABI {

/// log of the sum of exp(logits), within 4e-7; logits are finite and at least one.
[[nodiscard]] inline double log_sum_exp(std::span<const float> logits) noexcept {
  const float most = *std::max_element(logits.begin(), logits.end());
  return most + std::log(kernel::sum_of_exponentials(logits, most));
}

/// Natural logarithm of softmax(logits)[token].
[[nodiscard]] inline double log_probability(std::span<const float> logits,
                                            std::size_t token) noexcept {
  return logits[token] - log_sum_exp(logits);
}

/// What a reference says of the next token: log p(i) = values[i] - offset. Tokens with log p(i) up
/// to `least` are left out of divergences.
struct reference_logits {
  std::span<const float> values;
  double offset = 0;
  double least = -std::numeric_limits<double>::infinity();

  [[nodiscard]] double log_probability(std::size_t token) const noexcept {
    return values[token] - offset;
  }
};

/// Kullback-Leibler divergence of softmax(test), with q0 = log_sum_exp(test), from a reference.
[[nodiscard]] inline double kl_divergence(const reference_logits& reference,
                                          std::span<const float> test, double q0) noexcept {
  double sum = 0;
  for (std::size_t i = 0; i < test.size(); ++i) {
    const double p = reference.values[i] - reference.offset;
    if (p > reference.least) sum += std::exp(p) * (p - (test[i] - q0));
  }
  return std::max(sum, 0.0); // rounding may leave a little less than nothing
}

/// Kullback-Leibler divergence of softmax(test) from softmax(reference), in nats: the sum of
/// p log(p / q). Both have the same length.
[[nodiscard]] inline double kl_divergence(std::span<const float> reference,
                                          std::span<const float> test) noexcept {
  return kl_divergence({reference, log_sum_exp(reference)}, test, log_sum_exp(test));
}

/// Index of the largest logit, the first of several.
[[nodiscard]] inline std::size_t top_token(std::span<const float> logits) noexcept {
  return static_cast<std::size_t>(std::max_element(logits.begin(), logits.end()) - logits.begin());
}

} // namespace edgequant::inline EDGEQUANT_ABI
