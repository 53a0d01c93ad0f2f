// SPDX-License-Identifier: MIT
/// What a GGUF file says of its network: sizes, and what differs layer by layer.
#pragma once

#include "../core/exception.hpp"
#include "../io/gguf_metadata.hpp"
#include "architecture.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace edgequant::inline EDGEQUANT_ABI {

/// A layer of a network.
struct layer_shape {
  std::size_t heads = 0, kv_heads = 0;       ///< 0: the layer has no attention
  std::size_t feed_forward = 0;              ///< of one expert; 0: it has no feed-forward network
  std::size_t experts = 0, experts_used = 0; ///< 0: its feed-forward network is one
  std::size_t window = 0; ///< tokens that a query sees, its own among them; 0: all before it
  bool has_rope = true;
};

/// YaRN: low frequencies are stretched, high ones kept. Source: Peng et al. 2023.
struct yarn_rope {
  double factor = 1;
  double original_context = 0; ///< tokens
  double beta_fast = 32, beta_slow = 1;
};

/// How RoPE turns heads.
struct rope_shape {
  double base = 10000;
  double scale = 1; ///< positions are divided by it
  std::optional<yarn_rope> yarn;
  double magnitude = 1; ///< of cosines and sines
};

struct model_shape {
  const architecture_row* architecture = nullptr;
  std::size_t hidden = 0;
  std::size_t head_size = 0;
  std::size_t rope_size = 0; ///< values of a head that RoPE turns
  std::size_t context = 0;   ///< tokens
  std::vector<layer_shape> layers;
  float rms_epsilon = 0;
  rope_shape rope, local_rope; ///< of layers that see everything, and of those with a window
  /// Tokens before RoPE was stretched: where there are LongRoPE's two lists of factors, a longer
  /// cache takes the long ones.
  std::size_t original_context = 0;
  float attention_scale = 0;                      ///< what queries are multiplied by
  float attention_softcap = 0, logit_softcap = 0; ///< 0: none
  float embedding_scale = 1, residual_scale = 1;
  float logit_divisor = 1;

  /// The largest of all layers.
  [[nodiscard]] std::size_t most(std::size_t layer_shape::*size) const noexcept {
    std::size_t largest = 0;
    for (const auto& layer : layers) largest = std::max(largest, layer.*size);
    return largest;
  }
  [[nodiscard]] const rope_shape& rope_of(const layer_shape& layer) const noexcept {
    return layer.window != 0 ? local_rope : rope;
  }
};

/// Reads the keys. bad_file, naming the key, for an unknown architecture, a missing key, and sizes
/// that are 0, beyond 2^31 or contradict each other.
[[nodiscard]] model_shape read_model_shape(const gguf_metadata& metadata);

namespace model::detail {

/// The keys of one architecture.
class shape_reader {
public:
  shape_reader(const gguf_metadata& metadata, std::string_view architecture)
      : metadata_(metadata), prefix_(std::string(architecture) + ".") {}

  [[nodiscard]] std::size_t size(const char* name) const {
    const auto value = optional_size(name);
    if (!value) refuse(name, "the key is missing");
    return *value;
  }
  [[nodiscard]] std::optional<std::size_t> optional_size(const char* name) const {
    const auto value = metadata_.get_uint(prefix_ + name);
    if (value && (*value == 0 || *value > 0x7fffffff)) refuse(name, "expected 1 to 2^31 - 1");
    return value;
  }
  /// A number of each layer: an array, or one integer for all.
  [[nodiscard]] std::optional<std::vector<std::size_t>> sizes(const char* name,
                                                              std::size_t layers) const {
    const auto* item = metadata_.find(prefix_ + name);
    if (item == nullptr) return std::nullopt;
    if (item->type != gguf_type::array) return std::vector(layers, size(name));
    std::vector<std::size_t> list;
    const auto values = *metadata_.get_ints(prefix_ + name);
    for (const auto value : values) {
      if (value < 0 || value > 0x7fffffff) refuse(name, "expected 0 to 2^31 - 1 in each layer");
      list.push_back(static_cast<std::size_t>(value));
    }
    if (list.size() != layers) refuse(name, "expected one number a layer");
    return list;
  }
  [[nodiscard]] double positive(const char* name, std::optional<double> otherwise) const {
    const auto value = metadata_.get_float(prefix_ + name);
    if (!value && !otherwise) refuse(name, "the key is missing");
    const double number = value.value_or(otherwise.value_or(0));
    if (!(number > 0 && number <= 3e38)) refuse(name, "expected a positive number");
    return number;
  }
  /// Positive, or 0 for none.
  [[nodiscard]] float cap(const char* name, float otherwise) const {
    const double number = metadata_.get_float(prefix_ + name).value_or(double{otherwise});
    if (!(number >= 0 && number <= 3e38)) refuse(name, "expected a positive number or 0");
    return static_cast<float>(number);
  }
  [[nodiscard]] const gguf_metadata::entry* find(const char* name) const {
    return metadata_.find(prefix_ + name);
  }
  [[nodiscard]] std::optional<std::uint64_t> integer(const char* name) const {
    return metadata_.get_uint(prefix_ + name);
  }
  [[nodiscard]] std::optional<std::vector<bool>> flags(const char* name) const {
    return metadata_.get_bools(prefix_ + name);
  }
  [[nodiscard]] std::optional<bool> flag(const char* name) const {
    return metadata_.get_bool(prefix_ + name);
  }
  [[nodiscard]] std::optional<std::string> text(const char* name) const {
    return metadata_.get_string(prefix_ + name);
  }
  [[noreturn]] void refuse(const char* name, const std::string& problem) const {
    fail(error_code::bad_file, place_of(metadata_.place(), "key", prefix_ + name), problem);
  }

private:
  const gguf_metadata& metadata_;
  std::string prefix_;
};

/// The row of a file that the engine runs.
inline const architecture_row& architecture_of(const gguf_metadata& metadata) {
  const auto name = metadata.get_string("general.architecture");
  const std::string place = place_of(metadata.place(), "key", "general.architecture");
  if (!name) fail(error_code::bad_file, place, "the key is missing");
  if (const auto* found = find_architecture(*name)) return *found;
  std::string known;
  for (const auto& row : architecture_table)
    if (find_architecture(row.name) == &row) // the first of its name
      known += (known.empty() ? "" : ", ") + std::string(row.name);
  fail(error_code::bad_file, place, "'" + escaped(*name) + "' cannot be run; " + known + " can");
}

inline void read_layers(const shape_reader& keys, model_shape& shape) {
  const std::size_t layers = keys.size("block_count");
  // Far more than any model has, and no more than a file can ask for in vain.
  if (layers > 1 << 16) keys.refuse("block_count", "more than 65536 layers");
  const auto required = [&](const char* name) {
    auto list = keys.sizes(name, layers);
    if (!list) keys.refuse(name, "the key is missing");
    return *list;
  };
  const bool has_experts = shape.architecture->experts;
  const std::size_t experts = has_experts ? keys.size("expert_count") : 0;
  const std::size_t used = has_experts ? keys.size("expert_used_count") : 0;
  if (used > experts) keys.refuse("expert_used_count", "more than expert_count");
  const auto feed_forward =
      required(has_experts ? "expert_feed_forward_length" : "feed_forward_length");
  const auto heads = required("attention.head_count");
  const auto kv_heads = keys.sizes("attention.head_count_kv", layers).value_or(heads);
  shape.layers.resize(layers);
  for (std::size_t i = 0; i < layers; ++i) {
    auto& layer = shape.layers[i];
    layer.feed_forward = feed_forward[i];
    layer.experts = experts, layer.experts_used = used;
    layer.heads = heads[i], layer.kv_heads = kv_heads[i];
    if (layer.heads == 0) layer.kv_heads = 0;
    if (layer.heads != 0 && layer.kv_heads == 0)
      keys.refuse("attention.head_count_kv", "0: a layer of linear attention cannot be run");
    if (layer.heads != 0 && layer.heads % layer.kv_heads != 0)
      keys.refuse("attention.head_count_kv", "attention.head_count is no multiple of it");
  }
  if (shape.most(&layer_shape::heads) == 0)
    keys.refuse("attention.head_count", "a network without attention cannot be run");
  if (shape.most(&layer_shape::feed_forward) == 0)
    keys.refuse("feed_forward_length", "a network without feed-forward layers cannot be run");
}

/// Sets windows, and which layers have RoPE.
inline void read_windows(const shape_reader& keys, model_shape& shape) {
  const auto& row = *shape.architecture;
  const bool is_exaone_32b = row.name == "exaone4" && shape.layers.size() == 64;
  const auto window = keys.integer("attention.sliding_window")
                          .value_or(is_exaone_32b ? row.checkpoint_window : row.window);
  if (window > 0x7fffffff) keys.refuse("attention.sliding_window", "expected 0 to 2^31 - 1");
  const std::size_t layers = shape.layers.size();
  std::vector<bool> local(layers, false);
  const char* pattern = "attention.sliding_window_pattern";
  if (const auto* item = keys.find(pattern); item != nullptr && item->type == gguf_type::array) {
    local = *keys.flags(pattern);
    if (local.size() != layers) keys.refuse(pattern, "expected one value a layer");
  } else {
    const auto period = keys.integer(pattern);
    if (window != 0 && window < shape.context && row.window_period == 0)
      keys.refuse("attention.sliding_window",
                  std::to_string(window) + " cannot be run; 0 or at least the context_length can");
    // 0 in the key: all layers have the window; 1: none has.
    const std::uint64_t each = period.value_or(row.window_period == 1 ? 0 : row.window_period);
    for (std::size_t i = 0; i < layers; ++i)
      local[i] = row.window_period != 0 && (each == 0 || (i + 1) % each != 0);
  }
  for (std::size_t i = 0; i < layers; ++i) {
    auto& layer = shape.layers[i];
    // A window of the whole context hides nothing; its RoPE counts all the same.
    if (window != 0 && local[i]) layer.window = window;
    if (row.rope_in_windows && window != 0) layer.has_rope = layer.window != 0;
    if (row.no_rope_period != 0) layer.has_rope = (i + 1) % row.no_rope_period != 0;
    // Granite's way to say that there is no RoPE.
    if (row.name == "granite" && keys.flag("rope.scaling.finetuned") == false)
      layer.has_rope = false;
  }
}

inline void read_rope(const shape_reader& keys, model_shape& shape) {
  const auto& row = *shape.architecture;
  auto& rope = shape.rope;
  rope.base = keys.positive("rope.freq_base", 10000.0);
  rope.magnitude = keys.positive("rope.scaling.attn_factor", 1.0);
  const auto type = keys.text("rope.scaling.type").value_or("none");
  const double factor = keys.positive("rope.scaling.factor", 1.0);
  shape.original_context =
      keys.optional_size("rope.scaling.original_context_length").value_or(shape.context);
  if (type == "linear") {
    rope.scale = factor;
  } else if (type == "yarn") {
    if (const auto ext = keys.find("rope.scaling.yarn_ext_factor");
        ext != nullptr && keys.cap("rope.scaling.yarn_ext_factor", 1) != 1)
      keys.refuse("rope.scaling.yarn_ext_factor", "another value than 1 cannot be run");
    rope.yarn = yarn_rope{factor, static_cast<double>(shape.original_context),
                          keys.positive("rope.scaling.yarn_beta_fast", 32.0),
                          keys.positive("rope.scaling.yarn_beta_slow", 1.0)};
    const auto magnitude = [&](double multiplier) {
      return factor <= 1 ? 1 : 0.1 * multiplier * std::log(factor) + 1;
    };
    const double all = keys.cap("rope.scaling.yarn_log_multiplier", 0);
    rope.magnitude *= magnitude(1) / (all != 0 ? magnitude(all) : 1);
  } else if (type != "none" && type != "longrope") { // whose factors are tensors
    keys.refuse("rope.scaling.type",
                "'" + escaped(type) + "' cannot be run; linear, yarn and longrope can");
  }
  shape.local_rope = rope;
  const double local_base = row.local_rope_base != 0 ? row.local_rope_base : rope.base;
  shape.local_rope.base = keys.positive("rope.freq_base_swa", local_base);
  if (!row.local_rope_scaled) {
    shape.local_rope.scale = shape.local_rope.magnitude = 1;
    shape.local_rope.yarn.reset();
  }
}

inline void read_scales(const shape_reader& keys, model_shape& shape) {
  const auto& row = *shape.architecture;
  const auto hidden = static_cast<double>(shape.hidden);
  double divisor = static_cast<double>(shape.head_size);
  if (shape.layers.size() == row.mean_head_layers)
    divisor = static_cast<double>(shape.hidden / shape.layers[0].heads);
  shape.attention_scale =
      static_cast<float>(keys.positive("attention.scale", 1 / std::sqrt(divisor)));
  shape.attention_softcap = keys.cap("attn_logit_softcapping", row.attention_softcap);
  shape.logit_softcap = keys.cap("final_logit_softcapping", row.logit_softcap);
  if (row.scaled_embedding) shape.embedding_scale = static_cast<float>(std::sqrt(hidden));
  if (!row.multipliers) return;
  const bool known = row.name == "granite"; // of which some files leave out what is 1
  const auto scale = [&](const char* name) {
    return static_cast<float>(
        keys.positive(name, known ? std::optional<double>(1.0) : std::nullopt));
  };
  shape.embedding_scale = scale("embedding_scale");
  shape.residual_scale = scale("residual_scale");
  shape.logit_divisor = scale("logit_scale");
}

} // namespace model::detail

inline model_shape read_model_shape(const gguf_metadata& metadata) {
  model_shape shape;
  shape.architecture = &model::detail::architecture_of(metadata);
  const model::detail::shape_reader keys(metadata, shape.architecture->name);
  shape.hidden = keys.size("embedding_length");
  shape.context = keys.size("context_length");
  model::detail::read_layers(keys, shape);
  const auto head_size = keys.optional_size("attention.key_length");
  const std::size_t heads = shape.layers[0].heads;
  if (!head_size && (heads == 0 || shape.hidden % heads != 0))
    keys.refuse("attention.head_count", "embedding_length is no multiple of it");
  shape.head_size = head_size.value_or(shape.hidden / std::max<std::size_t>(heads, 1));
  if (keys.optional_size("attention.value_length").value_or(shape.head_size) != shape.head_size)
    keys.refuse("attention.value_length", "another size than that of keys cannot be run");
  shape.rope_size = keys.optional_size("rope.dimension_count").value_or(shape.head_size);
  if (shape.rope_size % 2 != 0 || shape.rope_size > shape.head_size)
    keys.refuse("rope.dimension_count", "expected an even number up to the head size");
  shape.rms_epsilon = static_cast<float>(keys.positive("attention.layer_norm_rms_epsilon", {}));
  model::detail::read_windows(keys, shape);
  model::detail::read_rope(keys, shape);
  model::detail::read_scales(keys, shape);
  return shape;
}

} // namespace edgequant::inline EDGEQUANT_ABI
