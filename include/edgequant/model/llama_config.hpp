// SPDX-License-Identifier: MIT
/// A Llama checkpoint's config.json, and the GGUF keys that follow from it.
#pragma once

#include "../io/gguf_metadata.hpp"
#include "../text/tokenizer_config.hpp"
#include "config_fields.hpp"
#include "rope_config.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>

namespace edgequant::inline EDGEQUANT_ABI {

struct llama_config : config_tokens, rope_config {
  std::uint64_t hidden_size = 0, feed_forward_size = 0, layers = 0, heads = 0, kv_heads = 0;
  std::uint64_t head_size = 0;
  std::uint64_t context = 2048; ///< tokens
  double rms_epsilon = 1e-6;
  bool tied_embeddings = false;
  std::optional<bool> attention_bias; ///< q, k, v and o have biases; nothing: the file is silent
  std::optional<bool> mlp_bias;       ///< likewise gate, up and down
  std::vector<std::string> notes;     ///< one line each: fields that are unknown or have no effect
};

/// The model_type of a config.json, or an empty string.
[[nodiscard]] std::string model_type_of(const nlohmann::json& config);

/// Reads Hugging Face's fields; `place` names the file. bad_file with the field for a missing one,
/// a value of the wrong type or beyond the range of GGUF's u32 or f32, for sizes that contradict
/// each other, for token ids beyond the vocabulary, and for every field with which the network is
/// no Llama as GGUF knows it: see read_rope_config() and neutral_fields. Fields that nobody knows
/// become notes.
[[nodiscard]] llama_config parse_llama_config(const nlohmann::json& config,
                                              const std::string& place);

/// The `llama.` keys that llama.cpp needs.
void set_llama_keys(gguf_metadata& metadata, const llama_config& config);

/// See rope_divisors() of a rope_config.
[[nodiscard]] inline std::vector<float> rope_divisors(const llama_config& config) {
  return rope_divisors(config, config.head_size);
}

namespace model::detail {

/// Far beyond any model: rope_divisors() takes that many bytes twice over.
inline constexpr std::uint64_t most_head_size = 1 << 16;

/// A whole number that is not negative. What the parser reads is unsigned; what a program writes as
/// json(64) is signed.
[[nodiscard]] inline std::optional<std::uint64_t> unsigned_value(const nlohmann::json& value) {
  if (value.is_number_unsigned()) return value.get<std::uint64_t>();
  if (!value.is_number_integer() || value.get<std::int64_t>() < 0) return std::nullopt;
  return static_cast<std::uint64_t>(value.get<std::int64_t>());
}

/// Typed access to the fields of one JSON object, with errors that name the field.
class json_fields {
public:
  json_fields(const nlohmann::json& object, std::string place)
      : object_(object), place_(std::move(place)) {
    if (!object.is_object()) fail(error_code::bad_file, place_, "not a JSON object");
  }

  [[nodiscard]] const nlohmann::json* find(const char* name) const {
    const auto at = object_.find(name);
    return at == object_.end() || at->is_null() ? nullptr : &*at;
  }
  [[nodiscard]] std::optional<std::uint64_t> integer(const char* name) const {
    const auto* value = find(name);
    if (value == nullptr) return std::nullopt;
    const auto number = unsigned_value(*value);
    if (!number) refuse(name, "expected a whole number");
    return number;
  }
  /// A size: at least 1 and at most 2^31 - 1, what llama.cpp can count.
  [[nodiscard]] std::optional<std::uint64_t> size(const char* name) const {
    const auto value = integer(name);
    if (value && (*value == 0 || *value > 0x7fffffff)) refuse(name, "expected 1 to 2^31 - 1");
    return value;
  }
  [[nodiscard]] std::uint64_t required_size(const char* name) const {
    const auto value = size(name);
    if (!value) refuse(name, "the field is missing");
    return *value;
  }
  /// A number that a GGUF key can hold: as a float it is neither 0 nor infinite.
  [[nodiscard]] std::optional<double> positive(const char* name) const {
    const auto* value = find(name);
    if (value == nullptr) return std::nullopt;
    const double number = value->is_number() ? value->get<double>() : 0;
    using limits = std::numeric_limits<float>;
    if (!(number >= limits::denorm_min() && number <= limits::max()))
      refuse(name, "expected a positive number in the range of f32");
    return number;
  }
  [[nodiscard]] std::optional<bool> flag(const char* name) const {
    const auto* value = find(name);
    if (value == nullptr) return std::nullopt;
    if (!value->is_boolean()) refuse(name, "expected true or false");
    return value->get<bool>();
  }
  [[nodiscard]] std::optional<std::string> text(const char* name) const {
    const auto* value = find(name);
    if (value == nullptr) return std::nullopt;
    if (!value->is_string()) refuse(name, "expected a string");
    return value->get<std::string>();
  }
  [[noreturn]] void refuse(const char* name, const std::string& problem) const {
    fail(error_code::bad_file, place_ + ": field '" + name + "'", problem);
  }

private:
  const nlohmann::json& object_;
  std::string place_;
};

inline void read_sizes(json_object& fields, llama_config& config) {
  const auto required = [&](const char* name) { return fields.require(name, fields.size(name)); };
  config.hidden_size = required("hidden_size");
  config.feed_forward_size = required("intermediate_size");
  config.layers = required("num_hidden_layers");
  config.heads = required("num_attention_heads");
  config.kv_heads = fields.size("num_key_value_heads").value_or(config.heads);
  config.vocabulary = required("vocab_size");
  config.context = fields.size("max_position_embeddings").value_or(config.context);
  const auto head_size = fields.size("head_dim");
  if (!head_size && config.hidden_size % config.heads != 0)
    fields.refuse_as("num_attention_heads", "hidden_size is no multiple of it");
  config.head_size = head_size.value_or(config.hidden_size / config.heads);
  if (config.head_size % 2 != 0) fields.refuse_as("head_dim", "an odd head size has no RoPE pairs");
  if (config.head_size > most_head_size)
    fields.refuse_as("head_dim", "more than " + std::to_string(most_head_size));
  if (config.heads % config.kv_heads != 0)
    fields.refuse_as("num_key_value_heads", "num_attention_heads is no multiple of it");
}

/// Fields that say once more what follows from others.
inline void require_agreement(json_object& fields, const llama_config& config) {
  const auto head_size = static_cast<double>(config.head_size);
  const auto require = [&](const char* name, double wanted, const char* meaning) {
    const auto* value = fields.find(name);
    if (value == nullptr) return;
    const double number = value->is_number() ? value->get<double>() : 0;
    if (!(std::abs(number - wanted) <= 1e-6 * std::abs(wanted)))
      fields.refuse(name, std::string(meaning) + ", as in GGUF's llama");
  };
  require("query_pre_attn_scalar", head_size, "the head size");
  for (const char* name :
       {"attention_multiplier", "attention_scale", "attn_scale", "softmax_scale"})
    require(name, 1 / std::sqrt(head_size), "1 / sqrt(head size)");
  for (const char* name : {"rotary_dim", "v_head_dim", "qk_head_dim", "kv_channels"})
    require(name, head_size, "the head size");
  for (const char* name : {"layer_norm_eps", "layer_norm_epsilon", "norm_eps", "norm_epsilon"})
    require(name, config.rms_epsilon, "the value of rms_norm_eps");
}

/// Keys that are more than a window behind a query are not seen. Hugging Face's Llama has no
/// window, whatever the file says; its Mistral has.
inline void check_window(json_object& fields, const std::vector<std::string>& classes,
                         llama_config& config) {
  const auto enabled = fields.flag("use_sliding_window");
  const auto* value = fields.find("sliding_window");
  if (value == nullptr || enabled == false || is_flag(*value, false) || is_number(*value, -1))
    return;
  const auto window = fields.integer("sliding_window", 0, 0x7fffffff);
  if (*window == 0 || *window >= config.context) return;
  bool windowed = enabled.value_or(false);
  for (const auto& name : classes) windowed = windowed || name.find("istral") != name.npos;
  if (windowed)
    fields.refuse("sliding_window", "at least the context of " + std::to_string(config.context) +
                                        " tokens, as GGUF's llama has no window");
  config.notes.push_back("config.json: sliding_window " + std::to_string(*window) +
                         " has no effect, as in Hugging Face's Llama: attention sees all " +
                         std::to_string(config.context) + " tokens");
}

inline void note_classes(const std::vector<std::string>& classes, llama_config& config) {
  for (const auto& name : classes)
    if (!name.starts_with("Llama") && !name.starts_with("LLaMA") && !name.starts_with("Mistral"))
      config.notes.push_back("config.json: architectures names '" + escaped(name) +
                             "', and model_type llama: it is read as a Llama");
}

} // namespace model::detail

inline std::string model_type_of(const nlohmann::json& config) {
  if (!config.is_object()) return {};
  const auto type = config.find("model_type");
  return type != config.end() && type->is_string() ? type->get<std::string>() : std::string{};
}

inline llama_config parse_llama_config(const nlohmann::json& json, const std::string& place) {
  json_object fields(json, place);
  llama_config config;
  (void)fields.text("model_type");
  model::detail::read_sizes(fields, config);
  config.rms_epsilon = fields.positive("rms_norm_eps").value_or(config.rms_epsilon);
  const auto ids = [&](const char* name) { return token_ids_of(fields, name, config.vocabulary); };
  if (const auto bos = ids("bos_token_id"); !bos.empty()) config.bos_token = bos.front();
  for (const auto id : ids("eos_token_id")) config.add_end(id);
  // A token to fill batches up with changes nothing; in many files it lies beyond the vocabulary.
  (void)fields.find("pad_token_id");
  config.tied_embeddings = fields.flag("tie_word_embeddings").value_or(false);
  config.attention_bias = fields.flag("attention_bias");
  config.mlp_bias = fields.flag("mlp_bias");
  static_cast<rope_config&>(config) = read_rope_config(fields);
  const auto classes = fields.texts("architectures");
  model::detail::require_agreement(fields, config);
  model::detail::check_window(fields, classes, config);
  model::detail::note_classes(classes, config);
  for (auto& note : check_other_fields(fields, "config.json")) config.notes.push_back(note);
  return config;
}

inline void set_llama_keys(gguf_metadata& metadata, const llama_config& config) {
  const auto count = [&](const char* key, std::uint64_t value) {
    metadata.set(key, static_cast<std::uint32_t>(value));
  };
  metadata.set("general.architecture", "llama");
  count("llama.vocab_size", config.vocabulary);
  count("llama.context_length", config.context);
  count("llama.embedding_length", config.hidden_size);
  count("llama.block_count", config.layers);
  count("llama.feed_forward_length", config.feed_forward_size);
  count("llama.attention.head_count", config.heads);
  count("llama.attention.head_count_kv", config.kv_heads);
  metadata.set("llama.attention.layer_norm_rms_epsilon", static_cast<float>(config.rms_epsilon));
  count("llama.rope.dimension_count", config.head_size);
  metadata.set("llama.rope.freq_base", static_cast<float>(config.rope_base));
  if (config.head_size * config.heads != config.hidden_size) {
    count("llama.attention.key_length", config.head_size);
    count("llama.attention.value_length", config.head_size);
  }
  if (config.linear_rope_factor != 1) {
    metadata.set("llama.rope.scaling.type", "linear");
    metadata.set("llama.rope.scaling.factor", static_cast<float>(config.linear_rope_factor));
  }
}

} // namespace edgequant::inline EDGEQUANT_ABI
