// SPDX-License-Identifier: MIT
/// Characters of UTF-8 that may be broken, or cut anywhere as tokens cut it. Source: RFC 3629.
#pragma once

#include "../config.hpp"

#include <algorithm>
#include <cstddef>
#include <string>
#include <string_view>
#include <utility>

namespace edgequant::inline EDGEQUANT_ABI {

/// A character of a text.
struct code_point {
  char32_t value = 0xfffd;
  std::size_t bytes = 1; ///< that it takes in the text
};

/// The character that begins text[0]; text is not empty. A byte that begins no whole one
/// (truncated, overlong, a surrogate) counts alone, as U+FFFD. Source: RFC 3629.
[[nodiscard]] code_point first_code_point(std::string_view text) noexcept;

/// How many bytes at the end of `text`, 0 to 3, may be the beginning of a character.
[[nodiscard]] std::size_t unfinished_bytes(std::string_view text) noexcept;

void append_utf8(std::string& out, char32_t point);

/// Keeps back the bytes at the end that may yet become a character (RFC 3629), at most three.
/// Bytes that can become none pass through: what comes out is what went in, only later.
class utf8_stream {
public:
  /// All bytes that are ready now, this stream's older ones first; may be empty.
  [[nodiscard]] std::string push(std::string_view bytes);
  /// The bytes that were kept back: the beginning of a character that never ended, or none.
  [[nodiscard]] std::string flush() { return std::exchange(held_, {}); }

private:
  std::string held_;
};

namespace core::detail {

/// What the first byte says of a character: its length, and the least value of that length.
struct utf8_lead {
  std::size_t bytes = 0; // 0: no character begins so
  char32_t bits = 0, least = 0;
};

constexpr utf8_lead read_utf8_lead(char byte) noexcept {
  const auto value = static_cast<unsigned char>(byte);
  if (value < 0x80) return {1, value, 0};
  if (value >= 0xc2 && value < 0xe0) return {2, value & 0x1fu, 0x80};
  if (value >= 0xe0 && value < 0xf0) return {3, value & 0x0fu, 0x800};
  if (value >= 0xf0 && value < 0xf5) return {4, value & 0x07u, 0x10000};
  return {};
}

constexpr bool is_utf8_tail(char byte) noexcept {
  return (static_cast<unsigned char>(byte) & 0xc0) == 0x80;
}

/// Whether the first `count` bytes of a longer character may stand so.
constexpr bool may_begin_utf8(std::string_view text, std::size_t count) noexcept {
  const auto lead = read_utf8_lead(text[0]);
  if (lead.bytes < 2) return lead.bytes == 1;
  if (count < 2) return true;
  const auto second = static_cast<unsigned char>(text[1]);
  const auto high = ((lead.bits << 6) | (second & 0x3fu)) << (6 * (lead.bytes - 2));
  if (!is_utf8_tail(text[1]) || high + (1u << (6 * (lead.bytes - 2))) <= lead.least ||
      high > 0x10ffff || (high >= 0xd800 && high < 0xe000))
    return false;
  return std::all_of(text.begin() + 2, text.begin() + static_cast<std::ptrdiff_t>(count),
                     is_utf8_tail);
}

} // namespace core::detail

inline code_point first_code_point(std::string_view text) noexcept {
  const auto lead = core::detail::read_utf8_lead(text[0]);
  if (lead.bytes == 0 || text.size() < lead.bytes ||
      !core::detail::may_begin_utf8(text, lead.bytes))
    return {};
  char32_t value = lead.bits;
  for (std::size_t i = 1; i < lead.bytes; ++i)
    value = (value << 6) | (static_cast<unsigned char>(text[i]) & 0x3fu);
  return {value, lead.bytes};
}

inline std::size_t unfinished_bytes(std::string_view text) noexcept {
  for (std::size_t count = 1; count <= std::min<std::size_t>(3, text.size()); ++count) {
    const auto end = text.substr(text.size() - count);
    if (core::detail::is_utf8_tail(end[0])) continue;
    const bool open = core::detail::read_utf8_lead(end[0]).bytes > count;
    return open && core::detail::may_begin_utf8(end, count) ? count : 0;
  }
  return 0;
}

inline void append_utf8(std::string& out, char32_t point) {
  const auto tail = [&](int shift) {
    out += static_cast<char>(0x80u | ((point >> shift) & 0x3fu));
  };
  if (point < 0x80) {
    out += static_cast<char>(point);
  } else if (point < 0x800) {
    out += static_cast<char>(0xc0u | (point >> 6));
    tail(0);
  } else if (point < 0x10000) {
    out += static_cast<char>(0xe0u | (point >> 12));
    tail(6);
    tail(0);
  } else {
    out += static_cast<char>(0xf0u | (point >> 18));
    tail(12);
    tail(6);
    tail(0);
  }
}

inline std::string utf8_stream::push(std::string_view bytes) {
  held_ += bytes;
  const std::size_t complete = held_.size() - unfinished_bytes(held_);
  std::string ready = held_.substr(0, complete);
  held_.erase(0, complete);
  return ready;
}

} // namespace edgequant::inline EDGEQUANT_ABI
