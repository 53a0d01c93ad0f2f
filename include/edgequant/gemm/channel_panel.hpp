// SPDX-License-Identifier: MIT
/// Products of int8 matrices with a scale a channel and a scale a token: one int32 accumulator an
/// output.
#pragma once

#include "panel.hpp"

namespace edgequant::inline EDGEQUANT_ABI::gemm {

/// Sixteen rows of 32 columns as in panel_q8_0: four columns of each row lie together. Each code
/// has S::code_offset added.
struct channel_panel {
  std::int8_t codes[8][16][4];
};

/// Columns up to which an int32 accumulator holds the sum: 128 * 127 * 132104 < 2^31.
inline constexpr std::size_t most_channel_columns = 132104;

/// Panels of a micro-kernel. No floats need registers beside the accumulators, so that four panels
/// fit: twice as many accumulators as with tile_panels hide the latency of the dot products.
template <simd::backend S>
inline constexpr std::size_t channel_tile_panels = S::registers >= 32 ? 4 : 1;

/// Packs from[rows][columns], 1 to 16 rows, into to[ceil(columns / 32)]; padding is codes of 0.
template <simd::backend S = simd::native>
void pack_channel_panel(const std::int8_t* from, std::size_t rows, std::size_t columns,
                        channel_panel* to) noexcept {
  for (std::size_t g = 0; g * 32 < columns; ++g)
    for (std::size_t r = 0; r < 16; ++r) {
      std::int8_t row[32] = {};
      if (r < rows)
        std::memcpy(row, from + r * columns + g * 32, std::min<std::size_t>(32, columns - g * 32));
      for (std::size_t i = 0; i < 32; ++i)
        to[g].codes[i / 4][r][i % 4] =
            static_cast<std::int8_t>(static_cast<std::uint8_t>(row[i] + S::code_offset));
    }
}

/// Micro-kernel: sums[Tokens][Panels][16] += panels[Panels][groups] times x[groups]. Exact up to
/// most_channel_columns. A single panel is prefetched, as it streams from memory. The accumulators
/// are loaded from memory, even at the beginning: GCC spills half of them where they begin as
/// copies of each other.
template <std::size_t Panels, std::size_t Tokens, simd::backend S = simd::native>
void add_channels(const channel_panel* panel, std::size_t groups, const activation_group<Tokens>* x,
                  std::int32_t* sums) noexcept {
  typename S::i32 sum[Panels][Tokens];
  EDGEQUANT_UNROLL
  for (std::size_t c = 0; c < Tokens; ++c) {
    EDGEQUANT_UNROLL
    for (std::size_t p = 0; p < Panels; ++p) sum[p][c] = S::load(sums + (c * Panels + p) * 16);
  }
  for (std::size_t g = 0; g < groups; ++g) {
    if constexpr (Panels == 1) kernel::prefetch_stream<sizeof(channel_panel)>(panel + g);
    EDGEQUANT_UNROLL
    for (int k = 0; k < 8; ++k) {
      typename S::i8 w[Panels];
      EDGEQUANT_UNROLL
      for (std::size_t p = 0; p < Panels; ++p)
        w[p] = S::load_codes(panel[p * groups + g].codes[k][0]);
      EDGEQUANT_UNROLL
      for (std::size_t c = 0; c < Tokens; ++c) {
        const auto codes = S::broadcast_codes(x[g].codes[c], k);
        EDGEQUANT_UNROLL
        for (std::size_t p = 0; p < Panels; ++p)
          sum[p][c] = S::template add_dot<8>(sum[p][c], w[p], codes);
      }
    }
  }
  EDGEQUANT_UNROLL
  for (std::size_t c = 0; c < Tokens; ++c) {
    EDGEQUANT_UNROLL
    for (std::size_t p = 0; p < Panels; ++p) S::store(sums + (c * Panels + p) * 16, sum[p][c]);
  }
}

/// out[rows] = sums[rows] * (scales[rows] * scale), with `scale` that of the token: three
/// roundings.
template <simd::backend S = simd::native>
void scale_channels(const std::int32_t* sums, const float* scales, float scale, std::size_t rows,
                    float* out) noexcept {
  kernel::for_each_16(rows, [&](std::size_t i, auto lanes) {
    const auto factor = S::mul(kernel::load_floats<S>(lanes, scales + i), S::broadcast(scale));
    const auto sum = lanes.load(sums + i, [](const std::int32_t* p) { return S::load(p); });
    const auto value = S::mul(S::to_f32(sum), factor);
    lanes.store(out + i, [&](float* p) { S::store(p, value); });
  });
}

} // namespace edgequant::inline EDGEQUANT_ABI::gemm
