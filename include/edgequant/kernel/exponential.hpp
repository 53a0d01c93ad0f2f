// SPDX-License-Identifier: MIT
/// The exponential function sixteen at a time, and what activations are made of it.
#pragma once

#include "lanes.hpp"

#include <cmath>

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

/// The sum of e^(x[i] - most) for x[i] up to `most`, added in double.
template <simd::backend S = simd::native>
[[nodiscard]] double sum_of_exponentials(std::span<const float> x, float most) noexcept {
  const auto shift = S::broadcast(most);
  auto sum = S::broadcast(0.0);
  std::size_t i = 0;
  for (; i + 16 <= x.size(); i += 16)
    sum = S::add(sum, S::widen(exponential<S>(S::sub(S::load(x.data() + i), shift))));
  double total = S::reduce_add(sum);
  for (; i < x.size(); ++i) total += std::exp(double{x[i]} - double{most});
  return total;
}

/// x / (1 + e^-y): silu(x) where y is x.
template <simd::backend S>
[[nodiscard]] inline typename S::f32 times_sigmoid(typename S::f32 x, typename S::f32 y) noexcept {
  return S::div(x, S::add(S::broadcast(1.0f), exponential<S>(S::sub(S::broadcast(0.0f), y))));
}

/// gate[i] = silu(gate[i]) * up[i]. Source: Shazeer 2020 (SwiGLU).
template <simd::backend S = simd::native>
void multiply_silu(float* gate, const float* up, std::size_t n) noexcept {
  for_each_16(n, [&](std::size_t i, auto lanes) {
    const auto x = load_floats<S>(lanes, gate + i);
    const auto product = S::mul(times_sigmoid<S>(x, x), load_floats<S>(lanes, up + i));
    lanes.store(gate + i, [&](float* p) { S::store(p, product); });
  });
}

/// gate[i] = gelu(gate[i]) * up[i], with the approximation gelu(x) = x / (1 + e^-2y), y = sqrt(2 /
/// pi) (x + 0.044715 x^3). Source: Hendrycks and Gimpel 2016; Shazeer 2020 (GeGLU).
template <simd::backend S = simd::native>
void multiply_gelu(float* gate, const float* up, std::size_t n) noexcept {
  const auto linear = S::broadcast(1.59576912f), cubic = S::broadcast(1.59576912f * 0.044715f);
  for_each_16(n, [&](std::size_t i, auto lanes) {
    const auto x = load_floats<S>(lanes, gate + i);
    const auto y = S::mul(x, S::multiply_add(S::mul(x, x), cubic, linear));
    const auto product = S::mul(times_sigmoid<S>(x, y), load_floats<S>(lanes, up + i));
    lanes.store(gate + i, [&](float* p) { S::store(p, product); });
  });
}

/// gate[i] = g / (1 + e^-1.702 g) * (u + 1), with g the gate up to 7 and u the other half within
/// -7..7. Source: the model card and code of gpt-oss.
template <simd::backend S = simd::native>
void multiply_clamped_silu(float* gate, const float* up, std::size_t n) noexcept {
  const auto limit = S::broadcast(7.0f), lowest = S::broadcast(-7.0f), one = S::broadcast(1.0f);
  const auto slope = S::broadcast(1.702f);
  for_each_16(n, [&](std::size_t i, auto lanes) {
    // The operands in this order: NaN passes.
    const auto x = S::min(limit, load_floats<S>(lanes, gate + i));
    const auto u = S::max(lowest, S::min(limit, load_floats<S>(lanes, up + i)));
    const auto product = S::mul(times_sigmoid<S>(x, S::mul(x, slope)), S::add(u, one));
    lanes.store(gate + i, [&](float* p) { S::store(p, product); });
  });
}

/// x[i] = cap * tanh(x[i] / cap) = cap - 2 cap / (1 + e^(2 x[i] / cap)).
template <simd::backend S = simd::native>
void soft_cap(float* x, std::size_t n, float cap) noexcept {
  const auto factor = S::broadcast(2 / cap), limit = S::broadcast(cap), one = S::broadcast(1.0f);
  for_each_16(n, [&](std::size_t i, auto lanes) {
    const auto e = exponential<S>(S::mul(load_floats<S>(lanes, x + i), factor));
    const auto y = S::sub(limit, S::div(S::add(limit, limit), S::add(one, e)));
    lanes.store(x + i, [&](float* p) { S::store(p, y); });
  });
}

} // namespace edgequant::inline EDGEQUANT_ABI::kernel
