// SPDX-License-Identifier: MIT
/// Products of a stored weight matrix with float activations: y = W x for one or many x.
#pragma once

#include "../core/parallel_for.hpp"
#include "../format/group_format.hpp"
#include "absmax.hpp"
#include "dot.hpp"
#include "panel.hpp"
#include "quantize.hpp"

#include <cassert>
#include <cstddef>
#include <vector>

namespace edgequant::inline EDGEQUANT_ABI {

/// How the values of a matrix lie in memory.
enum class weight_layout : std::uint8_t {
  rows,  ///< row by row, as in a file
  panels ///< quantized formats only: panels of sixteen rows, see pack_panels()
};

/// A matrix of `rows` rows of `columns` values, one output a row.
struct weight_view {
  format type = format::f32;
  std::size_t rows = 0, columns = 0;
  const std::byte* data = nullptr;
  weight_layout layout = weight_layout::rows;
};

/// Whether products of a matrix in this format are faster from panels: q8_0, q5_0 and q4_0.
[[nodiscard]] constexpr bool can_pack(format type) noexcept {
  return visit_block_format(type, [](auto) {});
}

/// Formats that multiply() takes: f32, f16, bf16 and those of panels.
[[nodiscard]] constexpr bool can_multiply(format type) noexcept {
  return type == format::f32 || type == format::f16 || type == format::bf16 || can_pack(type);
}

/// Bytes of the panels of a matrix. Its rows count as rounded up to whole panels; each value of
/// q8_0 and q5_0 takes 34/32 bytes, of q4_0 18/32.
[[nodiscard]] constexpr std::size_t panel_bytes(const weight_view& w) noexcept {
  std::size_t bytes = 0;
  visit_block_format(w.type, [&]<class F>(F) {
    using panel = typename kernel::panel_of<typename F::block>::type;
    bytes = (w.rows + 15) / 16 * (w.columns / 32) * sizeof(panel);
  });
  return bytes;
}

/// Copies a matrix into panels at `to`, panel_bytes(w) bytes. Returns the view of them.
weight_view pack_panels(const weight_view& w, std::byte* to, unsigned threads);

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

  /// Makes the codes if they are not there yet; the length is a multiple of 32.
  void encode(unsigned threads);
  /// The codes of columns first .. first + N, a tile that for_each_tile() names.
  template <int N> [[nodiscard]] const kernel::column_group<N>* tile(std::size_t first) const {
    return reinterpret_cast<const kernel::column_group<N>*>(codes_.data() + offset(first));
  }
  /// Cuts columns [begin, end) into tiles, where begin is a multiple of the widest: calls
  /// body(first, std::integral_constant<int, N>) for each. What is left over is cut in halves.
  template <class Body> static void for_each_tile(std::size_t begin, std::size_t end, Body body);
  static constexpr std::size_t widest_tile = kernel::tile_columns<simd::native>;

private:
  [[nodiscard]] std::size_t offset(std::size_t column) const noexcept {
    return column * (length_ / 32) * group_bytes;
  }
  template <int N> void encode_tile(std::size_t first) noexcept;

  static constexpr std::size_t group_bytes = sizeof(kernel::column_group<1>);
  const float* values_ = nullptr;
  std::size_t count_ = 0, length_ = 0;
  bool coded_ = false;
  std::vector<std::byte> codes_;
};

/// y[i * w.rows + r] = row r of w times vector i of x. The columns of w are x.length(). For one
/// instruction set the result depends neither on the layout nor on the number of threads.
void multiply(const weight_view& w, activations& x, float* y, unsigned threads);

template <class Body>
void activations::for_each_tile(std::size_t begin, std::size_t end, Body body) {
  const auto tiles_of = [&](auto width) {
    for (; begin + width() <= end; begin += width()) body(begin, width);
  };
  if constexpr (widest_tile == 8) tiles_of(std::integral_constant<int, 8>{});
  tiles_of(std::integral_constant<int, 4>{});
  tiles_of(std::integral_constant<int, 2>{});
  tiles_of(std::integral_constant<int, 1>{});
}

inline void activations::encode(unsigned threads) {
  if (coded_) return;
  codes_.resize(offset(count_));
  // A few columns are coded sooner than threads are woken.
  parallel_for((count_ + widest_tile - 1) / widest_tile, count_ < 8 ? 1 : threads,
               [&](std::size_t t) {
                 for_each_tile(t * widest_tile, std::min(count_, (t + 1) * widest_tile),
                               [&](std::size_t first, auto width) { encode_tile<width()>(first); });
               });
  coded_ = true;
}

template <int N> void activations::encode_tile(std::size_t first) noexcept {
  static_assert(sizeof(kernel::column_group<N>) == N * group_bytes);
  auto* groups = reinterpret_cast<kernel::column_group<N>*>(codes_.data() + offset(first));
  for (std::size_t g = 0; g < length_ / 32; ++g)
    for (std::size_t c = 0; c < N; ++c) {
      const std::span<const float> group(values_ + (first + c) * length_ + g * 32, 32);
      auto& codes = groups[g].codes[c];
      const float scale = std::bit_cast<float>(kernel::absmax_bits(group)) / 127.0f;
      const float inverse = 1.0f / scale;
      // A group that is not finite has codes of 0 and its scale: the product is NaN. Zeros, or what
      // is so near to them that 1 / scale overflows, have codes of 0 and scale 0.
      const bool whole = is_finite(scale) && is_finite(inverse);
      if (whole)
        kernel::quantize<8>(group, inverse, codes);
      else
        std::fill_n(codes, 32, std::int8_t{0});
      int sum = 0;
      for (const auto code : codes) sum += code;
      groups[g].scales[c] = whole || !is_finite(scale) ? scale : 0.0f;
      groups[g].minus_8_sums[c] = -8 * sum;
      groups[g].minus_128_sums[c] = -128 * sum;
    }
}

namespace detail {

/// Work of one task: sixty-four rows, against sixty-four vectors at a time. Both stay in the second
/// level cache: 150 KiB of q4_0 and 330 KiB of vectors where a row has 4,096 columns.
inline constexpr std::size_t task_panels = 4, task_vectors = 64;

template <class Block> void pack_panels(const weight_view& w, std::byte* to, unsigned threads) {
  using panel = typename kernel::panel_of<Block>::type;
  const std::size_t groups = w.columns / 32;
  parallel_for((w.rows + 15) / 16, threads, [&](std::size_t p) {
    kernel::pack_panel(reinterpret_cast<const Block*>(w.data) + p * 16 * groups,
                       std::min<std::size_t>(16, w.rows - p * 16), groups,
                       reinterpret_cast<panel*>(to) + p * groups);
  });
}

/// A panel's outputs go to y where sixteen rows are left; else through a buffer.
template <int Columns, class Panel>
void multiply_panel(const Panel* panel, std::size_t groups, const kernel::column_group<Columns>* x,
                    float* y, std::size_t rows, std::size_t left) noexcept {
  if (left >= 16) return kernel::multiply_panel<Columns>(panel, groups, x, y, rows);
  float out[Columns * 16];
  kernel::multiply_panel<Columns>(panel, groups, x, out, 16);
  for (std::size_t c = 0; c < Columns; ++c) std::copy_n(out + c * 16, left, y + c * rows);
}

template <class Block>
void multiply_codes(const weight_view& w, activations& x, float* y, unsigned threads) {
  using panel = typename kernel::panel_of<Block>::type;
  x.encode(threads);
  const std::size_t groups = w.columns / 32, task_rows = task_panels * 16;
  parallel_for((w.rows + task_rows - 1) / task_rows, threads, [&](std::size_t task) {
    const std::size_t begin = task * task_rows, end = std::min(w.rows, begin + task_rows);
    const auto* panels = reinterpret_cast<const panel*>(w.data) + begin / 16 * groups;
    if (w.layout == weight_layout::rows) {
      static thread_local std::vector<panel> packed;
      packed.resize(task_panels * groups);
      pack_panels<Block>({w.type, end - begin, w.columns, w.data + begin * groups * sizeof(Block)},
                         reinterpret_cast<std::byte*>(packed.data()), 1);
      panels = packed.data();
    }
    for (std::size_t first = 0; first < x.count(); first += task_vectors)
      for (std::size_t row = begin; row < end; row += 16)
        x.for_each_tile(first, std::min(x.count(), first + task_vectors),
                        [&](std::size_t column, auto width) {
                          multiply_panel(panels + (row - begin) / 16 * groups, groups,
                                         x.template tile<width()>(column),
                                         y + column * w.rows + row, w.rows, w.rows - row);
                        });
  });
}

/// Calls tile(row, rows, column, columns) over [begin, end) x [first, last) with tiles as large as
/// registers allow.
template <class Tile>
void for_each_dot_tile(std::size_t begin, std::size_t end, std::size_t first, std::size_t last,
                       Tile tile) {
  constexpr int rows = simd::native::registers >= 32 ? 4 : 1, columns = 4;
  using std::integral_constant;
  const auto across = [&](std::size_t r, auto height) {
    std::size_t c = first;
    for (; c + columns <= last; c += columns) tile(r, height, c, integral_constant<int, columns>{});
    for (; c < last; ++c) tile(r, height, c, integral_constant<int, 1>{});
  };
  std::size_t r = begin;
  // A single vector meets each row once: one stream from memory is faster than four.
  for (; last - first > 1 && r + rows <= end; r += rows) across(r, integral_constant<int, rows>{});
  for (; r < end; ++r) across(r, integral_constant<int, 1>{});
}

template <class Value>
void multiply_values(const weight_view& w, activations& x, float* y, unsigned threads) {
  constexpr std::size_t task_rows = 32, task_columns = 32;
  const auto* data = reinterpret_cast<const Value*>(w.data);
  parallel_for((w.rows + task_rows - 1) / task_rows, threads, [&](std::size_t task) {
    const std::size_t begin = task * task_rows, end = std::min(w.rows, begin + task_rows);
    for (std::size_t first = 0; first < x.count(); first += task_columns)
      for_each_dot_tile(begin, end, first, std::min(x.count(), first + task_columns),
                        [&](std::size_t r, auto height, std::size_t c, auto width) {
                          kernel::dot_tile<height(), width()>(data + r * w.columns, w.columns,
                                                              x.values() + c * w.columns,
                                                              y + c * w.rows + r, w.rows);
                        });
  });
}

} // namespace detail

inline weight_view pack_panels(const weight_view& w, std::byte* to, unsigned threads) {
  assert(can_pack(w.type) && w.layout == weight_layout::rows);
  visit_block_format(w.type,
                     [&]<class F>(F) { detail::pack_panels<typename F::block>(w, to, threads); });
  return {w.type, w.rows, w.columns, to, weight_layout::panels};
}

inline void multiply(const weight_view& w, activations& x, float* y, unsigned threads) {
  assert(w.columns == x.length() && can_multiply(w.type));
  const bool coded = visit_block_format(
      w.type, [&]<class F>(F) { detail::multiply_codes<typename F::block>(w, x, y, threads); });
  if (coded) return;
  switch (w.type) {
  case format::f16:
    return detail::multiply_values<kernel::f16_bits>(w, x, y, threads);
  case format::bf16:
    return detail::multiply_values<kernel::bf16_bits>(w, x, y, threads);
  default:
    return detail::multiply_values<float>(w, x, y, threads);
  }
}

} // namespace edgequant::inline EDGEQUANT_ABI
