// SPDX-License-Identifier: MIT
/// The tasks of products with few tokens, over any kind of panel.
#pragma once

#include "weight_product.hpp"

namespace edgequant::inline EDGEQUANT_ABI::gemm::detail {

/// Few tokens: the weights stream from memory once, straight into the micro-kernel. A `Panels`
/// gives the panels of some rows, multiplies the first of them, and steps to the next.
template <class Panels> class streamed_product {
public:
  streamed_product(const weight_product& p, const activations& x) noexcept
      : w_(&p.w), x_(&x), y_(p.y), panels_(p.w) {}

  [[nodiscard]] std::size_t tasks() const noexcept {
    return (w_->rows + task_rows - 1) / task_rows;
  }
  void run(std::size_t task) const {
    const std::size_t groups = w_->columns / 32, rows = w_->rows;
    const std::size_t begin = task * task_rows, end = std::min(rows, begin + task_rows);
    auto panels = panels_.at(begin, end - begin);
    for (std::size_t row = begin; row < end; row += 16, Panels::step(panels, groups))
      activations::for_each_tile(0, x_->count(), [&](std::size_t first, auto width) {
        constexpr std::size_t tokens = width();
        const auto* tile = x_->template tile<tokens>(first);
        float* to = y_ + first * rows + row;
        if (end - row >= 16) return Panels::multiply(panels, groups, tile, to, rows);
        float out[tokens * 16];
        Panels::multiply(panels, groups, tile, out, 16);
        for (std::size_t c = 0; c < tokens; ++c)
          std::copy_n(out + c * 16, end - row, to + c * rows);
      });
  }

private:
  static constexpr std::size_t task_rows = 64;
  const weight_view* w_;
  const activations* x_;
  float* y_;
  Panels panels_;
};

} // namespace edgequant::inline EDGEQUANT_ABI::gemm::detail
