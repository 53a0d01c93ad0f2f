// SPDX-License-Identifier: MIT
#include "inputs.hpp"

#include <edgequant/quantizer/awq.hpp>

#include <gtest/gtest.h>

namespace eq = edgequant;
using Eigen::Index;
using eq::format;

namespace {

eq::matrix_f random_matrix(Index rows, Index columns, unsigned seed) {
  const auto values =
      inputs::make(inputs::gaussian, static_cast<std::size_t>(rows * columns), seed);
  return Eigen::Map<const eq::matrix_f>(values.data(), rows, columns);
}

/// Inputs with a few columns that are much larger, as activations have them.
Eigen::MatrixXd gram_with_outliers(Index columns) {
  Eigen::MatrixXd x = random_matrix(300, columns, 1).cast<double>();
  for (Index c = 3; c < columns; c += 29) x.col(c) *= 30;
  return x.transpose() * x;
}

double output_error(const eq::matrix_f& w, const std::vector<float>& factors,
                    const Eigen::MatrixXd& gram) {
  const Eigen::Map<const Eigen::VectorXf> f(factors.data(), w.cols());
  const eq::matrix_f scaled = w * f.asDiagonal();
  const auto bytes = eq::encode_matrix(format::q4_0, eq::scale_rule::mse, scaled, "w");
  const eq::matrix_f q =
      eq::decode_matrix(format::q4_0, bytes.data(), static_cast<std::size_t>(w.rows()),
                        static_cast<std::size_t>(w.cols()));
  const Eigen::MatrixXd off = (w - q * f.cwiseInverse().asDiagonal()).cast<double>();
  return (off * gram).cwiseProduct(off).sum();
}

TEST(awq, lowers_the_error_where_some_inputs_are_large) {
  const eq::matrix_f w = random_matrix(40, 96, 2);
  const auto gram = gram_with_outliers(96);
  const eq::rounded_weight weights[] = {{"w", &w, format::q4_0}};
  const auto factors = eq::awq_factors(weights, gram);
  EXPECT_LT(output_error(w, factors, gram),
            0.7 * output_error(w, std::vector<float>(96, 1.0f), gram));
  EXPECT_GT(factors[3], 2 * factors[4]); // the large ones are enlarged
  double logs = 0;
  for (const float f : factors) logs += std::log(f);
  EXPECT_NEAR(logs, 0, 1e-4); // over their geometric mean
  const eq::gptq_options gptq;
  EXPECT_EQ(eq::awq_factors(weights, gram, {}, &gptq).size(), 96u);
}

TEST(awq, heads_that_read_the_same_have_the_same_factors) {
  const eq::matrix_f w = random_matrix(40, 96, 2);
  const auto gram = gram_with_outliers(96);
  const eq::rounded_weight weights[] = {{"w", &w, format::q4_0}};
  const eq::shared_columns shared{8, 3}; // four values heads of 8, each for three heads
  const auto factors = eq::awq_factors(weights, gram, shared);
  for (std::size_t row = 0; row < 32; ++row) {
    const std::size_t first = shared.of_row(row);
    EXPECT_EQ(first, row / 8 * 24 + row % 8);
    EXPECT_EQ(factors[first], factors[first + 8]);
    EXPECT_EQ(factors[first], factors[first + 16]);
  }
  EXPECT_NE(factors[0], factors[3]);
}

TEST(awq, says_nothing_without_inputs) {
  const eq::matrix_f w = random_matrix(4, 32, 2);
  const eq::rounded_weight weights[] = {{"w", &w, format::q4_0}};
  const std::vector<float> ones(32, 1.0f);
  EXPECT_EQ(eq::awq_factors(weights, Eigen::MatrixXd::Zero(32, 32)), ones);
  EXPECT_EQ(eq::awq_factors(weights, Eigen::MatrixXd::Constant(32, 32, NAN)), ones);
  EXPECT_EQ(eq::awq_factors({}, Eigen::MatrixXd::Identity(32, 32)), ones);
  Eigen::MatrixXd dead = gram_with_outliers(32);
  dead.row(7).setZero(), dead.col(7).setZero();
  for (const float f : eq::awq_factors(weights, dead)) EXPECT_TRUE(std::isfinite(f) && f > 0);
}

} // namespace
