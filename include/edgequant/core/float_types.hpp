// SPDX-License-Identifier: MIT
/// 16-bit floats, and the bit patterns of 32-bit ones.
#pragma once

#include "../config.hpp"

#include <Eigen/Core>

#include <bit>
#include <cstdint>
#include <limits>

namespace edgequant::inline EDGEQUANT_ABI {

using half = Eigen::half;         ///< IEEE binary16; conversion from float rounds half to even
using bfloat16 = Eigen::bfloat16; ///< upper half of a float; conversion rounds half to even

inline constexpr std::uint32_t infinity_bits = 0x7f800000u; ///< also the smallest non-finite |x|
inline constexpr float largest_half = 65504.0f;
/// The largest float that bfloat16 can hold, and the smallest that rounds to its infinity.
inline constexpr float largest_bfloat16 = std::bit_cast<float>(0x7f7f0000u);
inline constexpr float bfloat16_overflow = std::bit_cast<float>(0x7f7f8000u);
inline constexpr float largest_float = std::numeric_limits<float>::max();
inline constexpr float half_overflow = 65520.0f; ///< smallest float that rounds to half infinity

/// |x| as an integer that orders like |x|; values from infinity_bits on are infinite or NaN.
[[nodiscard]] constexpr std::uint32_t abs_bits(float x) noexcept {
  return std::bit_cast<std::uint32_t>(x) & 0x7fffffffu;
}

[[nodiscard]] constexpr bool is_finite(float x) noexcept { return abs_bits(x) < infinity_bits; }

} // namespace edgequant::inline EDGEQUANT_ABI
