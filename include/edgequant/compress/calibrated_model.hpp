// SPDX-License-Identifier: MIT
/// A model that is to be compressed, ready to run on the text that calibrates it.
#pragma once

#include "../system/scratch_file.hpp"
#include "../text/tokenizer.hpp"
#include "compress.hpp"
#include "layer_encoding.hpp"

namespace edgequant::inline EDGEQUANT_ABI {

struct calibration_options {
  std::filesystem::path text; ///< UTF-8; empty: none, and no tokens
  std::size_t tokens = 16384; ///< of it, from its beginning
  std::size_t context = 0;    ///< tokens of a chunk, BOS included; 0: the model's, at most 512
  /// Tokens that judge and do not calibrate: those behind. Where the text ends before, a part of
  /// the calibration tokens, at most an eighth, becomes held-out tokens.
  std::size_t held_out = 0;
};

/// Weights with the values of `source`, and the text in tokens.
struct calibrated_model {
  model_weights weights;
  calibration_text text;
  std::vector<std::int32_t> held_out = {};
};

/// Opens a model to run. A GGUF runs from its own file; what comes from safetensors is first
/// written as one to a scratch_file beside `output`, which never has a name. Errors
/// of compress(), model_weights and tokenizer; bad_argument for a text without tokens, bad_file for
/// a vocabulary without BOS.
[[nodiscard]] calibrated_model open_calibrated(const model_source& source,
                                               const std::filesystem::path& input,
                                               const std::filesystem::path& output,
                                               const calibration_options& options, unsigned threads,
                                               const progress_callback& listener = {});

/// At most so many tokens of a UTF-8 text, from its beginning, in a model's vocabulary. Errors of
/// tokenizer; bad_file, at `model`, for a vocabulary without BOS.
[[nodiscard]] calibration_text read_tokens(const model_weights& weights, const std::string& model,
                                           const std::filesystem::path& file, std::size_t most);

/// The files that a model was read from: a GGUF, or the folder of a checkpoint.
[[nodiscard]] inline std::vector<std::filesystem::path> inputs_of(const model_source& source) {
  std::error_code error;
  const auto& path = source.path;
  if (path.empty() || std::filesystem::is_directory(path, error)) return {path};
  if (path.extension() != ".safetensors" && path.extension() != ".json") return {path};
  return {path, path.has_parent_path() ? path.parent_path() : std::filesystem::path(".")};
}

/// The formats that compress() will give the source's tensors.
[[nodiscard]] named_formats planned_formats(const model_source& source,
                                            const compress_options& options);

/// What tells one job from another where its parts are kept: a hash over the source's metadata
/// and tensors (names, shapes, types, row order, data), the calibration tokens, the formats, and
/// `settings`.
[[nodiscard]] std::string job_key(const model_source& source, const calibration_text& text,
                                  const named_formats& formats, std::string_view settings);

namespace compression::detail {

/// A hash of bytes, eight at a time; not for adversaries.
[[nodiscard]] inline std::uint64_t hash_bytes(std::span<const std::byte> bytes,
                                              std::uint64_t hash) noexcept {
  for (std::size_t i = 0; i < bytes.size(); i += 8) {
    std::uint64_t word = 0;
    std::memcpy(&word, bytes.data() + i, std::min<std::size_t>(8, bytes.size() - i));
    hash = (hash ^ word) * 0x9e3779b97f4a7c15u;
    hash ^= hash >> 32;
  }
  return (hash ^ bytes.size()) * 0x9e3779b97f4a7c15u;
}

[[nodiscard]] inline bool is_gguf(const std::filesystem::path& path) {
  std::error_code error;
  if (!std::filesystem::is_regular_file(path, error)) return false;
  const mapped_file file(path);
  return file.bytes().size() >= 4 && std::memcmp(file.bytes().data(), "GGUF", 4) == 0;
}

[[nodiscard]] inline gguf_file runnable_file(const model_source& source,
                                             const std::filesystem::path& input,
                                             const std::filesystem::path& output, unsigned threads,
                                             const progress_callback& listener) {
  if (is_gguf(input) && !source.rewritten) return read_model_gguf(input);
  scratch_file copy(output);
  compress_options options;
  options.type = format::f32;
  options.threads = threads;
  (void)compress(source, copy, output, options, listener);
  return read_gguf(copy.map());
}

} // namespace compression::detail

inline calibration_text read_tokens(const model_weights& weights, const std::string& model,
                                    const std::filesystem::path& file, std::size_t most) {
  const tokenizer words(weights.file().metadata);
  if (!words.bos()) fail(error_code::bad_file, model, "the vocabulary has no BOS token");
  auto text = read_text_file(file);
  // A token is rarely longer than this; the rest of a large file need not be tokenized.
  if (text.size() / 16 > most) text.resize(most * 16);
  text.resize(text.size() - unfinished_bytes(text));
  calibration_text result{words.encode(text), *words.bos()};
  result.tokens.resize(std::min(result.tokens.size(), most));
  return result;
}

inline calibrated_model open_calibrated(const model_source& source,
                                        const std::filesystem::path& input,
                                        const std::filesystem::path& output,
                                        const calibration_options& options, unsigned threads,
                                        const progress_callback& listener) {
  calibrated_model model{
      model_weights(compression::detail::runnable_file(source, input, output, threads, listener)),
      {}};
  if (options.text.empty()) return model;
  const std::size_t wanted = options.tokens + options.held_out;
  model.text = read_tokens(model.weights, source.name, options.text, wanted);
  model.text.context = options.context;
  auto& tokens = model.text.tokens;
  if (options.held_out != 0) {
    const std::size_t behind = tokens.size() - std::min(tokens.size(), options.tokens);
    const std::size_t count = std::min(options.held_out, std::max(behind, tokens.size() / 8));
    model.held_out.assign(tokens.end() - static_cast<std::ptrdiff_t>(count), tokens.end());
    tokens.resize(std::min(tokens.size() - count, options.tokens));
  }
  if (tokens.empty())
    fail(error_code::bad_argument, place_of(options.text), "no tokens to calibrate with");
  return model;
}

inline named_formats planned_formats(const model_source& source, const compress_options& options) {
  const auto plans = plan_formats(source, options.type, options.keep, options.exact);
  named_formats formats;
  for (std::size_t i = 0; i < plans.size(); ++i)
    formats[source.tensors[i].stored.name] = plans[i].type;
  return formats;
}

inline std::string job_key(const model_source& source, const calibration_text& text,
                           const named_formats& formats, std::string_view settings) {
  std::uint64_t hash = 1;
  const auto add = [&](auto value) {
    hash = compression::detail::hash_bytes(std::as_bytes(std::span(&value, 1)), hash);
  };
  for (const auto& item : source.metadata) {
    hash = compression::detail::hash_bytes(std::as_bytes(std::span(item.key)), hash);
    hash = compression::detail::hash_bytes(item.value, hash);
    add(item.type);
  }
  for (const auto& tensor : source.tensors) {
    hash = compression::detail::hash_bytes(std::as_bytes(std::span(tensor.stored.name)), hash);
    hash = compression::detail::hash_bytes(std::as_bytes(std::span(tensor.stored.dims)), hash);
    add(tensor.stored.type);
    add(tensor.rope_heads);
    tensor.for_each_part([&](const stored_tensor& t) {
      hash = compression::detail::hash_bytes(t.data, hash);
      if (t.file) t.file->drop(t.data);
    });
  }
  hash = compression::detail::hash_bytes(std::as_bytes(std::span(text.tokens)), hash);
  for (const auto& [name, type] : formats) {
    hash = compression::detail::hash_bytes(std::as_bytes(std::span(name)), hash);
    hash = compression::detail::hash_bytes(std::as_bytes(std::span(&type, 1)), hash);
  }
  return "edgequant job 3, " + std::to_string(hash) + "\n" + std::string(settings) + "\n";
}

} // namespace edgequant::inline EDGEQUANT_ABI
