// SPDX-License-Identifier: MIT
/// Products of quantized matrices in integers: sixteen rows at a time, one a lane.
#pragma once

#include "../format/block.hpp"
#include "quantize.hpp"

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <iterator>

namespace edgequant::inline EDGEQUANT_ABI::kernel {

/// A panel is sixteen rows of a matrix, group by group of 32 columns, interleaved so that 64 bytes
/// hold four consecutive codes of each row.
///
/// codes[k][r] are codes 4k .. 4k + 3 of row r, each with S::code_offset of its backend added.
struct panel_q8_0 {
  static constexpr int bits = 8;
  std::uint16_t scales[16]; ///< halves
  std::int8_t codes[8][16][4];
};
/// codes[k][r] holds codes 4k .. 4k + 3 of row r in its low nibbles and 16 + 4k .. 16 + 4k + 3 in
/// the high ones, each plus 8.
struct panel_q4_0 {
  static constexpr int bits = 4;
  std::uint16_t scales[16];
  std::uint8_t codes[4][16][4];
};
static_assert(sizeof(panel_q8_0) == 16 * sizeof(block_q8_0));
static_assert(sizeof(panel_q4_0) == 16 * sizeof(block_q4_0));

/// The panel that blocks become: as many bytes as its rows have in the file, but codes of five bits
/// take a byte each.
template <class Block> struct panel_of;
template <> struct panel_of<block_q8_0> { using type = panel_q8_0; };
template <> struct panel_of<block_q5_0> { using type = panel_q8_0; };
template <> struct panel_of<block_q4_0> { using type = panel_q4_0; };

/// 32 activations of each of N columns.
template <int N> struct column_group {
  std::int8_t codes[N][32]; ///< within -127..127
  float scales[N];
  std::int32_t minus_8_sums[N];   ///< -8 times the sum of the codes,
  std::int32_t minus_128_sums[N]; ///< and -128 times: what offsets of the weights' codes add
};

/// Columns that a tile takes where there are enough: their sums and one register for each fit.
template <simd::backend S> inline constexpr int tile_columns = S::registers >= 32 ? 8 : 4;

/// The codes of a block in the bytes that its panel holds: where they lie, or made in `buffer`.
template <simd::backend S>
[[nodiscard]] const void* codes_of(const block_q8_0& block, std::int8_t*) noexcept {
  return block.codes;
}
template <simd::backend S>
[[nodiscard]] const void* codes_of(const block_q4_0& block, std::int8_t*) noexcept {
  return block.nibbles;
}
template <simd::backend S>
[[nodiscard]] const void* codes_of(const block_q5_0& block, std::int8_t* buffer) noexcept {
  unpack_block<S>(block, buffer);
  return buffer;
}

/// Writes `rows` (1 to 16) rows of `groups` blocks each as a panel; rows beyond are zeros.
template <simd::backend S = simd::native, class Block>
void pack_panel(const Block* from, std::size_t rows, std::size_t groups,
                typename panel_of<Block>::type* to) noexcept {
  using panel = typename panel_of<Block>::type;
  // Adding 128 to a byte flips its highest bit.
  static_assert(S::code_offset == 0 || S::code_offset == 128);
  constexpr std::uint32_t flip = panel::bits == 8 ? S::code_offset * 0x01010101u : 0;
  constexpr std::size_t bytes = 16 * sizeof(Block); // that a panel is made from
  auto next = reinterpret_cast<std::uintptr_t>(from) + groups * bytes;
  for (std::size_t g = 0; g < groups; ++g, ++to) {
    // Sixteen streams are more than a processor looks ahead in, but the panel behind is one.
    for (std::size_t i = 0; i < bytes; i += 64)
      __builtin_prefetch(reinterpret_cast<const void*>(next + i));
    next += bytes;
    if (rows < 16) std::memset(to, 0, sizeof *to);
    for (std::size_t r = 0; r < rows; ++r) {
      const Block& block = from[r * groups + g];
      std::memcpy(to->scales + r, &block.scale, 2);
      std::uint32_t words[sizeof to->codes / 64];
      std::int8_t buffer[32];
      std::memcpy(words, codes_of<S>(block, buffer), sizeof words);
      for (std::size_t k = 0; k < std::size(words); ++k) {
        words[k] ^= flip;
        std::memcpy(to->codes[k][r], words + k, 4);
      }
    }
  }
}

/// Codes 4k .. 4k + 3 and 16 + 4k .. 16 + 4k + 3 of the sixteen rows, for k = 0 .. 3.
template <simd::backend S> [[nodiscard]] auto load_codes(const panel_q8_0& p, int k) noexcept {
  return typename S::i8_pair{S::load_codes(p.codes[k][0]), S::load_codes(p.codes[k + 4][0])};
}
template <simd::backend S> [[nodiscard]] auto load_codes(const panel_q4_0& p, int k) noexcept {
  return S::load_nibbles(p.codes[k][0]);
}

/// out[c * stride + r] = row r of the panel times column c, for 16 x Columns. The sums inside a
/// group are exact; a group adds scale * scale * sum in float, in the order of the groups, so that
/// the rounding error is at most (groups + 2) * 2^-24 times the sum of the magnitudes.
template <int Columns, simd::backend S = simd::native, class Panel>
void multiply_panel(const Panel* panel, std::size_t groups, const column_group<Columns>* x,
                    float* out, std::size_t stride) noexcept {
  typename S::f32 total[Columns];
  for (auto& t : total) t = S::broadcast(0.0f);
  for (std::size_t g = 0; g < groups; ++g) {
    typename S::i32 sum[Columns];
    for (int c = 0; c < Columns; ++c) {
      if constexpr (Panel::bits == 4)
        sum[c] = S::broadcast(x[g].minus_8_sums[c]);
      else
        sum[c] = S::broadcast(S::code_offset == 0 ? 0 : x[g].minus_128_sums[c]);
    }
    for (int k = 0; k < 4; ++k) {
      const auto w = load_codes<S>(panel[g], k);
      for (int c = 0; c < Columns; ++c) {
        const std::int8_t* codes = x[g].codes[c] + 4 * k;
        sum[c] = S::template add_dot<Panel::bits>(sum[c], w.first, S::broadcast_codes(codes));
        sum[c] = S::template add_dot<Panel::bits>(sum[c], w.second, S::broadcast_codes(codes + 16));
      }
    }
    const auto scale = S::load_f16(panel[g].scales);
    for (int c = 0; c < Columns; ++c)
      total[c] =
          S::multiply_add(S::to_f32(sum[c]), S::mul(scale, S::broadcast(x[g].scales[c])), total[c]);
  }
  for (std::size_t c = 0; c < Columns; ++c) S::store(out + c * stride, total[c]);
}

} // namespace edgequant::inline EDGEQUANT_ABI::kernel
