// SPDX-License-Identifier: MIT
/// The key-value part of a GGUF file: ordered, lossless, with typed doors.
#pragma once

#include "../core/checked.hpp"
#include "../core/number_text.hpp"
#include "gguf_value.hpp"

#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <map>
#include <optional>
#include <ranges>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace edgequant::inline EDGEQUANT_ABI {

/// Keys and values in the order of the file. Every value is kept as its serialized bytes, so that
/// types and values unknown to this library survive a round trip bit for bit.
class gguf_metadata {
public:
  /// `value` is what the file holds after the type tag; an array's begins with its element type
  /// and count.
  struct entry {
    std::string key;
    gguf_type type = gguf_type::u8;
    std::vector<std::byte> value;
    friend bool operator==(const entry&, const entry&) = default;
  };

  gguf_metadata() = default;
  /// `place` is what errors of the getters name: the file.
  explicit gguf_metadata(std::string place) : place_(std::move(place)) {}

  [[nodiscard]] auto begin() const noexcept { return entries_.begin(); }
  [[nodiscard]] auto end() const noexcept { return entries_.end(); }
  [[nodiscard]] std::size_t size() const noexcept { return entries_.size(); }
  [[nodiscard]] const std::string& place() const noexcept { return place_; }

  /// The entry of a key, or null. Any change of the list ends its life.
  [[nodiscard]] const entry* find(std::string_view key) const noexcept;
  [[nodiscard]] bool contains(std::string_view key) const noexcept { return find(key) != nullptr; }
  /// Bytes that the entries take in a file.
  [[nodiscard]] std::uint64_t serialized_bytes() const noexcept;

  /// Sets a value under its own type: an existing key keeps its place in the order, a new one comes
  /// last. bad_argument if the key is empty; bad_file for what no reader would take back: more than
  /// 2^30 characters or values.
  template <gguf_number T> void set(std::string_view key, T value);
  void set(std::string_view key, std::string_view value);
  /// The same for numbers or strings in a row (std::vector, std::span, std::array).
  template <std::ranges::contiguous_range Range>
  void set_array(std::string_view key, const Range& values);
  /// The same for a value that is serialized already; bad_file if it is none of its type.
  void set_entry(entry item);
  /// Whether the key was there.
  bool erase(std::string_view key);

  // The getters return nothing if the key is missing, and fail with bad_file, naming the key, if
  // the value is of another kind or out of the result's range.

  /// Any integer type, not negative.
  [[nodiscard]] std::optional<std::uint64_t> get_uint(std::string_view key) const;
  /// f32, f64 or any integer type.
  [[nodiscard]] std::optional<double> get_float(std::string_view key) const;
  [[nodiscard]] std::optional<bool> get_bool(std::string_view key) const;
  [[nodiscard]] std::optional<std::string> get_string(std::string_view key) const;
  [[nodiscard]] std::optional<std::vector<std::string>> get_strings(std::string_view key) const;
  /// An array of f32, f64 or any integer type.
  [[nodiscard]] std::optional<std::vector<float>> get_floats(std::string_view key) const;
  /// An array of any integer type.
  [[nodiscard]] std::optional<std::vector<std::int32_t>> get_ints(std::string_view key) const;
  /// An array of bools, or of integers that are not 0 where a bool would be true.
  [[nodiscard]] std::optional<std::vector<bool>> get_bools(std::string_view key) const;

  /// The same entries in the same order; the place does not matter.
  friend bool operator==(const gguf_metadata& a, const gguf_metadata& b) {
    return a.entries_ == b.entries_;
  }

private:
  [[nodiscard]] byte_reader open(const entry& item) const;
  [[noreturn]] void refuse(const entry& item, const std::string& problem) const;
  template <class T> T convert(byte_reader& reader, const entry& item, gguf_type type) const;
  template <class T> std::optional<T> get_number(std::string_view key) const;
  template <class T> std::optional<std::vector<T>> get_array(std::string_view key) const;

  std::string place_;
  std::vector<entry> entries_;
  std::map<std::string, std::size_t, std::less<>> index_;
};

/// Largest alignment that is believed, in bytes: else a file of 60 bytes could ask for 2 GiB of
/// padding in each file that is made from it.
inline constexpr std::uint64_t most_gguf_alignment = 1 << 24;

/// The alignment of tensor data: general.alignment, 32 if it is missing. bad_file unless it is a
/// u32 and a power of two up to most_gguf_alignment.
[[nodiscard]] std::uint64_t gguf_alignment(const gguf_metadata& metadata);

inline const gguf_metadata::entry* gguf_metadata::find(std::string_view key) const noexcept {
  const auto found = index_.find(key);
  return found == index_.end() ? nullptr : &entries_[found->second];
}

inline std::uint64_t gguf_metadata::serialized_bytes() const noexcept {
  std::uint64_t sum = 0;
  for (const auto& item : entries_)
    sum += sizeof(std::uint64_t) + item.key.size() + sizeof item.type + item.value.size();
  return sum;
}

namespace io::detail {
template <class T> void append_gguf_value(std::vector<std::byte>& out, const T& value) {
  if constexpr (std::same_as<T, bool>) {
    append_number(out, static_cast<std::uint8_t>(value));
  } else if constexpr (gguf_number<T>) {
    append_number(out, value);
  } else {
    const std::string_view text(value);
    append_number(out, std::uint64_t{text.size()});
    append_text(out, text);
  }
}
} // namespace io::detail

template <gguf_number T> void gguf_metadata::set(std::string_view key, T value) {
  entry item{std::string(key), gguf_type_of<T>(), {}};
  io::detail::append_gguf_value(item.value, value);
  set_entry(std::move(item));
}

inline void gguf_metadata::set(std::string_view key, std::string_view value) {
  entry item{std::string(key), gguf_type::string, {}};
  io::detail::append_gguf_value(item.value, value);
  set_entry(std::move(item));
}

template <std::ranges::contiguous_range Range>
void gguf_metadata::set_array(std::string_view key, const Range& values) {
  using value_type = std::ranges::range_value_t<Range>;
  entry item{std::string(key), gguf_type::array, {}};
  append_number(item.value, static_cast<std::uint32_t>(gguf_type_of<value_type>()));
  append_number(item.value, static_cast<std::uint64_t>(std::ranges::size(values)));
  for (const auto& value : values) io::detail::append_gguf_value(item.value, value);
  set_entry(std::move(item));
}

inline void gguf_metadata::set_entry(entry item) {
  const std::string place = place_of(place_, "key", item.key);
  if (item.key.empty()) fail(error_code::bad_argument, place, "an empty key");
  byte_reader reader(item.value, place);
  skip_gguf_value(reader, item.type);
  if (reader.remaining() != 0)
    fail(error_code::bad_file, place, counted(reader.remaining(), "byte") + " after the value");
  const auto [place_in_index, added] = index_.try_emplace(item.key, entries_.size());
  if (added)
    entries_.push_back(std::move(item));
  else
    entries_[place_in_index->second] = std::move(item);
}

inline bool gguf_metadata::erase(std::string_view key) {
  const auto found = index_.find(key);
  if (found == index_.end()) return false;
  const auto position = found->second;
  index_.erase(found);
  entries_.erase(entries_.begin() + static_cast<std::ptrdiff_t>(position));
  for (auto& [name, at] : index_) at -= at > position;
  return true;
}

inline byte_reader gguf_metadata::open(const entry& item) const {
  return byte_reader(item.value, place_of(place_, "key", item.key));
}

inline void gguf_metadata::refuse(const entry& item, const std::string& problem) const {
  fail(error_code::bad_file, place_of(place_, "key", item.key), problem);
}

template <class T>
T gguf_metadata::convert(byte_reader& reader, const entry& item, gguf_type type) const {
  return visit_number(reader, type, [&](auto value) -> T {
    using source = decltype(value);
    if constexpr (std::same_as<source, bool> != std::same_as<T, bool> ||
                  (std::floating_point<source> && !std::floating_point<T>)) {
      refuse(item, "a value of type " + std::string(info_of(type).name) + " where " +
                       (std::same_as<T, bool>    ? "a bool"
                        : std::floating_point<T> ? "a number"
                                                 : "an integer") +
                       " belongs");
    } else if constexpr (std::integral<T> && !std::same_as<T, bool>) {
      if (!std::in_range<T>(value)) refuse(item, std::to_string(value) + " is out of range");
      return static_cast<T>(value);
    } else if constexpr (std::same_as<source, double> && std::same_as<T, float>) {
      if (std::isfinite(value) && std::abs(value) > double{std::numeric_limits<float>::max()})
        refuse(item, shortest_text(value) + " is out of range");
      return static_cast<T>(value);
    } else {
      return static_cast<T>(value);
    }
  });
}

template <class T> std::optional<T> gguf_metadata::get_number(std::string_view key) const {
  const entry* item = find(key);
  if (!item) return std::nullopt;
  auto reader = open(*item);
  return convert<T>(reader, *item, item->type);
}

template <class T>
std::optional<std::vector<T>> gguf_metadata::get_array(std::string_view key) const {
  const entry* item = find(key);
  if (!item) return std::nullopt;
  if (item->type != gguf_type::array)
    refuse(*item,
           "a value of type " + std::string(info_of(item->type).name) + " where an array belongs");
  auto reader = open(*item);
  const auto type = read_gguf_type(reader);
  const auto count = reader.read<std::uint64_t>("an array length");
  if (std::same_as<T, std::string> && type != gguf_type::string)
    refuse(*item, "an array of " + std::string(info_of(type).name) + " where strings belong");
  std::vector<T> values(static_cast<std::size_t>(count));
  for (auto& value : values)
    if constexpr (std::same_as<T, std::string>)
      value = read_gguf_string(reader, "a string");
    else
      value = convert<T>(reader, *item, type);
  return values;
}

inline std::optional<std::uint64_t> gguf_metadata::get_uint(std::string_view key) const {
  return get_number<std::uint64_t>(key);
}
inline std::optional<double> gguf_metadata::get_float(std::string_view key) const {
  return get_number<double>(key);
}
inline std::optional<bool> gguf_metadata::get_bool(std::string_view key) const {
  return get_number<bool>(key);
}
inline std::optional<std::string> gguf_metadata::get_string(std::string_view key) const {
  const entry* item = find(key);
  if (!item) return std::nullopt;
  if (item->type != gguf_type::string)
    refuse(*item,
           "a value of type " + std::string(info_of(item->type).name) + " where a string belongs");
  auto reader = open(*item);
  return std::string(read_gguf_string(reader, "a string"));
}
inline std::optional<std::vector<std::string>>
gguf_metadata::get_strings(std::string_view key) const {
  return get_array<std::string>(key);
}
inline std::optional<std::vector<float>> gguf_metadata::get_floats(std::string_view key) const {
  return get_array<float>(key);
}
inline std::optional<std::vector<std::int32_t>>
gguf_metadata::get_ints(std::string_view key) const {
  return get_array<std::int32_t>(key);
}

inline std::optional<std::vector<bool>> gguf_metadata::get_bools(std::string_view key) const {
  const entry* item = find(key);
  if (item == nullptr || item->type != gguf_type::array) return std::nullopt;
  auto reader = open(*item);
  if (read_gguf_type(reader) != gguf_type::boolean) {
    const auto ints = *get_ints(key);
    std::vector<bool> values;
    for (const auto i : ints) values.push_back(i != 0);
    return values;
  }
  std::vector<bool> values(static_cast<std::size_t>(reader.read<std::uint64_t>("an array length")));
  for (std::size_t i = 0; i < values.size(); ++i)
    values[i] = convert<bool>(reader, *item, gguf_type::boolean);
  return values;
}

inline std::uint64_t gguf_alignment(const gguf_metadata& metadata) {
  const auto* item = metadata.find("general.alignment");
  if (!item) return 32;
  const std::string place = place_of(metadata.place(), "key", item->key);
  if (item->type != gguf_type::u32)
    fail(error_code::bad_file, place,
         "a value of type " + std::string(info_of(item->type).name) + " where a u32 belongs");
  const auto alignment = *metadata.get_uint(item->key);
  if (!std::has_single_bit(alignment))
    fail(error_code::bad_file, place, std::to_string(alignment) + " is no power of two");
  if (alignment > most_gguf_alignment)
    fail(error_code::bad_file, place,
         std::to_string(alignment) + " is more than " + std::to_string(most_gguf_alignment));
  return alignment;
}

} // namespace edgequant::inline EDGEQUANT_ABI
