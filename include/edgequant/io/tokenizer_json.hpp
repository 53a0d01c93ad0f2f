// SPDX-License-Identifier: MIT
/// Reads a tokenizer.json of the BPE kind. Source: Hugging Face's tokenizers documentation.
#pragma once

#include "text_file.hpp"
#include "tokenizer_components.hpp"

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

namespace edgequant::inline EDGEQUANT_ABI {

/// A BPE vocabulary. Byte-level ones (GPT-2, Llama-3, Qwen2) spell every byte as a printable
/// character; the others (Llama-2) spell spaces as U+2581 and may fall back to <0xNN> tokens.
struct bpe_tokenizer {
  struct token {
    std::string text; ///< empty: no token has this id
    bool added = false, special = false;
  };
  std::vector<token> tokens;       ///< at the index that is the token's id; at least one
  std::vector<std::string> merges; ///< "left right", the strongest first
  std::string unknown_token;       ///< empty: none
  std::string pre_tokenizer;       ///< a name of tokenizer.ggml.pre where byte_level, else empty
  bool byte_level = false;
  bool adds_space_prefix = false;           ///< a space is put before the text
  std::optional<tokenizer_template> around; ///< nothing: the file is silent
  std::vector<std::string> notes = {};      ///< one line each: what GGUF does not say

  /// Encoding begins with a special token.
  [[nodiscard]] bool adds_bos() const noexcept { return around && around->before; }
};

/// An entry of added_tokens.
struct added_token {
  std::uint64_t id = 0;
  std::string text;
  bool special = false;
};

/// Ids that no token has are at most so many: one wrong id shall not fill the memory.
inline constexpr std::uint64_t most_unused_ids = 1 << 20;

/// `place` stands for the file's name. bad_file, with the field, for another kind of model than
/// BPE, a missing vocabulary, ids that are used twice, beyond `id_limit` or with more than
/// most_unused_ids missing below them, merges that are no two tokens of the vocabulary without a
/// space, and for every rule that changes the tokens and that GGUF has no name for.
[[nodiscard]] bpe_tokenizer parse_tokenizer_json(std::string_view text, std::string_view place,
                                                 std::uint64_t id_limit = 1 << 24);

/// The same for a file of at most 256 MiB.
[[nodiscard]] inline bpe_tokenizer read_tokenizer_json(const std::filesystem::path& path,
                                                       std::uint64_t id_limit = 1 << 24) {
  return parse_tokenizer_json(read_text_file(path, 256u << 20), place_of(path), id_limit);
}

/// Only what a tokenizer.json adds to the pieces of a tokenizer.model: its added tokens, and the
/// special tokens around a text. Errors as parse_tokenizer_json().
[[nodiscard]] std::pair<std::vector<added_token>, std::optional<tokenizer_template>>
parse_tokenizer_additions(std::string_view text, std::string_view place);

namespace io::detail {

/// An added token of `id`. One that is not special is found in texts: how must be GGUF's way.
[[nodiscard]] inline added_token read_added_token(const nlohmann::json& token, std::uint64_t id,
                                                  const tokenizer_components& fields) {
  const auto* content = tokenizer_components::find(token, "content");
  if (content == nullptr) fields.refuse("content", "the field is missing");
  if (!content->is_string()) fields.refuse("added_tokens", "content is no string");
  added_token result{id, content->get<std::string>(), false};
  if (result.text.empty()) fields.refuse("added_tokens", "a token without text");
  const std::string path = "added token '" + escaped(result.text) + "'";
  result.special = fields.flag(token, "special", false, path);
  for (const char* name : {"lstrip", "rstrip", "single_word"})
    if (fields.flag(token, name, false, path) && !result.special)
      fields.refuse(path, std::string(name) + " has no counterpart in GGUF");
  return result;
}

[[nodiscard]] inline std::vector<added_token>
read_added_tokens(const nlohmann::json& root, const tokenizer_components& fields) {
  std::vector<added_token> tokens;
  const auto* added = tokenizer_components::find(root, "added_tokens");
  if (added == nullptr) return tokens;
  if (!added->is_array()) fields.refuse("added_tokens", "expected an array");
  for (const auto& token : *added) {
    const auto* id = tokenizer_components::find(token, "id");
    if (id == nullptr) fields.refuse("id", "the field is missing");
    if (!id->is_number_unsigned()) fields.refuse("added_tokens", "an id that is no whole number");
    tokens.push_back(read_added_token(token, id->get<std::uint64_t>(), fields));
  }
  return tokens;
}

/// A reader of one tokenizer.json: what its parts share is the place and the limit.
class tokenizer_json_reader {
public:
  tokenizer_json_reader(std::string_view place, std::uint64_t id_limit)
      : fields_(place), id_limit_(id_limit) {}

  bpe_tokenizer read(const nlohmann::json& root) {
    const auto& model = field(root, "model");
    const auto* type =
        find(model, "type"); // absent in old files, which are BPE if they have merges
    if (type != nullptr && !is_text(*type, "BPE")) refuse("model.type", "only BPE is supported");
    const auto added = read_added_tokens(root, fields_);
    const auto& vocabulary = field(model, "vocab");
    id_limit_ = std::min(id_limit_, vocabulary.size() + added.size() + most_unused_ids);
    read_vocabulary(vocabulary);
    for (const auto& token : added) set_token(token.id, token.text, true, token.special);
    read_merges(field(model, "merges"));
    if (const auto* unknown = find(model, "unk_token"); unknown != nullptr && unknown->is_string())
      result_.unknown_token = unknown->get<std::string>();
    fields_.read(root);
    read_model_rules(model);
    result_.byte_level = fields_.byte_level;
    result_.pre_tokenizer = fields_.pre_tokenizer;
    result_.adds_space_prefix = fields_.adds_space_prefix;
    result_.around = fields_.around;
    result_.notes = fields_.notes;
    return std::move(result_);
  }

private:
  [[noreturn]] void refuse(const std::string& name, const std::string& problem) const {
    fields_.refuse(name, problem);
  }
  static const nlohmann::json* find(const nlohmann::json& object, const char* name) {
    return tokenizer_components::find(object, name);
  }
  const nlohmann::json& field(const nlohmann::json& object, const char* name) const {
    const auto* value = find(object, name);
    if (value == nullptr) refuse(name, "the field is missing");
    return *value;
  }

  void set_token(const nlohmann::json& id, const std::string& text, bool added, bool special) {
    if (!id.is_number_unsigned() || id.get<std::uint64_t>() >= id_limit_)
      refuse("id of '" + text + "'", "expected a whole number below " + std::to_string(id_limit_));
    const auto at = id.get<std::size_t>();
    if (at >= result_.tokens.size()) result_.tokens.resize(at + 1);
    auto& token = result_.tokens[at];
    if (!token.text.empty() && token.text != text)
      refuse("id of '" + text + "'",
             std::to_string(at) + " is already that of '" + escaped(token.text) + "'");
    token = {text, added, special};
  }

  void read_vocabulary(const nlohmann::json& vocabulary) {
    if (!vocabulary.is_object() || vocabulary.empty())
      refuse("model.vocab", "expected tokens and ids");
    for (const auto& [text, id] : vocabulary.items()) set_token(id, text, false, false);
  }

  /// "left right", or ["left", "right"] in newer files, where the halves may hold spaces. GGUF has
  /// only the first way, and neither "llama" nor "gpt2" ever has a space inside of a token.
  void read_merges(const nlohmann::json& merges) {
    if (!merges.is_array()) refuse("model.merges", "expected an array");
    std::unordered_set<std::string_view> known;
    for (const auto& token : result_.tokens)
      if (!token.text.empty()) known.insert(token.text);
    for (const auto& merge : merges) {
      const std::string name = "merge " + std::to_string(result_.merges.size());
      std::string left, right;
      if (merge.is_string()) {
        const auto& text = merge.get_ref<const std::string&>();
        const auto space = std::min(text.find(' '), text.size());
        left = text.substr(0, space);
        right = text.substr(std::min(space + 1, text.size()));
      } else if (merge.is_array() && merge.size() == 2 && merge[0].is_string() &&
                 merge[1].is_string()) {
        left = merge[0].get<std::string>();
        right = merge[1].get<std::string>();
      }
      if (left.empty() || right.empty()) refuse("model.merges", name + " is no pair of tokens");
      const std::string pair = name + ", '" + escaped(left) + "' and '" + escaped(right) + "', ";
      if (left.find(' ') != left.npos || right.find(' ') != right.npos)
        refuse("model.merges", pair + "has a space in a token, which GGUF cannot hold");
      for (const auto& token : {left, right, left + right})
        if (!known.contains(token))
          refuse("model.merges", pair + "needs '" + escaped(token) + "', which is no token");
      result_.merges.push_back(left + ' ' + right);
    }
  }

  /// Fields of `model` that change the tokens.
  void read_model_rules(const nlohmann::json& model) {
    for (const char* name : {"continuing_subword_prefix", "end_of_word_suffix"})
      if (const auto* value = find(model, name); value != nullptr && *value != "")
        refuse(std::string("model.") + name, "it has no counterpart in GGUF");
    if (const auto* dropout = find(model, "dropout"); dropout != nullptr && *dropout != 0)
      refuse("model.dropout", "tokens at random have no counterpart in GGUF");
    if (fields_.byte_level) return;
    if (fields_.flag(model, "ignore_merges", false, "model.ignore_merges"))
      refuse("model.ignore_merges", "it has no counterpart in GGUF");
    const bool fallback = fields_.flag(model, "byte_fallback", false, "model.byte_fallback");
    const bool has_bytes = std::any_of(result_.tokens.begin(), result_.tokens.end(),
                                       [](const auto& token) { return token.text == "<0x0A>"; });
    if (!fallback && has_bytes && find(model, "byte_fallback") != nullptr)
      refuse("model.byte_fallback", "false beside tokens of bytes, which engines of GGUF use");
  }

  tokenizer_components fields_;
  std::uint64_t id_limit_;
  bpe_tokenizer result_;
};

} // namespace io::detail

inline bpe_tokenizer parse_tokenizer_json(std::string_view text, std::string_view place,
                                          std::uint64_t id_limit) {
  return io::detail::tokenizer_json_reader(place, id_limit).read(parse_json(text, place));
}

inline std::pair<std::vector<added_token>, std::optional<tokenizer_template>>
parse_tokenizer_additions(std::string_view text, std::string_view place) {
  const auto root = parse_json(text, place);
  io::detail::tokenizer_components fields(place);
  fields.read_post_processor(root);
  return {io::detail::read_added_tokens(root, fields), fields.around};
}

} // namespace edgequant::inline EDGEQUANT_ABI
