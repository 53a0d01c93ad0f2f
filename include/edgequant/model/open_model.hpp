// SPDX-License-Identifier: MIT
/// One door for every kind of model file: GGUF, safetensors, a checkpoint folder.
#pragma once

#include "../io/safetensors.hpp"
#include "../io/split_gguf.hpp"
#include "../text/tokenizer_config.hpp"
#include "checkpoint_keys.hpp"
#include "checkpoint_tensors.hpp"

#include <filesystem>

namespace edgequant::inline EDGEQUANT_ABI {

/// Opens a model for compression. Nothing of the weights is read yet.
///
/// - A GGUF file keeps its metadata, names and order. Of a split model the first part stands for
///   all: they are joined as read_model_gguf() says.
/// - A safetensors file or folder with a config.json of a row of architecture_table beside it is a
///   checkpoint: it becomes a GGUF model of that row with all metadata, its vocabulary from
///   tokenizer.model or tokenizer.json (the first is preferred), and tensors in GGUF's order.
///   Without either it has no vocabulary, and a note says so.
/// - Other safetensors keep their names; a note says so, and that no engine will run the file.
///
/// What the checkpoint's files say (config.json, generation_config.json, tokenizer_config.json,
/// tokenizer.json, added_tokens.json, chat_template.jinja) and the GGUF cannot hold is refused,
/// or named in a note where it does not change what the network computes.
///
/// Errors: io_error for what cannot be opened, bad_file for what contradicts its format, each with
/// file, tensor or field.
[[nodiscard]] inline model_source open_model(const std::filesystem::path& path);

namespace model::detail {

inline constexpr std::uint64_t config_limit = 16 << 20; ///< bytes of a config.json

/// Whether the folder lists this file. One that leads nowhere counts: to open it is then an error,
/// where a model without its config.json would quietly be another model.
[[nodiscard]] inline bool is_named(const std::filesystem::path& path) {
  std::error_code error;
  return std::filesystem::exists(std::filesystem::symlink_status(path, error));
}

[[nodiscard]] inline model_source open_gguf(const std::filesystem::path& path) {
  gguf_file file = read_model_gguf(path);
  model_source source{place_of(path), std::move(file.metadata), {}, {}};
  for (auto& tensor : file.tensors) source.tensors.push_back({std::move(tensor), 0});
  return source;
}

/// The folder's own name, also for "." and "folder/".
[[nodiscard]] inline std::string name_of_folder(const std::filesystem::path& folder) {
  std::error_code error;
  const auto resolved = std::filesystem::canonical(folder, error);
  return (error ? folder : resolved).filename().string();
}

inline void add_vector(model_source& source, const char* name, std::span<const float> values) {
  if (values.empty()) return;
  const auto bytes = std::as_bytes(values);
  source.tensors.push_back(
      {make_tensor(name, {values.size()}, format::f32, {bytes.begin(), bytes.end()}), 0});
}

inline void add_rope_divisors(const checkpoint_config& config, model_source& source) {
  add_vector(source, "rope_freqs.weight", rope_divisors(config));
  if (!config.rope.longrope) return;
  const auto floats = [](const std::vector<double>& values) {
    return std::vector<float>(values.begin(), values.end());
  };
  add_vector(source, "rope_factors_long.weight", floats(config.rope.longrope->long_factors));
  add_vector(source, "rope_factors_short.weight", floats(config.rope.longrope->short_factors));
}

/// Reads a JSON file of the folder and gives it to `use` with its place, if it is there.
template <class Use>
void read_if_named(const std::filesystem::path& path, std::uint64_t limit, Use use) {
  if (is_named(path)) use(read_text_file(path, limit), place_of(path));
}

/// The vocabulary of tokenizer.model, with what tokenizer.json adds, or that of tokenizer.json.
inline void read_words(const std::filesystem::path& folder, checkpoint_vocabulary& v) {
  const auto pieces = folder / "tokenizer.model", json = folder / "tokenizer.json";
  if (!is_named(pieces)) {
    const auto tokenizer = read_tokenizer_json(json, v.tokens.vocabulary);
    v.words = to_vocabulary(tokenizer);
    v.notes = tokenizer.notes;
    if (tokenizer.around) apply_template(v, *tokenizer.around, place_of(json));
    return;
  }
  const auto model = read_sentencepiece(pieces);
  v.words = to_vocabulary(model);
  for (const auto& note : model.notes) v.notes.push_back("tokenizer.model " + note);
  if (v.words.tokens.size() > v.tokens.vocabulary)
    fail(error_code::bad_file, place_of(pieces),
         counted(v.words.tokens.size(), "piece") + " for a vocabulary of " +
             std::to_string(v.tokens.vocabulary));
  read_if_named(folder / "added_tokens.json", config_limit, [&](const auto& text, const auto& at) {
    apply_added_tokens(v, parse_json(text, at), at);
  });
  read_if_named(json, 256u << 20, [&](const auto& text, const auto& at) {
    const auto [added, around] = parse_tokenizer_additions(text, at);
    for (const auto& token : added) add_token(v, token, at);
    if (around) apply_template(v, *around, at);
  });
}

/// Files beside the vocabulary, in the order in which the later ones have more to say.
inline void read_vocabulary_files(const std::filesystem::path& folder, checkpoint_vocabulary& v) {
  read_if_named(folder / "generation_config.json", config_limit,
                [&](const auto& text, const auto& at) {
                  apply_generation_config(v, parse_json(text, at), at);
                });
  read_if_named(folder / "tokenizer_config.json", 64u << 20, [&](const auto& text, const auto& at) {
    apply_tokenizer_config(v, parse_json(text, at), at);
  });
  read_if_named(folder / "chat_template.jinja", config_limit, [&](const auto& text, const auto&) {
    std::erase_if(v.chat_templates, [](const auto& entry) { return entry.first.empty(); });
    v.chat_templates.emplace_back("", text);
  });
}

inline void add_vocabulary(const std::filesystem::path& folder, const checkpoint_config& config,
                           model_source& source) {
  if (!is_named(folder / "tokenizer.model") && !is_named(folder / "tokenizer.json")) {
    set_no_vocabulary(source.metadata);
    source.notes.push_back(
        "no tokenizer.model or tokenizer.json beside config.json: the file has no vocabulary");
    return;
  }
  checkpoint_vocabulary v;
  v.tokens = config;
  read_words(folder, v);
  read_vocabulary_files(folder, v);
  const auto place =
      is_named(folder / "tokenizer.model") ? folder / "tokenizer.model" : folder / "tokenizer.json";
  auto notes = set_vocabulary_keys(source.metadata, std::move(v.words), v.tokens, place_of(place));
  set_chat_templates(source.metadata, v);
  source.notes.insert(source.notes.end(), v.notes.begin(), v.notes.end());
  source.notes.insert(source.notes.end(), notes.begin(), notes.end());
}

[[nodiscard]] inline model_source open_checkpoint(safetensors_model&& files, model_source source,
                                                  const nlohmann::json& json,
                                                  const std::string& place) {
  checkpoint_config config = parse_checkpoint_config(json, place);
  source.notes = config.notes;
  source.tensors = map_checkpoint_tensors(files.tensors, config, source.name, source.notes);
  add_rope_divisors(config, source);
  set_network_keys(source.metadata, config);
  source.metadata.set("general.name", name_of_folder(files.folder));
  add_vocabulary(files.folder, config, source);
  return source;
}

[[nodiscard]] inline model_source open_safetensors(const std::filesystem::path& path) {
  safetensors_model files = read_safetensors(path);
  model_source source{place_of(path), gguf_metadata(place_of(path)), {}, {}};
  const auto config_path = files.folder / "config.json";
  std::string type = "unknown";
  if (is_named(config_path)) {
    const auto place = place_of(config_path);
    const auto json = parse_json(read_text_file(config_path, config_limit), place);
    type = model_type_of(json);
    if (const auto* family = find_model_type(type)) {
      if (family->expert_biases)
        fail(error_code::bad_file, place,
             "checkpoints of " + type + " are not converted; its GGUF files are read");
      return open_checkpoint(std::move(files), std::move(source), json, place);
    }
    source.notes.push_back("config.json is of model type '" + escaped(type) +
                           "', which is not known: tensors keep their names, and no engine will "
                           "run the file");
  } else {
    source.notes.push_back(
        "no config.json beside the tensors: they keep their names, and no engine "
        "will run the file");
  }
  source.metadata.set("general.architecture", type.empty() ? "unknown" : type);
  for (auto& tensor : files.tensors) source.tensors.push_back({std::move(tensor), 0});
  return source;
}

[[nodiscard]] inline bool begins_as_gguf(const std::filesystem::path& path) {
  const mapped_file file(path);
  return file.bytes().size() >= 4 && std::memcmp(file.bytes().data(), "GGUF", 4) == 0;
}

[[nodiscard]] inline model_source open_by_kind(const std::filesystem::path& path) {
  std::error_code error; // the open that follows says it better
  if (std::filesystem::is_directory(path, error)) return open_safetensors(path);
  if (path.filename() == "model.safetensors.index.json")
    return open_safetensors(path.has_parent_path() ? path.parent_path() : ".");
  if (begins_as_gguf(path)) return open_gguf(path);
  if (path.extension() == ".gguf") return open_gguf(path); // for its error message
  if (path.extension() == ".safetensors") return open_safetensors(path);
  fail(error_code::bad_file, place_of(path), "neither a GGUF nor a safetensors file");
}

} // namespace model::detail

inline model_source open_model(const std::filesystem::path& path) {
  model_source source = model::detail::open_by_kind(path);
  source.path = path;
  return source;
}

} // namespace edgequant::inline EDGEQUANT_ABI
