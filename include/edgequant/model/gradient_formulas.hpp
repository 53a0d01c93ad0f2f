// SPDX-License-Identifier: MIT
/// Derivatives of what stands between a network's products: norms and gates.
#pragma once

#include "architecture.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>

namespace edgequant::inline EDGEQUANT_ABI::model::detail {

/// y = x r w with r = 1 / sqrt(mean of x^2 + epsilon): the gradient of y becomes that of x.
/// `weight_gradient`, if not null, receives the sum of what w's gradient is.
inline void normalize_backwards(const float* x, std::size_t n, const float* weight, float epsilon,
                                float* gradient, double* weight_gradient = nullptr) noexcept {
  double square = 0, along = 0; // along: of the gradient, on x
  for (std::size_t i = 0; i < n; ++i) {
    square += double{x[i]} * double{x[i]};
    along += double{x[i]} * double{weight[i]} * double{gradient[i]};
  }
  const double length = static_cast<double>(n);
  const double r = 1 / std::sqrt(square / length + double{epsilon});
  const float factor = static_cast<float>(r);
  const float projection = static_cast<float>(along * r * r * r / length);
  for (std::size_t i = 0; i < n; ++i) {
    if (weight_gradient != nullptr) weight_gradient[i] += double{gradient[i]} * double{x[i]} * r;
    gradient[i] = gradient[i] * weight[i] * factor - x[i] * projection;
  }
}

/// A value and what it depends on.
struct gate_value {
  float value;
  float by_gate, by_up; ///< its derivatives
};

/// activation(gate) * up, as kernel::multiply_silu() and its siblings compute it.
[[nodiscard]] inline gate_value gate_derivatives(gate_activation activation, float gate,
                                                 float up) noexcept {
  const auto sigmoid = [](float x) { return 1.0f / (1.0f + std::exp(-x)); };
  switch (activation) {
  case gate_activation::silu: {
    const float s = sigmoid(gate), value = gate * s;
    return {value * up, (s + value * (1 - s)) * up, value};
  }
  case gate_activation::gelu: { // x sigmoid(2 y), y as in multiply_gelu()
    constexpr float linear = 1.59576912f, cubic = linear * 0.044715f;
    const float s = sigmoid(gate * (linear + cubic * gate * gate)), value = gate * s;
    const float slope = linear + 3 * cubic * gate * gate;
    return {value * up, (s + value * (1 - s) * slope) * up, value};
  }
  case gate_activation::clamped_silu: {
    const float g = std::min(gate, 7.0f), u = std::clamp(up, -7.0f, 7.0f) + 1;
    const float s = sigmoid(1.702f * g), value = g * s;
    return {value * u, gate < 7 ? (s + value * (1 - s) * 1.702f) * u : 0.0f,
            std::fabs(up) < 7 ? value : 0.0f};
  }
  }
  return {};
}

} // namespace edgequant::inline EDGEQUANT_ABI::model::detail
