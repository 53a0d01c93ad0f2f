// SPDX-License-Identifier: MIT
/// JSON from files: nlohmann's parser behind the checks that it lacks.
#pragma once

#include "bytes.hpp"

#include <nlohmann/json.hpp>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace edgequant::inline EDGEQUANT_ABI {

/// Parses a whole text. bad_file, with `place`, for invalid JSON (and the byte where it ends to be
/// valid), for a key that an object holds twice, and for more than `max_depth` nested objects and
/// arrays; such a tree is not built. `base` is the offset of the text in the file.
[[nodiscard]] nlohmann::json parse_json(std::string_view text, std::string_view place,
                                        int max_depth = 16, std::uint64_t base = 0);

namespace detail {

/// Watches the parser: nesting, and the keys of every object that is open.
class json_guard {
public:
  json_guard(std::string_view place, int max_depth) : place_(place), max_depth_(max_depth) {}

  /// nlohmann's callback: `depth` is the number of objects and arrays open around the event.
  bool operator()(int depth, nlohmann::json::parse_event_t event, nlohmann::json& parsed) {
    using event_type = nlohmann::json::parse_event_t;
    if (event == event_type::object_start || event == event_type::array_start) {
      if (depth >= max_depth_)
        fail(error_code::bad_file, place_,
             "JSON nested more than " + std::to_string(max_depth_) + " deep");
      keys_.resize(static_cast<std::size_t>(depth) + 1);
      keys_.back().clear();
    } else if (event == event_type::key) {
      const auto& key = parsed.get_ref<const std::string&>();
      if (!keys_[static_cast<std::size_t>(depth) - 1].insert(key).second)
        fail(error_code::bad_file, place_of(place_, "key", key), "the key is there twice");
    }
    return true;
  }

private:
  std::string place_;
  int max_depth_;
  std::vector<std::set<std::string>> keys_; // one set a level
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

} // namespace detail

inline nlohmann::json parse_json(std::string_view text, std::string_view place, int max_depth,
                                 std::uint64_t base) {
  detail::json_guard guard(place, max_depth);
  std::string where(place);
  std::string problem;
  try {
    return nlohmann::json::parse(text.begin(), text.end(), std::ref(guard));
  } catch (const nlohmann::json::parse_error& error) {
    // nlohmann counts the bytes that it has read, the offending one included.
    where = byte_reader({}, place).here(base + (error.byte == 0 ? 0 : error.byte - 1));
    problem = detail::json_problem(error.what());
  } catch (const nlohmann::json::exception& error) { // a number out of range
    problem = detail::json_problem(error.what());
  }
  fail(error_code::bad_file, where, problem);
}

} // namespace edgequant::inline EDGEQUANT_ABI
