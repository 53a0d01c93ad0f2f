// SPDX-License-Identifier: MIT
/// Matrices as every room sees them: row-major, one output channel a row.
#pragma once

#include "../config.hpp"

#include <Eigen/Core>

#include <span>

namespace edgequant::inline EDGEQUANT_ABI {

using matrix_f = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
using vector_f = Eigen::VectorXf;
/// Read-only view of a dense row-major matrix; a matrix_f or a map of the caller's memory converts.
using matrix_view = Eigen::Ref<const matrix_f>;

/// The values of row `row`, contiguous.
[[nodiscard]] inline std::span<const float> row_of(const matrix_view& matrix, Eigen::Index row) {
  return {matrix.data() + row * matrix.outerStride(), static_cast<std::size_t>(matrix.cols())};
}

} // namespace edgequant::inline EDGEQUANT_ABI
