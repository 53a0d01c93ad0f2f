// SPDX-License-Identifier: MIT
/// Products of matrices of int8 codes with one scale a row: integers from end to end.
#pragma once

#include "panel.hpp"

namespace edgequant::inline EDGEQUANT_ABI::gemm {

/// Sixteen rows of 32 columns, interleaved as in panel_q8_0, each code with S::code_offset added.
struct channel_panel {
  std::int8_t codes[8][16][4];
};

/// Tokens up to which sums fit: 128 * 127 * 132104 < 2^31.
inline constexpr std::size_t most_channel_columns = 132104;

/// Panels of a tile where there are enough. No floats need registers beside the sums: four panels
/// make twice as many sums as tile_panels, which a product's latency hides behind.
template <simd::backend S>
inline constexpr std::size_t channel_tile_panels = S::registers >= 32 ? 4 : 1;

/// Writes `rows` (1 to 16) rows of `columns` codes as a panel of ceil(columns / 32) groups; what is
/// beyond them is zero.
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

/// sums[(c * Panels + p) * 16 + r] += row r of panel p times column c, where panel p begins at
/// panel + p * groups. Exact up to most_channel_columns. Of a single panel the stream is read
/// ahead. The sums come from memory: GCC spills half of them where they begin as
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

/// out[i] = sums[i] * (scales[i] * scale) for `rows` sums: three roundings each.
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
