// SPDX-License-Identifier: MIT
/// Decimal numbers in text, the same in every locale and with every standard library.
#pragma once

#include "../config.hpp"

#include <cstddef>
#include <optional>
#include <string_view>
#include <version>

#if defined(__cpp_lib_to_chars)
#include <charconv>
#else // libc++ has no std::from_chars for floating point
#include <cmath>
#include <limits>
#include <locale>
#include <sstream>
#include <string>
#endif

namespace edgequant::inline EDGEQUANT_ABI {

/// A number and how many characters of the text it takes.
struct leading_number {
  double value = 0;
  std::size_t length = 0;
};

/// Reads the longest number at the beginning of `text`: [-] digits [. digits] [e [+ or -] digits],
/// with digits before or after the point; an `e` without digits is not part of it. The value is the
/// nearest double. Nothing for text without a number (spaces, `+`, `inf`, `nan` and hexadecimal
/// digits are none) and for numbers beyond the range of double.
[[nodiscard]] std::optional<leading_number> read_leading_number(std::string_view text);

/// The number that `text` consists of; nothing where anything stands beside it.
[[nodiscard]] inline std::optional<double> read_number(std::string_view text) {
  const auto number = read_leading_number(text);
  if (!number || number->length != text.size()) return std::nullopt;
  return number->value;
}

namespace core::detail {

/// Characters of the number at the beginning of `text`, or 0.
[[nodiscard]] constexpr std::size_t number_length(std::string_view text) noexcept {
  const auto skip_digits = [&](std::size_t at) {
    while (at < text.size() && text[at] >= '0' && text[at] <= '9') ++at;
    return at;
  };
  const auto is_at = [&](std::size_t at, char c) { return at < text.size() && text[at] == c; };
  const std::size_t first = is_at(0, '-') ? 1 : 0;
  std::size_t end = skip_digits(first);
  std::size_t digits = end - first;
  if (is_at(end, '.')) {
    const std::size_t fraction = skip_digits(end + 1);
    digits += fraction - (end + 1);
    end = fraction;
  }
  if (digits == 0) return 0;
  if (is_at(end, 'e') || is_at(end, 'E')) {
    const std::size_t exponent = end + (is_at(end + 1, '+') || is_at(end + 1, '-') ? 2 : 1);
    const std::size_t after = skip_digits(exponent);
    if (after > exponent) end = after;
  }
  return end;
}

} // namespace core::detail

inline std::optional<leading_number> read_leading_number(std::string_view text) {
  leading_number number{0, core::detail::number_length(text)};
  if (number.length == 0) return std::nullopt;
#if defined(__cpp_lib_to_chars)
  const auto result = std::from_chars(text.data(), text.data() + number.length, number.value);
  if (result.ec != std::errc{}) return std::nullopt;
#else
  std::istringstream stream{std::string(text.substr(0, number.length))};
  stream.imbue(std::locale::classic());
  stream >> number.value;
  // A subnormal is a result too, although libc++ reports it as out of range.
  const double magnitude = std::fabs(number.value);
  if (stream.fail() && !(magnitude > 0 && magnitude < std::numeric_limits<double>::min()))
    return std::nullopt;
#endif
  return number;
}

} // namespace edgequant::inline EDGEQUANT_ABI
