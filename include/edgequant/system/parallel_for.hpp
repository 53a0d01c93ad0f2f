// SPDX-License-Identifier: MIT
/// A loop over threads where the including program is compiled with OpenMP, else a plain one.
/// OpenMP says how many; the threads are ours, since a barrier of its own waits for each of them.
#pragma once

#include "cpu_count.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <limits>

#if defined(_OPENMP)
#include "thread_team.hpp"

#include <atomic>
#include <mutex>

#include <omp.h>
#endif

namespace edgequant::inline EDGEQUANT_ABI {

/// More threads than any machine of ours has; asking for more gets this many.
inline constexpr unsigned most_threads = 1024;

/// The number of threads that `threads` stands for: 0 means as many as OpenMP offers, and no more
/// than the processors that the calling thread may use, see available_cpus(). 1 without OpenMP.
[[nodiscard]] inline unsigned thread_count(unsigned threads) noexcept {
#if defined(_OPENMP)
  if (threads == 0)
    threads = std::min(static_cast<unsigned>(omp_get_max_threads()), available_cpus());
  return std::min(threads, most_threads);
#else
  (void)threads;
  return 1;
#endif
}

/// While it lives, Eigen's products on this thread use no other thread: Eigen cuts sums elsewhere
/// where it has more of them, so that their last bits would depend on the number.
class serial_products {
public:
  serial_products() = default;
  serial_products(const serial_products&) = delete;
  serial_products& operator=(const serial_products&) = delete;
#if defined(_OPENMP)
  ~serial_products() { omp_set_num_threads(before_); }

private:
  static int set_one() noexcept {
    const int before = omp_get_max_threads();
    omp_set_num_threads(1);
    return before;
  }
  int before_ = set_one();
#else
  ~serial_products() {} // NOLINT: so that an object that only lives is no unused variable
#endif
};

#if defined(_OPENMP)
namespace system::detail {

/// A loop's body for threads that know only its address, with the exception of the smallest index.
template <class Body> class shared_body {
public:
  explicit shared_body(Body& body) noexcept : body_(&body) {}

  static void call(void* self, std::size_t i) { static_cast<shared_body*>(self)->run(i); }
  void rethrow() const {
#if defined(__cpp_exceptions)
    if (failure_) std::rethrow_exception(failure_);
#endif
  }

private:
  void run(std::size_t i) {
#if defined(__cpp_exceptions)
    if (i > failed_at_.load(std::memory_order_relaxed)) return;
    try {
      (*body_)(i);
    } catch (...) {
      const std::lock_guard<std::mutex> lock(mutex_);
      if (i >= failed_at_.load(std::memory_order_relaxed)) return;
      failure_ = std::current_exception();
      failed_at_.store(i, std::memory_order_relaxed);
    }
#else
    (*body_)(i);
#endif
  }

  Body* body_;
#if defined(__cpp_exceptions)
  std::atomic<std::size_t> failed_at_ = std::numeric_limits<std::size_t>::max();
  std::mutex mutex_;
  std::exception_ptr failure_;
#endif
};

/// False, and nothing is done, where the threads are taken.
template <class Body> bool share_loop(std::size_t count, unsigned threads, Body& body) {
  shared_body<Body> shared(body);
  {
    const serial_products here;
    if (!thread_team::shared().run(count, threads, &shared_body<Body>::call, &shared)) return false;
  }
  shared.rethrow();
  return true;
}

} // namespace system::detail
#endif

/// Calls body(i) once for each i in [0, count), on up to `threads` threads (0: all), each call on
/// one thread. If calls throw, the exception of the smallest i that threw is rethrown at the end. A
/// loop within a loop, or beside another thread's, runs on its thread alone.
template <class Body> void parallel_for(std::size_t count, unsigned threads, Body&& body) {
#if defined(_OPENMP)
  const auto team = static_cast<unsigned>(std::min<std::size_t>(thread_count(threads), count));
  if (team > 1 && system::detail::share_loop(count, team, body)) return;
#else
  (void)threads;
#endif
  for (std::size_t i = 0; i < count; ++i) body(i);
}

/// Calls body(first, count) for parts of `part` of the numbers below n, on threads whose products
/// of Eigen are serial: what it computes does not depend on the number of threads.
template <class Body>
void parallel_for_parts(std::size_t n, std::size_t part, unsigned threads, Body body) {
  parallel_for((n + part - 1) / part, threads, [&](std::size_t p) {
    const serial_products one;
    body(p * part, std::min(part, n - p * part));
  });
}

} // namespace edgequant::inline EDGEQUANT_ABI
