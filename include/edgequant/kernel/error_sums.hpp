// SPDX-License-Identifier: MIT
/// The sums from which every error figure follows, the same bits on every machine.
#pragma once

#include "../core/checked.hpp"
#include "lanes.hpp"

#include <algorithm>
#include <bit>
#include <cassert>

namespace edgequant::inline EDGEQUANT_ABI {

/// Sums over values w and their approximations v. Merging is exact in the counts and the maximum;
/// the sums are added, so merge in a fixed order.
struct error_sums {
  std::uint64_t count = 0;
  double signal = 0;        ///< sum of w^2
  double noise = 0;         ///< sum of (w - v)^2
  double absolute = 0;      ///< sum of |w - v|
  double approximation = 0; ///< sum of v^2
  double product = 0;       ///< sum of w * v
  double largest = 0;       ///< max |w - v|

  void merge(const error_sums& other) noexcept {
    count += other.count;
    signal += other.signal;
    noise += other.noise;
    absolute += other.absolute;
    approximation += other.approximation;
    product += other.product;
    largest = std::max(largest, other.largest);
  }
};

namespace kernel {

/// Sums of one run of values, v = codes * scale.
template <simd::backend S = simd::native>
[[nodiscard]] error_sums sum_errors(std::span<const float> values,
                                    std::span<const std::int8_t> codes, float scale) noexcept;

/// Sums of one run of values, v given.
template <simd::backend S = simd::native>
[[nodiscard]] error_sums sum_errors(std::span<const float> values,
                                    std::span<const float> approximations) noexcept;

/// The one body. approximate(i, lanes) returns 16 approximations in double.
template <simd::backend S, class Approximate>
[[nodiscard]] error_sums sum_errors_of(std::span<const float> values,
                                       Approximate approximate) noexcept {
  // No inexact product is ever added, so a compiler may fuse what it likes: w, v and d are floats
  // (24 bits), their products fit 48 of double's 53.
  const auto zero = S::broadcast(0.0);
  auto signal = zero, noise = zero, absolute = zero, approximation = zero, product = zero;
  auto largest = S::bits(S::broadcast(0.0f));
  for_each_16(values.size(), [&](std::size_t i, auto lanes) {
    const auto w = S::widen(load_floats<S>(lanes, values.data() + i));
    const auto exact = approximate(i, lanes);
    const auto difference = S::narrow(S::sub(w, exact));
    const auto d = S::widen(difference), v = S::widen(S::narrow(exact));
    signal = S::add(signal, S::mul(w, w));
    noise = S::add(noise, S::mul(d, d));
    absolute = S::add(absolute, S::widen(S::abs(difference)));
    approximation = S::add(approximation, S::mul(v, v));
    product = S::add(product, S::mul(w, v));
    largest = S::max(largest, S::bits(S::abs(difference)));
  });
  return {values.size(),
          S::reduce_add(signal),
          S::reduce_add(noise),
          S::reduce_add(absolute),
          S::reduce_add(approximation),
          S::reduce_add(product),
          static_cast<double>(std::bit_cast<float>(S::reduce_max(largest)))};
}

template <simd::backend S>
error_sums sum_errors(std::span<const float> values, std::span<const std::int8_t> codes,
                      float scale) noexcept {
  assert(values.size() == codes.size());
  const auto factor = S::broadcast(static_cast<double>(scale));
  return sum_errors_of<S>(values, [&](std::size_t i, auto lanes) {
    const auto code = lanes.load(codes.data() + i, [](const auto* p) { return S::load_i8(p); });
    return S::mul(S::widen(S::to_f32(code)), factor); // 8 + 24 bits: exact
  });
}

template <simd::backend S>
error_sums sum_errors(std::span<const float> values,
                      std::span<const float> approximations) noexcept {
  assert(values.size() == approximations.size());
  return sum_errors_of<S>(values, [&](std::size_t i, auto lanes) {
    return S::widen(load_floats<S>(lanes, approximations.data() + i));
  });
}

} // namespace kernel
} // namespace edgequant::inline EDGEQUANT_ABI
