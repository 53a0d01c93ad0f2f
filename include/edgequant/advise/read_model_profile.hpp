// SPDX-License-Identifier: MIT
/// A model's profile from what describes it: a GGUF, a config.json, a profile in JSON.
#pragma once

#include "../io/split_gguf.hpp"
#include "../model/checkpoint_config.hpp"
#include "../model/json_fields.hpp"
#include "../model/open_model.hpp"
#include "../model/weights.hpp"
#include "layer_caches.hpp"
#include "model_json.hpp"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>

namespace edgequant::inline EDGEQUANT_ABI {

/// Reads `path`, whose kind its content tells: a GGUF, a Hugging Face config.json, a folder with
/// one, or a profile as parse_model() takes it. bad_file for anything else, and what the functions
/// below and parse_model() say; io_error for what cannot be opened.
[[nodiscard]] model_profile read_model_profile(const std::filesystem::path& path);

/// The profile of a GGUF of any architecture that has the usual keys: block_count,
/// embedding_length, feed_forward_length, context_length, attention.head_count and head_count_kv,
/// key_length and value_length (of two sizes, or of one number a layer, the largest counts).
/// layer_caches follow from a head_count_kv of one number a layer, and from
/// attention.sliding_window where attention.sliding_window_pattern or window_pattern_table tells
/// which layers have it. Parameters are the values of all tensors but RoPE's divisors;
/// before.file_bytes is the file's size; stored is the format of most values if it is one of
/// blocks; built_in_refusal is what model_weights says of the file (with exceptions only).
/// bad_file, naming the key, for a missing one and for values out of range.
[[nodiscard]] model_profile profile_of(const gguf_file& file);

/// The profile of a Hugging Face config.json (or of its text_config); the parameters are computed.
/// Model types without a row in architecture_table are counted like Llama, and `source` says so.
/// built_in_refusal says why quantize_model does not convert the checkpoint (with exceptions only).
/// bad_file with the field for missing ones, for mixtures of experts and for biases that the family
/// does not have.
[[nodiscard]] model_profile profile_of_config(const nlohmann::json& config,
                                              const std::string& place, std::string name);

namespace advisor::detail {

/// Sizes of one architecture, from 1 to `most`.
class gguf_sizes {
public:
  gguf_sizes(const gguf_metadata& metadata, const std::string& architecture)
      : metadata_(metadata), prefix_(architecture + ".") {}

  /// Of an array the largest; the layers of some models differ.
  [[nodiscard]] std::optional<std::uint64_t> find(const char* name,
                                                  std::uint64_t most = most_size) const {
    const std::string key = prefix_ + name;
    const auto* item = metadata_.find(key);
    if (item == nullptr) return std::nullopt;
    std::uint64_t size = 0;
    if (item->type == gguf_type::array) {
      const auto layers = *metadata_.get_ints(key);
      for (const auto value : layers)
        if (value > 0) size = std::max(size, static_cast<std::uint64_t>(value));
    } else {
      size = *metadata_.get_uint(key);
    }
    if (size == 0 || size > most) refuse(name, "expected 1 to " + std::to_string(most));
    return size;
  }
  [[nodiscard]] std::uint64_t require(const char* name, std::uint64_t most = most_size) const {
    const auto size = find(name, most);
    if (!size) refuse(name, "the key is missing");
    return *size;
  }
  [[noreturn]] void refuse(const char* name, const std::string& problem) const {
    fail(error_code::bad_file, place_of(metadata_.place(), "key", prefix_ + name), problem);
  }

private:
  const gguf_metadata& metadata_;
  std::string prefix_;
};

/// One number a layer of an array of integers or bools; nothing if the key is missing or a single
/// number.
[[nodiscard]] inline std::optional<std::vector<std::int32_t>>
numbers_of_layers(const gguf_metadata& keys, const std::string& key, std::uint64_t layers) {
  const auto* item = keys.find(key);
  if (item == nullptr || item->type != gguf_type::array) return std::nullopt;
  byte_reader reader(item->value, place_of(keys.place(), "key", key));
  std::vector<std::int32_t> numbers;
  if (read_gguf_type(reader) == gguf_type::boolean) {
    numbers.resize(static_cast<std::size_t>(reader.read<std::uint64_t>("an array length")));
    for (auto& number : numbers) number = reader.read<std::uint8_t>("a bool");
  } else {
    numbers = *keys.get_ints(key);
  }
  if (numbers.size() != layers)
    fail(error_code::bad_file, reader.place(),
         counted(numbers.size(), "number") + " for " + counted(layers, "layer"));
  return numbers;
}

/// Gives layers their windows, where the file or the architecture tells which have one.
inline void read_gguf_windows(const gguf_sizes& sizes, const gguf_metadata& keys,
                              const std::string& architecture, std::vector<layer_cache>& layers) {
  const auto window = sizes.find("attention.sliding_window");
  if (!window) return;
  const std::string key = architecture + ".attention.sliding_window_pattern";
  if (const auto flags = numbers_of_layers(keys, key, layers.size())) {
    for (std::size_t i = 0; i < layers.size(); ++i)
      if ((*flags)[i] != 0) layers[i].window = *window;
  } else {
    const auto period = keys.contains(key) ? keys.get_uint(key) : std::nullopt;
    set_windows(layers, *window, period.value_or(window_period_of(architecture)));
  }
}

[[nodiscard]] inline std::vector<layer_cache>
layer_caches_of(const gguf_sizes& sizes, const gguf_metadata& keys, const model_profile& model) {
  std::vector<layer_cache> layers(model.layers, {model.kv_heads, 0});
  const auto heads =
      numbers_of_layers(keys, model.architecture + ".attention.head_count_kv", model.layers);
  for (std::size_t i = 0; heads && i < layers.size(); ++i) {
    if ((*heads)[i] < 0) sizes.refuse("attention.head_count_kv", "a negative number");
    layers[i].kv_heads = static_cast<std::uint64_t>((*heads)[i]);
  }
  read_gguf_windows(sizes, keys, model.architecture, layers);
  return unless_alike(std::move(layers));
}

/// Formats by the number of their values, the most frequent first.
[[nodiscard]] inline std::vector<format>
by_frequency(const std::map<format, std::uint64_t>& values) {
  std::vector<std::pair<format, std::uint64_t>> counts(values.begin(), values.end());
  std::stable_sort(counts.begin(), counts.end(),
                   [](const auto& a, const auto& b) { return a.second > b.second; });
  std::vector<format> formats;
  for (const auto& [type, count] : counts) formats.push_back(type);
  return formats;
}

/// What follows from the tensors: parameters (RoPE's divisors are none), vocabulary, formats.
inline void count_tensors(const gguf_file& file, model_profile& model) {
  std::map<format, std::uint64_t> values, of_matrices;
  model.tied_embeddings = true;
  for (const auto& tensor : file.tensors) {
    if (tensor.name.starts_with("rope_")) continue;
    model.parameters += tensor.values();
    values[tensor.type] += tensor.values();
    if (tensor.dims.size() > 1) of_matrices[tensor.type] += tensor.values();
    if (tensor.name == "output.weight") model.tied_embeddings = false;
    if (tensor.name == "token_embd.weight") model.vocabulary = tensor.rows();
  }
  const auto formats = by_frequency(values);
  if (!formats.empty() && is_block_format(formats.front())) model.stored = formats.front();
  model.matrix_formats = by_frequency(of_matrices);
}

/// Calls call() and returns the problem that it throws, without the place where it begins with
/// `place`. Without exceptions nothing is called.
template <class Call>
[[nodiscard]] std::string refusal_of([[maybe_unused]] const std::string& place,
                                     [[maybe_unused]] Call call) {
#if defined(__cpp_exceptions)
  try {
    call();
  } catch (const exception& error) {
    const std::string text = error.what();
    return text.starts_with(place + ": ") ? text.substr(place.size() + 2) : text;
  }
#endif
  return {};
}

/// Windows of a config.json, for the architectures of window_pattern_table.
inline void read_config_windows(const model::detail::json_fields& fields, model_profile& model) {
  const auto window = fields.integer("sliding_window");
  auto period = window_period_of(model.architecture);
  if (!window || period == 0) return;
  period = fields.integer("sliding_window_pattern").value_or(period);
  std::vector<layer_cache> layers(model.layers, {model.kv_heads, 0});
  const auto* types = fields.find("layer_types");
  if (types == nullptr) {
    set_windows(layers, *window, period);
  } else {
    if (!types->is_array() || types->size() != layers.size())
      fields.refuse("layer_types", "expected a list with a type for each of the layers");
    for (std::size_t i = 0; i < layers.size(); ++i)
      if ((*types)[i] == "sliding_attention") layers[i].window = *window;
  }
  model.layer_caches = unless_alike(std::move(layers));
}

inline void refuse_other_parameters(const model::detail::json_fields& fields,
                                    const architecture_row& family) {
  for (const char* name : {"num_local_experts", "num_experts", "n_routed_experts"})
    if (fields.integer(name).value_or(0) > 1)
      fields.refuse(name, "a mixture of experts cannot be counted; its GGUF can");
  for (const char* name : {"attention_bias", "mlp_bias"})
    if (fields.flag(name).value_or(false) && !family.qkv_bias)
      fields.refuse(name, "these biases are not counted; a GGUF's are");
}

} // namespace advisor::detail

inline model_profile profile_of(const gguf_file& file) {
  const auto& keys = file.metadata;
  refuse_split_part(keys);
  const auto architecture = keys.get_string("general.architecture");
  if (!architecture)
    fail(error_code::bad_file, place_of(keys.place(), "key", "general.architecture"),
         "the key is missing");
  const advisor::detail::gguf_sizes sizes(keys, *architecture);
  model_profile model;
  model.architecture = *architecture;
  advisor::detail::count_tensors(file, model);
  const auto name = keys.get_string("general.name").value_or("");
  model.name = name.empty() ? std::filesystem::path(keys.place()).stem().string() : name;
  model.layers = sizes.require("block_count", most_layers);
  model.hidden_size = sizes.require("embedding_length");
  model.feed_forward_size = sizes.require("feed_forward_length");
  model.context_tokens = sizes.require("context_length");
  model.heads = sizes.require("attention.head_count");
  model.kv_heads = sizes.find("attention.head_count_kv").value_or(model.heads);
  auto head_size = sizes.find("attention.key_length");
  const auto value_size = sizes.find("attention.value_length");
  if (value_size && (!head_size || *value_size > *head_size)) head_size = value_size;
  if (!head_size && model.hidden_size % model.heads != 0)
    sizes.refuse("attention.head_count", "embedding_length is no multiple of it");
  model.head_size = head_size.value_or(model.hidden_size / model.heads);
  if (model.vocabulary == 0) model.vocabulary = sizes.require("vocab_size");
  model.layer_caches = advisor::detail::layer_caches_of(sizes, keys, model);
  model.experts = keys.get_uint(*architecture + ".expert_count").value_or(0);
  if (file.file_bytes != 0) model.before.file_bytes = file.file_bytes;
  model.file_kind = "gguf";
  model.built_in_refusal =
      advisor::detail::refusal_of(keys.place(), [&] { (void)model_weights(file); });
  model.source = keys.place();
  return model;
}

inline model_profile profile_of_config(const nlohmann::json& config, const std::string& place,
                                       std::string name) {
  if (config.is_object() && config.contains("text_config") && config["text_config"].is_object())
    return profile_of_config(config["text_config"], place + ": text_config", std::move(name));
  const model::detail::json_fields fields(config, place);
  const auto type = model_type_of(config);
  const auto* row = find_model_type(type);
  const architecture_row& family = row != nullptr ? *row : architecture_table[0];
  advisor::detail::refuse_other_parameters(fields, family);
  model_profile model;
  model.name = std::move(name);
  model.architecture = row != nullptr || type.empty() ? std::string(family.name) : type;
  model.hidden_size = fields.required_size("hidden_size");
  model.feed_forward_size = fields.required_size("intermediate_size");
  model.layers = fields.required_size("num_hidden_layers");
  if (model.layers > most_layers) fields.refuse("num_hidden_layers", "more than 65536");
  model.heads = fields.required_size("num_attention_heads");
  model.kv_heads = fields.size("num_key_value_heads").value_or(model.heads);
  model.vocabulary = fields.required_size("vocab_size");
  model.context_tokens = fields.size("max_position_embeddings").value_or(2048);
  auto head_size = fields.size("head_dim");
  if (!head_size && family.head_size != 0) head_size = family.head_size;
  if (!head_size && model.hidden_size % model.heads != 0)
    fields.refuse("num_attention_heads", "hidden_size is no multiple of it");
  model.head_size = head_size.value_or(model.hidden_size / model.heads);
  model.tied_embeddings = fields.flag("tie_word_embeddings").value_or(family.tied_embeddings);
  model.source = place;
  if (row == nullptr) model.source += " (parameters counted like Llama's)";
  const auto count = advisor::detail::count_parameters(model);
  if (!count) fail(error_code::bad_file, place, "its sizes make no model: too many parameters");
  model.parameters = *count;
  advisor::detail::read_config_windows(fields, model);
  model.built_in_refusal =
      row != nullptr && !row->expert_biases
          ? advisor::detail::refusal_of(place,
                                        [&] { (void)parse_checkpoint_config(config, place); })
          : "checkpoints of model_type '" + escaped(type, 40) + "' are not converted";
  return model;
}

namespace advisor::detail {

/// The first bytes of a file that are not white space.
[[nodiscard]] inline std::string first_bytes(const std::filesystem::path& path) {
  const mapped_file file(path);
  auto text = as_text(file.bytes().first(std::min<std::size_t>(file.bytes().size(), 256)));
  text.remove_prefix(std::min(text.find_first_not_of(" \t\r\n"), text.size()));
  return std::string(text.substr(0, 4));
}

[[nodiscard]] inline model_profile profile_of_json(const std::filesystem::path& path) {
  const auto place = place_of(path);
  const auto json = parse_json(read_text_file(path, model::detail::config_limit), place);
  for (const char* field : {"model_type", "architectures", "num_hidden_layers", "text_config"})
    if (json.is_object() && json.contains(field)) {
      const auto folder = path.has_parent_path() ? path.parent_path() : std::filesystem::path(".");
      return profile_of_config(json, place, model::detail::name_of_folder(folder));
    }
  return parse_model(json, place);
}

} // namespace advisor::detail

inline model_profile read_model_profile(const std::filesystem::path& path) {
  std::error_code error; // the open that follows has the better message
  if (std::filesystem::is_directory(path, error))
    return advisor::detail::profile_of_json(path / "config.json");
  const auto begin = advisor::detail::first_bytes(path);
  if (begin == "GGUF" || path.extension() == ".gguf") return profile_of(read_model_gguf(path));
  if (begin.starts_with('{')) return advisor::detail::profile_of_json(path);
  fail(error_code::bad_file, place_of(path),
       "neither a GGUF, a config.json nor a model profile in JSON");
}

} // namespace edgequant::inline EDGEQUANT_ABI
