// SPDX-License-Identifier: MIT
/// Floating-point numbers as text. printf and std::to_string write the decimal point of the
/// program's locale; these write a dot, whatever setlocale() or std::locale::global() said.
#pragma once

#include "../config.hpp"

#include <array>
#include <charconv>
#include <cmath>
#include <string>
#include <string_view>

namespace edgequant::inline EDGEQUANT_ABI {

/// `12.30` for 12.3 and two decimals, as %.2f in the C locale. "nan", "inf" and "-inf".
[[nodiscard]] std::string fixed_text(double value, int decimals);

/// At most `digits` significant digits without trailing zeros, as %.4g in the C locale.
[[nodiscard]] std::string general_text(double value, int digits);

/// The shortest text that reads back as the same number.
[[nodiscard]] std::string shortest_text(double value);
[[nodiscard]] std::string shortest_text(float value);

/// `text` with spaces before it up to `width` bytes. Longer texts stay as they are.
[[nodiscard]] inline std::string right_aligned(std::string_view text, std::size_t width) {
  return std::string(width > text.size() ? width - text.size() : 0, ' ').append(text);
}

/// `text` with spaces behind it up to `width` bytes.
[[nodiscard]] inline std::string left_aligned(std::string_view text, std::size_t width) {
  return std::string(text).append(width > text.size() ? width - text.size() : 0, ' ');
}

namespace core::detail {
/// std::to_chars(first, last, value, how...) as a string.
template <class Float, class... How> std::string number_text(Float value, How... how) {
  std::array<char, 400> text; // a double in fixed style has 309 digits before the point
  const auto end = std::to_chars(text.data(), text.data() + text.size(), value, how...);
  return {text.data(), end.ptr};
}
} // namespace core::detail

inline std::string fixed_text(double value, int decimals) {
  return core::detail::number_text(value, std::chars_format::fixed, decimals);
}

inline std::string general_text(double value, int digits) {
  return core::detail::number_text(value, std::chars_format::general, digits);
}

inline std::string shortest_text(double value) { return core::detail::number_text(value); }
inline std::string shortest_text(float value) { return core::detail::number_text(value); }

} // namespace edgequant::inline EDGEQUANT_ABI
