// SPDX-License-Identifier: MIT
#include <edgequant/model/sampler.hpp>

#include <gtest/gtest.h>

#include <numeric>
#include <optional>
#include <set>

namespace {
namespace eq = edgequant;
using tokens = std::vector<std::int32_t>;
constexpr float infinity = std::numeric_limits<float>::infinity();
constexpr float nan = std::numeric_limits<float>::quiet_NaN();

std::vector<float> random_logits(std::size_t count, unsigned seed) {
  std::mt19937 random(seed);
  std::vector<float> logits(count); // multiples of 1/4: ties are common
  for (auto& l : logits) l = static_cast<float>(random() % 40) / 4 - 5;
  return logits;
}

/// The definition: every token sorted, every sum over the sorted tokens.
struct brute_force {
  std::vector<std::pair<double, std::int32_t>> kept; // weight, token
  double mass = 0;

  brute_force(std::vector<float> logits, const tokens& history, const eq::sampling& o) {
    const std::size_t recent = std::min<std::size_t>(history.size(), o.repetition_window);
    const std::set<std::int32_t> seen(history.end() - static_cast<std::ptrdiff_t>(recent),
                                      history.end());
    std::vector<double> scores(logits.begin(), logits.end());
    for (const auto t : seen) {
      double& s = scores.at(static_cast<std::size_t>(t));
      s = s > 0 ? s / double(o.repetition_penalty) : s * double(o.repetition_penalty);
    }
    tokens order(logits.size());
    std::iota(order.begin(), order.end(), 0);
    const auto score = [&](std::int32_t t) { return scores[static_cast<std::size_t>(t)]; };
    std::stable_sort(order.begin(), order.end(),
                     [&](auto a, auto b) { return score(a) > score(b); });
    if (o.top_k != 0 && o.top_k < order.size()) order.resize(o.top_k);
    double total = 0;
    for (const auto t : order) {
      kept.push_back({std::exp((score(t) - score(order[0])) / double(o.temperature)), t});
      total += kept.back().first;
    }
    std::size_t count = 0;
    while (count < kept.size() && mass < double(o.top_p) * total) mass += kept[count++].first;
    if (o.top_p < 1) kept.resize(count);
  }
  std::set<std::int32_t> set() const {
    std::set<std::int32_t> result;
    for (const auto& [w, token] : kept) result.insert(token);
    return result;
  }
  std::int32_t pick(std::uint64_t random) const {
    const double target = std::ldexp(static_cast<double>(random >> 11), -53) * mass;
    double sum = 0;
    for (const auto& [w, token] : kept)
      if ((sum += w) > target) return token;
    return -1;
  }
};

std::optional<eq::error_code> refusal(const eq::sampling& options, std::vector<float> logits) {
  try {
    eq::sampler choose(options);
    (void)choose(logits, {});
  } catch (const eq::exception& error) {
    EXPECT_NE(error.what(), std::string());
    return error.code();
  }
  return {};
}

TEST(sampler, greedy_takes_the_lowest_index_among_equals) {
  eq::sampler choose(eq::sampling{});
  EXPECT_EQ(choose(std::vector<float>{1, 3, 2, 3}, {}), 1);
  EXPECT_EQ(choose(std::vector<float>{-infinity, -4, -infinity}, {}), 1);
  EXPECT_EQ(choose(std::vector<float>{-0.0f, 0.0f}, {}), 0);
  EXPECT_EQ(choose(std::vector<float>{7}, {}), 0);
}

TEST(sampler, penalty_divides_positive_and_multiplies_negative_logits_once) {
  eq::sampler choose({.repetition_penalty = 2});
  EXPECT_EQ(choose(std::vector<float>{4, 2.5f}, tokens{0}), 1);
  EXPECT_EQ(choose(std::vector<float>{4, 1.5f}, tokens{0, 0, 0}), 0);     // once: 2 > 1.5
  EXPECT_EQ(choose(std::vector<float>{-1, -1.5f}, tokens{0}), 1);         // -2 < -1.5
  EXPECT_EQ(choose(std::vector<float>{-1, -2.5f}, tokens{0, 0}), 0);      // once: -2 > -2.5
  EXPECT_EQ(choose(std::vector<float>{4, 2.5f}, tokens{-1, 2, 1000}), 0); // no such tokens
}

TEST(sampler, penalty_reaches_as_far_as_its_window) {
  eq::sampler choose({.repetition_penalty = 2, .repetition_window = 2});
  const std::vector<float> logits{4, 3, 1};
  EXPECT_EQ(choose(logits, tokens{0, 2, 2}), 0);
  EXPECT_EQ(choose(logits, tokens{2, 0, 2}), 1);
  EXPECT_EQ(choose(logits, tokens{0}), 1);
  eq::sampler none({.repetition_penalty = 2, .repetition_window = 0});
  EXPECT_EQ(none(logits, tokens{0}), 0);
}

TEST(sampler, draws_what_the_definition_draws) {
  unsigned seed = 0;
  for (const std::size_t size : {1u, 2u, 17u, 300u})
    for (const float temperature : {0.05f, 0.8f, 3.0f})
      for (const std::uint32_t top_k : {0u, 1u, 5u, 299u, 1000u})
        for (const float top_p : {0.001f, 0.5f, 0.95f, 1.0f})
          for (const float penalty : {1.0f, 1.3f, 0.7f}) {
            const eq::sampling options{temperature, top_k, top_p, penalty, 3, ++seed};
            eq::sampler choose(options);
            std::mt19937_64 random(seed);
            tokens history;
            for (unsigned step = 0; step < 10; ++step) {
              const auto logits = random_logits(size, seed * 10 + step);
              const brute_force expected(logits, history, options);
              history.push_back(choose(logits, history));
              ASSERT_EQ(history.back(), expected.pick(random())) << "seed " << seed;
            }
          }
}

TEST(sampler, draws_every_token_of_the_set_and_no_other) {
  const auto logits = random_logits(12, 5);
  for (const eq::sampling& options :
       {eq::sampling{.temperature = 2, .top_k = 4}, eq::sampling{.temperature = 2, .top_p = 0.7f},
        eq::sampling{.temperature = 3, .top_k = 7, .top_p = 0.8f},
        eq::sampling{.temperature = 9}}) {
    const brute_force expected(logits, {}, options);
    // Each kept token has at least 1 %: 5,000 draws miss one with 12 * 0.99^5000 < 1e-20.
    for (const auto& [weight, token] : expected.kept) ASSERT_GE(weight, 0.01 * expected.mass);
    eq::sampler choose(options);
    std::set<std::int32_t> drawn;
    for (int i = 0; i < 5000; ++i) drawn.insert(choose(logits, {}));
    EXPECT_EQ(drawn, expected.set());
  }
}

TEST(sampler, frequencies_are_probabilities) {
  const std::vector<float> logits{std::log(0.5f), std::log(0.25f), -infinity, std::log(0.25f)};
  const double expected[] = {0.5, 0.25, 0, 0.25};
  eq::sampler choose({.temperature = 1, .seed = 3});
  constexpr int draws = 20000;
  int counts[4] = {};
  for (int i = 0; i < draws; ++i) ++counts[choose(logits, {})];
  // Hoeffding: one share is off by 0.02 or more with 2 exp(-2 * 20000 * 0.02^2) = 2.3e-7.
  for (int t = 0; t < 4; ++t) EXPECT_NEAR(double(counts[t]) / draws, expected[t], 0.02) << t;
  EXPECT_EQ(counts[2], 0);
}

TEST(sampler, one_seed_one_sequence) {
  const auto sequence = [](std::uint64_t seed) {
    eq::sampler choose({0.9f, 40, 0.95f, 1.1f, 8, seed});
    tokens history;
    for (unsigned step = 0; step < 24; ++step)
      history.push_back(choose(random_logits(1000, step), history));
    return history;
  };
  // A change of these numbers changes what every stored seed says.
  EXPECT_EQ(sequence(42), (tokens{220, 751, 4,   259, 158, 116, 901, 439, 532, 614, 24,  773,
                                  711, 889, 993, 318, 410, 464, 147, 244, 804, 345, 178, 112}));
  EXPECT_NE(sequence(42), sequence(43));
}

TEST(sampler, extremes_stay_numbers) {
  constexpr float most = std::numeric_limits<float>::max();
  constexpr float least = std::numeric_limits<float>::denorm_min();
  for (const float temperature : {least, 1.0f, most})
    for (const float penalty : {least, 1.0f, most}) {
      eq::sampler choose({.temperature = temperature, .repetition_penalty = penalty});
      const auto token = choose(std::vector<float>{most, -most, -infinity, 0}, tokens{0, 1, 2, 3});
      EXPECT_NE(token, 2);
      EXPECT_TRUE(token >= 0 && token < 4);
    }
}

TEST(sampler, refuses_bad_options) {
  const std::vector<float> logits{1, 2};
  for (const eq::sampling& options :
       {eq::sampling{.temperature = -1}, eq::sampling{.temperature = nan},
        eq::sampling{.temperature = infinity}, eq::sampling{.top_p = 0}, eq::sampling{.top_p = nan},
        eq::sampling{.top_p = -0.1f}, eq::sampling{.top_p = 1.001f},
        eq::sampling{.repetition_penalty = 0}, eq::sampling{.repetition_penalty = -1},
        eq::sampling{.repetition_penalty = nan}, eq::sampling{.repetition_penalty = infinity}})
    EXPECT_EQ(refusal(options, logits), eq::error_code::bad_argument);
}

TEST(sampler, refuses_bad_logits) {
  for (const float temperature : {0.0f, 1.0f}) {
    const eq::sampling options{.temperature = temperature};
    EXPECT_EQ(refusal(options, {}), eq::error_code::bad_argument);
    EXPECT_EQ(refusal(options, {1, nan}), eq::error_code::bad_value);
    EXPECT_EQ(refusal(options, {infinity, 1}), eq::error_code::bad_value);
    EXPECT_EQ(refusal(options, {-infinity, -infinity}), eq::error_code::bad_value);
    EXPECT_EQ(refusal(options, {-infinity, 1}), std::nullopt);
  }
}

} // namespace
