// SPDX-License-Identifier: MIT
/// How far a long job is.
#pragma once

#include "number_text.hpp"

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

namespace edgequant::inline EDGEQUANT_ABI {

/// One report from a running job.
struct progress {
  std::string_view stage; ///< what is being done: "check", "quantize"
  std::string_view item;  ///< what it is being done to: a tensor's name
  std::uint64_t done = 0;
  std::uint64_t total = 0;
  std::string_view unit = {}; ///< of done and total; empty: bytes of input
};

/// Receives reports, from one thread at a time. Empty: nobody listens.
using progress_callback = std::function<void(const progress&)>;

/// `1.5 MiB`: bytes with a binary unit and, above 1 KiB, one decimal.
[[nodiscard]] inline std::string format_bytes(std::uint64_t bytes) {
  constexpr const char* units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
  if (bytes < 1024) return std::to_string(bytes) + " B";
  double value = static_cast<double>(bytes);
  std::size_t unit = 0;
  while (value >= 1024 && unit < 4) value /= 1024, ++unit;
  return fixed_text(value, 1) + " " + units[unit];
}

} // namespace edgequant::inline EDGEQUANT_ABI
