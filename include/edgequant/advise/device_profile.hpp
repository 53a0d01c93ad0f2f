// SPDX-License-Identifier: MIT
/// The device that a model is to run on.
#pragma once

#include "../config.hpp"

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace edgequant::inline EDGEQUANT_ABI {

/// Operating systems, and environments such as a browser. (`linux` is a macro in GNU dialects.)
enum class platform { android, ios, gnu_linux, macos, windows, web, wear_os, embedded };

struct platform_row {
  platform id;
  std::string_view name; ///< as in files and on command lines
};

inline constexpr platform_row platform_table[] = {
    {platform::android, "android"}, {platform::ios, "ios"},
    {platform::gnu_linux, "linux"}, {platform::macos, "macos"},
    {platform::windows, "windows"}, {platform::web, "web"},
    {platform::wear_os, "wearos"},  {platform::embedded, "embedded"},
};

enum class device_class { phone, sbc, edge_gpu, laptop, desktop, wearable };

struct device_class_row {
  device_class id;
  std::string_view name;
};

inline constexpr device_class_row device_class_table[] = {
    {device_class::phone, "phone"},       {device_class::sbc, "sbc"},
    {device_class::edge_gpu, "edge-gpu"}, {device_class::laptop, "laptop"},
    {device_class::desktop, "desktop"},   {device_class::wearable, "wearable"},
};

/// Every enumerator has a row.
[[nodiscard]] constexpr std::string_view name_of(platform id) noexcept {
  for (const auto& row : platform_table)
    if (row.id == id) return row.name;
  return {};
}
[[nodiscard]] constexpr std::string_view name_of(device_class id) noexcept {
  for (const auto& row : device_class_table)
    if (row.id == id) return row.name;
  return {};
}

/// The platform of a name as in the table, or nothing.
[[nodiscard]] constexpr std::optional<platform> find_platform(std::string_view name) noexcept {
  for (const auto& row : platform_table)
    if (row.name == name) return row.id;
  return std::nullopt;
}
[[nodiscard]] constexpr std::optional<device_class>
find_device_class(std::string_view name) noexcept {
  for (const auto& row : device_class_table)
    if (row.name == name) return row.id;
  return std::nullopt;
}

/// A neural accelerator beside CPU and GPU.
struct npu_profile {
  std::string name;                        ///< such as "Hexagon HTP v75"
  std::string vendor;                      ///< a row of npu_table: "qualcomm", "apple" ...
  std::optional<double> tops = {};         ///< 10^12 int8 operations a second, by its maker
  std::vector<std::string> operators = {}; ///< empty: the vendor's
  std::vector<std::string> types = {};     ///< empty: the vendor's
  friend bool operator==(const npu_profile&, const npu_profile&) = default;
};

/// Units are in the names. An empty optional: not published.
struct device_profile {
  std::string name;
  std::string chip = {};
  device_class kind = device_class::phone;
  std::vector<platform> platforms = {};             ///< that it can run; the first is the default
  std::uint64_t ram_mib = 0;                        ///< 0: unknown; the smallest of several sizes
  std::optional<double> storage_gib = {};           ///< free for models
  std::optional<double> memory_bandwidth_gb_s = {}; ///< peak, 10^9 bytes a second
  unsigned cpu_cores = 0;                           ///< 0: unknown
  std::vector<std::string> isa = {};                ///< "neon", "dotprod", "avx2" ...
  std::string gpu = {};                             ///< empty: none
  std::optional<std::uint64_t> gpu_memory_mib = {}; ///< its own; none: it shares the RAM
  std::optional<npu_profile> npu = {};
  std::optional<double> power_budget_mw = {};
  std::string source = {};     ///< where the figures are from
  std::string confidence = {}; ///< "high", "medium", "low"
  friend bool operator==(const device_profile&, const device_profile&) = default;
};

} // namespace edgequant::inline EDGEQUANT_ABI
