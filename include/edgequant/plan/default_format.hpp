// SPDX-License-Identifier: MIT
/// The format that a tensor gets where nobody says otherwise.
#pragma once

#include "../format/format.hpp"

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <string_view>

namespace edgequant::inline EDGEQUANT_ABI {

/// Formats of tensors by their names.
using named_formats = std::map<std::string, format, std::less<>>;

[[nodiscard]] constexpr bool is_integer(format type) noexcept {
  return type == format::i8 || type == format::i16 || type == format::i32 || type == format::i64;
}

/// The matrix that chooses experts: small, and what it decides has no middle.
[[nodiscard]] constexpr bool is_router(std::string_view name) noexcept {
  return name.ends_with(".ffn_gate_inp.weight");
}

/// What a tensor of so many dimensions, stored as `stored`, becomes in a file of `type`: integers
/// stay, 1-D tensors (norms, biases) and routers become f32, and below 8 bits a weight
/// token_embd.weight and output.weight become q8_0, or q6_K beside formats of super-blocks.
[[nodiscard]] constexpr format default_format(std::string_view name, std::size_t dimensions,
                                              format stored, format type) noexcept {
  if (is_integer(stored)) return stored;
  if (dimensions == 1 || is_router(name)) return format::f32;
  const bool large_vocabulary = name == "token_embd.weight" || name == "output.weight";
  const auto& row = info_of(type);
  if (!large_vocabulary || row.block_bytes >= row.block_length) return type;
  return row.block_length == 256 ? format::q6_k : format::q8_0;
}

/// What stands in for a format of longer blocks where rows are a multiple of 32 alone: that of
/// blocks of 32 which is as accurate, as llama.cpp has it, but iq4_nl for its q4_0.
[[nodiscard]] constexpr format format_of_32(format type) noexcept {
  if (info_of(type).block_length <= 32) return type;
  if (type == format::q6_k) return format::q8_0;
  if (type == format::q5_k) return format::q5_1;
  return type == format::q4_k ? format::q5_0 : format::iq4_nl;
}

/// `type`; where rows of `columns` values are no multiple of its block length, format_of_32() or,
/// if they are no multiple of 32 either, f16.
[[nodiscard]] constexpr format fitting_format(format type, std::uint64_t columns) noexcept {
  if (columns % info_of(type).block_length == 0) return type;
  return columns % 32 == 0 ? format_of_32(type) : format::f16;
}

} // namespace edgequant::inline EDGEQUANT_ABI
