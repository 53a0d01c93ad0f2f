// SPDX-License-Identifier: MIT
/// The parts of error messages: names and paths from outside, made printable.
#pragma once

#include "../config.hpp"

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

namespace edgequant::inline EDGEQUANT_ABI {

/// A name from a file, fit for a message: printable ASCII stays, a backslash is doubled, any other
/// byte becomes \xNN. Longer results are cut near `limit` characters and end in "...".
[[nodiscard]] std::string escaped(std::string_view name, std::size_t limit = 80);

/// A path as messages show it: control bytes become \xNN, everything else stays.
[[nodiscard]] std::string place_of(const std::filesystem::path& path);

/// `place: kind 'name'`, the name escaped; without the first part where `place` is empty.
[[nodiscard]] std::string place_of(std::string_view place, std::string_view kind,
                                   std::string_view name);

/// `count unit`, with an s where count is not 1: "1 byte", "8 bytes".
[[nodiscard]] std::string counted(std::uint64_t count, std::string_view unit);

namespace core::detail {
inline void append_hex(std::string& out, unsigned char byte) {
  constexpr char digits[] = "0123456789abcdef";
  out += "\\x";
  out += digits[byte >> 4];
  out += digits[byte & 15];
}
} // namespace core::detail

inline std::string escaped(std::string_view name, std::size_t limit) {
  std::string out;
  for (const char c : name) {
    if (out.size() >= limit) return out + "...";
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte > 0x7e)
      core::detail::append_hex(out, byte);
    else if (c == '\\')
      out += "\\\\";
    else
      out += c;
  }
  return out;
}

inline std::string place_of(const std::filesystem::path& path) {
  std::string out;
  for (const char c : path.string()) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte == 0x7f)
      core::detail::append_hex(out, byte);
    else
      out += c;
  }
  return out;
}

inline std::string place_of(std::string_view place, std::string_view kind, std::string_view name) {
  std::string out(place);
  if (!out.empty()) out += ": ";
  return out.append(kind).append(" '").append(escaped(name)).append("'");
}

inline std::string counted(std::uint64_t count, std::string_view unit) {
  return std::to_string(count).append(" ").append(unit).append(count == 1 ? "" : "s");
}

} // namespace edgequant::inline EDGEQUANT_ABI
