// SPDX-License-Identifier: MIT
/// Which layers of a model keep how much in the KV cache.
#pragma once

#include "model_profile.hpp"

#include <algorithm>
#include <cstdint>
#include <string_view>
#include <vector>

namespace edgequant::inline EDGEQUANT_ABI {

/// An architecture of which each `period`-th layer attends to the full context, and the others to a
/// sliding window. Source: set_swa_pattern() in llama.cpp's llama-model.cpp.
struct window_pattern_row {
  std::string_view architecture;
  std::uint64_t period;
};

inline constexpr window_pattern_row window_pattern_table[] = {
    {"gemma2", 2}, {"gemma3", 6}, {"gemma3n", 5}, {"gpt-oss", 2}, {"cohere2", 4},
};

/// The row's period; 0 for an architecture whose pattern is not known. llama.cpp ignores a window
/// of most of those, so that their caches hold the full context.
[[nodiscard]] constexpr std::uint64_t window_period_of(std::string_view architecture) noexcept {
  for (const auto& row : window_pattern_table)
    if (row.architecture == architecture) return row.period;
  return 0;
}

namespace advisor::detail {

/// Gives all layers of a period but the last the window; a period or window of 0 changes nothing.
inline void set_windows(std::vector<layer_cache>& layers, std::uint64_t window,
                        std::uint64_t period) {
  for (std::size_t i = 0; period != 0 && i < layers.size(); ++i)
    if (i % period + 1 != period) layers[i].window = window;
}

/// The layers as a profile holds them: none where all are alike and without a window.
[[nodiscard]] inline std::vector<layer_cache> unless_alike(std::vector<layer_cache> layers) {
  const bool alike = std::all_of(layers.begin(), layers.end(), [&](const layer_cache& layer) {
    return layer.window == 0 && layer == layers.front();
  });
  if (alike) layers.clear();
  return layers;
}

} // namespace advisor::detail

} // namespace edgequant::inline EDGEQUANT_ABI
