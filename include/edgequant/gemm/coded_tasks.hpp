// SPDX-License-Identifier: MIT
/// The tasks of products with formats of codes, scales and minimums.
#pragma once

#include "coded_panel.hpp"
#include "unpacked_panel.hpp"
#include "weight_product.hpp"

#include <vector>

namespace edgequant::inline EDGEQUANT_ABI::gemm::detail {

/// Panels of an encodable format: as they are stored, or packed when needed.
template <encodable_format F> class coded_panels {
public:
  explicit coded_panels(const weight_view& w) noexcept : w_(&w) {}

  /// Panels of `rows` rows from row `begin`, a multiple of 16; valid until this thread's next call.
  [[nodiscard]] coded_source<F, simd::native> at(std::size_t begin, std::size_t rows) const {
    const std::size_t blocks = w_->columns / F::block_length;
    const std::size_t panel_bytes = blocks * panel_block<F>::bytes;
    if (w_->layout == weight_layout::panels) return {w_->data + begin / 16 * panel_bytes, blocks};
    static thread_local std::vector<std::byte> packed;
    packed.resize((rows + 15) / 16 * panel_bytes);
    const auto* from = reinterpret_cast<const typename F::block*>(w_->data) + begin * blocks;
    for (std::size_t r = 0; r < rows; r += 16)
      pack_coded_panel<F>(from + r * blocks, std::min<std::size_t>(16, rows - r), blocks,
                          packed.data() + r / 16 * panel_bytes);
    return {packed.data(), blocks};
  }
  template <std::size_t Tokens>
  static void multiply(const coded_source<F, simd::native>& panels, std::size_t groups,
                       const activation_group<Tokens>* x, float* out, std::size_t stride) noexcept {
    multiply_coded<1, Tokens>(panels, groups, x, false, out, stride);
  }
  static void step(coded_source<F, simd::native>& panels, std::size_t) noexcept {
    panels.panels += panels.blocks * panel_block<F>::bytes;
  }

private:
  const weight_view* w_;
};

/// The unpacked panels that a format's products with many tokens take.
template <coded_format F> struct expanded_units {
  using panel = unpacked_panel_of<F, simd::native>;
};
template <encodable_format F> struct expanded_units<F> {
  using unit = coded_unit<F, simd::native>;
  using panel = unpacked_panel<unit::parts, unit::has_minimum, unit::offset, unit::dot_bits>;
};

/// Many tokens: a part of some rows is expanded in the first level cache and multiplied with a
/// block of tokens. Lattice formats, which have no panels, are always multiplied so.
template <coded_format F> class expanded_coded_product {
public:
  expanded_coded_product(const weight_product& p, const activations& x) noexcept
      : w_(&p.w), x_(&x), y_(p.y), row_tasks_((p.w.rows + task_rows - 1) / task_rows) {}

  [[nodiscard]] std::size_t tasks() const noexcept {
    return row_tasks_ * ((x_->count() + task_tokens - 1) / task_tokens);
  }
  void run(std::size_t task) const {
    const std::size_t first = task / row_tasks_ * task_tokens;
    const std::size_t last = std::min(x_->count(), first + task_tokens);
    const std::size_t begin = task % row_tasks_ * task_rows;
    const std::size_t end = std::min(w_->rows, begin + task_rows);
    static thread_local std::vector<float> sums; // [tokens][height]
    sums.resize((last - first + matrix_tile_tokens) * height);
    for (std::size_t row = begin; row < end; row += height) {
      const std::size_t rows = std::min(height, end - row);
      multiply_rows(row, rows, first, last, sums.data());
      for (std::size_t c = first; c < last; ++c)
        std::copy_n(sums.data() + (c - first) * height, rows, y_ + c * w_->rows + row);
    }
  }

private:
  using panel = typename expanded_units<F>::panel;
  static constexpr std::size_t panels = tile_panels<simd::native>, height = 16 * panels;
  static constexpr std::size_t task_rows = 64, task_tokens = 240;
  static constexpr std::size_t part = std::max<std::size_t>(8, F::block_length / 32); ///< groups

  void multiply_rows(std::size_t row, std::size_t rows, std::size_t first, std::size_t last,
                     float* sums) const {
    panel expanded[panels * part];
    const std::size_t groups = w_->columns / 32;
    const auto expand = expander(row, rows);
    for (std::size_t g = 0; g < groups; g += part) {
      const std::size_t count = std::min(part, groups - g);
      for (std::size_t p = 0; p < panels; ++p) // a missing panel: its sums are not read
        expand(p * 16 < rows ? p : 0, g, count, expanded + p * count);
      const unpacked_source<panel, simd::native> source{expanded, count};
      const auto multiply = [&](std::size_t token, auto width) {
        multiply_coded<panels, width()>(source, count, x_->template tile<width()>(token) + g, g > 0,
                                        sums + (token - first) * height, height);
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

  /// expand(panel, group, count, to) for the panels of some rows.
  [[nodiscard]] auto expander(std::size_t row, std::size_t rows) const {
    if constexpr (encodable_format<F>) {
      return [source = coded_panels<F>(*w_).at(row, rows)](std::size_t p, std::size_t g,
                                                           std::size_t count, panel* to) {
        expand_units<simd::native>(source, p, g, count, to);
      };
    } else {
      const std::size_t blocks = w_->columns / F::block_length;
      const auto* from = reinterpret_cast<const typename F::block*>(w_->data) + row * blocks;
      return [from, blocks, rows](std::size_t p, std::size_t g, std::size_t count, panel* to) {
        unpack_panels<F>(from + p * 16 * blocks + g * 32 / F::block_length,
                         std::min<std::size_t>(16, rows - p * 16), blocks,
                         count * 32 / F::block_length, to);
      };
    }
  }

  const weight_view* w_;
  const activations* x_;
  float* y_;
  std::size_t row_tasks_;
};

} // namespace edgequant::inline EDGEQUANT_ABI::gemm::detail
