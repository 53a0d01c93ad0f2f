// SPDX-License-Identifier: MIT
/// A precision plan as JSON, and back.
#pragma once

#include "../io/json.hpp"
#include "../io/text_file.hpp"
#include "../metric/rank_correlation.hpp"
#include "../plan/budget.hpp"

#include <nlohmann/json.hpp>

namespace edgequant::inline EDGEQUANT_ABI {

/// One object: budget_bytes, file_bytes, loss, lower_bound, proven, predicted_divergence (value and
/// error) and measured_divergence (both in nats a token, null where not known), and tensors: name,
/// format, shape, kurtosis, and for each candidate format, bytes, weight_error, column_error,
/// output_error, kl (nats, null where it was not measured); rank_correlation: how well each error
/// ranks the tensors in their measured candidate by the measured divergence (Spearman), null
/// without it.
[[nodiscard]] nlohmann::json to_json(const budget_plan& plan,
                                     std::span<const layer_sensitivity> layers);

/// The formats in such an object, whatever else it holds. bad_file, at `place`, for anything that
/// is no list of tensors with name and writable format, and for a name that is there twice.
[[nodiscard]] named_formats read_plan(const std::filesystem::path& file);

namespace report::detail {

[[nodiscard]] inline nlohmann::json rank_correlations(std::span<const layer_sensitivity> layers) {
  std::vector<double> weight, column, output, kl;
  for (const auto& layer : layers) {
    if (layer.candidates.empty() || !layer.measured().kl) continue;
    const auto& c = layer.measured();
    weight.push_back(c.weight_error), column.push_back(c.column_error);
    output.push_back(c.output_error), kl.push_back(*c.kl);
  }
  if (kl.size() < 2) return nullptr;
  return {{"weight_error", rank_correlation(weight, kl)},
          {"column_error", rank_correlation(column, kl)},
          {"output_error", rank_correlation(output, kl)}};
}

} // namespace report::detail

inline nlohmann::json to_json(const budget_plan& plan, std::span<const layer_sensitivity> layers) {
  using nlohmann::json;
  json tensors = json::array();
  for (const auto& layer : layers) {
    const auto chosen = plan.formats.find(layer.name);
    if (chosen == plan.formats.end()) continue;
    json candidates = json::array();
    for (const auto& c : layer.candidates)
      candidates.push_back({{"format", name_of(c.type)},
                            {"bytes", c.bytes},
                            {"weight_error", c.weight_error},
                            {"column_error", c.column_error},
                            {"output_error", c.output_error},
                            {"kl", c.kl ? json(*c.kl) : json(nullptr)}});
    tensors.push_back({{"name", layer.name},
                       {"format", name_of(chosen->second)},
                       {"shape", {layer.rows, layer.columns}},
                       {"kurtosis", layer.kurtosis},
                       {"candidates", std::move(candidates)}});
  }
  json predicted = nullptr, measured = nullptr;
  if (plan.predicted)
    predicted = {{"value", plan.predicted->value}, {"error", plan.predicted->error}};
  if (plan.measured) measured = *plan.measured;
  return {{"budget_bytes", plan.budget_bytes},
          {"file_bytes", plan.file_bytes},
          {"loss", plan.result.loss},
          {"lower_bound", plan.result.lower_bound},
          {"proven", plan.result.proven},
          {"predicted_divergence", std::move(predicted)},
          {"measured_divergence", std::move(measured)},
          {"rank_correlation", report::detail::rank_correlations(layers)},
          {"tensors", std::move(tensors)}};
}

inline named_formats read_plan(const std::filesystem::path& file) {
  const std::string place = place_of(file);
  const auto plan = parse_json(read_text_file(file), place);
  named_formats formats;
  if (!plan.is_object() || !plan.contains("tensors") || !plan["tensors"].is_array())
    fail(error_code::bad_file, place, "no list of tensors");
  for (const auto& t : plan["tensors"]) {
    if (!t.is_object() || !t.value("name", nlohmann::json()).is_string() ||
        !t.value("format", nlohmann::json()).is_string())
      fail(error_code::bad_file, place, "a tensor without name or format");
    const auto name = t["name"].get<std::string>();
    const auto* row = find_format(t["format"].get<std::string>());
    if (row == nullptr || row->use != format_use::writable)
      fail(error_code::bad_file, place_of(place, "tensor", name),
           "expected one of the formats " + writable_formats(", "));
    if (!formats.emplace(name, row->id).second)
      fail(error_code::bad_file, place_of(place, "tensor", name), "it is there twice");
  }
  return formats;
}

} // namespace edgequant::inline EDGEQUANT_ABI
