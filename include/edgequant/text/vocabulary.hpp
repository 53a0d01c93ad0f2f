// SPDX-License-Identifier: MIT
/// A checkpoint's vocabulary as GGUF keys.
#pragma once

#include "../io/gguf_metadata.hpp"
#include "../io/sentencepiece.hpp"
#include "../io/tokenizer_json.hpp"
#include "end_tokens.hpp"

#include <algorithm>
#include <optional>
#include <unordered_map>

namespace edgequant::inline EDGEQUANT_ABI {

/// GGUF's token types.
enum class token_type : std::int32_t { normal = 1, unknown, control, user_defined, unused, byte };

/// What a config.json says of the vocabulary.
struct config_tokens {
  std::uint64_t vocabulary = 0; ///< rows of the embedding
  std::optional<std::uint64_t> bos_token, eos_token;
  std::vector<std::uint64_t> other_ends = {}; ///< end a text like eos_token; without repeats

  /// A token that ends a text: eos_token if there was none so far.
  void add_end(std::uint64_t id) {
    if (!eos_token) eos_token = id;
    if (id != *eos_token && std::find(other_ends.begin(), other_ends.end(), id) == other_ends.end())
      other_ends.push_back(id);
  }
};

/// A vocabulary as GGUF holds it.
struct vocabulary {
  std::string model; ///< "llama": pieces with scores; "gpt2": byte-level BPE with merges
  std::string pre;   ///< the rule that cuts text before BPE
  std::vector<std::string> tokens, merges;
  std::vector<float> scores;
  std::vector<token_type> types;
  bool add_bos = true, add_space_prefix = true;
  bool add_eos = false;
};

/// The pieces of a tokenizer.model.
[[nodiscard]] vocabulary to_vocabulary(const sentencepiece_model& model);

/// The tokens of a tokenizer.json. In the Llama-2 style a token's score is minus the rank of the
/// merge that makes it, so that merging by score follows the merges.
[[nodiscard]] vocabulary to_vocabulary(const bpe_tokenizer& tokenizer);

/// Unused tokens that set_vocabulary_keys() adds at most: a wrong vocab_size shall not fill the
/// memory.
inline constexpr std::uint64_t most_unused_tokens = 1 << 20;

/// Sets the tokenizer.ggml keys. Where the model has more embedding rows than tokens, unused ones
/// fill up. bad_file at `place` for fewer rows than tokens, and for more unused tokens than
/// most_unused_tokens, and for a token of `config` that is beyond the vocabulary. Tokens that end a
/// text are those that engines know by name, and the keys eos, eot and eom; the result names, one
/// line each, those for which there is no key left.
std::vector<std::string> set_vocabulary_keys(gguf_metadata& metadata, vocabulary words,
                                             const config_tokens& config, const std::string& place);

/// The same for a tokenizer.model as it was read.
inline void set_sentencepiece_keys(gguf_metadata& metadata, const sentencepiece_model& model,
                                   const config_tokens& config, const std::string& place) {
  (void)set_vocabulary_keys(metadata, to_vocabulary(model), config, place);
}

/// Sets the keys of a model without a vocabulary.
void set_no_vocabulary(gguf_metadata& metadata);

inline vocabulary to_vocabulary(const sentencepiece_model& model) {
  vocabulary words{"llama", "default", {}, {}, {}, {}, true, model.add_dummy_prefix, false};
  for (const auto& piece : model.pieces) {
    words.tokens.push_back(piece.text);
    words.scores.push_back(piece.score);
    words.types.push_back(static_cast<token_type>(piece.type));
  }
  return words;
}

namespace text::detail {

/// <0x00> to <0xFF>: stands for one byte.
[[nodiscard]] inline bool is_byte_token(std::string_view text) noexcept {
  const auto hex = [](char c) { return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'F'); };
  return text.size() == 6 && text.starts_with("<0x") && text[5] == '>' && hex(text[3]) &&
         hex(text[4]);
}

[[nodiscard]] inline token_type type_of(const bpe_tokenizer::token& token,
                                        const bpe_tokenizer& tokenizer) {
  if (token.text.empty()) return token_type::unused;
  if (!tokenizer.byte_level && token.text == tokenizer.unknown_token) return token_type::unknown;
  if (token.special) return token_type::control;
  if (token.added) return token_type::user_defined;
  return !tokenizer.byte_level && is_byte_token(token.text) ? token_type::byte : token_type::normal;
}

/// A name for an id that no token has.
[[nodiscard]] inline std::string unused_name(std::size_t id) {
  return "[PAD" + std::to_string(id) + "]";
}

/// Whether engines end a text with it whatever the keys say. <|end|> is one only in some families,
/// and </s> is markup beside <|tool_response>.
[[nodiscard]] inline bool ends_by_name(const vocabulary& words, const std::string& text) {
  if (std::find(end_token_names.begin(), end_token_names.end(), text) == end_token_names.end())
    return false;
  const auto& tokens = words.tokens;
  return text != "<|end|>" && (text != "</s>" || std::find(tokens.begin(), tokens.end(),
                                                           "<|tool_response>") == tokens.end());
}

/// The keys of all tokens that end a text; notes of those that find none.
[[nodiscard]] inline std::vector<std::string>
set_end_keys(gguf_metadata& metadata, const vocabulary& words, const config_tokens& config) {
  std::vector<std::string> keys = {"tokenizer.ggml.eom_token_id", "tokenizer.ggml.eot_token_id"};
  std::vector<std::string> notes;
  if (config.eos_token)
    metadata.set("tokenizer.ggml.eos_token_id", static_cast<std::uint32_t>(*config.eos_token));
  for (const auto id : config.other_ends) {
    const std::string& text = words.tokens[static_cast<std::size_t>(id)];
    if (ends_by_name(words, text)) continue;
    if (keys.empty()) {
      notes.push_back("token " + std::to_string(id) + ", '" + escaped(text) +
                      "', ends a text too, and GGUF has no key left for it: engines go on there");
      continue;
    }
    metadata.set(keys.back(), static_cast<std::uint32_t>(id));
    keys.pop_back();
  }
  return notes;
}

} // namespace text::detail

inline vocabulary to_vocabulary(const bpe_tokenizer& tokenizer) {
  vocabulary words;
  words.model = tokenizer.byte_level ? "gpt2" : "llama";
  words.pre = tokenizer.pre_tokenizer.empty() ? "default" : tokenizer.pre_tokenizer;
  words.add_bos = tokenizer.adds_bos();
  words.add_eos = tokenizer.around && tokenizer.around->after;
  words.add_space_prefix = tokenizer.adds_space_prefix;
  std::unordered_map<std::string, std::size_t> rank; // of the first merge that makes a token
  if (tokenizer.byte_level) {
    words.merges = tokenizer.merges;
  } else {
    for (std::size_t i = 0; i < tokenizer.merges.size(); ++i) {
      std::string made = tokenizer.merges[i];
      made.erase(made.find(' ', 1), 1);
      rank.try_emplace(std::move(made), i);
    }
  }
  for (std::size_t id = 0; id < tokenizer.tokens.size(); ++id) {
    const auto& token = tokenizer.tokens[id];
    const auto type = text::detail::type_of(token, tokenizer);
    words.tokens.push_back(token.text.empty() ? text::detail::unused_name(id) : token.text);
    words.types.push_back(type);
    if (tokenizer.byte_level) continue;
    const auto found = rank.find(token.text);
    const std::size_t order = found != rank.end() ? found->second : tokenizer.merges.size() + id;
    words.scores.push_back(type == token_type::normal ? -static_cast<float>(order) : 0.0f);
  }
  return words;
}

inline std::vector<std::string> set_vocabulary_keys(gguf_metadata& metadata, vocabulary words,
                                                    const config_tokens& config,
                                                    const std::string& place) {
  const std::size_t count = words.tokens.size();
  if (count > config.vocabulary || config.vocabulary - count > most_unused_tokens)
    fail(error_code::bad_file, place,
         counted(count, words.model == "gpt2" ? "token" : "piece") + " for a vocabulary of " +
             std::to_string(config.vocabulary));
  for (std::size_t id = count; id < config.vocabulary; ++id) {
    words.tokens.push_back(text::detail::unused_name(id));
    words.types.push_back(token_type::unused);
    if (!words.scores.empty()) words.scores.push_back(-1000.0f);
  }
  std::vector<std::int32_t> types;
  for (const auto type : words.types) types.push_back(static_cast<std::int32_t>(type));
  metadata.set("tokenizer.ggml.model", words.model);
  metadata.set("tokenizer.ggml.pre", words.pre);
  metadata.set_array("tokenizer.ggml.tokens", words.tokens);
  if (!words.scores.empty()) metadata.set_array("tokenizer.ggml.scores", words.scores);
  metadata.set_array("tokenizer.ggml.token_type", types);
  if (!words.merges.empty()) metadata.set_array("tokenizer.ggml.merges", words.merges);
  const auto require = [&](std::optional<std::uint64_t> id, const char* name) {
    if (id && *id >= words.tokens.size())
      fail(error_code::bad_file, place,
           std::string(name) + " is token " + std::to_string(*id) + " of " +
               std::to_string(words.tokens.size()));
  };
  require(config.bos_token, "BOS");
  require(config.eos_token, "EOS");
  for (const auto id : config.other_ends) require(id, "an end of the text");
  if (config.bos_token)
    metadata.set("tokenizer.ggml.bos_token_id", static_cast<std::uint32_t>(*config.bos_token));
  const auto unknown = std::find(words.types.begin(), words.types.end(), token_type::unknown);
  if (unknown != words.types.end())
    metadata.set("tokenizer.ggml.unknown_token_id",
                 static_cast<std::uint32_t>(unknown - words.types.begin()));
  metadata.set("tokenizer.ggml.add_bos_token", words.add_bos);
  metadata.set("tokenizer.ggml.add_eos_token", words.add_eos);
  metadata.set("tokenizer.ggml.add_space_prefix", words.add_space_prefix);
  return text::detail::set_end_keys(metadata, words, config);
}

inline void set_no_vocabulary(gguf_metadata& metadata) {
  metadata.set("tokenizer.ggml.model", "no_vocab");
}

} // namespace edgequant::inline EDGEQUANT_ABI
