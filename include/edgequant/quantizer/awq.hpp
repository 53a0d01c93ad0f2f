// SPDX-License-Identifier: MIT
/// Activation-aware scaling: columns that see large inputs are enlarged before they are rounded,
/// and whatever feeds them is made smaller by as much. Source: Lin et al. 2023 (AWQ).
#pragma once

#include "gptq.hpp"
#include "matrix_codec.hpp"
#include "output_error.hpp"

#include <limits>
#include <optional>
#include <span>

namespace edgequant::inline EDGEQUANT_ABI {

/// A matrix that is to be rounded.
struct rounded_weight {
  std::string name;
  const matrix_f* values = nullptr;
  format type = format::q4_0;
};

/// Columns that have to have one factor, because heads that read the same values feed them: i and
/// i + length, i + 2 * length ... within each block of length * copies columns.
struct shared_columns {
  std::size_t length = 0; ///< 0: each column has its own
  std::size_t copies = 1;

  /// The first of the columns that share with the one that row `row` of the feeding matrix feeds.
  [[nodiscard]] std::size_t of_row(std::size_t row) const noexcept {
    return length == 0 ? row : row / length * length * copies + row % length;
  }
};

/// Factors of the columns of matrices that share their inputs: (root mean square of the column's
/// inputs)^a, over their geometric mean, with that a for which rounding gives the least sum of
/// relative squared output errors, measured on up to 512 rows a matrix. Rounding is the mse rule
/// with a = 0, 1/20, ..., 1, or where `gptq` is given GPTQ with a = 0, 1/5, ..., 1. `gram`: X^T X,
/// lower triangle. Factors of 1 where that is best, or where the inputs say nothing.
template <class = void>
[[nodiscard]] std::vector<float>
awq_factors(std::span<const rounded_weight> weights, const Eigen::MatrixXd& gram,
            const shared_columns& shared = {}, const gptq_options* gptq = nullptr,
            unsigned threads = 0);

namespace quantizer::detail {

/// Sums of the squares of each column's inputs, and their mean where columns share.
template <class = void>
[[nodiscard]] Eigen::VectorXd input_powers(const Eigen::MatrixXd& gram,
                                           const shared_columns& shared) {
  Eigen::VectorXd powers = gram.diagonal();
  const auto length = static_cast<Eigen::Index>(shared.length);
  const Eigen::Index block = length * static_cast<Eigen::Index>(shared.copies);
  for (Eigen::Index begin = 0; block > length && begin + block <= powers.size(); begin += block)
    for (Eigen::Index i = begin; i < begin + length; ++i) {
      auto alike = powers(Eigen::seqN(i, shared.copies, length));
      alike.setConstant(alike.mean());
    }
  return powers;
}

/// Some rows of a matrix, evenly spaced.
template <class = void>
[[nodiscard]] matrix_f sample_rows(const matrix_f& values, Eigen::Index most) {
  const Eigen::Index step = (values.rows() + most - 1) / most;
  matrix_f rows((values.rows() + step - 1) / step, values.cols());
  for (Eigen::Index r = 0; r < rows.rows(); ++r) rows.row(r) = values.row(r * step);
  return rows;
}

/// The lower triangle of the Gram matrix of inputs that are divided by factors.
template <class = void>
[[nodiscard]] Eigen::MatrixXd divided_gram(const Eigen::MatrixXd& gram,
                                           const Eigen::VectorXf& factors) {
  const Eigen::VectorXd shrink = factors.cast<double>().cwiseInverse();
  return shrink.asDiagonal() * gram * shrink.asDiagonal();
}

} // namespace quantizer::detail

template <class>
std::vector<float> awq_factors(std::span<const rounded_weight> weights, const Eigen::MatrixXd& gram,
                               const shared_columns& shared, const gptq_options* gptq,
                               unsigned threads) {
  std::vector<float> best(static_cast<std::size_t>(gram.rows()), 1.0f);
  const Eigen::VectorXd powers = quantizer::detail::input_powers(gram, shared);
  if (!gram.allFinite() || !(powers.maxCoeff() > 0)) return best;
  // Columns that are hardly used, or not at all, count as a little used one.
  const Eigen::ArrayXd logs = 0.5 * powers.array().max(powers.maxCoeff() * 1e-8).log();
  std::vector<matrix_f> samples;
  std::vector<double> totals;
  for (const auto& w : weights) {
    samples.push_back(quantizer::detail::sample_rows(*w.values, 512));
    totals.push_back(output_power(samples.back().cast<double>(), gram));
  }
  double least = std::numeric_limits<double>::infinity();
  const int steps = gptq != nullptr ? 5 : 20;
  for (int step = 0; step <= steps; ++step) {
    const Eigen::VectorXf factors =
        ((logs - logs.mean()) * (step / static_cast<double>(steps))).exp().cast<float>().matrix();
    const Eigen::VectorXf inverse = factors.cwiseInverse();
    std::optional<gptq_columns> columns;
    if (gptq != nullptr)
      columns.emplace(quantizer::detail::divided_gram(gram, factors), gptq->damping);
    double error = 0;
    for (std::size_t i = 0; i < weights.size(); ++i) {
      if (!(totals[i] > 0)) continue;
      const matrix_f scaled = samples[i] * factors.asDiagonal();
      const auto bytes =
          columns && is_block_format(weights[i].type)
              ? gptq_matrix(weights[i].type, scaled, *columns, *gptq, weights[i].name)
              : encode_matrix(weights[i].type, scale_rule::mse, scaled, weights[i].name, threads);
      const matrix_f q =
          decode_matrix(weights[i].type, bytes.data(), static_cast<std::size_t>(scaled.rows()),
                        static_cast<std::size_t>(scaled.cols()), threads);
      const matrix_f off = samples[i] - q * inverse.asDiagonal();
      error += output_power(off.cast<double>(), gram) / totals[i];
    }
    if (!(error < least)) continue; // of equal ones the first, which is the most even
    least = error;
    std::copy(factors.begin(), factors.end(), best.begin());
  }
  return best;
}

} // namespace edgequant::inline EDGEQUANT_ABI
