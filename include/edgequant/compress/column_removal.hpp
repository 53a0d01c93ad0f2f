// SPDX-License-Identifier: MIT
/// What a matrix loses with some of its columns when those that stay are solved anew.
#pragma once

#include "../core/matrix.hpp"
#include "../system/parallel_for.hpp"

#include <Eigen/Cholesky>

#include <algorithm>
#include <cstddef>
#include <span>
#include <vector>

namespace edgequant::inline EDGEQUANT_ABI {

/// Columns in the order in which they go, and the whole loss once each of them has gone.
struct column_removal {
  std::vector<std::size_t> order;
  std::vector<double> losses; ///< ascending
};

/// Losses of a matrix W whose columns i read inputs x_i. A change D of W costs the trace of
/// F D H D^T, where H is the Gram matrix of the inputs, and F says how much the outputs count. The
/// columns that stay take over what they can: of those that go, R, the trace of
/// ((H^-1)_RR)^-1 (W^T F W)_RR is left. Source: Hassibi and Stork 1993, "Second order derivatives
/// for network pruning: Optimal Brain Surgeon".
template <class = void> class column_losses {
public:
  /// `weighted` is W^T F W, `gram` H with both triangles, [columns][columns]; `damping`: share of
  /// the mean diagonal that is added to H. Where H is all zero, nothing costs anything.
  column_losses(Eigen::MatrixXd weighted, Eigen::MatrixXd gram, double damping = 0.01,
                unsigned threads = 0);

  /// What the loss grows by once these columns, of those that are left, are gone together.
  [[nodiscard]] double of(std::span<const std::size_t> columns) const;

  /// Removes them: what is left of the matrix is solved anew. Returns what of() says.
  double take(std::span<const std::size_t> columns);

  /// Removes column after column, each time the one with which the loss grows least, until `left`
  /// are left. After Frantar and Alistarh 2022, "Optimal Brain Compression", but for a whole matrix
  /// at a time. Uses the object up. Memory: two columns x columns matrices.
  [[nodiscard]] column_removal remove(std::size_t left) &&;

private:
  [[nodiscard]] static Eigen::MatrixXd block_of(const Eigen::MatrixXd& m,
                                                std::span<const std::size_t> columns) {
    const auto count = static_cast<Eigen::Index>(columns.size());
    Eigen::MatrixXd block(count, count);
    for (Eigen::Index i = 0; i < count; ++i)
      for (Eigen::Index k = 0; k < count; ++k)
        block(i, k) = m(static_cast<Eigen::Index>(columns[static_cast<std::size_t>(i)]),
                        static_cast<Eigen::Index>(columns[static_cast<std::size_t>(k)]));
    return block;
  }
  /// Calls body(first, count) for parts of the columns.
  template <class Body> void for_each_part(Body body) const {
    parallel_for_parts(static_cast<std::size_t>(weighted_.cols()), 128, threads_,
                       [&](std::size_t first, std::size_t count) {
                         body(static_cast<Eigen::Index>(first), static_cast<Eigen::Index>(count));
                       });
  }

  unsigned threads_;
  Eigen::MatrixXd weighted_, inverse_;
};

template <class T>
column_losses<T>::column_losses(Eigen::MatrixXd weighted, Eigen::MatrixXd gram, double damping,
                                unsigned threads)
    : threads_(threads), weighted_(std::move(weighted)) {
  const serial_products one;
  const double mean = gram.diagonal().mean();
  gram.diagonal().array() += mean > 0 ? damping * mean : 1;
  const Eigen::LLT<Eigen::MatrixXd> factor(gram);
  inverse_ = Eigen::MatrixXd::Identity(gram.rows(), gram.cols());
  for_each_part([&](Eigen::Index first, Eigen::Index count) {
    inverse_.middleCols(first, count) =
        factor.solve(Eigen::MatrixXd(inverse_.middleCols(first, count)));
  });
  if (!(mean > 0)) weighted_.setZero();
}

template <class T> double column_losses<T>::of(std::span<const std::size_t> columns) const {
  const serial_products one;
  return block_of(inverse_, columns).llt().solve(block_of(weighted_, columns)).trace();
}

/// With the columns C of H^-1, P = C_RR and K = C P^-1, H^-1 loses K C^T, and W^T F W, M, becomes
/// M - M_R K^T - K M_R^T + K M_RR K^T.
template <class T> double column_losses<T>::take(std::span<const std::size_t> columns) {
  const serial_products one;
  const double loss = of(columns);
  const auto count = static_cast<Eigen::Index>(columns.size());
  Eigen::MatrixXd c(inverse_.rows(), count), m(inverse_.rows(), count);
  for (Eigen::Index i = 0; i < count; ++i) {
    const auto column = static_cast<Eigen::Index>(columns[static_cast<std::size_t>(i)]);
    c.col(i) = inverse_.col(column), m.col(i) = weighted_.col(column);
  }
  const Eigen::MatrixXd k = block_of(inverse_, columns).llt().solve(c.transpose()).transpose();
  const Eigen::MatrixXd both = m - k * (0.5 * block_of(weighted_, columns));
  for_each_part([&](Eigen::Index first, Eigen::Index some) {
    inverse_.middleCols(first, some).noalias() -= k * c.middleRows(first, some).transpose();
    weighted_.middleCols(first, some).noalias() -= both * k.middleRows(first, some).transpose();
    weighted_.middleCols(first, some).noalias() -= k * both.middleRows(first, some).transpose();
  });
  return loss;
}

/// With column j of H^-1, c, and p = c_j, the others become w_k - w_j c_k / p, and H^-1 loses
/// c c^T / p: the Gram matrix of the columns, M, loses b c^T + c b^T, where
/// b = M_j / p - c M_jj / (2 p^2). What several columns change is collected and applied as one
/// product.
template <class T> column_removal column_losses<T>::remove(std::size_t left) && {
  const serial_products one;
  constexpr Eigen::Index together = 64;
  const Eigen::Index n = weighted_.rows();
  column_removal result;
  std::vector<bool> is_gone(static_cast<std::size_t>(n));
  Eigen::VectorXd pivots = inverse_.diagonal(), squares = weighted_.diagonal();
  Eigen::MatrixXd c(n, together), b(n, together), scaled(n, together); // scaled: c / p
  Eigen::Index held = 0;
  double loss = 0;
  while (result.order.size() + left < static_cast<std::size_t>(n)) {
    Eigen::Index j = -1;
    for (Eigen::Index k = 0; k < n; ++k)
      if (!is_gone[static_cast<std::size_t>(k)] &&
          (j < 0 || squares[k] * pivots[j] < squares[j] * pivots[k]))
        j = k;
    Eigen::VectorXd own = inverse_.col(j), m = weighted_.col(j);
    own.noalias() -= scaled.leftCols(held) * c.row(j).head(held).transpose();
    m.noalias() -= b.leftCols(held) * c.row(j).head(held).transpose();
    m.noalias() -= c.leftCols(held) * b.row(j).head(held).transpose();
    const double p = own[j];
    loss += std::max(0.0, m[j] / p);
    c.col(held) = own;
    scaled.col(held) = own / p;
    b.col(held) = m / p - own * (m[j] / (2 * p * p));
    squares -= 2 * b.col(held).cwiseProduct(own);
    pivots -= own.cwiseProduct(scaled.col(held));
    is_gone[static_cast<std::size_t>(j)] = true;
    result.order.push_back(static_cast<std::size_t>(j));
    result.losses.push_back(loss);
    if (++held < together) continue;
    for_each_part([&](Eigen::Index first, Eigen::Index count) {
      inverse_.middleCols(first, count).noalias() -=
          c * scaled.middleRows(first, count).transpose();
      weighted_.middleCols(first, count).noalias() -= b * c.middleRows(first, count).transpose();
      weighted_.middleCols(first, count).noalias() -= c * b.middleRows(first, count).transpose();
    });
    held = 0;
  }
  return result;
}

} // namespace edgequant::inline EDGEQUANT_ABI
