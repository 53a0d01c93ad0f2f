// SPDX-License-Identifier: MIT
/// Ranks engines for a device by scoring rules, with the reasons.
#pragma once

#include "engine_catalogue.hpp"
#include "selection.hpp"

namespace edgequant::inline EDGEQUANT_ABI {

/// A set of engines and rules. The functions that change it fail with bad_argument, naming the
/// engine or rule: for an empty name, a name that exists already (add) or does not exist (replace,
/// remove), an engine without platform, a rule without function or with a weight that is not
/// finite.
class engine_selector {
public:
  engine_selector() : engine_selector(current_engines(), current_rules()) {}
  engine_selector(std::vector<engine_profile> engines, std::vector<scoring_rule> rules);
  /// The baseline table with the baseline rules.
  [[nodiscard]] static engine_selector baseline() { return {baseline_engines(), baseline_rules()}; }
  /// Today's table and rules, as the default constructor takes.
  [[nodiscard]] static engine_selector current() { return {}; }

  engine_selector& add(engine_profile engine);
  engine_selector& add(scoring_rule rule);
  /// Replaces the one of the same name.
  engine_selector& replace(engine_profile engine);
  engine_selector& replace(scoring_rule rule);
  /// Adds it, or replaces the one of the same name.
  engine_selector& put(engine_profile engine);
  engine_selector& put(scoring_rule rule);
  engine_selector& remove_engine(std::string_view name);
  engine_selector& remove_rule(std::string_view name);
  [[nodiscard]] const std::vector<engine_profile>& engines() const noexcept { return engines_; }
  [[nodiscard]] const std::vector<scoring_rule>& rules() const noexcept { return rules_; }

  /// Ranks the engines. A rule or callback that throws (where exceptions are on), or returns
  /// numbers that are not finite, is listed in the answer's problems and has no other effect.
  /// bad_argument for a device without platform where none is chosen.
  [[nodiscard]] selection select(const device_profile& device,
                                 const selection_context& context = {}) const {
    return select(device, nullptr, context);
  }
  /// The same with a model, for the rules that need one.
  [[nodiscard]] selection select(const device_profile& device, const model_profile& model,
                                 const selection_context& context = {}) const {
    return select(device, &model, context);
  }

private:
  selection select(const device_profile& device, const model_profile* model,
                   const selection_context& context) const;
  std::vector<engine_profile> engines_;
  std::vector<scoring_rule> rules_;
};

namespace advisor::detail {

inline void require_valid(const engine_profile& engine) {
  if (engine.name.empty()) fail(error_code::bad_argument, "engine", "needs a name");
  if (engine.platforms.empty())
    fail(error_code::bad_argument, place_of("", "engine", engine.name), "needs a platform");
}

inline void require_valid(const scoring_rule& rule) {
  if (rule.name.empty()) fail(error_code::bad_argument, "rule", "needs a name");
  const std::string place = place_of("", "rule", rule.name);
  if (!std::isfinite(rule.weight)) fail(error_code::bad_argument, place, "weight is no number");
  if (!rule.score) fail(error_code::bad_argument, place, "needs a function");
}

inline constexpr std::string_view noun_of(const engine_profile*) { return "engine"; }
inline constexpr std::string_view noun_of(const scoring_rule*) { return "rule"; }

template <class T> [[nodiscard]] auto find_named(std::vector<T>& all, std::string_view name) {
  return std::find_if(all.begin(), all.end(), [&](const T& one) { return one.name == name; });
}

template <class T> [[nodiscard]] auto find_present(std::vector<T>& all, std::string_view name) {
  const auto found = find_named(all, name);
  if (found == all.end())
    fail(error_code::bad_argument, place_of("", noun_of(static_cast<T*>(nullptr)), name),
         "there is none of this name");
  return found;
}

template <class T> void add_named(std::vector<T>& all, T one) {
  require_valid(one);
  if (find_named(all, one.name) != all.end())
    fail(error_code::bad_argument, place_of("", noun_of(&one), one.name),
         "the name is there already");
  all.push_back(std::move(one));
}

template <class T> void put_named(std::vector<T>& all, T one) {
  require_valid(one);
  const auto place = find_named(all, one.name);
  if (place == all.end())
    all.push_back(std::move(one));
  else
    *place = std::move(one);
}

template <class T> void replace_named(std::vector<T>& all, T one) {
  require_valid(one);
  const auto place = find_present(all, one.name);
  *place = std::move(one);
}

} // namespace advisor::detail

inline engine_selector::engine_selector(std::vector<engine_profile> engines,
                                        std::vector<scoring_rule> rules) {
  for (auto& engine : engines) add(std::move(engine));
  for (auto& rule : rules) add(std::move(rule));
}

inline engine_selector& engine_selector::add(engine_profile engine) {
  advisor::detail::add_named(engines_, std::move(engine));
  return *this;
}
inline engine_selector& engine_selector::add(scoring_rule rule) {
  advisor::detail::add_named(rules_, std::move(rule));
  return *this;
}
inline engine_selector& engine_selector::replace(engine_profile engine) {
  advisor::detail::replace_named(engines_, std::move(engine));
  return *this;
}
inline engine_selector& engine_selector::replace(scoring_rule rule) {
  advisor::detail::replace_named(rules_, std::move(rule));
  return *this;
}
inline engine_selector& engine_selector::put(engine_profile engine) {
  advisor::detail::put_named(engines_, std::move(engine));
  return *this;
}
inline engine_selector& engine_selector::put(scoring_rule rule) {
  advisor::detail::put_named(rules_, std::move(rule));
  return *this;
}
inline engine_selector& engine_selector::remove_engine(std::string_view name) {
  engines_.erase(advisor::detail::find_present(engines_, name));
  return *this;
}
inline engine_selector& engine_selector::remove_rule(std::string_view name) {
  rules_.erase(advisor::detail::find_present(rules_, name));
  return *this;
}

inline selection engine_selector::select(const device_profile& device, const model_profile* model,
                                         const selection_context& context) const {
  if (!context.os && device.platforms.empty())
    fail(error_code::bad_argument, place_of("", "device", device.name), "needs a platform");
  selection answer;
  answer.os = context.os ? *context.os : device.platforms.front();
  const advisor::detail::question q{device, model, answer.os, context.figures, rules_};
  for (const auto& engine : engines_) advisor::detail::judge_all(q, engine, answer);
  std::stable_sort(answer.ranked.begin(), answer.ranked.end(),
                   [](const auto& a, const auto& b) { return a.score > b.score; });
  return answer;
}

} // namespace edgequant::inline EDGEQUANT_ABI
