// SPDX-License-Identifier: MIT
/// A Llama checkpoint's config.json, and the GGUF keys that follow from it.
#pragma once

#include "../io/gguf_metadata.hpp"
#include "../io/json.hpp"
#include "../text/vocabulary.hpp"

#include <cmath>
#include <limits>
#include <numbers>
#include <optional>

namespace edgequant::inline EDGEQUANT_ABI {

/// Llama-3's stretched RoPE frequencies.
struct llama3_rope {
  double factor = 1, low_frequency_factor = 1, high_frequency_factor = 4;
  std::uint64_t original_context = 8192; ///< tokens
};

struct llama_config : config_tokens {
  std::uint64_t hidden_size = 0, feed_forward_size = 0, layers = 0, heads = 0, kv_heads = 0;
  std::uint64_t head_size = 0;
  std::uint64_t context = 2048; ///< tokens
  double rms_epsilon = 1e-6, rope_base = 10000;
  double linear_rope_factor = 1; ///< positions are divided by it
  std::optional<llama3_rope> stretched_rope;
  bool tied_embeddings = false;
};

/// The model_type of a config.json, or an empty string.
[[nodiscard]] std::string model_type_of(const nlohmann::json& config);

/// Reads Hugging Face's fields; `place` names the file. bad_file with the field for a missing one,
/// a value of the wrong type or beyond the range of GGUF's u32 or f32, for sizes that contradict
/// each other, and for RoPE scaling other than linear and llama3.
[[nodiscard]] llama_config parse_llama_config(const nlohmann::json& config,
                                              const std::string& place);

/// The `llama.` keys that llama.cpp needs.
void set_llama_keys(gguf_metadata& metadata, const llama_config& config);

/// Divisors of the RoPE frequencies, head_size / 2 floats: GGUF's rope_freqs.weight. Source: the
/// llama3 rule of Hugging Face's modeling_rope_utils.
[[nodiscard]] std::vector<float> rope_divisors(const llama_config& config);

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

/// A token id, or the first of a list of them. Some files say -1 for none.
inline std::optional<std::uint64_t> token_field(const json_fields& fields, const char* name) {
  const auto* value = fields.find(name);
  if (value != nullptr && value->is_array() && !value->empty()) value = &value->front();
  if (value == nullptr || value->is_array()) return std::nullopt;
  if (!value->is_number_integer()) fields.refuse(name, "expected a token's number");
  return unsigned_value(*value);
}

inline void read_rope(const json_fields& fields, const std::string& place, llama_config& config) {
  config.rope_base = fields.positive("rope_theta").value_or(config.rope_base);
  // Older files have rope_scaling beside rope_theta, newer ones both in rope_parameters.
  const auto* scaling = fields.find("rope_scaling");
  if (scaling == nullptr) scaling = fields.find("rope_parameters");
  if (scaling == nullptr) return;
  const json_fields rope(*scaling, place + ": RoPE scaling");
  config.rope_base = rope.positive("rope_theta").value_or(config.rope_base);
  auto type = rope.text("rope_type");
  if (!type) type = rope.text("type");
  const std::string name = type.value_or("default");
  if (name == "linear") {
    config.linear_rope_factor = rope.positive("factor").value_or(1);
  } else if (name == "llama3") {
    llama3_rope stretched;
    stretched.factor = rope.positive("factor").value_or(8);
    stretched.low_frequency_factor = rope.positive("low_freq_factor").value_or(1);
    stretched.high_frequency_factor = rope.positive("high_freq_factor").value_or(4);
    stretched.original_context = rope.size("original_max_position_embeddings").value_or(8192);
    if (stretched.high_frequency_factor <= stretched.low_frequency_factor)
      rope.refuse("high_freq_factor", "expected more than low_freq_factor");
    config.stretched_rope = stretched;
  } else if (name != "default") {
    rope.refuse("rope_type", "'" + escaped(name) + "' is not supported; linear and llama3 are");
  }
}

} // namespace model::detail

inline std::string model_type_of(const nlohmann::json& config) {
  if (!config.is_object()) return {};
  const auto type = config.find("model_type");
  return type != config.end() && type->is_string() ? type->get<std::string>() : std::string{};
}

inline llama_config parse_llama_config(const nlohmann::json& json, const std::string& place) {
  const model::detail::json_fields fields(json, place);
  llama_config config;
  config.hidden_size = fields.required_size("hidden_size");
  config.feed_forward_size = fields.required_size("intermediate_size");
  config.layers = fields.required_size("num_hidden_layers");
  config.heads = fields.required_size("num_attention_heads");
  config.kv_heads = fields.size("num_key_value_heads").value_or(config.heads);
  config.vocabulary = fields.required_size("vocab_size");
  config.context = fields.size("max_position_embeddings").value_or(config.context);
  config.rms_epsilon = fields.positive("rms_norm_eps").value_or(config.rms_epsilon);
  const auto head_size = fields.size("head_dim");
  if (!head_size && config.hidden_size % config.heads != 0)
    fields.refuse("num_attention_heads", "hidden_size is no multiple of it");
  config.head_size = head_size.value_or(config.hidden_size / config.heads);
  if (config.head_size % 2 != 0) fields.refuse("head_dim", "an odd head size has no RoPE pairs");
  if (config.head_size > model::detail::most_head_size)
    fields.refuse("head_dim", "more than " + std::to_string(model::detail::most_head_size));
  if (config.heads % config.kv_heads != 0)
    fields.refuse("num_key_value_heads", "num_attention_heads is no multiple of it");
  config.bos_token = model::detail::token_field(fields, "bos_token_id");
  config.eos_token = model::detail::token_field(fields, "eos_token_id");
  config.tied_embeddings = fields.flag("tie_word_embeddings").value_or(false);
  model::detail::read_rope(fields, place, config);
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

inline std::vector<float> rope_divisors(const llama_config& config) {
  if (!config.stretched_rope) return {};
  const llama3_rope& rope = *config.stretched_rope;
  const auto context = static_cast<double>(rope.original_context);
  std::vector<float> divisors;
  for (std::uint64_t i = 0; i < config.head_size; i += 2) {
    const double exponent = static_cast<double>(i) / static_cast<double>(config.head_size);
    const double wavelength = 2 * std::numbers::pi * std::pow(config.rope_base, exponent);
    double divisor = 1;
    if (wavelength > context / rope.low_frequency_factor) {
      divisor = rope.factor;
    } else if (wavelength > context / rope.high_frequency_factor) {
      const double smooth = (context / wavelength - rope.low_frequency_factor) /
                            (rope.high_frequency_factor - rope.low_frequency_factor);
      divisor = 1 / ((1 - smooth) / rope.factor + smooth);
    }
    divisors.push_back(static_cast<float>(divisor));
  }
  return divisors;
}

} // namespace edgequant::inline EDGEQUANT_ABI
