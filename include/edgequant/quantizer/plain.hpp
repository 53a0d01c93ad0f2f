// SPDX-License-Identifier: MIT
/// The front door: spans in, vectors out, one scale for all.
#pragma once

#include "group_encoder.hpp"

namespace edgequant::inline EDGEQUANT_ABI {

/// Codes of one tensor under one scale: value = (code - zero_point) * scale.
struct quantized_values {
  std::vector<std::int8_t> codes; ///< -127..127, or -8..7 at 4 bits
  float scale = 0;                ///< 0: all values are zeros
  std::int32_t zero_point = 0;    ///< always 0: symmetric
};

/// Symmetric INT8: scale = absmax / 127 under the default rule. Empty input, zeros and values so
/// small that 1/scale overflows give codes of 0 and scale 0. NaN or infinity: bad_value with
/// `name` and the index.
///
/// A template, as quantize_int4, so that programs that do not call it do not compile it.
template <int Bits = 8>
[[nodiscard]] quantized_values quantize_int8(std::span<const float> values,
                                             const scale_choice& rule = {},
                                             std::string_view name = "weights");

/// Symmetric INT4, one code a byte (pack_int4 halves that): scale = absmax / 7 under the default
/// rule, codes -8..7. Otherwise as quantize_int8.
template <int Bits = 4>
[[nodiscard]] quantized_values quantize_int4(std::span<const float> values,
                                             const scale_choice& rule = {},
                                             std::string_view name = "weights");

/// values[i] = codes[i] * scale.
[[nodiscard]] inline std::vector<float> dequantize_int8(std::span<const std::int8_t> codes,
                                                        float scale) {
  std::vector<float> values(codes.size());
  kernel::dequantize(codes, scale, values.data());
  return values;
}
[[nodiscard]] inline std::vector<float> dequantize_int4(std::span<const std::int8_t> codes,
                                                        float scale) {
  return dequantize_int8(codes, scale);
}

/// Two codes a byte, (codes.size() + 1) / 2 bytes. A code outside -8..7: bad_argument.
[[nodiscard]] inline std::vector<std::uint8_t>
pack_int4(std::span<const std::int8_t> codes, nibble_order order = nibble_order::interleaved) {
  for (std::size_t i = 0; i < codes.size(); ++i)
    if (codes[i] < -8 || codes[i] > 7)
      fail(error_code::bad_argument, "pack_int4",
           "code " + std::to_string(codes[i]) + " at index " + std::to_string(i) +
               " is outside -8..7");
  std::vector<std::uint8_t> bytes(kernel::packed_bytes(codes.size()));
  kernel::pack_nibbles(codes, order, bytes.data());
  return bytes;
}

/// The `count` codes of pack_int4. Too few or too many bytes for them: bad_argument.
[[nodiscard]] inline std::vector<std::int8_t>
unpack_int4(std::span<const std::uint8_t> bytes, std::size_t count,
            nibble_order order = nibble_order::interleaved) {
  if (bytes.size() != kernel::packed_bytes(count))
    fail(error_code::bad_argument, "unpack_int4",
         std::to_string(bytes.size()) + " bytes cannot be " + std::to_string(count) + " codes");
  std::vector<std::int8_t> codes(count);
  kernel::unpack_nibbles(bytes.data(), order, codes);
  return codes;
}

/// Both quantizers are the per-tensor one of the matrix interface, on a single group.
template <int Bits>
[[nodiscard]] quantized_values quantize_values(std::span<const float> values,
                                               const scale_choice& rule, std::string_view name) {
  require_finite(values, name);
  group_encoder<symmetric<Bits, per_tensor>> encoder(rule, name);
  const group_scale s = encoder.choose(values, no_importance{}, 0);
  quantized_values result{std::vector<std::int8_t>(values.size()), s.stored, 0};
  encoder.encode(values, s, result.codes.data());
  return result;
}

template <int Bits>
quantized_values quantize_int8(std::span<const float> values, const scale_choice& rule,
                               std::string_view name) {
  static_assert(Bits == 8);
  return quantize_values<Bits>(values, rule, name);
}

template <int Bits>
quantized_values quantize_int4(std::span<const float> values, const scale_choice& rule,
                               std::string_view name) {
  static_assert(Bits == 4);
  return quantize_values<Bits>(values, rule, name);
}

} // namespace edgequant::inline EDGEQUANT_ABI
