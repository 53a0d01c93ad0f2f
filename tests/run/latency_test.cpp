// SPDX-License-Identifier: MIT
#include <edgequant/run/latency.hpp>

#include <gtest/gtest.h>

#include <limits>
#include <numeric>

namespace {
namespace eq = edgequant;
using series = std::vector<double>;

TEST(latency, nearest_rank_is_the_definition) {
  for (std::size_t size = 1; size <= 250; ++size) {
    series sorted(size);
    std::iota(sorted.begin(), sorted.end(), 1.0); // value = rank
    for (unsigned percent = 1; percent <= 100; ++percent) {
      const double rank = eq::nearest_rank(sorted, percent);
      EXPECT_GE(100 * rank, percent * static_cast<double>(size));
      EXPECT_LT(100 * (rank - 1), percent * static_cast<double>(size));
    }
  }
}

TEST(latency, summary_of_a_known_series) {
  series milliseconds(100);
  std::iota(milliseconds.rbegin(), milliseconds.rend(), 1.0); // 100, 99 .. 1: order is no matter
  const auto s = eq::summarize_latency(milliseconds);
  EXPECT_EQ(s.p50, 50);
  EXPECT_EQ(s.p90, 90);
  EXPECT_EQ(s.p99, 99);
  EXPECT_EQ(s.max, 100);
  EXPECT_EQ(s.mean, 50.5);
  EXPECT_DOUBLE_EQ(s.jitter, std::sqrt((100.0 * 100 - 1) / 12)); // of 1..n: (n^2 - 1) / 12
}

TEST(latency, one_outlier_shows_in_the_tail_alone) {
  series milliseconds(199, 2.0);
  milliseconds.push_back(52);
  const auto s = eq::summarize_latency(milliseconds);
  EXPECT_EQ(s.p50, 2);
  EXPECT_EQ(s.p99, 2); // rank 198 of 200
  EXPECT_EQ(s.max, 52);
  EXPECT_EQ(s.mean, 2.25);
  EXPECT_DOUBLE_EQ(s.jitter, std::sqrt(50.0 * 50 * 199) / 200); // d sqrt(p (1 - p)), p = 1/200
}

TEST(latency, small_series) {
  const auto none = eq::summarize_latency({});
  EXPECT_EQ(none.p50, 0);
  EXPECT_EQ(none.max, 0);
  EXPECT_EQ(none.jitter, 0);
  const auto one = eq::summarize_latency(series{3});
  EXPECT_EQ(one.p50, 3);
  EXPECT_EQ(one.p99, 3);
  EXPECT_EQ(one.mean, 3);
  EXPECT_EQ(one.jitter, 0);
  EXPECT_EQ(eq::summarize_latency(series{1, 3}).jitter, 1); // by n; by n - 1 it were sqrt(2)
}

TEST(latency, refuses_what_is_no_latency) {
  constexpr double nan = std::numeric_limits<double>::quiet_NaN();
  for (const double bad : {nan, -1.0, std::numeric_limits<double>::infinity()})
    EXPECT_THROW((void)eq::summarize_latency(series{1, bad}), eq::exception);
  EXPECT_THROW((void)eq::nearest_rank({}, 50), eq::exception);
  EXPECT_THROW((void)eq::nearest_rank(series{1}, 0), eq::exception);
  EXPECT_THROW((void)eq::nearest_rank(series{1}, 101), eq::exception);
}

} // namespace
