// SPDX-License-Identifier: MIT
/// The tasks of products with int8 weights that have a scale a row.
#pragma once

#include "weight_product.hpp"

#include <vector>

namespace edgequant::inline EDGEQUANT_ABI {

namespace gemm::detail {

/// Weights with a scale a row. Few tokens take one panel at a time, which streams from memory; many
/// take several, which stay in the second level cache.
class channel_product {
public:
  channel_product(const weight_product& p, const activations& x) noexcept
      : w_(&p.w), x_(&x), y_(p.y), row_tasks_((p.w.rows + task_rows - 1) / task_rows),
        task_vectors_(x.in_matrix_tiles() ? 256 : 120) {}

  [[nodiscard]] std::size_t tasks() const noexcept {
    return row_tasks_ * ((x_->count() + task_vectors_ - 1) / task_vectors_);
  }
  void run(std::size_t task) const {
    const std::size_t first = task / row_tasks_ * task_vectors_;
    const std::size_t last = std::min(x_->count(), first + task_vectors_);
    const std::size_t begin = task % row_tasks_ * task_rows;
    const std::size_t end = std::min(w_->rows, begin + task_rows);
    if constexpr (simd::tile_backend<simd::native>)
      if (x_->in_matrix_tiles()) return multiply_tiles<simd::native>(begin, end, first, last);
    constexpr std::size_t most = gemm::channel_tile_panels<simd::native>;
    for (std::size_t row = begin; row < end;) {
      if (last - first >= activations::widest_tile && end - row >= most * 16) {
        multiply_rows<most>(row, first, last);
        row += most * 16;
      } else {
        multiply_rows<1>(row, first, last);
        row += 16;
      }
    }
  }

private:
  static constexpr std::size_t task_rows = 64;

  [[nodiscard]] const gemm::channel_panel* panels_at(std::size_t row, std::size_t rows) const {
    const std::size_t groups = (w_->columns + 31) / 32;
    if (w_->layout == weight_layout::panels)
      return reinterpret_cast<const gemm::channel_panel*>(w_->data) + row / 16 * groups;
    static thread_local std::vector<gemm::channel_panel> packed;
    packed.resize((rows + 15) / 16 * groups);
    const auto* codes = reinterpret_cast<const std::int8_t*>(w_->data);
    for (std::size_t r = 0; r < rows; r += 16)
      gemm::pack_channel_panel(codes + (row + r) * w_->columns, std::min<std::size_t>(16, rows - r),
                               w_->columns, packed.data() + r / 16 * groups);
    return packed.data();
  }

  template <std::size_t Panels>
  void multiply_rows(std::size_t row, std::size_t first, std::size_t last) const {
    constexpr std::size_t height = Panels * 16;
    const std::size_t rows = std::min(height, w_->rows - row), groups = (w_->columns + 31) / 32;
    const auto* panels = panels_at(row, rows);
    x_->for_each_tile(first, last, [&](std::size_t token, auto width) {
      alignas(64) std::int32_t sums[width() * height];
      const auto* tile = x_->template tile<width()>(token);
      for (std::size_t c = 0; c < width(); ++c)
        std::fill_n(sums + c * height, height, tile->correction_8[c]);
      gemm::add_channels<Panels, width()>(panels, groups, tile, sums);
      for (std::size_t c = 0; c < width(); ++c)
        gemm::scale_channels(sums + c * height, w_->scales + row, tile->scales[c], rows,
                             y_ + (token + c) * w_->rows + row);
    });
  }

  /// With a matrix unit: two panels and two tiles of tokens at a time.
  template <class S>
  void multiply_tiles(std::size_t begin, std::size_t end, std::size_t first,
                      std::size_t last) const {
    constexpr std::size_t width = gemm::matrix_tile_tokens, together = task_rows / 16;
    const std::size_t groups = (w_->columns + 31) / 32, count = (end - begin + 15) / 16;
    const auto* panels = panels_at(begin, end - begin);
    const matrix_unit_use<64, S> unit;
    for (std::size_t token = first; token < last; token += 2 * width) {
      const bool both = token + width < last;
      const gemm::per_token_tile* const x[2] = {
          &x_->per_token_tile_at(token), &x_->per_token_tile_at(both ? token + width : token)};
      alignas(64) std::int32_t sums[together / 2][4]
                                   [width * 16]; // [pair of panels][token tile, panel][token][row]
      for (std::size_t p = 0; p < count; p += 2) {
        auto& tiles = sums[p / 2];
        for (std::size_t i = 0; i < 4; ++i)
          for (std::size_t c = 0; c < width; ++c)
            std::fill_n(tiles[i] + c * 16, 16, x[i / 2]->correction[c]);
        const auto* panel = panels + p * groups;
        const std::size_t second =
            p + 1 < count ? groups : 0; // a missing one: its rows are not read
        if (both)
          gemm::add_channel_tiles<2, S>(panel, second, groups, x, tiles);
        else
          gemm::add_channel_tiles<1, S>(panel, second, groups, x, tiles);
      }
      for (std::size_t c = 0; c < std::min(2 * width, last - token); ++c)
        for (std::size_t p = 0; p < count; ++p)
          gemm::scale_channels(sums[p / 2][c / width * 2 + p % 2] + c % width * 16,
                               w_->scales + begin + p * 16, x[c / width]->scales[c % width],
                               std::min<std::size_t>(16, end - begin - p * 16),
                               y_ + (token + c) * w_->rows + begin + p * 16);
    }
  }

  const weight_view* w_;
  const activations* x_;
  float* y_;
  std::size_t row_tasks_, task_vectors_;
};

} // namespace gemm::detail

} // namespace edgequant::inline EDGEQUANT_ABI
