// SPDX-License-Identifier: MIT
/// How many processors this process may use.
#pragma once

#include "control_groups.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <fstream>
#include <limits>
#include <string>
#include <thread>

#if defined(__linux__)
#include <sched.h>
#endif

namespace edgequant::inline EDGEQUANT_ABI {

/// Processors that the calling thread may run on: its affinity, and no more than the control
/// groups' quota, rounded up. The quota is read once, the affinity on each call. At least 1.
[[nodiscard]] unsigned available_cpus() noexcept;

/// The least quota of the process's control groups in processors, rounded up, at least 1:
/// cpu.max of version 2, cpu.cfs_quota_us of version 1. The largest number where there is none.
/// `process` as for control_groups_of().
[[nodiscard]] unsigned cpu_quota(const std::string& process = "/proc/self");

/// Processors that the calling thread may run on (Linux: sched_getaffinity). At least 1.
[[nodiscard]] unsigned affinity_cpus() noexcept;

namespace system::detail {

inline constexpr unsigned no_quota = std::numeric_limits<unsigned>::max();

/// The quota of one group. A text such as "max" is no number, -1 none of version 1.
[[nodiscard]] inline unsigned quota_of(const control_group& group) {
  std::int64_t quota = -1, period = 100000;
  std::ifstream first(group.folder + (group.version == 2 ? "/cpu.max" : "/cpu.cfs_quota_us"));
  if (!(first >> quota) || quota <= 0) return no_quota;
  if (group.version == 2)
    first >> period;
  else
    std::ifstream(group.folder + "/cpu.cfs_period_us") >> period;
  if (period <= 0) return no_quota;
  const std::int64_t cpus = quota / period + (quota % period != 0);
  return static_cast<unsigned>(std::min<std::int64_t>(cpus, no_quota));
}

} // namespace system::detail

inline unsigned cpu_quota(const std::string& process) {
  unsigned least = system::detail::no_quota;
  for (const auto& group : control_groups_of("cpu", process))
    least = std::min(least, system::detail::quota_of(group));
  return least;
}

inline unsigned affinity_cpus() noexcept {
#if defined(__linux__)
  cpu_set_t sets[16] = {}; // 16384 processors: the call fails where the kernel knows more
  if (::sched_getaffinity(0, sizeof sets, sets) == 0)
    return static_cast<unsigned>(std::max(1, CPU_COUNT_S(sizeof sets, sets)));
#endif
  return std::max(1u, std::thread::hardware_concurrency());
}

inline unsigned available_cpus() noexcept {
  static const unsigned quota = cpu_quota();
  return std::min(affinity_cpus(), quota);
}

} // namespace edgequant::inline EDGEQUANT_ABI
