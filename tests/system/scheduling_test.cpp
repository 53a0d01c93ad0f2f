// SPDX-License-Identifier: MIT
#include <edgequant/system/scheduling.hpp>

#include <gtest/gtest.h>

#include <thread>
#include <vector>

namespace {
namespace eq = edgequant;
using cores = std::vector<int>;

TEST(scheduling, refuses_what_makes_no_sense) {
  EXPECT_THROW(eq::thread_scheduling(cores{0, -1}, 0), eq::exception);
  EXPECT_THROW(eq::thread_scheduling({}, -20), eq::exception);
  EXPECT_THROW(eq::thread_scheduling({}, 21), eq::exception);
}

TEST(scheduling, asked_for_nothing_does_nothing) {
  EXPECT_EQ(eq::thread_scheduling({}, 0).note(), "");
}

#if defined(__linux__)

/// What the system says of the calling thread.
struct thread_state {
  cpu_set_t cores;
  int nice = ::getpriority(PRIO_PROCESS, 0);
  thread_state() {
    CPU_ZERO(&cores);
    ::sched_getaffinity(0, sizeof cores, &cores);
  }
  int first_core() const {
    int core = 0;
    while (!CPU_ISSET(static_cast<std::size_t>(core), &cores)) ++core;
    return core;
  }
  friend bool operator==(const thread_state& a, const thread_state& b) {
    return CPU_EQUAL(&a.cores, &b.cores) && a.nice == b.nice;
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
  if (before.nice <= -7) GTEST_SKIP() << "this process runs before others already";
  {
    const eq::thread_scheduling scheduling({}, 7);
    EXPECT_EQ(thread_state().nice == -7, scheduling.note().empty());
    EXPECT_EQ(scheduling.note().starts_with("priority left as it was: "),
              !scheduling.note().empty());
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
