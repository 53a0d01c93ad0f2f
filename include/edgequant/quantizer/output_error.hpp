// SPDX-License-Identifier: MIT
/// What errors of weights do to outputs, from the Gram matrix of the inputs alone.
#pragma once

#include "../core/matrix.hpp"
#include "../system/parallel_for.hpp"

#include <cmath>
#include <vector>

namespace edgequant::inline EDGEQUANT_ABI {

/// |X D^T|^2 for the rows D and the lower triangle of X^T X.
template <class = void>
[[nodiscard]] double output_power(const Eigen::MatrixXd& rows, const Eigen::MatrixXd& gram) {
  const serial_products one;
  return (rows * gram.selfadjointView<Eigen::Lower>()).cwiseProduct(rows).sum();
}

/// |X (W - Q)^T| / |X W^T|, Frobenius norms; 0 where nothing is lost. Equal bits on any number of
/// threads.
template <class = void>
[[nodiscard]] double output_error(const matrix_f& weights, const matrix_f& quantized,
                                  const Eigen::MatrixXd& gram, unsigned threads = 0) {
  constexpr Eigen::Index height = 64; // rows that are handled together
  std::vector<double> lost(static_cast<std::size_t>((weights.rows() + height - 1) / height));
  std::vector<double> total(lost.size());
  parallel_for(lost.size(), threads, [&](std::size_t i) {
    const Eigen::Index first = static_cast<Eigen::Index>(i) * height;
    const Eigen::Index rows = std::min(height, weights.rows() - first);
    const Eigen::MatrixXd w = weights.middleRows(first, rows).cast<double>();
    lost[i] = output_power(w - quantized.middleRows(first, rows).cast<double>(), gram);
    total[i] = output_power(w, gram);
  });
  double lost_sum = 0, total_sum = 0;
  for (const double x : lost) lost_sum += x;
  for (const double x : total) total_sum += x;
  return lost_sum > 0 ? std::sqrt(lost_sum / total_sum) : 0;
}

} // namespace edgequant::inline EDGEQUANT_ABI
