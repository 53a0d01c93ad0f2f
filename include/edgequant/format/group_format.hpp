// SPDX-License-Identifier: MIT
/// Group formats as types: how many bits a code has, how many values share a scale, and where both
/// are stored.
#pragma once

#include "format.hpp"
#include "super_block.hpp"

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
  static constexpr std::size_t block_length = 32;
  static constexpr bool has_minimum = false;
};
struct q5_0 {
  static constexpr format id = format::q5_0;
  static constexpr int bits = 5;
  static constexpr std::size_t group_length = 32;
  using scale = half;
  using block = block_q5_0;
  static constexpr std::size_t block_length = 32;
  static constexpr bool has_minimum = false;
};
struct q4_0 {
  static constexpr format id = format::q4_0;
  static constexpr int bits = 4;
  static constexpr std::size_t group_length = 32;
  using scale = half;
  using block = block_q4_0;
  static constexpr std::size_t block_length = 32;
  static constexpr bool has_minimum = false;
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

/// The formats that the library reads and multiplies, and does not write: values in a block and in
/// a group, and whether a group has a minimum.
template <format Id, class Block, std::size_t BlockLength, std::size_t GroupLength,
          bool HasMinimum = false>
struct stored_format {
  static constexpr format id = Id;
  using block = Block;
  static constexpr std::size_t block_length = BlockLength, group_length = GroupLength;
  static constexpr bool has_minimum = HasMinimum;
};
struct q4_1 : stored_format<format::q4_1, block_q4_1, 32, 32, true> {};
struct q5_1 : stored_format<format::q5_1, block_q5_1, 32, 32, true> {};
struct q2_k : stored_format<format::q2_k, block_q2_k, 256, 16, true> {};
struct q3_k : stored_format<format::q3_k, block_q3_k, 256, 16> {};
struct q4_k : stored_format<format::q4_k, block_q4_k, 256, 32, true> {};
struct q5_k : stored_format<format::q5_k, block_q5_k, 256, 32, true> {};
struct q6_k : stored_format<format::q6_k, block_q6_k, 256, 16> {};
struct iq4_nl : stored_format<format::iq4_nl, block_iq4_nl, 32, 32> {};
struct iq4_xs : stored_format<format::iq4_xs, block_iq4_xs, 256, 32> {};
struct mxfp4 : stored_format<format::mxfp4, block_mxfp4, 32, 32> {};
struct nvfp4 : stored_format<format::nvfp4, block_nvfp4, 64, 16> {};
struct q1_0 : stored_format<format::q1_0, block_q1_0, 128, 128> {};
struct q2_0 : stored_format<format::q2_0, block_q2_0, 64, 64> {};
struct tq1_0 : stored_format<format::tq1_0, block_tq1_0, 256, 256> {};
struct tq2_0 : stored_format<format::tq2_0, block_tq2_0, 256, 256> {};
struct iq2_xxs : stored_format<format::iq2_xxs, block_iq2_xxs, 256, 32> {};
struct iq2_xs : stored_format<format::iq2_xs, block_iq2_xs, 256, 16> {};
struct iq2_s : stored_format<format::iq2_s, block_iq2_s, 256, 16> {};
struct iq3_xxs : stored_format<format::iq3_xxs, block_iq3_xxs, 256, 32> {};
struct iq3_s : stored_format<format::iq3_s, block_iq3_s, 256, 32> {};
struct iq1_s : stored_format<format::iq1_s, block_iq1_s, 256, 32> {};
struct iq1_m : stored_format<format::iq1_m, block_iq1_m, 256, 16> {};

/// A format of blocks, each of integer codes in groups with a scale and perhaps a minimum: see
/// block_groups.
template <class F>
concept coded_format = requires {
  typename F::block;
  { F::id } -> std::convertible_to<format>;
  { F::block_length } -> std::convertible_to<std::size_t>;
  { F::group_length } -> std::convertible_to<std::size_t>;
  { F::has_minimum } -> std::convertible_to<bool>;
};

template <coded_format... F> struct coded_list {
  static_assert(((info_of(F::id).block_bytes == sizeof(typename F::block)) && ...));
  static_assert(((info_of(F::id).block_length == F::block_length) && ...));
  static_assert(((F::block_length % F::group_length == 0) && ...));
};
/// Those without an encoder of their own; q8_0, q5_0 and q4_0 are in block_formats.
using stored_formats =
    coded_list<q4_1, q5_1, q2_k, q3_k, q4_k, q5_k, q6_k, iq4_nl, iq4_xs, mxfp4, nvfp4, q1_0, q2_0,
               tq1_0, tq2_0, iq2_xxs, iq2_xs, iq2_s, iq3_xxs, iq3_s, iq1_s, iq1_m>;

/// Calls use(F{}) with the format of stored_formats whose id is `type`; false if there is none.
template <class Use> constexpr bool visit_stored_format(format type, Use&& use) {
  return [&]<class... F>(coded_list<F...>) {
    return ((F::id == type && (use(F{}), true)) || ...);
  }(stored_formats{});
}

} // namespace edgequant::inline EDGEQUANT_ABI
