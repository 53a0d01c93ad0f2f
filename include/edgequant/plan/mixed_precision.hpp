// SPDX-License-Identifier: MIT
/// Which layer gets which precision: by a share of the layers, or within a budget.
#pragma once

#include "../core/exception.hpp"
#include "../core/message.hpp"
#include "../core/precision.hpp"
#include "../core/rounded.hpp"
#include "../format/format.hpp"
#include "choice_knapsack.hpp"

#include <concepts>
#include <numeric>
#include <ranges>
#include <string>

namespace edgequant::inline EDGEQUANT_ABI {

/// One format that a group of tensors may get.
struct choice {
  format type = format::f32;
  std::uint64_t cost = 0; ///< of the whole group: bytes, or whole units of the caller's
  double loss = 0;        ///< of the whole group, in any unit that adds up; finite, at least 0
};

/// Tensors that share a format. One choice pins it.
struct choice_group {
  std::string name;
  std::vector<choice> choices;
};

/// One choice for each group.
struct assignment {
  std::vector<std::size_t> chosen; ///< position in choice_group::choices, group by group
  std::uint64_t cost = 0;          ///< sum over the groups
  double loss = 0;                 ///< sum over the groups, in their order
  double lower_bound = 0;          ///< no plan within the budget does less loss
  bool proven = true;              ///< no plan within the budget is better; the bound is `loss`

  /// How much less loss a better plan might do, at most; 0 where proven.
  [[nodiscard]] double gap() const noexcept { return loss - lower_bound; }
};

/// The plan of least loss that costs at most `budget`. Of plans that do the same loss the
/// cheapest, then the one whose `chosen` comes first in lexicographical order. It depends on the
/// arguments only. Where a limit ends the search: the best plan found so far, `proven` false unless
/// the bound meets it; what a time limit leaves depends on the machine.
///
/// Losses are compared rounded to 60 bits of a first plan's loss (the greedy one of the linear
/// relaxation), so that sums are exact in any order: a proven plan is best within 2^-59 of that for
/// each group. Costs are never rounded.
///
/// bad_argument: a group without choices; a loss that is negative, infinite or NaN; losses
/// whose sum is infinite; costs that add up to 2^53 or more, the dearest of each group; a budget
/// below the cheapest plan, which the message names.
[[nodiscard]] assignment assign_formats(std::span<const choice_group> groups, std::uint64_t budget,
                                        const search_limits& limits = {});

/// Plans of rising cost and falling loss, each the best one at its cost, from the cheapest to
/// the least loss.
struct plan_frontier {
  std::vector<assignment> plans;
  bool complete = false; ///< every such plan; else those on the lower convex hull
};

/// All best plans where there are at most `max_plans` of them, for every leading run of groups too;
/// else the plans of the lower convex hull that the linear relaxation walks through, at most one
/// for each choice. Refuses what assign_formats refuses. Of equal plans, those of a complete
/// frontier follow the rule of assign_formats.
[[nodiscard]] plan_frontier pareto_frontier(std::span<const choice_group> groups,
                                            std::size_t max_plans = 1000);

/// What assign_precision needs to know of a layer. Any scale will do; more is more sensitive.
template <class Layer>
concept sensitive_layer = requires(const Layer& layer) {
  { layer.name } -> std::convertible_to<std::string>;
  { layer.sensitivity } -> std::convertible_to<double>;
};

struct layer_precision {
  std::string name;
  precision value = precision::int8;
};

/// The floor(n * fraction) most sensitive of n layers keep fp16, the first of equals; the others
/// get int8. Results are in the order of the layers. 1e-9 is added before the floor, so that
/// 0.29 of 100 are 29 although 100 * 0.29 is a little less in double.
/// bad_argument: a fraction outside 0 to 1, a sensitivity that is NaN.
template <std::ranges::forward_range Layers>
requires sensitive_layer<std::ranges::range_value_t<Layers>>
[[nodiscard]] std::vector<layer_precision> assign_precision(const Layers& layers, double fraction) {
  if (!(fraction >= 0 && fraction <= 1))
    fail(error_code::bad_argument, "fraction", "not within 0 to 1");
  std::vector<layer_precision> assigned;
  std::vector<double> sensitivities;
  for (const auto& layer : layers) {
    assigned.push_back({std::string(layer.name), precision::int8});
    sensitivities.push_back(static_cast<double>(layer.sensitivity));
    if (std::isnan(sensitivities.back()))
      fail(error_code::bad_argument, place_of("", "layer", assigned.back().name),
           "its sensitivity is NaN");
  }
  std::vector<std::size_t> order(assigned.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    return sensitivities[a] > sensitivities[b];
  });
  const double kept = std::floor(rounded(static_cast<double>(order.size()) * fraction) + 1e-9);
  for (std::size_t i = 0; i < static_cast<std::size_t>(kept); ++i)
    assigned[order[i]].value = precision::fp16;
  return assigned;
}

namespace plan::detail {

/// The groups without choices that no best plan makes; fails with bad_argument.
[[nodiscard]] inline std::vector<priced_group> price_groups(std::span<const choice_group> groups) {
  std::vector<priced_group> priced;
  double most_cost = 0, most_loss = 0;
  for (const auto& group : groups) {
    const auto place = [&] { return place_of("", "group", group.name); };
    if (group.choices.empty()) fail(error_code::bad_argument, place(), "no choices");
    priced_group all;
    double dearest = 0, worst = 0;
    for (std::uint32_t i = 0; i < group.choices.size(); ++i) {
      const choice& c = group.choices[i];
      if (!(c.loss >= 0 && std::isfinite(c.loss)))
        fail(error_code::bad_argument, place(),
             "the loss of choice " + std::to_string(i) + " is not a finite number from 0 on");
      all.push_back({c.cost, c.loss, i});
      dearest = std::max(dearest, static_cast<double>(c.cost));
      worst = std::max(worst, c.loss);
    }
    priced.push_back(undominated(std::move(all)));
    most_cost += dearest;
    most_loss += worst;
    if (most_cost >= 0x1p53) // sums below are exact
      fail(error_code::bad_argument, place(), "the costs so far add up to 2^53 or more");
    if (!std::isfinite(most_loss))
      fail(error_code::bad_argument, place(), "the losses so far add up to infinity");
  }
  return priced;
}

[[nodiscard]] inline assignment describe(std::span<const priced_group> groups,
                                         const positions& at) {
  assignment plan;
  for (std::size_t g = 0; g < groups.size(); ++g) {
    const priced_choice& c = groups[g][at[g]];
    plan.chosen.push_back(c.index);
    plan.cost += c.cost;
    plan.loss += c.loss;
  }
  plan.lower_bound = plan.loss;
  return plan;
}

} // namespace plan::detail

inline assignment assign_formats(std::span<const choice_group> groups, std::uint64_t budget,
                                 const search_limits& limits) {
  const auto priced = plan::detail::price_groups(groups);
  std::uint64_t least = 0;
  for (const auto& group : priced) least += group.front().cost;
  if (budget < least)
    fail(error_code::bad_argument, "budget " + std::to_string(budget),
         "the smallest possible cost is " + std::to_string(least));
  const auto found = plan::detail::solve_knapsack(priced, budget, limits);
  assignment plan = plan::detail::describe(priced, found.at);
  plan.proven = found.proven;
  if (!plan.proven) plan.lower_bound = std::min(plan.loss, found.lower_bound);
  return plan;
}

inline plan_frontier pareto_frontier(std::span<const choice_group> groups, std::size_t max_plans) {
  const auto priced = plan::detail::price_groups(groups);
  plan_frontier frontier;
  if (const auto all = plan::detail::complete_frontier(priced, max_plans)) {
    for (const auto& at : *all) frontier.plans.push_back(plan::detail::describe(priced, at));
    frontier.complete = true;
    return frontier;
  }
  plan::detail::positions at(priced.size(), 0);
  frontier.plans.push_back(plan::detail::describe(priced, at));
  for (const auto& step : plan::detail::hull_steps(priced)) {
    at[step.group] = step.to;
    frontier.plans.push_back(plan::detail::describe(priced, at));
  }
  return frontier;
}

} // namespace edgequant::inline EDGEQUANT_ABI
