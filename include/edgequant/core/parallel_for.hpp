// SPDX-License-Identifier: MIT
/// A loop over threads: OpenMP where the including program is compiled with it, else plain.
#pragma once

#include "../config.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <limits>

#if defined(_OPENMP)
#include <omp.h>
#endif

namespace edgequant::inline EDGEQUANT_ABI {

/// More threads than any machine of ours has; asking for more gets this many.
inline constexpr unsigned most_threads = 1024;

/// The number of threads that `threads` stands for: 0 means all that the machine offers.
[[nodiscard]] inline unsigned thread_count(unsigned threads) noexcept {
#if defined(_OPENMP)
  if (threads > most_threads) return most_threads;
  return threads != 0 ? threads : static_cast<unsigned>(omp_get_max_threads());
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

/// Calls body(i) once for each i in [0, count), on up to `threads` threads (0: all), each call on
/// one thread. If calls throw, the exception of the smallest i that threw is rethrown at the end.
template <class Body> void parallel_for(std::size_t count, unsigned threads, Body&& body) {
#if defined(_OPENMP) && defined(__cpp_exceptions)
  std::exception_ptr failure;
  auto failed_at = std::numeric_limits<std::size_t>::max();
  const int team = static_cast<int>(std::min<std::size_t>(thread_count(threads), count));
#pragma omp parallel for schedule(dynamic) num_threads(team) if (team > 1)
  for (std::size_t i = 0; i < count; ++i) {
    std::size_t stop = 0;
#pragma omp atomic read
    stop = failed_at;
    if (i > stop) continue;
    try {
      body(i);
    } catch (...) {
#pragma omp critical(edgequant_parallel_for)
      if (i < failed_at) {
        failure = std::current_exception();
#pragma omp atomic write
        failed_at = i;
      }
    }
  }
  if (failure) std::rethrow_exception(failure);
#else
#if defined(_OPENMP)
#pragma omp parallel for schedule(dynamic) num_threads(static_cast <int>(thread_count(threads)))
#else
  (void)threads;
#endif
  for (std::size_t i = 0; i < count; ++i) body(i);
#endif
}

} // namespace edgequant::inline EDGEQUANT_ABI
