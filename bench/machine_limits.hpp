// SPDX-License-Identifier: MIT
/// What the machine allows: the yardsticks beside which the kernels' speeds stand.
#pragma once

#include <cstddef>

namespace bench {

/// GB/s (10^9 bytes a second) between one core and memory, over 256 MiB or more.
struct machine_limits {
  double read;  ///< measure_read_bandwidth(), the best of it
  double write; ///< memset, which does not read what it overwrites; median of nine passes
};

/// Measured at the first call.
[[nodiscard]] const machine_limits& limits();

/// Seconds in which `threads` threads read `bytes` bytes from `data`, in order, and do no more with
/// them than the fastest sum that there is.
[[nodiscard]] double seconds_to_read(const std::byte* data, std::size_t bytes, unsigned threads);

/// What the dot products of the native backend give where operands stay in registers, in 10^9
/// multiplications and additions a second on `threads` threads, for weights of 4 and of 8 bits; and
/// the same of its float arithmetic. Measured anew by each call, in about three milliseconds.
[[nodiscard]] double dot_peak(int bits, unsigned threads);
[[nodiscard]] double float_peak(unsigned threads);
/// And of a unit that multiplies matrices of int8, tiles of 64 codes; 0 where there is none.
[[nodiscard]] double matrix_peak(unsigned threads);

} // namespace bench
