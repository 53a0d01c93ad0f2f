// SPDX-License-Identifier: MIT
/// Bytes from a file that may be hostile: a cursor that never leaves them.
#pragma once

#include "../config.hpp"
#include "../core/exception.hpp"
#include "../core/message.hpp"

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

namespace edgequant::inline EDGEQUANT_ABI {

static_assert(std::endian::native == std::endian::little, "the formats are read by plain copies");

/// Appends the little-endian bytes of a number.
template <class T>
requires std::is_arithmetic_v<T>
void append_number(std::vector<std::byte>& out, T value);

/// Appends the characters as they are.
void append_text(std::vector<std::byte>& out, std::string_view text);

/// A little-endian cursor over bytes that may be hostile. Reading past the end fails with bad_file;
/// the message holds the place, the item entered last and the byte offset.
class byte_reader {
public:
  /// `place` names the file; `base` is the offset of bytes[0] in it.
  byte_reader(std::span<const std::byte> bytes, std::string_view place, std::uint64_t base = 0)
      : bytes_(bytes), base_(base), place_(place), item_(place_) {}

  /// The next sizeof(T) bytes as a number; `what` says in an error what they should have been.
  template <class T>
  requires std::is_arithmetic_v<T>
  [[nodiscard]] T read(std::string_view what);

  /// The next `n` bytes, not copied.
  std::span<const std::byte> read_bytes(std::uint64_t n, std::string_view what);

  /// Bytes from the start of the file to the cursor.
  [[nodiscard]] std::uint64_t offset() const noexcept { return base_ + position_; }
  /// Bytes from the cursor to the end.
  [[nodiscard]] std::uint64_t remaining() const noexcept { return bytes_.size() - position_; }
  [[nodiscard]] const std::string& place() const noexcept { return place_; }

  /// From here on errors name this item, for example tensor 'output.weight'.
  void enter(std::string_view kind, std::string_view name) { item_ = place_of(place_, kind, name); }
  void leave() { item_ = place_; }

  /// `place: item at byte N`, for the byte at `at`.
  [[nodiscard]] std::string here(std::uint64_t at) const;
  /// Fails with bad_file at byte `at` of the file.
  [[noreturn]] void refuse(std::uint64_t at, const std::string& problem) const {
    fail(error_code::bad_file, here(at), problem);
  }

private:
  std::span<const std::byte> bytes_;
  std::uint64_t base_;
  std::size_t position_ = 0;
  std::string place_;
  std::string item_;
};

/// Bytes as characters, not copied.
[[nodiscard]] inline std::string_view as_text(std::span<const std::byte> bytes) noexcept {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

template <class T>
requires std::is_arithmetic_v<T>
void append_number(std::vector<std::byte>& out, T value) {
  const auto at = out.size();
  out.resize(at + sizeof value);
  std::memcpy(out.data() + at, &value, sizeof value);
}

inline void append_text(std::vector<std::byte>& out, std::string_view text) {
  const auto* first = reinterpret_cast<const std::byte*>(text.data());
  out.insert(out.end(), first, first + text.size());
}

template <class T>
requires std::is_arithmetic_v<T> T byte_reader::read(std::string_view what) {
  static_assert(!std::is_same_v<T, bool>, "a byte other than 0 and 1 is no bool: read a uint8_t");
  T value;
  std::memcpy(&value, read_bytes(sizeof value, what).data(), sizeof value);
  return value;
}

inline std::span<const std::byte> byte_reader::read_bytes(std::uint64_t n, std::string_view what) {
  if (n > remaining())
    refuse(offset(), std::string(what) + " needs " + counted(n, "byte") + ", " +
                         std::to_string(remaining()) + " left");
  const auto part = bytes_.subspan(position_, static_cast<std::size_t>(n));
  position_ += part.size();
  return part;
}

inline std::string byte_reader::here(std::uint64_t at) const {
  return item_ + (item_.empty() ? "byte " : " at byte ") + std::to_string(at);
}

} // namespace edgequant::inline EDGEQUANT_ABI
