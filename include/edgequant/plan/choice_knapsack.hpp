// SPDX-License-Identifier: MIT
/// The multiple-choice knapsack problem: one choice of each group, least loss within a budget.
///
/// Sources: Sinha and Zoltners, "The multiple-choice knapsack problem", Operations Research 27,
/// 1979 (dominance, the linear relaxation); Pisinger, "A minimal algorithm for the multiple-choice
/// knapsack problem", European Journal of Operational Research 83, 1995 (a core that grows, lists
/// of undominated states).
#pragma once

#include "knapsack_states.hpp"

namespace edgequant::inline EDGEQUANT_ABI {

namespace plan::detail {

/// Leaves the choices that may be part of a best plan; of equals the one with the least index.
[[nodiscard]] priced_group undominated(priced_group choices);

struct knapsack_solution {
  positions at;
  double lower_bound = 0; ///< of the least loss; not used where proven
  bool proven = false;
};

/// Solves groups that are undominated; the cheapest plan fits the budget.
[[nodiscard]] knapsack_solution solve_knapsack(std::span<const priced_group> groups,
                                               std::uint64_t budget, const search_limits& limits);

/// A step along the lower convex hull of a group's choices, from the one before to `to`.
struct hull_step {
  double slope; ///< loss saved for a unit of cost
  std::uint32_t group, to;
};

/// The steps of all groups in the order in which the linear relaxation takes them, from the
/// cheapest plan on. Every prefix is a best plan at its own cost.
[[nodiscard]] std::vector<hull_step> hull_steps(std::span<const priced_group> groups);

inline priced_group undominated(priced_group choices) {
  std::sort(choices.begin(), choices.end(), [](const priced_choice& a, const priced_choice& b) {
    if (a.cost != b.cost) return a.cost < b.cost;
    return a.loss != b.loss ? a.loss < b.loss : a.index < b.index;
  });
  std::size_t kept = 0;
  for (const priced_choice& c : choices)
    if (kept == 0 || c.loss < choices[kept - 1].loss) choices[kept++] = c;
  choices.resize(kept);
  return choices;
}

inline std::vector<hull_step> hull_steps(std::span<const priced_group> groups) {
  std::vector<hull_step> all;
  for (std::uint32_t g = 0; g < groups.size(); ++g) {
    const priced_group& group = groups[g];
    const std::size_t first = all.size();
    for (std::uint32_t to = 1; to < group.size(); ++to)
      for (;;) {
        const bool fresh = all.size() == first;
        const priced_choice& from = group[fresh ? 0 : all.back().to];
        const double slope =
            (from.loss - group[to].loss) / static_cast<double>(group[to].cost - from.cost);
        if (fresh || slope < all.back().slope) {
          all.push_back({slope, g, to});
          break;
        }
        all.pop_back(); // that choice lies on or above the line past it
      }
  }
  std::stable_sort(all.begin(), all.end(),
                   [](const hull_step& a, const hull_step& b) { return a.slope > b.slope; });
  return all;
}

/// The search for a best plan. Its reference is the part of the relaxation's plan that is whole.
class knapsack_search {
public:
  knapsack_search(std::span<const priced_group> groups, std::uint64_t budget,
                  const search_limits& limits)
      : groups_(groups), budget_(budget), max_states_(limits.max_states / 2),
        states_(groups, {limits.time_limit, max_states_}) {}
  [[nodiscard]] knapsack_solution solve();

private:
  struct open_group {
    std::uint32_t group;
    std::int64_t excess;  // that leaving the reference costs; 0 where a better plan must
    knapsack_state least; // cost and loss of the least choices, against the reference
    std::vector<knapsack_state> choices;
  };

  [[nodiscard]] bool relax(); // false: every choice of least loss fits
  void weigh();
  [[nodiscard]] std::int64_t priced(std::int64_t cost) const noexcept;
  [[nodiscard]] std::vector<knapsack_state> price(std::uint32_t group);
  [[nodiscard]] std::vector<open_group> open_groups();
  [[nodiscard]] const knapsack_state* best_state() const noexcept;
  void choose(const knapsack_state& plan);

  std::span<const priced_group> groups_;
  std::uint64_t budget_;
  std::size_t max_states_; // half of them for the exact search, half for what comes after it
  knapsack_states states_;
  positions reference_, best_;
  std::int64_t slack_ = 0; // that the reference leaves of the budget
  double slope_ = 0;       // of the step that the relaxation takes in part
  double reference_loss_ = 0;
  loss_scale scale_{0};
  // From here on in whole loss.
  double price_ = 0; // for a unit of cost
  std::int64_t reference_fixed_ = 0, best_fixed_ = 0, bound_ = 0;
};

inline bool knapsack_search::relax() {
  best_.assign(groups_.size(), 0);
  for (const auto& group : groups_) budget_ -= group[0].cost;
  std::vector<bool> stopped(groups_.size(), false);
  for (const hull_step& step : hull_steps(groups_)) {
    if (stopped[step.group]) continue;
    const priced_group& group = groups_[step.group];
    const std::uint64_t cost = group[step.to].cost - group[best_[step.group]].cost;
    if (cost <= budget_) {
      budget_ -= cost;
      best_[step.group] = step.to;
      continue;
    }
    stopped[step.group] = true;
    if (!reference_.empty()) continue;
    reference_ = best_;
    slack_ = static_cast<std::int64_t>(budget_);
    slope_ = step.slope;
  }
  return !reference_.empty();
}

/// floor(price * cost), exactly; the product is within 2^62.
inline std::int64_t knapsack_search::priced(std::int64_t cost) const noexcept {
  const double factor = static_cast<double>(cost);
  const double product = price_ * factor, integer = std::floor(product);
  // A product that rounds to no integer lies between the same two integers as what it rounds to.
  if (integer != product) return static_cast<std::int64_t>(integer);
  const double rest = std::fma(price_, factor, -product);
  return static_cast<std::int64_t>(integer) + static_cast<std::int64_t>(std::floor(rest));
}

/// The choices of a group that may be part of a plan as good as the best one. `excess` is what the
/// choice would cost at the relaxation's price; the least of it goes into the bound.
///
/// The bound: let e = floor(price * cost), costs and losses against the reference. In a plan
/// within the budget sum(e) <= price * slack, and sum(e) is whole. So sum(loss) = sum(loss + e)
/// - sum(e) >= sum(least loss + e) - floor(price * slack).
inline std::vector<knapsack_state> knapsack_search::price(std::uint32_t group) {
  const priced_choice& from = groups_[group][reference_[group]];
  std::vector<knapsack_state> choices;
  std::int64_t least = std::numeric_limits<std::int64_t>::max();
  for (std::uint32_t at = 0; at < groups_[group].size(); ++at) {
    const priced_choice& to = groups_[group][at];
    const auto cost = static_cast<std::int64_t>(to.cost) - static_cast<std::int64_t>(from.cost);
    // Dearer than any plan can pay for. The cheaper side is safe: the hull there is steeper than
    // the price, so that price * cost is at most the loss.
    if (to.loss > 2 * reference_loss_ || price_ * static_cast<double>(cost) > 0x1p62) continue;
    const std::int64_t loss = scale_.fixed(to.loss);
    if (loss > best_fixed_) continue;
    choices.push_back({cost, loss - scale_.fixed(from.loss), 0, at});
    choices.back().excess = choices.back().loss + priced(cost);
    least = std::min(least, choices.back().excess);
  }
  for (auto& choice : choices) choice.excess -= least;
  bound_ += least;
  return choices;
}

/// The groups that a better plan may change, the likeliest first.
inline std::vector<knapsack_search::open_group> knapsack_search::open_groups() {
  bound_ = reference_fixed_ - priced(slack_);
  std::vector<open_group> open;
  for (std::uint32_t g = 0; g < groups_.size(); ++g) open.push_back({g, 0, {}, price(g)});
  constexpr std::int64_t never = std::numeric_limits<std::int64_t>::max();
  for (open_group& group : open) {
    std::erase_if(group.choices, [this](const knapsack_state& choice) {
      return choice.excess > best_fixed_ - bound_;
    });
    group.excess = group.least.cost = group.least.loss = never;
    for (const knapsack_state& choice : group.choices) {
      if (choice.back != reference_[group.group])
        group.excess = std::min(group.excess, choice.excess);
      group.least.cost = std::min(group.least.cost, choice.cost);
      group.least.loss = std::min(group.least.loss, choice.loss);
    }
  }
  std::erase_if(open, [](const open_group& group) { return group.excess == never; });
  std::stable_sort(open.begin(), open.end(),
                   [](const open_group& a, const open_group& b) { return a.excess < b.excess; });
  return open;
}

/// The best plan that leaves the other groups at the reference, or nothing.
inline const knapsack_state* knapsack_search::best_state() const noexcept {
  const auto plans = states_.plans();
  const auto end = std::partition_point(plans.begin(), plans.end(),
                                        [this](const auto& plan) { return plan.cost <= slack_; });
  return end == plans.begin() ? nullptr : &*(end - 1);
}

inline void knapsack_search::choose(const knapsack_state& plan) {
  best_ = reference_;
  states_.apply(plan, best_);
  best_fixed_ = reference_fixed_ + plan.loss;
}

inline void knapsack_search::weigh() {
  for (std::size_t g = 0; g < groups_.size(); ++g)
    reference_loss_ += groups_[g][reference_[g]].loss;
  scale_ = loss_scale(reference_loss_);
  price_ = std::ldexp(slope_, scale_.shift);
  for (std::size_t g = 0; g < groups_.size(); ++g) {
    reference_fixed_ += scale_.fixed(groups_[g][reference_[g]].loss);
    best_fixed_ += scale_.fixed(groups_[g][best_[g]].loss);
  }
}

inline knapsack_solution knapsack_search::solve() {
  if (!relax()) return {best_, 0, true};
  weigh();
  const auto open = open_groups();
  knapsack_state rest; // the least that the groups to come add
  std::size_t choices = 1;
  for (const auto& group : open) {
    rest.cost += group.least.cost;
    rest.loss += group.least.loss;
    choices += group.choices.size();
  }
  const std::size_t width = max_states_ / choices + 1; // after half of the states are spent
  bool exact = true;
  std::int64_t low = 0; // excess of every better plan, where not exact
  for (const auto& group : open) {
    if (group.excess > best_fixed_ - bound_) break;
    rest.cost -= group.least.cost;
    rest.loss -= group.least.loss;
    const knapsack_state most{slack_ - rest.cost, best_fixed_ - reference_fixed_ - rest.loss,
                              best_fixed_ - bound_};
    bool extended = states_.extend(group.group, group.choices, most);
    if (!extended && exact) { // every better plan extends one of these states
      exact = false;
      low = most.excess;
      for (const auto& plan : states_.plans()) low = std::min(low, plan.excess);
      states_.thin(width);
      extended = states_.extend(group.group, group.choices, most);
    }
    if (!extended) break;
    if (!exact) states_.thin(width);
    const knapsack_state* plan = best_state();
    if (plan != nullptr && reference_fixed_ + plan->loss < best_fixed_) choose(*plan);
  }
  if (exact) {
    choose(*best_state()); // as good as the best so far, and the first of its equals
    return {best_, 0, true};
  }
  // Every loss was rounded by half at most; 256 is more than rounding to double can add.
  const std::int64_t rounding = static_cast<std::int64_t>(groups_.size()) + 256;
  const double bound = std::ldexp(static_cast<double>(bound_ + low - rounding), -scale_.shift);
  return {best_, std::max(bound, 0.0), best_fixed_ <= bound_ + low};
}

inline knapsack_solution solve_knapsack(std::span<const priced_group> groups, std::uint64_t budget,
                                        const search_limits& limits) {
  return knapsack_search(groups, budget, limits).solve();
}

} // namespace plan::detail
} // namespace edgequant::inline EDGEQUANT_ABI
