// SPDX-License-Identifier: MIT
/// Byte-level BPE: merges in the order of a list, inside of words. Source: GPT-2's encoder.
#pragma once

#include "merge_table.hpp"
#include "pre_tokenizer.hpp"

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace edgequant::inline EDGEQUANT_ABI {
namespace text::detail {

/// The code point that spells each byte in a token: the printable characters of Latin-1 themselves,
/// then U+0100 and on.
inline constexpr auto byte_spelling = [] {
  std::array<char32_t, 256> points = {};
  char32_t next = 0x100;
  for (char32_t byte = 0; byte < 256; ++byte) {
    const bool printable = (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte != 0xad);
    points[byte] = printable ? byte : next++;
  }
  return points;
}();

/// The model "gpt2".
class byte_level_bpe {
public:
  byte_level_bpe() = default;
  byte_level_bpe(const token_table& table, const gguf_metadata& metadata) {
    read_rule(metadata);
    for (std::size_t byte = 0; byte < 256; ++byte) {
      append_utf8(spelling_[byte], byte_spelling[byte]);
      bytes_[byte] = table.find(spelling_[byte]).value_or(-1);
    }
    merges_ = merge_table(table, metadata);
  }

  [[nodiscard]] bool adds_bos() const noexcept { return rule_.adds_bos; }

  /// Appends the tokens of a text. A byte without a token has none.
  void encode(const token_table& table, std::string_view text,
              std::vector<std::int32_t>& out) const {
    std::vector<text_symbol> symbols;
    for (const auto word : split_words(text, rule_.rule)) {
      if (const auto merged = rule_.entire_words ? table.find(spell(word)) : std::nullopt) {
        out.push_back(*merged);
        continue;
      }
      symbols.clear();
      for (std::size_t i = 0; i < word.size(); ++i)
        symbols.push_back({bytes_[static_cast<unsigned char>(word[i])], i, 1});
      merge_pairs(symbols, [&](const auto& left, const auto& right) {
        return merges_.find(left.token, right.token);
      });
      for (const auto& symbol : symbols)
        if (symbol.bytes != 0 && symbol.token >= 0) out.push_back(symbol.token);
    }
  }

  /// The bytes of a normal token; characters that spell no byte stand for themselves.
  [[nodiscard]] static std::string decode(std::string_view token) {
    std::string bytes;
    for (std::size_t at = 0; at < token.size();) {
      const auto point = first_code_point(token.substr(at));
      const auto found = std::find(byte_spelling.begin(), byte_spelling.end(), point.value);
      if (found == byte_spelling.end())
        bytes += token.substr(at, point.bytes);
      else
        bytes += static_cast<char>(found - byte_spelling.begin());
      at += point.bytes;
    }
    return bytes;
  }

private:
  void read_rule(const gguf_metadata& metadata) {
    constexpr std::string_view key = "tokenizer.ggml.pre";
    const auto name = metadata.get_string(key).value_or("default");
    const auto rule = find_pre_tokenizer(name);
    if (!rule) refuse_key(metadata, key, "unknown pre-tokenizer '" + escaped(name) + "'");
    rule_ = *rule;
  }

  [[nodiscard]] std::string spell(std::string_view word) const {
    std::string spelled;
    for (const char byte : word) spelled += spelling_[static_cast<unsigned char>(byte)];
    return spelled;
  }

  pre_tokenizer_info rule_;
  std::array<std::string, 256> spelling_;
  std::array<std::int32_t, 256> bytes_ = {}; // the token of each byte; -1: none
  merge_table merges_;
};

} // namespace text::detail
} // namespace edgequant::inline EDGEQUANT_ABI
