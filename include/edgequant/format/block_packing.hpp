// SPDX-License-Identifier: MIT
/// Codes, steps of scales and halves put together into blocks: the inverse of unpack().
#pragma once

#include "block_groups.hpp"

#include <optional>

namespace edgequant::inline EDGEQUANT_ABI {

/// A block of any encodable format before it is packed.
struct encoded_block : stored_scales {
  static constexpr std::size_t longest = 256;
  alignas(64) std::int8_t codes[longest] = {}; ///< as unpack() gives them
};

namespace formats {

/// The number that stands for a code in the block: its distance from the lowest one, or its place
/// in the table of levels.
template <class Codes> [[nodiscard]] constexpr std::uint8_t stored_code(std::int8_t code) noexcept {
  return static_cast<std::uint8_t>(code - Codes::lowest);
}
[[nodiscard]] constexpr std::uint8_t level_index(const std::int8_t (&levels)[16],
                                                 std::int8_t level) noexcept {
  std::uint8_t i = 0;
  while (i < 15 && levels[i] != level) ++i;
  return i;
}
template <> [[nodiscard]] constexpr std::uint8_t stored_code<iq4_codes>(std::int8_t code) noexcept {
  return level_index(iq4_levels, code);
}
template <> [[nodiscard]] constexpr std::uint8_t stored_code<fp4_codes>(std::int8_t code) noexcept {
  return level_index(fp4_levels, code);
}
template <>
[[nodiscard]] constexpr std::uint8_t stored_code<sign_codes>(std::int8_t code) noexcept {
  return code > 0;
}

[[nodiscard]] constexpr std::uint8_t to_byte(unsigned x) noexcept {
  return static_cast<std::uint8_t>(x);
}

/// to[count]: to[j] = codes[j] | codes[j + count] << 4, the low four bits of each of 2 count codes.
template <class Codes>
void pack_nibbles(const std::int8_t* codes, std::size_t count, std::uint8_t* to) noexcept {
  for (std::size_t j = 0; j < count; ++j)
    to[j] = to_byte((stored_code<Codes>(codes[j]) & 15u) |
                    (stored_code<Codes>(codes[j + count]) & 15u) << 4);
}
/// Bit j of to[4] is the fifth bit of codes[32].
template <class Codes> void pack_fifth_bits(const std::int8_t* codes, std::uint8_t* to) noexcept {
  for (std::size_t i = 0; i < 4; ++i) {
    unsigned bits = 0;
    for (std::size_t j = 0; j < 8; ++j)
      bits |= (stored_code<Codes>(codes[8 * i + j]) >> 4 & 1u) << j;
    to[i] = to_byte(bits);
  }
}
/// Bits `first` and the next one of codes[256] to to[64]: the inverse of unpack_pairs().
template <class Codes>
void pack_pairs(const std::int8_t* codes, int first, std::uint8_t* to) noexcept {
  for (std::size_t n = 0; n < 2; ++n)
    for (std::size_t l = 0; l < 32; ++l) {
      unsigned byte = 0;
      for (std::size_t k = 0; k < 4; ++k)
        byte |= (stored_code<Codes>(codes[128 * n + 32 * k + l]) >> first & 3u) << 2 * k;
      to[32 * n + l] = to_byte(byte);
    }
}
/// scales[8] and minimums[8] to the twelve bytes of q4_K and q5_K: see k_scale().
inline void pack_k_scales(const std::int16_t* scales, const std::uint8_t* minimums,
                          std::uint8_t* to) noexcept {
  for (std::size_t g = 0; g < 4; ++g) {
    const auto s = static_cast<unsigned>(scales[g]), m = unsigned{minimums[g]};
    const auto s4 = static_cast<unsigned>(scales[g + 4]), m4 = unsigned{minimums[g + 4]};
    to[g] = to_byte(s | s4 >> 4 << 6);
    to[g + 4] = to_byte(m | m4 >> 4 << 6);
    to[g + 8] = to_byte((s4 & 15) | (m4 & 15) << 4);
  }
}
/// Five digits n to the base of 3, the first the most significant, as ceil(n * 256 / 243): codes[i
/// * step] for i below count, zeros behind them.
[[nodiscard]] inline std::uint8_t pack_digits(const std::int8_t* codes, std::size_t step,
                                              int count) noexcept {
  unsigned number = 0;
  for (int i = 0; i < 5; ++i)
    number = 3 * number +
             (i < count ? static_cast<unsigned>(codes[static_cast<std::size_t>(i) * step] + 1) : 0);
  return to_byte((number * 256 + 242) / 243);
}

} // namespace formats

// An overload a block. Blocks of q4_1 and q5_1 add their minimum, encoded_block subtracts it.

inline void pack(const encoded_block& from, block_q8_0& to) noexcept {
  to.scale = from.scale;
  std::memcpy(to.codes, from.codes, 32);
}
inline void pack(const encoded_block& from, block_q4_0& to) noexcept {
  to.scale = from.scale;
  formats::pack_nibbles<q4_0::codes>(from.codes, 16, to.nibbles);
}
inline void pack(const encoded_block& from, block_q4_1& to) noexcept {
  to.scale = from.scale, to.minimum = -from.minimum;
  formats::pack_nibbles<q4_1::codes>(from.codes, 16, to.nibbles);
}
inline void pack(const encoded_block& from, block_q5_0& to) noexcept {
  to.scale = from.scale;
  formats::pack_fifth_bits<q5_0::codes>(from.codes, to.high_bits);
  formats::pack_nibbles<q5_0::codes>(from.codes, 16, to.nibbles);
}
inline void pack(const encoded_block& from, block_q5_1& to) noexcept {
  to.scale = from.scale, to.minimum = -from.minimum;
  formats::pack_fifth_bits<q5_1::codes>(from.codes, to.high_bits);
  formats::pack_nibbles<q5_1::codes>(from.codes, 16, to.nibbles);
}
inline void pack(const encoded_block& from, block_iq4_nl& to) noexcept {
  to.scale = from.scale;
  formats::pack_nibbles<iq4_nl::codes>(from.codes, 16, to.nibbles);
}
inline void pack(const encoded_block& from, block_mxfp4& to) noexcept {
  to.exponent = static_cast<std::uint8_t>(from.scale_steps[0]);
  formats::pack_nibbles<mxfp4::codes>(from.codes, 16, to.nibbles);
}
inline void pack(const encoded_block& from, block_nvfp4& to) noexcept {
  for (std::size_t g = 0; g < 4; ++g) {
    to.scales[g] = static_cast<std::uint8_t>(from.scale_steps[g]);
    formats::pack_nibbles<nvfp4::codes>(from.codes + 16 * g, 8, to.nibbles + 8 * g);
  }
}
inline void pack(const encoded_block& from, block_q1_0& to) noexcept {
  to.scale = from.scale;
  for (std::size_t i = 0; i < 16; ++i) {
    unsigned bits = 0;
    for (std::size_t j = 0; j < 8; ++j)
      bits |= unsigned{formats::stored_code<q1_0::codes>(from.codes[8 * i + j])} << j;
    to.bits[i] = formats::to_byte(bits);
  }
}
inline void pack(const encoded_block& from, block_q2_0& to) noexcept {
  to.scale = from.scale;
  for (std::size_t i = 0; i < 16; ++i) {
    unsigned byte = 0;
    for (std::size_t j = 0; j < 4; ++j)
      byte |= unsigned{formats::stored_code<q2_0::codes>(from.codes[4 * i + j])} << 2 * j;
    to.pairs[i] = formats::to_byte(byte);
  }
}

inline void pack(const encoded_block& from, block_q2_k& to) noexcept {
  to.scale = from.scale, to.minimum = from.minimum;
  for (std::size_t g = 0; g < 16; ++g)
    to.scales[g] = formats::to_byte(static_cast<unsigned>(from.scale_steps[g]) |
                                    unsigned{from.minimum_steps[g]} << 4);
  formats::pack_pairs<q2_k::codes>(from.codes, 0, to.pairs);
}
inline void pack(const encoded_block& from, block_q3_k& to) noexcept {
  to.scale = from.scale;
  std::memset(to.scales, 0, sizeof to.scales);
  for (std::size_t g = 0; g < 16; ++g) {
    const auto s = static_cast<unsigned>(from.scale_steps[g] + 32);
    to.scales[g % 8] |= formats::to_byte((s & 15) << (g < 8 ? 0 : 4));
    to.scales[8 + g % 4] |= formats::to_byte(s >> 4 << 2 * (g / 4));
  }
  formats::pack_pairs<q3_k::codes>(from.codes, 0, to.pairs);
  for (std::size_t l = 0; l < 32; ++l) {
    unsigned byte = 0;
    for (std::size_t i = 0; i < 8; ++i)
      byte |= (formats::stored_code<q3_k::codes>(from.codes[32 * i + l]) >> 2 & 1u) << i;
    to.high_bits[l] = formats::to_byte(byte);
  }
}
inline void pack(const encoded_block& from, block_q4_k& to) noexcept {
  to.scale = from.scale, to.minimum = from.minimum;
  formats::pack_k_scales(from.scale_steps, from.minimum_steps, to.scales);
  for (std::size_t c = 0; c < 4; ++c)
    formats::pack_nibbles<q4_k::codes>(from.codes + 64 * c, 32, to.nibbles + 32 * c);
}
inline void pack(const encoded_block& from, block_q5_k& to) noexcept {
  to.scale = from.scale, to.minimum = from.minimum;
  formats::pack_k_scales(from.scale_steps, from.minimum_steps, to.scales);
  for (std::size_t c = 0; c < 4; ++c)
    formats::pack_nibbles<q5_k::codes>(from.codes + 64 * c, 32, to.nibbles + 32 * c);
  for (std::size_t l = 0; l < 32; ++l) {
    unsigned byte = 0;
    for (std::size_t g = 0; g < 8; ++g)
      byte |= (formats::stored_code<q5_k::codes>(from.codes[32 * g + l]) >> 4 & 1u) << g;
    to.high_bits[l] = formats::to_byte(byte);
  }
}
inline void pack(const encoded_block& from, block_q6_k& to) noexcept {
  to.scale = from.scale;
  for (std::size_t g = 0; g < 16; ++g) to.scales[g] = static_cast<std::int8_t>(from.scale_steps[g]);
  for (std::size_t n = 0; n < 2; ++n)
    formats::pack_nibbles<q6_k::codes>(from.codes + 128 * n, 64, to.nibbles + 64 * n);
  formats::pack_pairs<q6_k::codes>(from.codes, 4, to.pairs);
}
inline void pack(const encoded_block& from, block_iq4_xs& to) noexcept {
  to.scale = from.scale;
  unsigned high = 0;
  std::memset(to.scales_low, 0, sizeof to.scales_low);
  for (std::size_t g = 0; g < 8; ++g) {
    const auto s = static_cast<unsigned>(from.scale_steps[g] + 32);
    to.scales_low[g / 2] |= formats::to_byte((s & 15) << 4 * (g % 2));
    high |= s >> 4 << 2 * g;
    formats::pack_nibbles<iq4_xs::codes>(from.codes + 32 * g, 16, to.nibbles + 16 * g);
  }
  to.scales_high[0] = formats::to_byte(high & 255), to.scales_high[1] = formats::to_byte(high >> 8);
}
inline void pack(const encoded_block& from, block_tq1_0& to) noexcept {
  to.scale = from.scale;
  for (std::size_t j = 0; j < 32; ++j) to.digits[j] = formats::pack_digits(from.codes + j, 32, 5);
  for (std::size_t j = 0; j < 16; ++j)
    to.digits[32 + j] = formats::pack_digits(from.codes + 160 + j, 16, 5);
  for (std::size_t j = 0; j < 4; ++j) to.last[j] = formats::pack_digits(from.codes + 240 + j, 4, 4);
}
inline void pack(const encoded_block& from, block_tq2_0& to) noexcept {
  to.scale = from.scale;
  formats::pack_pairs<tq2_0::codes>(from.codes, 0, to.pairs);
}

/// The same for a format that is known at run time: an encodable one, else nothing happens.
inline void pack_block(format type, const encoded_block& from, std::byte* to) noexcept {
  visit_encodable_format(type, [&]<class F>(F) {
    typename F::block block;
    pack(from, block);
    std::memcpy(to, &block, sizeof block);
  });
}

/// The layout of an encodable format, or nothing.
[[nodiscard]] constexpr std::optional<block_layout> find_layout(format type) noexcept {
  std::optional<block_layout> layout;
  visit_encodable_format(type, [&]<class F>(F) { layout = layout_of<F>(); });
  return layout;
}

} // namespace edgequant::inline EDGEQUANT_ABI
