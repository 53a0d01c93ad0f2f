// SPDX-License-Identifier: MIT
/// The tokens of a GGUF file, as its tokenizer.ggml keys tell them.
#pragma once

#include "../io/gguf_metadata.hpp"
#include "end_tokens.hpp"
#include "vocabulary.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace edgequant::inline EDGEQUANT_ABI {
namespace text::detail {

struct text_hash {
  using is_transparent = void;
  std::size_t operator()(std::string_view text) const noexcept {
    return std::hash<std::string_view>{}(text);
  }
};
using token_ids = std::unordered_map<std::string, std::int32_t, text_hash, std::equal_to<>>;

/// bad_file at a key.
[[noreturn]] inline void refuse_key(const gguf_metadata& metadata, std::string_view key,
                                    const std::string& problem) {
  fail(error_code::bad_file, place_of(metadata.place(), "key", key), problem);
}

/// What both kinds of tokenizers know about their tokens.
struct token_table {
  std::vector<std::string> texts;
  std::vector<token_type> types;
  std::vector<float> scores;
  token_ids ids;
  std::vector<std::int32_t> user_defined; ///< longest first
  std::vector<bool> ends;                 ///< a text ends with it
  std::optional<std::int32_t> bos, eos, unknown;

  [[nodiscard]] std::optional<std::int32_t> find(std::string_view text) const {
    const auto found = ids.find(text);
    return found == ids.end() ? std::nullopt : std::optional(found->second);
  }
};

/// Reads tokenizer.ggml.tokens, token_type, scores and the ids of special tokens. Errors as
/// tokenizer's constructor.
[[nodiscard]] token_table read_token_table(const gguf_metadata& metadata);

inline void read_texts(token_table& table, const gguf_metadata& metadata) {
  constexpr std::string_view key = "tokenizer.ggml.tokens";
  auto texts = metadata.get_strings(key);
  if (!texts) refuse_key(metadata, key, "the key is missing");
  if (texts->empty()) refuse_key(metadata, key, "no tokens");
  if (texts->size() > 0x7fffffff) refuse_key(metadata, key, "more than 2^31 - 1 tokens");
  table.texts = std::move(*texts);
  table.ids.reserve(table.texts.size());
  for (std::size_t id = 0; id < table.texts.size(); ++id) {
    auto& text = table.texts[id];
    if (text.empty()) text = "[EMPTY_" + std::to_string(id) + "]"; // as llama.cpp names it
    if (!table.ids.emplace(text, static_cast<std::int32_t>(id)).second)
      refuse_key(metadata, key,
                 "token " + std::to_string(id) + ", '" + escaped(text) + "', is there twice");
  }
}

inline void read_scores(token_table& table, const gguf_metadata& metadata) {
  constexpr std::string_view key = "tokenizer.ggml.scores";
  table.scores = metadata.get_floats(key).value_or(std::vector<float>(table.texts.size()));
  if (table.scores.size() != table.texts.size())
    refuse_key(metadata, key,
               counted(table.scores.size(), "score") + " for " +
                   counted(table.texts.size(), "token"));
  for (std::size_t id = 0; id < table.scores.size(); ++id)
    if (std::isnan(table.scores[id]))
      refuse_key(metadata, key, "the score of token " + std::to_string(id) + " is no number");
}

inline void read_types(token_table& table, const gguf_metadata& metadata) {
  constexpr std::string_view key = "tokenizer.ggml.token_type";
  const auto types = metadata.get_ints(key).value_or(
      std::vector<std::int32_t>(table.texts.size(), static_cast<std::int32_t>(token_type::normal)));
  if (types.size() != table.texts.size())
    refuse_key(metadata, key,
               counted(types.size(), "type") + " for " + counted(table.texts.size(), "token"));
  for (std::size_t id = 0; id < types.size(); ++id) {
    const auto type = static_cast<token_type>(types[id]);
    if (types[id] < 0 || type > token_type::byte)
      refuse_key(metadata, key,
                 "type " + std::to_string(types[id]) + " of token " + std::to_string(id));
    if (type == token_type::byte && !is_byte_token(table.texts[id]))
      refuse_key(metadata, key,
                 "token " + std::to_string(id) + ", '" + escaped(table.texts[id]) +
                     "', stands for no byte");
    table.types.push_back(type);
  }
}

inline std::optional<std::int32_t>
read_token_id(const token_table& table, const gguf_metadata& metadata, std::string_view name) {
  const std::string key = "tokenizer.ggml." + std::string(name) + "_token_id";
  const auto* item = metadata.find(key);
  if (item == nullptr) return std::nullopt;
  // Some files write -1 for none, as i32 or as u32.
  if (item->type == gguf_type::i32 && (std::to_integer<int>(item->value[3]) & 0x80) != 0)
    return std::nullopt;
  const auto id = metadata.get_uint(key);
  if (*id == 0xffffffff) return std::nullopt;
  if (*id >= table.texts.size())
    refuse_key(metadata, key,
               std::to_string(*id) + " where there are " + counted(table.texts.size(), "token"));
  return static_cast<std::int32_t>(*id);
}

/// llama.cpp gives the tokens of known names their roles, whatever type the file says.
inline void assign_roles(token_table& table) {
  const auto set_type = [&](std::string_view text, token_type type) {
    if (const auto id = table.find(text)) table.types[static_cast<std::size_t>(*id)] = type;
  };
  const auto set_end = [&](std::string_view text, bool ends) {
    if (const auto id = table.find(text)) table.ends[static_cast<std::size_t>(*id)] = ends;
  };
  const auto has = [&](std::string_view text) { return table.find(text).has_value(); };
  for (const auto text : end_token_names) {
    set_type(text, token_type::control);
    set_end(text, true);
  }
  for (const auto text : fill_token_names) set_type(text, token_type::control);
  if (has("<|tool_response>")) { // there, </s> is markup
    set_type("</s>", token_type::normal);
    set_end("</s>", false);
  }
  if ((has("<|call|>") || has("<|calls|>")) && (has("<|return|>") || has("<|flush|>"))) {
    set_type("<|end|>", token_type::user_defined); // ends a message there, and not the text
    set_end("<|end|>", false);
  }
}

inline token_table read_token_table(const gguf_metadata& metadata) {
  token_table table;
  read_texts(table, metadata);
  read_scores(table, metadata);
  read_types(table, metadata);
  table.ends.resize(table.texts.size());
  assign_roles(table);
  table.bos = read_token_id(table, metadata, "bos");
  table.eos = read_token_id(table, metadata, "eos");
  table.unknown = read_token_id(table, metadata, "unknown");
  if (table.eos) table.ends[static_cast<std::size_t>(*table.eos)] = true;
  for (const auto* name : {"eot", "eom", "fim_pad", "fim_rep", "fim_sep"})
    if (const auto id = read_token_id(table, metadata, name))
      table.ends[static_cast<std::size_t>(*id)] = true;
  for (std::size_t id = 0; id < table.texts.size(); ++id)
    if (table.types[id] == token_type::user_defined)
      table.user_defined.push_back(static_cast<std::int32_t>(id));
  const auto length = [&](std::int32_t id) {
    return table.texts[static_cast<std::size_t>(id)].size();
  };
  std::stable_sort(table.user_defined.begin(), table.user_defined.end(),
                   [&](auto a, auto b) { return length(a) > length(b); });
  return table;
}

} // namespace text::detail
} // namespace edgequant::inline EDGEQUANT_ABI
