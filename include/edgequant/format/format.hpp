// SPDX-License-Identifier: MIT
/// Every tensor format that the library knows, as one table: a row a format.
#pragma once

#include "block.hpp"

#include <cstdint>
#include <optional>
#include <string_view>

namespace edgequant::inline EDGEQUANT_ABI {

/// Values are ggml's type ids, as stored in GGUF.
enum class format : std::uint32_t {
  f32 = 0,
  f16 = 1,
  q4_0 = 2,
  q4_1 = 3,
  q5_0 = 6,
  q5_1 = 7,
  q8_0 = 8,
  q8_1 = 9,
  q2_k = 10,
  q3_k = 11,
  q4_k = 12,
  q5_k = 13,
  q6_k = 14,
  q8_k = 15,
  iq2_xxs = 16,
  iq2_xs = 17,
  iq3_xxs = 18,
  iq1_s = 19,
  iq4_nl = 20,
  iq3_s = 21,
  iq2_s = 22,
  iq4_xs = 23,
  i8 = 24,
  i16 = 25,
  i32 = 26,
  i64 = 27,
  f64 = 28,
  iq1_m = 29,
  bf16 = 30,
  tq1_0 = 34,
  tq2_0 = 35,
  mxfp4 = 39,
  nvfp4 = 40,
  q1_0 = 41,
  q2_0 = 42,
};

/// What the library can do with a format's values.
enum class format_use : std::uint8_t {
  carried,  ///< bytes are copied as they are; values are not read
  readable, ///< values can be read as float
  writable, ///< values can be read and written
};

struct format_row {
  format id;
  std::string_view name;
  std::uint32_t block_length; ///< values in a block; rows are multiples of it
  std::uint32_t block_bytes;
  format_use use;
  int code_bits;          ///< bits of a code in a group format with one scale, else 0
  std::int32_t file_type; ///< GGUF general.file_type of a file mostly in this format, or -1
};

inline constexpr format_row format_table[] = {
    {format::f32, "f32", 1, 4, format_use::writable, 0, 0},
    {format::f16, "f16", 1, 2, format_use::writable, 0, 1},
    {format::bf16, "bf16", 1, 2, format_use::writable, 0, 32},
    {format::q8_0, "q8_0", 32, sizeof(block_q8_0), format_use::writable, 8, 7},
    {format::q5_0, "q5_0", 32, sizeof(block_q5_0), format_use::writable, 5, 8},
    {format::q4_0, "q4_0", 32, sizeof(block_q4_0), format_use::writable, 4, 2},
    {format::f64, "f64", 1, 8, format_use::readable, 0, -1},
    {format::i8, "i8", 1, 1, format_use::carried, 0, -1},
    {format::i16, "i16", 1, 2, format_use::carried, 0, -1},
    {format::i32, "i32", 1, 4, format_use::carried, 0, -1},
    {format::i64, "i64", 1, 8, format_use::carried, 0, -1},
    {format::q4_1, "q4_1", 32, 20, format_use::writable, 0, 3},
    {format::q5_1, "q5_1", 32, 24, format_use::writable, 0, 9},
    {format::q8_1, "q8_1", 32, 36, format_use::carried, 0, -1},
    {format::q2_k, "q2_K", 256, 84, format_use::writable, 0, 10},
    {format::q3_k, "q3_K", 256, 110, format_use::writable, 0, 11},
    {format::q4_k, "q4_K", 256, 144, format_use::writable, 0, 14},
    {format::q5_k, "q5_K", 256, 176, format_use::writable, 0, 16},
    {format::q6_k, "q6_K", 256, 210, format_use::writable, 0, 18},
    {format::q8_k, "q8_K", 256, 292, format_use::carried, 0, -1},
    {format::iq2_xxs, "iq2_xxs", 256, 66, format_use::readable, 0, -1},
    {format::iq2_xs, "iq2_xs", 256, 74, format_use::readable, 0, -1},
    {format::iq3_xxs, "iq3_xxs", 256, 98, format_use::readable, 0, -1},
    {format::iq1_s, "iq1_s", 256, 50, format_use::readable, 0, -1},
    {format::iq4_nl, "iq4_nl", 32, 18, format_use::writable, 0, 25},
    {format::iq3_s, "iq3_s", 256, 110, format_use::readable, 0, -1},
    {format::iq2_s, "iq2_s", 256, 82, format_use::readable, 0, -1},
    {format::iq4_xs, "iq4_xs", 256, 136, format_use::writable, 0, 30},
    {format::iq1_m, "iq1_m", 256, 56, format_use::readable, 0, -1},
    {format::tq1_0, "tq1_0", 256, 54, format_use::writable, 0, 36},
    {format::tq2_0, "tq2_0", 256, 66, format_use::writable, 0, 37},
    {format::mxfp4, "mxfp4", 32, 17, format_use::writable, 0, 38},
    {format::nvfp4, "nvfp4", 64, 36, format_use::writable, 0, 39},
    {format::q1_0, "q1_0", 128, 18, format_use::writable, 0, 40},
    {format::q2_0, "q2_0", 64, 18, format_use::writable, 0, 41},
};

/// The row of a ggml type id, or nothing if the id is unknown. Ids 4, 5, 31 to 33 and 36 to 38 were
/// withdrawn from ggml.
[[nodiscard]] constexpr const format_row* find_format(std::uint32_t ggml_type) noexcept {
  for (const auto& row : format_table)
    if (static_cast<std::uint32_t>(row.id) == ggml_type) return &row;
  return nullptr;
}

/// The row of a name as the table spells it, or nothing.
[[nodiscard]] constexpr const format_row* find_format(std::string_view name) noexcept {
  for (const auto& row : format_table)
    if (row.name == name) return &row;
  return nullptr;
}

/// The row of a format. Every enumerator has one.
[[nodiscard]] constexpr const format_row& info_of(format id) noexcept {
  return *find_format(static_cast<std::uint32_t>(id));
}

[[nodiscard]] constexpr std::string_view name_of(format id) noexcept { return info_of(id).name; }

/// A format whose rows are cut into blocks of several values (q8_0, q4_0, ...).
[[nodiscard]] constexpr bool is_block_format(format id) noexcept {
  return info_of(id).block_length > 1;
}

/// Bytes of a row of `columns` values, a multiple of the block length.
[[nodiscard]] constexpr std::uint64_t row_bytes(format id, std::uint64_t columns) noexcept {
  const format_row& row = info_of(id);
  return columns / row.block_length * row.block_bytes;
}

} // namespace edgequant::inline EDGEQUANT_ABI
