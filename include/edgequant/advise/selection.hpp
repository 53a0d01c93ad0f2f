// SPDX-License-Identifier: MIT
/// The answer to "which engine?", and how one engine is judged for it.
#pragma once

#include "../io/bytes.hpp"
#include "scoring_rule.hpp"

#include <cmath>

namespace edgequant::inline EDGEQUANT_ABI {

/// Returns the known figures of an engine that runs the model on the device in a precision.
using figures_callback = std::function<run_figures(const engine_profile&, precision)>;

struct selection_context {
  std::optional<platform> os = {}; ///< nothing: the device's first
  /// If set, each engine is judged in each of its precisions, and its best one counts.
  figures_callback figures = {};
};

struct rule_points {
  std::string rule;
  double points = 0;
};

struct recommendation {
  engine_profile engine;
  std::optional<precision> weights = {}; ///< the best precision; only where figures are given
  std::string weights_name = {};         ///< what it is called, see name_of_weights()
  run_figures figures = {};              ///< in that precision
  double score = 0;                      ///< the sum of the points
  std::vector<rule_points> points = {};  ///< one a rule, in their order; none for one that failed
  std::vector<std::string> reasons = {}; ///< for the engine
  std::vector<std::string> against = {}; ///< against it, and why its other precisions are out
};

struct exclusion {
  engine_profile engine;
  std::vector<std::string> why = {};
};

struct selection {
  platform os = platform::android;        ///< for which the engines were judged
  std::vector<recommendation> ranked;     ///< best first; equal scores in the selector's order
  std::vector<exclusion> excluded;        ///< in the selector's order
  std::vector<std::string> problems = {}; ///< rules and figures that failed, with the engine
};

namespace advisor::detail {

/// The message of what call() throws, or nothing. Without exceptions it is only called.
template <class Call> [[nodiscard]] std::optional<std::string> problem_of(Call call) {
#if defined(__cpp_exceptions)
  try {
    call();
  } catch (const std::exception& error) {
    return escaped(error.what(), 200);
  } catch (...) {
    return "threw no std::exception";
  }
#else
  call();
#endif
  return std::nullopt;
}

inline void add_once(std::vector<std::string>& texts, std::string text) {
  if (std::find(texts.begin(), texts.end(), text) == texts.end()) texts.push_back(std::move(text));
}

/// An engine judged in one precision.
struct verdict {
  std::optional<precision> weights = {};
  recommendation result = {};
  double precision_points = 0; ///< of rules that weigh precisions
  std::vector<std::string> out = {};
};

inline void apply(const scoring_rule& rule, const scoring_case& c, verdict& v,
                  std::vector<std::string>& problems) {
  rule_result found;
  auto problem = problem_of([&] { found = rule.score(c); });
  const double points = found.share * rule.weight;
  const double sum = v.result.score + points;
  if (!problem && !(std::isfinite(points) && std::isfinite(sum)))
    problem = "its points are no finite number";
  if (problem) {
    add_once(problems,
             place_of(place_of("", "rule", rule.name), "engine", c.engine.name) + ": " + *problem);
    return;
  }
  if (!found.reason.empty()) v.result.reasons.push_back(std::move(found.reason));
  if (found.excludes)
    v.out.push_back(found.against.empty() ? "excluded by rule '" + rule.name + "'"
                                          : std::move(found.against));
  else if (!found.against.empty())
    v.result.against.push_back(std::move(found.against));
  v.result.points.push_back({rule.name, points});
  v.result.score = sum;
  if (rule.weighs_precision) v.precision_points += points;
}

/// Removes figures that are NaN or out of range, and reports them.
inline void check_figures(run_figures& figures, const std::string& place,
                          std::vector<std::string>& problems) {
  constexpr struct {
    std::optional<double> run_figures::*value;
    std::string_view name;
    double least, most;
  } rows[] = {{&run_figures::ms_per_token, "ms_per_token", 0, 1e300},
              {&run_figures::ms_to_first_token, "ms_to_first_token", 0, 1e300},
              {&run_figures::power_mw, "power_mw", 0, 1e300},
              {&run_figures::kl, "kl", -1, 1e300}, // a divergence may round below 0
              {&run_figures::sqnr_db, "sqnr_db", -1e300, HUGE_VAL}};
  for (const auto& row : rows) {
    auto& value = figures.*row.value;
    if (!value || (*value >= row.least && *value <= row.most)) continue;
    value.reset();
    add_once(problems, place + ": " + std::string(row.name) + " is NaN or out of range");
  }
}

/// The reasons of precisions that are out. One that does not hold for all precisions begins with
/// the names of those for which it does.
[[nodiscard]] inline std::vector<std::string> why_out(const std::vector<const verdict*>& out,
                                                      std::size_t precisions) {
  std::vector<std::string> texts, all;
  for (const auto* v : out)
    for (const auto& text : v->out) add_once(texts, text);
  for (const auto& text : texts) {
    std::string names;
    std::size_t count = 0;
    for (const auto* v : out) {
      if (std::find(v->out.begin(), v->out.end(), text) == v->out.end()) continue;
      ++count;
      if (v->weights) names.append(names.empty() ? "" : ", ").append(v->result.weights_name);
    }
    all.push_back(count == precisions ? text : names + ": " + text);
  }
  return all;
}

/// What a selection is asked, the same for every engine.
struct question {
  const device_profile& device;
  const model_profile* model;
  platform os;
  const figures_callback& figures;
  const std::vector<scoring_rule>& rules;
};

[[nodiscard]] inline verdict judge(const question& q, const engine_profile& engine,
                                   std::optional<precision> weights,
                                   std::vector<std::string>& problems) {
  verdict v{.weights = weights};
  v.result.weights = weights;
  if (weights) v.result.weights_name = name_of_weights(q.model, *weights);
  if (weights) {
    const std::string place =
        place_of("figures", "engine", engine.name) + " in " + std::string(name_of(*weights));
    const auto problem = problem_of([&] { v.result.figures = q.figures(engine, *weights); });
    if (problem) add_once(problems, place + ": " + *problem);
    check_figures(v.result.figures, place, problems);
  }
  const scoring_case c{engine,  q.device, q.os,
                       q.model, weights,  weights ? &v.result.figures : nullptr};
  for (const auto& rule : q.rules) apply(rule, c, v, problems);
  return v;
}

/// The precisions to judge an engine in, the highest first.
[[nodiscard]] inline std::vector<std::optional<precision>>
precisions_to_judge(const question& q, const engine_profile& engine) {
  std::vector<std::optional<precision>> all(engine.precisions.begin(), engine.precisions.end());
  if (!q.figures || all.empty()) return {std::nullopt};
  std::sort(all.begin(), all.end());
  return all;
}

/// Removes the precisions above that of a quantized file. Returns the reason, or an empty text.
[[nodiscard]] inline std::string remove_higher(const model_profile* model,
                                               std::vector<std::optional<precision>>& all) {
  if (model == nullptr || !model->stored) return {};
  std::string names;
  const auto higher = [&](const std::optional<precision>& weights) {
    if (!weights || *weights >= precision_of(*model->stored)) return false;
    names.append(names.empty() ? "" : ", ").append(name_of(*weights));
    return true;
  };
  all.erase(std::remove_if(all.begin(), all.end(), higher), all.end());
  if (names.empty()) return {};
  return names + ": the file's weights are " + std::string(name_of(*model->stored)) +
         ", a higher precision cannot be recovered from them";
}

inline void judge_all(const question& q, const engine_profile& engine, selection& answer) {
  auto precisions = precisions_to_judge(q, engine);
  auto higher = remove_higher(q.model, precisions);
  std::vector<verdict> verdicts;
  for (const auto& weights : precisions)
    verdicts.push_back(judge(q, engine, weights, answer.problems));
  std::vector<const verdict*> out;
  verdict* best = nullptr;
  for (auto& v : verdicts)
    if (!v.out.empty())
      out.push_back(&v);
    else if (best == nullptr || v.precision_points > best->precision_points)
      best = &v;
  auto why = why_out(out, verdicts.size());
  if (!higher.empty() && (best != nullptr || why.empty())) why.push_back(std::move(higher));
  if (best == nullptr) {
    answer.excluded.push_back({engine, std::move(why)});
    return;
  }
  for (auto& text : why) best->result.against.push_back(std::move(text));
  best->result.engine = engine;
  answer.ranked.push_back(std::move(best->result));
}

} // namespace advisor::detail

} // namespace edgequant::inline EDGEQUANT_ABI
