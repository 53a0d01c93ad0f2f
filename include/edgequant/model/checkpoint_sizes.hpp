// SPDX-License-Identifier: MIT
/// The sizes of a config.json, layer by layer where they differ.
#pragma once

#include "../io/json_object.hpp"
#include "checkpoint_shape.hpp"

#include <string>

namespace edgequant::inline EDGEQUANT_ABI {
namespace model::detail {

/// Far beyond any model, as those of model_shape.
inline constexpr std::uint64_t most_config_layers = 1 << 16;
/// Far beyond any model: rope_divisors() takes that many bytes twice over.
inline constexpr std::uint64_t most_head_size = 1 << 16;

inline void read_sizes(json_object& fields, checkpoint_config& config) {
  const auto required = [&](const char* name) { return fields.require(name, fields.size(name)); };
  const auto& row = *config.family;
  config.hidden_size = required("hidden_size");
  config.layers = required("num_hidden_layers");
  if (config.layers > most_config_layers)
    fields.refuse("num_hidden_layers", "at most " + std::to_string(most_config_layers));
  config.heads = required("num_attention_heads");
  config.kv_heads = fields.size("num_key_value_heads").value_or(config.heads);
  config.vocabulary = required("vocab_size");
  const auto context = fields.size("max_position_embeddings");
  config.context = row.model_type == "llama" ? context.value_or(config.context)
                                             : fields.require("max_position_embeddings", context);
  auto head_size = fields.size("head_dim");
  if (!head_size && row.head_size != 0) head_size = row.head_size;
  if (!head_size && config.hidden_size % config.heads != 0)
    fields.refuse_as("num_attention_heads", "hidden_size is no multiple of it");
  config.head_size = head_size.value_or(config.hidden_size / config.heads);
  if (config.head_size % 2 != 0) fields.refuse_as("head_dim", "an odd head size has no RoPE pairs");
  if (config.head_size > most_head_size)
    fields.refuse_as("head_dim", "more than " + std::to_string(most_head_size));
  if (config.heads % config.kv_heads != 0)
    fields.refuse_as("num_key_value_heads", "num_attention_heads is no multiple of it");
  const bool follows_from_heads = row.fused || row.qk_norms == qk_norm::all;
  if (follows_from_heads && config.head_size * config.heads != config.hidden_size)
    fields.refuse_as("head_dim", "GGUF's " + std::string(row.name) +
                                     " has no other head size than hidden_size / "
                                     "num_attention_heads");
}

/// Experts, or the one feed-forward network.
inline void read_feed_forward(json_object& fields, checkpoint_config& config) {
  if (!config.family->experts) {
    config.feed_forward_size =
        fields.require("intermediate_size", fields.size("intermediate_size"));
    return;
  }
  const auto experts = fields.size("num_experts"), local = fields.size("num_local_experts");
  if (experts && local && *experts != *local)
    fields.refuse("num_local_experts", "the number of num_experts");
  config.experts = fields.require("num_experts", experts ? experts : local);
  const auto used = fields.size("num_experts_per_tok"), other = fields.size("experts_per_token");
  config.experts_used = fields.require("num_experts_per_tok", used ? used : other);
  if (config.experts_used > config.experts)
    fields.refuse("num_experts_per_tok", "at most num_experts");
  const auto dense = fields.size("intermediate_size"), own = fields.size("moe_intermediate_size");
  config.feed_forward_size = fields.require("moe_intermediate_size", own ? own : dense);
  config.dense_feed_forward_size = dense.value_or(config.feed_forward_size);
  const bool says = config.family->activation != gate_activation::clamped_silu;
  if (const auto norm = fields.flag("norm_topk_prob"); says && norm != true)
    fields.refuse_as("norm_topk_prob", "expected true, as GGUF has no place for other weights of "
                                       "experts; transformers takes a missing one for false");
  if (fields.size("decoder_sparse_step").value_or(1) != 1)
    fields.refuse("decoder_sparse_step", "1, as every layer has experts in GGUF");
  if (const auto* dense_layers = fields.find("mlp_only_layers");
      dense_layers != nullptr && !dense_layers->empty())
    fields.refuse("mlp_only_layers", "no layers, as every layer has experts in GGUF");
  if (config.family->activation != gate_activation::clamped_silu) return;
  if (const auto alpha = fields.positive("swiglu_alpha"); alpha.value_or(1.702) != 1.702)
    fields.refuse("swiglu_alpha", "1.702");
  if (const auto limit = fields.positive("swiglu_limit"); limit.value_or(7) != 7)
    fields.refuse("swiglu_limit", "7");
}

/// DeciLM's layers: Bercovich et al. 2024 (Puzzle).
inline void read_block_configs(json_object& fields, checkpoint_config& config) {
  const auto* list = fields.find("block_configs");
  if (config.family->name != "deci" || list == nullptr) {
    if (list != nullptr && !list->empty())
      fields.refuse("block_configs", "no list, as its layers are alike in GGUF");
    return;
  }
  if (!list->is_array() || list->size() != config.layers)
    fields.refuse_as("block_configs", "expected an object for each layer");
  for (std::size_t i = 0; i < config.layers; ++i) {
    json_object block((*list)[i], fields.here("block_configs"), std::to_string(i));
    checkpoint_layer sizes{config.heads, config.kv_heads, config.feed_forward_size};
    for (const char* name : {"attention", "ffn"}) {
      auto part = block.require(name, block.object(name));
      for (const char* other :
           {"replace_with_linear", "sparsify", "use_prefill_window_in_sink_attention",
            "unshifted_sink", "num_sink_tokens", "window_length"})
        if (const auto* value = part.find(other);
            value != nullptr && *value != false && *value != 0)
          part.refuse_as(other, "has no place in GGUF here");
      const bool none = part.flag("no_op").value_or(false);
      if (name == std::string_view("attention")) {
        const auto group = part.size("n_heads_in_group");
        if (none)
          sizes.heads = sizes.kv_heads = 0;
        else if (group && config.heads % *group != 0)
          part.refuse("n_heads_in_group", "a divisor of num_attention_heads");
        else if (group)
          sizes.kv_heads = config.heads / *group;
      } else if (none) {
        sizes.feed_forward_size = 0;
      } else if (const auto own = part.size("intermediate_size")) {
        sizes.feed_forward_size = *own;
      } else if (const auto multiple =
                     part.positive("ffn_mult")) { // two thirds, as the models' code
        const auto size =
            static_cast<std::uint64_t>(2 * *multiple * static_cast<double>(config.hidden_size) / 3);
        sizes.feed_forward_size = (size + 255) / 256 * 256;
      }
    }
    config.sizes.push_back(sizes);
  }
}

} // namespace model::detail

} // namespace edgequant::inline EDGEQUANT_ABI
