// SPDX-License-Identifier: MIT
/// Group formats as types: how many bits a code has, how many values share a scale, and where both
/// are stored.
#pragma once

#include "format.hpp"
#include "super_block.hpp"

#include <array>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>

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

/// Codes lowest..highest, each times its group's scale.
template <int Lowest, int Highest> struct linear_codes {
  static constexpr int lowest = Lowest, highest = Highest;
};

/// Levels of iq4_nl and iq4_xs, and twice those of a number of four bits, E2M1.
inline constexpr std::int8_t iq4_levels[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                               1,    13,   25,  38,  53,  69,  89,  113};
inline constexpr std::int8_t fp4_levels[16] = {0, 1,  2,  3,  4,  6,  8,  12,
                                               0, -1, -2, -3, -4, -6, -8, -12};

/// Codes are the entries of a codebook, each times its group's scale; ascending, without repeats.
struct iq4_codes {
  static constexpr std::array<std::int8_t, 16> ascending = std::to_array(iq4_levels);
  static constexpr int lowest = ascending.front(), highest = ascending.back();
};
struct sign_codes {
  static constexpr std::array<std::int8_t, 2> ascending = {-1, 1};
  static constexpr int lowest = -1, highest = 1;
};
struct fp4_codes {
  static constexpr std::array<std::int8_t, 15> ascending = {-12, -8, -6, -4, -3, -2, -1, 0,
                                                            1,   2,  3,  4,  6,  8,  12};
  static constexpr int lowest = ascending.front(), highest = ascending.back();
};

/// How the scale of a group is stored.
enum class scale_unit : std::uint8_t {
  half_of_block, ///< an f16 of the block times an integer of the group, its step
  e8m0,          ///< 2^(step - 128)
  ue4m3,         ///< 1/2 times a float with four bits of exponent and three of mantissa
};

/// Steps lowest..highest of a group's scale, and of its minimum, which is another half of the block
/// times its step. 1..1 where the half itself is the scale, 0..0 where there is no minimum.
template <scale_unit Unit, int Lowest = 1, int Highest = 1, int LowestMinimum = 0,
          int HighestMinimum = 0>
struct scale_steps {
  static constexpr scale_unit unit = Unit;
  static constexpr int lowest = Lowest, highest = Highest;
  static constexpr int lowest_minimum = LowestMinimum, highest_minimum = HighestMinimum;
};
template <int... Ends> using half_times_steps = scale_steps<scale_unit::half_of_block, Ends...>;
using e8m0_steps = scale_steps<scale_unit::e8m0, 0, 254>;
using ue4m3_steps = scale_steps<scale_unit::ue4m3, 0, 126>;

/// A format of blocks: values in a block and in a group, and whether a group has a minimum.
template <format Id, class Block, std::size_t BlockLength, std::size_t GroupLength,
          bool HasMinimum = false>
struct stored_format {
  static constexpr format id = Id;
  using block = Block;
  static constexpr std::size_t block_length = BlockLength, group_length = GroupLength;
  static constexpr bool has_minimum = HasMinimum;
};
/// With what an encoder needs to know: the codes, and how scales and minimums are stored.
template <format Id, class Block, std::size_t BlockLength, std::size_t GroupLength, class Codes,
          class Steps>
struct coded_blocks
    : stored_format<Id, Block, BlockLength, GroupLength, (Steps::highest_minimum > 0)> {
  using codes = Codes;
  using steps = Steps;
};

/// ggml's q8_0, q5_0 and q4_0: groups of 32 with a half scale, stored as blocks.
template <format Id, class Block, int Bits, int Lowest, int Highest>
struct symmetric_blocks
    : coded_blocks<Id, Block, 32, 32, linear_codes<Lowest, Highest>, half_times_steps<>> {
  static constexpr int bits = Bits;
  using scale = half;
};
struct q8_0 : symmetric_blocks<format::q8_0, block_q8_0, 8, -127, 127> {};
struct q5_0 : symmetric_blocks<format::q5_0, block_q5_0, 5, -16, 15> {};
struct q4_0 : symmetric_blocks<format::q4_0, block_q4_0, 4, -8, 7> {};

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

// clang-format off
struct q4_1 : coded_blocks<format::q4_1, block_q4_1, 32, 32, linear_codes<0, 15>, half_times_steps<1, 1, 1, 1>> {};
struct q5_1 : coded_blocks<format::q5_1, block_q5_1, 32, 32, linear_codes<0, 31>, half_times_steps<1, 1, 1, 1>> {};
struct q2_k : coded_blocks<format::q2_k, block_q2_k, 256, 16, linear_codes<0, 3>, half_times_steps<0, 15, 0, 15>> {};
struct q3_k : coded_blocks<format::q3_k, block_q3_k, 256, 16, linear_codes<-4, 3>, half_times_steps<-32, 31>> {};
struct q4_k : coded_blocks<format::q4_k, block_q4_k, 256, 32, linear_codes<0, 15>, half_times_steps<0, 63, 0, 63>> {};
struct q5_k : coded_blocks<format::q5_k, block_q5_k, 256, 32, linear_codes<0, 31>, half_times_steps<0, 63, 0, 63>> {};
struct q6_k : coded_blocks<format::q6_k, block_q6_k, 256, 16, linear_codes<-32, 31>, half_times_steps<-128, 127>> {};
struct iq4_nl : coded_blocks<format::iq4_nl, block_iq4_nl, 32, 32, iq4_codes, half_times_steps<>> {};
struct iq4_xs : coded_blocks<format::iq4_xs, block_iq4_xs, 256, 32, iq4_codes, half_times_steps<-32, 31>> {};
struct mxfp4 : coded_blocks<format::mxfp4, block_mxfp4, 32, 32, fp4_codes, e8m0_steps> {};
struct nvfp4 : coded_blocks<format::nvfp4, block_nvfp4, 64, 16, fp4_codes, ue4m3_steps> {};
struct q1_0 : coded_blocks<format::q1_0, block_q1_0, 128, 128, sign_codes, half_times_steps<>> {};
struct q2_0 : coded_blocks<format::q2_0, block_q2_0, 64, 64, linear_codes<-1, 2>, half_times_steps<>> {};
struct tq1_0 : coded_blocks<format::tq1_0, block_tq1_0, 256, 256, linear_codes<-1, 1>, half_times_steps<>> {};
struct tq2_0 : coded_blocks<format::tq2_0, block_tq2_0, 256, 256, linear_codes<-1, 2>, half_times_steps<>> {};
// clang-format on
// Those whose codes come several at once, as points of a lattice, are read and not written.
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

/// A coded format whose codes are chosen one by one: it can be written.
template <class F>
concept encodable_format = coded_format<F> && requires {
  { F::codes::lowest } -> std::convertible_to<int>;
  { F::steps::lowest } -> std::convertible_to<int>;
};

/// An encodable format as data, for code that is compiled once for all of them.
struct block_layout {
  std::size_t block_length = 0, group_length = 0;
  int lowest_code = 0, highest_code = 0;
  std::span<const std::int8_t> codebook = {}; ///< ascending; empty: every integer between
  scale_unit unit = scale_unit::half_of_block;
  int lowest_step = 1, highest_step = 1, lowest_minimum = 0, highest_minimum = 0;

  [[nodiscard]] constexpr std::size_t groups() const noexcept {
    return block_length / group_length;
  }
  [[nodiscard]] constexpr bool has_minimum() const noexcept { return highest_minimum > 0; }
  [[nodiscard]] constexpr bool has_steps() const noexcept { return lowest_step != highest_step; }
};
template <encodable_format F> [[nodiscard]] constexpr block_layout layout_of() noexcept {
  using codes = typename F::codes;
  using steps = typename F::steps;
  block_layout layout{F::block_length,
                      F::group_length,
                      codes::lowest,
                      codes::highest,
                      {},
                      steps::unit,
                      steps::lowest,
                      steps::highest,
                      steps::lowest_minimum,
                      steps::highest_minimum};
  if constexpr (requires { codes::ascending; }) layout.codebook = codes::ascending;
  return layout;
}

template <coded_format... F> struct coded_list {
  static_assert(((info_of(F::id).block_bytes == sizeof(typename F::block)) && ...));
  static_assert(((info_of(F::id).block_length == F::block_length) && ...));
  static_assert(((F::block_length % F::group_length == 0) && ...));
};
/// Those beside block_formats.
using stored_formats =
    coded_list<q4_1, q5_1, q2_k, q3_k, q4_k, q5_k, q6_k, iq4_nl, iq4_xs, mxfp4, nvfp4, q1_0, q2_0,
               tq1_0, tq2_0, iq2_xxs, iq2_xs, iq2_s, iq3_xxs, iq3_s, iq1_s, iq1_m>;

/// Calls use(F{}) with the format of stored_formats whose id is `type`; false if there is none.
template <class Use> constexpr bool visit_stored_format(format type, Use&& use) {
  return [&]<class... F>(coded_list<F...>) {
    return ((F::id == type && (use(F{}), true)) || ...);
  }(stored_formats{});
}

/// Calls use(F{}) with the encodable format whose id is `type`; false if there is none.
template <class Use> constexpr bool visit_encodable_format(format type, Use&& use) {
  bool known = visit_block_format(type, use);
  visit_stored_format(type, [&]<class F>(F f) {
    if constexpr (encodable_format<F>) use(f), known = true;
  });
  return known;
}

} // namespace edgequant::inline EDGEQUANT_ABI
