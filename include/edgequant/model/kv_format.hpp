// SPDX-License-Identifier: MIT
/// How the KV cache stores a head, and the bytes that it takes.
#pragma once

#include "../config.hpp"

#include <cstddef>
#include <cstdint>

namespace edgequant::inline EDGEQUANT_ABI {

/// How a head's key or value is stored.
enum class kv_format {
  f32,
  f16,
  int8, ///< codes and one float scale (largest magnitude / 127) per head and token
};

/// Whether keys and queries are turned by a Hadamard matrix before keys are stored. It changes no
/// product of theirs, and spreads outliers over the head. Source: Ashkboos et al. 2024 (QuaRot).
[[nodiscard]] constexpr bool turns_keys(kv_format type) noexcept { return type == kv_format::int8; }

/// Tokens that the built-in engine's cache makes room for at once.
inline constexpr std::size_t kv_block_tokens = 16;

/// Bytes of the key or the value of one head and token; int8 codes are padded to whole floats.
[[nodiscard]] constexpr std::uint64_t kv_head_bytes(kv_format type,
                                                    std::uint64_t head_size) noexcept {
  if (type == kv_format::f32) return 4 * head_size;
  if (type == kv_format::f16) return 2 * head_size;
  return sizeof(float) + (head_size + 3) / 4 * 4;
}

} // namespace edgequant::inline EDGEQUANT_ABI
