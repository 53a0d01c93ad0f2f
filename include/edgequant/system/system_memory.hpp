// SPDX-License-Identifier: MIT
/// How much memory there is, and how much of it this process may still take.
#pragma once

#include "../config.hpp"

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

/// The limit of a control group and of those around it.
inline std::uint64_t control_group_limit(const std::string& root, std::string group,
                                         const char* file) {
  for (std::uint64_t least = no_limit;;) {
    std::uint64_t bytes = 0; // "max" is no number, and no limit
    if (std::ifstream in(root + group + file); in >> bytes) least = std::min(least, bytes);
    if (group.empty() || group == "/") return least;
    group.erase(std::min(group.rfind('/'), group.size()));
  }
}

inline std::uint64_t control_groups_limit() {
  std::uint64_t least = no_limit;
  std::ifstream groups("/proc/self/cgroup");
  for (std::string line; std::getline(groups, line);) {
    const std::string path = line.substr(line.rfind(':') + 1);
    if (line.starts_with("0::"))
      least = std::min(least, control_group_limit("/sys/fs/cgroup", path, "/memory.max"));
    else if (line.find(":memory:") != std::string::npos)
      least = std::min(
          least, control_group_limit("/sys/fs/cgroup/memory", path, "/memory.limit_in_bytes"));
  }
  return least;
}

} // namespace system::detail

namespace system::detail {

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
