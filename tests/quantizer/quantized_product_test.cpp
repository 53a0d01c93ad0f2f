// SPDX-License-Identifier: MIT
#include "inputs.hpp"

#include <edgequant/quantizer/quantized_product.hpp>

#include <gtest/gtest.h>

namespace eq = edgequant;

namespace {

eq::matrix_f random_matrix(Eigen::Index rows, Eigen::Index columns) {
  const auto values = inputs::make(inputs::gaussian, static_cast<std::size_t>(rows * columns), 3);
  return Eigen::Map<const eq::matrix_f>(values.data(), rows, columns);
}

/// Activations are off by half a step of largest / 127 of their group, or of the vector; the rest
/// is float arithmetic.
template <class F> void expect_near(Eigen::Index rows, Eigen::Index columns) {
  const auto w = eq::quantize<F>(random_matrix(rows, columns));
  const eq::vector_f x = random_matrix(columns, 1);
  const eq::matrix_f values = w.dequantize();
  const eq::vector_f y = w * x;
  ASSERT_EQ(y.size(), rows);
  for (Eigen::Index r = 0; r < rows; ++r) {
    double sum = 0, magnitudes = 0, weights = 0;
    for (Eigen::Index c = 0; c < columns; ++c) {
      sum += double{values(r, c)} * x(c);
      magnitudes += std::fabs(double{values(r, c)} * x(c));
      weights += std::fabs(values(r, c));
    }
    const double step = double{x.cwiseAbs().maxCoeff()} / 254;
    EXPECT_NEAR(y(r), sum, weights * step + 0x1p-20 * (magnitudes + weights * step));
  }
}

TEST(quantized_product, is_near_that_of_the_values) {
  expect_near<eq::q4_0>(37, 96);
  expect_near<eq::q5_0>(16, 32);
  expect_near<eq::q8_0>(1, 320);
  expect_near<eq::symmetric<8, eq::per_channel>>(37, 77);
  expect_near<eq::symmetric<8, eq::per_channel>>(64, 1);
}

TEST(quantized_product, wrong_sizes_are_one_line) {
  const auto message = [](auto run) {
    try {
      run();
    } catch (const eq::exception& e) {
      EXPECT_EQ(e.code(), eq::error_code::bad_argument);
      return std::string(e.what());
    }
    return std::string();
  };
  const auto w = eq::quantize<eq::q8_0>(random_matrix(2, 64));
  EXPECT_EQ(message([&] { (void)(w * eq::vector_f(63)); }), "product: 63 values for 64 columns");
  const auto odd = eq::quantize<eq::q8_0>(random_matrix(2, 40));
  EXPECT_EQ(message([&] { (void)(odd * eq::vector_f(40)); }),
            "product: 40 columns are no multiple of 32");
}

TEST(quantized_product, sums_of_int8_fit_or_are_refused) {
  const auto ones = [](std::size_t columns) {
    const auto n = static_cast<Eigen::Index>(columns);
    const auto w = eq::quantize<eq::symmetric<8, eq::per_channel>>(eq::matrix_f::Ones(1, n));
    return (w * eq::vector_f::Ones(n))(0);
  };
  constexpr std::size_t most = eq::gemm::most_channel_columns;
  EXPECT_NEAR(ones(most), most, most * 0x1p-21); // two scales, their product, two roundings
  EXPECT_THROW((void)ones(most + 1), eq::exception);
}

} // namespace
