// SPDX-License-Identifier: MIT
/// Group formats as types: how many bits a code has, how many values share a scale, and where both
/// are stored.
#pragma once

#include "format.hpp"

#include <concepts>
#include <cstddef>
#include <limits>

namespace edgequant::inline EDGEQUANT_ABI {

/// Group lengths with a meaning of their own.
inline constexpr std::size_t per_channel = 0; ///< one scale a row
inline constexpr std::size_t per_tensor = std::numeric_limits<std::size_t>::max();

/// Symmetric codes of `Bits` (4 or 8) bits, one scale of type `Scale` (float or half) for every
/// `GroupLength` values of a row; the last group of a row may be shorter. Value = code * scale.
/// Codes and scales are stored apart: 8-bit codes one a byte, 4-bit codes two a byte, interleaved,
/// each row from a byte of its own.
template <int Bits, std::size_t GroupLength, class Scale = float> struct symmetric {
  static_assert(Bits == 4 || Bits == 8);
  static constexpr int bits = Bits;
  static constexpr std::size_t group_length = GroupLength;
  using scale = Scale;
};

/// ggml's q8_0 and q4_0: groups of 32 with a half scale, stored as blocks.
struct q8_0 {
  static constexpr format id = format::q8_0;
  static constexpr int bits = 8;
  static constexpr std::size_t group_length = 32;
  using scale = half;
  using block = block_q8_0;
};
struct q4_0 {
  static constexpr format id = format::q4_0;
  static constexpr int bits = 4;
  static constexpr std::size_t group_length = 32;
  using scale = half;
  using block = block_q4_0;
};

template <class F>
concept group_format = requires {
  { F::bits } -> std::convertible_to<int>;
  { F::group_length } -> std::convertible_to<std::size_t>;
  typename F::scale;
};
/// A format that stores scale and codes together, block by block.
template <class F>
concept block_format = group_format<F> && requires {
  typename F::block;
  { F::id } -> std::convertible_to<format>;
};

static_assert(info_of(q8_0::id).block_bytes == sizeof(q8_0::block) &&
              info_of(q8_0::id).code_bits == q8_0::bits);
static_assert(info_of(q4_0::id).block_bytes == sizeof(q4_0::block) &&
              info_of(q4_0::id).code_bits == q4_0::bits);

} // namespace edgequant::inline EDGEQUANT_ABI
