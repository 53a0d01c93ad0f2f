// SPDX-License-Identifier: MIT
/// Rows of 16-bit and 64-bit floats to float and back.
#pragma once

#include "lanes.hpp"

namespace edgequant::inline EDGEQUANT_ABI::kernel {

/// values[i] = in[i], exactly. `in` is the bits of binary16 values.
template <simd::backend S = simd::native>
void from_f16(const std::uint16_t* in, std::span<float> values) noexcept {
  for_each_16(values.size(), [&](std::size_t i, auto lanes) {
    const auto x = lanes.load(in + i, [](const auto* p) { return S::load_f16(p); });
    lanes.store(values.data() + i, [&](float* p) { S::store(p, x); });
  });
}

/// values[i] = in[i], exactly. `in` is the bits of bfloat16 values.
template <simd::backend S = simd::native>
void from_bf16(const std::uint16_t* in, std::span<float> values) noexcept {
  for_each_16(values.size(), [&](std::size_t i, auto lanes) {
    const auto x = lanes.load(in + i, [](const auto* p) { return S::load_bf16(p); });
    lanes.store(values.data() + i, [&](float* p) { S::store(p, x); });
  });
}

/// out[i] = values[i] rounded half to even; |values| below half_overflow.
template <simd::backend S = simd::native>
void to_f16(std::span<const float> values, std::uint16_t* out) noexcept {
  for_each_16(values.size(), [&](std::size_t i, auto lanes) {
    const auto x = load_floats<S>(lanes, values.data() + i);
    lanes.store(out + i, [&](auto* p) { S::store_f16(p, x); });
  });
}

/// out[i] = values[i] rounded half to even; |values| below bfloat16_overflow.
template <simd::backend S = simd::native>
void to_bf16(std::span<const float> values, std::uint16_t* out) noexcept {
  for_each_16(values.size(), [&](std::size_t i, auto lanes) {
    const auto x = load_floats<S>(lanes, values.data() + i);
    lanes.store(out + i, [&](auto* p) { S::store_bf16(p, x); });
  });
}

} // namespace edgequant::inline EDGEQUANT_ABI::kernel
