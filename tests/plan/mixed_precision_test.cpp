// SPDX-License-Identifier: MIT
#include "io/support.hpp"

#include <edgequant/plan/mixed_precision.hpp>

#include <chrono>
#include <cmath>
#include <random>

namespace {
using namespace io_test;
using eq::format;
using groups = std::vector<eq::choice_group>;
using chosen = std::vector<std::size_t>;
using random_bits = std::mt19937_64;

#ifdef NDEBUG
constexpr int rounds = 4000;
#else
constexpr int rounds = 1000;
#endif

std::uint64_t below(random_bits& random, std::uint64_t end) { return random() % end; }

eq::choice_group group(std::string name, std::vector<std::pair<std::uint64_t, double>> choices) {
  eq::choice_group g{std::move(name), {}};
  for (const auto& c : choices) g.choices.push_back({format::q8_0, c.first, c.second});
  return g;
}

/// Few different numbers, so that ties, equal costs, dominated choices and zeros are common.
groups small_problem(random_bits& random) {
  groups all;
  const auto costs = 2 + below(random, 12), losses = 1 + below(random, 12);
  for (auto n = 2 + below(random, 5); n > 0; --n) {
    all.push_back({"g" + std::to_string(n), {}});
    for (auto k = 1 + below(random, 5); k > 0; --k)
      all.back().choices.push_back(
          {format::f16, below(random, costs), static_cast<double>(below(random, losses))});
  }
  return all;
}

/// Costs of any size, losses of any magnitude.
groups wild_problem(random_bits& random, int least_exponent, int most_exponent) {
  std::uniform_real_distribution<double> mantissa(1, 2);
  std::uniform_int_distribution<int> exponent(least_exponent, most_exponent);
  groups all = small_problem(random);
  const auto bits = 1 + below(random, 50);
  for (auto& g : all)
    for (auto& c : g.choices) {
      c.cost = below(random, std::uint64_t{1} << bits);
      if (c.loss > 0) c.loss = std::ldexp(mantissa(random), exponent(random));
    }
  return all;
}

/// Sizes and formats of a real model; loss falls by four for each bit, with noise.
groups model_problem(unsigned seed, std::size_t count) {
  constexpr double bits[] = {2.06, 2.63, 3.06, 3.44, 4.25, 4.5, 5, 5.5, 6.56, 8.5, 16, 32};
  random_bits random(seed);
  std::uniform_real_distribution<double> noise(0.5, 1.5);
  groups all;
  for (std::size_t i = 0; i < count; ++i) {
    const double size = 262144.0 * static_cast<double>(1 + below(random, 64));
    const double sensitivity = std::exp(3 * noise(random)) * size * 1e-6;
    all.push_back({"g" + std::to_string(i), {}});
    for (const double b : bits)
      all.back().choices.push_back({format::f32, static_cast<std::uint64_t>(size * b / 8),
                                    sensitivity * std::pow(4, -b) * noise(random)});
  }
  return all;
}

struct cost_range {
  std::uint64_t least = 0, most = 0;
  explicit cost_range(const groups& all) {
    for (const auto& g : all) {
      std::uint64_t low = g.choices[0].cost, high = low;
      for (const auto& c : g.choices) low = std::min(low, c.cost), high = std::max(high, c.cost);
      least += low, most += high;
    }
  }
};

eq::assignment priced(const groups& all, const chosen& at) {
  eq::assignment plan{at};
  for (std::size_t g = 0; g < all.size(); ++g) {
    plan.cost += all[g].choices[at[g]].cost;
    plan.loss += all[g].choices[at[g]].loss;
  }
  return plan;
}

/// Every plan, in lexicographical order.
std::vector<eq::assignment> every_plan(const groups& all) {
  std::vector<eq::assignment> plans;
  chosen at(all.size(), 0);
  for (;;) {
    plans.push_back(priced(all, at));
    std::size_t g = all.size();
    while (g > 0 && at[g - 1] + 1 == all[g - 1].choices.size()) at[--g] = 0;
    if (g == 0) return plans;
    ++at[g - 1];
  }
}

/// The plan that the tie rule names, from plans in lexicographical order.
const eq::assignment* best_of(const std::vector<eq::assignment>& plans, std::uint64_t budget) {
  const eq::assignment* best = nullptr;
  for (const auto& p : plans)
    if (p.cost <= budget &&
        (best == nullptr || p.loss < best->loss || (p.loss == best->loss && p.cost < best->cost)))
      best = &p;
  return best;
}

/// Baseline: again and again the change that saves most loss for a byte and fits.
eq::assignment greedy(const groups& all, std::uint64_t budget) {
  chosen at;
  for (const auto& g : all) {
    const auto least = [](const auto& a, const auto& b) { return a.cost < b.cost; };
    const auto first = std::min_element(g.choices.begin(), g.choices.end(), least);
    at.push_back(static_cast<std::size_t>(first - g.choices.begin()));
  }
  for (;;) {
    const auto left = budget - priced(all, at).cost;
    double best = 0;
    std::size_t group = 0, to = 0;
    for (std::size_t g = 0; g < all.size(); ++g)
      for (std::size_t k = 0; k < all[g].choices.size(); ++k) {
        const auto &now = all[g].choices[at[g]], &then = all[g].choices[k];
        if (then.cost < now.cost || then.cost - now.cost > left) continue;
        const double bytes = static_cast<double>(then.cost - now.cost) + 1e-9;
        const double rate = (now.loss - then.loss) / bytes;
        if (rate > best) best = rate, group = g, to = k;
      }
    if (best == 0) return priced(all, at);
    at[group] = to;
  }
}

/// Baseline: the most broken groups first, each to the best choice that fits.
eq::assignment most_sensitive_first(const groups& all, std::uint64_t budget) {
  chosen at(all.size(), 0), order(all.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    return all[a].choices[0].loss > all[b].choices[0].loss;
  });
  auto cost = priced(all, at).cost;
  for (const auto g : order)
    for (std::size_t k = 0; k < all[g].choices.size(); ++k) {
      const auto &now = all[g].choices[at[g]], &then = all[g].choices[k];
      const auto then_cost = cost - now.cost + then.cost;
      if (then.loss < now.loss && then_cost <= budget) at[g] = k, cost = then_cost;
    }
  return priced(all, at);
}

TEST(assign_formats, is_brute_force_with_its_tie_rule) {
  random_bits random(1);
  for (int round = 0; round < rounds; ++round) {
    const groups all = small_problem(random);
    const auto plans = every_plan(all);
    const cost_range range(all);
    for (int i = 0; i < 3; ++i) {
      const auto budget = range.least + below(random, range.most - range.least + 2);
      const auto* best = best_of(plans, budget);
      const auto plan = eq::assign_formats(all, budget);
      ASSERT_EQ(plan.chosen, best->chosen) << round;
      ASSERT_EQ(plan.cost, best->cost);
      ASSERT_EQ(plan.loss, best->loss);
      ASSERT_TRUE(plan.proven);
      ASSERT_EQ(plan.gap(), 0);
      ASSERT_EQ(plan.lower_bound, plan.loss);
    }
  }
}

TEST(assign_formats, takes_losses_of_any_magnitude) {
  random_bits random(2);
  for (int round = 0; round < rounds; ++round) {
    const int centre = static_cast<int>(below(random, 2000)) - 1030; // subnormals at one end
    const int spread = static_cast<int>(below(random, 40));
    const groups all = wild_problem(random, centre - spread, centre + spread);
    const cost_range range(all);
    const auto budget = range.least + below(random, range.most - range.least + 1);
    const auto plan = eq::assign_formats(all, budget);
    ASSERT_TRUE(plan.proven);
    ASSERT_LE(plan.cost, budget);
    ASSERT_EQ(plan.loss, priced(all, plan.chosen).loss);
    const auto plans = every_plan(all);
    // 2^-59 of the greedy plan, which is no worse than all the worst choices together, for each of
    // at most 6 groups; sums of 6 doubles are off by 2.5 units in the last place each.
    double worst = 0;
    for (const auto& p : plans) worst = std::max(worst, p.loss);
    const double best = best_of(plans, budget)->loss;
    ASSERT_LE(plan.loss - best, 6 * 0x1p-59 * worst + 5 * 0x1p-52 * best) << round;
  }
}

TEST(assign_formats, is_honest_where_states_run_out) {
  random_bits random(3);
  int unproven = 0;
  for (int round = 0; round < rounds; ++round) {
    const groups all = small_problem(random);
    const cost_range range(all);
    const auto budget = range.least + below(random, range.most - range.least + 1);
    const auto best = best_of(every_plan(all), budget)->loss;
    const auto plan = eq::assign_formats(all, budget, {.max_states = below(random, 20)});
    ASSERT_LE(plan.cost, budget);
    ASSERT_GE(plan.loss, best);
    ASSERT_LE(plan.lower_bound, best) << round;
    ASSERT_GE(plan.lower_bound, 0);
    ASSERT_TRUE(!plan.proven || plan.loss == best);
    ASSERT_EQ(plan.proven, plan.gap() == 0);
    unproven += !plan.proven;
  }
  EXPECT_GT(unproven, rounds / 100);
}

TEST(assign_formats, depends_on_costs_and_losses_only) {
  random_bits random(4);
  for (int round = 0; round < rounds / 4; ++round) {
    groups all = wild_problem(random, -20, 0);
    const cost_range range(all);
    const auto budget = range.least + below(random, range.most - range.least + 1);
    const auto plan = eq::assign_formats(all, budget);
    std::shuffle(all.begin(), all.end(), random);
    for (auto& g : all) {
      g.name.clear();
      std::shuffle(g.choices.begin(), g.choices.end(), random);
      for (auto& c : g.choices) c.type = format::q4_0;
      g.choices.push_back({format::f32, g.choices[0].cost + 1, g.choices[0].loss}); // dominated
    }
    const auto other =
        eq::assign_formats(all, budget, {std::chrono::milliseconds::max(), 1'000'000});
    ASSERT_EQ(other.cost, plan.cost);
    ASSERT_NEAR(other.loss, plan.loss, 1e-15 * plan.loss); // added in another order
  }
}

TEST(assign_formats, solves_a_large_model_exactly) {
  for (unsigned seed = 0; seed < 5; ++seed) {
    const groups all = model_problem(seed, 500);
    const cost_range range(all);
    const auto budget = range.least + (range.most - range.least) / 100 * (3 + 9 * seed);
    const auto plan = eq::assign_formats(all, budget);
    EXPECT_TRUE(plan.proven);
    EXPECT_EQ(plan.gap(), 0);
    EXPECT_LE(plan.cost, budget);
    // What the search does with almost no states, and what simpler rules do.
    const auto hasty = eq::assign_formats(all, budget, {std::chrono::milliseconds(0)});
    EXPECT_FALSE(hasty.proven);
    EXPECT_LE(hasty.lower_bound, plan.loss);
    EXPECT_GE(hasty.lower_bound, plan.loss * 0.99);
    EXPECT_GE(hasty.loss, plan.loss);
    EXPECT_GT(most_sensitive_first(all, budget).loss, plan.loss * 1.1);
  }
}

TEST(assign_formats, is_never_worse_than_simpler_rules) {
  int better = 0;
  for (unsigned seed = 0; seed < 20; ++seed) {
    const groups all = model_problem(seed, 25);
    const cost_range range(all);
    const auto budget = range.least + (range.most - range.least) / 100 * (2 + 2 * seed);
    const double exact = eq::assign_formats(all, budget).loss;
    const double simple = greedy(all, budget).loss;
    EXPECT_LE(exact, simple * (1 + 1e-14));
    EXPECT_LE(exact, most_sensitive_first(all, budget).loss * (1 + 1e-14));
    better += exact < simple * 0.999;
  }
  EXPECT_GE(better, 10);
}

TEST(assign_formats, equal_groups_are_told_apart_by_their_order) {
  groups all;
  for (int i = 0; i < 60; ++i) all.push_back(group("layer", {{10, 5}, {17, 2}, {30, 2}}));
  auto plan = eq::assign_formats(all, 60 * 10 + 20 * 7 + 6);
  chosen expected(60, 0);
  std::fill(expected.end() - 20, expected.end(), std::size_t{1});
  EXPECT_EQ(plan.chosen, expected);
  EXPECT_TRUE(plan.proven);
  for (auto& g : all) std::reverse(g.choices.begin(), g.choices.end());
  plan = eq::assign_formats(all, 60 * 10 + 20 * 7 + 6);
  expected.assign(60, 2);
  std::fill(expected.begin(), expected.begin() + 20, std::size_t{1});
  EXPECT_EQ(plan.chosen, expected);
}

TEST(assign_formats, edges) {
  auto plan = eq::assign_formats(groups{}, 0);
  EXPECT_TRUE(plan.chosen.empty());
  EXPECT_TRUE(plan.proven);
  const groups pinned{group("a", {{7, 3}}), group("b", {{5, 1}, {4, 2}, {4, 2}, {5, 1}})};
  EXPECT_EQ(eq::assign_formats(pinned, 12).chosen, (chosen{0, 0}));
  EXPECT_EQ(eq::assign_formats(pinned, 11).chosen, (chosen{0, 1}));
  plan = eq::assign_formats(pinned, ~std::uint64_t{0});
  EXPECT_EQ(plan.cost, 12u);
  EXPECT_EQ(plan.loss, 4);
  const std::uint64_t most = (std::uint64_t{1} << 53) - 1;
  const groups vast{group("a", {{0, 1e300}, {most - 3, 1}}), group("b", {{0, 1e300}, {3, 1e-300}})};
  EXPECT_EQ(eq::assign_formats(vast, most).loss, 1);
  EXPECT_EQ(eq::assign_formats(vast, most - 1).chosen, (chosen{0, 1}));
}

/// Taking or leaving each of `count` even costs, where loss is what is left: the hardest kind.
/// The odd budget is one more than a sum of some of them, so that the best plan is known and the
/// relaxation's bound is just below it.
struct subset_sum {
  groups all;
  std::uint64_t budget = 1;
  double best = 0;
  explicit subset_sum(int count) {
    random_bits random(5);
    for (int i = 0; i < count; ++i) {
      const auto cost = 2 * (1 + below(random, 1'000'000'000'000));
      const bool taken = below(random, 2) == 0;
      if (taken) budget += cost;
      if (!taken) best += static_cast<double>(cost);
      all.push_back(group("item", {{0, static_cast<double>(cost)}, {cost, 0}}));
    }
  }
};

TEST(assign_formats, stops_in_time) {
  const subset_sum hard(100);
  for (const int limit : {0, 1, 20, 50}) {
    const auto start = std::chrono::steady_clock::now();
    const auto plan = eq::assign_formats(hard.all, hard.budget,
                                         {std::chrono::milliseconds(limit), std::size_t{1} << 26});
    const std::chrono::duration<double, std::milli> spent =
        std::chrono::steady_clock::now() - start;
    EXPECT_LT(spent.count(), limit + 500); // a busy machine, a sanitizer
    EXPECT_FALSE(plan.proven);
    EXPECT_LE(plan.cost, hard.budget);
    EXPECT_GE(plan.loss, hard.best);
    EXPECT_LE(plan.lower_bound, hard.best);
    EXPECT_GE(plan.lower_bound, hard.best - 2);
  }
}

TEST(assign_formats, makes_use_of_few_states) {
  const subset_sum hard(100);
  const double total = hard.best + static_cast<double>(hard.budget);
  double last = total;
  for (const std::size_t states : {0u, 100'000u}) {
    const auto plan = eq::assign_formats(hard.all, hard.budget, {.max_states = states});
    const auto again = eq::assign_formats(hard.all, hard.budget, {.max_states = states});
    EXPECT_EQ(plan.chosen, again.chosen);
    EXPECT_FALSE(plan.proven);
    EXPECT_LE(plan.lower_bound, hard.best);
    EXPECT_GE(plan.loss, hard.best);
    EXPECT_LT(plan.gap(), last);
    last = plan.gap();
  }
  EXPECT_LT(last, total * 1e-4);
}

TEST(assign_formats, refuses_what_makes_no_sense) {
  const auto refusal = [](const groups& all, std::uint64_t budget) {
    const auto frontier = message_of([&] { return eq::pareto_frontier(all); });
    const auto message = message_of([&] { return eq::assign_formats(all, budget); });
    EXPECT_TRUE(frontier.empty() || frontier == message);
    return message;
  };
  const auto good = group("good", {{3, 1}, {4, 0}});
  EXPECT_EQ(refusal({good}, 3), "");
  EXPECT_EQ(refusal({good, good}, 5), "budget 5: the smallest possible cost is 6");
  EXPECT_EQ(refusal({good, {"blk.0\n", {}}}, 9), "group 'blk.0\\x0a': no choices");
  for (const double loss : {-1.0, -0x1p-1074, std::nan(""), -std::nan(""), HUGE_VAL})
    EXPECT_EQ(refusal({group("g", {{1, 1}, {2, loss}})}, 9),
              "group 'g': the loss of choice 1 is not a finite number from 0 on");
  const auto dear = group("dear", {{1, 1}, {std::uint64_t{1} << 52, 0}});
  EXPECT_EQ(refusal({dear, good}, 9), "");
  EXPECT_EQ(refusal({dear, dear, good}, 9),
            "group 'dear': the costs so far add up to 2^53 or more");
  const auto bad = group("bad", {{1, 1e308}, {2, 1}});
  EXPECT_EQ(refusal({bad, good}, 9), "");
  EXPECT_EQ(refusal({good, bad, bad}, 9), "group 'bad': the losses so far add up to infinity");
}

TEST(pareto_frontier, is_brute_force) {
  random_bits random(6);
  for (int round = 0; round < rounds / 4; ++round) {
    const groups all = small_problem(random);
    const auto plans = every_plan(all);
    const auto frontier = eq::pareto_frontier(all);
    ASSERT_TRUE(frontier.complete);
    std::uint64_t cost = 0;
    std::size_t found = 0;
    const auto most = cost_range(all).most;
    for (; cost <= most; ++cost) { // the best plan changes where a plan of that cost is on it
      const auto* best = best_of(plans, cost);
      if (best == nullptr || best->cost != cost) continue;
      ASSERT_LT(found, frontier.plans.size());
      const auto& plan = frontier.plans[found++];
      ASSERT_EQ(plan.chosen, best->chosen);
      ASSERT_EQ(plan.cost, best->cost);
      ASSERT_EQ(plan.loss, best->loss);
      ASSERT_TRUE(plan.proven && plan.gap() == 0);
    }
    ASSERT_EQ(found, frontier.plans.size());

    const auto hull = eq::pareto_frontier(all, 0);
    ASSERT_FALSE(hull.complete);
    ASSERT_EQ(hull.plans.front().chosen, frontier.plans.front().chosen);
    ASSERT_EQ(hull.plans.back().chosen, frontier.plans.back().chosen);
    for (std::size_t i = 0; i < hull.plans.size(); ++i) {
      ASSERT_TRUE(i == 0 || hull.plans[i - 1].cost < hull.plans[i].cost);
      ASSERT_EQ(hull.plans[i].loss, best_of(plans, hull.plans[i].cost)->loss);
    }
  }
}

TEST(pareto_frontier, walks_the_hull_of_a_large_model) {
  const groups all = model_problem(1, 100);
  const auto frontier = eq::pareto_frontier(all);
  EXPECT_FALSE(frontier.complete);
  ASSERT_GT(frontier.plans.size(), 300u);
  EXPECT_EQ(frontier.plans.front().cost, cost_range(all).least);
  double slope = HUGE_VAL;
  for (std::size_t i = 1; i < frontier.plans.size(); ++i) {
    const auto &a = frontier.plans[i - 1], &b = frontier.plans[i];
    ASSERT_LT(a.cost, b.cost);
    ASSERT_GT(a.loss, b.loss);
    if (i % 20 == 0) {
      EXPECT_NEAR(eq::assign_formats(all, b.cost).loss, b.loss, 1e-14 * b.loss);
    }
    const double next = (a.loss - b.loss) / static_cast<double>(b.cost - a.cost);
    if (b.loss > 1e-3 * frontier.plans.front().loss) { // beyond, sums drown the differences
      EXPECT_LE(next, slope * (1 + 1e-9));
    }
    slope = next;
  }
  EXPECT_EQ(eq::pareto_frontier(groups{}).plans.size(), 1u);
}

struct layer {
  const char* name;
  float sensitivity;
};

/// One character a layer: F for fp16, 8 for int8.
std::string precisions(const std::vector<layer>& layers, double fraction) {
  std::string text;
  const auto assigned = eq::assign_precision(layers, fraction);
  for (std::size_t i = 0; i < assigned.size(); ++i) {
    EXPECT_EQ(assigned[i].name, layers[i].name);
    text += assigned[i].value == eq::precision::fp16 ? 'F' : '8';
    EXPECT_TRUE(text.back() == 'F' || assigned[i].value == eq::precision::int8);
  }
  return text;
}

TEST(assign_precision, keeps_the_most_sensitive) {
  const std::vector<layer> ten{{"a", 5}, {"b", 1}, {"c", 9}, {"d", 5}, {"e", 0},
                               {"f", 7}, {"g", 5}, {"h", 2}, {"i", 5}, {"j", -3}};
  EXPECT_EQ(precisions(ten, 0), "8888888888");
  EXPECT_EQ(precisions(ten, 0.0999), "8888888888");
  EXPECT_EQ(precisions(ten, 0.1), "88F8888888");
  EXPECT_EQ(precisions(ten, 0.3), "F8F88F8888"); // the first of four equals
  EXPECT_EQ(precisions(ten, 0.5), "F8FF8FF888");
  EXPECT_EQ(precisions(ten, 0.9), "FFFFFFFFF8");
  EXPECT_EQ(precisions(ten, 1), "FFFFFFFFFF");
  EXPECT_EQ(precisions({}, 0.5), "");
  EXPECT_EQ(precisions({{"a", HUGE_VALF}, {"b", -HUGE_VALF}}, 0.5), "F8");
}

TEST(assign_precision, counts_as_decimals_do) {
  for (std::size_t n : {1u, 7u, 10u, 100u, 1000u}) {
    const std::vector<layer> layers(n, layer{"x", 1});
    for (std::size_t percent = 0; percent <= 100; ++percent) {
      const auto text = precisions(layers, static_cast<double>(percent) / 100);
      EXPECT_EQ(text.find('8') == text.npos ? n : text.find('8'), n * percent / 100);
    }
  }
}

TEST(assign_precision, refuses_what_makes_no_sense) {
  const std::vector<layer> layers{{"a", 1}, {"b", std::nanf("")}};
  for (const double fraction : {-0.1, 1.1, std::nan(""), HUGE_VAL})
    EXPECT_EQ(message_of([&] { return eq::assign_precision(layers, fraction); }),
              "fraction: not within 0 to 1");
  EXPECT_EQ(message_of([&] { return eq::assign_precision(layers, 0.5); }),
            "layer 'b': its sensitivity is NaN");
}

TEST(precision, has_names) {
  static_assert(eq::name_of(eq::precision::fp16) == "fp16");
  static_assert(eq::name_of(eq::precision::int8) == "int8");
  static_assert(eq::name_of(eq::precision::int4) == "int4");
  static_assert(eq::name_of(eq::precision::mixed) == "mixed");
}
} // namespace
