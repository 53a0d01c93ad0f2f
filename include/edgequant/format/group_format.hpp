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

/// ggml's q8_0, q5_0 and q4_0: groups of 32 with a half scale, stored as blocks.
struct q8_0 {
  static constexpr format id = format::q8_0;
  static constexpr int bits = 8;
  static constexpr std::size_t group_length = 32;
  using scale = half;
  using block = block_q8_0;
};
struct q5_0 {
  static constexpr format id = format::q5_0;
  static constexpr int bits = 5;
  static constexpr std::size_t group_length = 32;
  using scale = half;
  using block = block_q5_0;
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

/// Every block format, for code that takes one type after the other.
template <block_format... F> struct format_list {
  static_assert(((info_of(F::id).block_bytes == sizeof(typename F::block)) && ...));
  static_assert(((info_of(F::id).block_length == F::group_length) && ...));
  static_assert(((info_of(F::id).code_bits == F::bits) && ...));
};
using block_formats = format_list<q8_0, q5_0, q4_0>;

/// Calls use(F{}) with the block format whose id is `type`; false if there is none.
template <class Use> constexpr bool visit_block_format(format type, Use&& use) {
  return [&]<class... F>(format_list<F...>) {
    return ((F::id == type && (use(F{}), true)) || ...);
  }(block_formats{});
}

} // namespace edgequant::inline EDGEQUANT_ABI
