// SPDX-License-Identifier: MIT
/// Nondominated (Pareto-optimal) partial plans of a multiple-choice knapsack problem, a group at a
/// time. Source: Pisinger, "A minimal algorithm for the multiple-choice knapsack problem", European
/// Journal of Operational Research 83, 1995.
#pragma once

#include "../core/checked.hpp"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <vector>

namespace edgequant::inline EDGEQUANT_ABI {

/// When a search gives up. What it has found by then is still a plan, with an honest bound.
struct search_limits {
  std::chrono::milliseconds time_limit{10'000}; ///< 0: the greedy plan, the relaxation's bound
  std::size_t max_states = 4'000'000;           ///< partial plans, at most about 100 bytes each
};

namespace plan::detail {

/// Costs of a problem add up to less than 2^53: their sums and differences are exact in double.
struct priced_choice {
  std::uint64_t cost = 0;
  double loss = 0;
  std::uint32_t index = 0; ///< the caller's
};

/// By increasing cost with strictly decreasing loss: dominated choices are left out.
using priced_group = std::vector<priced_choice>;

/// One position in its group for each group.
using positions = std::vector<std::uint32_t>;

/// Losses as multiples of 2^-shift. A plan's sums then do not depend on their order.
struct loss_scale {
  int shift = 0;
  /// `largest` becomes 2^59 to 2^60.
  explicit loss_scale(double largest) : shift(largest > 0 ? 59 - std::ilogb(largest) : 0) {}
  /// `loss` is at most 2 * largest; rounds to nearest.
  [[nodiscard]] std::int64_t fixed(double loss) const noexcept {
    return std::llround(std::ldexp(loss, shift));
  }
};

/// A choice, or a plan of some groups, against a reference.
struct knapsack_state {
  std::int64_t cost = 0, loss = 0;
  std::int64_t excess = 0; ///< what it adds to the lower bound of every plan that holds it
  std::uint32_t back = 0;  ///< of a plan: its backpointer; of a choice: its position
};

/// Nondominated plans of a growing set of groups, by rising cost and falling loss. Of plans equal
/// in both, the one that comes first in the order of all groups stays: whatever the other groups
/// choose, it still comes first.
class knapsack_states {
public:
  knapsack_states(std::span<const priced_group> groups, const search_limits& limits)
      : groups_(groups), time_limit_(limits.time_limit),
        most_links_(std::min<std::size_t>(limits.max_states, ~std::uint32_t{0})),
        start_(std::chrono::steady_clock::now()) {}

  /// Adds a group. Plans above any of `upper_limits` are dropped. False: a limit was reached,
  /// and the plans are as before.
  [[nodiscard]] bool extend(std::uint32_t group, std::span<const knapsack_state> choices,
                            const knapsack_state& upper_limits);
  /// Keeps at most `count` plans, spread over the costs, those of least excess; lifts the limit on
  /// states.
  void thin(std::size_t count);
  [[nodiscard]] std::span<const knapsack_state> plans() const noexcept { return plans_; }
  /// Overwrites the positions of the groups that `plan` chooses for.
  void apply(const knapsack_state& plan, positions& at) const;

private:
  struct link {
    std::uint32_t parent,
        choice; ///< the backpointer of the plan before; the position of its choice
  };

  [[nodiscard]] bool precedes(link a, link b, std::size_t depth) const noexcept;
  [[nodiscard]] bool late() const {
    const auto spent = std::chrono::steady_clock::now() - start_;
    return std::chrono::duration_cast<std::chrono::milliseconds>(spent) >= time_limit_;
  }

  std::span<const priced_group> groups_;
  std::chrono::milliseconds time_limit_;
  std::size_t most_links_;
  std::chrono::steady_clock::time_point start_;
  std::vector<knapsack_state> plans_{{}};
  std::vector<link> links_{{0, 0}};        // the choices of all plans; link 0 is none
  std::vector<std::uint32_t> group_order_; // in which groups were added
};

/// All nondominated plans by rising cost, or nothing where there are more than `max_plans`.
[[nodiscard]] std::optional<std::vector<positions>>
complete_frontier(std::span<const priced_group> groups, std::size_t max_plans);

inline bool knapsack_states::precedes(link a, link b, std::size_t depth) const noexcept {
  bool first = false;
  for (std::uint32_t least = ~0u; depth-- > 0; a = links_[a.parent], b = links_[b.parent]) {
    if (a.choice != b.choice && group_order_[depth] < least) {
      least = group_order_[depth];
      first = groups_[least][a.choice].index < groups_[least][b.choice].index;
    }
    if (a.parent == b.parent) break;
  }
  return first;
}

inline bool knapsack_states::extend(std::uint32_t group, std::span<const knapsack_state> choices,
                                    const knapsack_state& upper_limits) {
  group_order_.push_back(group);
  const std::size_t before = links_.size();
  std::vector<knapsack_state> merged;
  std::vector<std::size_t> next(choices.size(), 0); // plan that each choice extends next
  for (std::size_t turn = 0;; ++turn) {
    if ((turn % 1024 == 0 && late()) || links_.size() >= most_links_) {
      links_.resize(before);
      group_order_.pop_back();
      return false;
    }
    constexpr std::size_t none = ~std::size_t{0};
    std::size_t best = none;
    knapsack_state least;
    for (std::size_t k = 0; k < choices.size(); ++k) {
      while (next[k] < plans_.size() &&
             (plans_[next[k]].excess > upper_limits.excess - choices[k].excess ||
              plans_[next[k]].loss > upper_limits.loss - choices[k].loss))
        ++next[k];
      if (next[k] == plans_.size()) continue;
      const knapsack_state& plan = plans_[next[k]];
      const std::int64_t cost = plan.cost + choices[k].cost;
      const std::int64_t loss = plan.loss + choices[k].loss;
      if (cost > upper_limits.cost) continue; // and so are all after it
      if (best != none && (cost > least.cost || (cost == least.cost && loss >= least.loss)))
        continue;
      best = k;
      least = {cost, loss, plan.excess + choices[k].excess, plan.back};
    }
    if (best == none) break;
    ++next[best];
    const link last{least.back, choices[best].back};
    if (merged.empty() || least.loss < merged.back().loss) {
      least.back = static_cast<std::uint32_t>(links_.size());
      merged.push_back(least);
      links_.push_back(last);
    } else if (least.loss == merged.back().loss && least.cost == merged.back().cost &&
               precedes(last, links_.back(), group_order_.size())) {
      least.back = merged.back().back;
      merged.back() = least;
      links_.back() = last;
    }
  }
  plans_ = std::move(merged);
  return true;
}

inline void knapsack_states::thin(std::size_t count) {
  most_links_ = ~std::uint32_t{0};
  if (plans_.size() <= count) return;
  const std::size_t stride = ceil_divide(plans_.size(), count);
  std::size_t kept = 0;
  for (std::size_t begin = 0; begin < plans_.size(); begin += stride) {
    const auto first = plans_.begin() + static_cast<std::ptrdiff_t>(begin);
    const auto width = static_cast<std::ptrdiff_t>(std::min(stride, plans_.size() - begin));
    plans_[kept++] = *std::min_element(
        first, first + width, [](const auto& a, const auto& b) { return a.excess < b.excess; });
  }
  plans_.resize(kept);
}

inline void knapsack_states::apply(const knapsack_state& plan, positions& at) const {
  link last = links_[plan.back];
  for (std::size_t depth = group_order_.size(); depth-- > 0; last = links_[last.parent])
    at[group_order_[depth]] = last.choice;
}

inline std::optional<std::vector<positions>> complete_frontier(std::span<const priced_group> groups,
                                                               std::size_t max_plans) {
  double most_loss = 0;
  for (const auto& group : groups) most_loss += group.front().loss;
  const loss_scale scale(most_loss);
  constexpr auto any = std::numeric_limits<std::int64_t>::max();
  knapsack_states states(groups, {std::chrono::milliseconds::max(), ~std::size_t{0}});
  for (std::uint32_t g = 0; g < groups.size(); ++g) {
    std::vector<knapsack_state> choices;
    for (std::uint32_t at = 0; at < groups[g].size(); ++at)
      choices.push_back(
          {static_cast<std::int64_t>(groups[g][at].cost), scale.fixed(groups[g][at].loss), 0, at});
    if (!states.extend(g, choices, {any, any, any}) || states.plans().size() > max_plans)
      return std::nullopt;
  }
  std::vector<positions> plans;
  for (const auto& state : states.plans()) {
    plans.emplace_back(groups.size());
    states.apply(state, plans.back());
  }
  return plans;
}

} // namespace plan::detail
} // namespace edgequant::inline EDGEQUANT_ABI
