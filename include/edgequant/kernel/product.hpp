// SPDX-License-Identifier: MIT
/// Products of a stored weight matrix with float activations: y = W x for one or many x.
#pragma once

#include "../core/parallel_for.hpp"
#include "../format/format.hpp"
#include "absmax.hpp"
#include "dot.hpp"
#include "quantize.hpp"

#include <cassert>
#include <cstddef>
#include <vector>

namespace edgequant::inline EDGEQUANT_ABI {

/// A matrix as it lies in a file: `rows` rows of `columns` values, one output a row.
struct weight_view {
  format type = format::f32;
  std::size_t rows = 0, columns = 0;
  const std::byte* data = nullptr;
};

/// Formats that multiply() takes: f32, f16, bf16, q8_0 and q4_0.
[[nodiscard]] constexpr bool can_multiply(format type) noexcept {
  return type == format::f32 || type == format::f16 || type == format::bf16 ||
         type == format::q8_0 || type == format::q4_0;
}

/// Inputs of products: `count` vectors of `length` floats that follow each other. They are turned
/// to int8 in groups of 32 (scale = largest magnitude / 127, as q8_0 but with a float scale) when
/// the first quantized matrix meets them, once for all that follow.
class activations {
public:
  /// Takes a view; `x` must live until the last product.
  void assign(const float* x, std::size_t count, std::size_t length) noexcept {
    values_ = x;
    count_ = count;
    length_ = length;
    coded_ = false;
  }
  [[nodiscard]] const float* values() const noexcept { return values_; }
  [[nodiscard]] std::size_t count() const noexcept { return count_; }
  [[nodiscard]] std::size_t length() const noexcept { return length_; }

  /// The same in codes; the length is a multiple of 32.
  [[nodiscard]] kernel::coded_columns codes(unsigned threads);

private:
  void encode(std::size_t column) noexcept;

  const float* values_ = nullptr;
  std::size_t count_ = 0, length_ = 0;
  bool coded_ = false;
  std::vector<std::int8_t> codes_;
  std::vector<float> scales_;
};

/// y[i * w.rows + r] = row r of w times vector i of x. The columns of w are x.length(). For one
/// instruction set the result does not depend on the number of threads.
void multiply(const weight_view& w, activations& x, float* y, unsigned threads);

inline kernel::coded_columns activations::codes(unsigned threads) {
  const std::size_t steps = (length_ + 63) / 64;
  if (!coded_) {
    codes_.assign(count_ * steps * 64, 0);
    scales_.assign(count_ * steps * 16, 0.0f);
    // A few columns are coded sooner than threads are woken.
    parallel_for(count_, count_ < 8 ? 1 : threads, [&](std::size_t c) { encode(c); });
    coded_ = true;
  }
  return {codes_.data(), scales_.data(), steps};
}

inline void activations::encode(std::size_t column) noexcept {
  const std::size_t steps = (length_ + 63) / 64;
  for (std::size_t begin = 0; begin < length_; begin += 32) {
    const std::span<const float> group(values_ + column * length_ + begin, 32);
    const float scale = std::bit_cast<float>(kernel::absmax_bits(group)) / 127.0f;
    const float inverse = 1.0f / scale;
    const std::size_t at = column * steps * 64 + begin;
    // A group that is not finite has codes of 0 and its scale: the product is NaN.
    if (is_finite(scale) && !is_finite(inverse)) continue; // zeros, or so near to them
    if (is_finite(scale)) kernel::quantize<8>(group, inverse, codes_.data() + at);
    std::fill_n(scales_.data() + at / 32 * 8, 8, scale);
  }
}

namespace detail {

/// Calls tile(rows, columns) over [begin, end) x [0, count) with tiles as large as registers allow.
template <class Tile>
void for_each_tile(std::size_t begin, std::size_t end, std::size_t count, Tile tile) {
  constexpr int rows = simd::native::registers >= 32 ? 4 : 1, columns = 4;
  using std::integral_constant;
  const auto across = [&](std::size_t r, auto height) {
    std::size_t c = 0;
    for (; c + columns <= count; c += columns)
      tile(r, height, c, integral_constant<int, columns>{});
    for (; c < count; ++c) tile(r, height, c, integral_constant<int, 1>{});
  };
  std::size_t r = begin;
  // A single vector meets each row once: one stream from memory is faster than four.
  for (; count > 1 && r + rows <= end; r += rows) across(r, integral_constant<int, rows>{});
  for (; r < end; ++r) across(r, integral_constant<int, 1>{});
}

/// Rows of a task, and vectors that stay in the cache with them: 32 of 4,096 values are 200 KiB.
inline constexpr std::size_t task_rows = 32, task_vectors = 32;

template <class Body>
void for_each_task(const weight_view& w, std::size_t count, unsigned threads, Body body) {
  const std::size_t tasks = (w.rows + task_rows - 1) / task_rows;
  parallel_for(tasks, threads, [&](std::size_t task) {
    const std::size_t begin = task * task_rows, end = std::min(w.rows, begin + task_rows);
    for (std::size_t first = 0; first < count; first += task_vectors)
      body(begin, end, first, std::min(task_vectors, count - first));
  });
}

template <class Block>
void multiply_codes(const weight_view& w, activations& x, float* y, unsigned threads) {
  const auto codes = x.codes(threads);
  const std::size_t blocks = w.columns / 32;
  const auto* data = reinterpret_cast<const Block*>(w.data);
  for_each_task(w, x.count(), threads, [&](auto begin, auto end, auto first, auto count) {
    for_each_tile(begin, end, count, [&](std::size_t r, auto height, std::size_t c, auto width) {
      kernel::dot_tile<height(), width()>(data + r * blocks, blocks, codes, first + c,
                                          y + (first + c) * w.rows + r, w.rows);
    });
  });
}

template <class Value>
void multiply_values(const weight_view& w, activations& x, float* y, unsigned threads) {
  const auto* data = reinterpret_cast<const Value*>(w.data);
  for_each_task(w, x.count(), threads, [&](auto begin, auto end, auto first, auto count) {
    for_each_tile(begin, end, count, [&](std::size_t r, auto height, std::size_t c, auto width) {
      kernel::dot_tile<height(), width()>(data + r * w.columns, w.columns,
                                          x.values() + (first + c) * w.columns,
                                          y + (first + c) * w.rows + r, w.rows);
    });
  });
}

} // namespace detail

inline void multiply(const weight_view& w, activations& x, float* y, unsigned threads) {
  assert(w.columns == x.length() && can_multiply(w.type));
  switch (w.type) {
  case format::q8_0:
    return detail::multiply_codes<block_q8_0>(w, x, y, threads);
  case format::q4_0:
    return detail::multiply_codes<block_q4_0>(w, x, y, threads);
  case format::f16:
    return detail::multiply_values<kernel::f16_bits>(w, x, y, threads);
  case format::bf16:
    return detail::multiply_values<kernel::bf16_bits>(w, x, y, threads);
  default:
    return detail::multiply_values<float>(w, x, y, threads);
  }
}

} // namespace edgequant::inline EDGEQUANT_ABI
