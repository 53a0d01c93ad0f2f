// SPDX-License-Identifier: MIT
/// Apple's M chips by name.
#pragma once

#include "name_match.hpp"

#include <algorithm>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace edgequant::inline EDGEQUANT_ABI {

/// An Apple M chip, read from a name. Bandwidths are those of Apple's specifications.
struct apple_chip {
  int generation = 1;
  enum tier_type { base, pro, max, ultra } tier = base;
  std::optional<double> gpu_cores = {}; ///< "(16)", "16-core GPU"
  double memory_bandwidth_gb_s = 0;
};

/// Reads "Apple M2 Pro (19)", "MacBook Pro M3 2023", "Mac Studio (M3 Ultra 512GB)"; empty for a
/// name without an M chip. Of a Max chip with two bandwidths it is the one of its core count, or
/// the larger where the cores are not given.
[[nodiscard]] std::optional<apple_chip> apple_chip_in(std::string_view device);

namespace advisor::detail {

[[nodiscard]] inline double apple_bandwidth(const apple_chip& chip) {
  // base, Pro, Max of fewer cores, Max, Ultra
  constexpr double table[][5] = {{68, 200, 400, 400, 800},
                                 {100, 200, 400, 400, 800},
                                 {100, 150, 300, 400, 800},
                                 {120, 273, 410, 546, 1092},
                                 {153, 307, 460, 614, 1228}};
  const auto& row = table[std::clamp(chip.generation, 1, 5) - 1];
  switch (chip.tier) {
  case apple_chip::base:
    return row[0];
  case apple_chip::pro:
    return row[1];
  case apple_chip::max:
    return row[chip.gpu_cores.value_or(40) < 36 ? 2 : 3];
  default:
    return row[4];
  }
}

/// The count in "(16)", "(16 GPU cores)" or "16-core GPU" at or after `from`: 4 to 100 cores.
[[nodiscard]] inline std::optional<double> gpu_cores_in(std::string_view lower, std::size_t from) {
  for (std::size_t at = from; at < lower.size(); ++at) {
    if (!is_digit(lower[at]) || (at > 0 && is_word(lower[at - 1]))) continue;
    std::size_t end = at;
    while (end < lower.size() && is_digit(lower[end])) ++end;
    const auto count = decimal(lower.substr(at, end - at));
    const auto rest = lower.substr(end, 16);
    const bool closed = at > 0 && lower[at - 1] == '(' && !rest.empty() && rest[0] == ')';
    const bool gpu = match_end(rest, 0, " gpu") != rest.npos ||
                     match_end(rest, 0, " core gpu") != rest.npos ||
                     match_end(rest, 0, " cores gpu") != rest.npos;
    if ((closed || gpu) && *count >= 4 && *count <= 100) return count;
    at = end;
  }
  return {};
}

} // namespace advisor::detail

inline std::optional<apple_chip> apple_chip_in(std::string_view device) {
  const std::string lower = advisor::detail::lower_case(device);
  for (std::size_t at = 0; at + 1 < lower.size(); ++at) {
    const bool starts = lower[at] == 'm' && (at == 0 || !advisor::detail::is_word(lower[at - 1]));
    if (!starts || lower[at + 1] < '1' || lower[at + 1] > '9') continue;
    const std::string_view rest = std::string_view(lower).substr(at + 2);
    if (!rest.empty() && advisor::detail::is_digit(rest[0])) continue;
    apple_chip chip{.generation = lower[at + 1] - '0'};
    for (const auto& [word, tier] :
         {std::pair{" pro", apple_chip::pro}, std::pair{" max", apple_chip::max},
          std::pair{" ultra", apple_chip::ultra}})
      if (advisor::detail::match_end(rest, 0, word) != rest.npos) chip.tier = tier;
    const bool maker = match_name(lower, "apple") || match_name(lower, "mac") ||
                       match_name(lower, "macbook") || match_name(lower, "imac") ||
                       match_name(lower, "ipad") || at == 0;
    const bool glued =
        chip.tier == apple_chip::base && !rest.empty() && advisor::detail::is_word(rest[0]);
    if (glued || (!maker && chip.tier == apple_chip::base)) continue;
    chip.gpu_cores = advisor::detail::gpu_cores_in(lower, at + 2);
    chip.memory_bandwidth_gb_s = advisor::detail::apple_bandwidth(chip);
    return chip;
  }
  return {};
}

} // namespace edgequant::inline EDGEQUANT_ABI
