// SPDX-License-Identifier: MIT
/// What a scale becomes when it is stored, and what the codes are computed with.
#pragma once

#include "../core/float_types.hpp"

#include <cmath>
#include <concepts>

namespace edgequant::inline EDGEQUANT_ABI {

/// Types that a scale can be stored in.
template <class Scale>
concept scale_type = std::same_as<Scale, float> || std::same_as<Scale, half>;

/// The scale of one group. Both are computed once, in code that no instruction set changes.
struct group_scale {
  float stored = 0;  ///< the value that the file holds, as float; infinite: it does not fit
  float inverse = 0; ///< values are multiplied by it; 0 for a group that is written as zeros
};

/// `scale`, or the float next to it towards zero where a code of magnitude `largest_code` times it
/// would round to infinity: the largest floats divided by 127 do.
[[nodiscard]] inline float finite_at(float scale, float largest_code) noexcept {
  if (!is_finite(scale) || is_finite(scale * largest_code)) return scale;
  return std::nextafter(scale, 0.0f);
}

/// Rounds `scale` to its stored type. A stored scale whose inverse is not finite (zero, or too
/// small) stands for a group of zeros. Codes up to `largest_code` come back as finite values.
template <scale_type Scale>
[[nodiscard]] group_scale store_scale(float scale, float largest_code) noexcept {
  const float stored = static_cast<float>(static_cast<Scale>(finite_at(scale, largest_code)));
  const float inverse = 1.0f / stored;
  if (!is_finite(inverse)) return {0.0f, 0.0f};
  return {stored, inverse};
}

} // namespace edgequant::inline EDGEQUANT_ABI
