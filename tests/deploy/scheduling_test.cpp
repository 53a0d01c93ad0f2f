// SPDX-License-Identifier: MIT
#include <edgequant/deploy/scheduling.hpp>

#include <gtest/gtest.h>

#include <thread>
#include <vector>

namespace {
namespace eq = edgequant;
using cores = std::vector<int>;

TEST(scheduling, refuses_what_makes_no_sense) {
  EXPECT_THROW(eq::thread_scheduling(cores{0, -1}, 0), eq::exception);
  EXPECT_THROW(eq::thread_scheduling({}, -20), eq::exception);
  EXPECT_THROW(eq::thread_scheduling({}, 100), eq::exception);
}

TEST(scheduling, asked_for_nothing_does_nothing) {
  EXPECT_EQ(eq::thread_scheduling({}, 0).note(), "");
}

#if defined(__linux__)

/// What the system says of the calling thread.
struct thread_state {
  cpu_set_t cores;
  int policy = ::sched_getscheduler(0), nice = ::getpriority(PRIO_PROCESS, 0);
  sched_param parameters{};
  thread_state() {
    CPU_ZERO(&cores);
    ::sched_getaffinity(0, sizeof cores, &cores);
    ::sched_getparam(0, &parameters);
  }
  int first_core() const {
    int core = 0;
    while (!CPU_ISSET(static_cast<std::size_t>(core), &cores)) ++core;
    return core;
  }
  friend bool operator==(const thread_state& a, const thread_state& b) {
    return CPU_EQUAL(&a.cores, &b.cores) && a.policy == b.policy && a.nice == b.nice &&
           a.parameters.sched_priority == b.parameters.sched_priority;
  }
};

TEST(scheduling, pins_this_thread_and_those_it_starts) {
  const thread_state before;
  const int core = before.first_core();
  {
    const eq::thread_scheduling scheduling(cores{core}, 0);
    EXPECT_EQ(scheduling.note(), "");
    const thread_state pinned;
    EXPECT_EQ(CPU_COUNT(&pinned.cores), 1);
    EXPECT_EQ(pinned.first_core(), core);
    std::thread([&] { EXPECT_TRUE(thread_state() == pinned); }).join();
  }
  EXPECT_TRUE(thread_state() == before);
}

TEST(scheduling, says_which_cores_are_not_there) {
  const thread_state before;
  const int core = before.first_core();
  {
    const eq::thread_scheduling some(cores{core, CPU_SETSIZE - 1, 1 << 20}, 0);
    EXPECT_EQ(some.note(), "core 1023 is not available; core 1048576 is not available");
    EXPECT_EQ(thread_state().first_core(), core);
  }
  {
    const eq::thread_scheduling none(cores{CPU_SETSIZE - 1}, 0);
    EXPECT_EQ(none.note(), "not pinned: none of the cores is available");
    EXPECT_TRUE(thread_state() == before);
  }
  EXPECT_TRUE(thread_state() == before);
}

TEST(scheduling, raises_priority_or_says_that_it_could_not) {
  const thread_state before;
  {
    const eq::thread_scheduling scheduling({}, 7);
    const thread_state now;
    if (scheduling.note().empty()) {
      EXPECT_EQ(now.policy, SCHED_FIFO);
      EXPECT_EQ(now.parameters.sched_priority, 7);
    } else {
      EXPECT_EQ(scheduling.note().rfind("SCHED_FIFO refused: ", 0), 0u) << scheduling.note();
      EXPECT_EQ(now.nice == -7, scheduling.note().find("nice value -7") != std::string::npos);
      EXPECT_EQ(now.policy, before.policy);
    }
  }
  EXPECT_TRUE(thread_state() == before);
}

TEST(scheduling, gives_way_and_returns_or_says_that_it_cannot) {
  std::thread([] { // whose nice value nobody misses
    const thread_state before;
    const int lower = std::min(before.nice + 3, 19);
    std::string note;
    {
      const eq::thread_scheduling scheduling({}, -lower);
      EXPECT_EQ(thread_state().nice, lower);
      note = scheduling.note();
    }
    EXPECT_EQ(thread_state().nice, note.empty() ? before.nice : lower) << note;
  })
      .join();
}

#endif

} // namespace
