// SPDX-License-Identifier: MIT
/// The names of the rules by which a group's scale is chosen.
#pragma once

#include "../core/exception.hpp"
#include "../core/number_parse.hpp"

#include <charconv>
#include <cmath>
#include <string>
#include <string_view>

namespace edgequant::inline EDGEQUANT_ABI {

/// "Symmetric" is not one rule: engines differ. L is the largest code: 7, 15 or 127.
enum class scale_rule {
  absmax,     ///< largest magnitude / L (AWQ, MLC, TFLite)
  signed_max, ///< the value of largest magnitude maps to -8, -16 or -127; may be negative
  ggml,       ///< byte for byte what llama.cpp's file writer computes, its rounding included
  percentile, ///< the P-th percentile of the magnitudes / L; what lies beyond is clipped
  mse,        ///< least squared error, optionally weighted by column
};

/// A rule and its parameter.
struct scale_choice {
  scale_rule rule = scale_rule::absmax;
  double percentile = 99.9; ///< for scale_rule::percentile, in (0, 100]

  constexpr scale_choice() = default;
  constexpr scale_choice(scale_rule r, double p = 99.9) : rule(r), percentile(p) {}
};

/// Reads `absmax`, `signed_max`, `ggml`, `mse`, `percentile` or `percentile:P`.
/// Anything else is error_code::bad_argument.
[[nodiscard]] scale_choice parse_scale(std::string_view text);

/// What parse_scale reads.
[[nodiscard]] std::string to_string(const scale_choice& choice);

inline constexpr std::string_view scale_rule_names[] = {"absmax", "signed_max", "ggml",
                                                        "percentile", "mse"};

inline scale_choice parse_scale(std::string_view text) {
  const auto colon = text.find(':');
  const auto name = text.substr(0, colon);
  for (int i = 0; i < 5; ++i) {
    if (scale_rule_names[i] != name) continue;
    const scale_choice choice{static_cast<scale_rule>(i)};
    if (colon == text.npos) return choice;
    const auto percentile = read_number(text.substr(colon + 1));
    if (choice.rule == scale_rule::percentile && percentile && *percentile > 0 &&
        *percentile <= 100)
      return {choice.rule, *percentile};
  }
  fail(error_code::bad_argument, "scale rule '" + std::string(text) + "'",
       "expected absmax, signed_max, ggml, mse, percentile or percentile:P with 0 < P <= 100");
}

inline std::string to_string(const scale_choice& choice) {
  std::string text{scale_rule_names[static_cast<int>(choice.rule)]};
  if (choice.rule != scale_rule::percentile) return text;
  char number[32];
  const auto end = std::to_chars(number, number + sizeof number, choice.percentile).ptr;
  return text + ":" + std::string(number, end);
}

} // namespace edgequant::inline EDGEQUANT_ABI
