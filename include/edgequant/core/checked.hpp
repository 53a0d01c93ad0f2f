// SPDX-License-Identifier: MIT
/// Arithmetic on sizes that come from files: it never wraps, it says so.
#pragma once

#include "../config.hpp"

#include <cstdint>
#include <limits>
#include <optional>

namespace edgequant::inline EDGEQUANT_ABI {

/// a + b, or nothing if the sum needs more than 64 bits.
[[nodiscard]] constexpr std::optional<std::uint64_t> checked_add(std::uint64_t a,
                                                                 std::uint64_t b) noexcept {
  if (b > std::numeric_limits<std::uint64_t>::max() - a) return std::nullopt;
  return a + b;
}

/// a * b, or nothing if the product needs more than 64 bits.
[[nodiscard]] constexpr std::optional<std::uint64_t> checked_multiply(std::uint64_t a,
                                                                      std::uint64_t b) noexcept {
  if (a != 0 && b > std::numeric_limits<std::uint64_t>::max() / a) return std::nullopt;
  return a * b;
}

/// Smallest multiple of `alignment` (a power of two) that is at least `offset`, or nothing if it
/// needs more than 64 bits.
[[nodiscard]] constexpr std::optional<std::uint64_t> align_up(std::uint64_t offset,
                                                              std::uint64_t alignment) noexcept {
  const auto sum = checked_add(offset, alignment - 1);
  if (!sum) return std::nullopt;
  return *sum & ~(alignment - 1);
}

/// Quotient rounded up; `divisor` is not 0.
[[nodiscard]] constexpr std::size_t ceil_divide(std::size_t value, std::size_t divisor) noexcept {
  return value / divisor + (value % divisor != 0);
}

} // namespace edgequant::inline EDGEQUANT_ABI
