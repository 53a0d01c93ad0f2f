// SPDX-License-Identifier: MIT
/// A head's keys or values as the KV cache stores them, in each of its formats.
#pragma once

#include "../core/float_types.hpp"
#include "../kernel/absmax.hpp"
#include "../kernel/convert.hpp"
#include "../kernel/dot.hpp"
#include "../kernel/quantize.hpp"
#include "../kernel/squared_error.hpp"
#include "../quantizer/scale_storage.hpp"
#include "kv_format.hpp"

#include <algorithm>
#include <cstdint>
#include <limits>

namespace edgequant::inline EDGEQUANT_ABI::model::detail {

/// The scales, [groups][tokens], and the elements of a head's keys, [elements][tokens], or values,
/// [tokens][elements], in a block of `tokens` tokens.
template <class Head> struct head_block {
  typename Head::scale* scales;
  typename Head::element* elements;
  head_block(std::byte* at, std::size_t head_size, std::size_t tokens) noexcept
      : scales(reinterpret_cast<typename Head::scale*>(at)),
        elements(reinterpret_cast<typename Head::element*>(
            at + Head::groups(head_size) * tokens * sizeof(typename Head::scale))) {}
};

/// Formats whose elements are one value each, with at most one scale a head.
template <class Head, class Element, bool HasScales> struct single_values {
  using element = Element;
  using scale = float;
  static constexpr std::size_t group_values = 0; ///< the whole head
  static constexpr std::size_t elements(std::size_t values) noexcept { return values; }
  static constexpr std::size_t groups(std::size_t) noexcept { return HasScales ? 1 : 0; }

  /// Keys of `count` tokens from token `at` of the block on: value i of a token at to[i * stride].
  static void decode_keys(head_block<Head> block, std::size_t tokens, std::size_t at,
                          std::size_t count, std::size_t head_size, float* to,
                          std::size_t stride) noexcept {
    for (std::size_t i = 0; i < head_size; ++i) {
      const std::span<float> row(to + i * stride, count);
      Head::decode(block.elements + i * tokens + at, 1.0f, row);
      if constexpr (HasScales) kernel::multiply_by(block.scales + at, row);
    }
  }
  /// Values of these tokens, head_size a token.
  static void decode_values(head_block<Head> block, std::size_t, std::size_t at, std::size_t count,
                            std::size_t head_size, float* to) noexcept {
    const std::size_t together = HasScales ? 1 : count; // tokens with one scale
    for (std::size_t k = 0; k < count; k += together)
      Head::decode(block.elements + (at + k) * head_size, HasScales ? block.scales[at + k] : 1.0f,
                   {to + k * head_size, together * head_size});
  }
};

struct f32_head : single_values<f32_head, float, false> {
  static float choose_scale(std::span<const float>, float*) noexcept { return 1; }
  static void encode(std::span<const float> x, float, float* to) noexcept {
    std::copy(x.begin(), x.end(), to);
  }
  static void decode(const float* from, float, std::span<float> x) noexcept {
    std::copy_n(from, x.size(), x.begin());
  }
};
struct f16_head : single_values<f16_head, std::uint16_t, false> {
  static float choose_scale(std::span<const float>, float*) noexcept { return 1; }
  static void encode(std::span<const float> x, float, std::uint16_t* to) noexcept {
    kernel::to_f16(x, to);
  }
  static void decode(const std::uint16_t* from, float, std::span<float> x) noexcept {
    kernel::from_f16(from, x);
  }
};
struct int8_head : single_values<int8_head, std::int8_t, true> {
  /// Sets a head's scale and returns its inverse.
  static float choose_scale(std::span<const float> x, float* scale) noexcept {
    const float largest = std::bit_cast<float>(kernel::absmax_bits(x));
    if (!is_finite(largest)) { // codes of 0 with a finite scale would hide it
      *scale = std::numeric_limits<float>::quiet_NaN();
      return 0;
    }
    const auto found = store_scale<float>(largest / 127.0f, 127.0f);
    *scale = found.stored;
    return found.inverse;
  }
  static void encode(std::span<const float> x, float inverse, std::int8_t* to) noexcept {
    kernel::quantize<8>(x, inverse, to);
  }
  static void decode(const std::int8_t* from, float scale, std::span<float> x) noexcept {
    kernel::dequantize({from, x.size()}, scale, x.data());
  }
};

/// Groups as q4_0 has them: values j and j + 16 of 32 share a byte. Both halves of a byte of keys
/// belong to one token, so that it is written without touching its neighbours.
struct int4_head {
  using element = std::uint8_t;
  using scale = half;
  static constexpr std::size_t group_values = kv_group_values, group_elements = group_values / 2;
  static constexpr std::size_t groups(std::size_t values) noexcept {
    return (values + group_values - 1) / group_values;
  }
  static constexpr std::size_t elements(std::size_t values) noexcept {
    return groups(values) * group_elements;
  }

  /// Of the largest magnitude at -8, at 7 and somewhat inside, the scale of least squared error.
  static float choose_scale(std::span<const float> x, half* scale) noexcept {
    const float largest = std::bit_cast<float>(kernel::absmax_bits(x));
    group_scale best;
    if (is_finite(largest)) {
      const bool is_negative = std::find(x.begin(), x.end(), -largest) != x.end();
      const float sign = is_negative ? 1.0f : -1.0f;
      double least = std::numeric_limits<double>::infinity();
      for (const float divisor : {sign * 8.0f, sign * 8.8f, sign * 9.6f, 7.0f, 7.8f}) {
        const auto found = store_scale<half>(largest / divisor, 8);
        const double error = kernel::squared_error<4>(x, {}, found.stored);
        if (error < least) least = error, best = found;
      }
    }
    const bool is_stored = is_finite(largest) && is_finite(best.stored);
    *scale = is_stored ? half(best.stored) : std::numeric_limits<half>::quiet_NaN();
    return is_stored ? best.inverse : 0;
  }
  static void encode(std::span<const float> x, float inverse, std::uint8_t* to) noexcept {
    for (std::size_t i = 0; i < x.size(); i += group_values, to += group_elements) {
      float padded[group_values] = {};
      std::copy_n(x.begin() + static_cast<std::ptrdiff_t>(i), std::min(group_values, x.size() - i),
                  padded);
      block_q4_0 block;
      kernel::quantize_block(padded, inverse, block);
      std::copy(std::begin(block.nibbles), std::end(block.nibbles), to);
    }
  }
  static void decode_keys(head_block<int4_head> block, std::size_t tokens, std::size_t at,
                          std::size_t count, std::size_t head_size, float* to,
                          std::size_t stride) noexcept {
    for (std::size_t e = 0; e < elements(head_size); ++e) {
      const std::size_t g = e / group_elements, low = g * group_values + e % group_elements;
      if (low >= head_size) continue;
      const bool has_high = low + group_elements < head_size;
      const std::uint8_t* row = block.elements + e * tokens + at;
      const half* scales = block.scales + g * tokens + at;
      multiply_nibbles(row, scales, count, to + low * stride,
                       has_high ? to + (low + group_elements) * stride : nullptr);
    }
  }
  static void decode_values(head_block<int4_head> block, std::size_t tokens, std::size_t at,
                            std::size_t count, std::size_t head_size, float* to) noexcept {
    for (std::size_t k = 0; k < count; ++k) {
      const std::uint8_t* from = block.elements + (at + k) * elements(head_size);
      for (std::size_t g = 0; g < groups(head_size); ++g, from += group_elements) {
        block_q4_0 packed;
        packed.scale = block.scales[g * tokens + at + k];
        std::copy_n(from, group_elements, packed.nibbles);
        const std::size_t length = std::min(group_values, head_size - g * group_values);
        float* x = to + k * head_size + g * group_values;
        if (length == group_values) {
          kernel::dequantize_block(packed, x);
        } else {
          float padded[group_values];
          kernel::dequantize_block(packed, padded);
          std::copy_n(padded, length, x);
        }
      }
    }
  }

private:
  /// The codes of both nibbles of each byte times its scale; `high` may be null.
  static void multiply_nibbles(const std::uint8_t* bytes, const half* scales, std::size_t count,
                               float* low, float* high) noexcept {
    using S = simd::native;
    kernel::for_each_16(count, [&](std::size_t i, auto lanes) {
      float factors[16] = {};
      const std::size_t some = std::min<std::size_t>(16, count - i);
      kernel::from_f16(reinterpret_cast<const std::uint16_t*>(scales + i), {factors, some});
      const auto factor = S::load(factors);
      const auto put = [&](float* to, auto read) {
        const auto code = lanes.load(bytes + i, [&](const std::uint8_t* p) { return read(p); });
        lanes.store(to + i, [&](float* p) { S::store(p, S::mul(S::to_f32(code), factor)); });
      };
      put(low, [](const std::uint8_t* p) { return S::load_low_nibbles(p, 0x88); });
      if (high != nullptr)
        put(high, [](const std::uint8_t* p) { return S::load_high_nibbles(p, 0x88); });
    });
  }
};

template <class Use> void visit_head_format(kv_format type, Use use) {
  switch (type) {
  case kv_format::f32:
    return use(f32_head{});
  case kv_format::f16:
    return use(f16_head{});
  case kv_format::int8:
    return use(int8_head{});
  case kv_format::int4:
    return use(int4_head{});
  }
}

} // namespace edgequant::inline EDGEQUANT_ABI::model::detail
