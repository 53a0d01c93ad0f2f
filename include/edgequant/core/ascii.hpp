// SPDX-License-Identifier: MIT
/// Letters and digits of ASCII, in every locale.
#pragma once

#include "../config.hpp"

#include <string>
#include <string_view>

namespace edgequant::inline EDGEQUANT_ABI::core::detail {

// Not std::isalpha and its kin: they follow the locale, and a negative char is undefined there.
[[nodiscard]] constexpr bool is_digit(char c) noexcept { return c >= '0' && c <= '9'; }
[[nodiscard]] constexpr char lower(char c) noexcept {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}
[[nodiscard]] constexpr bool is_letter(char c) noexcept {
  return lower(c) >= 'a' && lower(c) <= 'z';
}
[[nodiscard]] constexpr bool is_word(char c) noexcept { return is_digit(c) || is_letter(c); }

[[nodiscard]] inline std::string lower_case(std::string_view text) {
  std::string result(text);
  for (char& c : result) c = lower(c);
  return result;
}

} // namespace edgequant::inline EDGEQUANT_ABI::core::detail
