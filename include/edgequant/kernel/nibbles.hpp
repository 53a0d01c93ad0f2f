// SPDX-License-Identifier: MIT
/// Two 4-bit codes in a byte, in both orders that the ecosystem uses.
#pragma once

#include "../core/checked.hpp"
#include "lanes.hpp"

#include <cassert>

namespace edgequant::inline EDGEQUANT_ABI {

/// Which codes share a byte. Nibbles are two's complement.
enum class nibble_order {
  interleaved, ///< codes 2i (low nibble) and 2i + 1 (high): ONNX, TFLite
  split_half,  ///< in each run of 32 codes, j (low) and j + 16 (high): GGUF. A last run of m < 32
               ///< codes takes ceil(m / 2) bytes, byte j with codes j and j + ceil(m / 2).
};

namespace kernel {

/// Bytes that `count` codes take in either order.
[[nodiscard]] constexpr std::size_t packed_bytes(std::size_t count) noexcept {
  return ceil_divide(count, 2);
}

/// Packs codes within -8..7; `bytes` has room for packed_bytes(codes.size()). The high nibble of a
/// last byte without a partner is 0.
template <simd::backend S = simd::native>
void pack_nibbles(std::span<const std::int8_t> codes, nibble_order order,
                  std::uint8_t* bytes) noexcept;

/// The inverse: unpacks codes.size() codes from packed_bytes(codes.size()) bytes.
template <simd::backend S = simd::native>
void unpack_nibbles(const std::uint8_t* bytes, nibble_order order,
                    std::span<std::int8_t> codes) noexcept;

[[nodiscard]] constexpr std::uint8_t pack_pair(int low, int high) noexcept {
  return static_cast<std::uint8_t>((low & 15) | (high & 15) << 4);
}
[[nodiscard]] constexpr std::int8_t low_nibble(std::uint8_t byte) noexcept {
  return static_cast<std::int8_t>(((byte & 15) ^ 8) - 8);
}
[[nodiscard]] constexpr std::int8_t high_nibble(std::uint8_t byte) noexcept {
  return static_cast<std::int8_t>(((byte >> 4) ^ 8) - 8);
}

template <simd::backend S>
void pack_nibbles(std::span<const std::int8_t> codes, nibble_order order,
                  std::uint8_t* bytes) noexcept {
  const std::int8_t* in = codes.data();
  std::size_t i = 0;
  if (order == nibble_order::interleaved) {
    for (; i + 16 <= codes.size(); i += 16)
      S::store_nibble_pairs(bytes + i / 2, S::load_i8(in + i), 0);
    for (; i + 2 <= codes.size(); i += 2) bytes[i / 2] = pack_pair(in[i], in[i + 1]);
    if (i < codes.size()) bytes[i / 2] = pack_pair(in[i], 0);
    return;
  }
  for (; i + 32 <= codes.size(); i += 32)
    S::store_nibbles(bytes + i / 2, S::load_i8(in + i), S::load_i8(in + i + 16), 0);
  const std::size_t rest = codes.size() - i, half_length = ceil_divide(rest, 2);
  for (std::size_t j = 0; j < half_length; ++j)
    bytes[i / 2 + j] = pack_pair(in[i + j], half_length + j < rest ? in[i + half_length + j] : 0);
}

template <simd::backend S>
void unpack_nibbles(const std::uint8_t* bytes, nibble_order order,
                    std::span<std::int8_t> codes) noexcept {
  std::int8_t* out = codes.data();
  std::size_t i = 0;
  if (order == nibble_order::interleaved) {
    for (; i + 16 <= codes.size(); i += 16)
      S::store_i8(out + i, S::load_nibble_pairs(bytes + i / 2, 0));
    for (; i < codes.size(); ++i)
      out[i] = i % 2 == 0 ? low_nibble(bytes[i / 2]) : high_nibble(bytes[i / 2]);
    return;
  }
  for (; i + 32 <= codes.size(); i += 32) {
    S::store_i8(out + i, S::load_low_nibbles(bytes + i / 2, 0));
    S::store_i8(out + i + 16, S::load_high_nibbles(bytes + i / 2, 0));
  }
  const std::size_t rest = codes.size() - i, half_length = ceil_divide(rest, 2);
  for (std::size_t j = 0; j < half_length; ++j) {
    out[i + j] = low_nibble(bytes[i / 2 + j]);
    if (half_length + j < rest) out[i + half_length + j] = high_nibble(bytes[i / 2 + j]);
  }
}

} // namespace kernel
} // namespace edgequant::inline EDGEQUANT_ABI
