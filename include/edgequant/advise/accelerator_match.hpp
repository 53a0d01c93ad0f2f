// SPDX-License-Identifier: MIT
/// Which processors of a device an engine reaches.
#pragma once

#include "../core/ascii.hpp"
#include "engine_profile.hpp"

namespace edgequant::inline EDGEQUANT_ABI {

/// GPUs of one maker. Lists are words, separated by spaces.
struct gpu_family_row {
  std::string_view name;
  std::string_view words; ///< the name of such a GPU has one of them
  std::string_view apis;
};

/// The first row that matches counts.
inline constexpr gpu_family_row gpu_family_table[] = {
    {"adreno", "adreno", "vulkan opencl directml"},
    {"apple", "apple", "metal"},
    {"mali", "mali immortalis", "vulkan opencl"},
    {"nvidia", "nvidia cuda geforce rtx tegra", "cuda vulkan opencl directml"},
    {"amd", "amd radeon", "hip vulkan opencl directml"},
    {"intel", "intel arc iris", "sycl vulkan opencl openvino directml"},
    {"videocore", "videocore", "vulkan"},
    {"powervr", "powervr", "vulkan opencl"},
};

/// Whether a word of `text` begins with `word`; upper and lower case are the same.
[[nodiscard]] bool names_word(std::string_view text, std::string_view word);

/// The row of a GPU's name, or null.
[[nodiscard]] const gpu_family_row* find_gpu_family(std::string_view gpu);

/// The first interface of the engine's by which it reaches the device's GPU on `os`, or null.
[[nodiscard]] const gpu_support* way_to_gpu(const engine_profile& engine,
                                            const device_profile& device, platform os);

/// The engine's support of the device's NPU, or null.
[[nodiscard]] const npu_support* way_to_npu(const engine_profile& engine,
                                            const device_profile& device);

/// The last instruction set of the engine's list that the device has; empty: none.
[[nodiscard]] std::string_view common_isa(const engine_profile& engine,
                                          const device_profile& device);

/// Whether the engine runs on chips like the device's: engine.chips is empty, or the device's name,
/// chip, GPU or NPU has one of its words.
[[nodiscard]] bool made_for(const engine_profile& engine, const device_profile& device);

/// Whether a feature names NNAPI, Android's old interface to NPUs.
[[nodiscard]] inline bool names_nnapi(const engine_profile& engine) {
  return std::any_of(engine.features.begin(), engine.features.end(),
                     [](const auto& feature) { return names_word(feature, "NNAPI"); });
}

namespace advisor::detail {

/// Calls visit(part) for the parts of `list` until a call returns true. Returns whether one did.
template <class Visitor>
constexpr bool any_part(std::string_view list, std::string_view between, Visitor visit) {
  while (!list.empty()) {
    const auto end = list.find(between);
    const auto part = list.substr(0, end);
    list = end == list.npos ? std::string_view() : list.substr(end + between.size());
    if (!part.empty() && visit(part)) return true;
  }
  return false;
}

[[nodiscard]] inline std::vector<std::string> parts_between(std::string_view list,
                                                            std::string_view between) {
  std::vector<std::string> parts;
  any_part(list, between, [&](auto part) { return parts.emplace_back(part), false; });
  return parts;
}

[[nodiscard]] inline bool one_named(const std::vector<std::string>& words, std::string_view text) {
  return std::any_of(words.begin(), words.end(),
                     [&](const auto& word) { return names_word(text, word); });
}

/// Interfaces that exist on some systems only.
[[nodiscard]] inline bool api_exists(std::string_view api, platform os) {
  if (api == "metal") return os == platform::ios || os == platform::macos;
  if (api == "directml") return os == platform::windows;
  if (api == "cuda" || api == "hip") return os == platform::gnu_linux || os == platform::windows;
  if (api == "webgpu") return os == platform::web;
  return true;
}

} // namespace advisor::detail

inline bool names_word(std::string_view text, std::string_view word) {
  const auto same = [](char a, char b) { return core::detail::lower(a) == core::detail::lower(b); };
  for (auto from = text.begin(); !word.empty();) {
    const auto at = std::search(from, text.end(), word.begin(), word.end(), same);
    if (at == text.end()) return false;
    if (at == text.begin() || !core::detail::is_word(at[-1])) return true;
    from = at + 1;
  }
  return false;
}

inline const gpu_family_row* find_gpu_family(std::string_view gpu) {
  for (const auto& row : gpu_family_table)
    if (advisor::detail::any_part(row.words, " ", [&](auto word) { return names_word(gpu, word); }))
      return &row;
  return nullptr;
}

inline const gpu_support* way_to_gpu(const engine_profile& engine, const device_profile& device,
                                     platform os) {
  if (os == platform::web && !device.gpu.empty()) { // WebGPU does not depend on the maker
    for (const auto& way : engine.gpus)
      if (way.api == "webgpu") return &way;
  }
  const auto* family = find_gpu_family(device.gpu);
  if (family == nullptr) return nullptr;
  for (const auto& way : engine.gpus) {
    const auto& only = way.families;
    const bool meant =
        only.empty() || std::find(only.begin(), only.end(), family->name) != only.end();
    const bool has =
        advisor::detail::any_part(family->apis, " ", [&](auto api) { return api == way.api; });
    if (meant && has && advisor::detail::api_exists(way.api, os)) return &way;
  }
  return nullptr;
}

inline const npu_support* way_to_npu(const engine_profile& engine, const device_profile& device) {
  if (!device.npu) return nullptr;
  const std::string names = device.chip + " " + device.npu->name + " " + device.name;
  for (const auto& way : engine.npus)
    if (way.vendor == device.npu->vendor &&
        (way.chips.empty() || advisor::detail::one_named(way.chips, names)))
      return &way;
  return nullptr;
}

inline std::string_view common_isa(const engine_profile& engine, const device_profile& device) {
  const auto has = [&](const auto& isa) {
    return std::find(device.isa.begin(), device.isa.end(), isa) != device.isa.end();
  };
  const auto found = std::find_if(engine.cpu_isas.rbegin(), engine.cpu_isas.rend(), has);
  return found == engine.cpu_isas.rend() ? std::string_view() : std::string_view(*found);
}

inline bool made_for(const engine_profile& engine, const device_profile& device) {
  if (engine.chips.empty()) return true;
  const std::string names = device.name + " " + device.chip + " " + device.gpu +
                            (device.npu ? " " + device.npu->name : "");
  return advisor::detail::one_named(engine.chips, names);
}

} // namespace edgequant::inline EDGEQUANT_ABI
