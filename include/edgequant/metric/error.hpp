// SPDX-License-Identifier: MIT
/// How wrong an approximation is: per row, per tensor, per model.
#pragma once

#include "../core/exception.hpp"
#include "../kernel/error_sums.hpp"
#include "../quantizer/quantized_matrix.hpp"

#include <cmath>
#include <limits>

namespace edgequant::inline EDGEQUANT_ABI {

/// Error figures of an approximation v of values w.
struct error_figures {
  double mse = 0;            ///< mean of (w - v)^2
  double max_error = 0;      ///< largest |w - v|
  double mean_abs_error = 0; ///< mean of |w - v|
  double sqnr_db = 0;        ///< 10 log10(sum w^2 / sum (w - v)^2), dB; infinite for a perfect copy
  double cosine = 1;         ///< sum w v / sqrt(sum w^2 sum v^2); 1 if both are all zero
};

/// Sums of errors that can be merged: rows into a tensor, tensors into a model. The sums are the
/// same bits on every machine as long as merges happen in the same order.
class error_accumulator {
public:
  error_accumulator() = default;
  explicit error_accumulator(const error_sums& sums) : sums_(sums) {}

  /// Adds values and their approximations; sizes must agree (bad_argument).
  void add(std::span<const float> values, std::span<const float> approximations);
  /// Adds values and the codes that stand for them at one scale; sizes must agree (bad_argument).
  void add(std::span<const float> values, std::span<const std::int8_t> codes, float scale);
  void merge(const error_accumulator& other) noexcept { sums_.merge(other.sums_); }

  [[nodiscard]] const error_sums& sums() const noexcept { return sums_; }
  [[nodiscard]] error_figures figures() const noexcept;

private:
  error_sums sums_;
};

/// Error of codes at one scale (quantize_int8, quantize_int4). Sizes must agree (bad_argument).
[[nodiscard]] inline error_figures measure_error(std::span<const float> original,
                                                 std::span<const std::int8_t> codes, float scale) {
  error_accumulator sums;
  sums.add(original, codes, scale);
  return sums.figures();
}

/// Error of given approximations. Sizes must agree (bad_argument).
[[nodiscard]] inline error_figures measure_error(std::span<const float> original,
                                                 std::span<const float> approximation) {
  error_accumulator sums;
  sums.add(original, approximation);
  return sums.figures();
}

/// Error of each row of a quantized matrix. Shapes must agree (bad_argument).
template <group_format F>
[[nodiscard]] std::vector<error_accumulator> measure_rows(const matrix_view& original,
                                                          const quantized_matrix<F>& quantized,
                                                          unsigned threads = 0);

/// Error of a whole quantized matrix: its rows, merged in order.
template <group_format F>
[[nodiscard]] error_figures measure_error(const matrix_view& original,
                                          const quantized_matrix<F>& quantized,
                                          unsigned threads = 0) {
  error_accumulator all;
  for (const auto& row : measure_rows(original, quantized, threads)) all.merge(row);
  return all.figures();
}

inline void require_same_size(std::size_t values, std::size_t others) {
  if (values != others)
    fail(error_code::bad_argument, "measure_error",
         std::to_string(values) + " values against " + std::to_string(others));
}

inline void error_accumulator::add(std::span<const float> values,
                                   std::span<const float> approximations) {
  require_same_size(values.size(), approximations.size());
  sums_.merge(kernel::sum_errors(values, approximations));
}

inline void error_accumulator::add(std::span<const float> values,
                                   std::span<const std::int8_t> codes, float scale) {
  require_same_size(values.size(), codes.size());
  sums_.merge(kernel::sum_errors(values, codes, scale));
}

inline error_figures error_accumulator::figures() const noexcept {
  if (sums_.count == 0) return {0, 0, 0, std::numeric_limits<double>::infinity(), 1};
  const auto n = static_cast<double>(sums_.count);
  const double energy = std::sqrt(sums_.signal * sums_.approximation);
  const bool both_zero = sums_.signal == 0 && sums_.approximation == 0;
  return {sums_.noise / n, sums_.largest, sums_.absolute / n,
          sums_.noise == 0 ? std::numeric_limits<double>::infinity()
                           : 10 * std::log10(sums_.signal / sums_.noise),
          energy > 0  ? sums_.product / energy
          : both_zero ? 1.0
                      : 0.0};
}

template <group_format F>
std::vector<error_accumulator>
measure_rows(const matrix_view& original, const quantized_matrix<F>& quantized, unsigned threads) {
  const auto rows = static_cast<std::size_t>(original.rows());
  const auto cols = static_cast<std::size_t>(original.cols());
  require_same_size(rows, quantized.rows());
  require_same_size(cols, quantized.cols());
  std::vector<error_accumulator> result(rows);
  parallel_for(rows, threads, [&](std::size_t r) {
    std::vector<float> values(cols);
    quantized.dequantize_row(r, values);
    result[r].add(row_of(original, static_cast<Eigen::Index>(r)), values);
  });
  return result;
}

} // namespace edgequant::inline EDGEQUANT_ABI
