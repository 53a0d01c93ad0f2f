// SPDX-License-Identifier: MIT
/// The built-in engine behind the pipeline: GGUF in, text out.
#pragma once

#include "../model/transformer.hpp"
#include "../system/system_memory.hpp"
#include "../text/tokenizer.hpp"
#include "inference_engine.hpp"

#include <algorithm>
#include <limits>
#include <memory>

namespace edgequant::inline EDGEQUANT_ABI {

struct engine_options {
  unsigned threads = 0; ///< 0: all that the machine offers
  kv_format cache = kv_format::f16;
  std::size_t context = 0; ///< tokens at most; 0: as many as the model allows
  /// true: quantized weights stay in the mapped file, which is slower but takes no memory that the
  /// system could not have back. false: they are copied into a faster layout when the model is
  /// loaded, if that takes at most three quarters of the memory that is free.
  bool mapped = false;
  progress_callback on_load = {}; ///< in bytes of weights copied
};

/// Runs Llama-like GGUF models with weights in f32, f16, bf16, q8_0, q5_0 and q4_0, tensor by
/// tensor in any mixture. The file is mapped: what is not packed is read when it is needed.
class reference_engine {
public:
  explicit reference_engine(engine_options options = {}) : options_(options) {}

  /// Of a split model `file` is the first part. bad_file for what read_model_gguf, model_weights
  /// and tokenizer refuse, and for a vocabulary of another size than the embedding; bad_argument
  /// for a context beyond the model's.
  model_facts load(const std::filesystem::path& file);

  // The calls below need a loaded model: bad_argument without one. Logits of tokens that the file
  // calls unused are -infinity, so that they are never drawn.

  [[nodiscard]] std::vector<std::int32_t> tokenize(std::string_view text) const;
  /// Errors of both: see transformer::run().
  std::span<const float> prefill(std::span<const std::int32_t> tokens);
  std::span<const float> decode(std::int32_t token);
  /// Appends a token whose successor is known, without logits: see transformer::feed().
  void feed(std::int32_t token);
  [[nodiscard]] std::string detokenize(std::int32_t token) const {
    return get().words.bytes_of(token);
  }
  [[nodiscard]] bool ends_text(std::int32_t token) const { return get().words.ends_text(token); }

  [[nodiscard]] const tokenizer& words() const { return get().words; }
  [[nodiscard]] transformer& network() { return get().network; }
  /// Bytes that the KV cache has taken so far.
  [[nodiscard]] std::size_t cache_bytes() const { return get().pool.bytes(); }

private:
  /// Parts point to each other: it stays where it was made.
  struct loaded {
    loaded(gguf_file file, const engine_options& options);
    model_weights weights;
    tokenizer words;
    std::size_t context;
    transformer network;
    kv_pool pool;
    kv_sequence sequence;
    std::vector<std::int32_t> unused; ///< tokens that no text has
    std::vector<float> logits;        ///< [vocabulary], where there are such tokens

    std::span<const float> without_unused(std::span<const float> all);
  };

  [[nodiscard]] loaded& get() const {
    if (!model_) fail(error_code::bad_argument, "reference_engine", "no model is loaded");
    return *model_;
  }

  engine_options options_;
  std::unique_ptr<loaded> model_;
};

/// The format that holds most of the weights, as people write it: `Q4_0`; `F16, Q8_0` for all that
/// there are would say less.
[[nodiscard]] std::string main_format(const gguf_file& file);

inline std::string main_format(const gguf_file& file) {
  std::uint64_t most = 0;
  std::string name;
  for (const auto& row : format_table) {
    std::uint64_t values = 0;
    for (const auto& t : file.tensors)
      if (t.type == row.id) values += t.values();
    if (values > most) most = values, name = row.name;
  }
  for (char& c : name)
    if (c >= 'a' && c <= 'z') c = static_cast<char>(c - 'a' + 'A');
  return name;
}

inline reference_engine::loaded::loaded(gguf_file file, const engine_options& options)
    : weights(std::move(file)), words(weights.file().metadata),
      context(options.context != 0 ? options.context : weights.shape().context),
      network(weights, options.threads), pool(network.make_pool(options.cache, context)),
      sequence(pool), unused(words.unused()), logits(unused.empty() ? 0 : words.size()) {
  const std::string place = weights.file().metadata.place();
  if (context > weights.shape().context)
    fail(error_code::bad_argument, place,
         "a context of " + std::to_string(context) + ", the model's is " +
             std::to_string(weights.shape().context));
  if (words.size() != weights.vocabulary())
    fail(error_code::bad_file, place_of(place, "key", "tokenizer.ggml.tokens"),
         counted(words.size(), "token") + " where the embedding has " +
             counted(weights.vocabulary(), "row"));
  if (!options.mapped && weights.packed_bytes() <= available_memory() / 4 * 3)
    weights.pack(options.threads, options.on_load);
}

inline std::span<const float> reference_engine::loaded::without_unused(std::span<const float> all) {
  if (unused.empty()) return all;
  std::copy(all.begin(), all.end(), logits.begin());
  for (const auto id : unused)
    logits[static_cast<std::size_t>(id)] = -std::numeric_limits<float>::infinity();
  return logits;
}

inline model_facts reference_engine::load(const std::filesystem::path& file) {
  model_.reset(); // its memory goes before the next model takes some
  auto gguf = read_model_gguf(file);
  std::uint64_t bytes = 0;
  for (const auto& t : gguf.tensors) bytes += t.data.size();
  auto format = main_format(gguf);
  model_ = std::make_unique<loaded>(std::move(gguf), options_);
  const std::string device = "CPU (" + std::string(simd::native::name) + "), " +
                             counted(thread_count(options_.threads), "thread");
  return {std::move(format), bytes, device, model_->context};
}

inline std::vector<std::int32_t> reference_engine::tokenize(std::string_view text) const {
  const tokenizer& words = get().words;
  auto tokens = words.encode(text);
  if (words.add_bos() && words.bos()) tokens.insert(tokens.begin(), *words.bos());
  if (words.add_eos() && words.eos()) tokens.push_back(*words.eos());
  return tokens;
}

inline std::span<const float> reference_engine::prefill(std::span<const std::int32_t> tokens) {
  get().sequence.truncate(0);
  return model_->without_unused(model_->network.run(tokens, model_->sequence));
}

inline std::span<const float> reference_engine::decode(std::int32_t token) {
  return get().without_unused(model_->network.run({&token, 1}, model_->sequence));
}

inline void reference_engine::feed(std::int32_t token) {
  get().network.feed({&token, 1}, model_->sequence);
}

} // namespace edgequant::inline EDGEQUANT_ABI
