// SPDX-License-Identifier: MIT
/// The exponential function sixteen at a time, and the activation that is made of it.
#pragma once

#include "lanes.hpp"

namespace edgequant::inline EDGEQUANT_ABI::kernel {

/// e^x within 3 units in the last place; below -87 as of -87 (1.6e-38), above 88 as of 88. NaN
/// stays. x = n ln 2 + r with |r| <= ln(2) / 2, and e^r by Taylor's series, whose first term left
/// out is r^8 / 8! < 6e-9.
template <simd::backend S>
[[nodiscard]] inline typename S::f32 exponential(typename S::f32 x) noexcept {
  const auto constant = [](float c) { return S::broadcast(c); };
  x = S::min(constant(88.0f), S::max(constant(-87.0f), x)); // in this order NaN passes
  const auto n = S::round_even(S::mul(x, constant(1.44269504f)));
  // ln 2 in two parts: n times the first, of nine bits, is exact.
  auto r = S::multiply_add(n, constant(-0.693359375f), x);
  r = S::multiply_add(n, constant(2.12194440e-4f), r);
  auto sum = constant(1.0f / 5040);
  for (const float term : {1.0f / 720, 1.0f / 120, 1.0f / 24, 1.0f / 6, 0.5f, 1.0f, 1.0f})
    sum = S::multiply_add(sum, r, constant(term));
  return S::times_power_of_2(sum, n);
}

/// gate[i] = silu(gate[i]) * up[i], where silu(x) = x / (1 + e^-x). Source: Shazeer 2020 (SwiGLU).
template <simd::backend S = simd::native>
void multiply_silu(float* gate, const float* up, std::size_t n) noexcept {
  const auto zero = S::broadcast(0.0f), one = S::broadcast(1.0f);
  for_each_16(n, [&](std::size_t i, auto lanes) {
    const auto x = load_floats<S>(lanes, gate + i);
    const auto silu = S::div(x, S::add(one, exponential<S>(S::sub(zero, x))));
    const auto product = S::mul(silu, load_floats<S>(lanes, up + i));
    lanes.store(gate + i, [&](float* p) { S::store(p, product); });
  });
}

} // namespace edgequant::inline EDGEQUANT_ABI::kernel
