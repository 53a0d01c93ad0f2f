// SPDX-License-Identifier: MIT
/// A checkpoint's config.json.
#pragma once

#include "../text/tokenizer_config.hpp"
#include "checkpoint_sizes.hpp"
#include "checkpoint_windows.hpp"
#include "config_fields.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>

namespace edgequant::inline EDGEQUANT_ABI {

/// The model_type of a config.json, or an empty string.
[[nodiscard]] std::string model_type_of(const nlohmann::json& config);

/// Reads Hugging Face's fields, as transformers 4 and 5 write them; `place` names the file.
/// bad_file with the field for a model_type without a row in architecture_table, for a missing
/// field, a value of the wrong type or beyond the range of GGUF's u32 or f32, for sizes that
/// contradict each other, for token ids beyond the vocabulary, and for every field with which the
/// network is another than GGUF's architecture of that name: see read_rope_config() and
/// neutral_fields. Fields that nobody knows become notes.
[[nodiscard]] checkpoint_config parse_checkpoint_config(const nlohmann::json& config,
                                                        const std::string& place);

/// See rope_divisors() of a rope_config.
[[nodiscard]] inline std::vector<float> rope_divisors(const checkpoint_config& config) {
  return rope_divisors(config.rope, config.rope_size());
}

namespace model::detail {

/// Fields that say once more what follows from others.
inline void require_agreement(json_object& fields, const checkpoint_config& config) {
  const auto head_size = static_cast<double>(config.head_size);
  const std::string family = ", as in GGUF's " + std::string(config.family->name);
  const auto require = [&](const char* name, double wanted, const char* meaning) {
    const auto* value = fields.find(name);
    if (value == nullptr) return;
    const double number = value->is_number() ? value->get<double>() : 0;
    if (!(std::abs(number - wanted) <= 1e-6 * std::abs(wanted)))
      fields.refuse(name, meaning + family);
  };
  // Gemma's largest models divide queries by another size, and llama.cpp knows it.
  const bool by_mean =
      config.family->mean_head_layers != 0 && config.layers == config.family->mean_head_layers;
  if (config.family->scaled_embedding && config.family->norms == norm_place::both &&
      fields.find("query_pre_attn_scalar") == nullptr && (by_mean || config.head_size != 256))
    fields.refuse_as("query_pre_attn_scalar", "the field is missing, and transformers takes 256");
  require("query_pre_attn_scalar",
          by_mean ? static_cast<double>(config.hidden_size / config.heads) : head_size,
          by_mean ? "hidden_size / num_attention_heads" : "the head size");
  const double scale =
      config.attention_scale != 0 ? config.attention_scale : 1 / std::sqrt(head_size);
  for (const char* name :
       {"attention_multiplier", "attention_scale", "attn_scale", "softmax_scale"})
    require(name, scale, "1 / sqrt(head size)");
  for (const char* name : {"rotary_dim", "v_head_dim", "qk_head_dim", "kv_channels"})
    require(name, head_size, "the head size");
  for (const char* name : {"layer_norm_eps", "layer_norm_epsilon", "norm_eps", "norm_epsilon"})
    require(name, config.rms_epsilon, "the value of rms_norm_eps");
}

/// Layers without RoPE have their places in GGUF's architecture.
inline void check_rope_layers(json_object& fields, const checkpoint_config& config) {
  const std::uint64_t period = config.family->no_rope_period;
  if (period == 0) return;
  const std::string expected = "each " + std::to_string(period) + "th layer without RoPE";
  (void)fields.integer("no_rope_layer_interval", 0, 0x7fffffff);
  const auto* list = fields.find("no_rope_layers"); // 1: the layer has RoPE
  if (list == nullptr) {
    if (fields.integer("no_rope_layer_interval", 0, 0x7fffffff).value_or(period) != period)
      fields.refuse("no_rope_layer_interval", expected);
    return;
  }
  if (!list->is_array() || list->size() != config.layers)
    fields.refuse("no_rope_layers", "a number for each layer");
  for (std::size_t i = 0; i < list->size(); ++i)
    if ((*list)[i] != ((i + 1) % period != 0 ? 1 : 0)) fields.refuse("no_rope_layers", expected);
}

/// What embeddings, residuals, attention and logits are multiplied by, and their soft caps.
inline void read_scales(json_object& fields, checkpoint_config& config) {
  const auto& row = *config.family;
  if (row.name == "granite") {
    config.embedding_scale = fields.positive("embedding_multiplier").value_or(1);
    config.residual_scale = fields.positive("residual_multiplier").value_or(1);
    config.logit_divisor = fields.positive("logits_scaling").value_or(1);
    config.attention_scale = fields.positive("attention_multiplier").value_or(1);
  } else if (row.name == "minicpm") {
    const auto required = [&](const char* name) {
      return fields.require(name, fields.positive(name));
    };
    config.embedding_scale = required("scale_emb");
    config.residual_scale = required("scale_depth") / std::sqrt(static_cast<double>(config.layers));
    config.logit_divisor = static_cast<double>(config.hidden_size) / required("dim_model_base");
  }
  const auto cap = [&](const char* name, float otherwise) -> std::optional<double> {
    if (fields.is_null(name)) {
      if (otherwise != 0)
        fields.refuse(name, "a number, as GGUF's " + std::string(row.name) + " has always one");
      return std::nullopt;
    }
    const auto value = fields.positive(name);
    return value ? value : otherwise != 0 ? std::optional<double>(otherwise) : std::nullopt;
  };
  if (row.attention_softcap != 0)
    config.attention_softcap = cap("attn_logit_softcapping", row.attention_softcap);
  if (row.scaled_embedding && row.norms == norm_place::both)
    config.logit_softcap = cap("final_logit_softcapping", row.logit_softcap);
}

inline void check_activation(json_object& fields, const checkpoint_config& config) {
  if (config.family->activation != gate_activation::gelu) return; // neutral_fields has the others
  // The field that counts: Gemma's classes look at one of the two.
  const bool is_first = config.family->norms == norm_place::before;
  const char* counts = is_first ? "hidden_act" : "hidden_activation";
  const auto* value = fields.find(counts);
  (void)fields.find(is_first ? "hidden_activation" : "hidden_act");
  const bool known = value == nullptr || *value == "gelu_pytorch_tanh" ||
                     (is_first && *value == "gelu"); // transformers takes its approximation
  if (!known)
    fields.refuse(counts, "gelu_pytorch_tanh, as GGUF's " + std::string(config.family->name) +
                              " has no other");
}

inline void note_classes(const std::vector<std::string>& classes, checkpoint_config& config) {
  if (config.family->model_type != "llama") return;
  for (const auto& name : classes)
    if (!name.starts_with("Llama") && !name.starts_with("LLaMA") && !name.starts_with("Mistral"))
      config.notes.push_back("config.json: architectures names '" + escaped(name) +
                             "', and model_type llama: it is read as a Llama");
}

inline void read_rope(json_object& fields, checkpoint_config& config) {
  const auto& row = *config.family;
  auto rope = read_rope_config(fields, {row.rope_base, row.local_rope_base, config.context});
  config.rope = std::move(rope.all);
  for (auto& note : rope.notes) config.notes.push_back(std::move(note));
  const auto has_no = [&](const char* name, const std::string& what) {
    fields.refuse_as(name, "GGUF's " + std::string(row.name) + " has no place for " + what);
  };
  if (config.rope.rotary_share != 1 && !row.partial_rope)
    has_no("partial_rotary_factor", "heads that are turned in part");
  if (config.rope_size() % 2 != 0 || config.rope_size() == 0)
    fields.refuse_as("partial_rotary_factor", "no even number of a head's values");
  if (config.rope.stretched_rope && !row.rope_factors) has_no("rope_type", "llama3's RoPE");
  if (config.rope.longrope && !row.rope_factors) has_no("rope_type", "LongRoPE");
  if (config.rope.longrope)
    for (const auto* factors :
         {&config.rope.longrope->short_factors, &config.rope.longrope->long_factors})
      if (factors->size() != config.rope_size() / 2)
        fields.refuse_as("long_factor", counted(factors->size(), "factor") + " for " +
                                            std::to_string(config.rope_size()) +
                                            " values of a head that are turned");
  if (!rope.local || config.window == 0) return;
  const rope_config& local = *rope.local;
  rope_config same = row.local_rope_scaled ? config.rope : rope_config{};
  same.rope_base = local.rope_base;
  if (local != same) has_no("rope_parameters", "such a RoPE of layers with a window");
  config.local_rope = local;
}

} // namespace model::detail

inline std::string model_type_of(const nlohmann::json& config) {
  if (!config.is_object()) return {};
  const auto type = config.find("model_type");
  return type != config.end() && type->is_string() ? type->get<std::string>() : std::string{};
}

inline checkpoint_config parse_checkpoint_config(const nlohmann::json& json,
                                                 const std::string& place) {
  json_object fields(json, place);
  checkpoint_config config;
  const auto type = fields.text("model_type").value_or("llama");
  config.family = find_model_type(type);
  if (config.family == nullptr)
    fields.refuse_as("model_type", "'" + escaped(type, 40) + "' has no row in architecture_table");
  const auto& row = *config.family;
  model::detail::read_sizes(fields, config);
  model::detail::read_feed_forward(fields, config);
  model::detail::read_block_configs(fields, config);
  config.rms_epsilon = fields.positive("rms_norm_eps").value_or(row.rms_epsilon);
  const auto ids = [&](const char* name) { return token_ids_of(fields, name, config.vocabulary); };
  if (const auto bos = ids("bos_token_id"); !bos.empty()) config.bos_token = bos.front();
  for (const auto id : ids("eos_token_id")) config.add_end(id);
  // A token to fill batches up with changes nothing; in many files it lies beyond the vocabulary.
  (void)fields.find("pad_token_id");
  config.tied_embeddings = fields.flag("tie_word_embeddings").value_or(row.tied_embeddings);
  config.attention_bias = fields.flag("attention_bias");
  config.mlp_bias = fields.flag("mlp_bias");
  const auto classes = fields.texts("architectures");
  model::detail::read_window(fields, classes, config);
  model::detail::read_layer_types(fields, config);
  model::detail::read_rope(fields, config);
  model::detail::read_scales(fields, config);
  model::detail::check_rope_layers(fields, config);
  model::detail::check_activation(fields, config);
  model::detail::require_agreement(fields, config);
  model::detail::note_classes(classes, config);
  for (auto& note : check_other_fields(fields, "config.json")) config.notes.push_back(note);
  return config;
}

} // namespace edgequant::inline EDGEQUANT_ABI
