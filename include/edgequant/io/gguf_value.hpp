// SPDX-License-Identifier: MIT
/// The types of GGUF metadata values, and the check of a serialized one. Source: ggml docs/gguf.md.
#pragma once

#include "bytes.hpp"

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <string>
#include <string_view>

namespace edgequant::inline EDGEQUANT_ABI {

/// Values are the type tags of a GGUF file.
enum class gguf_type : std::uint32_t {
  u8,
  i8,
  u16,
  i16,
  u32,
  i32,
  f32,
  boolean,
  string,
  array,
  u64,
  i64,
  f64
};

struct gguf_type_row {
  std::string_view name;
  std::uint32_t bytes; ///< of a serialized value; for string and array the least that one needs
};

/// One row a type, at the index that is its tag.
inline constexpr gguf_type_row gguf_type_table[] = {
    {"u8", 1},   {"i8", 1},     {"u16", 2},    {"i16", 2}, {"u32", 4}, {"i32", 4}, {"f32", 4},
    {"bool", 1}, {"string", 8}, {"array", 12}, {"u64", 8}, {"i64", 8}, {"f64", 8}};

/// The row of a type. Every enumerator has one.
[[nodiscard]] constexpr const gguf_type_row& info_of(gguf_type type) noexcept {
  return gguf_type_table[static_cast<std::uint32_t>(type)];
}

/// More characters in a string, or values in an array, than this are refused, as ggml does.
inline constexpr std::uint64_t gguf_count_limit = std::uint64_t{1} << 30;

/// The C++ types with a GGUF type of their own.
template <class T>
concept gguf_number = std::same_as<T, std::uint8_t> || std::same_as<T, std::int8_t> ||
    std::same_as<T, std::uint16_t> || std::same_as<T, std::int16_t> ||
    std::same_as<T, std::uint32_t> || std::same_as<T, std::int32_t> ||
    std::same_as<T, std::uint64_t> || std::same_as<T, std::int64_t> || std::same_as<T, float> ||
    std::same_as<T, double> || std::same_as<T, bool>;

/// The GGUF type of a C++ type; anything but a gguf_number is a string.
template <class T> [[nodiscard]] constexpr gguf_type gguf_type_of() noexcept;

/// Calls visit(number) with the scalar of this type that comes next; a bool comes as bool. Fails
/// with bad_file for a string or an array.
template <class Visit>
decltype(auto) visit_number(byte_reader& reader, gguf_type type, Visit&& visit);

/// Reads a type tag; unknown ones fail with bad_file.
[[nodiscard]] gguf_type read_gguf_type(byte_reader& reader);

/// Reads a string: length, then characters.
[[nodiscard]] std::string_view read_gguf_string(byte_reader& reader, std::string_view what);

/// Moves past one value. bad_file if it does not fit the bytes left, a count is over the limit, a
/// bool is neither 0 nor 1, or an array holds arrays.
void skip_gguf_value(byte_reader& reader, gguf_type type);

template <class T> constexpr gguf_type gguf_type_of() noexcept {
  if constexpr (std::same_as<T, bool>)
    return gguf_type::boolean;
  else if constexpr (std::same_as<T, std::uint8_t>)
    return gguf_type::u8;
  else if constexpr (std::same_as<T, std::int8_t>)
    return gguf_type::i8;
  else if constexpr (std::same_as<T, std::uint16_t>)
    return gguf_type::u16;
  else if constexpr (std::same_as<T, std::int16_t>)
    return gguf_type::i16;
  else if constexpr (std::same_as<T, std::uint32_t>)
    return gguf_type::u32;
  else if constexpr (std::same_as<T, std::int32_t>)
    return gguf_type::i32;
  else if constexpr (std::same_as<T, std::uint64_t>)
    return gguf_type::u64;
  else if constexpr (std::same_as<T, std::int64_t>)
    return gguf_type::i64;
  else if constexpr (std::same_as<T, float>)
    return gguf_type::f32;
  else if constexpr (std::same_as<T, double>)
    return gguf_type::f64;
  else
    return gguf_type::string;
}

inline bool read_gguf_bool(byte_reader& reader) {
  const auto at = reader.offset();
  const auto value = reader.read<std::uint8_t>("a bool");
  if (value > 1) reader.refuse(at, "a bool of " + std::to_string(value) + " where 0 or 1 belongs");
  return value == 1;
}

template <class Visit>
decltype(auto) visit_number(byte_reader& reader, gguf_type type, Visit&& visit) {
  switch (type) {
  case gguf_type::u8:
    return visit(reader.read<std::uint8_t>("a value"));
  case gguf_type::i8:
    return visit(reader.read<std::int8_t>("a value"));
  case gguf_type::u16:
    return visit(reader.read<std::uint16_t>("a value"));
  case gguf_type::i16:
    return visit(reader.read<std::int16_t>("a value"));
  case gguf_type::u32:
    return visit(reader.read<std::uint32_t>("a value"));
  case gguf_type::i32:
    return visit(reader.read<std::int32_t>("a value"));
  case gguf_type::u64:
    return visit(reader.read<std::uint64_t>("a value"));
  case gguf_type::i64:
    return visit(reader.read<std::int64_t>("a value"));
  case gguf_type::f32:
    return visit(reader.read<float>("a value"));
  case gguf_type::f64:
    return visit(reader.read<double>("a value"));
  case gguf_type::boolean:
    return visit(read_gguf_bool(reader));
  case gguf_type::string:
  case gguf_type::array:
    break;
  }
  reader.refuse(reader.offset(),
                "a value of type " + std::string(info_of(type).name) + " where a number belongs");
}

inline gguf_type read_gguf_type(byte_reader& reader) {
  const auto at = reader.offset();
  const auto tag = reader.read<std::uint32_t>("a value type");
  if (tag >= std::size(gguf_type_table))
    reader.refuse(at, "unknown value type " + std::to_string(tag));
  return static_cast<gguf_type>(tag);
}

inline std::string_view read_gguf_string(byte_reader& reader, std::string_view what) {
  const auto at = reader.offset();
  const auto length = reader.read<std::uint64_t>(what);
  if (length > gguf_count_limit || length > reader.remaining())
    reader.refuse(at, std::string(what) + " of " + counted(length, "byte") + " where " +
                          std::to_string(reader.remaining()) + " are left");
  return as_text(reader.read_bytes(length, what));
}

inline void skip_gguf_array(byte_reader& reader) {
  const auto type_at = reader.offset();
  const auto type = read_gguf_type(reader);
  if (type == gguf_type::array) reader.refuse(type_at, "an array of arrays");
  const auto count_at = reader.offset();
  const auto count = reader.read<std::uint64_t>("an array length");
  const auto bytes = info_of(type).bytes;
  if (count > gguf_count_limit || count > reader.remaining() / bytes)
    reader.refuse(count_at, "an array of " + std::to_string(count) + " values of type " +
                                std::string(info_of(type).name) + " where " +
                                counted(reader.remaining(), "byte") + " are left");
  if (type == gguf_type::string || type == gguf_type::boolean)
    for (std::uint64_t i = 0; i < count; ++i) skip_gguf_value(reader, type);
  else
    reader.read_bytes(count * bytes, "an array");
}

inline void skip_gguf_value(byte_reader& reader, gguf_type type) {
  if (type == gguf_type::array)
    skip_gguf_array(reader);
  else if (type == gguf_type::string)
    (void)read_gguf_string(reader, "a string");
  else if (type == gguf_type::boolean)
    (void)read_gguf_bool(reader);
  else
    reader.read_bytes(info_of(type).bytes, "a value");
}

} // namespace edgequant::inline EDGEQUANT_ABI
