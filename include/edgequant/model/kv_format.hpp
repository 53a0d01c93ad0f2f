// SPDX-License-Identifier: MIT
/// How the KV cache stores a head, and the bytes that it takes.
#pragma once

#include "../core/exception.hpp"

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace edgequant::inline EDGEQUANT_ABI {

/// How a head's key or value is stored.
enum class kv_format {
  f32,
  f16,
  int8, ///< codes and one float scale (largest magnitude / 127) per head and token
  int4, ///< codes, and a half as scale of each 32 of a head and token
};

/// Whether keys, queries and values are turned by a Hadamard matrix before keys and values are
/// stored. It changes no product of keys and queries, what attention mixes is turned back, and
/// outliers spread over the head. Source: Ashkboos et al. 2024 (QuaRot).
[[nodiscard]] constexpr bool turns_heads(kv_format type) noexcept {
  return type == kv_format::int8 || type == kv_format::int4;
}

/// Tokens that the built-in engine's cache makes room for at once.
inline constexpr std::size_t kv_block_tokens = 16;

/// Values of an int4 head that have a scale of their own; the last group is padded to so many.
inline constexpr std::size_t kv_group_values = 32;

/// Bytes of the key or the value of one head and token, padded to whole floats.
[[nodiscard]] constexpr std::uint64_t kv_head_bytes(kv_format type,
                                                    std::uint64_t head_size) noexcept {
  if (type == kv_format::f32) return 4 * head_size;
  if (type == kv_format::f16) return 2 * head_size;
  if (type == kv_format::int8) return sizeof(float) + (head_size + 3) / 4 * 4;
  const std::uint64_t groups = (head_size + kv_group_values - 1) / kv_group_values;
  return (groups * (kv_group_values / 2 + 2) + 3) / 4 * 4;
}

/// `f32`, `f16`, `int8` or `int4`.
[[nodiscard]] constexpr const char* name_of(kv_format type) noexcept {
  constexpr const char* names[] = {"f32", "f16", "int8", "int4"};
  return names[static_cast<std::size_t>(type)];
}
inline constexpr kv_format kv_formats[] = {kv_format::f32, kv_format::f16, kv_format::int8,
                                           kv_format::int4};
/// bad_argument for another name.
[[nodiscard]] inline kv_format parse_kv_format(std::string_view name) {
  for (const auto type : kv_formats)
    if (name == name_of(type)) return type;
  fail(error_code::bad_argument, "KV cache '" + escaped(name) + "'",
       "expected f32, f16, int8 or int4");
}

} // namespace edgequant::inline EDGEQUANT_ABI
