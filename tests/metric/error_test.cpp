// SPDX-License-Identifier: MIT
#include "inputs.hpp"

#include <edgequant/metric/error.hpp>
#include <edgequant/quantizer/plain.hpp>

#include <gtest/gtest.h>

namespace eq = edgequant;

TEST(measure_error, figures_follow_their_formulas) {
  const std::vector<float> w{3.0f, -4.0f};
  const std::vector<std::int8_t> codes{2, -4};
  const auto e = eq::measure_error(w, codes, 1.0f);
  EXPECT_EQ(e.mse, 0.5);
  EXPECT_EQ(e.max_error, 1.0);
  EXPECT_EQ(e.mean_abs_error, 0.5);
  EXPECT_DOUBLE_EQ(e.sqnr_db, 10 * std::log10(25.0));
  EXPECT_DOUBLE_EQ(e.cosine, 22.0 / std::sqrt(25.0 * 20.0));
}

TEST(measure_error, perfect_empty_and_lost_copies) {
  constexpr double infinity = std::numeric_limits<double>::infinity();
  const std::vector<float> w{1.0f, -2.0f}, zeros(2, 0.0f);
  EXPECT_EQ(eq::measure_error(w, w).sqnr_db, infinity);
  EXPECT_EQ(eq::measure_error(w, w).cosine, 1.0);
  EXPECT_EQ(eq::measure_error(std::vector<float>{}, std::vector<float>{}).sqnr_db, infinity);
  EXPECT_EQ(eq::measure_error(zeros, zeros).sqnr_db, infinity);
  EXPECT_EQ(eq::measure_error(zeros, w).sqnr_db, -infinity);
  EXPECT_EQ(eq::measure_error(w, zeros).sqnr_db, 0.0);
  EXPECT_EQ(eq::measure_error(w, zeros).cosine, 0.0);
  EXPECT_THROW((void)eq::measure_error(w, std::vector<float>(3)), eq::exception);
}

TEST(measure_error, agrees_with_a_plain_loop) {
  const auto w = inputs::make(inputs::outliers, 1001);
  const auto q = eq::quantize_int8(w);
  long double noise = 0, signal = 0, absolute = 0;
  for (std::size_t i = 0; i < w.size(); ++i) {
    const long double d = static_cast<long double>(w[i]) -
                          static_cast<long double>(q.codes[i]) * static_cast<long double>(q.scale);
    noise += d * d, absolute += d < 0 ? -d : d;
    signal += static_cast<long double>(w[i]) * static_cast<long double>(w[i]);
  }
  // d is rounded to float once: 2^-24 relative, twice that in its square.
  const auto e = eq::measure_error(w, q.codes, q.scale);
  EXPECT_NEAR(e.mse, static_cast<double>(noise / 1001), e.mse * 0x1p-22);
  EXPECT_NEAR(e.mean_abs_error, static_cast<double>(absolute / 1001), e.mean_abs_error * 0x1p-23);
  EXPECT_NEAR(e.sqnr_db, static_cast<double>(10 * std::log10(signal / noise)), 1e-5);
}

TEST(error_accumulator, rows_merge_into_one) {
  const auto values = inputs::make(inputs::gaussian, 30 * 64);
  const eq::matrix_f w = Eigen::Map<const eq::matrix_f>(values.data(), 30, 64);
  const auto q = eq::quantize<eq::q4_0>(w);
  const auto rows = eq::measure_rows(w, q, 3);
  ASSERT_EQ(rows.size(), 30u);
  eq::error_accumulator all;
  for (const auto& row : rows) all.merge(row);
  const auto total = eq::measure_error(w, q, 1);
  EXPECT_EQ(all.figures().mse, total.mse);
  EXPECT_EQ(all.figures().max_error, total.max_error);
  EXPECT_EQ(all.sums().count, 30u * 64u);
  // The matrix and its codes say the same as its values.
  const eq::matrix_f back = q.dequantize();
  const auto flat = eq::measure_error(values, std::span<const float>(back.data(), values.size()));
  EXPECT_NEAR(flat.sqnr_db, total.sqnr_db, 1e-9);
}
