// SPDX-License-Identifier: MIT
/// Scoring rules as JSON, declared by conditions, and files of engines and rules.
#pragma once

#include "../io/text_file.hpp"
#include "engine_json.hpp"
#include "engine_selector.hpp"
#include "requirement.hpp"

namespace edgequant::inline EDGEQUANT_ABI {

/// Reads a rule such as
///   {"name": "our licence", "points": 10, "when": {"licence": ["MIT", "BSD-3-Clause"]},
///    "reason": "a licence that we may ship"}
/// Where all conditions of `when` hold (without conditions: always), the engine gets the points,
/// and the reason counts for it, or against it if the points are negative; with `"excludes": true`
/// the engine is out. A condition has one value, or a list of which one must match:
///   feature, weight_format  a word of the engine's; upper and lower case are the same
///   engine, language        the name
///   licence                 the name, with or without its version
///   platform                the one that was chosen
///   precision               one that the engine supports
///   status                  active, deprecated or archived
///   device, npu_vendor      a word of the device's name or chip; the vendor of its NPU
///   reaches                 cpu, gpu or npu: the engine reaches that of the device
///   min_ram_mib, max_ram_mib  the device has at least, at most so much; one number
/// bad_file, with `place` and the field's path (which begins with `path`), for an unknown condition
/// or name, a missing or unknown field, and a value of another type.
[[nodiscard]] scoring_rule parse_rule(const nlohmann::json& json, const std::string& place,
                                      const std::string& path = {});

/// Adds the engines and rules of a file to a selector; they replace those of the same names. The
/// file is an object with lists `engines`, `rules` or both, at most 1 MiB. If one of them is bad,
/// none is added. Errors as parse_engine(), parse_rule(), parse_json() and read_text_file().
void read_into(engine_selector& selector, const std::filesystem::path& file);

namespace advisor::detail {

/// A condition on a name. `known` lists the possible values; null: any.
struct condition_row {
  std::string_view name;
  bool (*holds)(const scoring_case&, const std::string& value);
  std::string (*known)() = nullptr;
};

[[nodiscard]] inline bool one_has_word(const std::vector<std::string>& texts,
                                       const std::string& word) {
  return std::any_of(texts.begin(), texts.end(),
                     [&](const auto& text) { return names_word(text, word); });
}

[[nodiscard]] inline bool reaches(const scoring_case& c, const std::string& processor) {
  if (processor == "cpu") return !common_isa(c.engine, c.device).empty();
  if (processor == "gpu") return way_to_gpu(c.engine, c.device, c.os) != nullptr;
  return way_to_npu(c.engine, c.device) != nullptr;
}

inline constexpr condition_row condition_table[] = {
    {"feature", [](const scoring_case& c,
                   const std::string& v) { return one_has_word(c.engine.features, v); }},
    {"weight_format",
     [](const scoring_case& c, const std::string& v) {
       return one_has_word(c.engine.weight_formats, v);
     }},
    {"engine", [](const scoring_case& c, const std::string& v) { return c.engine.name == v; }},
    {"language",
     [](const scoring_case& c, const std::string& v) {
       const auto& all = c.engine.languages;
       return std::find(all.begin(), all.end(), v) != all.end();
     }},
    {"licence",
     [](const scoring_case& c, const std::string& v) {
       return any_part(c.engine.licence, "; ", [&](auto part) { return same_licence(v, part); });
     }},
    {"platform", [](const scoring_case& c, const std::string& v) { return name_of(c.os) == v; },
     [] { return listed_names(platform_table); }},
    {"precision",
     [](const scoring_case& c, const std::string& v) {
       return supports(c.engine, find_precision(v).value_or(precision::mixed));
     },
     [] { return std::string(precision_names); }},
    {"status",
     [](const scoring_case& c, const std::string& v) { return name_of(c.engine.status) == v; },
     [] { return listed_names(engine_status_table); }},
    {"device",
     [](const scoring_case& c, const std::string& v) {
       return names_word(c.device.name + " " + c.device.chip, v);
     }},
    {"npu_vendor", [](const scoring_case& c,
                      const std::string& v) { return c.device.npu && c.device.npu->vendor == v; }},
    {"reaches", reaches, [] { return std::string("cpu, gpu, npu"); }},
};

using condition = std::function<bool(const scoring_case&)>;

/// The strings of a field: one, or a list.
[[nodiscard]] inline std::vector<std::string> one_or_more(json_object& fields,
                                                          std::string_view name) {
  const auto* value = fields.find(name);
  if (value != nullptr && value->is_string()) return {value->get<std::string>()};
  auto texts = fields.texts(name);
  if (texts.empty()) fields.refuse(name, "a string, or a list of them");
  return texts;
}

[[nodiscard]] inline condition parse_condition(json_object& fields, const condition_row& row) {
  auto values = one_or_more(fields, row.name);
  if (row.known != nullptr) {
    const std::string known = row.known();
    for (const auto& value : values)
      if (!any_part(known, ", ", [&](auto name) { return name == value; }))
        fail(error_code::bad_file, fields.here(row.name),
             "unknown name '" + escaped(value) + "', expected one of " + known);
  }
  return [holds = row.holds, values = std::move(values)](const scoring_case& c) {
    return std::any_of(values.begin(), values.end(), [&](const auto& v) { return holds(c, v); });
  };
}

[[nodiscard]] inline std::vector<condition> parse_conditions(json_object fields) {
  std::vector<condition> all;
  for (const auto& row : condition_table)
    if (fields.find(row.name) != nullptr) all.push_back(parse_condition(fields, row));
  constexpr std::uint64_t most = std::uint64_t{1} << 32;
  if (const auto least = fields.integer("min_ram_mib", 0, most))
    all.push_back([least](const scoring_case& c) { return c.device.ram_mib >= *least; });
  if (const auto limit = fields.integer("max_ram_mib", 0, most)) // 0 MiB: unknown
    all.push_back([limit](const scoring_case& c) {
      return c.device.ram_mib != 0 && c.device.ram_mib <= *limit;
    });
  fields.require_no_others();
  return all;
}

/// Reads a list of the file, each item by parse(item, place, path).
template <class Parse>
[[nodiscard]] auto parse_list(json_object& fields, std::string_view name, const std::string& place,
                              Parse parse) {
  std::vector<decltype(parse(nlohmann::json(), place, place))> all;
  const auto* list = fields.find(name);
  if (list == nullptr) return all;
  if (!list->is_array()) fields.refuse(name, "a list");
  for (const auto& item : *list) all.push_back(parse(item, place, item_path(name, all.size())));
  return all;
}

} // namespace advisor::detail

inline scoring_rule parse_rule(const nlohmann::json& json, const std::string& place,
                               const std::string& path) {
  json_object fields(json, place, path);
  scoring_rule rule;
  rule.name = fields.require("name", fields.text("name"));
  if (rule.name.empty()) fields.refuse("name", "a name");
  const bool excludes = fields.flag("excludes").value_or(false);
  const auto points = fields.number("points", -1e6, 1e6);
  rule.weight = excludes ? points.value_or(0) : fields.require("points", points);
  const std::string reason = fields.text("reason").value_or("rule '" + rule.name + "'");
  std::vector<advisor::detail::condition> conditions;
  if (auto when = fields.object("when"))
    conditions = advisor::detail::parse_conditions(*std::move(when));
  fields.require_no_others();
  rule.score = [=, penalty = rule.weight < 0](const scoring_case& c) -> rule_result {
    for (const auto& holds : conditions)
      if (!holds(c)) return {};
    if (excludes) return excluded(reason);
    return penalty ? speaks_against(reason, 1) : in_favour(reason);
  };
  return rule;
}

inline void read_into(engine_selector& selector, const std::filesystem::path& file) {
  const auto place = place_of(file);
  const auto json = parse_json(read_text_file(file, 1 << 20), place);
  json_object fields(json, place);
  auto engines = advisor::detail::parse_list(fields, "engines", place, parse_engine);
  auto rules = advisor::detail::parse_list(fields, "rules", place, parse_rule);
  fields.require_no_others();
  for (auto& engine : engines) selector.put(std::move(engine));
  for (auto& rule : rules) selector.put(std::move(rule));
}

} // namespace edgequant::inline EDGEQUANT_ABI
