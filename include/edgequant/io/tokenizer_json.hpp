// SPDX-License-Identifier: MIT
/// Reads a tokenizer.json of the BPE kind. Source: Hugging Face's tokenizers documentation.
#pragma once

#include "json.hpp"
#include "text_file.hpp"

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
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
  std::string pre_tokenizer;       ///< "gpt-2", "llama-bpe", "qwen2"; empty: none of these
  bool byte_level = false;
  bool adds_bos = false;          ///< encoding begins with a special token
  bool adds_space_prefix = false; ///< a space is put before the text
};

/// Ids that no token has are at most so many: one wrong id shall not fill the memory.
inline constexpr std::uint64_t most_unused_ids = 1 << 20;

/// `place` stands for the file's name. bad_file, with the field, for another kind of model than
/// BPE, a missing vocabulary, ids that are used twice, beyond `id_limit` or with more than
/// most_unused_ids missing below them, and malformed merges.
[[nodiscard]] bpe_tokenizer parse_tokenizer_json(std::string_view text, std::string_view place,
                                                 std::uint64_t id_limit = 1 << 24);

/// The same for a file of at most 256 MiB.
[[nodiscard]] inline bpe_tokenizer read_tokenizer_json(const std::filesystem::path& path,
                                                       std::uint64_t id_limit = 1 << 24) {
  return parse_tokenizer_json(read_text_file(path, 256u << 20), place_of(path), id_limit);
}

namespace io::detail {

/// A reader of one tokenizer.json: what its parts share is the place and the limit.
class tokenizer_json_reader {
public:
  tokenizer_json_reader(std::string_view place, std::uint64_t id_limit)
      : place_(place), id_limit_(id_limit) {}

  bpe_tokenizer read(const nlohmann::json& root) {
    const auto& model = field(root, "model");
    const auto* type =
        find(model, "type"); // absent in old files, which are BPE if they have merges
    if (type != nullptr && *type != "BPE") refuse("model.type", "only BPE is supported");
    const auto* added = find(root, "added_tokens");
    const auto& vocabulary = field(model, "vocab");
    const std::uint64_t tokens = vocabulary.size() + (added == nullptr ? 0 : added->size());
    id_limit_ = std::min(id_limit_, tokens + most_unused_ids);
    read_vocabulary(vocabulary);
    read_added_tokens(root);
    read_merges(field(model, "merges"));
    if (const auto* unknown = find(model, "unk_token"); unknown != nullptr && unknown->is_string())
      result_.unknown_token = unknown->get<std::string>();
    read_pre_tokenizer(root);
    return std::move(result_);
  }

private:
  [[noreturn]] void refuse(const std::string& name, const std::string& problem) const {
    fail(error_code::bad_file, place_of(place_, "field", name), problem);
  }
  static const nlohmann::json* find(const nlohmann::json& object, const char* name) {
    if (!object.is_object()) return nullptr;
    const auto at = object.find(name);
    return at == object.end() || at->is_null() ? nullptr : &*at;
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

  void read_added_tokens(const nlohmann::json& root) {
    const auto* added = find(root, "added_tokens");
    if (added == nullptr) return;
    for (const auto& token : *added) {
      const auto& content = field(token, "content");
      if (!content.is_string()) refuse("added_tokens", "content is no string");
      const auto* special = find(token, "special");
      set_token(field(token, "id"), content.get<std::string>(), true,
                special != nullptr && special->is_boolean() && special->get<bool>());
    }
  }

  void read_merges(const nlohmann::json& merges) {
    if (!merges.is_array()) refuse("model.merges", "expected an array");
    for (const auto& merge : merges) { // "left right", or ["left", "right"] in newer files
      std::string text;
      if (merge.is_string())
        text = merge.get<std::string>();
      else if (merge.is_array() && merge.size() == 2 && merge[0].is_string() &&
               merge[1].is_string())
        text = merge[0].get<std::string>() + ' ' + merge[1].get<std::string>();
      const auto space = text.find(' ', 1);
      if (space == text.npos || space + 1 == text.size())
        refuse("model.merges",
               "merge " + std::to_string(result_.merges.size()) + " is no pair of tokens");
      result_.merges.push_back(std::move(text));
    }
  }

  /// Visits a component and, where it is a sequence, its parts.
  template <class Use>
  static void visit(const nlohmann::json* component, const char* parts, Use use) {
    if (component == nullptr || !component->is_object()) return;
    use(*component);
    if (const auto* list = find(*component, parts); list != nullptr && list->is_array())
      for (const auto& part : *list)
        if (part.is_object()) use(part);
  }
  static bool is_type(const nlohmann::json& component, const char* name) {
    const auto* type = find(component, "type");
    return type != nullptr && *type == name;
  }

  void read_pre_tokenizer(const nlohmann::json& root) {
    std::string pattern;
    bool own_pattern = false;
    visit(find(root, "pre_tokenizer"), "pretokenizers", [&](const nlohmann::json& part) {
      if (is_type(part, "ByteLevel")) {
        result_.byte_level = true;
        const auto* use_regex = find(part, "use_regex");
        own_pattern = use_regex == nullptr || *use_regex == true;
      } else if (is_type(part, "Split")) {
        if (const auto* p = find(part, "pattern"); p != nullptr)
          if (const auto* regex = find(*p, "Regex"); regex != nullptr && regex->is_string())
            pattern = regex->get<std::string>();
      } else if (is_type(part, "Metaspace")) {
        const auto* scheme = find(part, "prepend_scheme");
        const auto* prefix = find(part, "add_prefix_space");
        result_.adds_space_prefix =
            scheme != nullptr ? *scheme != "never" : prefix == nullptr || *prefix == true;
      }
    });
    visit(find(root, "normalizer"), "normalizers", [&](const nlohmann::json& part) {
      if (is_type(part, "Prepend")) result_.adds_space_prefix = true;
    });
    visit(find(root, "post_processor"), "processors", [&](const nlohmann::json& part) {
      const auto* single = is_type(part, "TemplateProcessing") ? find(part, "single") : nullptr;
      if (single != nullptr && single->is_array() && !single->empty())
        result_.adds_bos = find(single->front(), "SpecialToken") != nullptr;
    });
    if (!result_.byte_level) return;
    // Llama-3 takes digits in threes, Qwen2 one by one; GPT-2 is the pattern of ByteLevel itself.
    if (pattern.find("\\p{N}{1,3}") != pattern.npos)
      result_.pre_tokenizer = "llama-bpe";
    else if (pattern.find("\\p{N}|") != pattern.npos)
      result_.pre_tokenizer = "qwen2";
    else if (pattern.empty() && own_pattern)
      result_.pre_tokenizer = "gpt-2";
  }

  std::string place_;
  std::uint64_t id_limit_;
  bpe_tokenizer result_;
};

} // namespace io::detail

inline bpe_tokenizer parse_tokenizer_json(std::string_view text, std::string_view place,
                                          std::uint64_t id_limit) {
  return io::detail::tokenizer_json_reader(place, id_limit).read(parse_json(text, place));
}

} // namespace edgequant::inline EDGEQUANT_ABI
