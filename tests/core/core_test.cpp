// SPDX-License-Identifier: MIT
#include <edgequant/core/checked.hpp>
#include <edgequant/core/exception.hpp>
#include <edgequant/core/rounded.hpp>
#include <edgequant/system/parallel_for.hpp>

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <thread>
#include <vector>

namespace eq = edgequant;

TEST(checked, sums_products_and_alignment_never_wrap) {
  constexpr auto most = std::numeric_limits<std::uint64_t>::max();
  EXPECT_EQ(eq::checked_add(most - 1, 1), most);
  EXPECT_EQ(eq::checked_add(most, 1), std::nullopt);
  EXPECT_EQ(eq::checked_multiply(1ull << 32, 1ull << 31), 1ull << 63);
  EXPECT_EQ(eq::checked_multiply(1ull << 32, 1ull << 32), std::nullopt);
  EXPECT_EQ(eq::checked_multiply(0, most), 0u);
  EXPECT_EQ(eq::align_up(33, 32), 64u);
  EXPECT_EQ(eq::align_up(64, 32), 64u);
  EXPECT_EQ(eq::align_up(most - 3, 32), std::nullopt);
  EXPECT_EQ(eq::ceil_divide(33, 32), 2u);
}

TEST(exception, says_place_and_problem_in_one_line) {
  try {
    eq::fail(eq::error_code::bad_file, "model.gguf: tensor 'x'", "too long");
  } catch (const eq::exception& e) {
    EXPECT_STREQ(e.what(), "model.gguf: tensor 'x': too long");
    EXPECT_EQ(e.code(), eq::error_code::bad_file);
    EXPECT_EQ(e.place(), "model.gguf: tensor 'x'");
  }
}

TEST(parallel_for, calls_each_index_once) {
  for (const unsigned threads : {0u, 1u, 2u, 5u, 2000000000u}) {
    std::vector<std::atomic<int>> calls(1000);
    eq::parallel_for(calls.size(), threads, [&](std::size_t i) { ++calls[i]; });
    for (const auto& n : calls) ASSERT_EQ(n, 1);
  }
  eq::parallel_for(0, 0, [](std::size_t) { FAIL(); });
}

TEST(parallel_for, all_are_those_that_the_process_may_use) {
#if defined(_OPENMP)
  const int before = omp_get_max_threads();
  omp_set_num_threads(100000);
  EXPECT_EQ(eq::thread_count(0), std::min(eq::available_cpus(), eq::most_threads));
  EXPECT_EQ(eq::thread_count(100000), eq::most_threads);
  omp_set_num_threads(1);
  EXPECT_EQ(eq::thread_count(0), 1u);
  omp_set_num_threads(before);
#else
  EXPECT_EQ(eq::thread_count(0), 1u);
  EXPECT_EQ(eq::thread_count(4), 1u);
#endif
}

#if defined(_OPENMP)
/// Each of two calls waits for the other: one thread alone would never see both.
TEST(parallel_for, threads_work_at_the_same_time) {
  std::atomic<int> there = 0, met = 0;
  eq::parallel_for(2, 2, [&](std::size_t) {
    ++there;
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(10);
    while (there < 2 && std::chrono::steady_clock::now() < end) std::this_thread::yield();
    met += there == 2;
  });
  EXPECT_EQ(met, 2);
}
#endif

TEST(parallel_for, loops_within_and_beside_each_other) {
  std::atomic<int> calls = 0;
  const auto loops = [&] {
    for (int repeat = 0; repeat < 50; ++repeat)
      eq::parallel_for(7, 3, [&](std::size_t) {
        std::this_thread::yield();
        eq::parallel_for(5, 2, [&](std::size_t) { ++calls; });
      });
  };
  std::thread beside(loops);
  loops();
  beside.join();
  EXPECT_EQ(calls, 2 * 50 * 7 * 5);
}

TEST(parallel_for, rethrows_the_failure_with_the_smallest_index) {
  for (const unsigned threads : {1u, 2u, 4u})
    for (int repeat = 0; repeat < 20; ++repeat) try {
        eq::parallel_for(500, threads, [](std::size_t i) {
          if (i % 7 == 3) eq::fail(eq::error_code::bad_value, "", std::to_string(i));
        });
        FAIL();
      } catch (const eq::exception& e) {
        EXPECT_STREQ(e.what(), "3");
      }
}

TEST(rounded, keeps_a_product_from_being_fused) {
  // (1 + 2^-30)^2 = 1 + 2^-29 + 2^-60: the last term is lost by a rounded product only.
  volatile double x = 1 + 0x1p-30;
  const double a = x;
  EXPECT_EQ(eq::rounded(a * a) - (1 + 0x1p-29), 0.0);
}
