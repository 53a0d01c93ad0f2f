// SPDX-License-Identifier: MIT
/// Products of a stored weight matrix with float activations: y = W x for one or many x.
#pragma once

#include "../core/parallel_for.hpp"
#include "../format/group_format.hpp"
#include "dot.hpp"
#include "panel.hpp"

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

/// A matrix and where its product goes: w.rows floats for each vector.
struct weight_product {
  weight_view w;
  float* y = nullptr;
};

/// y[i * w.rows + r] = row r of w times vector i of x, for each of the products: they share the
/// codes of x and the threads. The columns of each w are x.length(). For one instruction set the
/// result depends neither on the layout nor on the number of threads.
void multiply(std::span<const weight_product> products, activations& x, unsigned threads);

inline void multiply(const weight_view& w, activations& x, float* y, unsigned threads) {
  const weight_product one{w, y};
  multiply({&one, 1}, x, threads);
}

template <class Body>
void activations::for_each_tile(std::size_t begin, std::size_t end, Body body) {
  const auto tiles_of = [&](auto width) {
    for (; begin + width() <= end; begin += width()) body(begin, width);
  };
  if constexpr (widest_tile == 6) tiles_of(std::integral_constant<int, 6>{});
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
  for (std::size_t c = 0; c < N; ++c)
    kernel::encode_column(values_ + (first + c) * length_, length_ / 32, groups, c);
}

namespace detail {

template <class Block> void pack_panels(const weight_view& w, std::byte* to, unsigned threads) {
  using panel = typename kernel::panel_of<Block>::type;
  const std::size_t groups = w.columns / 32;
  parallel_for((w.rows + 15) / 16, threads, [&](std::size_t p) {
    kernel::pack_panel(reinterpret_cast<const Block*>(w.data) + p * 16 * groups,
                       std::min<std::size_t>(16, w.rows - p * 16), groups,
                       reinterpret_cast<panel*>(to) + p * groups);
  });
}

/// A quantized matrix as panels, some rows at a time: where they are, or packed when they are
/// needed.
template <class Block> class panel_reader {
public:
  using panel = typename kernel::panel_of<Block>::type;
  explicit panel_reader(const weight_view& w) noexcept : w_(&w) {}

  /// Panels of `rows` rows from row `begin`, a multiple of 16; valid until this thread's next call.
  const panel* at(std::size_t begin, std::size_t rows) const {
    const std::size_t groups = w_->columns / 32;
    if (w_->layout == weight_layout::panels)
      return reinterpret_cast<const panel*>(w_->data) + begin / 16 * groups;
    static thread_local std::vector<panel> packed;
    packed.resize((rows + 15) / 16 * groups);
    pack_panels<Block>({w_->type, rows, w_->columns, w_->data + begin * groups * sizeof(Block)},
                       reinterpret_cast<std::byte*>(packed.data()), 1);
    return packed.data();
  }

private:
  const weight_view* w_;
};

// How a product is cut into tasks: how many there are, and what each does.

/// Few vectors: the weights stream from memory once, straight into the products.
template <class Block> class streamed_product {
public:
  streamed_product(const weight_product& p, const activations& x) noexcept
      : w_(&p.w), x_(&x), y_(p.y), panels_(p.w) {}

  [[nodiscard]] std::size_t tasks() const noexcept {
    return (w_->rows + task_rows - 1) / task_rows;
  }
  void run(std::size_t task) const {
    const std::size_t groups = w_->columns / 32, rows = w_->rows;
    const std::size_t begin = task * task_rows, end = std::min(rows, begin + task_rows);
    const auto* panel = panels_.at(begin, end - begin);
    for (std::size_t row = begin; row < end; row += 16, panel += groups)
      x_->for_each_tile(0, x_->count(), [&](std::size_t first, auto width) {
        constexpr std::size_t columns = width();
        const auto* tile = x_->template tile<columns>(first);
        float* to = y_ + first * rows + row;
        if (end - row >= 16)
          return kernel::multiply_panels<1, columns>(panel, groups, tile, nullptr, to, rows);
        float out[columns * 16];
        kernel::multiply_panels<1, columns>(panel, groups, tile, nullptr, out, 16);
        for (std::size_t c = 0; c < columns; ++c)
          std::copy_n(out + c * 16, end - row, to + c * rows);
      });
  }

private:
  static constexpr std::size_t task_rows = 64;
  const weight_view* w_;
  const activations* x_;
  float* y_;
  panel_reader<Block> panels_;
};

/// Many vectors: a part of some panels is made ready in the first level cache, for a block of
/// vectors that stays in the second while the rows go by.
template <class Block> class blocked_product {
public:
  blocked_product(const weight_product& p, const activations& x) noexcept
      : w_(&p.w), x_(&x), y_(p.y), panels_(p.w) {
    constexpr std::size_t widest = activations::widest_tile;
    const std::size_t count = x.count(), blocks = (count + most_vectors - 1) / most_vectors;
    vectors_ = (count + blocks * widest - 1) / (blocks * widest) * widest;
    row_tasks_ = (p.w.rows + task_rows - 1) / task_rows;
  }

  [[nodiscard]] std::size_t tasks() const noexcept {
    return row_tasks_ * ((x_->count() + vectors_ - 1) / vectors_);
  }
  void run(std::size_t task) const {
    const std::size_t first = task / row_tasks_ * vectors_, begin = task % row_tasks_ * task_rows;
    const std::size_t last = std::min(x_->count(), first + vectors_);
    for (std::size_t row = begin; row < std::min(w_->rows, begin + task_rows); row += height)
      multiply_rows(row, first, last);
  }

private:
  using panel = typename kernel::panel_of<Block>::type;
  static constexpr std::size_t height = kernel::tile_panels<simd::native> * 16;
  static constexpr std::size_t task_rows = 64, most_vectors = 120;
  static constexpr std::size_t part = 16; ///< groups made ready at a time

  /// Rows from `row`, `height` of them or what is left, times vectors first .. last.
  void multiply_rows(std::size_t row, std::size_t first, std::size_t last) const {
    kernel::expanded_panel<panel::bits> ready[height / 16 * part];
    alignas(64) float totals[most_vectors * height];
    const std::size_t groups = w_->columns / 32, left = std::min(height, w_->rows - row);
    const panel* panels = panels_.at(row, left);
    for (std::size_t g = 0; g < groups; g += part) {
      const std::size_t length = std::min(part, groups - g);
      for (std::size_t p = 0; p < height / 16; ++p) // a panel that is missing: any will do
        kernel::expand_panel(panels + (p * 16 < left ? p : 0) * groups + g, length,
                             ready + p * length);
      const bool direct = g + length == groups && left == height;
      x_->for_each_tile(first, last, [&](std::size_t column, auto width) {
        float* sums = totals + (column - first) * height;
        kernel::multiply_panels<height / 16, width()>(
            ready, length, x_->template tile<width()>(column) + g, g == 0 ? nullptr : sums,
            direct ? y_ + column * w_->rows + row : sums, direct ? w_->rows : height);
      });
    }
    for (std::size_t c = first; left < height && c < last; ++c)
      std::copy_n(totals + (c - first) * height, left, y_ + c * w_->rows + row);
  }

  const weight_view* w_;
  const activations* x_;
  float* y_;
  panel_reader<Block> panels_;
  std::size_t vectors_, row_tasks_;
};

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

/// Plain numbers, in float.
template <class Value> class value_product {
public:
  value_product(const weight_product& p, const activations& x) noexcept
      : w_(&p.w), x_(&x), y_(p.y) {}

  [[nodiscard]] std::size_t tasks() const noexcept {
    return (w_->rows + task_rows - 1) / task_rows;
  }
  void run(std::size_t task) const {
    constexpr std::size_t task_columns = 32;
    const auto* data = reinterpret_cast<const Value*>(w_->data);
    const std::size_t length = w_->columns, rows = w_->rows;
    const std::size_t begin = task * task_rows, end = std::min(rows, begin + task_rows);
    for (std::size_t first = 0; first < x_->count(); first += task_columns)
      for_each_dot_tile(begin, end, first, std::min(x_->count(), first + task_columns),
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

/// Calls use(product) with the way that suits the format and the number of vectors.
template <class Use> void visit_product(const weight_product& p, const activations& x, Use use) {
  const bool coded = visit_block_format(p.w.type, [&]<class F>(F) {
    // From so many vectors on what is made ready is used often enough; bytes are ready already.
    constexpr std::size_t many = F::bits == 4 ? 12 : 20;
    if (x.count() < many)
      use(streamed_product<typename F::block>(p, x));
    else
      use(blocked_product<typename F::block>(p, x));
  });
  if (coded) return;
  switch (p.w.type) {
  case format::f16:
    return use(value_product<kernel::f16_bits>(p, x));
  case format::bf16:
    return use(value_product<kernel::bf16_bits>(p, x));
  default:
    return use(value_product<float>(p, x));
  }
}

} // namespace detail

inline weight_view pack_panels(const weight_view& w, std::byte* to, unsigned threads) {
  assert(can_pack(w.type) && w.layout == weight_layout::rows);
  visit_block_format(w.type,
                     [&]<class F>(F) { detail::pack_panels<typename F::block>(w, to, threads); });
  return {w.type, w.rows, w.columns, to, weight_layout::panels};
}

inline void multiply(std::span<const weight_product> products, activations& x, unsigned threads) {
  std::size_t tasks = 0;
  for (const auto& p : products) {
    assert(p.w.columns == x.length() && can_multiply(p.w.type));
    if (can_pack(p.w.type)) x.encode(threads);
    detail::visit_product(p, x, [&](const auto& product) { tasks += product.tasks(); });
  }
  parallel_for(tasks, threads, [&](std::size_t task) {
    for (const auto& p : products) {
      bool done = false;
      detail::visit_product(p, x, [&](const auto& product) {
        const std::size_t own = product.tasks();
        done = task < own;
        if (done)
          product.run(task);
        else
          task -= own;
      });
      if (done) return;
    }
  });
}

} // namespace edgequant::inline EDGEQUANT_ABI
