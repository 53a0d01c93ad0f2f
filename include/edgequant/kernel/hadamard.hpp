// SPDX-License-Identifier: MIT
/// Rotation by a Hadamard matrix.
#pragma once

#include "../config.hpp"

#include <cmath>
#include <cstddef>

namespace edgequant::inline EDGEQUANT_ABI::kernel {

/// x[n] = H x for each part of n values of the largest power of two that divides it: H is symmetric
/// and orthogonal, with entries of one magnitude (Sylvester's construction). n log n additions.
inline void turn_by_hadamard(float* x, std::size_t n) noexcept {
  const std::size_t part = n & (~n + 1);
  if (part < 2) return;
  const float scale = 1.0f / std::sqrt(static_cast<float>(part));
  for (std::size_t begin = 0; begin < n; begin += part) {
    float* p = x + begin;
    for (std::size_t half = 1; half < part; half *= 2)
      for (std::size_t i = 0; i < part; i += 2 * half)
        for (std::size_t k = i; k < i + half; ++k) {
          const float a = p[k], b = p[k + half];
          p[k] = a + b, p[k + half] = a - b;
        }
    for (std::size_t i = 0; i < part; ++i) p[i] *= scale;
  }
}

} // namespace edgequant::inline EDGEQUANT_ABI::kernel
