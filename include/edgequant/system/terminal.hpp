// SPDX-License-Identifier: MIT
/// How wide a terminal is, and how many of its columns a text takes.
#pragma once

#include "../core/utf8.hpp"

#include <atomic>
#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>

#include <sys/ioctl.h>
#include <unistd.h>

namespace edgequant::inline EDGEQUANT_ABI {

/// Columns of the terminal behind `descriptor`, as they are now; where it does not tell, those of
/// the variable COLUMNS, and 80 where there is none.
[[nodiscard]] std::size_t terminal_columns(int descriptor) noexcept;

/// Whether the terminal of this process takes escape codes: TERM is neither dumb nor empty.
[[nodiscard]] bool terminal_has_escapes() noexcept;

/// Columns that a character takes: 2 for those of East Asian width and emoji, 0 for combining ones.
/// Source: Unicode 15, EastAsianWidth.txt (W and F) and the main blocks of combining marks.
[[nodiscard]] constexpr std::size_t columns_of(char32_t point) noexcept;

/// The beginning of `text` that fits `columns`, between characters. A control character or a byte
/// that is no UTF-8 becomes U+FFFD.
[[nodiscard]] std::string cut_to_columns(std::string_view text, std::size_t columns);

namespace system::detail {

/// Whether a line without an end stands on stderr's terminal. A signal handler reads it.
inline std::atomic<bool> line_is_open = false;

struct point_range {
  char32_t first, last;
};

inline constexpr point_range combining_ranges[] = {
    {0x0300, 0x036f}, {0x1ab0, 0x1aff}, {0x1dc0, 0x1dff}, {0x200b, 0x200f},
    {0x20d0, 0x20ff}, {0xfe00, 0xfe0f}, {0xfe20, 0xfe2f}, {0xe0100, 0xe01ef}};

inline constexpr point_range wide_ranges[] = {
    {0x1100, 0x115f},   {0x231a, 0x231b},   {0x23e9, 0x23f3},   {0x25fd, 0x25fe},  {0x2614, 0x2615},
    {0x2648, 0x2653},   {0x26a1, 0x26a1},   {0x26bd, 0x26be},   {0x2705, 0x2705},  {0x270a, 0x270b},
    {0x2728, 0x2728},   {0x274c, 0x274c},   {0x2753, 0x2757},   {0x2795, 0x2797},  {0x2b1b, 0x2b1c},
    {0x2b50, 0x2b55},   {0x2e80, 0x303e},   {0x3041, 0xa4cf},   {0xa960, 0xa97f},  {0xac00, 0xd7a3},
    {0xf900, 0xfaff},   {0xfe10, 0xfe19},   {0xfe30, 0xfe6f},   {0xff01, 0xff60},  {0xffe0, 0xffe6},
    {0x16fe0, 0x18cff}, {0x1b000, 0x1b2ff}, {0x1f000, 0x1faff}, {0x20000, 0x3fffd}};

[[nodiscard]] constexpr bool is_in(char32_t point, const auto& ranges) noexcept {
  for (const auto& range : ranges)
    if (point >= range.first && point <= range.last) return true;
  return false;
}

} // namespace system::detail

constexpr std::size_t columns_of(char32_t point) noexcept {
  if (point < 0x300) return 1;
  if (system::detail::is_in(point, system::detail::combining_ranges)) return 0;
  return system::detail::is_in(point, system::detail::wide_ranges) ? 2 : 1;
}

inline std::size_t terminal_columns(int descriptor) noexcept {
  winsize size = {};
  if (::ioctl(descriptor, TIOCGWINSZ, &size) == 0 && size.ws_col != 0) return size.ws_col;
  const char* variable = std::getenv("COLUMNS");
  const std::string_view text = variable ? variable : "";
  std::size_t columns = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), columns);
  return error == std::errc{} && end == text.data() + text.size() && columns != 0 ? columns : 80;
}

inline bool terminal_has_escapes() noexcept {
  const char* variable = std::getenv("TERM");
  const std::string_view kind = variable ? variable : "";
  return !kind.empty() && kind != "dumb";
}

inline std::string cut_to_columns(std::string_view text, std::size_t columns) {
  std::string line;
  for (std::size_t used = 0; !text.empty();) {
    auto [point, bytes] = first_code_point(text);
    if (point < 0x20 || (point >= 0x7f && point < 0xa0)) point = 0xfffd;
    used += columns_of(point);
    if (used > columns) break;
    append_utf8(line, point);
    text.remove_prefix(bytes);
  }
  return line;
}

} // namespace edgequant::inline EDGEQUANT_ABI
