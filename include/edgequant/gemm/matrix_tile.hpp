// SPDX-License-Identifier: MIT
/// Products of panels with a matrix unit (AMX), sixteen rows by sixteen tokens at a time. The
/// results are those of multiply_panels() and add_channels(), bit for bit.
#pragma once

#include "channel_panel.hpp"

namespace edgequant::inline EDGEQUANT_ABI::gemm {

/// Whether there is such a unit, and the operating system lets this process use it.
template <simd::backend S = simd::native> [[nodiscard]] bool matrix_unit_ready() noexcept {
  if constexpr (simd::tile_backend<S>)
    return S::tiles_ready();
  else
    return false;
}

/// Sixteen tokens that are quantized per token. ceil(length / 64) chunks of codes lie behind it.
struct alignas(64) per_token_tile {
  float scales[matrix_tile_tokens];
  std::int32_t correction[matrix_tile_tokens]; ///< where accumulators begin

  struct chunk {
    std::int8_t codes[matrix_tile_tokens][64];
  };
  [[nodiscard]] chunk* chunks() noexcept { return reinterpret_cast<chunk*>(this + 1); }
  [[nodiscard]] const chunk* chunks() const noexcept {
    return reinterpret_cast<const chunk*>(this + 1);
  }
  [[nodiscard]] static constexpr std::size_t bytes(std::size_t length) noexcept {
    return sizeof(per_token_tile) + (length + 63) / 64 * sizeof(chunk);
  }
};

/// Quantizes values[length] as token c of a tile whose codes are zeros.
template <simd::backend S = simd::native>
void quantize_per_token(const float* values, std::size_t length, per_token_tile& to,
                        std::size_t c) noexcept {
  const auto [scale, sum] = encode_per_token<S>(
      values, length, [&](std::size_t i) { return to.chunks()[i / 64].codes[c] + i % 64; });
  to.scales[c] = scale;
  to.correction[c] = -S::code_offset * sum;
}

/// Expands from[groups] to to[groups] for a matrix unit: signed codes, scales as floats.
template <simd::tile_backend S, class Panel>
void expand_for_tiles(const Panel* from, std::size_t groups,
                      expanded_panel<Panel::bits>* to) noexcept {
  for (std::size_t g = 0; g < groups; ++g) {
    for (int k = 0; k < 8; ++k)
      S::store_codes(to[g].codes[k][0],
                     S::template without_offset<Panel::bits>(load_codes<S>(from[g], k)));
    S::store(to[g].scales, load_scales<S>(from[g].scales));
  }
}

/// Micro-kernel: out[c * stride + r] = row r of an expanded panel[groups] times token c of
/// x[groups], for the first `Tokens` of a tile; `more`: added to what is there. Rounds as
/// multiply_panels().
///
/// A tile's product has a long latency. Products are therefore pipelined: that of group g + 2 is
/// issued, and that of g + 1 stored, before group g is scaled.
template <std::size_t Tokens, simd::tile_backend S, int Bits>
void multiply_tile(const expanded_panel<Bits>* panel, std::size_t groups,
                   const activation_group<matrix_tile_tokens>* x, bool more, float* out,
                   std::size_t stride) noexcept {
  alignas(64) std::int32_t sums[2][matrix_tile_tokens][16];
  typename S::f32 total[Tokens];
  EDGEQUANT_UNROLL
  for (std::size_t c = 0; c < Tokens; ++c)
    total[c] = more ? S::load(out + c * stride) : S::broadcast(0.0f);
  // Inlined early, or GCC keeps the totals in memory.
  const auto begin = [&]<int I>(std::integral_constant<int, I>, std::size_t g)
      __attribute__((always_inline)) {
    if (g >= groups) return;
    S::template zero_tile<I>();
    S::template load_tokens<I, 32>(x[g].codes[0]);
    S::template load_rows<I>(panel[g].codes[0][0]);
    S::template add_product<I>();
  };
  const auto step = [&]<int I>(std::integral_constant<int, I> tile, std::size_t g)
      __attribute__((always_inline)) {
    begin(tile, g + 2);
    if (g + 1 < groups) S::template store_tile<1 - I>(sums[1 - I][0]);
    const auto scale = S::load(panel[g].scales), shift = S::shift_of(scale);
    EDGEQUANT_UNROLL
    for (std::size_t c = 0; c < Tokens; ++c) {
      const auto sum32 = S::after_first(S::load(sums[I][c]));
      total[c] = S::multiply_add(S::scale_sum(sum32, scale, shift), S::broadcast(x[g].scales[c]),
                                 total[c]);
    }
  };
  constexpr std::integral_constant<int, 0> even;
  constexpr std::integral_constant<int, 1> odd;
  begin(even, 0);
  begin(odd, 1);
  S::template store_tile<0>(sums[0][0]);
  for (std::size_t g = 0; g < groups; g += 2) {
    step(even, g);
    if (g + 1 < groups) step(odd, g + 1);
  }
  EDGEQUANT_UNROLL
  for (std::size_t c = 0; c < Tokens; ++c) S::store(out + c * stride, total[c]);
}

/// Micro-kernel: sums[i][c * 16 + r] += row r of panel i % 2 times token c of tile x[i / 2], for
/// `Tiles` tiles of tokens and two panels, the second at panel + second. Exact up to
/// most_channel_columns.
template <std::size_t Tiles, simd::tile_backend S>
void add_channel_tiles(const channel_panel* panel, std::size_t second, std::size_t groups,
                       const per_token_tile* const* x,
                       std::int32_t (*sums)[matrix_tile_tokens * 16]) noexcept {
  S::template load_tile<0>(sums[0]);
  S::template load_tile<1>(sums[1]);
  if constexpr (Tiles == 2) S::template load_tile<2>(sums[2]);
  if constexpr (Tiles == 2) S::template load_tile<3>(sums[3]);
  const auto add = [&](const std::int8_t* first_rows, const std::int8_t* second_rows,
                       std::size_t chunk) {
    S::template load_tokens<0, 64>(x[0]->chunks()[chunk].codes[0]);
    S::template load_rows<0>(first_rows);
    S::template add_offset_product<0>();
    S::template load_rows<1>(second_rows);
    S::template add_offset_product<1>();
    if constexpr (Tiles == 2) {
      S::template load_tokens<1, 64>(x[1]->chunks()[chunk].codes[0]);
      S::template add_offset_product<2>();
      S::template add_offset_product<3>();
    }
  };
  for (std::size_t g = 0; g + 2 <= groups; g += 2) // two groups are a chunk
    add(panel[g].codes[0][0], panel[second + g].codes[0][0], g / 2);
  if (groups % 2 != 0) { // the tokens' padding is zeros, so any rows do
    alignas(64) channel_panel rest[2][2] = {};
    rest[0][0] = panel[groups - 1];
    rest[1][0] = panel[second + groups - 1];
    add(rest[0][0].codes[0][0], rest[1][0].codes[0][0], groups / 2);
  }
  S::template store_tile<0>(sums[0]);
  S::template store_tile<1>(sums[1]);
  if constexpr (Tiles == 2) S::template store_tile<2>(sums[2]);
  if constexpr (Tiles == 2) S::template store_tile<3>(sums[3]);
}

} // namespace edgequant::inline EDGEQUANT_ABI::gemm
