// SPDX-License-Identifier: MIT
/// The optimizer of training.
#pragma once

#include "../config.hpp"

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
      : options_(options), mean_(parameters), square_(parameters), direction_(parameters) {}

  /// One step against the gradients of a loss; both spans have as many numbers as there are
  /// parameters. The step is shortened so that the loss falls by at most `most_decrease`, to first
  /// order: who knows that the loss is never negative gives a share of it, and steps along
  /// directions in which it bends fast do not leap over its least. Returns that decrease.
  double step(std::span<float> parameters, std::span<const float> gradients, double rate,
              double most_decrease = std::numeric_limits<double>::infinity()) {
    ++steps_;
    const double correction1 = 1 - std::pow(options_.beta1, steps_);
    const double correction2 = 1 - std::pow(options_.beta2, steps_);
    double decrease = 0;
    for (std::size_t i = 0; i < parameters.size(); ++i) {
      const double g = double{gradients[i]};
      mean_[i] += static_cast<float>((1 - options_.beta1) * (g - double{mean_[i]}));
      square_[i] += static_cast<float>((1 - options_.beta2) * (g * g - double{square_[i]}));
      const double mean = double{mean_[i]} / correction1;
      const double root = std::sqrt(double{square_[i]} / correction2);
      const double p = double{parameters[i]};
      direction_[i] =
          static_cast<float>(mean / (root + options_.epsilon) + options_.weight_decay * p);
      decrease += rate * g * double{direction_[i]};
    }
    if (decrease > most_decrease) rate *= most_decrease / decrease;
    for (std::size_t i = 0; i < parameters.size(); ++i)
      parameters[i] -= static_cast<float>(rate * double{direction_[i]});
    return std::min(decrease, most_decrease);
  }

private:
  adam_options options_;
  int steps_ = 0;
  std::vector<float> mean_, square_, direction_;
};

} // namespace edgequant::inline EDGEQUANT_ABI
