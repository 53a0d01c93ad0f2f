// SPDX-License-Identifier: MIT
/// JSON from files: nlohmann's parser behind the checks that it lacks.
#pragma once

#include "bytes.hpp"

#include <nlohmann/json.hpp>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace edgequant::inline EDGEQUANT_ABI {

/// Parses a whole text. bad_file, with `place`, for invalid JSON (and the byte where it ends to be
/// valid), for a key that an object holds twice, for more than `max_depth` nested objects and
/// arrays (such a tree is not built), and for a number beyond double; these name the key. `base` is
/// the offset of the text in the file.
[[nodiscard]] nlohmann::json parse_json(std::string_view text, std::string_view place,
                                        int max_depth = 16, std::uint64_t base = 0);

/// Whether a value is this number. (nlohmann's own comparisons with numbers, flags and text cost
/// each file that includes them seconds of compile time.)
[[nodiscard]] inline bool is_number(const nlohmann::json& value, double number) {
  return value.is_number() && value.get<double>() == number;
}
/// Whether a value is this text.
[[nodiscard]] inline bool is_text(const nlohmann::json& value, std::string_view text) {
  return value.is_string() && value.get_ref<const std::string&>() == text;
}
/// Whether a value is this flag.
[[nodiscard]] inline bool is_flag(const nlohmann::json& value, bool flag) {
  return value.is_boolean() && value.get<bool>() == flag;
}

namespace io::detail {

/// Watches the parser: nesting, and the keys of every object that is open.
class json_guard {
public:
  json_guard(std::string_view place, int max_depth) : place_(place), max_depth_(max_depth) {}

  /// nlohmann's callback: `depth` is the number of objects and arrays open around the event.
  bool operator()(int depth, nlohmann::json::parse_event_t event, nlohmann::json& parsed) {
    using event_type = nlohmann::json::parse_event_t;
    const auto around = static_cast<std::size_t>(depth);
    if (event == event_type::object_start || event == event_type::array_start) {
      if (depth >= max_depth_)
        fail(error_code::bad_file, here(),
             "JSON nested more than " + std::to_string(max_depth_) + " deep");
      levels_.resize(around + 1);
    } else if (event == event_type::object_end || event == event_type::array_end) {
      levels_.resize(around);
    } else if (event == event_type::key) {
      level& open = levels_[around - 1];
      open.last = parsed.get_ref<const std::string&>();
      if (!open.keys.insert(*open.last).second)
        fail(error_code::bad_file, here(), "the key is there twice");
    }
    return true;
  }

  /// The place, the outermost key around what is parsed, and the innermost.
  [[nodiscard]] std::string here() const {
    const level *outer = nullptr, *inner = nullptr;
    for (const auto& open : levels_) {
      if (!open.last) continue;
      if (outer == nullptr) outer = &open;
      inner = &open;
    }
    if (outer == nullptr) return place_;
    const std::string place = place_of(place_, "key", *outer->last);
    return inner == outer ? place : place_of(place, "key", *inner->last);
  }

private:
  /// An object or array that is open.
  struct level {
    std::set<std::string> keys;
    std::optional<std::string> last;
  };
  std::string place_;
  int max_depth_;
  std::vector<level> levels_;
};

/// "[json.exception.parse_error.101] parse error at line 1, column 2: x" becomes "x".
inline std::string json_problem(std::string_view what) {
  constexpr std::string_view before = ": ";
  if (const auto tag = what.find("] "); tag != what.npos) what.remove_prefix(tag + 2);
  if (what.substr(0, 14) == "parse error at")
    if (const auto colon = what.find(before); colon != what.npos)
      what.remove_prefix(colon + before.size());
  return "invalid JSON: " + escaped(what, 200);
}

} // namespace io::detail

inline nlohmann::json parse_json(std::string_view text, std::string_view place, int max_depth,
                                 std::uint64_t base) {
  io::detail::json_guard guard(place, max_depth);
  std::string where(place);
  std::string problem;
  try {
    return nlohmann::json::parse(text.begin(), text.end(), std::ref(guard));
  } catch (const nlohmann::json::parse_error& error) {
    // nlohmann counts the bytes that it has read, the offending one included.
    where = byte_reader({}, place).here(base + (error.byte == 0 ? 0 : error.byte - 1));
    problem = io::detail::json_problem(error.what());
  } catch (const nlohmann::json::exception& error) { // a number out of range
    where = guard.here();
    problem = io::detail::json_problem(error.what());
  }
  fail(error_code::bad_file, where, problem);
}

} // namespace edgequant::inline EDGEQUANT_ABI
