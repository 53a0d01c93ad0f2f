// SPDX-License-Identifier: MIT
/// The sliding windows of a config.json, as each class of transformers takes them.
#pragma once

#include "../io/json_object.hpp"
#include "../text/tokenizer_config.hpp"
#include "checkpoint_shape.hpp"

#include <optional>
#include <string>
#include <vector>

namespace edgequant::inline EDGEQUANT_ABI {
namespace model::detail {

/// A window from the field, from the class where the field is missing, or none.
[[nodiscard]] inline std::optional<std::uint64_t>
window_in(json_object& fields, const checkpoint_config& config, std::uint64_t by_class) {
  const auto* value = fields.find("sliding_window");
  if (value != nullptr && !is_flag(*value, false) && !is_number(*value, -1))
    return fields.integer("sliding_window", 0, 0x7fffffff);
  const bool is_said = value != nullptr || fields.is_null("sliding_window");
  if (is_said && config.family->window != 0)
    fields.refuse("sliding_window", "a number, as GGUF's " + std::string(config.family->name) +
                                        " has always a window");
  return is_said || by_class == 0 ? std::nullopt : std::optional(by_class);
}

/// Keys that are more than a window behind a query are not seen. Qwen has a switch for it, and
/// Hugging Face's Llama no window, whatever the file says.
inline void read_window(json_object& fields, const std::vector<std::string>& classes,
                        checkpoint_config& config) {
  const auto& row = *config.family;
  const auto enabled = fields.flag("use_sliding_window");
  if (row.window_switch) {
    if (enabled != true) return (void)window_in(fields, config, 0);
    // Qwen2 and Qwen3 begin with layers without a window.
    const auto first = fields.integer("max_window_layers", 0, 0x7fffffff).value_or(28);
    const auto window = window_in(fields, config, 4096);
    const bool some = row.experts || first < config.layers;
    if (window && *window < config.context && some)
      fields.refuse("sliding_window", "at least the context of " + std::to_string(config.context) +
                                          " tokens, as GGUF's " + std::string(row.name) +
                                          " has no window");
    return;
  }
  bool windowed = row.window_period != 0;
  if (row.model_type == "llama") {
    windowed = false;
    for (const auto& name : classes) windowed = windowed || name.find("istral") != name.npos;
  }
  const auto window = window_in(fields, config, windowed ? row.checkpoint_window : 0);
  if (window.value_or(0) == 0) return;
  if (windowed && enabled == false)
    fields.refuse("use_sliding_window",
                  "true, as " + std::string(row.model_type) + " has no such switch");
  if (windowed) config.window = *window;
  if (*window >= config.context) return;
  if (!windowed)
    config.notes.push_back("config.json: sliding_window " + std::to_string(*window) +
                           " has no effect, as in Hugging Face's " + std::string(row.model_type) +
                           ": attention sees all " + std::to_string(config.context) + " tokens");
  else if (row.name == "llama" || row.name == "phi3")
    config.notes.push_back("config.json: llama.cpp has no window for this architecture: with more "
                           "than " +
                           std::to_string(*window) + " tokens its results differ");
}

/// Which layers have the window.
inline void read_layer_types(json_object& fields, checkpoint_config& config) {
  const auto& row = *config.family;
  const auto types = fields.texts("layer_types");
  if (!types.empty() && types.size() != config.layers)
    fields.refuse("layer_types",
                  "a type for each of the " + std::to_string(config.layers) + " layers");
  std::optional<std::uint64_t> period; // each so manieth layer sees all
  if (row.window_period != 0)
    for (const char* name : {"sliding_window_pattern", "_sliding_window_pattern"}) {
      const auto* pattern = fields.find(name);
      if (pattern == nullptr) continue;
      if (pattern->is_string()) { // EXAONE's: L for a window, G for none
        const auto text = pattern->get<std::string>();
        for (std::uint64_t i = 0; types.empty() && !text.empty() && i < config.layers; ++i)
          config.local.push_back(text[i % text.size()] == 'L');
      } else {
        period = fields.integer(name, 0, 0x7fffffff);
      }
    }
  for (std::size_t i = 0; i < types.size(); ++i) {
    const bool is_local = types[i] == "sliding_attention";
    if (!is_local && types[i] != "full_attention")
      fields.refuse("layer_types", "sliding_attention and full_attention");
    if (is_local && config.window == 0)
      fields.refuse("layer_types",
                    row.window_period != 0
                        ? "full_attention, without a sliding_window"
                        : "full_attention, as GGUF's " + std::string(row.name) + " has no window");
    config.local.push_back(is_local);
  }
  if (period == 0 && config.local.empty() && config.window != 0)
    fields.refuse_as("sliding_window_pattern", "0 is no period");
  if (config.local.empty() && config.window != 0)
    for (std::uint64_t i = 0; i < config.layers; ++i)
      config.local.push_back(period ? (i + 1) % *period != 0
                                    : row.window_period == 1 || (i + 1) % row.window_period != 0);
  if (config.window == 0) config.local.clear();
}

} // namespace model::detail

} // namespace edgequant::inline EDGEQUANT_ABI
