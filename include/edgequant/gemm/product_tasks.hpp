// SPDX-License-Identifier: MIT
/// How a product is cut into independent tasks: each class says how many there are, and runs one.
#pragma once

#include "channel_tasks.hpp"
#include "coded_tasks.hpp"
#include "float_tasks.hpp"
#include "streamed_product.hpp"

#include <vector>

namespace edgequant::inline EDGEQUANT_ABI {

namespace gemm::detail {

/// A quantized matrix as panels, some rows at a time: as they are stored, or packed when needed.
template <class Block> class panel_reader {
public:
  using panel = typename gemm::panel_of<Block>::type;
  explicit panel_reader(const weight_view& w) noexcept : w_(&w) {}

  /// Panels of `rows` rows from row `begin`, a multiple of 16; valid until this thread's next call.
  const panel* at(std::size_t begin, std::size_t rows) const {
    const std::size_t groups = w_->columns / 32;
    if (w_->layout == weight_layout::panels)
      return reinterpret_cast<const panel*>(w_->data) + begin / 16 * groups;
    static thread_local std::vector<panel> packed;
    packed.resize((rows + 15) / 16 * groups);
    pack_blocks<Block, simd::native>(
        {w_->type, rows, w_->columns, w_->data + begin * groups * sizeof(Block)},
        reinterpret_cast<std::byte*>(packed.data()), 1);
    return packed.data();
  }
  template <std::size_t Tokens>
  static void multiply(const panel* panels, std::size_t groups, const activation_group<Tokens>* x,
                       float* out, std::size_t stride) noexcept {
    gemm::multiply_panels<1, Tokens>(panels, groups, x, false, out, stride);
  }
  static void step(const panel*& panels, std::size_t groups) noexcept { panels += groups; }

private:
  const weight_view* w_;
};

/// Many tokens: a part of some panels is expanded in the first level cache and multiplied with a
/// block of tokens, which stays in the second level cache for all rows of a task. `MatrixUnit`:
/// with AMX.
template <class Block, bool MatrixUnit> class blocked_product {
public:
  blocked_product(const weight_product& p, const activations& x) noexcept
      : w_(&p.w), x_(&x), y_(p.y), panels_(p.w) {
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
    const std::size_t rows = std::min(task_rows, w_->rows - begin);
    static thread_local std::vector<float> sums;
    sums.resize(vectors_ * task_rows);
    [[maybe_unused]] const matrix_unit_use<MatrixUnit ? 32 : 0> unit;
    for (std::size_t row = 0; row < rows; row += height)
      multiply_rows(begin + row, std::min(height, rows - row), first, last,
                    sums.data() + row * vectors_);
    // All rows of a token at once: consecutive cache lines, which memory takes faster.
    for (std::size_t c = first; c < last; ++c)
      for (std::size_t row = 0; row < rows; row += height)
        std::copy_n(sums.data() + row * vectors_ + (c - first) * height,
                    std::min(height, rows - row), y_ + c * w_->rows + begin + row);
  }

private:
  using panel = typename gemm::panel_of<Block>::type;
  using ready_panel = gemm::expanded_panel<panel::bits>;
  static constexpr std::size_t height = (MatrixUnit ? 2 : gemm::tile_panels<simd::native>)*16;
  static constexpr std::size_t widest =
      MatrixUnit ? gemm::matrix_tile_tokens : activations::widest_tile;
  static constexpr std::size_t task_rows = 128, most_vectors = MatrixUnit ? 128 : 120;
  static constexpr std::size_t part = 16; ///< groups that are expanded at a time

  /// sums[last - first][height] = rows `row` on times tokens [first, last); `left` of them exist.
  void multiply_rows(std::size_t row, std::size_t left, std::size_t first, std::size_t last,
                     float* sums) const {
    ready_panel ready[height / 16 * part];
    const std::size_t groups = w_->columns / 32;
    const panel* panels = panels_.at(row, left);
    for (std::size_t g = 0; g < groups; g += part) {
      const std::size_t length = std::min(part, groups - g);
      for (std::size_t p = 0; p < height / 16; ++p) // a missing panel: its sums are not read
        expand(panels + (p * 16 < left ? p : 0) * groups + g, length, ready + p * length);
      for_each_tile(first, last, [&](std::size_t token, auto width) {
        multiply_tile(ready, length, x_->template tile<width()>(token) + g, g > 0,
                      sums + (token - first) * height, last - token);
      });
    }
  }

  static void expand(const panel* from, std::size_t groups, ready_panel* to) {
    if constexpr (MatrixUnit)
      gemm::expand_for_tiles<simd::native>(from, groups, to);
    else
      gemm::expand_panel(from, groups, to);
  }
  template <class Body> static void for_each_tile(std::size_t first, std::size_t last, Body body) {
    if constexpr (MatrixUnit)
      for (; first < last; first += widest)
        body(first, std::integral_constant<std::size_t, widest>{});
    else
      activations::for_each_tile(first, last, body);
  }
  template <std::size_t Tokens>
  static void multiply_tile(const ready_panel* ready, std::size_t groups,
                            const gemm::activation_group<Tokens>* x, bool more, float* out,
                            [[maybe_unused]] std::size_t left) {
    if constexpr (!MatrixUnit)
      return gemm::multiply_panels<height / 16, Tokens>(ready, groups, x, more, out, height);
    else
      for (std::size_t p = 0; p < height / 16; ++p, ready += groups, out += 16)
        if (left > 8)
          gemm::multiply_tile<16, simd::native>(ready, groups, x, more, out, height);
        else
          gemm::multiply_tile<8, simd::native>(ready, groups, x, more, out, height);
  }

  const weight_view* w_;
  const activations* x_;
  float* y_;
  panel_reader<Block> panels_;
  std::size_t vectors_, row_tasks_;
};

/// The same for weights in any format; `block_product` knows those of one format.
template <class Use, class BlockProduct>
void visit_any_product(const weight_product& p, const activations& x, Use use,
                       BlockProduct block_product) {
  if (visit_block_format(p.w.type, block_product)) return;
  if (visit_stored_format(p.w.type, block_product)) return;
  if (p.w.type == format::i8) return use(channel_product(p, x));
  const auto values = [&]<class Value>(Value) {
    if (x.count() < gemm::min_float_tile_tokens)
      use(float_product<Value>(p, x));
    else
      use(blocked_float_product<Value>(p, x));
  };
  if (p.w.type == format::f16) return values(kernel::f16_bits{});
  if (p.w.type == format::bf16) return values(kernel::bf16_bits{});
  values(float{});
}

/// Calls use(product) with the class that suits the format and the number of tokens. `Only`: the
/// weights are in this format, and nothing else is compiled; void: in any.
template <class Only = void, class Use>
void visit_product(const weight_product& p, const activations& x, Use use) {
  const auto block_product = [&]<class F>(F) {
    // From so many tokens on expanding pays off; codes of 8 bits need it less. Measured.
    constexpr std::size_t many = F::id == format::q8_0 ? 20 : 12;
    if constexpr (panel_format<F>) {
      if constexpr (simd::tile_backend<simd::native>)
        if (x.in_matrix_tiles()) return use(blocked_product<typename F::block, true>(p, x));
      if (x.count() < many)
        use(streamed_product<panel_reader<typename F::block>>(p, x));
      else
        use(blocked_product<typename F::block, false>(p, x));
    } else {
      if constexpr (encodable_format<F>)
        if (x.count() < many && !x.in_matrix_tiles())
          return use(streamed_product<coded_panels<F>>(p, x));
      use(expanded_coded_product<F>(p, x));
    }
  };
  if constexpr (block_format<Only>)
    return block_product(Only{});
  else if constexpr (std::same_as<Only, symmetric<8, per_channel, float>>)
    return use(channel_product(p, x));
  else
    visit_any_product(p, x, use, block_product);
}

} // namespace gemm::detail

} // namespace edgequant::inline EDGEQUANT_ABI
