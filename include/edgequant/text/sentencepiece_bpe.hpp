// SPDX-License-Identifier: MIT
/// SentencePiece-like BPE, as llama.cpp does it: a token's score says when it is merged, or, in the
/// model "gemma4", the order of a list of merges.
#pragma once

#include "../core/utf8.hpp"
#include "merge_table.hpp"
#include "pre_tokenizer.hpp"

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace edgequant::inline EDGEQUANT_ABI {
namespace text::detail {

/// The models "llama" and "gemma4". Spaces are U+2581 in their tokens.
class sentencepiece_bpe {
public:
  sentencepiece_bpe() = default;
  explicit sentencepiece_bpe(const token_table& table) {
    for (std::size_t byte = 0; byte < bytes_.size(); ++byte) {
      constexpr std::string_view digits = "0123456789ABCDEF";
      auto id = table.find(std::string("<0x") + digits[byte / 16] + digits[byte % 16] + '>');
      if (!id) id = table.find(std::string(1, static_cast<char>(byte)));
      if (!id) id = table.unknown;
      bytes_[byte] = id.value_or(-1);
    }
    for (const auto& text : table.texts) longest_ = std::max(longest_, text.size());
  }
  /// "gemma4": lines and the newlines between them are words.
  sentencepiece_bpe(const token_table& table, const gguf_metadata& metadata)
      : sentencepiece_bpe(table) {
    merges_.emplace(table, metadata);
  }

  /// Appends the tokens of a text. A byte without a token, where there is no unknown one, has none.
  void encode(const token_table& table, std::string_view text,
              std::vector<std::int32_t>& out) const {
    if (!merges_) return encode_word(table, text, out);
    for (const auto word : split_words(text, pre_tokenizer::lines)) {
      const auto token = word.front() == '\n' ? table.find(word) : std::nullopt;
      if (token)
        out.push_back(*token);
      else
        encode_word(table, word, out);
    }
  }

  /// The text of a normal token.
  [[nodiscard]] static std::string decode(std::string_view token) {
    std::string text;
    for (std::size_t at = 0; at < token.size();) {
      const bool is_mark = token.substr(at).starts_with(space_mark);
      text += is_mark ? ' ' : token[at];
      at += is_mark ? space_mark.size() : 1;
    }
    return text;
  }

private:
  static constexpr std::string_view space_mark = "\xe2\x96\x81";

  void encode_word(const token_table& table, std::string_view text,
                   std::vector<std::int32_t>& out) const {
    const std::string spelled = spell(text);
    auto symbols = split(table, spelled);
    merge_pairs(
        symbols,
        [&](const text_symbol& left, const text_symbol& right) -> std::optional<symbol_merge> {
          if (merges_) return merges_->find(left.token, right.token);
          const std::size_t bytes = left.bytes + right.bytes;
          if (bytes > longest_) return std::nullopt; // so that looking up a pair has bounded cost
          const auto token = table.find(std::string_view(spelled).substr(left.first, bytes));
          if (!token) return std::nullopt;
          return symbol_merge{-double{table.scores[static_cast<std::size_t>(*token)]}, *token};
        });
    for (const auto& symbol : symbols) {
      if (symbol.bytes == 0) continue;
      if (symbol.token >= 0)
        out.push_back(symbol.token);
      else
        append_bytes(std::string_view(spelled).substr(symbol.first, symbol.bytes), out);
    }
  }

  [[nodiscard]] static std::string spell(std::string_view text) {
    std::string spelled;
    spelled.reserve(text.size() + text.size() / 2);
    for (const char c : text)
      if (c == ' ')
        spelled += space_mark;
      else
        spelled += c;
    return spelled;
  }

  /// Characters. llama.cpp believes a first byte's length, and a broken character takes bytes of
  /// the space after it along: that space would be lost.
  [[nodiscard]] static std::vector<text_symbol> split(const token_table& table,
                                                      std::string_view text) {
    std::vector<text_symbol> symbols;
    for (std::size_t at = 0; at < text.size();) {
      const std::size_t bytes = first_code_point(text.substr(at)).bytes;
      symbols.push_back({table.find(text.substr(at, bytes)).value_or(-1), at, bytes});
      at += bytes;
    }
    return symbols;
  }

  void append_bytes(std::string_view bytes, std::vector<std::int32_t>& out) const {
    for (const char byte : bytes)
      if (const auto id = bytes_[static_cast<unsigned char>(byte)]; id >= 0) out.push_back(id);
  }

  std::array<std::int32_t, 256> bytes_ = {};
  std::size_t longest_ = 0;
  std::optional<merge_table> merges_;
};

} // namespace text::detail
} // namespace edgequant::inline EDGEQUANT_ABI
