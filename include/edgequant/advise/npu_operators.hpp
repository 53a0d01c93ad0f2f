// SPDX-License-Identifier: MIT
/// Which steps of a decoder run on an NPU, which fall back to the CPU, and which cannot run.
#pragma once

#include "../core/nearest_name.hpp"
#include "../io/bytes.hpp"
#include "accelerator_match.hpp"
#include "model_profile.hpp"
#include "npu_table.hpp"

#include <ostream>
#include <span>

namespace edgequant::inline EDGEQUANT_ABI {

enum class operator_place {
  npu,
  composed, ///< on the NPU, as several of its operators
  padded,   ///< on the NPU, with shapes that are fixed at compile time
  cpu,      ///< falls back to the CPU
  nowhere,  ///< the NPU's own tools can run it on neither
  unknown,  ///< not published
};

struct operator_place_row {
  operator_place id;
  std::string_view name; ///< as in tables
};

inline constexpr operator_place_row operator_place_table[] = {
    {operator_place::npu, "npu"},       {operator_place::composed, "composed"},
    {operator_place::padded, "padded"}, {operator_place::cpu, "cpu"},
    {operator_place::nowhere, "no"},    {operator_place::unknown, "?"},
};

/// Every enumerator has a row.
[[nodiscard]] constexpr std::string_view name_of(operator_place id) noexcept {
  for (const auto& row : operator_place_table)
    if (row.id == id) return row.name;
  return {};
}

struct operator_verdict {
  std::string name; ///< of the step: "RMSNorm"
  operator_place place = operator_place::unknown;
  std::uint64_t per_token = 0; ///< times that it is computed
  std::string note = {};       ///< the reason, or the operators that it is composed of
};

struct operator_check {
  std::string npu;
  std::string vendor;
  precision weights = precision::int4;
  std::vector<operator_verdict> operators = {};
  std::vector<std::string> ignored = {}; ///< operators of the profile that no decoder needs
  std::string note = {}, source = {}, confidence = {};

  /// Whether all steps run on the NPU, composed and padded ones included.
  [[nodiscard]] bool runs_all() const;
  /// Names of the steps that the NPU does not compute.
  [[nodiscard]] std::vector<std::string> steps(operator_place place) const;
  /// How often a token's computation leaves the NPU, at most.
  [[nodiscard]] std::uint64_t fallbacks_per_token() const;
};

/// The row for an NPU, or null.
[[nodiscard]] const npu_row* find_npu(const npu_profile& npu);

/// Every step of the decoder on that NPU. Operators and types that the profile lists take the place
/// of the row's; operators as in npu_table, whatever the case. bad_argument for a model without
/// layers.
[[nodiscard]] operator_check check_operators(const model_profile& model, const npu_profile& npu,
                                             precision weights = precision::int4);

/// The same model on several NPUs.
[[nodiscard]] std::vector<operator_check> portability_table(const model_profile& model,
                                                            std::span<const npu_profile> npus,
                                                            precision weights = precision::int4);

/// A row a step, a column an NPU, then a line with the confidence for each.
void print_portability(std::ostream& out, std::span<const operator_check> checks);

namespace advisor::detail {

/// A step of a Llama-like decoder.
struct decoder_step {
  std::string_view name;
  std::string_view direct;   ///< operators that compute it, any of them, with spaces between
  std::string_view composed; ///< sets of operators that do so together, with "; " between
  std::uint64_t (*per_token)(const model_profile&);
  bool has_weights = false;
  std::uint64_t (*dimension)(const model_profile&) = nullptr; ///< its largest
};

inline constexpr decoder_step decoder_steps[] = {
    {"embedding lookup", "gather", "", [](const model_profile&) { return std::uint64_t{1}; }, false,
     [](const model_profile& m) { return m.vocabulary; }},
    {"RMSNorm", "rms_norm", "mul mean add rsqrt; mul mean add sqrt div",
     [](const model_profile& m) { return 2 * m.layers + 1; }},
    {"weight products", "linear", "", [](const model_profile& m) { return 7 * m.layers; }, true,
     [](const model_profile& m) { return std::max(m.hidden_size, m.feed_forward_size); }},
    {"RoPE", "rope", "mul add slice concat", [](const model_profile& m) { return 2 * m.layers; }},
    {"KV cache update", "state scatter", "concat slice",
     [](const model_profile& m) { return 2 * m.layers; }},
    {"growing context", "dynamic_shapes", "", [](const model_profile& m) { return m.layers; }},
    {"attention products", "matmul", "", [](const model_profile& m) { return 2 * m.layers; }},
    {"softmax", "softmax", "", [](const model_profile& m) { return m.layers; }},
    {"SiLU", "silu", "sigmoid mul", [](const model_profile& m) { return m.layers; }},
    {"multiply", "mul", "", [](const model_profile& m) { return m.layers; }},
    {"add", "add", "", [](const model_profile& m) { return 2 * m.layers; }},
    {"output product", "linear", "", [](const model_profile&) { return std::uint64_t{1}; }, true,
     [](const model_profile& m) { return m.vocabulary; }},
};

inline constexpr std::string_view decoder_operators =
    "gather linear matmul softmax silu sigmoid mul add mean sqrt rsqrt div rms_norm rope slice "
    "concat scatter state dynamic_shapes";

/// An NPU's row, with what its profile overrides.
struct npu_abilities {
  std::vector<std::string> operators, types;
  bool falls_back = true;
  std::uint64_t max_dimension = 0;

  [[nodiscard]] bool has(std::string_view name) const {
    return std::find(operators.begin(), operators.end(), name) != operators.end();
  }
  [[nodiscard]] bool has_any(std::string_view names) const {
    return any_part(names, " ", [&](auto name) { return has(name); });
  }
  [[nodiscard]] bool has_all(std::string_view names) const {
    return !any_part(names, " ", [&](auto name) { return !has(name); });
  }
  [[nodiscard]] bool takes(precision weights) const {
    const auto one = [&](precision p) {
      return std::find(types.begin(), types.end(), name_of(p)) != types.end();
    };
    return weights == precision::mixed ? one(precision::int8) && one(precision::int4)
                                       : one(weights);
  }
};

[[nodiscard]] inline npu_abilities abilities_of(const npu_profile& npu, const npu_row* row,
                                                std::vector<std::string>& ignored) {
  npu_abilities a;
  if (row != nullptr) {
    a.operators = parts_between(row->operators, " ");
    a.types = parts_between(row->types, " ");
    a.falls_back = row->falls_back;
    a.max_dimension = row->max_dimension;
  }
  if (!npu.types.empty()) a.types = npu.types;
  if (npu.operators.empty()) return a;
  a.operators.clear();
  for (const auto& name : npu.operators)
    if (!any_part(decoder_operators, " ", [&](auto known) {
          return equal_ignoring_case(known, name) && (a.operators.emplace_back(known), true);
        }))
      ignored.push_back(name);
  return a;
}

/// Where a step runs that the NPU does not compute.
[[nodiscard]] inline operator_place elsewhere(const npu_abilities& a) {
  return a.falls_back ? operator_place::cpu : operator_place::nowhere;
}

/// Considers the operators only, not types and sizes.
inline void place_step(const decoder_step& step, const npu_abilities& a, const model_profile& model,
                       operator_verdict& v) {
  if (a.has_any(step.direct)) {
    v.place = operator_place::npu;
    return;
  }
  const bool composed = any_part(step.composed, "; ", [&](auto set) {
    if (a.has_all(set)) v.note = "of " + std::string(set);
    return !v.note.empty();
  });
  if (composed) {
    v.place = operator_place::composed;
  } else if (step.direct == "dynamic_shapes") {
    v.place = operator_place::padded;
    v.note = "compiled for a fixed context, at most " + std::to_string(model.context_tokens);
  } else {
    v.place = elsewhere(a);
    any_part(step.direct, " ", [&](auto name) {
      v.note.append(v.note.empty() ? "no " : " or ").append(name);
      return false;
    });
  }
}

[[nodiscard]] inline operator_verdict judge_step(const decoder_step& step, const npu_abilities& a,
                                                 const model_profile& model, precision weights) {
  operator_verdict v{.name = std::string(step.name), .per_token = step.per_token(model)};
  if (a.operators.empty()) {
    v.note = "operators are not published";
    return v;
  }
  place_step(step, a, model, v);
  if (v.place != operator_place::npu) return v;
  const std::uint64_t largest = step.dimension == nullptr ? 0 : step.dimension(model);
  if (a.max_dimension != 0 && largest > a.max_dimension) {
    v.place = elsewhere(a);
    v.note = "a dimension of " + std::to_string(largest) + ", at most " +
             std::to_string(a.max_dimension);
  } else if (step.has_weights && a.types.empty()) {
    v.place = operator_place::unknown;
    v.note = "types are not published";
  } else if (step.has_weights && !a.takes(weights)) {
    v.place = elsewhere(a);
    v.note = "no " + std::string(name_of(weights)) + " weights";
  }
  return v;
}

} // namespace advisor::detail

inline bool operator_check::runs_all() const {
  return std::all_of(operators.begin(), operators.end(),
                     [](const auto& v) { return v.place <= operator_place::padded; });
}

inline std::vector<std::string> operator_check::steps(operator_place place) const {
  std::vector<std::string> names;
  for (const auto& v : operators)
    if (v.place == place) names.push_back(v.name);
  return names;
}

inline std::uint64_t operator_check::fallbacks_per_token() const {
  std::uint64_t count = 0;
  for (const auto& v : operators)
    if (v.place == operator_place::cpu) count += v.per_token;
  return count;
}

inline const npu_row* find_npu(const npu_profile& npu) {
  for (const auto& row : npu_table)
    if (row.vendor == npu.vendor &&
        (row.models.empty() || advisor::detail::any_part(row.models, " ", [&](auto word) {
           return names_word(npu.name, word);
         })))
      return &row;
  return nullptr;
}

inline operator_check check_operators(const model_profile& model, const npu_profile& npu,
                                      precision weights) {
  if (model.layers == 0)
    fail(error_code::bad_argument, place_of("", "model", model.name), "has no layers");
  const auto* row = find_npu(npu);
  operator_check check{.npu = npu.name, .vendor = npu.vendor, .weights = weights};
  const auto abilities = advisor::detail::abilities_of(npu, row, check.ignored);
  for (const auto& step : advisor::detail::decoder_steps)
    check.operators.push_back(advisor::detail::judge_step(step, abilities, model, weights));
  if (row == nullptr) {
    check.note = "the vendor is not in the table";
    check.confidence = "low";
  } else {
    check.note = row->note;
    check.source = row->source;
    check.confidence = row->confidence;
  }
  if (!npu.operators.empty() || !npu.types.empty())
    check.source += std::string(check.source.empty() ? "" : "; ") + "the NPU's profile";
  return check;
}

inline std::vector<operator_check> portability_table(const model_profile& model,
                                                     std::span<const npu_profile> npus,
                                                     precision weights) {
  std::vector<operator_check> checks;
  for (const auto& npu : npus) checks.push_back(check_operators(model, npu, weights));
  return checks;
}

inline void print_portability(std::ostream& out, std::span<const operator_check> checks) {
  const auto cell = [&](std::string_view text, std::size_t width) {
    const std::string shown = escaped(text, 60);
    out << shown << std::string(shown.size() < width ? width - shown.size() : 0, ' ');
  };
  const auto width = [](const operator_check& c) {
    return std::max<std::size_t>(escaped(c.npu, 60).size(), 8) + 2;
  };
  cell("step", 20);
  for (const auto& c : checks) cell(c.npu, width(c));
  out << '\n';
  for (std::size_t i = 0; !checks.empty() && i < checks[0].operators.size(); ++i) {
    cell(checks[0].operators[i].name, 20);
    for (const auto& c : checks) cell(name_of(c.operators[i].place), width(c));
    out << '\n';
  }
  for (const auto& c : checks)
    out << escaped(c.npu, 60) << ", " << name_of(c.weights) << ": confidence " << c.confidence
        << (c.note.empty() ? "" : "; ") << c.note << '\n';
}

} // namespace edgequant::inline EDGEQUANT_ABI
