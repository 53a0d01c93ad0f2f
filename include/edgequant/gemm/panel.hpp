// SPDX-License-Identifier: MIT
/// Products of quantized matrices in integers: sixteen rows at a time, one a lane.
#pragma once

#include "../format/block.hpp"
#include "activation_group.hpp"

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <iterator>
#include <type_traits>

namespace edgequant::inline EDGEQUANT_ABI::gemm {

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

/// A panel's group made ready for many columns: a byte a code, a float a scale.
template <int Bits> struct alignas(64) expanded_panel {
  static constexpr int bits = Bits;
  /// As in panel_q8_0, but for S::add_pair() where there is one; those of 4 bits are 0..15.
  std::int8_t codes[8][16][4];
  float scales[16];
};

/// Sums that fit in registers beside what makes them: panels and columns of a tile, where there are
/// enough of both. Two panels share the loads of activations, which keep pace with two products a
/// cycle only so. With few registers a second pair of columns puts its totals in memory.
template <simd::backend S>
inline constexpr std::size_t tile_tokens = S::registers >= 32 ? 6
                                           : S::free_stores   ? 4
                                                              : 2;
template <simd::backend S> inline constexpr std::size_t tile_panels = S::registers >= 32 ? 2 : 1;

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
  kernel::unpack_block<S>(block, buffer);
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

/// Codes 4k .. 4k + 3 of the sixteen rows, for k = 0 .. 7.
template <simd::backend S, class Panel>
[[nodiscard]] auto load_codes(const Panel& p, int k) noexcept {
  if constexpr (sizeof p.codes == 512)
    return S::load_codes(p.codes[k][0]);
  else
    return k < 4 ? S::load_low_codes(p.codes[k][0]) : S::load_high_codes(p.codes[k - 4][0]);
}
template <simd::backend S> [[nodiscard]] auto load_scales(const std::uint16_t* halves) noexcept {
  return S::load_f16(halves);
}
template <simd::backend S> [[nodiscard]] auto load_scales(const float* scales) noexcept {
  return S::load(scales);
}

/// Makes `groups` groups of a panel ready for many columns.
template <simd::backend S = simd::native, class Panel>
void expand_panel(const Panel* from, std::size_t groups, expanded_panel<Panel::bits>* to) noexcept {
  for (std::size_t g = 0; g < groups; ++g) {
    if constexpr (simd::pair_backend<S>)
      for (int k = 0; k < 8; k += 2)
        S::store_row_pairs(to[g].codes[k][0], load_codes<S>(from[g], k),
                           load_codes<S>(from[g], k + 1));
    else
      for (int k = 0; k < 8; ++k) S::store_codes(to[g].codes[k][0], load_codes<S>(from[g], k));
    S::store(to[g].scales, load_scales<S>(from[g].scales));
  }
}

/// out[c * stride + 16 * p + r] = row r of panel p times column c, for 16 x Panels x Tokens, where
/// panel p begins at panel + p * groups; `more`: added to what is there. The sums inside a group
/// are exact; a group adds sum * scale * scale in float, in the order of the groups, so that the
/// rounding error is at most (groups + 2) * 2^-24 times the sum of the magnitudes.
template <std::size_t Panels, std::size_t Tokens, simd::backend S = simd::native, class Panel>
void multiply_panels(const Panel* panel, std::size_t groups, const activation_group<Tokens>* x,
                     bool more, float* out, std::size_t stride) noexcept {
  constexpr int bits = Panel::bits;
  typename S::f32 total[Panels][Tokens];
  EDGEQUANT_UNROLL
  for (std::size_t c = 0; c < Tokens; ++c) {
    EDGEQUANT_UNROLL
    for (std::size_t p = 0; p < Panels; ++p)
      total[p][c] = more ? S::load(out + c * stride + p * 16) : S::broadcast(0.0f);
  }
  for (std::size_t g = 0; g < groups; ++g) {
    if constexpr (!std::is_same_v<Panel, expanded_panel<bits>>)
      for (std::size_t p = 0; p < Panels; ++p)
        kernel::prefetch_stream<sizeof(Panel)>(panel + p * groups + g);
    const std::int32_t* starts = bits == 4 ? x[g].correction_4 : x[g].correction_8;
    decltype(S::template begin_dots<bits>(0)) sum[Panels][Tokens];
    if constexpr (simd::pair_backend<S> && std::is_same_v<Panel, expanded_panel<bits>>) {
      // Half as many dot instructions; the same whole numbers.
      EDGEQUANT_UNROLL
      for (std::size_t c = 0; c < Tokens; c += 2) {
        const std::size_t d = c + 1 < Tokens ? c + 1 : c;
        EDGEQUANT_UNROLL
        for (std::size_t p = 0; p < Panels; ++p) {
          auto pair = S::begin_pair(starts[c], starts[d]);
          EDGEQUANT_UNROLL
          for (int k = 0; k < 8; k += 2)
            pair = S::add_pair(pair, panel[p * groups + g].codes[k][0], x[g].codes[c] + 4 * k,
                               x[g].codes[d] + 4 * k);
          sum[p][c] = S::first_of(pair);
          if (d > c) sum[p][d] = S::second_of(pair);
        }
      }
    } else {
      EDGEQUANT_UNROLL
      for (std::size_t c = 0; c < Tokens; ++c) {
        EDGEQUANT_UNROLL
        for (std::size_t p = 0; p < Panels; ++p)
          sum[p][c] = S::template begin_dots<bits>(starts[c]);
      }
      EDGEQUANT_UNROLL
      for (int i = 0; i < 8; ++i) {
        const int k = i / 2 + i % 2 * 4; // both nibbles of a byte after one another
        typename S::i8 w[Panels];
        EDGEQUANT_UNROLL
        for (std::size_t p = 0; p < Panels; ++p) w[p] = load_codes<S>(panel[p * groups + g], k);
        EDGEQUANT_UNROLL
        for (std::size_t c = 0; c < Tokens; ++c) {
          const auto codes = S::broadcast_codes(x[g].codes[c], k);
          EDGEQUANT_UNROLL
          for (std::size_t p = 0; p < Panels; ++p)
            sum[p][c] = S::template add_dot<bits>(sum[p][c], w[p], codes);
        }
      }
    }
    EDGEQUANT_UNROLL
    for (std::size_t p = 0; p < Panels; ++p) {
      const auto scale = load_scales<S>(panel[p * groups + g].scales);
      const auto shift = S::shift_of(scale);
      EDGEQUANT_UNROLL
      for (std::size_t c = 0; c < Tokens; ++c) {
        const auto sum32 = S::template end_dots<bits>(sum[p][c], starts[c]);
        total[p][c] = S::multiply_add(S::scale_sum(sum32, scale, shift),
                                      S::broadcast(x[g].scales[c]), total[p][c]);
      }
    }
  }
  EDGEQUANT_UNROLL
  for (std::size_t c = 0; c < Tokens; ++c) {
    EDGEQUANT_UNROLL
    for (std::size_t p = 0; p < Panels; ++p) S::store(out + c * stride + p * 16, total[p][c]);
  }
}

} // namespace edgequant::inline EDGEQUANT_ABI::gemm
