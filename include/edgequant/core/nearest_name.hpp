// SPDX-License-Identifier: MIT
/// Which known name somebody may have meant.
#pragma once

#include "ascii.hpp"
#include "exception.hpp"

#include <algorithm>
#include <cstddef>
#include <numeric>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace edgequant::inline EDGEQUANT_ABI {

/// Letters that must be put in, taken out or changed to make `a` of `b`.
[[nodiscard]] std::size_t edit_distance(std::string_view a, std::string_view b);

/// The one of `names` that is most like `name`; of equals the first; empty if there are none.
/// Compared are words, runs of letters or of digits whatever their case, in any order: each word of
/// `name` costs the edit distance to the word most like it, relative to the longer of the two, and
/// a word that nobody asked for a little.
[[nodiscard]] std::string_view nearest_name(std::string_view name,
                                            std::span<const std::string_view> names);

/// Equal but for the case of letters.
[[nodiscard]] bool equal_ignoring_case(std::string_view a, std::string_view b) noexcept;

/// The element of `all` whose member `name` is that, whatever the case of letters. bad_argument for
/// an unknown name, `kind 'name'`, with the nearest known one.
template <class T>
[[nodiscard]] const T& find_by_name(std::span<const T> all, std::string_view name,
                                    std::string_view kind);

namespace core::detail {

enum class character_kind { letter, digit, other };

[[nodiscard]] inline character_kind kind_of(char c) noexcept {
  if (is_digit(c)) return character_kind::digit;
  const bool beyond_ascii = static_cast<unsigned char>(c) >= 0x80;
  return is_letter(c) || beyond_ascii ? character_kind::letter : character_kind::other;
}

[[nodiscard]] inline std::vector<std::string> words_of(std::string_view name) {
  std::vector<std::string> words;
  auto before = character_kind::other;
  for (const char c : name.substr(0, 200)) { // a name, not a text
    const auto kind = kind_of(c);
    if (kind != character_kind::other) {
      if (kind != before) words.emplace_back();
      words.back() += lower(c);
    }
    before = kind;
  }
  return words;
}

/// 0 for names of the same words.
[[nodiscard]] inline double name_distance(std::span<const std::string> asked,
                                          std::span<const std::string> known) {
  double sum = 0;
  for (const auto& word : asked) {
    double least = 1;
    for (const auto& other : known)
      least = std::min(least, static_cast<double>(edit_distance(word, other)) /
                                  static_cast<double>(std::max(word.size(), other.size())));
    sum += least;
  }
  const std::size_t more = known.size() - std::min(known.size(), asked.size());
  return sum + 0.03 * static_cast<double>(more);
}

} // namespace core::detail

inline std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1); // of the matrix of Wagner and Fischer 1974
  std::iota(row.begin(), row.end(), std::size_t{0});
  for (std::size_t i = 0; i < a.size(); ++i) {
    std::size_t diagonal = std::exchange(row[0], i + 1);
    for (std::size_t k = 0; k < b.size(); ++k) {
      const std::size_t changed = diagonal + (a[i] == b[k] ? 0 : 1);
      diagonal = std::exchange(row[k + 1], std::min({changed, row[k] + 1, row[k + 1] + 1}));
    }
  }
  return row[b.size()];
}

inline std::string_view nearest_name(std::string_view name,
                                     std::span<const std::string_view> names) {
  const auto asked = core::detail::words_of(name);
  std::string_view nearest;
  double least = 0;
  for (const auto candidate : names) {
    const double distance = core::detail::name_distance(asked, core::detail::words_of(candidate));
    if (nearest.data() == nullptr || distance < least) nearest = candidate, least = distance;
  }
  return nearest;
}

inline bool equal_ignoring_case(std::string_view a, std::string_view b) noexcept {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](char x, char y) {
    return core::detail::lower(x) == core::detail::lower(y);
  });
}

template <class T>
const T& find_by_name(std::span<const T> all, std::string_view name, std::string_view kind) {
  std::vector<std::string_view> names;
  for (const T& item : all) {
    if (equal_ignoring_case(item.name, name)) return item;
    names.push_back(item.name);
  }
  std::string shown(name.substr(0, 100)); // a message is one line
  std::replace_if(
      shown.begin(), shown.end(), [](char c) { return static_cast<unsigned char>(c) < ' '; }, '?');
  fail(error_code::bad_argument, std::string(kind) + " '" + shown + "'",
       "unknown; did you mean '" + std::string(nearest_name(name, names)) + "'?");
}

} // namespace edgequant::inline EDGEQUANT_ABI
