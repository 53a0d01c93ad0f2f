// SPDX-License-Identifier: MIT
/// From sensitivities and a budget for the finished file to a format for every tensor.
#pragma once

#include "../core/checked.hpp"
#include "../core/number_parse.hpp"
#include "../metric/text_score.hpp"
#include "format_plan.hpp"
#include "mixed_precision.hpp"
#include "sensitivity.hpp"

#include <cmath>
#include <optional>

namespace edgequant::inline EDGEQUANT_ABI {

/// What a file may take: bytes, metadata and padding included, or bits a weight of the whole file.
struct file_budget {
  std::uint64_t bytes = 0;
  double bits_per_weight = 0; ///< not 0: this counts

  /// Rounded down to whole bytes.
  [[nodiscard]] std::uint64_t bytes_for(std::uint64_t weights) const noexcept {
    if (bits_per_weight == 0) return bytes;
    return static_cast<std::uint64_t>(bits_per_weight * static_cast<double>(weights) / 8);
  }
};

/// Reads `3355443`, `3.2MiB`, `700MB`, `1.5GiB` (also KB, KiB, GB) or `5.0bpw`. bad_argument for
/// anything else, and for what is not above 0.
[[nodiscard]] file_budget parse_budget(std::string_view text);

/// What a budget minimises.
enum class loss_measure {
  weight, ///< squared weight error
  fisher, ///< divergence in nats, from analyze_by_gradients()
  kld,    ///< divergence in nats, from measure_divergence()
};

/// `fisher`, `kld` or `weight`; bad_argument for anything else.
[[nodiscard]] loss_measure parse_measure(std::string_view name);

/// GPTQ with residual compensation leaves about so much of the divergence of plain rounding: 0.4 on
/// models of 2.6 and 0.26 million weights, 0.17 on one of 135 million.
inline constexpr double gptq_loss_factor = 0.25;

struct budget_options {
  file_budget budget;
  loss_measure measure = loss_measure::fisher;
  /// Loss of the matrices of layers is multiplied by it: gptq_loss_factor where they are encoded
  /// so, and the measure is of plain rounding.
  double layer_factor = 1;
  search_limits limits = {};
};

struct budget_plan {
  named_formats formats;     ///< of every tensor that was weighed
  format main = format::f32; ///< of most weights
  std::vector<choice_group> groups;
  assignment result; ///< of groups; costs are bytes in the file, padding included
  std::uint64_t budget_bytes = 0, file_bytes = 0; ///< of the whole file: at most, and as planned
  /// Nats a token of the whole model, interactions of its tensors included, where gradients say it.
  std::optional<estimate> predicted = {};
  std::optional<double> measured = {}; ///< nats a token, on held-out tokens
};

/// The formats of least loss with which the file stays within the budget. Tensors that `options`
/// pins by a rule, and those without sensitivity, keep what plan_formats() gives them.
/// bad_argument for a budget that no choice meets, naming the smallest file, and for a measure that
/// was not taken.
[[nodiscard]] budget_plan plan_for_budget(const model_source& source, const format_request& options,
                                          std::span<const layer_sensitivity> layers,
                                          const budget_options& limits);

inline file_budget parse_budget(std::string_view text) {
  struct unit {
    std::string_view name;
    double bytes;
  };
  constexpr unit units[] = {{"", 1},     {"B", 1},         {"KB", 1e3},      {"MB", 1e6},
                            {"GB", 1e9}, {"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}};
  if (const auto leading = read_leading_number(text); leading && leading->value > 0) {
    const double number = leading->value;
    const std::string_view rest = text.substr(leading->length);
    if (rest == "bpw" && number <= 64) return {0, number};
    for (const auto& u : units)
      if (rest == u.name && number * u.bytes >= 1 && number * u.bytes < 0x1p62)
        return {static_cast<std::uint64_t>(number * u.bytes), 0};
  }
  fail(error_code::bad_argument, "budget '" + escaped(text) + "'",
       "expected a size such as 3.2MiB or bits a weight such as 5.0bpw");
}

inline loss_measure parse_measure(std::string_view name) {
  if (name == "weight") return loss_measure::weight;
  if (name == "fisher") return loss_measure::fisher;
  if (name == "kld") return loss_measure::kld;
  fail(error_code::bad_argument, "sensitivity '" + escaped(name) + "'",
       "expected fisher, kld or weight");
}

namespace plan::detail {

[[nodiscard]] inline double loss_of(const layer_sensitivity& layer, const format_loss& c,
                                    const budget_options& options) {
  const double factor = layer.name.starts_with("blk.") ? options.layer_factor : 1;
  if (options.measure == loss_measure::weight) return factor * c.weight_error * c.weight_error;
  if (!c.kl) fail(error_code::bad_argument, layer.name, "its divergence was not measured");
  return factor * *c.kl;
}

/// The file with every tensor as planned, without the padded data of the weighed tensors.
[[nodiscard]] inline std::uint64_t fixed_bytes(const model_source& source,
                                               std::span<const tensor_plan> plans,
                                               std::span<const std::size_t> weighed,
                                               std::uint64_t alignment) {
  std::uint64_t bytes =
      gguf_file_size(output_metadata(source, plans), planned_tensors(source, plans));
  for (const std::size_t i : weighed) bytes -= *align_up(plans[i].bytes, alignment);
  return bytes;
}

} // namespace plan::detail

inline budget_plan plan_for_budget(const model_source& source, const format_request& options,
                                   std::span<const layer_sensitivity> layers,
                                   const budget_options& limits) {
  const auto plans = plan_formats(source, options.type, options.keep);
  const auto rules = deciding_rules(source, options.keep);
  const std::uint64_t alignment = gguf_alignment(source.metadata);
  budget_plan plan;
  std::vector<std::size_t> weighed;
  std::uint64_t weights = 0;
  for (std::size_t i = 0; i < plans.size(); ++i) {
    const auto& t = source.tensors[i].stored;
    weights += t.values();
    const auto layer =
        std::find_if(layers.begin(), layers.end(), [&](const auto& l) { return l.name == t.name; });
    if (rules[i] != nullptr || layer == layers.end() || layer->candidates.empty()) continue;
    choice_group group{t.name, {}};
    for (const auto& c : layer->candidates)
      group.choices.push_back(
          {c.type, *align_up(c.bytes, alignment), plan::detail::loss_of(*layer, c, limits)});
    weighed.push_back(i);
    plan.groups.push_back(std::move(group));
  }
  const std::uint64_t fixed = plan::detail::fixed_bytes(source, plans, weighed, alignment);
  plan.budget_bytes = limits.budget.bytes_for(weights);
  std::uint64_t least = fixed;
  for (const auto& group : plan.groups)
    least += std::min_element(group.choices.begin(), group.choices.end(),
                              [](const auto& a, const auto& b) { return a.cost < b.cost; })
                 ->cost;
  if (plan.budget_bytes < least)
    fail(error_code::bad_argument, "budget of " + std::to_string(plan.budget_bytes) + " bytes",
         "the smallest file with these formats has " + std::to_string(least));
  plan.result = assign_formats(plan.groups, plan.budget_bytes - fixed, limits.limits);
  plan.file_bytes = fixed + plan.result.cost;
  std::map<format, std::uint64_t> values;
  for (std::size_t i = 0; i < plan.groups.size(); ++i) {
    const format type = plan.groups[i].choices[plan.result.chosen[i]].type;
    plan.formats[plan.groups[i].name] = type;
    values[type] += source.tensors[weighed[i]].stored.values();
  }
  for (const auto& [type, count] : values)
    if (plan.main == format::f32 || count > values[plan.main]) plan.main = type;
  return plan;
}

} // namespace edgequant::inline EDGEQUANT_ABI
