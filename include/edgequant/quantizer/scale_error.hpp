// SPDX-License-Identifier: MIT
/// The squared error of a group at one scale, exactly as it is compared.
#pragma once

#include "../core/rounded.hpp"
#include "../kernel/quantize.hpp"
#include "scale_storage.hpp"

#include <algorithm>
#include <span>

namespace edgequant::inline EDGEQUANT_ABI {

/// A scale and the squared error of the group's nearest codes at it.
struct scored_scale {
  float scale = 0;
  double error = 0;
};

/// The order of the `mse` rule: smaller error first, then smaller magnitude, then the positive.
[[nodiscard]] inline bool better(const scored_scale& a, const scored_scale& b) noexcept {
  if (a.error != b.error) return a.error < b.error;
  const float x = std::fabs(a.scale), y = std::fabs(b.scale);
  return x != y ? x < y : a.scale > b.scale;
}

/// Sum of c * (w - q * scale)^2 with q the nearest code of w, in double and in the order of the
/// values; `importance` holds c, or is empty for c = 1. A scale of 0 has only zero codes.
template <int Bits>
[[nodiscard]] double squared_error(std::span<const float> values, std::span<const float> importance,
                                   float scale) noexcept {
  using range = kernel::code_range<Bits>;
  constexpr double magic = 0x1.8p52; // adding it rounds half to even to an integer
  const double s = scale, inverse = scale == 0 ? 0.0 : 1.0 / s;
  double sum = 0;
  for (std::size_t i = 0; i < values.size(); ++i) {
    const double w = values[i];
    const double q = std::clamp<double>(w * inverse, range::lowest, range::highest) + magic - magic;
    const double d = w - q * s; // the product is exact: 8 + 24 bits
    const double square = rounded(d * d);
    sum += importance.empty() ? square : rounded(square * importance[i]);
  }
  return sum;
}

} // namespace edgequant::inline EDGEQUANT_ABI
