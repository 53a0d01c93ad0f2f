// SPDX-License-Identifier: MIT
/// Whole characters from a stream of bytes that is cut anywhere, as tokens cut it.
#pragma once

#include "../config.hpp"

#include <cstddef>
#include <string>
#include <string_view>
#include <utility>

namespace edgequant::inline EDGEQUANT_ABI {

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

namespace detail {

/// Whether `bytes` (1 to 3 of them) are the beginning of a character, but not a whole one.
[[nodiscard]] inline bool begins_character(std::string_view bytes) noexcept {
  const auto at = [&](std::size_t i) { return static_cast<unsigned char>(bytes[i]); };
  const unsigned lead = at(0);
  if (lead < 0xc2 || lead > 0xf4) return false;
  const std::size_t length = lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
  if (bytes.size() >= length) return false;
  if (bytes.size() >= 2) { // no overlong forms, surrogates, or values above U+10FFFF
    const unsigned low = lead == 0xe0 ? 0xa0 : lead == 0xf0 ? 0x90 : 0x80;
    const unsigned high = lead == 0xed ? 0x9f : lead == 0xf4 ? 0x8f : 0xbf;
    if (at(1) < low || at(1) > high) return false;
  }
  return bytes.size() < 3 || (at(2) & 0xc0) == 0x80;
}

} // namespace detail

inline std::string utf8_stream::push(std::string_view bytes) {
  std::string ready = flush().append(bytes);
  for (std::size_t count = 1; count <= 3 && count <= ready.size(); ++count) {
    const std::size_t rest = ready.size() - count;
    if (!detail::begins_character(std::string_view(ready).substr(rest))) continue;
    held_ = ready.substr(rest);
    ready.resize(rest);
    break;
  }
  return ready;
}

} // namespace edgequant::inline EDGEQUANT_ABI
