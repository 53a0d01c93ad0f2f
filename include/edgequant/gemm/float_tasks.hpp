// SPDX-License-Identifier: MIT
/// The tasks of products with plain numbers: f32, f16 and bf16, in float.
#pragma once

#include "../kernel/dot.hpp"
#include "weight_product.hpp"

#include <vector>

namespace edgequant::inline EDGEQUANT_ABI {

namespace gemm::detail {

/// Calls tile(row, rows, token, tokens) over rows [begin, end) and tokens [first, last) with tiles
/// as large as registers allow.
template <class Tile>
void for_each_dot_tile(std::size_t begin, std::size_t end, std::size_t first, std::size_t last,
                       Tile tile) {
  constexpr std::size_t rows = simd::native::registers >= 32 ? 4 : 1, tokens = 4;
  using std::integral_constant;
  const auto row_of_tiles = [&](std::size_t r, auto height) {
    std::size_t c = first;
    for (; c + tokens <= last; c += tokens)
      tile(r, height, c, integral_constant<std::size_t, tokens>{});
    for (; c < last; ++c) tile(r, height, c, integral_constant<std::size_t, 1>{});
  };
  std::size_t r = begin;
  // One token reads each row once: one stream from memory is faster than four.
  for (; last - first > 1 && r + rows <= end; r += rows)
    row_of_tiles(r, integral_constant<std::size_t, rows>{});
  for (; r < end; ++r) row_of_tiles(r, integral_constant<std::size_t, 1>{});
}

/// Few tokens: dot products of rows, as they are stored, with tokens.
template <class Value> class float_product {
public:
  float_product(const weight_product& p, const activations& x) noexcept
      : w_(&p.w), x_(&x), y_(p.y) {}

  [[nodiscard]] std::size_t tasks() const noexcept {
    return (w_->rows + task_rows - 1) / task_rows;
  }
  void run(std::size_t task) const {
    constexpr std::size_t task_tokens = 32;
    const auto* data = reinterpret_cast<const Value*>(w_->data);
    const std::size_t length = w_->columns, rows = w_->rows;
    const std::size_t begin = task * task_rows, end = std::min(rows, begin + task_rows);
    for (std::size_t first = 0; first < x_->count(); first += task_tokens)
      for_each_dot_tile(begin, end, first, std::min(x_->count(), first + task_tokens),
                        [&](std::size_t r, auto height, std::size_t c, auto width) {
                          kernel::dot_tile<height(), width()>(data + r * length, length,
                                                              x_->values() + c * length,
                                                              y_ + c * rows + r, rows);
                        });
  }

private:
  static constexpr std::size_t task_rows = 32;
  const weight_view* w_;
  const activations* x_;
  float* y_;
};

/// Many tokens, one a lane: blocks of rows, converted to float, times blocks of tokens.
template <class Value> class blocked_float_product {
public:
  blocked_float_product(const weight_product& p, const activations& x) noexcept
      : w_(&p.w), x_(&x), y_(p.y), row_tasks_((p.w.rows + task_rows - 1) / task_rows) {}

  [[nodiscard]] std::size_t tasks() const noexcept {
    return row_tasks_ * ((x_->count() + task_vectors - 1) / task_vectors);
  }
  void run(std::size_t task) const {
    const std::size_t first = task / row_tasks_ * task_vectors;
    const std::size_t begin = task % row_tasks_ * task_rows;
    const std::size_t last = std::min(x_->count(), first + task_vectors);
    const std::size_t rows = std::min(task_rows, w_->rows - begin), length = w_->columns;
    const std::size_t stride = (last - first + 15) / 16 * 16;
    static thread_local std::vector<float> memory;
    memory.resize(task_rows * (gemm::float_tile_depth + stride));
    float *floats = memory.data(), *sums = floats + task_rows * gemm::float_tile_depth;
    gemm::multiply_float_rows(reinterpret_cast<const Value*>(w_->data) + begin * length, length,
                              rows, length, x_->interleaved(first), length * 16, last - first,
                              floats, sums, stride);
    gemm::transpose(sums, rows, last - first, stride, y_ + first * w_->rows + begin, w_->rows);
  }

private:
  static constexpr std::size_t task_rows = 48, task_vectors = 512;
  static_assert(task_rows % gemm::float_tile_rows<simd::native> == 0);
  const weight_view* w_;
  const activations* x_;
  float* y_;
  std::size_t row_tasks_;
};

} // namespace gemm::detail

} // namespace edgequant::inline EDGEQUANT_ABI
