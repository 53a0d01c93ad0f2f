// SPDX-License-Identifier: MIT
/// On which cores, and how urgently, a thread runs; put back afterwards. For Linux.
#pragma once

#include "../core/exception.hpp"

#include <algorithm>
#include <span>
#include <string>

#if defined(__linux__)
#include <cerrno>
#include <cstring>
#include <optional>
#include <sched.h>
#include <sys/resource.h>
#endif

namespace edgequant::inline EDGEQUANT_ABI {

/// Pins the calling thread and sets its priority, for as long as this object lives; must die on the
/// same thread. Threads that the caller starts meanwhile inherit both and keep them, OpenMP's pool
/// included: so begin before the first parallel loop, with as many threads as cores.
/// What the system does not allow is left as it was and said in note(); it is no error.
class thread_scheduling {
public:
  /// cores: numbers as in /proc/cpuinfo; empty: wherever the system likes.
  /// priority: 0 leaves it alone; else the nice value is -priority, 1 to 20 before others and -1 to
  /// -19 behind them. No real-time policy: inference never waits, and Linux then takes 50 ms of
  /// each second away, which is worse for the slowest tokens (edgequant_jitter_bench). bad_argument
  /// for a negative core and a priority outside -19 to 20.
  thread_scheduling(std::span<const int> cores, int priority);
  ~thread_scheduling();
  thread_scheduling(const thread_scheduling&) = delete;
  thread_scheduling& operator=(const thread_scheduling&) = delete;

  /// One line: what was asked for and not possible. Empty: all of it was.
  [[nodiscard]] const std::string& note() const noexcept { return note_; }

  /// The constructor's check on its own: bad_argument.
  static void require_valid(std::span<const int> cores, int priority);

private:
  void add_note(const std::string& text) { note_ += (note_.empty() ? "" : "; ") + text; }
  std::string note_;

#if defined(__linux__)
  void pin(std::span<const int> cores);
  void renice(int nice);

  std::optional<cpu_set_t> cores_before_;
  std::optional<int> nice_before_;
#endif
};

inline void thread_scheduling::require_valid(std::span<const int> cores, int priority) {
  for (const int core : cores)
    if (core < 0) fail(error_code::bad_argument, "scheduling", "a core's number is negative");
  if (priority < -19 || priority > 20)
    fail(error_code::bad_argument, "scheduling", "priority must be -19 to 20");
}

#if defined(__linux__)

inline thread_scheduling::thread_scheduling(std::span<const int> cores, int priority) {
  require_valid(cores, priority);
  if (!cores.empty()) pin(cores);
  if (priority != 0) renice(-priority);
}

inline thread_scheduling::~thread_scheduling() {
  if (nice_before_) ::setpriority(PRIO_PROCESS, 0, *nice_before_); // Linux: 0 is this thread
  if (cores_before_) ::sched_setaffinity(0, sizeof *cores_before_, &*cores_before_);
}

inline void thread_scheduling::pin(std::span<const int> cores) {
  cpu_set_t before, set;
  CPU_ZERO(&set);
  for (const int core : cores)
    if (core < CPU_SETSIZE) CPU_SET(static_cast<std::size_t>(core), &set);
  if (::sched_getaffinity(0, sizeof before, &before) != 0 ||
      ::sched_setaffinity(0, sizeof set, &set) != 0) {
    // EINVAL: none of the cores exists, or a container keeps this process from all of them.
    add_note(std::string("not pinned: ") +
             (errno == EINVAL ? "none of the cores is available" : std::strerror(errno)));
    return;
  }
  cores_before_ = before;
  if (::sched_getaffinity(0, sizeof set, &set) != 0) return;
  for (const int core : cores) // the system drops cores that it has not, without a word
    if (core >= CPU_SETSIZE || !CPU_ISSET(static_cast<std::size_t>(core), &set))
      add_note("core " + std::to_string(core) + " is not available");
}

inline void thread_scheduling::renice(int nice) {
  const int now = ::getpriority(PRIO_PROCESS, 0);
  if (nice < 0 ? now <= nice : now >= nice) return; // as urgent, or as patient, already
  if (::setpriority(PRIO_PROCESS, 0, nice) != 0)
    return add_note(std::string("priority left as it was: ") + std::strerror(errno));
  // Whether the way back is open depends on limits and capabilities: the sure test is to go it.
  if (::setpriority(PRIO_PROCESS, 0, now) == 0 && ::setpriority(PRIO_PROCESS, 0, nice) == 0)
    nice_before_ = now;
  else
    add_note("nice value stays " + std::to_string(nice) + ": no permission to return to " +
             std::to_string(now));
}

#else

inline thread_scheduling::thread_scheduling(std::span<const int> cores, int priority) {
  require_valid(cores, priority);
  if (!cores.empty()) add_note("not pinned: this system is not Linux");
  if (priority != 0) add_note("priority left as it was: this system is not Linux");
}

inline thread_scheduling::~thread_scheduling() = default;

#endif

} // namespace edgequant::inline EDGEQUANT_ABI
