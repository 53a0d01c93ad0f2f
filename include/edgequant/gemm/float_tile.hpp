// SPDX-License-Identifier: MIT
/// Products of weights in float, f16 or bf16 with many tokens, one a lane.
#pragma once

#include "../kernel/dot.hpp"
#include "transpose.hpp"

namespace edgequant::inline EDGEQUANT_ABI::gemm {

/// Rows, and panels of sixteen tokens, whose accumulators fit in registers.
template <simd::backend S>
inline constexpr std::size_t float_tile_rows = S::registers >= 32 ? 12 : 6;
template <simd::backend S>
inline constexpr std::size_t float_tile_panels = S::registers >= 32 ? 2 : 1;

/// Columns of weights that are turned to floats, and whose products are summed, at a time.
inline constexpr std::size_t float_tile_depth = 128;

/// With fewer tokens too many lanes are padding.
inline constexpr std::size_t min_float_tile_tokens = 12;

/// to[length] = values[length] as floats.
template <class Value, simd::backend S = simd::native>
void to_floats(const Value* values, std::size_t length, float* to) noexcept {
  kernel::for_each_16(length, [&](std::size_t i, auto lanes) {
    const auto x = lanes.load(values + i, [](const Value* p) { return kernel::load_values<S>(p); });
    lanes.store(to + i, [&](float* p) { S::store(p, x); });
  });
}

/// Packs x[count][length], 1 to 16 tokens, into a panel to[length][16], padded with zeros.
inline void interleave_tokens(const float* x, std::size_t count, std::size_t length,
                              float* to) noexcept {
  if (count < 16) std::fill_n(to, length * 16, 0.0f);
  transpose(x, count, length, length, to, 16);
}

/// Micro-kernel: sums[r * stride + 16 * p + t] = row r times token t of panel p. `rows` is [Rows]
/// [float_tile_depth], of which `length` columns are used; panel p, as interleave_tokens() packs
/// it, begins at panels + p * panel_stride. `more`: the products are added to what is there. Terms
/// are added in order, to zero first: for n of them the rounding error is at most n * 2^-24 times
/// the sum of their magnitudes.
template <std::size_t Rows, std::size_t Panels, simd::backend S = simd::native>
void multiply_float_tile(const float* rows, std::size_t length, const float* panels,
                         std::size_t panel_stride, bool more, float* sums,
                         std::size_t stride) noexcept {
  typename S::f32 total[Rows][Panels];
  EDGEQUANT_UNROLL
  for (std::size_t r = 0; r < Rows; ++r) {
    EDGEQUANT_UNROLL
    for (std::size_t p = 0; p < Panels; ++p) total[r][p] = S::broadcast(0.0f);
  }
  for (std::size_t k = 0; k < length; ++k) {
    typename S::f32 x[Panels];
    EDGEQUANT_UNROLL
    for (std::size_t p = 0; p < Panels; ++p) x[p] = S::load(panels + p * panel_stride + k * 16);
    EDGEQUANT_UNROLL
    for (std::size_t r = 0; r < Rows; ++r) {
      const auto w = S::broadcast(rows[r * float_tile_depth + k]);
      EDGEQUANT_UNROLL
      for (std::size_t p = 0; p < Panels; ++p) total[r][p] = S::multiply_add(w, x[p], total[r][p]);
    }
  }
  EDGEQUANT_UNROLL
  for (std::size_t r = 0; r < Rows; ++r) {
    EDGEQUANT_UNROLL
    for (std::size_t p = 0; p < Panels; ++p) {
      float* to = sums + r * stride + p * 16;
      S::store(to, more ? S::add(S::load(to), total[r][p]) : total[r][p]);
    }
  }
}

/// `rows` rounded up to whole tiles: how many rows multiply_float_rows() writes.
[[nodiscard]] constexpr std::size_t whole_float_tiles(std::size_t rows) noexcept {
  constexpr std::size_t height = float_tile_rows<simd::native>;
  return (rows + height - 1) / height * height;
}

/// sums[whole_float_tiles(rows)][stride] = row r times token t, for rows of `length` values that
/// begin `row_stride` apart. `panels` is as multiply_float_tile() takes it, for `tokens` tokens,
/// rounded up to whole panels. `floats` is scratch memory: [whole_float_tiles(rows)]
/// [float_tile_depth]. A sum depends on nothing but its row and its token.
template <class Value>
void multiply_float_rows(const Value* values, std::size_t row_stride, std::size_t rows,
                         std::size_t length, const float* panels, std::size_t panel_stride,
                         std::size_t tokens, float* floats, float* sums,
                         std::size_t stride) noexcept {
  constexpr std::size_t height = float_tile_rows<simd::native>,
                        width = float_tile_panels<simd::native>, part = float_tile_depth;
  for (std::size_t k = 0; k < length; k += part) {
    const std::size_t columns = std::min(part, length - k);
    for (std::size_t r = 0; r < rows; ++r)
      to_floats(values + r * row_stride + k, columns, floats + r * part);
    const auto multiply = [&](std::size_t t, auto count) {
      const float* x = panels + t / 16 * panel_stride + k * 16;
      for (std::size_t r = 0; r < rows; r += height)
        multiply_float_tile<height, count()>(floats + r * part, columns, x, panel_stride, k > 0,
                                             sums + r * stride + t, stride);
    };
    std::size_t t = 0;
    for (; t + (width - 1) * 16 < tokens; t += width * 16)
      multiply(t, std::integral_constant<std::size_t, width>{});
    for (; t < tokens; t += 16) multiply(t, std::integral_constant<std::size_t, 1>{});
  }
}

} // namespace edgequant::inline EDGEQUANT_ABI::gemm
