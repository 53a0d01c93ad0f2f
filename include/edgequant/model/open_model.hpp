// SPDX-License-Identifier: MIT
/// One door for every kind of model file: GGUF, safetensors, a checkpoint folder.
#pragma once

#include "../io/safetensors.hpp"
#include "../io/split_gguf.hpp"
#include "../text/vocabulary.hpp"
#include "llama_tensors.hpp"

#include <filesystem>

namespace edgequant::inline EDGEQUANT_ABI {

/// Opens a model for compression. Nothing of the weights is read yet.
///
/// - A GGUF file keeps its metadata, names and order. Of a split model the first part stands for
///   all: they are joined as read_model_gguf() says.
/// - A safetensors file or folder with a Llama config.json beside it is a checkpoint: it becomes a
///   GGUF `llama` model with all metadata, its vocabulary from tokenizer.model or tokenizer.json
///   (the first is preferred), and q and k rows in GGUF's order. Without either it has no
///   vocabulary, and a note says so.
/// - Other safetensors keep their names; a note says so where a config.json is of another kind.
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
  const auto whole = std::filesystem::canonical(folder, error);
  return (error ? folder : whole).filename().string();
}

inline void add_rope_divisors(const llama_config& config, model_source& source) {
  const auto divisors = rope_divisors(config);
  if (divisors.empty()) return;
  const auto bytes = std::as_bytes(std::span(divisors));
  source.tensors.push_back({make_tensor("rope_freqs.weight", {divisors.size()}, format::f32,
                                        {bytes.begin(), bytes.end()}),
                            0});
}

inline void add_vocabulary(const std::filesystem::path& folder, const llama_config& config,
                           model_source& source) {
  const auto pieces = folder / "tokenizer.model", json = folder / "tokenizer.json";
  if (is_named(pieces)) {
    set_vocabulary_keys(source.metadata, to_vocabulary(read_sentencepiece(pieces)), config,
                        place_of(pieces));
  } else if (is_named(json)) {
    const auto tokenizer = read_tokenizer_json(json, config.vocabulary);
    set_vocabulary_keys(source.metadata, to_vocabulary(tokenizer), config, place_of(json));
    if (tokenizer.byte_level && tokenizer.pre_tokenizer.empty())
      source.notes.push_back("tokenizer.json cuts text by a rule that GGUF has no name for here: "
                             "tokenizer.ggml.pre is 'default'");
  } else {
    set_no_vocabulary(source.metadata);
    source.notes.push_back(
        "no tokenizer.model or tokenizer.json beside config.json: the file has no vocabulary");
  }
}

[[nodiscard]] inline model_source open_checkpoint(safetensors_model&& files, model_source source,
                                                  const nlohmann::json& json,
                                                  const std::string& place) {
  llama_config config = parse_llama_config(json, place);
  source.tensors = map_llama_tensors(files.tensors, config, source.name, source.notes);
  add_rope_divisors(config, source);
  set_llama_keys(source.metadata, config);
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
    if (type == "llama") return open_checkpoint(std::move(files), std::move(source), json, place);
    source.notes.push_back("config.json is of model type '" + escaped(type) +
                           "', not llama: tensors keep their names");
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
