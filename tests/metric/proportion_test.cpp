// SPDX-License-Identifier: MIT
#include <edgequant/metric/proportion.hpp>

#include <gtest/gtest.h>

#include <random>

namespace eq = edgequant;

TEST(proportion, wilson_is_the_set_of_shares_that_the_answers_do_not_refute) {
  // Its ends solve (p - share)^2 = z^2 p (1 - p) / n.
  for (const auto& [right, count] : {std::pair{7u, 10u}, {0u, 20u}, {92u, 100u}, {300u, 300u}}) {
    const auto i = eq::wilson_interval(right, count);
    const double share = double(right) / count;
    for (const double p : {i.low, i.high}) {
      const double z2 = eq::normal_95 * eq::normal_95;
      EXPECT_NEAR((p - share) * (p - share), z2 * p * (1 - p) / count, 1e-12);
    }
    EXPECT_LE(i.low, share);
    EXPECT_GE(i.high, share);
  }
  EXPECT_EQ(eq::wilson_interval(0, 0).low, 0);
  EXPECT_EQ(eq::wilson_interval(0, 0).high, 1);
}

// Coverage, counted over drawn answers. Of 4,000 draws a share of 0.95 has a standard error of
// 0.0034; below 0.93 would be six of them, and Wilson's coverage itself moves by about 0.01.
TEST(proportion, intervals_cover_the_true_share) {
  std::mt19937 random(1);
  for (const double p : {0.5, 0.84, 0.92, 0.99}) {
    std::binomial_distribution<std::size_t> draw(300, p);
    int covered = 0;
    for (int i = 0; i < 4000; ++i) {
      const auto interval = eq::wilson_interval(draw(random), 300);
      covered += interval.low <= p && p <= interval.high;
    }
    EXPECT_GT(covered, 0.93 * 4000) << p;
    EXPECT_LT(covered, 0.98 * 4000) << p;
  }
}

TEST(proportion, intervals_cover_the_true_difference_of_a_pair) {
  std::mt19937 random(2);
  std::uniform_real_distribution<double> uniform;
  for (const auto& [first_alone, second_alone] :
       {std::pair{0.12, 0.04}, {0.05, 0.05}, {0.3, 0.1}}) {
    int covered = 0;
    for (int i = 0; i < 4000; ++i) {
      eq::paired_answers a{150};
      for (std::size_t k = 0; k < a.count; ++k) {
        const double u = uniform(random);
        a.first_alone += u < first_alone;
        a.second_alone += u >= first_alone && u < first_alone + second_alone;
      }
      const auto interval = eq::paired_interval(a);
      covered +=
          interval.low <= first_alone - second_alone && first_alone - second_alone <= interval.high;
    }
    EXPECT_GT(covered, 0.93 * 4000) << first_alone;
  }
}

TEST(proportion, mcnemar_is_the_binomial_test) {
  EXPECT_EQ(eq::mcnemar_test({10, 0, 0}), 1);
  EXPECT_NEAR(eq::mcnemar_test({10, 5, 0}), 2 * std::pow(0.5, 5), 1e-12);
  EXPECT_NEAR(eq::mcnemar_test({10, 1, 5}), 2 * (1 + 6) / 64.0, 1e-12);
  EXPECT_NEAR(eq::mcnemar_test({10, 3, 3}), 1, 1e-12); // 2 * (more than a half)
  EXPECT_NEAR(eq::mcnemar_test({10, 1, 5}), eq::mcnemar_test({10, 5, 1}), 1e-15);
}

// 92 % and 84 % of the same questions, where the better model has nearly all that the other one
// has: with 300 questions that is no chance, with 25 it may be.
TEST(proportion, eight_points_are_significant_with_enough_questions) {
  const eq::paired_answers many{300, 30, 6}, few{25, 3, 1};
  EXPECT_LT(eq::mcnemar_test(many), 0.001);
  EXPECT_GT(eq::paired_interval(many).low, 0.03);
  EXPECT_GT(eq::mcnemar_test(few), 0.3);
  EXPECT_LT(eq::paired_interval(few).low, 0);
}
