// SPDX-License-Identifier: MIT
/// llama.cpp's mixtures of formats by their names (Q4_K_M, IQ4_XS, ...) as ready-made plans.
/// Source: the rules of its llama-quantize for dense models.
#pragma once

#include "../core/number_parse.hpp"
#include "format_plan.hpp"

#include <array>
#include <optional>

namespace edgequant::inline EDGEQUANT_ABI {

/// Where the layers of a model get another format than the mixture's main one.
struct recipe_layers {
  std::size_t first = 0;     ///< so many at the beginning
  bool first_eighth = false; ///< the first eighth of all
  bool every_third = false;  ///< the first and last eighth, and every third between
  bool all = false;
};

/// A format for the matrices of one role, in some layers.
struct recipe_rule {
  std::string_view role; ///< attn_v, ffn_down, attn_output
  format type;
  recipe_layers where;
};

struct recipe {
  std::string_view name;                 ///< as llama.cpp spells it
  format type;                           ///< of the other matrices
  format vocabulary;                     ///< of the matrix that makes logits
  std::array<recipe_rule, 4> rules = {}; ///< the first one that fits decides
};

// clang-format off
inline constexpr recipe recipes[] = {
    {"Q2_K", format::q2_k, format::q6_k, {{{"attn_v", format::q3_k, {.all = true}}, {"ffn_down", format::q3_k, {.all = true}}, {"attn_output", format::q3_k, {.all = true}}}}},
    {"Q3_K_S", format::q3_k, format::q6_k},
    {"Q3_K_M", format::q3_k, format::q6_k, {{{"attn_v", format::q5_k, {.first = 2}}, {"attn_v", format::q4_k, {.all = true}}, {"ffn_down", format::q4_k, {.every_third = true}}, {"attn_output", format::q4_k, {.all = true}}}}},
    {"Q3_K_L", format::q3_k, format::q6_k, {{{"attn_v", format::q5_k, {.all = true}}, {"ffn_down", format::q5_k, {.all = true}}, {"attn_output", format::q5_k, {.all = true}}}}},
    {"Q4_K_S", format::q4_k, format::q6_k, {{{"attn_v", format::q5_k, {.first = 4}}, {"ffn_down", format::q5_k, {.first_eighth = true}}}}},
    {"Q4_K_M", format::q4_k, format::q6_k, {{{"attn_v", format::q6_k, {.every_third = true}}, {"ffn_down", format::q6_k, {.every_third = true}}}}},
    {"Q5_K_S", format::q5_k, format::q6_k},
    {"Q5_K_M", format::q5_k, format::q6_k, {{{"attn_v", format::q6_k, {.every_third = true}}, {"ffn_down", format::q6_k, {.every_third = true}}}}},
    {"Q6_K", format::q6_k, format::q6_k},
    {"IQ4_NL", format::iq4_nl, format::q6_k},
    {"IQ4_XS", format::iq4_xs, format::q6_k},
};
// clang-format on

/// The recipe of this name, or nothing.
[[nodiscard]] inline const recipe* find_recipe(std::string_view name) noexcept {
  for (const auto& r : recipes)
    if (r.name == name) return &r;
  return nullptr;
}

/// The names of all recipes, separated by `separator`.
[[nodiscard]] inline std::string recipe_names(std::string_view separator) {
  std::string names;
  for (const auto& r : recipes)
    names += (names.empty() ? "" : std::string(separator)) + std::string(r.name);
  return names;
}

/// The formats that a recipe gives the matrices of a model.
[[nodiscard]] named_formats recipe_formats(const recipe& r, const model_source& source);

namespace plan::detail {

/// `blk.12.ffn_down.weight`: layer 12, role ffn_down.
struct layer_place {
  std::size_t layer;
  std::string_view role;
};
[[nodiscard]] inline std::optional<layer_place> place_in_layers(std::string_view name) {
  constexpr std::string_view before = "blk.", behind = ".weight";
  if (!name.starts_with(before) || !name.ends_with(behind)) return std::nullopt;
  name = name.substr(before.size(), name.size() - before.size() - behind.size());
  const auto dot = name.find('.');
  const auto layer = read_number(name.substr(0, dot));
  if (dot == name.npos || !layer || !(*layer >= 0)) return std::nullopt;
  return layer_place{static_cast<std::size_t>(*layer), name.substr(dot + 1)};
}

[[nodiscard]] constexpr bool applies(const recipe_layers& where, std::size_t layer,
                                     std::size_t layers) noexcept {
  const std::size_t eighth = layers / 8;
  if (where.all || layer < where.first) return true;
  if (where.first_eighth) return layer < eighth;
  return where.every_third &&
         (layer < eighth || layer >= 7 * layers / 8 || (layer - eighth) % 3 == 2);
}

} // namespace plan::detail

inline named_formats recipe_formats(const recipe& r, const model_source& source) {
  std::size_t layers = 0;
  bool has_output = false;
  for (const auto& tensor : source.tensors) {
    if (const auto at = plan::detail::place_in_layers(tensor.stored.name))
      layers = std::max(layers, at->layer + 1);
    has_output |= tensor.stored.name == "output.weight";
  }
  named_formats formats;
  for (const auto& tensor : source.tensors) {
    const stored_tensor& t = tensor.stored;
    if (t.dims.size() < 2 || is_integer(t.type)) continue;
    format type = r.type;
    if (t.name == "output.weight" || (t.name == "token_embd.weight" && !has_output))
      type = r.vocabulary;
    if (const auto at = plan::detail::place_in_layers(t.name))
      for (const auto& rule : r.rules)
        if (!rule.role.empty() && at->role == rule.role &&
            plan::detail::applies(rule.where, at->layer, layers)) {
          type = rule.type;
          break;
        }
    formats[t.name] = type;
  }
  return formats;
}

} // namespace edgequant::inline EDGEQUANT_ABI
