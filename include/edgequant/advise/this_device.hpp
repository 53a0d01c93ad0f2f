// SPDX-License-Identifier: MIT
/// The profile of the machine that the program runs on.
#pragma once

#include "../core/message.hpp"
#include "../core/number_text.hpp"
#include "../system/cpu_count.hpp"
#include "../system/cpu_facts.hpp"
#include "../system/system_memory.hpp"
#include "device_profile.hpp"
#include "read_bandwidth.hpp"

#include <filesystem>
#include <fstream>
#include <iterator>

namespace edgequant::inline EDGEQUANT_ABI {

struct this_device_options {
  bool measure = true;                ///< the bandwidth, which takes about half a second
  unsigned threads = 0;               ///< that measure; 0: all
  std::filesystem::path models = "."; ///< where models would be stored
};

/// Reads from the system: name, platform, cores that this process may use (affinity and the quota
/// of control groups), instruction sets (Linux only), RAM (at most the limits of control groups)
/// and free storage; what the system does not report is unknown. memory_bandwidth_gb_s is measured,
/// see measure_read_bandwidth(): it is below the peak of a data sheet, and `source` says so. GPU
/// and NPU are not detected.
[[nodiscard]] device_profile this_device(const this_device_options& options = {});

namespace advisor::detail {

/// The file's text; empty if it cannot be read. (Files of /proc report a size of 0.)
[[nodiscard]] inline std::string text_of_system_file(const char* path) {
  std::ifstream in(path);
  return {std::istreambuf_iterator<char>(in), {}};
}

[[nodiscard]] constexpr platform this_platform() noexcept {
#if defined(__ANDROID__)
  return platform::android;
#elif defined(__APPLE__) && defined(__ENVIRONMENT_IPHONE_OS_VERSION_MIN_REQUIRED__)
  return platform::ios;
#elif defined(__APPLE__)
  return platform::macos;
#elif defined(_WIN32)
  return platform::windows;
#elif defined(__EMSCRIPTEN__)
  return platform::web;
#elif defined(__linux__)
  return platform::gnu_linux;
#else
  return platform::embedded;
#endif
}

/// A guess: boards have a device tree, laptops a battery.
[[nodiscard]] inline device_class this_class(const std::string& board) {
  if (this_platform() == platform::android || this_platform() == platform::ios)
    return device_class::phone;
  std::error_code error;
  for (const char* battery : {"/sys/class/power_supply/BAT0", "/sys/class/power_supply/BAT1"})
    if (std::filesystem::exists(battery, error)) return device_class::laptop;
  return board.empty() ? device_class::desktop : device_class::sbc;
}

[[nodiscard]] inline std::string measured_text(const bandwidth_figures& figures) {
  return "; bandwidth measured with " + counted(figures.threads, "thread") + ", median " +
         fixed_text(figures.median_gb_s, 1) + " GB/s";
}

} // namespace advisor::detail

inline device_profile this_device(const this_device_options& options) {
  auto cpu = parse_cpuinfo(advisor::detail::text_of_system_file("/proc/cpuinfo"));
  std::string board = advisor::detail::text_of_system_file("/proc/device-tree/model");
  if (const auto end = board.find('\0'); end != board.npos) board.resize(end);
  device_profile device;
  device.name = !board.empty() ? board : !cpu.name.empty() ? cpu.name : "this machine";
  device.chip = cpu.name;
  device.kind = advisor::detail::this_class(board);
  device.platforms = {advisor::detail::this_platform()};
  device.ram_mib = total_memory() >> 20;
  device.cpu_cores = available_cpus();
  device.isa = std::move(cpu.isa);
  std::error_code error;
  if (const auto space = std::filesystem::space(options.models, error); !error)
    device.storage_gib = static_cast<double>(space.available) / 0x1p30;
  device.source = "this machine";
  device.confidence = "high";
  if (options.measure) {
    const auto figures = measure_read_bandwidth({.threads = options.threads});
    if (figures.best_gb_s > 0) {
      device.memory_bandwidth_gb_s = figures.best_gb_s;
      device.source += advisor::detail::measured_text(figures);
    }
  }
  return device;
}

} // namespace edgequant::inline EDGEQUANT_ABI
