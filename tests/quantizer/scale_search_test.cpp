// SPDX-License-Identifier: MIT
// The mse rule against brute force over every half of both signs, group by group.
#include "inputs.hpp"

#include <edgequant/quantizer/scale.hpp>

#include <gtest/gtest.h>

namespace eq = edgequant;

namespace {

/// The definition: all finite halves, nearest codes, error summed in order; ties by eq::better.
template <int Bits>
float brute_force(std::span<const float> values, std::span<const float> importance) {
  eq::scored_scale best{0, eq::kernel::squared_error<Bits>(values, importance, 0)};
  for (std::uint32_t bits = 1; bits < 0x7c00; ++bits)
    for (const std::uint32_t sign : {0u, 0x8000u}) {
      const auto h = Eigen::numext::bit_cast<eq::half>(static_cast<std::uint16_t>(bits | sign));
      const eq::scored_scale candidate{
          static_cast<float>(h),
          eq::kernel::squared_error<Bits>(values, importance, static_cast<float>(h))};
      if (eq::better(candidate, best)) best = candidate;
    }
  return best.scale;
}

/// Groups of every character: continuous, on a lattice, sparse, with outliers, of one magnitude.
std::vector<float> group(std::mt19937& random, int character, std::size_t length) {
  std::normal_distribution<float> normal;
  std::uniform_real_distribution<float> uniform;
  const float unit = std::ldexp(1.0f, static_cast<int>(random() % 34) - 24);
  std::vector<float> values(length);
  for (float& x : values) {
    x = normal(random) * unit;
    if (character == 1) x = std::nearbyint(normal(random) * 4) * unit;
    if (character == 2 && uniform(random) < 0.8f) x = 0;
    if (character == 3 && uniform(random) < 0.05f) x *= 50;
    if (character == 4) x = uniform(random) < 0.5f ? -unit : unit;
    if (character == 5) x = std::nearbyint(x * 16) / 16;
  }
  return values;
}

template <int Bits> void expect_optimum(int groups) {
  std::mt19937 random(11 * Bits);
  eq::scale_search<Bits, eq::half> search;
  for (int g = 0; g < groups; ++g) {
    const std::size_t length = g % 3 == 0 ? 32 : g % 100 == 1 ? 300 : 1 + random() % 70;
    const auto values = group(random, g % 6, length);
    std::vector<float> importance;
    if (g % 2 == 1) {
      std::normal_distribution<float> normal;
      for (std::size_t i = 0; i < length; ++i)
        importance.push_back(i % 6 == 5 ? 0.0f : std::exp(2 * normal(random)));
    }
    ASSERT_EQ(search(values, importance), brute_force<Bits>(values, importance))
        << "group " << g << ", length " << length;
  }
}

} // namespace

/// Brute force takes a millisecond a group on fast vectors, and twenty under emulation.
#if defined(NDEBUG) && (defined(EDGEQUANT_HAS_AVX2) || defined(EDGEQUANT_HAS_AVX512))
constexpr int groups_to_try = 3000;
#elif defined(EDGEQUANT_HAS_NEON)
constexpr int groups_to_try = 30;
#else
constexpr int groups_to_try = 120;
#endif

TEST(scale_search, four_bit_scale_is_the_optimum) { expect_optimum<4>(groups_to_try); }
TEST(scale_search, five_bit_scale_is_the_optimum) { expect_optimum<5>(groups_to_try); }
TEST(scale_search, eight_bit_scale_is_the_optimum) { expect_optimum<8>(groups_to_try); }

TEST(scale_search, ties_go_to_the_smaller_magnitude_then_to_the_positive) {
  eq::scale_search<4, eq::half> search;
  // 1.0 is k * (1/k) exactly for k = 1, 2, 4 and -8 * -1/8: the smallest magnitude wins.
  EXPECT_EQ(search(std::vector{1.0f}, eq::no_importance{}), -0.125f);
  EXPECT_EQ(search(std::vector{-1.0f}, eq::no_importance{}), 0.125f);
  EXPECT_EQ(search(std::vector{7.0f, -7.0f}, eq::no_importance{}),
            1.0f); // both signs are exact: the positive
  eq::scale_search<5, eq::half> five;
  EXPECT_EQ(five(std::vector{1.0f}, eq::no_importance{}), -0.0625f);
  EXPECT_EQ(five(std::vector{-1.0f}, eq::no_importance{}), 0.0625f);
  EXPECT_EQ(five(std::vector{15.0f, -15.0f}, eq::no_importance{}), 1.0f);
}

TEST(scale_search, importance_of_zeros_counts_as_none) {
  eq::scale_search<4, eq::half> search;
  const auto values = inputs::make(inputs::gaussian, 32);
  EXPECT_EQ(search(values, std::vector<float>(32, 0.0f)), search(values, eq::no_importance{}));
}

TEST(scale_search, zeros_and_nothing_have_scale_zero) {
  eq::scale_search<8, eq::half> search;
  EXPECT_EQ(search({}, eq::no_importance{}), 0.0f);
  EXPECT_EQ(search(std::vector<float>(32, -0.0f), eq::no_importance{}), 0.0f);
  EXPECT_EQ(search(std::vector<float>(32, 1e-30f), eq::no_importance{}), 0.0f); // below every half
}

TEST(scale_search, float_scale_is_no_worse_than_its_neighbours_or_any_half) {
  eq::scale_search<4, float> search;
  for (unsigned seed = 0; seed < 20; ++seed) {
    const auto values = inputs::make(inputs::gaussian, 48, seed);
    const float scale = search(values, eq::no_importance{});
    const double error = eq::kernel::squared_error<4>(values, {}, scale);
    // Rounding the real optimum moves the error by at most (s 2^-24)^2 * sum q^2: invisible here.
    EXPECT_LE(error,
              eq::kernel::squared_error<4>(values, {}, brute_force<4>(values, {})) * (1 + 1e-12));
    for (const float factor : {0.9999f, 1.0001f, -1.0f})
      EXPECT_LE(error, eq::kernel::squared_error<4>(values, {}, scale * factor) * (1 + 1e-12));
  }
}

TEST(scale_search, long_groups_keep_their_bound) {
  for (const auto kind : {inputs::gaussian, inputs::outliers}) {
    const auto values = inputs::make(kind, 1500, 3);
    eq::scale_search<4, eq::half> search;
    const double found =
        eq::kernel::squared_error<4>(values, {}, search(values, eq::no_importance{}));
    const double best = eq::kernel::squared_error<4>(values, {}, brute_force<4>(values, {}));
    const double signal = eq::kernel::squared_error<4>(values, {}, 0);
    EXPECT_LE(found, best + signal / (512.0 * 512.0) * 1.01);
    EXPECT_GE(found, best);
  }
}
