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
  /// priority: 0 leaves it alone. -19 to -1 gives way to others, as nice value 19 to 1. 1 to 99
  /// asks for SCHED_FIFO at that priority, and where that is refused for the nice value -priority
  /// (-20 at the lowest). A SCHED_FIFO thread that never waits starves all else on its cores: pin
  /// it. bad_argument for a negative core and a priority outside -19 to 99.
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
  void prefer(int priority);
  void give_way(int nice);

  struct policy {
    int number;
    sched_param parameters;
  };
  std::optional<cpu_set_t> cores_before_;
  std::optional<policy> policy_before_;
  std::optional<int> nice_before_;
#endif
};

inline void thread_scheduling::require_valid(std::span<const int> cores, int priority) {
  for (const int core : cores)
    if (core < 0) fail(error_code::bad_argument, "scheduling", "a core's number is negative");
  if (priority < -19 || priority > 99)
    fail(error_code::bad_argument, "scheduling", "priority must be -19 to 99");
}

#if defined(__linux__)

inline thread_scheduling::thread_scheduling(std::span<const int> cores, int priority) {
  require_valid(cores, priority);
  if (!cores.empty()) pin(cores);
  if (priority > 0) prefer(priority);
  if (priority < 0) give_way(-priority);
}

inline thread_scheduling::~thread_scheduling() {
  // A thread that was made less nice may always be made nicer again; the reverse was tried before.
  if (policy_before_) ::sched_setscheduler(0, policy_before_->number, &policy_before_->parameters);
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

inline void thread_scheduling::prefer(int priority) {
  policy before{::sched_getscheduler(0), {}};
  sched_param wanted{};
  wanted.sched_priority = priority;
  if (before.number >= 0 && ::sched_getparam(0, &before.parameters) == 0 &&
      ::sched_setscheduler(0, SCHED_FIFO, &wanted) == 0) {
    policy_before_ = before;
    return;
  }
  const std::string refused = std::string("SCHED_FIFO refused: ") + std::strerror(errno);
  const int nice = std::max(-priority, -20), now = ::getpriority(PRIO_PROCESS, 0);
  if (now <= nice) return add_note(refused);
  if (::setpriority(PRIO_PROCESS, 0, nice) != 0)
    return add_note(refused + ", priority left as it was");
  nice_before_ = now;
  add_note(refused + ", nice value " + std::to_string(nice) + " instead");
}

inline void thread_scheduling::give_way(int nice) {
  const int now = ::getpriority(PRIO_PROCESS, 0);
  if (now >= nice || ::setpriority(PRIO_PROCESS, 0, nice) != 0) return; // as nice already
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
