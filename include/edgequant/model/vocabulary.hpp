// SPDX-License-Identifier: MIT
/// A checkpoint's vocabulary as GGUF keys.
#pragma once

#include "../io/gguf_metadata.hpp"
#include "../io/sentencepiece.hpp"
#include "llama_config.hpp"

namespace edgequant::inline EDGEQUANT_ABI {

/// Unused tokens that set_sentencepiece_keys() adds at most: a wrong vocab_size shall not fill the
/// memory.
inline constexpr std::uint64_t most_unused_tokens = 1 << 20;

/// Sets the tokenizer.ggml keys of a SentencePiece vocabulary. Where the model has more embedding
/// rows than pieces, unused tokens fill up. bad_file at `place` for fewer rows than pieces, and for
/// more unused tokens than most_unused_tokens.
void set_sentencepiece_keys(gguf_metadata& metadata, const sentencepiece_model& model,
                            const llama_config& config, const std::string& place);

/// Sets the keys of a model without a vocabulary.
void set_no_vocabulary(gguf_metadata& metadata);

/// GGUF's token types.
enum class token_type : std::int32_t { normal = 1, unknown, control, user_defined, unused, byte };

inline void set_sentencepiece_keys(gguf_metadata& metadata, const sentencepiece_model& model,
                                   const llama_config& config, const std::string& place) {
  if (model.pieces.size() > config.vocabulary ||
      config.vocabulary - model.pieces.size() > most_unused_tokens)
    fail(error_code::bad_file, place,
         counted(model.pieces.size(), "piece") + " for a vocabulary of " +
             std::to_string(config.vocabulary));
  std::vector<std::string> tokens;
  std::vector<float> scores;
  std::vector<std::int32_t> types;
  std::optional<std::uint32_t> unknown;
  for (const auto& piece : model.pieces) {
    if (piece.type == static_cast<int>(token_type::unknown) && !unknown)
      unknown = static_cast<std::uint32_t>(tokens.size());
    tokens.push_back(piece.text);
    scores.push_back(piece.score);
    types.push_back(piece.type);
  }
  while (tokens.size() < config.vocabulary) {
    tokens.push_back("[PAD" + std::to_string(tokens.size()) + "]");
    scores.push_back(-1000.0f);
    types.push_back(static_cast<std::int32_t>(token_type::unused));
  }
  metadata.set("tokenizer.ggml.model", "llama");
  metadata.set("tokenizer.ggml.pre", "default");
  metadata.set_array("tokenizer.ggml.tokens", tokens);
  metadata.set_array("tokenizer.ggml.scores", scores);
  metadata.set_array("tokenizer.ggml.token_type", types);
  const auto set_token = [&](const char* key, std::optional<std::uint64_t> id) {
    if (id && *id < tokens.size()) metadata.set(key, static_cast<std::uint32_t>(*id));
  };
  set_token("tokenizer.ggml.bos_token_id", config.bos_token);
  set_token("tokenizer.ggml.eos_token_id", config.eos_token);
  set_token("tokenizer.ggml.unknown_token_id", unknown);
  metadata.set("tokenizer.ggml.add_bos_token", true);
  metadata.set("tokenizer.ggml.add_eos_token", false);
  metadata.set("tokenizer.ggml.add_space_prefix", model.add_dummy_prefix);
}

inline void set_no_vocabulary(gguf_metadata& metadata) {
  metadata.set("tokenizer.ggml.model", "no_vocab");
}

} // namespace edgequant::inline EDGEQUANT_ABI
