// SPDX-License-Identifier: MIT
/// What memory allows one core: the yardstick beside which the kernels' speeds stand.
#pragma once

namespace bench {

/// GB/s (10^9 bytes a second) between one core and memory, median of nine passes over 256 MiB.
struct machine_limits {
  double read;  ///< sums, see measure_read_bandwidth()
  double write; ///< memset, which does not read what it overwrites
};

/// Measured at the first call.
[[nodiscard]] const machine_limits& limits();

} // namespace bench
