// SPDX-License-Identifier: MIT
/// The classes of code points that the rules of tokenizers know.
#pragma once

#include "unicode_ranges.hpp"

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <span>
#include <string_view>

namespace edgequant::inline EDGEQUANT_ABI {

/// What the rules that cut a text before BPE tell apart.
enum class code_point_class : std::uint8_t { other, letter, number, punctuation, space, mark };

/// By Unicode's general categories L*, N*, P* and M*, and its property White_Space.
[[nodiscard]] code_point_class class_of(char32_t point) noexcept;

namespace text::detail {

constexpr bool is_in(std::span<const code_point_range> ranges, char32_t point) noexcept {
  const auto after =
      std::upper_bound(ranges.begin(), ranges.end(), point,
                       [](char32_t p, const auto& range) { return p < range.first; });
  return after != ranges.begin() && point <= std::prev(after)->last;
}

constexpr bool is_space(char32_t point) noexcept {
  return (point >= 0x09 && point <= 0x0d) || point == 0x20 || point == 0x85 || point == 0xa0 ||
         point == 0x1680 || (point >= 0x2000 && point <= 0x200a) || point == 0x2028 ||
         point == 0x2029 || point == 0x202f || point == 0x205f || point == 0x3000;
}

constexpr code_point_class class_of_ascii(char32_t point) noexcept {
  const char32_t lower = point | 0x20;
  if (lower >= 'a' && lower <= 'z') return code_point_class::letter;
  if (point >= '0' && point <= '9') return code_point_class::number;
  if (is_space(point)) return code_point_class::space;
  constexpr std::string_view punctuation = "!\"#%&'()*,-./:;?@[\\]_{}";
  return punctuation.find(static_cast<char>(point)) != punctuation.npos
             ? code_point_class::punctuation
             : code_point_class::other;
}

} // namespace text::detail

inline code_point_class class_of(char32_t point) noexcept {
  if (point < 0x80) return text::detail::class_of_ascii(point);
  if (text::detail::is_in(text::detail::letter_ranges, point)) return code_point_class::letter;
  if (text::detail::is_in(text::detail::number_ranges, point)) return code_point_class::number;
  if (text::detail::is_in(text::detail::punctuation_ranges, point))
    return code_point_class::punctuation;
  if (text::detail::is_in(text::detail::mark_ranges, point)) return code_point_class::mark;
  return text::detail::is_space(point) ? code_point_class::space : code_point_class::other;
}

} // namespace edgequant::inline EDGEQUANT_ABI
