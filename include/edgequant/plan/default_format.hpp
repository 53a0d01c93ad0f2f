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

/// What a tensor of so many dimensions, stored as `stored`, becomes in a file of `type`: integers
/// stay, 1-D tensors (norms, biases) become f32, and with codes of fewer than 8 bits
/// token_embd.weight and output.weight become q8_0.
[[nodiscard]] constexpr format default_format(std::string_view name, std::size_t dimensions,
                                              format stored, format type) noexcept {
  if (is_integer(stored)) return stored;
  if (dimensions == 1) return format::f32;
  const bool large_vocabulary = name == "token_embd.weight" || name == "output.weight";
  const int bits = info_of(type).code_bits;
  return large_vocabulary && bits > 0 && bits < 8 ? format::q8_0 : type;
}

/// `type`, or f16 where rows of `columns` values are no multiple of its block length.
[[nodiscard]] constexpr format fitting_format(format type, std::uint64_t columns) noexcept {
  return columns % info_of(type).block_length == 0 ? type : format::f16;
}

} // namespace edgequant::inline EDGEQUANT_ABI
