// SPDX-License-Identifier: MIT
/// Device profiles as JSON: the fields are those of the struct.
#pragma once

#include "../io/json_object.hpp"
#include "../io/text_file.hpp"
#include "device_profile.hpp"

#include <filesystem>

namespace edgequant::inline EDGEQUANT_ABI {

/// Reads an object with the fields of device_profile; name, kind, platforms and ram_mib are
/// required. bad_file, with `place` and the field's path, for a missing or unknown field, a value
/// of another type or out of range, and an unknown OS or class.
[[nodiscard]] device_profile parse_device(const nlohmann::json& json, const std::string& place);

/// The same from a file of at most 1 MiB. Errors also as read_text_file() and parse_json().
[[nodiscard]] device_profile read_device(const std::filesystem::path& file);

/// What parse_device() reads back as an equal profile; empty fields are left out.
[[nodiscard]] nlohmann::json to_json(const device_profile& device);

namespace advisor::detail {

/// "a, b, c" of the names in a table.
template <class Row, std::size_t N> [[nodiscard]] std::string names_in(const Row (&table)[N]) {
  std::string names;
  for (const auto& row : table) names += (names.empty() ? "" : ", ") + std::string(row.name);
  return names;
}

[[nodiscard]] inline std::vector<platform> parse_platforms(json_object& fields) {
  std::vector<platform> platforms;
  for (const auto& name : fields.texts("platforms")) {
    const auto id = find_platform(name);
    const std::string item = "platforms[" + std::to_string(platforms.size()) + "]";
    if (!id)
      fail(error_code::bad_file, fields.here(item),
           "unknown OS '" + escaped(name) + "', expected one of " + names_in(platform_table));
    platforms.push_back(*id);
  }
  if (platforms.empty() && fields.find("platforms") == nullptr)
    fail(error_code::bad_file, fields.here("platforms"), "the field is missing");
  if (platforms.empty()) fields.refuse("platforms", "at least one OS");
  return platforms;
}

[[nodiscard]] inline npu_profile parse_npu(json_object fields) {
  npu_profile npu;
  npu.name = fields.require("name", fields.text("name"));
  npu.vendor = fields.require("vendor", fields.text("vendor"));
  npu.tops = fields.number("tops");
  npu.operators = fields.texts("operators");
  npu.types = fields.texts("types");
  fields.require_no_others();
  return npu;
}

[[nodiscard]] inline nlohmann::json to_json(const npu_profile& npu) {
  nlohmann::json json = {{"name", npu.name}, {"vendor", npu.vendor}};
  if (npu.tops) json["tops"] = *npu.tops;
  if (!npu.operators.empty()) json["operators"] = npu.operators;
  if (!npu.types.empty()) json["types"] = npu.types;
  return json;
}

inline constexpr std::uint64_t most_profile_bytes = 1 << 20;
inline constexpr std::uint64_t most_mib = std::uint64_t{1} << 32; ///< bytes then fit 64 bits

} // namespace advisor::detail

inline device_profile parse_device(const nlohmann::json& json, const std::string& place) {
  json_object fields(json, place);
  device_profile device;
  device.name = fields.require("name", fields.text("name"));
  device.chip = fields.text("chip").value_or("");
  const auto kind = fields.require("kind", fields.text("kind"));
  const auto found = find_device_class(kind);
  if (!found) fields.refuse("kind", "one of " + advisor::detail::names_in(device_class_table));
  device.kind = *found;
  device.platforms = advisor::detail::parse_platforms(fields);
  device.ram_mib =
      fields.require("ram_mib", fields.integer("ram_mib", 0, advisor::detail::most_mib));
  device.storage_gib = fields.number("storage_gib", 0, 1 << 22);
  device.memory_bandwidth_gb_s = fields.number("memory_bandwidth_gb_s", 1e-3, 1e6);
  device.cpu_cores = static_cast<unsigned>(fields.integer("cpu_cores", 0, 1 << 16).value_or(0));
  device.isa = fields.texts("isa");
  device.gpu = fields.text("gpu").value_or("");
  device.gpu_memory_mib = fields.integer("gpu_memory_mib", 0, advisor::detail::most_mib);
  if (auto npu = fields.object("npu")) device.npu = advisor::detail::parse_npu(*std::move(npu));
  device.power_budget_mw = fields.number("power_budget_mw");
  device.source = fields.text("source").value_or("");
  device.confidence = fields.text("confidence").value_or("");
  fields.require_no_others();
  return device;
}

inline device_profile read_device(const std::filesystem::path& file) {
  const auto place = place_of(file);
  return parse_device(parse_json(read_text_file(file, advisor::detail::most_profile_bytes), place),
                      place);
}

inline nlohmann::json to_json(const device_profile& device) {
  nlohmann::json json = {{"name", device.name},
                         {"kind", name_of(device.kind)},
                         {"platforms", nlohmann::json::array()},
                         {"ram_mib", device.ram_mib}};
  for (const auto id : device.platforms) json["platforms"].push_back(name_of(id));
  const auto add_text = [&](const char* name, const std::string& text) {
    if (!text.empty()) json[name] = text;
  };
  const auto add = [&](const char* name, const auto& value) {
    if (value) json[name] = *value;
  };
  add_text("chip", device.chip);
  add("storage_gib", device.storage_gib);
  add("memory_bandwidth_gb_s", device.memory_bandwidth_gb_s);
  if (device.cpu_cores != 0) json["cpu_cores"] = device.cpu_cores;
  if (!device.isa.empty()) json["isa"] = device.isa;
  add_text("gpu", device.gpu);
  add("gpu_memory_mib", device.gpu_memory_mib);
  if (device.npu) json["npu"] = advisor::detail::to_json(*device.npu);
  add("power_budget_mw", device.power_budget_mw);
  add_text("source", device.source);
  add_text("confidence", device.confidence);
  return json;
}

} // namespace edgequant::inline EDGEQUANT_ABI
