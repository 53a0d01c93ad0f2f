// SPDX-License-Identifier: MIT
/// The fields of a JSON object: each mistake is said with its path.
#pragma once

#include "../core/nearest_name.hpp"
#include "../core/number_text.hpp"
#include "json.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace edgequant::inline EDGEQUANT_ABI {

/// Typed access to the fields of an object. Every error is bad_file, `place: path: problem`, as in
/// `my.json: npu.tops: expected a number not below 0, not "many"`. A field that is null counts as
/// missing. The object must outlive the reader.
class json_object {
public:
  /// bad_file if `value` is no object. `path` is where it stands in the file, empty at the top.
  json_object(const nlohmann::json& value, std::string place, std::string path = {});

  // The fields by their names; nothing where one is missing.

  [[nodiscard]] std::optional<std::string> text(std::string_view name);
  [[nodiscard]] std::optional<bool> flag(std::string_view name);
  /// A finite number from `least` to `most`.
  [[nodiscard]] std::optional<double> number(std::string_view name, double least = 0,
                                             double most = std::numeric_limits<double>::infinity());
  [[nodiscard]] std::optional<std::uint64_t> integer(std::string_view name, std::uint64_t least,
                                                     std::uint64_t most);
  /// A size: a whole number from 1 to 2^31 - 1, what llama.cpp can count.
  [[nodiscard]] std::optional<std::uint64_t> size(std::string_view name) {
    return integer(name, 1, 0x7fffffff);
  }
  /// A number that an f32 can hold, neither 0 nor infinite there.
  [[nodiscard]] std::optional<double> positive(std::string_view name) {
    using limits = std::numeric_limits<float>;
    return number(name, double{limits::denorm_min()}, double{limits::max()});
  }
  /// A list of strings.
  [[nodiscard]] std::vector<std::string> texts(std::string_view name);
  [[nodiscard]] std::optional<json_object> object(std::string_view name);

  /// The value of a field that has to be there: bad_file where it is missing.
  template <class T> [[nodiscard]] T require(std::string_view name, std::optional<T> value) const {
    if (!value) fail(error_code::bad_file, here(name), "the field is missing");
    return *std::move(value);
  }
  /// The field, whatever it holds, or null.
  [[nodiscard]] const nlohmann::json* find(std::string_view name);
  /// Call last: bad_file for a field that nobody asked for, with the name most like it.
  void require_no_others() const;

  /// Whether the field is there, and null.
  [[nodiscard]] bool is_null(std::string_view name) const {
    const auto at = object_->find(name);
    return at != object_->end() && at->is_null();
  }
  /// Whether somebody has asked for a field.
  [[nodiscard]] bool was_asked_for(std::string_view name) const {
    return std::find(asked_.begin(), asked_.end(), name) != asked_.end();
  }
  /// The fields that are not null and that nobody asked for so far.
  [[nodiscard]] std::vector<std::string> others() const;

  /// `place: path`, of a field in this object.
  [[nodiscard]] std::string here(std::string_view name) const;
  /// Fails with a problem there.
  [[noreturn]] void refuse_as(std::string_view name, const std::string& problem) const {
    fail(error_code::bad_file, here(name), problem);
  }
  /// Fails with what was expected there and what there is.
  [[noreturn]] void refuse(std::string_view name, const std::string& expected) const;

private:
  [[nodiscard]] std::string path_of(std::string_view name) const {
    return path_.empty() ? std::string(name) : path_ + "." + std::string(name);
  }
  const nlohmann::json* object_;
  std::string place_, path_;
  std::vector<std::string> asked_;
};

inline json_object::json_object(const nlohmann::json& value, std::string place, std::string path)
    : object_(&value), place_(std::move(place)), path_(std::move(path)) {
  if (!value.is_object())
    fail(error_code::bad_file, path_.empty() ? place_ : place_ + ": " + path_,
         "expected a JSON object");
}

inline std::string json_object::here(std::string_view name) const {
  return place_ + ": " + escaped(path_of(name), 100);
}

inline void json_object::refuse(std::string_view name, const std::string& expected) const {
  using json = nlohmann::json;
  const auto value = object_->find(name);
  const std::string found =
      value == object_->end() ? "" : value->dump(-1, ' ', true, json::error_handler_t::replace);
  fail(error_code::bad_file, here(name),
       "expected " + expected +
           (found.size() <= 60 ? ", not " + found : ", not " + found.substr(0, 57) + "..."));
}

inline const nlohmann::json* json_object::find(std::string_view name) {
  asked_.emplace_back(name);
  const auto at = object_->find(name);
  return at == object_->end() || at->is_null() ? nullptr : &*at;
}

inline std::optional<std::string> json_object::text(std::string_view name) {
  const auto* value = find(name);
  if (value == nullptr) return std::nullopt;
  if (!value->is_string()) refuse(name, "a string");
  return value->get<std::string>();
}

inline std::optional<bool> json_object::flag(std::string_view name) {
  const auto* value = find(name);
  if (value == nullptr) return std::nullopt;
  if (!value->is_boolean()) refuse(name, "true or false");
  return value->get<bool>();
}

inline std::optional<double> json_object::number(std::string_view name, double least, double most) {
  const auto* value = find(name);
  if (value == nullptr) return std::nullopt;
  const double number = value->is_number() ? value->get<double>() : least - 1;
  if (!(number >= least && number <= most) || !std::isfinite(number)) {
    refuse(name, std::isinf(most)
                     ? "a number not below " + general_text(least, 6)
                     : "a number from " + general_text(least, 6) + " to " + general_text(most, 6));
  }
  return number;
}

inline std::optional<std::uint64_t> json_object::integer(std::string_view name, std::uint64_t least,
                                                         std::uint64_t most) {
  const auto* value = find(name);
  if (value == nullptr) return std::nullopt;
  std::optional<std::uint64_t> number;
  if (value->is_number_unsigned() ||
      (value->is_number_integer() && value->get<std::int64_t>() >= 0))
    number = value->get<std::uint64_t>();
  if (!number || *number < least || *number > most)
    refuse(name, "a whole number from " + std::to_string(least) + " to " + std::to_string(most));
  return number;
}

inline std::vector<std::string> json_object::texts(std::string_view name) {
  const auto* value = find(name);
  if (value == nullptr) return {};
  std::vector<std::string> all;
  if (value->is_array())
    for (const auto& item : *value)
      if (item.is_string()) all.push_back(item.get<std::string>());
  if (!value->is_array() || all.size() != value->size()) refuse(name, "a list of strings");
  return all;
}

inline std::optional<json_object> json_object::object(std::string_view name) {
  const auto* value = find(name);
  if (value == nullptr) return std::nullopt;
  return json_object(*value, place_, path_of(name));
}

inline std::vector<std::string> json_object::others() const {
  std::vector<std::string> names;
  for (const auto& [name, value] : object_->items())
    if (!value.is_null() && std::find(asked_.begin(), asked_.end(), name) == asked_.end())
      names.push_back(name);
  return names;
}

inline void json_object::require_no_others() const {
  const std::vector<std::string_view> known(asked_.begin(), asked_.end());
  for (const auto& item : object_->items())
    if (std::find(known.begin(), known.end(), item.key()) == known.end())
      fail(error_code::bad_file, here(item.key()),
           "unknown field; did you mean '" + std::string(nearest_name(item.key(), known)) + "'?");
}

} // namespace edgequant::inline EDGEQUANT_ABI
