// SPDX-License-Identifier: MIT
/// Text, numbers and colours of the report page: everything that comes from outside passes here.
#pragma once

#include "../core/number_text.hpp"
#include "report_text.hpp"

#include <charconv>
#include <cmath>

namespace edgequant::inline EDGEQUANT_ABI {

namespace report::detail {

/// Stands for a number that is not there or not finite.
inline constexpr std::string_view no_number = "\u2013";

/// Any bytes as text of an element or of a quoted attribute: markup is escaped, U+FFFD stands for
/// what is no UTF-8 and for control characters.
[[nodiscard]] inline std::string html_text(const std::string& text) {
  std::string result;
  for (const char c : utf8(text)) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '&')
      result += "&amp;";
    else if (c == '<')
      result += "&lt;";
    else if (c == '>')
      result += "&gt;";
    else if (c == '"')
      result += "&quot;";
    else if (c == '\'')
      result += "&#39;";
    else if ((byte < 0x20 && c != '\n') || byte == 0x7f)
      result += "\ufffd";
    else
      result += c;
  }
  return result;
}

/// The same for one line.
[[nodiscard]] inline std::string html_line(std::string text) {
  std::replace(text.begin(), text.end(), '\n', '\x01');
  return html_text(text);
}

/// fixed_text() for a page: a dash where the number is not finite, and no minus before zeros.
[[nodiscard]] inline std::string figure_text(double value, int decimals) {
  if (!std::isfinite(value)) return std::string(no_number);
  std::string text = fixed_text(value, decimals);
  if (text[0] == '-' && text.find_first_of("123456789") == text.npos) text.erase(0, 1);
  return text;
}

[[nodiscard]] inline std::string without_zeros(std::string text) {
  if (text.find('.') == text.npos) return text;
  text.erase(text.find_last_not_of('0') + 1);
  if (text.back() == '.') text.pop_back();
  return text;
}

[[nodiscard]] inline std::string superscript(int number) {
  constexpr std::string_view digits[] = {"\u2070", "\u00b9", "\u00b2", "\u00b3", "\u2074",
                                         "\u2075", "\u2076", "\u2077", "\u2078", "\u2079"};
  std::string text;
  for (const char c : std::to_string(number))
    text += c == '-' ? std::string_view("\u207b") : digits[c - '0'];
  return text;
}

/// At most three significant digits: `0.0123`, `12.3`, `1.2×10⁻⁷`.
[[nodiscard]] inline std::string short_text(double value) {
  if (!std::isfinite(value)) return std::string(no_number);
  if (value == 0) return "0";
  const std::string text = core::detail::number_text(value, std::chars_format::scientific, 2);
  const auto e = text.find('e');
  const int exponent = std::atoi(text.c_str() + e + 1);
  if (exponent >= -3 && exponent < 6)
    return without_zeros(figure_text(value, std::max(0, 2 - exponent)));
  const std::string digits = without_zeros(text.substr(0, e));
  return (digits == "1" ? "10" : digits + "\u00d710") + superscript(exponent);
}

/// A ratio in per cent with two decimals: columns of them line up.
[[nodiscard]] inline std::string percent_text(double ratio) {
  if (!std::isfinite(ratio)) return std::string(no_number);
  if (ratio > 0 && ratio < 0.00005) return "&lt;0.01\u00a0%";
  return figure_text(100 * ratio, 2) + "\u00a0%";
}

/// `1,234,567`.
[[nodiscard]] inline std::string grouped_text(std::uint64_t number) {
  std::string text = std::to_string(number);
  for (std::size_t at = text.size(); at > 3; at -= 3) text.insert(at - 3, ",");
  return text;
}

/// SQNR in dB for a table, `exact` for a copy.
[[nodiscard]] inline std::string sqnr_cell(const error_accumulator& error) {
  if (error.sums().count == 0) return std::string(no_number);
  const double db = error.figures().sqnr_db;
  return db == std::numeric_limits<double>::infinity() ? "exact" : figure_text(db, 2);
}

struct format_colour {
  format id;
  std::uint32_t rgb;
};

/// Fills of cells and marks. Of the writable formats any two differ by at least 25 (CIE76) to
/// normal, deuteranopic, protanopic and tritanopic eyes (Machado et al. 2009, severity 1); the
/// others are shades of their neighbours.
inline constexpr format_colour format_colours[] = {
    {format::f32, 0xbebbe0},     {format::f16, 0x5638aa},   {format::bf16, 0xbc7581},
    {format::q8_0, 0x376f9d},    {format::q5_0, 0x58c46c},  {format::q4_0, 0xe9cb40},
    {format::f64, 0xa5a2cb},     {format::i8, 0xa3a7ad},    {format::i16, 0x999da3},
    {format::i32, 0x8f9399},     {format::i64, 0x85898f},   {format::q4_1, 0xdfbf33},
    {format::q5_1, 0x4cb860},    {format::q8_1, 0x2f6591},  {format::q2_k, 0xd1663c},
    {format::q3_k, 0xdd9638},    {format::q4_k, 0xd6b32b},  {format::q5_k, 0x43a956},
    {format::q6_k, 0x3f9c93},    {format::q8_k, 0x295a84},  {format::iq4_nl, 0xcba824},
    {format::mxfp4, 0xf0d65c},   {format::nvfp4, 0xf4df78}, {format::iq4_xs, 0xc09d1e},
    {format::iq3_xxs, 0xe6a34b}, {format::iq3_s, 0xd08a2c}, {format::iq2_xxs, 0xe07f58},
    {format::iq2_xs, 0xc45a31},  {format::iq2_s, 0xb64f28}, {format::iq1_s, 0xa6472f},
    {format::iq1_m, 0x984028},   {format::tq1_0, 0x8a6a5c}, {format::tq2_0, 0x7d5f52},
    {format::q1_0, 0x70544a},    {format::q2_0, 0xe9926f},
};

/// The row's number; past the end where there is none. No address: GCC's sanitizers take a
/// comparison of addresses for no constant.
[[nodiscard]] constexpr std::size_t find_colour(format id) noexcept {
  std::size_t row = 0;
  while (row < std::size(format_colours) && format_colours[row].id != id) ++row;
  return row;
}

[[nodiscard]] constexpr bool all_formats_have_colours() noexcept {
  for (const auto& row : format_table)
    if (find_colour(row.id) == std::size(format_colours)) return false;
  return true;
}
static_assert(all_formats_have_colours());

[[nodiscard]] constexpr std::uint32_t rgb_of(format id) noexcept {
  return format_colours[find_colour(id)].rgb;
}

/// `#e9cb40`.
[[nodiscard]] inline std::string fill_of(format id) {
  constexpr std::string_view hex = "0123456789abcdef";
  std::string text = "#";
  for (int shift = 20; shift >= 0; shift -= 4) text += hex[rgb_of(id) >> shift & 15];
  return text;
}

/// What is readable on it: luma by ITU-R BT.601.
[[nodiscard]] inline std::string_view ink_of(format id) {
  const std::uint32_t rgb = rgb_of(id);
  const auto luma = 299 * (rgb >> 16) + 587 * (rgb >> 8 & 255) + 114 * (rgb & 255);
  return luma > 128000 ? "#16181d" : "#ffffff";
}

/// The name of a format on its colour.
[[nodiscard]] inline std::string format_chip(format id) {
  return "<span class=\"chip\" style=\"background:" + fill_of(id) +
         ";color:" + std::string(ink_of(id)) + "\">" + std::string(name_of(id)) + "</span>";
}

} // namespace report::detail

} // namespace edgequant::inline EDGEQUANT_ABI
