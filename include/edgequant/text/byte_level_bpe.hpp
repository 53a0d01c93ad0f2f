// SPDX-License-Identifier: MIT
/// Byte-level BPE: merges in the order of a list, inside of words. Source: GPT-2's encoder.
#pragma once

#include "pair_merge.hpp"
#include "pre_tokenizer.hpp"
#include "token_table.hpp"

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
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
    read_merges(table, metadata);
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
        const auto found = merges_.find(pair_of(left.token, right.token));
        return found == merges_.end() ? std::nullopt : std::optional(found->second);
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

  void read_merges(const token_table& table, const gguf_metadata& metadata) {
    constexpr std::string_view key = "tokenizer.ggml.merges";
    const auto merges = metadata.get_strings(key);
    if (!merges) refuse_key(metadata, key, "the key is missing");
    merges_.reserve(merges->size());
    for (std::size_t i = 0; i < merges->size(); ++i) {
      const std::string& merge = (*merges)[i];
      const auto refuse = [&](const std::string& problem) {
        refuse_key(metadata, key,
                   "merge " + std::to_string(i) + ", '" + escaped(merge) + "', " + problem);
      };
      const auto space = merge.find(' ', 1);
      if (space == merge.npos || space + 1 == merge.size()) refuse("is no pair of tokens");
      const auto token = [&](const std::string& text) {
        const auto id = table.find(text);
        if (!id) refuse("is of an unknown token, '" + escaped(text) + "'");
        return *id;
      };
      const auto left = token(merge.substr(0, space)), right = token(merge.substr(space + 1));
      const auto merged = token(merge.substr(0, space) + merge.substr(space + 1));
      merges_.try_emplace(pair_of(left, right), symbol_merge{static_cast<double>(i), merged});
    }
  }

  [[nodiscard]] std::string spell(std::string_view word) const {
    std::string spelled;
    for (const char byte : word) spelled += spelling_[static_cast<unsigned char>(byte)];
    return spelled;
  }

  [[nodiscard]] static std::uint64_t pair_of(std::int32_t left, std::int32_t right) noexcept {
    return std::uint64_t{static_cast<std::uint32_t>(left)} << 32 |
           static_cast<std::uint32_t>(right);
  }

  pre_tokenizer_info rule_;
  std::array<std::string, 256> spelling_;
  std::array<std::int32_t, 256> bytes_ = {}; // the token of each byte; -1: none
  std::unordered_map<std::uint64_t, symbol_merge> merges_;
};

} // namespace text::detail
} // namespace edgequant::inline EDGEQUANT_ABI
