// SPDX-License-Identifier: MIT
/// A checkpoint's config.json.
#pragma once

#include "../text/tokenizer_config.hpp"
#include "architecture.hpp"
#include "config_fields.hpp"
#include "rope_config.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>

namespace edgequant::inline EDGEQUANT_ABI {

/// The sizes of a layer that differs from the others.
struct checkpoint_layer {
  std::uint64_t heads = 0, kv_heads = 0, feed_forward_size = 0;
};

struct checkpoint_config : config_tokens {
  const architecture_row* family = nullptr;
  std::uint64_t hidden_size = 0, feed_forward_size = 0, layers = 0, heads = 0, kv_heads = 0;
  std::uint64_t head_size = 0;
  std::uint64_t context = 2048;                ///< tokens
  std::uint64_t experts = 0, experts_used = 0; ///< whose length is feed_forward_size
  std::uint64_t dense_feed_forward_size = 0;   ///< beside experts: said, and used by no layer
  double rms_epsilon = 1e-6;
  rope_config rope;
  std::optional<rope_config> local_rope; ///< of layers with a window
  std::uint64_t window = 0;              ///< tokens; 0: none
  std::vector<bool> local;               ///< which layers have the window; empty: as the family's
  double attention_scale = 0;            ///< what queries are multiplied by; 0: as the family's
  std::optional<double> attention_softcap, logit_softcap;
  double embedding_scale = 1, residual_scale = 1, logit_divisor = 1;
  std::vector<checkpoint_layer> sizes; ///< one a layer where they differ, else empty
  bool tied_embeddings = false;
  std::optional<bool> attention_bias; ///< q, k, v and o have biases; nothing: the file is silent
  std::optional<bool> mlp_bias;       ///< likewise gate, up and down
  std::vector<std::string> notes;     ///< one line each: fields that are unknown or have no effect

  /// Values of a head that RoPE turns.
  [[nodiscard]] std::uint64_t rope_size() const noexcept {
    return static_cast<std::uint64_t>(static_cast<double>(head_size) * rope.rotary_share);
  }
  [[nodiscard]] checkpoint_layer sizes_of(std::uint64_t layer) const {
    return sizes.empty() ? checkpoint_layer{heads, kv_heads, feed_forward_size} : sizes[layer];
  }
};

/// The model_type of a config.json, or an empty string.
[[nodiscard]] std::string model_type_of(const nlohmann::json& config);

/// The row of a model_type, or null.
[[nodiscard]] constexpr const architecture_row*
find_model_type(std::string_view model_type) noexcept {
  for (const auto& row : architecture_table)
    if (row.model_type == model_type) return &row;
  return nullptr;
}

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

/// Far beyond any model, as those of model_shape.
inline constexpr std::uint64_t most_config_layers = 1 << 16;
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
