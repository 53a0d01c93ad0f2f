// SPDX-License-Identifier: MIT
/// How large a model is, by its name.
#pragma once

#include "name_match.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

namespace edgequant::inline EDGEQUANT_ABI {

/// Parameters in a file, and those that take part in the computation of a token (fewer in a mixture
/// of experts, or where a layer looks embeddings up).
struct model_size {
  double parameters = 0, active = 0;
};

/// Models whose name does not state the size, or rounds it.
struct named_model_row {
  std::string_view name; ///< see match_name
  double parameters, active;
};

inline constexpr named_model_row named_models[] = {
    {"llama 3 2 1b", 1.236e9, 1.236e9}, {"llama3 2 1b", 1.236e9, 1.236e9},
    {"llama 3 2 3b", 3.213e9, 3.213e9}, {"llama3 2 3b", 3.213e9, 3.213e9},
    {"llama 2 7b", 6.738e9, 6.738e9},   {"llama 7b", 6.738e9, 6.738e9},
    {"mistral 7b", 7.242e9, 7.242e9},   {"mixtral 8x7b", 46.7e9, 12.9e9},
    {"qwen2 7b", 7.616e9, 7.616e9},     {"qwen2 5 7b", 7.616e9, 7.616e9},
    {"gemma 2 2b", 2.614e9, 2.614e9},   {"gemma 3n e2b", 5.4e9, 1.9e9},
    {"gemma 3n e4b", 8.4e9, 3.9e9},     {"phi 3 5 mini", 3.821e9, 3.821e9},
    {"phi 3 mini", 3.821e9, 3.821e9},   {"phi 4 mini", 3.836e9, 3.836e9},
    {"phi 3 medium", 14e9, 14e9},       {"phi 4", 14.7e9, 14.7e9},
    {"phi 2", 2.78e9, 2.78e9},          {"gpt oss 20b", 20.9e9, 3.6e9},
    {"gpt oss 120b", 116.8e9, 5.1e9},   {"mixtral 8x22b", 141e9, 39e9},
    {"gpt 2", 0.124e9, 0.124e9},
};

/// "Llama-3.1-8B", "SmolLM2-135M", "Qwen3-30B-A3B", "3B(A570M)", "Mixtral 8x7B"; empty where the
/// name has no size. Several sizes: the largest is the file's, one after an 'A' is active, and
/// one after an 'E' (Gemma 3n) is active out of about twice as many.
[[nodiscard]] std::optional<model_size> size_from_name(std::string_view name);

/// Decoder layers of a typical model of this size, where the number is not given: 24 to 80 between
/// 0.5 and 70 billion parameters. It may be wrong by a fifth.
[[nodiscard]] inline double usual_layers(double parameters) {
  return std::max(22.0, 32 * std::pow(parameters / 6.738e9, 0.36));
}

namespace advisor::detail {

inline constexpr double largest_named_size = 1e14; ///< larger numbers are not taken for a size

/// A size such as "1.1b" in a name, and what stands before it.
struct written_size {
  double parameters = 0;
  char before = 0; ///< a letter glued to the number, else 0
  std::size_t end = 0;
};

/// The next size at or after `at`: digits, then b or m at the end of a word.
[[nodiscard]] inline std::optional<written_size> next_size(std::string_view lower, std::size_t at) {
  for (; at < lower.size(); ++at) {
    if (!is_digit(lower[at])) continue;
    std::size_t end = at;
    while (end < lower.size() && (is_digit(lower[end]) || lower[end] == '.')) ++end;
    const char unit = end < lower.size() ? lower[end] : '\0';
    const bool closed = end + 1 >= lower.size() || !is_word(lower[end + 1]);
    const auto value = decimal(lower.substr(at, end - at));
    const double parameters = value.value_or(0) * (unit == 'b' ? 1e9 : 1e6);
    if ((unit == 'b' || unit == 'm') && closed && parameters > 0 &&
        parameters <= largest_named_size)
      return written_size{parameters, at > 0 && is_letter(lower[at - 1]) ? lower[at - 1] : '\0',
                          end + 1};
    at = end;
  }
  return {};
}

} // namespace advisor::detail

inline std::optional<model_size> size_from_name(std::string_view name) {
  const std::string lower = advisor::detail::lower_case(name);
  if (const auto* row = longest_match(lower, named_models))
    return model_size{row->parameters, row->active};
  model_size size;
  for (auto next = advisor::detail::next_size(lower, 0); next;
       next = advisor::detail::next_size(lower, next->end)) {
    if (next->before == 'a' || next->before == 'e') size.active = next->parameters;
    if (next->before == 'e') size.parameters = std::max(size.parameters, 2.4 * next->parameters);
    if (next->before == 'x') { // "8x7B" of no row above: two of eight experts, shared attention
      size.active = 1.85 * next->parameters;
      next->parameters *= 6.6;
    }
    size.parameters = std::max(size.parameters, next->parameters);
  }
  if (size.parameters == 0) return {};
  if (size.active == 0 || size.active > size.parameters) size.active = size.parameters;
  return size;
}

} // namespace edgequant::inline EDGEQUANT_ABI
