// SPDX-License-Identifier: MIT
/// Bytes to a codec_input, and what must hold of the two outputs. Included by one translation unit
/// of a program, the native one.
#pragma once

#include "codec_path.hpp"
#include "support.hpp"

#include <cmath>

namespace fuzz {

codec_output run_native(const codec_input& input) { return run_codec(input); }

/// What a target takes from all that run_codec() can do.
struct codec_target {
  std::span<const unsigned> kinds, rules;
  std::size_t most_values;
};

/// Four ways to see bytes as finite values: plain floats seldom share a magnitude.
inline std::vector<float> values_of(std::span<const std::byte> bytes, unsigned view,
                                    std::size_t most) {
  const std::size_t width = view == 0 ? 4 : view == 3 ? 1 : 2;
  std::vector<float> values(std::min(bytes.size() / width, most));
  for (std::size_t i = 0; i < values.size(); ++i) {
    std::uint32_t bits = 0;
    std::memcpy(&bits, bytes.data() + i * width, width);
    float x = std::bit_cast<float>(bits);
    if (view == 1)
      x = static_cast<float>(std::bit_cast<eq::half>(static_cast<std::uint16_t>(bits)));
    if (view == 2) x = std::bit_cast<float>(bits << 16);
    if (view == 3) x = static_cast<float>(static_cast<std::int8_t>(bits)) * 0.25f; // ties
    if (!eq::is_finite(x)) x = std::bit_cast<float>(std::bit_cast<std::uint32_t>(x) & 0xbfffffffu);
    values[i] = x;
  }
  return values;
}

/// Column weights, or none: the values themselves, or small whole numbers with zeros among them.
inline std::vector<float> importance_of(const std::vector<float>& values, unsigned view) {
  std::vector<float> importance(view == 0 ? 0 : values.size());
  for (std::size_t i = 0; i < importance.size(); ++i) {
    const float x = std::abs(values[values.size() - 1 - i]);
    importance[i] = view == 1 ? x : static_cast<float>(eq::abs_bits(x) % 4);
  }
  return importance;
}

/// Equal bits; any NaN is as good as another.
template <class T> bool same_bits(const std::vector<T>& a, const std::vector<T>& b) {
  if (a.size() != b.size()) return false;
  for (std::size_t i = 0; i < a.size(); ++i)
    if (std::memcmp(&a[i], &b[i], sizeof(T)) != 0 && !(a[i] != a[i] && b[i] != b[i])) return false;
  return true;
}

inline bool all_finite(std::span<const float> values) {
  return std::all_of(values.begin(), values.end(), eq::is_finite);
}
/// The first four bytes choose what is done, the rest are values.
inline void run_codec_target(const codec_target& target, std::span<const std::byte> bytes) {
  if (bytes.size() < 4) return;
  const auto choice = [&](std::size_t i) { return std::to_integer<unsigned>(bytes[i]); };
  codec_input input;
  input.kind = target.kinds[choice(0) % target.kinds.size()];
  input.rule = target.rules[choice(1) % target.rules.size()];
  input.percentile = (choice(2) + 1) / 2.56;
  input.bytes = bytes.subspan(4, std::min(bytes.size() - 4, 4 * target.most_values));
  const auto values = values_of(input.bytes, choice(3) % 4, target.most_values);
  const auto importance = importance_of(values, choice(3) / 4 % 3);
  input.values = values, input.importance = importance;

  const codec_output a = run_native(input), b = run_scalar(input);
  require(a.refusal == b.refusal, "native and scalar refuse the same");
  require(a.refusal != "unpacked codes differ", "codes survive packing");
  require(a.stored == b.stored && a.codes == b.codes && same_bits(a.scales, b.scales),
          "native stores what scalar stores");
  require(same_bits(a.decoded, b.decoded), "native decodes what scalar decodes");
  require(same_bits(a.sums, b.sums), "native sums errors as scalar does");
  if (input.kind == decode_kind) return; // any bytes may hold NaN
  require(all_finite(a.decoded) && all_finite(a.scales), "finite values stay finite");
  for (const auto code : a.codes) require(code != -128, "codes stay within -127..127");
}

} // namespace fuzz
