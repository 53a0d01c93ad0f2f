// SPDX-License-Identifier: MIT
/// How much memory there is, and how much of it this process may still take.
#pragma once

#include "control_groups.hpp"

#include <algorithm>
#include <cstdint>
#include <fstream>
#include <limits>
#include <optional>
#include <string>
#include <string_view>

#include <unistd.h>

namespace edgequant::inline EDGEQUANT_ABI {

/// Bytes that can be had without swapping: on Linux what the kernel estimates, and no more than the
/// limits of the process's control groups (versions 1 and 2); elsewhere half of what the machine
/// has. The largest number where the system says nothing.
[[nodiscard]] std::uint64_t available_memory();

/// Bytes that the machine has, and no more than those limits. 0 where the system says nothing.
[[nodiscard]] std::uint64_t total_memory();

namespace system::detail {

inline constexpr std::uint64_t no_limit = std::numeric_limits<std::uint64_t>::max();

/// The least limit of the process's control groups; "max" is no number, and no limit.
inline std::uint64_t control_groups_limit(const std::string& process = "/proc/self") {
  std::uint64_t least = no_limit;
  for (const auto& group : control_groups_of("memory", process)) {
    const char* file = group.version == 2 ? "/memory.max" : "/memory.limit_in_bytes";
    std::uint64_t bytes = 0;
    if (std::ifstream in(group.folder + file); in >> bytes) least = std::min(least, bytes);
  }
  return least;
}

/// A figure of /proc/meminfo in bytes.
inline std::optional<std::uint64_t> read_meminfo(std::string_view name) {
  std::ifstream facts("/proc/meminfo");
  for (std::string key; facts >> key;
       facts.ignore(std::numeric_limits<std::streamsize>::max(), '\n')) {
    std::uint64_t kibibytes = 0;
    if (key == name && facts >> kibibytes) return kibibytes * 1024;
  }
  return std::nullopt;
}

/// 0 where the system says nothing.
inline std::uint64_t physical_memory() {
#if defined(_SC_PHYS_PAGES)
  const long pages = ::sysconf(_SC_PHYS_PAGES), page = ::sysconf(_SC_PAGESIZE);
  if (pages > 0 && page > 0)
    return static_cast<std::uint64_t>(pages) * static_cast<std::uint64_t>(page);
#endif
  return 0;
}

} // namespace system::detail

inline std::uint64_t available_memory() {
  if (const auto bytes = system::detail::read_meminfo("MemAvailable:"))
    return std::min(*bytes, system::detail::control_groups_limit());
  const std::uint64_t physical = system::detail::physical_memory();
  return physical != 0 ? physical / 2 : system::detail::no_limit;
}

inline std::uint64_t total_memory() {
  const auto bytes = system::detail::read_meminfo("MemTotal:");
  return std::min(bytes.value_or(system::detail::physical_memory()),
                  system::detail::control_groups_limit());
}

} // namespace edgequant::inline EDGEQUANT_ABI
