// SPDX-License-Identifier: MIT
/// Text to tokens and back, with the vocabulary of a GGUF file.
#pragma once

#include "../core/utf8.hpp"
#include "byte_level_bpe.hpp"
#include "sentencepiece_bpe.hpp"
#include "token_table.hpp"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace edgequant::inline EDGEQUANT_ABI {

/// The models "llama" (SentencePiece-like BPE) and "gpt2" (byte-level BPE), with the same tokens as
/// llama.cpp for every UTF-8 text. Bytes that are no UTF-8 keep their values; llama.cpp loses some.
class tokenizer {
public:
  /// Reads the tokenizer.ggml keys. bad_file, naming the key, for a missing or empty vocabulary, a
  /// token that is there twice, an unknown model or pre-tokenizer, sizes that contradict, merges of
  /// unknown tokens, and ids out of range.
  explicit tokenizer(const gguf_metadata& metadata);

  /// The tokens of a text, in n log n steps for n bytes, without BOS and EOS. Control tokens in the
  /// text are plain text; user-defined ones are found, the longest first. Bytes that neither have a
  /// token nor an unknown token that stands for them are dropped.
  [[nodiscard]] std::vector<std::int32_t> encode(std::string_view text) const;

  /// The text of tokens: the inverse of encode(), without the space that it puts before a text. In
  /// the model "llama" U+2581 comes back as a space. bad_argument for an id that is no token's.
  [[nodiscard]] std::string decode(std::span<const std::int32_t> tokens) const;

  /// The bytes that a token adds in the middle of a text; none for control, unknown and unused
  /// ones. bad_argument for an id that is no token's.
  [[nodiscard]] std::string bytes_of(std::int32_t token) const;

  /// Number of tokens.
  [[nodiscard]] std::size_t size() const noexcept { return table_.texts.size(); }
  /// Where the file does not name them, 1 and 2 in the model "llama", none in "gpt2".
  [[nodiscard]] std::optional<std::int32_t> bos() const noexcept { return table_.bos; }
  [[nodiscard]] std::optional<std::int32_t> eos() const noexcept { return table_.eos; }
  /// Whether the model expects bos() before a text.
  [[nodiscard]] bool add_bos() const noexcept { return add_bos_; }
  /// Whether the model expects eos() behind a text.
  [[nodiscard]] bool add_eos() const noexcept { return add_eos_; }
  /// The ids of type unused: no text has them.
  [[nodiscard]] std::vector<std::int32_t> unused() const {
    std::vector<std::int32_t> ids;
    for (std::size_t id = 0; id < size(); ++id)
      if (table_.types[id] == token_type::unused) ids.push_back(static_cast<std::int32_t>(id));
    return ids;
  }

  /// Whether generation is over with this token: EOS, the end of a turn or message, the end of a
  /// file. bad_argument for an id that is no token's.
  [[nodiscard]] bool ends_text(std::int32_t token) const { return table_.ends[index_of(token)]; }

private:
  /// A part of a text: a token that was found in it, or -1 and plain text.
  struct fragment {
    std::int32_t token;
    std::string_view text;
  };

  [[nodiscard]] std::size_t index_of(std::int32_t token) const;
  [[nodiscard]] std::vector<fragment> find_user_defined(std::string_view text) const;

  text::detail::token_table table_;
  std::variant<text::detail::sentencepiece_bpe, text::detail::byte_level_bpe> model_;
  bool add_bos_ = true, add_eos_ = false;
  bool add_space_prefix_ = false;
};

/// Text from tokens that come one at a time, as the continuation of a text: never half a UTF-8
/// character. Holds a reference to the tokenizer.
class stream_decoder {
public:
  explicit stream_decoder(const tokenizer& words) : words_(&words) {}

  /// What is complete with this token. Errors as tokenizer::bytes_of().
  std::string push(std::int32_t token);
  /// What is left: bytes that are no whole character. The decoder is as new.
  std::string finish() { return characters_.flush(); }

private:
  const tokenizer* words_;
  utf8_stream characters_;
};

inline tokenizer::tokenizer(const gguf_metadata& metadata) {
  constexpr std::string_view key = "tokenizer.ggml.model";
  const auto model = metadata.get_string(key);
  if (!model) text::detail::refuse_key(metadata, key, "the key is missing");
  if (*model != "llama" && *model != "gpt2" && *model != "gemma4")
    text::detail::refuse_key(metadata, key, "unknown model '" + escaped(*model) + "'");
  table_ = text::detail::read_token_table(metadata);
  if (*model == "llama") {
    const auto set_default = [&](std::optional<std::int32_t>& id, std::size_t value) {
      if (!id && value < size()) id = static_cast<std::int32_t>(value);
    };
    set_default(table_.unknown, 0);
    set_default(table_.bos, 1);
    set_default(table_.eos, 2);
    if (table_.eos) table_.ends[index_of(*table_.eos)] = true;
    model_ = text::detail::sentencepiece_bpe(table_);
    add_space_prefix_ = metadata.get_bool("tokenizer.ggml.add_space_prefix").value_or(true);
  } else if (*model == "gemma4") { // llama.cpp adds BOS whatever the file says
    model_ = text::detail::sentencepiece_bpe(table_, metadata);
    add_eos_ = metadata.get_bool("tokenizer.ggml.add_eos_token").value_or(false);
    add_bos_ = true;
    return;
  } else {
    text::detail::byte_level_bpe bpe(table_, metadata);
    add_bos_ = bpe.adds_bos();
    model_ = std::move(bpe);
  }
  add_bos_ = metadata.get_bool("tokenizer.ggml.add_bos_token").value_or(add_bos_);
  add_eos_ = metadata.get_bool("tokenizer.ggml.add_eos_token").value_or(false);
}

inline std::vector<tokenizer::fragment> tokenizer::find_user_defined(std::string_view text) const {
  std::vector<fragment> parts;
  if (!text.empty()) parts.push_back({-1, text});
  for (const auto id : table_.user_defined) {
    const std::string& name = table_.texts[index_of(id)];
    if (text.find(name) == text.npos) continue;
    std::vector<fragment> finer;
    for (auto part : parts) {
      while (part.token < 0) {
        const auto at = part.text.find(name);
        if (at == part.text.npos) break;
        if (at > 0) finer.push_back({-1, part.text.substr(0, at)});
        finer.push_back({id, {}});
        part.text.remove_prefix(at + name.size());
      }
      if (part.token >= 0 || !part.text.empty()) finer.push_back(part);
    }
    parts = std::move(finer);
  }
  return parts;
}

inline std::vector<std::int32_t> tokenizer::encode(std::string_view text) const {
  std::vector<std::int32_t> tokens;
  bool at_start = true; // of the text, or after a token that was found in it
  for (const auto& part : find_user_defined(text)) {
    if (part.token >= 0) {
      tokens.push_back(part.token);
    } else if (at_start && add_space_prefix_) {
      const std::string prefixed = ' ' + std::string(part.text);
      std::visit([&](const auto& model) { model.encode(table_, prefixed, tokens); }, model_);
    } else {
      std::visit([&](const auto& model) { model.encode(table_, part.text, tokens); }, model_);
    }
    at_start = part.token >= 0;
  }
  return tokens;
}

inline std::size_t tokenizer::index_of(std::int32_t token) const {
  if (token < 0 || static_cast<std::size_t>(token) >= size())
    fail(error_code::bad_argument, "token " + std::to_string(token),
         "the vocabulary has " + counted(size(), "token"));
  return static_cast<std::size_t>(token);
}

inline std::string tokenizer::bytes_of(std::int32_t token) const {
  const auto id = index_of(token);
  const std::string& text = table_.texts[id];
  switch (table_.types[id]) {
  case token_type::normal:
    return std::visit([&](const auto& model) { return model.decode(text); }, model_);
  case token_type::user_defined:
    return text;
  case token_type::byte:
    return std::string(1, static_cast<char>(std::stoi(text.substr(3, 2), nullptr, 16)));
  default:
    return {};
  }
}

inline std::string tokenizer::decode(std::span<const std::int32_t> tokens) const {
  std::string text;
  bool at_start = true; // encode() puts its space here
  for (const auto token : tokens) {
    const std::string bytes = bytes_of(token);
    const auto type = table_.types[index_of(token)];
    const bool plain = type == token_type::normal || type == token_type::byte;
    text +=
        plain && at_start && add_space_prefix_ && bytes.starts_with(' ') ? bytes.substr(1) : bytes;
    at_start = !plain;
  }
  return text;
}

inline std::string stream_decoder::push(std::int32_t token) {
  return characters_.push(words_->bytes_of(token));
}

} // namespace edgequant::inline EDGEQUANT_ABI
