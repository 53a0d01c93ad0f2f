// SPDX-License-Identifier: MIT
/// The optimizer of training.
#pragma once

#include "../system/parallel_for.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <span>
#include <vector>

namespace edgequant::inline EDGEQUANT_ABI {

struct adam_options {
  double beta1 = 0.9, beta2 = 0.99; ///< of the running means of gradients and of their squares
  double epsilon = 1e-12;
  double weight_decay = 0; ///< of a parameter, as a share of it for each unit of learning rate
};

/// Adam with decoupled weight decay (Kingma and Ba 2015, Loshchilov and Hutter 2019, "AdamW").
class adam {
public:
  explicit adam(std::size_t parameters, const adam_options& options = {})
      : options_(options), mean_(parameters), square_(parameters) {}

  /// One step against the gradients of a loss; both spans have as many numbers as there are
  /// parameters. The step is shortened so that the loss falls by at most `most_decrease`, to first
  /// order: who knows that the loss is never negative gives a share of it, and steps along
  /// directions in which it bends fast do not leap over its least. Returns that decrease. The
  /// result does not depend on the number of threads.
  double step(std::span<float> parameters, std::span<const float> gradients, double rate,
              double most_decrease = std::numeric_limits<double>::infinity(),
              unsigned threads = 1) {
    ++steps_;
    const double correction1 = 1 - std::pow(options_.beta1, steps_);
    const double correction2 = 1 - std::pow(options_.beta2, steps_);
    std::vector<double> decreases((parameters.size() + part - 1) / part); // of each part
    parallel_for_parts(parameters.size(), part, threads, [&](std::size_t first, std::size_t count) {
      double decrease = 0;
      for (std::size_t i = first; i < first + count; ++i) {
        const double g = double{gradients[i]};
        mean_[i] += static_cast<float>((1 - options_.beta1) * (g - double{mean_[i]}));
        square_[i] += static_cast<float>((1 - options_.beta2) * (g * g - double{square_[i]}));
        decrease += rate * g * direction(i, double{parameters[i]}, correction1, correction2);
      }
      decreases[first / part] = decrease;
    });
    double decrease = 0;
    for (const double d : decreases) decrease += d;
    if (decrease > most_decrease) rate *= most_decrease / decrease;
    parallel_for_parts(parameters.size(), part, threads, [&](std::size_t first, std::size_t count) {
      for (std::size_t i = first; i < first + count; ++i)
        parameters[i] -= static_cast<float>(
            rate * direction(i, double{parameters[i]}, correction1, correction2));
    });
    return std::min(decrease, most_decrease);
  }

private:
  static constexpr std::size_t part = 1 << 16; ///< parameters that a thread takes together

  [[nodiscard]] double direction(std::size_t i, double p, double correction1,
                                 double correction2) const {
    const double mean = double{mean_[i]} / correction1;
    const double root = std::sqrt(double{square_[i]} / correction2);
    return mean / (root + options_.epsilon) + options_.weight_decay * p;
  }

  adam_options options_;
  int steps_ = 0;
  std::vector<float> mean_, square_;
};

} // namespace edgequant::inline EDGEQUANT_ABI
