// SPDX-License-Identifier: MIT
/// Finding known names in free text: "RTX4090", "rtx-4090" and "GeForce RTX 4090" are one card.
#pragma once

#include "../core/ascii.hpp"

#include <cstddef>
#include <cstdlib>
#include <optional>
#include <string>
#include <string_view>

namespace edgequant::inline EDGEQUANT_ABI {

/// Whether `lower` (lower-case text) names `pattern`, from the start of a word: blanks and '_' of
/// the pattern stand for any punctuation or none. A number ends where the digits end, a word where
/// the letters end: "pi 4" is in "Raspberry Pi 4B" and not in "Pi 400".
[[nodiscard]] bool match_name(std::string_view lower, std::string_view pattern);

/// The row of a table of {name, ...} whose name is in the text and longest (the first of equals);
/// null where there is none.
template <class Row, std::size_t N>
[[nodiscard]] const Row* longest_match(std::string_view lower, const Row (&table)[N]) {
  const Row* best = nullptr;
  for (const auto& row : table)
    if ((best == nullptr || row.name.size() > best->name.size()) && match_name(lower, row.name))
      best = &row;
  return best;
}

namespace advisor::detail {

using core::detail::is_digit;
using core::detail::is_letter;
using core::detail::is_word;
using core::detail::lower_case;

[[nodiscard]] constexpr bool same_run(char a, char b) noexcept {
  return (is_digit(a) && is_digit(b)) || (is_letter(a) && is_letter(b));
}

/// A number such as "1.1"; empty for anything else. Digits and one point: no locale, no signs.
[[nodiscard]] inline std::optional<double> decimal(std::string_view text) {
  double value = 0, place = 0;
  for (const char c : text) {
    if (c == '.' && place == 0) {
      place = 1;
    } else if (is_digit(c)) {
      value = place == 0 ? value * 10 + (c - '0') : value + (c - '0') * (place /= 10);
    } else {
      return {};
    }
  }
  return !text.empty() && is_digit(text.front()) ? std::optional(value) : std::nullopt;
}

/// Where `pattern` ends in the text if it begins at `at`; npos where it does not.
[[nodiscard]] constexpr std::size_t match_end(std::string_view lower, std::size_t at,
                                              std::string_view pattern) noexcept {
  for (const char c : pattern) {
    if (c == ' ' || c == '_') {
      while (at < lower.size() && !is_word(lower[at])) ++at;
    } else if (at < lower.size() && lower[at] == c) {
      ++at;
    } else {
      return std::string_view::npos;
    }
  }
  return at;
}

} // namespace advisor::detail

inline bool match_name(std::string_view lower, std::string_view pattern) {
  for (std::size_t at = 0; at < lower.size(); ++at) {
    if (at > 0 && advisor::detail::same_run(lower[at - 1], lower[at])) continue;
    const std::size_t end = advisor::detail::match_end(lower, at, pattern);
    if (end != lower.npos &&
        (end == lower.size() || !advisor::detail::same_run(lower[end - 1], lower[end])))
      return true;
  }
  return false;
}

} // namespace edgequant::inline EDGEQUANT_ABI
