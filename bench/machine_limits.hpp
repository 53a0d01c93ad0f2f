// SPDX-License-Identifier: MIT
/// What memory allows one core: the yardstick beside which the kernels' speeds stand.
#pragma once

namespace bench {

/// GB/s (10^9 bytes a second) between one core and memory, over 256 MiB or more.
struct machine_limits {
  double read;  ///< measure_read_bandwidth(), the best of it
  double write; ///< memset, which does not read what it overwrites; median of nine passes
};

/// Measured at the first call.
[[nodiscard]] const machine_limits& limits();

} // namespace bench
