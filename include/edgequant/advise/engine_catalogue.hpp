// SPDX-License-Identifier: MIT
/// Engines of the two tables, as profiles.
#pragma once

#include "../gemm/weight_view.hpp"
#include "../model/architecture.hpp"
#include "accelerator_match.hpp"
#include "engine_table.hpp"

namespace edgequant::inline EDGEQUANT_ABI {

/// The profile that a row describes. All engines of the tables run on the device itself: offline.
/// What the built-in engine opens is read off its own tables.
[[nodiscard]] engine_profile engine_of(const engine_row& row);

/// The four engines of the baseline, with which baseline_rules() are defined: llama.cpp, MLC-LLM,
/// ONNX Runtime and TensorFlow Lite, in this order. Their rows are fixed; current_engines() has
/// today's.
[[nodiscard]] std::vector<engine_profile> baseline_engines();

/// What is known of today's engines, EdgeQuant's own among them, each with source and confidence.
[[nodiscard]] std::vector<engine_profile> current_engines();

namespace advisor::detail {

/// Adds the architectures and formats that this build's engine runs.
inline void add_built_in_facts(engine_profile& engine) {
  for (const auto& row : architecture_table)
    if (find_architecture(row.name) == &row) engine.architectures.emplace_back(row.name);
  for (const auto& row : format_table)
    if (can_multiply(row.id)) engine.gguf_formats.emplace_back(row.name);
  engine.experts = true; // of architectures that have them
}

/// Whether find(part) knows each part of a list.
template <class Find> [[nodiscard]] constexpr bool all_known(std::string_view list, Find find) {
  return !list.empty() && !any_part(list, "; ", [&](auto part) { return !find(part); });
}

[[nodiscard]] constexpr std::optional<precision> find_precision(std::string_view name) {
  for (const auto p : {precision::fp16, precision::int8, precision::int4, precision::mixed})
    if (name_of(p) == name) return p;
  return std::nullopt;
}

template <std::size_t N> [[nodiscard]] constexpr bool well_formed(const engine_row (&table)[N]) {
  for (const auto& row : table)
    if (!all_known(row.platforms, find_platform) || !all_known(row.precisions, find_precision))
      return false;
  return true;
}
static_assert(well_formed(baseline_engine_table) && well_formed(current_engine_table));

/// `name`, `name:only,only` or either with ` (note)`.
struct accelerator_text {
  std::string name;
  std::vector<std::string> only;
  std::string note;
};

[[nodiscard]] inline accelerator_text accelerator_of(std::string_view text) {
  accelerator_text result;
  if (const auto bracket = text.find(" ("); bracket != text.npos) {
    result.note = text.substr(bracket + 2, text.size() - bracket - 3);
    text = text.substr(0, bracket);
  }
  const auto colon = text.find(':');
  result.name = text.substr(0, colon);
  if (colon != text.npos) result.only = parts_between(text.substr(colon + 1), ",");
  return result;
}

template <std::size_t N>
[[nodiscard]] std::vector<engine_profile> engines_of(const engine_row (&table)[N]) {
  std::vector<engine_profile> engines;
  for (const auto& row : table) engines.push_back(engine_of(row));
  return engines;
}

} // namespace advisor::detail

inline engine_profile engine_of(const engine_row& row) {
  engine_profile engine;
  engine.name = row.name;
  for (const auto& name : advisor::detail::parts_between(row.platforms, "; "))
    engine.platforms.push_back(*find_platform(name)); // the tables are checked above
  for (const auto& name : advisor::detail::parts_between(row.precisions, "; "))
    engine.precisions.push_back(*advisor::detail::find_precision(name));
  engine.weight_formats = advisor::detail::parts_between(row.weight_formats, "; ");
  engine.quantization_types = advisor::detail::parts_between(row.quantization_types, "; ");
  engine.files = advisor::detail::parts_between(row.files, "; ");
  engine.gguf_formats = advisor::detail::parts_between(row.gguf_formats, "; ");
  if (row.name == built_in_engine_name) advisor::detail::add_built_in_facts(engine);
  engine.cpu_isas = advisor::detail::parts_between(row.cpu_isas, "; ");
  for (const auto& text : advisor::detail::parts_between(row.gpus, "; ")) {
    auto way = advisor::detail::accelerator_of(text);
    engine.gpus.push_back({std::move(way.name), std::move(way.only), std::move(way.note)});
  }
  for (const auto& text : advisor::detail::parts_between(row.npus, "; ")) {
    auto way = advisor::detail::accelerator_of(text);
    engine.npus.push_back({std::move(way.name), std::move(way.only), std::move(way.note)});
  }
  engine.chips = advisor::detail::parts_between(row.chips, "; ");
  if (row.min_ram_mib != 0) engine.min_ram_mib = row.min_ram_mib;
  engine.ram_note = row.ram_note;
  engine.features = advisor::detail::parts_between(row.features, "; ");
  engine.licence = row.licence;
  engine.languages = advisor::detail::parts_between(row.languages, "; ");
  engine.status = row.status;
  engine.status_note = row.status_note;
  engine.offline = true;
  engine.source = row.source;
  engine.confidence = row.confidence;
  return engine;
}

inline std::vector<engine_profile> baseline_engines() {
  return advisor::detail::engines_of(baseline_engine_table);
}

inline std::vector<engine_profile> current_engines() {
  return advisor::detail::engines_of(current_engine_table);
}

} // namespace edgequant::inline EDGEQUANT_ABI
