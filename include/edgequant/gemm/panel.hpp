// SPDX-License-Identifier: MIT
/// Weights in panels of sixteen rows, and the micro-kernel of their products: a row a lane.
#pragma once

#include "../format/block.hpp"
#include "activation_group.hpp"

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <iterator>
#include <type_traits>

namespace edgequant::inline EDGEQUANT_ABI::gemm {

/// One group of 32 columns of a panel of sixteen rows. A matrix is [rows / 16][columns / 32] of
/// them. 64 bytes hold four consecutive codes of each row, as dot-product instructions take them.
///
/// codes[k][r] are codes 4k .. 4k + 3 of row r, each with S::code_offset added.
struct panel_q8_0 {
  static constexpr int bits = 8;
  std::uint16_t scales[16]; ///< halves
  std::int8_t codes[8][16][4];
};
/// codes[k][r] holds codes 4k .. 4k + 3 of row r in the low nibbles and 16 + 4k .. 16 + 4k + 3 in
/// the high ones, each with 8 added.
struct panel_q4_0 {
  static constexpr int bits = 4;
  std::uint16_t scales[16];
  std::uint8_t codes[4][16][4];
};
static_assert(sizeof(panel_q8_0) == 16 * sizeof(block_q8_0));
static_assert(sizeof(panel_q4_0) == 16 * sizeof(block_q4_0));

/// The panel for a block of such a format; others have a panel_block.
template <class Block> struct panel_of;
template <> struct panel_of<block_q8_0> { using type = panel_q8_0; };
template <> struct panel_of<block_q4_0> { using type = panel_q4_0; };
template <class F>
concept panel_format = requires {
  typename panel_of<typename F::block>::type;
};

/// A panel's group expanded for products with many tokens: a byte a code, a float a scale.
template <int Bits> struct alignas(64) expanded_panel {
  static constexpr int bits = Bits;
  /// As in panel_q8_0; codes of 4 bits are 0..15. For simd::pair_backend in its own order.
  std::int8_t codes[8][16][4];
  float scales[16];
};

/// Size of the micro-kernel, in panels and tokens: as many accumulators as fit in registers. Two
/// panels share the loads of activations, without which two dot products a cycle would wait for
/// them. With few registers, tokens 3 and 4 keep their float totals in memory.
template <simd::backend S>
inline constexpr std::size_t tile_tokens = S::registers >= 32 ? 6
                                           : S::free_stores   ? 4
                                                              : 2;
template <simd::backend S> inline constexpr std::size_t tile_panels = S::registers >= 32 ? 2 : 1;

/// The codes of a block as its panel stores them.
[[nodiscard]] inline const void* codes_of(const block_q8_0& block) noexcept { return block.codes; }
[[nodiscard]] inline const void* codes_of(const block_q4_0& block) noexcept {
  return block.nibbles;
}

/// Packs from[rows][groups], 1 to 16 rows, into to[groups]; missing rows are zeros.
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
    // Sixteen rows are more streams than a processor prefetches by itself: the next panel's bytes.
    for (std::size_t i = 0; i < bytes; i += 64)
      __builtin_prefetch(reinterpret_cast<const void*>(next + i));
    next += bytes;
    if (rows < 16) std::memset(to, 0, sizeof *to);
    for (std::size_t r = 0; r < rows; ++r) {
      const Block& block = from[r * groups + g];
      std::memcpy(to->scales + r, &block.scale, 2);
      std::uint32_t words[sizeof to->codes / 64];
      std::memcpy(words, codes_of(block), sizeof words);
      for (std::size_t k = 0; k < std::size(words); ++k) {
        words[k] ^= flip;
        std::memcpy(to->codes[k][r], words + k, 4);
      }
    }
  }
}

/// Codes 4k .. 4k + 3 of a group's sixteen rows, for k = 0 .. 7.
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

/// Expands from[groups] to to[groups] for products with many tokens.
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

/// Micro-kernel: out[c * stride + 16 * p + r] = row r of panel p times token c, for panels[Panels]
/// [groups] and x[groups]; `more`: added to what is there. The int32 sum of a group is exact.
/// Groups add sum * scale * scale in float, in their order, so that the rounding error is at most
/// (groups + 2) * 2^-24 times the sum of the magnitudes.
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
    const std::int32_t* correction = bits == 4 ? x[g].correction_4 : x[g].correction_8;
    decltype(S::template begin_dots<bits>(0)) sum[Panels][Tokens];
    if constexpr (simd::pair_backend<S> && std::is_same_v<Panel, expanded_panel<bits>>) {
      // Half as many dot instructions, the same integers.
      EDGEQUANT_UNROLL
      for (std::size_t c = 0; c < Tokens; c += 2) {
        const std::size_t d = c + 1 < Tokens ? c + 1 : c;
        EDGEQUANT_UNROLL
        for (std::size_t p = 0; p < Panels; ++p) {
          auto pair = S::begin_pair(correction[c], correction[d]);
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
          sum[p][c] = S::template begin_dots<bits>(correction[c]);
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
        const auto sum32 = S::template end_dots<bits>(sum[p][c], correction[c]);
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
