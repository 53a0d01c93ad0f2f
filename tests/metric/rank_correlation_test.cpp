// SPDX-License-Identifier: MIT
#include <edgequant/metric/rank_correlation.hpp>

#include <gtest/gtest.h>

namespace {
using edgequant::rank_correlation;
using series = std::vector<double>;

TEST(rank_correlation, follows_order_alone) {
  EXPECT_EQ(rank_correlation(series{1, 2, 3}, series{-5, 0, 1e9}), 1);
  EXPECT_EQ(rank_correlation(series{1, 2, 3}, series{3, 2, 1}), -1);
  // 1 - 6 * (1 + 1 + 0 + 0) / (4 * 15)
  EXPECT_DOUBLE_EQ(rank_correlation(series{1, 2, 3, 4}, series{2, 1, 3, 4}), 0.8);
  // Ranks 0, 1.5, 1.5, 3 beside 0, 1, 2, 3: 4.5 / sqrt(4.5 * 5)
  EXPECT_DOUBLE_EQ(rank_correlation(series{1, 2, 2, 3}, series{1, 2, 3, 4}), std::sqrt(0.9));
}

TEST(rank_correlation, of_nothing_is_no_number) {
  EXPECT_TRUE(std::isnan(rank_correlation(series{}, series{})));
  EXPECT_TRUE(std::isnan(rank_correlation(series{1}, series{1})));
  EXPECT_TRUE(std::isnan(rank_correlation(series{1, 1}, series{1, 2})));
}

} // namespace
