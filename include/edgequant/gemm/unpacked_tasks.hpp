// SPDX-License-Identifier: MIT
/// The tasks of products with blocks that have no panels of their own: rows are unpacked when they
/// are needed.
#pragma once

#include "unpacked_panel.hpp"
#include "weight_product.hpp"

#include <vector>

namespace edgequant::inline EDGEQUANT_ABI::gemm::detail {

/// A part of some rows is unpacked in the first level cache and multiplied with a block of tokens.
template <coded_format F> class unpacked_product {
public:
  unpacked_product(const weight_product& p, const activations& x) noexcept
      : w_(&p.w), x_(&x), y_(p.y), row_tasks_((p.w.rows + task_rows - 1) / task_rows) {}

  [[nodiscard]] std::size_t tasks() const noexcept {
    return row_tasks_ * ((x_->count() + task_tokens - 1) / task_tokens);
  }
  void run(std::size_t task) const {
    const std::size_t first = task / row_tasks_ * task_tokens;
    const std::size_t last = std::min(x_->count(), first + task_tokens);
    const std::size_t begin = task % row_tasks_ * task_rows;
    const std::size_t end = std::min(w_->rows, begin + task_rows);
    static thread_local std::vector<float> sums; // [tokens][16]
    sums.resize((last - first + matrix_tile_tokens) * 16);
    for (std::size_t row = begin; row < end; row += 16) {
      const std::size_t rows = std::min<std::size_t>(16, end - row);
      multiply_rows(row, rows, first, last, sums.data());
      for (std::size_t c = first; c < last; ++c)
        std::copy_n(sums.data() + (c - first) * 16, rows, y_ + c * w_->rows + row);
    }
  }

private:
  static constexpr std::size_t task_rows = 64, task_tokens = 240;
  static constexpr std::size_t part = std::max<std::size_t>(1, 256 / F::block_length); ///< blocks

  void multiply_rows(std::size_t row, std::size_t rows, std::size_t first, std::size_t last,
                     float* sums) const {
    constexpr std::size_t panels_in_block = F::block_length / 32;
    unpacked_panel_of<F> panels[part * panels_in_block];
    const std::size_t blocks = w_->columns / F::block_length;
    const auto* from = reinterpret_cast<const typename F::block*>(w_->data) + row * blocks;
    for (std::size_t b = 0; b < blocks; b += part) {
      const std::size_t count = std::min(part, blocks - b), groups = count * panels_in_block;
      unpack_panels<F>(from + b, rows, blocks, count, panels);
      const auto multiply = [&](std::size_t token, auto width) {
        multiply_unpacked<1, width()>(panels, groups,
                                      x_->template tile<width()>(token) + b * panels_in_block,
                                      b > 0, sums + (token - first) * 16, 16);
      };
      if constexpr (simd::tile_backend<simd::native>)
        if (x_->in_matrix_tiles()) {
          for (std::size_t c = first; c < last; c += matrix_tile_tokens)
            multiply(c, std::integral_constant<std::size_t, matrix_tile_tokens>{});
          continue;
        }
      activations::for_each_tile(first, last, multiply);
    }
  }

  const weight_view* w_;
  const activations* x_;
  float* y_;
  std::size_t row_tasks_;
};

} // namespace edgequant::inline EDGEQUANT_ABI::gemm::detail
