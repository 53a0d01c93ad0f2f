// SPDX-License-Identifier: MIT
/// Rotary position embedding: the angles of tokens, and the turning of heads. Source: Su et al.
/// 2021 (RoFormer); for what stretches it, the fields of rope_shape.
#pragma once

#include "../core/resize_exactly.hpp"
#include "model_shape.hpp"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <vector>

namespace edgequant::inline EDGEQUANT_ABI {

namespace model::detail {

/// How much of a frequency YaRN keeps, for each pair of a head: 1 all, 0 what is left of it once it
/// is stretched. Source: Peng et al. 2023, with the bounds rounded as in transformers and ggml.
[[nodiscard]] inline double kept_by_yarn(const rope_shape& rope, std::size_t pair,
                                         std::size_t pairs) noexcept {
  const auto pair_of = [&](double turns) {
    return static_cast<double>(pairs) *
           std::log(rope.yarn->original_context / (turns * 2 * std::numbers::pi)) /
           std::log(rope.base);
  };
  const double low = std::max(0.0, std::floor(pair_of(rope.yarn->beta_fast)));
  const double high =
      std::min(2.0 * static_cast<double>(pairs) - 1, std::ceil(pair_of(rope.yarn->beta_slow)));
  const double ramp = (static_cast<double>(pair) - low) / std::max(0.001, high - low);
  return 1 - std::clamp(ramp, 0.0, 1.0);
}

} // namespace model::detail

/// cos and sin of the angles of tokens position .. position + count, [count][rope_size / 2][2]:
/// position / base^(2i / rope_size) / divisor. `divisors` may be empty.
inline void rope_angles(const rope_shape& rope, std::size_t rope_size, std::size_t position,
                        std::size_t count, const std::vector<float>& divisors,
                        std::vector<float>& angles) {
  const std::size_t pairs = rope_size / 2;
  resize_exactly(angles, count * pairs * 2);
  for (std::size_t i = 0; i < pairs; ++i) {
    const double exponent = 2.0 * static_cast<double>(i) / static_cast<double>(rope_size);
    double frequency = std::pow(rope.base, -exponent) / rope.scale;
    if (!divisors.empty()) frequency /= divisors[i];
    if (rope.yarn) {
      const double kept = model::detail::kept_by_yarn(rope, i, pairs);
      frequency *= kept + (1 - kept) / rope.yarn->factor;
    }
    for (std::size_t t = 0; t < count; ++t) {
      const double angle = static_cast<double>(position + t) * frequency;
      angles[(t * pairs + i) * 2] = static_cast<float>(std::cos(angle) * rope.magnitude);
      angles[(t * pairs + i) * 2 + 1] = static_cast<float>(std::sin(angle) * rope.magnitude);
    }
  }
}

/// Turns the first 2 * pairs values of a head by a token's angles. `backwards` is the transpose,
/// which takes gradients back.
inline void turn_by_rope(float* head, rope_order order, std::size_t pairs, const float* angles,
                         bool backwards = false) noexcept {
  const bool adjacent = order == rope_order::pairs;
  for (std::size_t i = 0; i < pairs; ++i) {
    float& a = head[adjacent ? 2 * i : i];
    float& b = head[adjacent ? 2 * i + 1 : i + pairs];
    const float cosine = angles[2 * i], x = a, y = b;
    const float sine = backwards ? -angles[2 * i + 1] : angles[2 * i + 1];
    a = x * cosine - y * sine;
    b = x * sine + y * cosine;
  }
}

} // namespace edgequant::inline EDGEQUANT_ABI
