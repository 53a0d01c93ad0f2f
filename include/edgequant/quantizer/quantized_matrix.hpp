// SPDX-License-Identifier: MIT
/// A matrix in a group format, and quantize<Format>(), which makes one.
#pragma once

#include "../core/matrix.hpp"
#include "../system/parallel_for.hpp"
#include "group_storage.hpp"

namespace edgequant::inline EDGEQUANT_ABI {

struct quantize_options {
  scale_choice scale = scale_rule::mse; ///< as compress(): the least squared error
  std::string_view name = "weights";    ///< the tensor's name in messages
  unsigned threads = 0;                 ///< 0: all
};

/// rows x cols weights in format F, one output channel a row.
template <group_format F> class quantized_matrix {
public:
  using format_type = F;

  quantized_matrix() = default;
  quantized_matrix(std::size_t rows, std::size_t cols) : rows_(rows), cols_(cols) {
    storage_.resize(rows, cols);
  }

  [[nodiscard]] std::size_t rows() const noexcept { return rows_; }
  [[nodiscard]] std::size_t cols() const noexcept { return cols_; }
  /// Bytes of codes and scales.
  [[nodiscard]] std::size_t bytes() const noexcept { return storage_.bytes(); }
  /// Bits of codes and scales for each weight; 0 for an empty matrix.
  [[nodiscard]] double bits_per_weight() const noexcept {
    const auto weights = static_cast<double>(rows_) * static_cast<double>(cols_);
    return weights > 0 ? 8.0 * static_cast<double>(bytes()) / weights : 0;
  }
  /// The values of a row, code * scale; `row` has cols() elements.
  void dequantize_row(std::size_t index, std::span<float> row) const noexcept {
    storage_.decode_row(index, row);
  }
  [[nodiscard]] matrix_f dequantize() const;

  [[nodiscard]] const group_storage<F>& storage() const noexcept { return storage_; }
  [[nodiscard]] group_storage<F>& storage() noexcept { return storage_; }

private:
  std::size_t rows_ = 0, cols_ = 0;
  group_storage<F> storage_;
};

/// Quantizes `weights` (rows are output channels, any shape, also empty). The result depends on the
/// weights and options alone, not on the machine or the number of threads.
/// bad_value: NaN or infinity, or a group whose scale the format cannot hold; what() names
/// options.name and the row-major index.
template <group_format F>
[[nodiscard]] quantized_matrix<F> quantize(const matrix_view& weights,
                                           const quantize_options& options = {});

/// The same by the least weighted squared error: the sum of importance[c] * (w - q)^2 over a group,
/// c its columns. `importance`: one number a column, such as the mean square of the column's
/// inputs; all zeros count as ones. bad_argument: another rule than mse, the wrong length, a number
/// that is negative, NaN or infinite.
template <group_format F>
[[nodiscard]] quantized_matrix<F> quantize_weighted(const matrix_view& weights,
                                                    std::span<const float> importance,
                                                    const quantize_options& options = {});

/// bad_argument unless importance is one finite and non-negative number a column.
inline void require_importance(std::span<const float> importance, std::size_t cols,
                               std::string_view name) {
  if (importance.size() != cols)
    fail(error_code::bad_argument, std::string(name),
         std::to_string(importance.size()) + " importance values for " + std::to_string(cols) +
             " columns");
  for (std::size_t i = 0; i < cols; ++i)
    if (!is_finite(importance[i]) || importance[i] < 0)
      fail(error_code::bad_argument, std::string(name),
           "importance of column " + std::to_string(i) + " is negative, NaN or infinite");
}

namespace quantizer::detail {

/// Importance of the values of all rows, from that of the columns.
[[nodiscard]] constexpr no_importance repeat_rows(no_importance none, std::size_t) noexcept {
  return none;
}
[[nodiscard]] inline std::vector<float> repeat_rows(std::span<const float> row, std::size_t rows) {
  std::vector<float> all;
  for (std::size_t r = 0; r < rows; ++r) all.insert(all.end(), row.begin(), row.end());
  return all;
}

template <group_format F, class Importance>
quantized_matrix<F> quantize(const matrix_view& weights, const Importance& importance,
                             const quantize_options& options) {
  const auto rows = static_cast<std::size_t>(weights.rows());
  const auto cols = static_cast<std::size_t>(weights.cols());
  quantized_matrix<F> result(rows, cols);
  if (rows == 0 || cols == 0) return result;
  const auto check_row = [&](std::size_t r) {
    require_finite(row_of(weights, static_cast<Eigen::Index>(r)), options.name, r * cols);
  };
  if constexpr (F::group_length == per_tensor) { // one group: gather it first
    parallel_for(rows, options.threads, check_row);
    std::vector<float> values; // no Eigen matrix: how it is allocated depends on -m
    for (std::size_t r = 0; r < rows; ++r) {
      const auto row = row_of(weights, static_cast<Eigen::Index>(r));
      values.insert(values.end(), row.begin(), row.end());
    }
    group_encoder<F> encoder(options.scale, options.name);
    const auto each = repeat_rows(importance, rows);
    result.storage().set_tensor_scale(encoder.choose(values, part_of(each, 0, values.size()), 0));
  }
  const std::size_t rows_at_once = std::max<std::size_t>(1, 65536 / cols);
  parallel_for(ceil_divide(rows, rows_at_once), options.threads, [&](std::size_t chunk) {
    group_encoder<F> encoder(options.scale, options.name);
    const std::size_t end = std::min(rows, (chunk + 1) * rows_at_once);
    for (std::size_t r = chunk * rows_at_once; r < end; ++r) {
      if constexpr (F::group_length != per_tensor) check_row(r);
      result.storage().encode_row(encoder, row_of(weights, static_cast<Eigen::Index>(r)),
                                  importance, r);
    }
  });
  return result;
}

} // namespace quantizer::detail

template <group_format F>
quantized_matrix<F> quantize(const matrix_view& weights, const quantize_options& options) {
  return quantizer::detail::quantize<F>(weights, no_importance{}, options);
}

template <group_format F>
quantized_matrix<F> quantize_weighted(const matrix_view& weights, std::span<const float> importance,
                                      const quantize_options& options) {
  require_importance(importance, static_cast<std::size_t>(weights.cols()), options.name);
  if (options.scale.rule != scale_rule::mse)
    fail(error_code::bad_argument, std::string(options.name),
         "importance does not count under the rule " + to_string(options.scale));
  return quantizer::detail::quantize<F>(weights, importance, options);
}

template <group_format F> matrix_f quantized_matrix<F>::dequantize() const {
  matrix_f values(static_cast<Eigen::Index>(rows_), static_cast<Eigen::Index>(cols_));
  for (std::size_t r = 0; r < rows_; ++r) dequantize_row(r, {values.data() + r * cols_, cols_});
  return values;
}

} // namespace edgequant::inline EDGEQUANT_ABI
