// SPDX-License-Identifier: MIT
/// A quantized matrix times activations: int8 inside, float out.
#pragma once

#include "../gemm/product.hpp"
#include "quantized_matrix.hpp"

namespace edgequant::inline EDGEQUANT_ABI {

/// Formats whose matrices multiply() takes: those of blocks, and int8 with a float scale a row.
template <class F>
concept product_format = block_format<F> || std::same_as<F, symmetric<8, per_channel, float>>;

/// The matrix as multiply() takes it; it must live as long. Columns of block formats are a multiple
/// of 32, those of int8 no more than gemm::most_channel_columns: bad_argument.
template <product_format F> [[nodiscard]] weight_view view_of(const quantized_matrix<F>& w) {
  if constexpr (block_format<F>) {
    if (w.cols() % F::group_length != 0)
      fail(error_code::bad_argument, "product",
           std::to_string(w.cols()) + " columns are no multiple of " +
               std::to_string(F::group_length));
    return {F::id, w.rows(), w.cols(),
            reinterpret_cast<const std::byte*>(w.storage().blocks.data())};
  } else {
    if (w.cols() > gemm::most_channel_columns)
      fail(error_code::bad_argument, "product",
           std::to_string(w.cols()) + " columns of int8 are more than " +
               std::to_string(gemm::most_channel_columns));
    const auto& s = w.storage();
    return {format::i8,
            w.rows(),
            w.cols(),
            reinterpret_cast<const std::byte*>(s.codes.data()),
            weight_layout::rows,
            s.scales.data()};
  }
}

/// y = W x. For many products of one matrix, pack_panels(view_of(w), ...) once and multiply() then.
/// bad_argument: another length than the matrix has columns.
template <product_format F>
[[nodiscard]] vector_f operator*(const quantized_matrix<F>& w, const vector_f& x) {
  if (static_cast<std::size_t>(x.size()) != w.cols())
    fail(error_code::bad_argument, "product",
         std::to_string(x.size()) + " values for " + std::to_string(w.cols()) + " columns");
  vector_f y(static_cast<Eigen::Index>(w.rows()));
  activations inputs;
  inputs.assign(x.data(), 1, w.cols());
  multiply<simd::native, F>(view_of(w), inputs, y.data(), 0);
  return y;
}

} // namespace edgequant::inline EDGEQUANT_ABI
