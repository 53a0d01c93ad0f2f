// SPDX-License-Identifier: MIT
/// The GGUF keys of a network that follow from its config.json.
#pragma once

#include "../io/gguf_metadata.hpp"
#include "checkpoint_config.hpp"

namespace edgequant::inline EDGEQUANT_ABI {

/// general.architecture and the keys behind its name that llama.cpp needs.
void set_network_keys(gguf_metadata& metadata, const checkpoint_config& config);

namespace model::detail {

/// Keys behind the name of an architecture.
class network_keys {
public:
  network_keys(gguf_metadata& metadata, std::string_view architecture)
      : metadata_(metadata), prefix_(std::string(architecture) + ".") {}

  void count(const char* key, std::uint64_t value) {
    metadata_.set(prefix_ + key, static_cast<std::uint32_t>(value));
  }
  void number(const char* key, double value) {
    metadata_.set(prefix_ + key, static_cast<float>(value));
  }
  void text(const char* key, const char* value) { metadata_.set(prefix_ + key, value); }
  /// One number if all layers have the same, else one a layer.
  template <class SizeOf> void counts(const char* key, std::uint64_t layers, SizeOf size_of) {
    std::vector<std::uint32_t> list;
    for (std::uint64_t i = 0; i < layers; ++i)
      list.push_back(static_cast<std::uint32_t>(size_of(i)));
    if (std::all_of(list.begin(), list.end(), [&](auto n) { return n == list.front(); }))
      count(key, list.front());
    else
      metadata_.set_array(prefix_ + key, list);
  }
  void flags(const char* key, const std::vector<bool>& values) {
    std::vector<std::uint32_t> list(values.begin(), values.end());
    metadata_.set_array(prefix_ + key, list);
  }

private:
  gguf_metadata& metadata_;
  std::string prefix_;
};

inline void set_rope_keys(network_keys& keys, const checkpoint_config& config) {
  const rope_config& rope = config.rope;
  keys.count("rope.dimension_count", config.rope_size());
  keys.number("rope.freq_base", rope.rope_base);
  if (config.local_rope) keys.number("rope.freq_base_swa", config.local_rope->rope_base);
  if (rope.linear_rope_factor != 1) {
    keys.text("rope.scaling.type", "linear");
    keys.number("rope.scaling.factor", rope.linear_rope_factor);
  }
  if (rope.yarn) {
    keys.text("rope.scaling.type", "yarn");
    keys.number("rope.scaling.factor", rope.yarn->factor);
    keys.count("rope.scaling.original_context_length", rope.yarn->original_context);
  }
  if (rope.longrope) {
    keys.text("rope.scaling.type", "longrope");
    keys.count("rope.scaling.original_context_length", rope.longrope->original_context);
  }
  if (rope.rope_magnitude != 1) keys.number("rope.scaling.attn_factor", rope.rope_magnitude);
}

inline void set_window_keys(network_keys& keys, const checkpoint_config& config) {
  if (config.window == 0) return;
  keys.count("attention.sliding_window", config.window);
  const std::uint64_t period = config.family->window_period;
  for (std::uint64_t i = 0; i < config.layers; ++i)
    if (config.local[i] != (period == 1 || (i + 1) % period != 0))
      return keys.flags("attention.sliding_window_pattern", config.local);
}

inline void set_scale_keys(network_keys& keys, const checkpoint_config& config) {
  if (config.attention_scale != 0) keys.number("attention.scale", config.attention_scale);
  if (config.attention_softcap) keys.number("attn_logit_softcapping", *config.attention_softcap);
  if (config.logit_softcap) keys.number("final_logit_softcapping", *config.logit_softcap);
  if (!config.family->multipliers) return;
  keys.number("embedding_scale", config.embedding_scale);
  keys.number("residual_scale", config.residual_scale);
  keys.number("logit_scale", config.logit_divisor);
}

} // namespace model::detail

inline void set_network_keys(gguf_metadata& metadata, const checkpoint_config& config) {
  metadata.set("general.architecture", std::string(config.family->name));
  model::detail::network_keys keys(metadata, config.family->name);
  keys.count("vocab_size", config.vocabulary);
  keys.count("context_length", config.context);
  keys.count("embedding_length", config.hidden_size);
  keys.count("block_count", config.layers);
  const auto size_of = [&](auto member) {
    return [&config, member](std::uint64_t layer) { return config.sizes_of(layer).*member; };
  };
  if (config.experts != 0) {
    keys.count("feed_forward_length", config.dense_feed_forward_size);
    keys.count("expert_feed_forward_length", config.feed_forward_size);
    keys.count("expert_count", config.experts);
    keys.count("expert_used_count", config.experts_used);
  } else {
    keys.counts("feed_forward_length", config.layers,
                size_of(&checkpoint_layer::feed_forward_size));
  }
  keys.counts("attention.head_count", config.layers, size_of(&checkpoint_layer::heads));
  keys.counts("attention.head_count_kv", config.layers, size_of(&checkpoint_layer::kv_heads));
  keys.number("attention.layer_norm_rms_epsilon", config.rms_epsilon);
  if (config.head_size * config.heads != config.hidden_size || !config.sizes.empty()) {
    keys.count("attention.key_length", config.head_size);
    keys.count("attention.value_length", config.head_size);
  }
  model::detail::set_rope_keys(keys, config);
  model::detail::set_window_keys(keys, config);
  model::detail::set_scale_keys(keys, config);
}

} // namespace edgequant::inline EDGEQUANT_ABI
