// SPDX-License-Identifier: MIT
/// The barrier between an inexact product and a sum.
#pragma once

#include "../config.hpp"

namespace edgequant::inline EDGEQUANT_ABI {

/// Returns `value`, rounded to its type, as an optimisation barrier: `rounded(a * b) + c` is a
/// multiplication and an addition on every compiler, never a fused one. GCC contracts over
/// statements and through intrinsics, so a named temporary is not enough. `T` is float, double or
/// a vector register type.
template <class T> [[nodiscard]] inline T rounded(T value) noexcept {
#if defined(__x86_64__)
  asm("" : "+x"(value));
#elif defined(__aarch64__)
  asm("" : "+w"(value));
#else
  asm("" : "+m"(value));
#endif
  return value;
}

} // namespace edgequant::inline EDGEQUANT_ABI
