// SPDX-License-Identifier: MIT
/// Engines as JSON: the fields are those of the struct.
#pragma once

#include "../format/format.hpp"
#include "../io/json_object.hpp"
#include "engine_catalogue.hpp"

namespace edgequant::inline EDGEQUANT_ABI {

/// Reads an object with the fields of engine_profile; name and platforms are required. An item of
/// `gpus` or `npus` is an object, or only its `api` or `vendor`. bad_file, with `place` and the
/// field's path (which begins with `path`), for a missing or unknown field, a value of another type
/// or out of range, and an unknown platform, precision or status.
[[nodiscard]] engine_profile parse_engine(const nlohmann::json& json, const std::string& place,
                                          const std::string& path = {});

/// What parse_engine() reads back as an equal profile; empty fields are left out.
[[nodiscard]] nlohmann::json to_json(const engine_profile& engine);

namespace advisor::detail {

inline constexpr std::string_view precision_names = "fp16, int8, int4, mixed";

/// "a, b, c" of the names in a table.
template <class Row, std::size_t N> [[nodiscard]] std::string listed_names(const Row (&table)[N]) {
  std::string names;
  for (const auto& row : table) names.append(names.empty() ? "" : ", ").append(row.name);
  return names;
}

[[nodiscard]] constexpr std::optional<engine_status> find_status(std::string_view name) noexcept {
  for (const auto& row : engine_status_table)
    if (row.name == name) return row.id;
  return std::nullopt;
}

[[nodiscard]] inline std::string item_path(std::string_view name, std::size_t index) {
  return std::string(name) + "[" + std::to_string(index) + "]";
}

[[nodiscard]] inline std::string joined(const std::string& path, const std::string& field) {
  return path.empty() ? field : path + "." + field;
}

/// A list of names that `find` knows.
template <class Find>
[[nodiscard]] auto known_names(json_object& fields, std::string_view field, Find find,
                               std::string_view known) {
  std::vector<typename decltype(find(std::string_view()))::value_type> ids;
  for (const auto& name : fields.texts(field)) {
    const auto id = find(name);
    if (!id)
      fail(error_code::bad_file, fields.here(item_path(field, ids.size())),
           "unknown name '" + escaped(name) + "', expected one of " + std::string(known));
    ids.push_back(*id);
  }
  return ids;
}

/// A list of objects or names. read(object) and named(name) make an item.
template <class T, class Read>
[[nodiscard]] std::vector<T> accelerators(json_object& fields, std::string_view field,
                                          const std::string& place, const std::string& path,
                                          Read read) {
  std::vector<T> all;
  const auto* list = fields.find(field);
  if (list == nullptr) return all;
  if (!list->is_array()) fields.refuse(field, "a list");
  for (const auto& item : *list)
    if (item.is_string())
      all.push_back(T{item.template get<std::string>()});
    else
      all.push_back(read(json_object(item, place, joined(path, item_path(field, all.size())))));
  return all;
}

[[nodiscard]] inline gpu_support parse_gpu(json_object fields) {
  gpu_support way;
  way.api = fields.require("api", fields.text("api"));
  way.families = fields.texts("families");
  way.note = fields.text("note").value_or("");
  fields.require_no_others();
  return way;
}

[[nodiscard]] inline npu_support parse_npu_way(json_object fields) {
  npu_support way;
  way.vendor = fields.require("vendor", fields.text("vendor"));
  way.chips = fields.texts("chips");
  way.note = fields.text("note").value_or("");
  fields.require_no_others();
  return way;
}

} // namespace advisor::detail

inline engine_profile parse_engine(const nlohmann::json& json, const std::string& place,
                                   const std::string& path) {
  json_object fields(json, place, path);
  engine_profile engine;
  const auto text = [&](std::string_view name) { return fields.text(name).value_or(""); };
  engine.name = fields.require("name", fields.text("name"));
  if (engine.name.empty()) fields.refuse("name", "a name");
  engine.platforms = advisor::detail::known_names(fields, "platforms", find_platform,
                                                  advisor::detail::listed_names(platform_table));
  if (engine.platforms.empty()) fields.refuse("platforms", "at least one platform");
  engine.precisions = advisor::detail::known_names(
      fields, "precisions", advisor::detail::find_precision, advisor::detail::precision_names);
  engine.weight_formats = fields.texts("weight_formats");
  engine.quantization_types = fields.texts("quantization_types");
  engine.files = fields.texts("files");
  engine.gguf_formats = fields.texts("gguf_formats");
  for (std::size_t i = 0; i < engine.gguf_formats.size(); ++i)
    if (find_format(engine.gguf_formats[i]) == nullptr)
      fail(error_code::bad_file, fields.here(advisor::detail::item_path("gguf_formats", i)),
           "unknown format '" + escaped(engine.gguf_formats[i]) + "'");
  engine.architectures = fields.texts("architectures");
  engine.experts = fields.flag("experts");
  engine.cpu_isas = fields.texts("cpu_isas");
  engine.gpus = advisor::detail::accelerators<gpu_support>(fields, "gpus", place, path,
                                                           advisor::detail::parse_gpu);
  engine.npus = advisor::detail::accelerators<npu_support>(fields, "npus", place, path,
                                                           advisor::detail::parse_npu_way);
  engine.chips = fields.texts("chips");
  engine.min_ram_mib = fields.integer("min_ram_mib", 1, std::uint64_t{1} << 32);
  engine.ram_note = text("ram_note");
  engine.features = fields.texts("features");
  engine.licence = text("licence");
  engine.languages = fields.texts("languages");
  if (const auto name = fields.text("status")) {
    const auto status = advisor::detail::find_status(*name);
    if (!status)
      fields.refuse("status", "one of " + advisor::detail::listed_names(engine_status_table));
    engine.status = *status;
  }
  engine.status_note = text("status_note");
  engine.offline = fields.flag("offline");
  engine.source = text("source");
  engine.confidence = text("confidence");
  fields.require_no_others();
  return engine;
}

namespace advisor::detail {

[[nodiscard]] inline nlohmann::json accelerator_json(std::string_view key, const std::string& name,
                                                     std::string_view list,
                                                     const std::vector<std::string>& only,
                                                     const std::string& note) {
  if (only.empty() && note.empty()) return name;
  nlohmann::json json = {{std::string(key), name}};
  if (!only.empty()) json[std::string(list)] = only;
  if (!note.empty()) json["note"] = note;
  return json;
}

} // namespace advisor::detail

inline nlohmann::json to_json(const engine_profile& engine) {
  nlohmann::json json = {{"name", engine.name}, {"platforms", nlohmann::json::array()}};
  for (const auto id : engine.platforms) json["platforms"].push_back(name_of(id));
  for (const auto id : engine.precisions) json["precisions"].push_back(name_of(id));
  const auto add = [&](const char* name, const auto& value) {
    if (!value.empty()) json[name] = value;
  };
  add("weight_formats", engine.weight_formats);
  add("quantization_types", engine.quantization_types);
  add("files", engine.files);
  add("gguf_formats", engine.gguf_formats);
  add("architectures", engine.architectures);
  if (engine.experts) json["experts"] = *engine.experts;
  add("cpu_isas", engine.cpu_isas);
  for (const auto& way : engine.gpus)
    json["gpus"].push_back(
        advisor::detail::accelerator_json("api", way.api, "families", way.families, way.note));
  for (const auto& way : engine.npus)
    json["npus"].push_back(
        advisor::detail::accelerator_json("vendor", way.vendor, "chips", way.chips, way.note));
  add("chips", engine.chips);
  if (engine.min_ram_mib) json["min_ram_mib"] = *engine.min_ram_mib;
  add("ram_note", engine.ram_note);
  add("features", engine.features);
  add("licence", engine.licence);
  add("languages", engine.languages);
  if (engine.status != engine_status::active) json["status"] = name_of(engine.status);
  add("status_note", engine.status_note);
  if (engine.offline) json["offline"] = *engine.offline;
  add("source", engine.source);
  add("confidence", engine.confidence);
  return json;
}

} // namespace edgequant::inline EDGEQUANT_ABI
