// SPDX-License-Identifier: MIT
/// What a GGUF file says of its network: sizes, and what its architecture does differently.
#pragma once

#include "../io/gguf_metadata.hpp"

#include <cstdint>
#include <string>
#include <string_view>

namespace edgequant::inline EDGEQUANT_ABI {

/// Which values of a head RoPE turns together.
enum class rope_order {
  pairs,  ///< 2i and 2i + 1
  halves, ///< i and i + size / 2
};

/// A row an architecture: how it differs from Llama. Source: the modeling files of Hugging Face
/// transformers; the counts of parameters that follow equal the published ones.
struct architecture_row {
  std::string_view name;       ///< general.architecture, and the prefix of its keys
  std::string_view model_type; ///< of config.json
  rope_order rope = rope_order::halves;
  bool qkv_bias = false;        ///< q, k and v have biases; where not, they may
  bool qk_norms = false;        ///< a norm of head_size for q and one for k
  bool post_norms = false;      ///< norms behind attention and feed-forward too
  bool tied_embeddings = false; ///< where config.json does not say
  std::uint64_t head_size = 0;  ///< likewise; 0: hidden_size / heads
  bool runs = false;            ///< the built-in engine runs it
};

/// Phi-3 keeps q, k and v in one matrix, gate and up in another: no other number of values.
inline constexpr architecture_row architecture_table[] = {
    {"llama", "llama", rope_order::pairs, false, false, false, false, 0, true},
    {"llama", "mistral", rope_order::pairs, false, false, false, false, 0, true},
    {"qwen2", "qwen2", rope_order::halves, true, false, false, false, 0, true},
    {"qwen3", "qwen3", rope_order::halves, false, true, false, false, 128},
    {"phi3", "phi3"},
    {"gemma", "gemma", rope_order::halves, false, false, false, true, 256},
    {"gemma2", "gemma2", rope_order::halves, false, false, true, true, 256},
    {"gemma3", "gemma3_text", rope_order::halves, false, true, true, true, 256},
    {"gemma3", "gemma3", rope_order::halves, false, true, true, true, 256},
};

/// The first row of a general.architecture, or null.
[[nodiscard]] constexpr const architecture_row* find_architecture(std::string_view name) noexcept {
  for (const auto& row : architecture_table)
    if (row.name == name) return &row;
  return nullptr;
}

struct model_shape {
  const architecture_row* architecture = nullptr;
  std::size_t hidden = 0, feed_forward = 0, layers = 0;
  std::size_t heads = 0, kv_heads = 0, head_size = 0;
  std::size_t rope_size = 0; ///< values of a head that RoPE turns
  std::size_t context = 0;   ///< tokens
  float rms_epsilon = 0;
  double rope_base = 10000;
  double rope_scale = 1; ///< positions are divided by it
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
    const auto value = equal_sizes(name);
    if (value && (*value == 0 || *value > 0x7fffffff)) refuse(name, "expected 1 to 2^31 - 1");
    return value;
  }
  /// An integer, or an array of one a layer that are all the same.
  [[nodiscard]] std::optional<std::uint64_t> equal_sizes(const char* name) const {
    const auto* item = metadata_.find(prefix_ + name);
    if (item == nullptr || item->type != gguf_type::array)
      return metadata_.get_uint(prefix_ + name);
    const auto sizes = *metadata_.get_ints(prefix_ + name);
    const auto layers = metadata_.get_uint(prefix_ + "block_count");
    if (sizes.empty() || sizes.size() != layers) refuse(name, "expected one number a layer");
    for (const auto size : sizes)
      if (size != sizes[0]) refuse(name, "layers of different sizes cannot be run");
    return sizes[0] < 0 ? 0 : static_cast<std::uint64_t>(sizes[0]);
  }
  [[nodiscard]] double positive(const char* name, std::optional<double> otherwise) const {
    const auto value = metadata_.get_float(prefix_ + name);
    if (!value && !otherwise) refuse(name, "the key is missing");
    const double number = value.value_or(otherwise.value_or(0));
    if (!(number > 0 && number <= 3e38)) refuse(name, "expected a positive number");
    return number;
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
  const auto* found = find_architecture(*name);
  if (found != nullptr && found->runs) return *found;
  std::string known;
  for (const auto& row : architecture_table)
    if (row.runs && find_architecture(row.name) == &row) // the first of its name
      known += (known.empty() ? "" : " and ") + std::string(row.name);
  fail(error_code::bad_file, place, "'" + escaped(*name) + "' cannot be run; " + known + " can");
}

} // namespace model::detail

inline model_shape read_model_shape(const gguf_metadata& metadata) {
  model_shape shape;
  shape.architecture = &model::detail::architecture_of(metadata);
  const model::detail::shape_reader keys(metadata, shape.architecture->name);
  shape.hidden = keys.size("embedding_length");
  shape.feed_forward = keys.size("feed_forward_length");
  shape.layers = keys.size("block_count");
  shape.context = keys.size("context_length");
  shape.heads = keys.size("attention.head_count");
  shape.kv_heads = keys.optional_size("attention.head_count_kv").value_or(shape.heads);
  if (shape.heads % shape.kv_heads != 0)
    keys.refuse("attention.head_count_kv", "attention.head_count is no multiple of it");
  const auto head_size = keys.optional_size("attention.key_length");
  if (!head_size && shape.hidden % shape.heads != 0)
    keys.refuse("attention.head_count", "embedding_length is no multiple of it");
  shape.head_size = head_size.value_or(shape.hidden / shape.heads);
  if (keys.optional_size("attention.value_length").value_or(shape.head_size) != shape.head_size)
    keys.refuse("attention.value_length", "another size than that of keys cannot be run");
  shape.rope_size = keys.optional_size("rope.dimension_count").value_or(shape.head_size);
  if (shape.rope_size % 2 != 0 || shape.rope_size > shape.head_size)
    keys.refuse("rope.dimension_count", "expected an even number up to the head size");
  shape.rms_epsilon = static_cast<float>(keys.positive("attention.layer_norm_rms_epsilon", {}));
  shape.rope_base = keys.positive("rope.freq_base", 10000.0);
  const auto scaling = keys.text("rope.scaling.type").value_or("none");
  if (scaling == "linear")
    shape.rope_scale = keys.positive("rope.scaling.factor", 1.0);
  else if (scaling != "none")
    keys.refuse("rope.scaling.type", "'" + escaped(scaling) + "' cannot be run; linear can");
  return shape;
}

} // namespace edgequant::inline EDGEQUANT_ABI
