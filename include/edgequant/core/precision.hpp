// SPDX-License-Identifier: MIT
/// How many bits the weights of a layer get.
#pragma once

#include "../config.hpp"

#include <string_view>

namespace edgequant::inline EDGEQUANT_ABI {

enum class precision {
  fp16,
  int8,
  int4,
  mixed, ///< layers that differ
};

/// "fp16", "int8", "int4" or "mixed".
[[nodiscard]] constexpr std::string_view name_of(precision value) noexcept {
  switch (value) {
  case precision::fp16:
    return "fp16";
  case precision::int8:
    return "int8";
  case precision::int4:
    return "int4";
  default:
    return "mixed";
  }
}

} // namespace edgequant::inline EDGEQUANT_ABI
