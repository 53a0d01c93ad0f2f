// SPDX-License-Identifier: MIT
/// What GPTQ takes from the inputs of a matrix: the order of its columns and the triangular factor
/// of their Gram matrix.
#pragma once

#include "../core/exception.hpp"
#include "../core/matrix.hpp"
#include "../system/parallel_for.hpp"

#include <Eigen/Cholesky>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

namespace edgequant::inline EDGEQUANT_ABI {

/// Adds inputs, a column each, to the lower triangle of their Gram matrix, which may be empty yet.
template <class = void> void add_to_gram(Eigen::MatrixXd& gram, const Eigen::MatrixXd& inputs) {
  const serial_products one;
  if (gram.size() == 0) gram = Eigen::MatrixXd::Zero(inputs.rows(), inputs.rows());
  gram.selfadjointView<Eigen::Lower>().rankUpdate(inputs);
}

namespace quantizer::detail {

/// The upper triangle of `turned`, rows and columns in reverse order, as a symmetric matrix.
template <class = void> void turn_back(const Eigen::MatrixXd& turned, matrix_f& to) {
  const Eigen::Index n = turned.rows();
  to.resize(n, n);
  for (Eigen::Index r = 0; r < n; ++r)
    to.row(r).tail(n - r) =
        turned.col(n - 1 - r).head(n - r).reverse().transpose().template cast<float>();
  constexpr Eigen::Index part = 64; // what the cache holds of rows and of columns
  for (Eigen::Index r = 0; r < n; r += part)
    for (Eigen::Index c = 0; c <= r; c += part)
      for (Eigen::Index i = r; i < std::min(n, r + part); ++i)
        for (Eigen::Index k = c; k < std::min(i, c + part); ++k) to(i, k) = to(k, i);
}

} // namespace quantizer::detail

/// Columns of a tensor are sorted by importance within groups of so many.
inline constexpr std::size_t gptq_sorted_columns = 32;

/// What the Gram matrix of the inputs says of the columns; matrices with the same inputs share it.
/// Rows and columns of what it holds are in the order in which GPTQ rounds them.
class gptq_columns {
public:
  /// `gram`: the lower triangle of X^T X, columns x columns, from any number of inputs, 0 included.
  /// A column that is never used counts like the average one. Damping is raised tenfold until the
  /// factorisation succeeds. A matrix that is not finite, all zeros, or no Gram matrix of anything
  /// says nothing: every column then counts the same. bad_argument for damping that is negative or
  /// not finite.
  template <class = void> // compiled where it is called
  explicit gptq_columns(const Eigen::MatrixXd& gram, double damping = 0.01);

  [[nodiscard]] Eigen::Index size() const noexcept { return gram_.rows(); }
  /// Share of the mean diagonal that was added in the end; 0 where the Gram matrix said nothing.
  [[nodiscard]] double damping() const noexcept { return damping_; }
  /// order()[i] is the column that is rounded as number i: by falling diagonal inside each group of
  /// 32, groups in the order of the file.
  [[nodiscard]] const std::vector<Eigen::Index>& order() const noexcept { return order_; }
  /// X^T X over its mean diagonal, damped, both triangles.
  [[nodiscard]] const matrix_f& gram() const noexcept { return gram_; }
  /// R with R R^T = gram(), upper triangular, and its mirror image below: entry (i, k) is R(i, k)
  /// or R(k, i), so that rows of R and of R^T are both contiguous. The square of a diagonal entry
  /// is the error that a change of that column leaves behind when all later columns adapt to it.
  [[nodiscard]] const matrix_f& factor() const noexcept { return factor_; }

private:
  void sort_columns(const Eigen::VectorXd& diagonal);

  double damping_;
  matrix_f gram_, factor_;
  std::vector<Eigen::Index> order_;
};

template <class>
gptq_columns::gptq_columns(const Eigen::MatrixXd& gram, double damping) : damping_(damping) {
  if (!(damping >= 0) || !std::isfinite(damping))
    fail(error_code::bad_argument, "damping", "expected a number from 0 on");
  const Eigen::Index n = gram.rows();
  Eigen::VectorXd diagonal = gram.diagonal();
  double largest = n == 0 ? 0 : diagonal.maxCoeff(), mean = 1;
  bool says_something = largest > 0 && std::isfinite(largest);
  for (Eigen::Index c = 0; c < n; ++c)
    says_something = says_something && gram.col(c).tail(n - c).allFinite();
  if (says_something) {
    diagonal /= largest; // sums of squares may be anywhere in the range of double
    mean = diagonal.mean();
    diagonal /= mean;
    for (double& x : diagonal)
      if (!(x > 0)) x = 1;
  } else {
    damping_ = 0;
    diagonal.setOnes();
  }
  sort_columns(diagonal);
  // With the order of columns turned round, gram = U^T U; turned back, gram = R R^T.
  const auto from = [&](Eigen::Index i) { return order_[static_cast<std::size_t>(n - 1 - i)]; };
  Eigen::MatrixXd turned(n, n); // the upper triangle
  const auto fill = [&] {
    for (Eigen::Index c = 0; c < n; ++c) {
      turned(c, c) = diagonal[from(c)] + damping_;
      for (Eigen::Index r = 0; r < c; ++r) {
        const auto [low, high] = std::minmax({from(r), from(c)});
        turned(r, c) = says_something ? gram(high, low) / largest / mean : 0;
      }
    }
  };
  while (true) {
    fill();
    quantizer::detail::turn_back(turned, gram_);
    using cholesky = Eigen::LLT<Eigen::Ref<Eigen::MatrixXd>, Eigen::Upper>;
    const bool positive = cholesky(turned).info() == Eigen::Success;
    if (positive) quantizer::detail::turn_back(turned, factor_);
    if (positive && factor_.allFinite() && (n == 0 || factor_.diagonal().minCoeff() > 0)) return;
    damping_ = std::max(10 * damping_, 1e-4);
    // No off-diagonal entry of a Gram matrix is above the largest diagonal one, at most n here:
    // with n^2 on the diagonal every one is positive.
    if (!(damping_ > 10 * (1 + static_cast<double>(n) * static_cast<double>(n)))) continue;
    says_something = false, damping_ = 0;
    diagonal.setOnes();
    sort_columns(diagonal);
  }
}

inline void gptq_columns::sort_columns(const Eigen::VectorXd& diagonal) {
  order_.resize(static_cast<std::size_t>(diagonal.size()));
  std::iota(order_.begin(), order_.end(), Eigen::Index{0});
  for (std::size_t begin = 0; begin < order_.size(); begin += gptq_sorted_columns) {
    const auto first = order_.begin() + static_cast<std::ptrdiff_t>(begin);
    const auto last =
        first + static_cast<std::ptrdiff_t>(std::min(gptq_sorted_columns, order_.size() - begin));
    std::stable_sort(first, last,
                     [&](Eigen::Index a, Eigen::Index b) { return diagonal[a] > diagonal[b]; });
  }
}

} // namespace edgequant::inline EDGEQUANT_ABI
