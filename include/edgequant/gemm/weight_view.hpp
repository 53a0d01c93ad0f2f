// SPDX-License-Identifier: MIT
/// Weight matrices as products take them: rows as in a file, or packed into panels.
#pragma once

#include "../format/group_format.hpp"
#include "../system/parallel_for.hpp"
#include "channel_panel.hpp"
#include "coded_panel.hpp"

#include <cassert>
#include <cstddef>

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
  const float* scales = nullptr; ///< i8: value = code * scale, one a row
};

/// `count` rows from row `first` on, a multiple of 16 in panels.
[[nodiscard]] weight_view rows_of(const weight_view& w, std::size_t first, std::size_t count);

/// Calls use(F{}) with the format if its panels are gemm::panel_block; false if they are not.
template <class Use> constexpr bool visit_coded_panels(format type, Use&& use) {
  bool known = false;
  visit_encodable_format(type, [&]<class F>(F f) {
    if constexpr (!gemm::panel_format<F>) use(f), known = true;
  });
  return known;
}

/// Whether products of a matrix in this format are faster from panels: i8 and every format of
/// blocks but the lattice ones.
[[nodiscard]] constexpr bool can_pack(format type) noexcept {
  return type == format::i8 || visit_encodable_format(type, [](auto) {});
}

/// Whether products of a matrix in this format take quantized activations.
[[nodiscard]] constexpr bool is_coded(format type) noexcept {
  return can_pack(type) || visit_stored_format(type, [](auto) {});
}

/// Formats that multiply() takes from a file: f32, f16, bf16 and those of blocks. It takes i8 too
/// where scales come with it.
[[nodiscard]] constexpr bool can_multiply(format type) noexcept {
  return type == format::f32 || type == format::f16 || type == format::bf16 ||
         (type != format::i8 && is_coded(type));
}

/// Bytes of the panels of a matrix. Its rows count as rounded up to 16. A value takes as many bytes
/// as in the file, up to 4 % more with super-blocks, but tq1_0 a quarter more, and i8 one with
/// columns rounded up to 32.
[[nodiscard]] constexpr std::size_t panel_bytes(const weight_view& w) noexcept {
  std::size_t bytes = 0;
  if (w.type == format::i8)
    bytes = (w.rows + 15) / 16 * ((w.columns + 31) / 32) * sizeof(gemm::channel_panel);
  visit_block_format(w.type, [&]<class F>(F) {
    if constexpr (gemm::panel_format<F>)
      bytes = (w.rows + 15) / 16 * (w.columns / 32) *
              sizeof(typename gemm::panel_of<typename F::block>::type);
  });
  visit_coded_panels(w.type, [&]<class F>(F) {
    bytes = (w.rows + 15) / 16 * (w.columns / F::block_length) * gemm::panel_block<F>::bytes;
  });
  return bytes;
}

inline weight_view rows_of(const weight_view& w, std::size_t first, std::size_t count) {
  weight_view part = w;
  part.rows = first;
  const bool panels = w.layout == weight_layout::panels;
  assert(!panels || first % 16 == 0);
  const std::size_t before = panels                 ? panel_bytes(part)
                             : w.type == format::i8 ? first * w.columns
                                                    : first * row_bytes(w.type, w.columns);
  part.rows = count;
  part.data += before;
  if (w.scales != nullptr) part.scales += first;
  return part;
}

/// Copies a matrix into panels at `to`, panel_bytes(w) bytes. Returns the view of them.
/// A template so that programs that pack nothing do not compile it.
template <simd::backend S = simd::native>
weight_view pack_panels(const weight_view& w, std::byte* to, unsigned threads);

namespace gemm::detail {

template <class Block, simd::backend S>
void pack_blocks(const weight_view& w, std::byte* to, unsigned threads) {
  using panel = typename gemm::panel_of<Block>::type;
  const std::size_t groups = w.columns / 32;
  parallel_for((w.rows + 15) / 16, threads, [&](std::size_t p) {
    gemm::pack_panel<S>(reinterpret_cast<const Block*>(w.data) + p * 16 * groups,
                        std::min<std::size_t>(16, w.rows - p * 16), groups,
                        reinterpret_cast<panel*>(to) + p * groups);
  });
}

} // namespace gemm::detail

template <simd::backend S>
weight_view pack_panels(const weight_view& w, std::byte* to, unsigned threads) {
  assert(can_pack(w.type) && w.layout == weight_layout::rows);
  if (w.type == format::i8) {
    auto* panels = reinterpret_cast<gemm::channel_panel*>(to);
    const auto* codes = reinterpret_cast<const std::int8_t*>(w.data);
    const std::size_t groups = (w.columns + 31) / 32;
    parallel_for((w.rows + 15) / 16, threads, [&](std::size_t p) {
      gemm::pack_channel_panel<S>(codes + p * 16 * w.columns,
                                  std::min<std::size_t>(16, w.rows - p * 16), w.columns,
                                  panels + p * groups);
    });
  }
  visit_coded_panels(w.type, [&]<class F>(F) {
    const std::size_t blocks = w.columns / F::block_length;
    parallel_for((w.rows + 15) / 16, threads, [&](std::size_t p) {
      gemm::pack_coded_panel<F>(reinterpret_cast<const typename F::block*>(w.data) +
                                    p * 16 * blocks,
                                std::min<std::size_t>(16, w.rows - p * 16), blocks,
                                to + p * blocks * gemm::panel_block<F>::bytes);
    });
  });
  visit_block_format(w.type, [&]<class F>(F) {
    if constexpr (gemm::panel_format<F>)
      gemm::detail::pack_blocks<typename F::block, S>(w, to, threads);
  });
  return {w.type, w.rows, w.columns, to, weight_layout::panels, w.scales};
}

} // namespace edgequant::inline EDGEQUANT_ABI
