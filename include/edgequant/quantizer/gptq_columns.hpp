// SPDX-License-Identifier: MIT
/// What GPTQ takes from the inputs of a matrix: the order of its columns and the factor of their
/// inverse Gram matrix.
#pragma once

#include "../core/matrix.hpp"
#include "../system/parallel_for.hpp"

#include <Eigen/Cholesky>

#include <algorithm>
#include <numeric>
#include <vector>

namespace edgequant::inline EDGEQUANT_ABI {

using row_major_d = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

/// Adds inputs, a column each, to the lower triangle of their Gram matrix, which may be empty yet.
template <class = void> void add_to_gram(Eigen::MatrixXd& gram, const Eigen::MatrixXd& inputs) {
  const serial_products one;
  if (gram.size() == 0) gram = Eigen::MatrixXd::Zero(inputs.rows(), inputs.rows());
  gram.selfadjointView<Eigen::Lower>().rankUpdate(inputs);
}

/// What the Gram matrix of the inputs says of the columns; matrices with the same inputs share it.
class gptq_columns {
public:
  /// `gram`: the lower triangle of X^T X, columns x columns, from any number of inputs, 0 included.
  /// A column that is never used counts like the average one. Damping is raised tenfold until the
  /// factorisation succeeds; a matrix that is not finite, or all zeros, says nothing: every column
  /// then counts the same.
  template <class = void> // compiled where it is called
  explicit gptq_columns(const Eigen::MatrixXd& gram, double damping = 0.01);

  [[nodiscard]] Eigen::Index size() const noexcept { return gram_.rows(); }
  /// Share of the mean diagonal that was added in the end; 0 where the Gram matrix said nothing.
  [[nodiscard]] double damping() const noexcept { return damping_; }
  /// X^T X as it is used: both triangles, over its mean diagonal, damped.
  [[nodiscard]] const Eigen::MatrixXd& gram() const noexcept { return gram_; }
  /// order()[i] is the column that is rounded as number i: by falling diagonal inside each group of
  /// 32, groups in the order of the file.
  [[nodiscard]] const std::vector<Eigen::Index>& order() const noexcept { return order_; }
  /// U with U^T U = the inverse of gram() in that order: upper triangular.
  [[nodiscard]] const row_major_d& factor() const noexcept { return factor_; }

private:
  void sort_columns();
  template <class = void> [[nodiscard]] bool factorise();

  double damping_;
  Eigen::MatrixXd gram_;
  row_major_d factor_;
  std::vector<Eigen::Index> order_;
};

template <class>
gptq_columns::gptq_columns(const Eigen::MatrixXd& gram, double damping)
    : damping_(damping), gram_(gram.selfadjointView<Eigen::Lower>()) {
  const Eigen::Index n = gram_.rows();
  const double largest = n == 0 ? 0 : gram_.diagonal().maxCoeff();
  if (!gram_.allFinite() || !(largest > 0)) {
    damping_ = 0;
    gram_ = Eigen::MatrixXd::Identity(n, n);
  } else {
    gram_ /= largest; // sums of squares may be anywhere in the range of double
    gram_ /= gram_.diagonal().mean();
    for (Eigen::Index i = 0; i < n; ++i)
      if (!(gram_(i, i) > 0)) gram_(i, i) = 1;
    gram_.diagonal().array() += damping_;
  }
  sort_columns();
  while (!factorise()) { // at the latest when the diagonal is all that counts
    const double more = std::max(10 * damping_, 1e-4);
    gram_.diagonal().array() += more - damping_;
    damping_ = more;
  }
}

inline void gptq_columns::sort_columns() {
  order_.resize(static_cast<std::size_t>(gram_.rows()));
  std::iota(order_.begin(), order_.end(), Eigen::Index{0});
  for (std::size_t begin = 0; begin < order_.size(); begin += 32) {
    const auto first = order_.begin() + static_cast<std::ptrdiff_t>(begin);
    const auto last =
        first + static_cast<std::ptrdiff_t>(std::min<std::size_t>(32, order_.size() - begin));
    std::stable_sort(first, last,
                     [&](Eigen::Index a, Eigen::Index b) { return gram_(a, a) > gram_(b, b); });
  }
}

/// With the order of columns turned round, gram = L L^T; turned back, gram = R R^T with R upper
/// triangular, so that U = R^-1: one factorisation, where inverse and factor would take three.
template <class> bool gptq_columns::factorise() {
  const Eigen::Index n = gram_.rows();
  Eigen::MatrixXd turned(n, n);
  const auto from = [&](Eigen::Index i) { return order_[static_cast<std::size_t>(n - 1 - i)]; };
  for (Eigen::Index c = 0; c < n; ++c)
    for (Eigen::Index r = 0; r < n; ++r) turned(r, c) = gram_(from(r), from(c));
  Eigen::LLT<Eigen::Ref<Eigen::MatrixXd>> cholesky(turned);
  if (cholesky.info() != Eigen::Success) return false;
  Eigen::MatrixXd inverse = Eigen::MatrixXd::Identity(n, n);
  cholesky.matrixL().solveInPlace(inverse);
  factor_ = inverse.reverse();
  return factor_.allFinite();
}

} // namespace edgequant::inline EDGEQUANT_ABI
