// SPDX-License-Identifier: MIT
/// Threads that wait for loops to share. A loop never waits for a thread that has not begun: where
/// other programs keep a core busy, the others do its part, and small loops stay fast.
#pragma once

#include "../config.hpp"

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <new>
#include <thread>

#if defined(_OPENMP)
#include <omp.h>
#endif
#if defined(__x86_64__) || defined(__i386__)
#include <immintrin.h>
#endif

namespace edgequant::inline EDGEQUANT_ABI {

/// One for the program. Its threads are made when they are first asked for and end with it.
class thread_team {
public:
  [[nodiscard]] static thread_team& shared() {
    // Never destroyed, since its threads may outlive all objects; and nothing that can run out.
    alignas(thread_team) static std::byte memory[sizeof(thread_team)];
    static thread_team& team = *::new (static_cast<void*>(memory)) thread_team;
    return team;
  }

  /// Calls task(body, i) once for each i below `count`, on this thread and up to `threads` - 1
  /// others, and returns when all have returned. False, and nothing is done, while the team works
  /// for another loop. Tasks do not throw.
  bool run(std::size_t count, unsigned threads, void (*task)(void*, std::size_t), void* body) {
    if (owned_.exchange(true, std::memory_order_acquire)) return false;
    while (workers_ + 1 < threads && start_worker()) {
    }
    task_ = task, body_ = body, count_ = count;
    next_.store(0, std::memory_order_relaxed);
    // Everything above is seen by who enters through this word.
    state_.store(open | std::uint32_t{threads - 1} << 16, std::memory_order_release);
    round_.fetch_add(1, std::memory_order_release);
    round_.notify_all();
    work();
    state_.fetch_and(~open, std::memory_order_relaxed);
    for (int spins = 0; (state_.load(std::memory_order_acquire) & entered) != 0;)
      if (spins < 1000)
        pause(), ++spins; // counted no further: a task may take hours
      else
        std::this_thread::yield();
    owned_.store(false, std::memory_order_release);
    return true;
  }

private:
  // Of state_: whether a loop is open, how many may enter, how many are in.
  static constexpr std::uint32_t open = 1u << 31, entered = 0xffff;

  static void pause() noexcept {
#if defined(__x86_64__) || defined(__i386__)
    _mm_pause();
#elif defined(__aarch64__)
    asm volatile("yield");
#endif
  }

  void work() {
    for (std::size_t i; (i = next_.fetch_add(1, std::memory_order_relaxed)) < count_;)
      task_(body_, i);
  }

  [[nodiscard]] bool enter() noexcept {
    std::uint32_t now = state_.load(std::memory_order_relaxed);
    while ((now & open) != 0 && (now & entered) < ((now & ~open) >> 16))
      if (state_.compare_exchange_weak(now, now + 1, std::memory_order_acquire)) return true;
    return false;
  }

  void wait_and_work() {
#if defined(_OPENMP)
    omp_set_num_threads(1); // Eigen's products within a task stay on its thread
#endif
    for (std::uint32_t seen = 0;;) {
      // Loops of a token follow each other within microseconds; sleeping costs fifty.
      for (int spins = 0; spins < 4000 && round_.load(std::memory_order_relaxed) == seen; ++spins)
        pause();
      round_.wait(seen, std::memory_order_relaxed);
      seen = round_.load(std::memory_order_relaxed);
      if (!enter()) continue;
      work();
      state_.fetch_sub(1, std::memory_order_release);
    }
  }

  bool start_worker() noexcept {
#if defined(__cpp_exceptions)
    try {
      std::thread([this] { wait_and_work(); }).detach();
    } catch (...) { // the system has no more, or no memory for it: those that are there will do
      return false;
    }
#else
    std::thread([this] { wait_and_work(); }).detach();
#endif
    ++workers_;
    return true;
  }

  std::atomic<bool> owned_ = false;
  unsigned workers_ = 0;
  void (*task_)(void*, std::size_t) = nullptr;
  void* body_ = nullptr;
  std::size_t count_ = 0;
  alignas(64) std::atomic<std::size_t> next_ = 0;
  alignas(64) std::atomic<std::uint32_t> state_ = 0;
  alignas(64) std::atomic<std::uint32_t> round_ = 0;
};

} // namespace edgequant::inline EDGEQUANT_ABI
