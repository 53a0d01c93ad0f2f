// SPDX-License-Identifier: MIT
/// Dot products of rows of f32, f16 or bf16 weights with float activations.
#pragma once

#include "lanes.hpp"

#include <cstddef>

namespace edgequant::inline EDGEQUANT_ABI::kernel {

/// Sixteen stored weights as floats.
template <simd::backend S> [[nodiscard]] inline auto load_values(const float* p) noexcept {
  return S::load(p);
}
struct f16_bits {
  std::uint16_t bits;
};
struct bf16_bits {
  std::uint16_t bits;
};
template <simd::backend S> [[nodiscard]] inline auto load_values(const f16_bits* p) noexcept {
  return S::load_f16(reinterpret_cast<const std::uint16_t*>(p));
}
template <simd::backend S> [[nodiscard]] inline auto load_values(const bf16_bits* p) noexcept {
  return S::load_bf16(reinterpret_cast<const std::uint16_t*>(p));
}

/// out[c * stride + r] = row r times token c, for rows[Rows][length] and x[Tokens][length]. The
/// rounding error is at most (length / 16 + 6) * 2^-24 times the sum of magnitudes of the terms.
template <std::size_t Rows, std::size_t Tokens, class Value, simd::backend S = simd::native>
inline void dot_tile(const Value* rows, std::size_t length, const float* x, float* out,
                     std::size_t stride) noexcept {
  typename S::f32 sums[Rows][Tokens];
  for (auto& row : sums)
    for (auto& sum : row) sum = S::broadcast(0.0f);
  for_each_16(length, [&](std::size_t i, auto lanes) {
    typename S::f32 w[Rows];
    for (std::size_t r = 0; r < Rows; ++r)
      w[r] = lanes.load(rows + r * length + i, [](const Value* p) { return load_values<S>(p); });
    for (std::size_t c = 0; c < Tokens; ++c) {
      const auto xs = load_floats<S>(lanes, x + c * length + i);
      for (std::size_t r = 0; r < Rows; ++r) sums[r][c] = S::multiply_add(w[r], xs, sums[r][c]);
    }
  });
  for (std::size_t r = 0; r < Rows; ++r)
    for (std::size_t c = 0; c < Tokens; ++c) out[c * stride + r] = S::reduce_add(sums[r][c]);
}

/// Sum of a[i] * b[i].
template <simd::backend S = simd::native>
[[nodiscard]] inline float dot(const float* a, const float* b, std::size_t n) noexcept {
  float sum = 0;
  dot_tile<1, 1, float, S>(a, n, b, &sum, 1);
  return sum;
}

/// y[i] += factor * x[i].
template <simd::backend S = simd::native>
inline void add_scaled(float factor, const float* x, float* y, std::size_t n) noexcept {
  const auto f = S::broadcast(factor);
  for_each_16(n, [&](std::size_t i, auto lanes) {
    const auto sum = S::multiply_add(f, load_floats<S>(lanes, x + i), load_floats<S>(lanes, y + i));
    lanes.store(y + i, [&](float* p) { S::store(p, sum); });
  });
}

/// x[i] *= factors[i].
template <simd::backend S = simd::native>
inline void multiply_by(const float* factors, std::span<float> x) noexcept {
  for_each_16(x.size(), [&](std::size_t i, auto lanes) {
    const auto product =
        S::mul(load_floats<S>(lanes, x.data() + i), load_floats<S>(lanes, factors + i));
    lanes.store(x.data() + i, [&](float* p) { S::store(p, product); });
  });
}

} // namespace edgequant::inline EDGEQUANT_ABI::kernel
