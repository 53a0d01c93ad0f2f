// SPDX-License-Identifier: MIT
/// Requirements on a model on a device (speed, memory, licence ...), hard or soft, as scoring
/// rules.
#pragma once

#include "scoring_rule.hpp"

#include "../core/exception.hpp"
#include "../core/number_text.hpp"

#include <cmath>

namespace edgequant::inline EDGEQUANT_ABI {

enum class requirement_kind {
  max_ms_per_token,
  max_ms_to_first_token,
  max_power_mw,
  max_storage_bytes, ///< of the model file
  max_memory_bytes,
  min_sqnr_db, ///< of the weights
  max_kl,      ///< nats a token from the original
  min_precision,
  licence,
  offline,
  npu,
};

/// A hard requirement excludes an engine that misses it. A soft one gives `weight` points to an
/// engine that meets it, and takes points from one that misses it: `weight` times the relative
/// excess over the limit, at most `weight` (a limit in dB costs all of it 6 dB below; a requirement
/// without a number, such as a licence, costs all of it at once). Where the figure is not known,
/// neither kind changes anything but adds a reason against.
struct requirement {
  requirement_kind kind = requirement_kind::offline;
  double limit = 0;                       ///< of kinds with a number, in the unit of their name
  precision least = precision::fp16;      ///< of min_precision: fp16 is above int8, above int4
  std::vector<std::string> licences = {}; ///< of licence: those that are allowed
  bool hard = true;
  double weight = 20;
};

/// The same requirement, soft.
[[nodiscard]] inline requirement softly(requirement r, double weight = 20) {
  r.hard = false;
  r.weight = weight;
  return r;
}

/// A requirement of a kind that has a number: `requirement_for(requirement_kind::max_ms_per_token,
/// 50)`.
[[nodiscard]] inline requirement requirement_for(requirement_kind kind, double limit) {
  return {.kind = kind, .limit = limit};
}
[[nodiscard]] inline requirement requirement_for(precision least) {
  return {.kind = requirement_kind::min_precision, .least = least};
}
/// One of these licences: "MIT", "Apache-2.0". A name without its version stands for all of them.
[[nodiscard]] inline requirement requirement_for_licence(std::vector<std::string> allowed) {
  return {.kind = requirement_kind::licence, .licences = std::move(allowed)};
}
[[nodiscard]] inline requirement requirement_for_offline() {
  return {.kind = requirement_kind::offline};
}
/// The device has an NPU, and the engine reaches it.
[[nodiscard]] inline requirement requirement_for_npu() { return {.kind = requirement_kind::npu}; }

/// The rule of a requirement. Its name is `requirement: max ms per token` and so on, with ` (soft)`
/// at the end for a soft one. bad_argument for a limit that is NaN or, except in dB, not above 0,
/// for an empty list of licences, and for a negative weight.
[[nodiscard]] scoring_rule rule_of(const requirement& r);

namespace advisor::detail {

/// Requirements on a figure.
struct figure_requirement_row {
  requirement_kind kind;
  std::string_view name, unit;
  bool at_most;
  std::optional<double> (*value)(const run_figures&);
};

template <class T> [[nodiscard]] std::optional<double> number_of(const std::optional<T>& value) {
  return value ? std::optional<double>(static_cast<double>(*value)) : std::nullopt;
}

inline constexpr figure_requirement_row figure_requirement_table[] = {
    {requirement_kind::max_ms_per_token, "max ms per token", " ms a token", true,
     [](const run_figures& f) { return f.ms_per_token; }},
    {requirement_kind::max_ms_to_first_token, "max ms to first token", " ms to the first token",
     true, [](const run_figures& f) { return f.ms_to_first_token; }},
    {requirement_kind::max_power_mw, "max power", " mW", true,
     [](const run_figures& f) { return f.power_mw; }},
    {requirement_kind::max_storage_bytes, "max storage", " bytes of storage", true,
     [](const run_figures& f) { return number_of(f.storage_bytes); }},
    {requirement_kind::max_memory_bytes, "max memory", " bytes of memory", true,
     [](const run_figures& f) { return number_of(f.memory_bytes); }},
    {requirement_kind::min_sqnr_db, "min SQNR", " dB of SQNR", false,
     [](const run_figures& f) { return f.sqnr_db; }},
    {requirement_kind::max_kl, "max KL", " nats a token of KL divergence", true,
     [](const run_figures& f) { return f.kl; }},
};

[[nodiscard]] inline const figure_requirement_row* figure_requirement(requirement_kind kind) {
  for (const auto& row : figure_requirement_table)
    if (row.kind == kind) return &row;
  return nullptr;
}

[[nodiscard]] inline std::string_view requirement_name(requirement_kind kind) {
  if (const auto* row = figure_requirement(kind)) return row->name;
  switch (kind) {
  case requirement_kind::min_precision:
    return "min precision";
  case requirement_kind::licence:
    return "licence";
  case requirement_kind::npu:
    return "must have NPU";
  default:
    return "offline";
  }
}

[[nodiscard]] inline rule_result met(const requirement& r, std::string reason) {
  return in_favour(std::move(reason), r.hard ? 0 : 1);
}

/// `excess`: by how much, from 0 to 1.
[[nodiscard]] inline rule_result missed(const requirement& r, std::string reason,
                                        double excess = 1) {
  return r.hard ? excluded(std::move(reason)) : speaks_against(std::move(reason), -excess);
}

[[nodiscard]] inline rule_result not_known(std::string_view what) {
  return speaks_against("cannot be checked: " + std::string(what));
}

/// A whole number as it is, others with 4 figures.
[[nodiscard]] inline std::string number_text(double value) {
  const bool is_integer_value = std::abs(value) < 1e15 && value == std::floor(value);
  return is_integer_value ? fixed_text(value, 0) : general_text(value, 4);
}

[[nodiscard]] inline rule_result
judge_figure(const requirement& r, const figure_requirement_row& row, const scoring_case& c) {
  const auto value = c.figures == nullptr ? std::nullopt : row.value(*c.figures);
  const std::string limit = number_text(r.limit) + std::string(row.unit);
  if (!value) {
    const std::string bound = row.at_most ? "at most " : "at least ";
    return not_known("no figure for " + bound + limit);
  }
  const double above = row.at_most ? *value - r.limit : r.limit - *value;
  const std::string here = number_text(*value);
  if (above <= 0) return met(r, here + (row.at_most ? ", at most " : ", at least ") + limit);
  const double degree = row.at_most ? above / r.limit : above / 6; // 6 dB are twice the error
  return missed(r, here + (row.at_most ? ", above " : ", below ") + limit, std::min(degree, 1.0));
}

[[nodiscard]] inline rule_result judge_precision(const requirement& r, const scoring_case& c) {
  const std::string least(name_of(r.least));
  if (c.weights) {
    if (*c.weights == precision::mixed) return not_known("what is mixed with what");
    if (*c.weights <= r.least) return met(r, "weights of at least " + least);
    return missed(r, "weights below " + least);
  }
  if (c.engine.precisions.empty()) return not_known("precisions of the engine");
  const bool able = std::any_of(c.engine.precisions.begin(), c.engine.precisions.end(),
                                [&](precision p) { return p <= r.least; });
  return able ? met(r, "takes weights of at least " + least)
              : missed(r, "takes no weights of at least " + least);
}

/// "BSD-3" is "BSD-3-Clause", "apache" is "Apache-2.0"; "GPL" is not "LGPL".
[[nodiscard]] inline bool same_licence(std::string_view a, std::string_view b) {
  if (a.size() > b.size()) std::swap(a, b);
  return !a.empty() && names_word(b.substr(0, a.size()), a) &&
         (a.size() == b.size() || b[a.size()] == '-');
}

[[nodiscard]] inline rule_result judge_licence(const requirement& r, const scoring_case& c) {
  const std::string& licence = c.engine.licence;
  if (licence.empty()) return not_known("licence of the engine");
  const bool refused = any_part(licence, "; ", [&](std::string_view part) {
    return std::none_of(r.licences.begin(), r.licences.end(),
                        [&](const auto& allowed) { return same_licence(allowed, part); });
  });
  return refused ? missed(r, "licence " + licence + " is not among those allowed")
                 : met(r, "licence " + licence);
}

[[nodiscard]] inline rule_result judge_offline(const requirement& r, const scoring_case& c) {
  if (!c.engine.offline) return not_known("whether it runs offline");
  return *c.engine.offline ? met(r, "runs offline") : missed(r, "needs a network");
}

[[nodiscard]] inline rule_result judge_npu(const requirement& r, const scoring_case& c) {
  if (!c.device.npu) return missed(r, "the device has no NPU");
  if (const auto* way = way_to_npu(c.engine, c.device))
    return met(r, with_note("uses the NPU " + c.device.npu->name, way->note));
  if (names_nnapi(c.engine) && c.os == platform::android)
    return met(r, "may use the NPU " + c.device.npu->name + " by NNAPI");
  return missed(r, "does not reach the NPU " + c.device.npu->name);
}

inline void require_valid(const requirement& r) {
  const auto refuse = [&](const char* problem) {
    fail(error_code::bad_argument, "requirement " + std::string(requirement_name(r.kind)), problem);
  };
  if (!std::isfinite(r.weight) || r.weight < 0) refuse("weight must be a number from 0 on");
  if (const auto* row = figure_requirement(r.kind)) {
    if (!std::isfinite(r.limit)) refuse("its limit is no number");
    if (row->at_most && !(r.limit > 0)) refuse("its limit must be above 0");
  }
  if (r.kind == requirement_kind::min_precision && r.least == precision::mixed)
    refuse("expected fp16, int8 or int4");
  if (r.kind == requirement_kind::licence && r.licences.empty())
    refuse("needs a licence that is allowed");
}

[[nodiscard]] inline rule_result judge_requirement(const requirement& r, const scoring_case& c) {
  if (const auto* row = figure_requirement(r.kind)) return judge_figure(r, *row, c);
  switch (r.kind) {
  case requirement_kind::min_precision:
    return judge_precision(r, c);
  case requirement_kind::licence:
    return judge_licence(r, c);
  case requirement_kind::npu:
    return judge_npu(r, c);
  default:
    return judge_offline(r, c);
  }
}

} // namespace advisor::detail

inline scoring_rule rule_of(const requirement& r) {
  advisor::detail::require_valid(r);
  return {.name = "requirement: " + std::string(advisor::detail::requirement_name(r.kind)) +
                  (r.hard ? "" : " (soft)"),
          .weight = r.weight,
          .score = [r](const scoring_case& c) { return advisor::detail::judge_requirement(r, c); },
          .weighs_precision = true};
}

} // namespace edgequant::inline EDGEQUANT_ABI
