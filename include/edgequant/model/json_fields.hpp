// SPDX-License-Identifier: MIT
/// The fields of a JSON object for the profiles of models.
#pragma once

#include "../core/exception.hpp"
#include "../io/json.hpp"

#include <cstdint>
#include <limits>
#include <optional>
#include <string>

namespace edgequant::inline EDGEQUANT_ABI {
namespace model::detail {

/// A whole number that is not negative. What the parser reads is unsigned; what a program writes as
/// json(64) is signed.
[[nodiscard]] inline std::optional<std::uint64_t> unsigned_value(const nlohmann::json& value) {
  if (value.is_number_unsigned()) return value.get<std::uint64_t>();
  if (!value.is_number_integer() || value.get<std::int64_t>() < 0) return std::nullopt;
  return static_cast<std::uint64_t>(value.get<std::int64_t>());
}

/// Typed access to the fields of one JSON object, with errors that name the field.
class json_fields {
public:
  json_fields(const nlohmann::json& object, std::string place)
      : object_(object), place_(std::move(place)) {
    if (!object.is_object()) fail(error_code::bad_file, place_, "not a JSON object");
  }

  [[nodiscard]] const nlohmann::json* find(const char* name) const {
    const auto at = object_.find(name);
    return at == object_.end() || at->is_null() ? nullptr : &*at;
  }
  [[nodiscard]] std::optional<std::uint64_t> integer(const char* name) const {
    const auto* value = find(name);
    if (value == nullptr) return std::nullopt;
    const auto number = unsigned_value(*value);
    if (!number) refuse(name, "expected a whole number");
    return number;
  }
  /// A size: at least 1 and at most 2^31 - 1, what llama.cpp can count.
  [[nodiscard]] std::optional<std::uint64_t> size(const char* name) const {
    const auto value = integer(name);
    if (value && (*value == 0 || *value > 0x7fffffff)) refuse(name, "expected 1 to 2^31 - 1");
    return value;
  }
  [[nodiscard]] std::uint64_t required_size(const char* name) const {
    const auto value = size(name);
    if (!value) refuse(name, "the field is missing");
    return *value;
  }
  /// A number that a GGUF key can hold: as a float it is neither 0 nor infinite.
  [[nodiscard]] std::optional<double> positive(const char* name) const {
    const auto* value = find(name);
    if (value == nullptr) return std::nullopt;
    const double number = value->is_number() ? value->get<double>() : 0;
    using limits = std::numeric_limits<float>;
    if (!(number >= limits::denorm_min() && number <= limits::max()))
      refuse(name, "expected a positive number in the range of f32");
    return number;
  }
  [[nodiscard]] std::optional<bool> flag(const char* name) const {
    const auto* value = find(name);
    if (value == nullptr) return std::nullopt;
    if (!value->is_boolean()) refuse(name, "expected true or false");
    return value->get<bool>();
  }
  [[nodiscard]] std::optional<std::string> text(const char* name) const {
    const auto* value = find(name);
    if (value == nullptr) return std::nullopt;
    if (!value->is_string()) refuse(name, "expected a string");
    return value->get<std::string>();
  }
  [[noreturn]] void refuse(const char* name, const std::string& problem) const {
    fail(error_code::bad_file, place_ + ": field '" + name + "'", problem);
  }

private:
  const nlohmann::json& object_;
  std::string place_;
};

} // namespace model::detail

} // namespace edgequant::inline EDGEQUANT_ABI
