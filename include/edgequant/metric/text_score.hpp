// SPDX-License-Identifier: MIT
/// How well a model predicts the tokens of a text, and how far it is from a reference, each with
/// its standard error. Source: the statistics of llama.cpp's llama-perplexity.
#pragma once

#include "../core/nearest_rank.hpp"
#include "logits.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <optional>
#include <vector>

namespace edgequant::inline EDGEQUANT_ABI {

/// A mean over tokens, or what follows from one, and its standard error.
struct estimate {
  double value = 0, error = 0;
};

/// How far a model's predictions are from a reference's, over the tokens scored.
struct divergence {
  double kl_mean = 0, kl_error = 0; ///< of softmax, in nats; its standard error
  double kl_median = 0, kl_p90 = 0, kl_p99 = 0, kl_p999 = 0, kl_max = 0;
  double top1 = 0; ///< share of tokens before which both find the same word most likely
  double top1_error = 0;
  estimate rms_probability;  ///< root mean square of the change of a token's probability
  estimate mean_probability; ///< its mean: below 0, the model is less sure
  double perplexity = 0;     ///< the reference's
  estimate log_ratio;        ///< of the perplexities, ln(the model's / the reference's)
};

struct text_score {
  std::size_t tokens = 0;      ///< scored
  double perplexity = 0;       ///< exp of the mean negative log probability
  double perplexity_error = 0; ///< its standard error
  std::optional<divergence> from_reference = std::nullopt;
};

/// Collects what a text_score says.
class score_collector {
public:
  /// Scores a token by the logits before it.
  void add(std::span<const float> logits, std::size_t token) {
    negative_log_.add(log_sum_exp(logits) - logits[token]);
  }
  /// The same beside a reference.
  void add(const reference_logits& reference, std::span<const float> logits, std::size_t token);
  [[nodiscard]] text_score result();

private:
  /// Sums of one quantity over tokens.
  struct sums {
    double first = 0, second = 0;
    std::size_t count = 0;

    void add(double x) noexcept {
      first += x, second += x * x;
      ++count;
    }
    [[nodiscard]] estimate mean() const noexcept {
      const auto n = static_cast<double>(count);
      const double value = first / n, variance = second / n - value * value;
      return {value, count > 1 && variance > 0 ? std::sqrt(variance / (n - 1)) : 0};
    }
  };

  sums negative_log_, reference_log_, log_ratio_, kl_, change_, squared_change_;
  std::size_t same_ = 0;
  std::vector<double> divergences_;
};

inline void score_collector::add(const reference_logits& reference, std::span<const float> logits,
                                 std::size_t token) {
  const double q0 = log_sum_exp(logits), q = logits[token] - q0;
  const double p = reference.log_probability(token);
  negative_log_.add(-q);
  reference_log_.add(-p);
  log_ratio_.add(p - q);
  divergences_.push_back(kl_divergence(reference, logits, q0));
  kl_.add(divergences_.back());
  const double change = std::exp(q) - std::exp(p);
  change_.add(change);
  squared_change_.add(change * change);
  same_ += top_token(reference.values) == top_token(logits);
}

inline text_score score_collector::result() {
  const auto log = negative_log_.mean();
  text_score score{negative_log_.count, std::exp(log.value), std::exp(log.value) * log.error};
  if (divergences_.empty()) return score;
  std::sort(divergences_.begin(), divergences_.end());
  const auto n = static_cast<double>(divergences_.size());
  divergence d;
  d.kl_mean = kl_.mean().value, d.kl_error = kl_.mean().error;
  d.kl_median = nearest_rank(divergences_, 50);
  d.kl_p90 = nearest_rank(divergences_, 90);
  d.kl_p99 = nearest_rank(divergences_, 99);
  d.kl_p999 = nearest_rank(divergences_, 999, 1000);
  d.kl_max = divergences_.back();
  d.top1 = static_cast<double>(same_) / n;
  d.top1_error = n > 1 ? std::sqrt(d.top1 * (1 - d.top1) / (n - 1)) : 0;
  const auto square = squared_change_.mean();
  const double rms = std::sqrt(square.value);
  d.rms_probability = {rms, rms > 0 ? square.error / (2 * rms) : 0};
  d.mean_probability = change_.mean();
  d.perplexity = std::exp(reference_log_.mean().value);
  d.log_ratio = log_ratio_.mean();
  score.from_reference = d;
  return score;
}

} // namespace edgequant::inline EDGEQUANT_ABI
