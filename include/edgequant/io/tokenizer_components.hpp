// SPDX-License-Identifier: MIT
/// The parts of a tokenizer.json around its vocabulary: what GGUF can say of them, and refusals of
/// the rest.
#pragma once

#include "json.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace edgequant::inline EDGEQUANT_ABI {

/// The special tokens that a tokenizer.json puts around a text.
struct tokenizer_template {
  std::optional<std::uint64_t> before, after; ///< ids
};

namespace io::detail {

/// Reads components of one tokenizer.json. Errors are bad_file with the component's name.
class tokenizer_components {
public:
  explicit tokenizer_components(std::string_view place) : place_(place) {}

  bool byte_level = false;
  bool adds_space_prefix = false; ///< a space is put before the text
  bool maps_spaces = false;       ///< spaces become U+2581
  std::string pre_tokenizer;      ///< tokenizer.ggml.pre; empty: none is needed
  std::optional<tokenizer_template> around;
  std::vector<std::string> notes;

  /// Reads all of them from the object at the top of the file.
  void read(const nlohmann::json& root) {
    each(root, "pre_tokenizer", "pretokenizers",
         [&](const auto& part) { byte_level = byte_level || is_type(part, "ByteLevel"); });
    each(root, "normalizer", "normalizers", [&](const auto& part) { read_normalizer(part); });
    each(root, "pre_tokenizer", "pretokenizers",
         [&](const auto& part) { read_pre_tokenizer(part); });
    read_post_processor(root);
    each(root, "decoder", "decoders", [&](const auto& part) { read_decoder(part); });
    if (byte_level) name_pre_tokenizer(root);
    if (!byte_level && !maps_spaces)
      notes.push_back("tokenizer.json does not turn spaces into U+2581; engines of GGUF do");
    for (const char* name : {"truncation", "padding"})
      if (find(root, name) != nullptr)
        notes.push_back("tokenizer.json asks for " + std::string(name) +
                        ", which nothing here and no engine of GGUF does");
  }

  void read_post_processor(const nlohmann::json& root) {
    each(root, "post_processor", "processors", [&](const auto& part) {
      if (is_type(part, "TemplateProcessing"))
        read_template(part);
      else if (!is_type(part, "ByteLevel")) // it only trims offsets
        refuse_part("post_processor", part);
    });
  }

  [[noreturn]] void refuse(const std::string& name, const std::string& problem) const {
    fail(error_code::bad_file, place_of(place_, "field", name), problem);
  }
  static const nlohmann::json* find(const nlohmann::json& object, const char* name) {
    if (!object.is_object()) return nullptr;
    const auto at = object.find(name);
    return at == object.end() || at->is_null() ? nullptr : &*at;
  }
  /// A flag; bad_file for another kind of value.
  [[nodiscard]] bool flag(const nlohmann::json& object, const char* name, bool otherwise,
                          const std::string& path) const {
    const auto* value = find(object, name);
    if (value == nullptr) return otherwise;
    if (!value->is_boolean()) refuse(path, "expected true or false");
    return value->get<bool>();
  }

private:
  static std::string text(const nlohmann::json& object, const char* name) {
    const auto* value = find(object, name);
    return value != nullptr && value->is_string() ? value->get<std::string>() : std::string{};
  }
  static bool is_type(const nlohmann::json& part, const char* name) {
    return text(part, "type") == name;
  }
  [[noreturn]] void refuse_part(const char* component, const nlohmann::json& part) const {
    refuse(component, "'" + escaped(text(part, "type")) + "' has no counterpart in GGUF");
  }

  /// Visits the parts of a component, those of sequences in sequences too.
  template <class Use>
  void each(const nlohmann::json& root, const char* name, const char* parts, Use use) const {
    if (const auto* component = find(root, name)) visit(*component, name, parts, use);
  }
  template <class Use>
  void visit(const nlohmann::json& part, const char* name, const char* parts, Use use) const {
    if (!part.is_object()) refuse(name, "expected an object");
    if (!is_type(part, "Sequence")) return use(part);
    const auto* list = find(part, parts);
    if (list == nullptr || !list->is_array()) refuse(name, "a sequence without a list of parts");
    for (const auto& inner : *list) visit(inner, name, parts, use);
  }

  static constexpr const char* space_mark = "\xe2\x96\x81";

  static bool is_pattern(const nlohmann::json& part, const char* wanted) {
    const auto* pattern = find(part, "pattern");
    return pattern != nullptr && text(*pattern, "String") == wanted;
  }

  void read_normalizer(const nlohmann::json& part) {
    if (is_type(part, "NFC")) { // most texts are in this form already
      notes.push_back("tokenizer.json brings texts to Unicode's form NFC; engines of GGUF do not");
    } else if (!byte_level && is_type(part, "Prepend")) {
      if (text(part, "prepend") != space_mark)
        refuse("normalizer", "Prepend of another text than U+2581 has no counterpart in GGUF");
      adds_space_prefix = true;
    } else if (!byte_level && is_type(part, "Replace")) {
      if (!is_pattern(part, " ") || text(part, "content") != space_mark)
        refuse("normalizer",
               "Replace, other than of a space by U+2581, has no counterpart in GGUF");
      maps_spaces = true;
    } else {
      refuse_part("normalizer", part);
    }
  }

  void read_pre_tokenizer(const nlohmann::json& part) {
    constexpr const char* name = "pre_tokenizer";
    if (is_type(part, "ByteLevel")) {
      if (flag(part, "add_prefix_space", true, name))
        refuse(name, "add_prefix_space of ByteLevel has no counterpart in GGUF");
      own_pattern_ = flag(part, "use_regex", true, name);
    } else if (byte_level && is_type(part, "Digits") &&
               flag(part, "individual_digits", false, name)) {
      single_digits_ = true;
    } else if (byte_level && is_type(part, "Split")) {
      read_split(part);
    } else if (!byte_level && is_type(part, "Metaspace")) {
      read_metaspace(part);
    } else if (byte_level || !maps_spaces || !is_type(part, "Split") || !is_pattern(part, " ")) {
      refuse_part(name, part); // what is left cuts at spaces, and there are none any more
    }
  }

  void read_split(const nlohmann::json& part) {
    constexpr const char* name = "pre_tokenizer";
    const auto* pattern = find(part, "pattern");
    const std::string regex = pattern == nullptr ? std::string{} : text(*pattern, "Regex");
    if (regex.empty()) refuse(name, "Split without a regular expression");
    if (!pattern_.empty()) refuse(name, "two Splits have no counterpart in GGUF");
    const bool inverted = flag(part, "invert", false, name);
    const std::string behavior = text(part, "behavior");
    const bool words =
        inverted ? behavior == "Removed" : behavior.empty() || behavior == "Isolated";
    if (!words) refuse(name, "Split of behavior '" + escaped(behavior) + "'");
    pattern_ = regex;
  }

  void read_metaspace(const nlohmann::json& part) {
    const std::string mark = text(part, "replacement"), scheme = text(part, "prepend_scheme");
    if (!mark.empty() && mark != space_mark)
      refuse("pre_tokenizer", "Metaspace with another mark than U+2581");
    adds_space_prefix =
        scheme.empty() ? flag(part, "add_prefix_space", true, "pre_tokenizer") : scheme != "never";
    maps_spaces = true;
  }

  void read_decoder(const nlohmann::json& part) const {
    for (const char* known : {"ByteLevel", "ByteFallback", "Fuse", "Metaspace"})
      if (is_type(part, known)) return;
    const auto* start = find(part, "start");
    if (!byte_level && is_type(part, "Replace") && is_pattern(part, space_mark) &&
        text(part, "content") == " ")
      return;
    if (!byte_level && is_type(part, "Strip") && text(part, "content") == " " && start != nullptr &&
        is_number(*start, 1))
      return;
    refuse_part("decoder", part);
  }

  /// One special token at most on each side of the text.
  void read_template(const nlohmann::json& part) {
    constexpr const char* name = "post_processor";
    const auto* single = find(part, "single");
    if (single == nullptr || !single->is_array()) refuse(name, "a template without 'single'");
    if (around && (around->before || around->after)) refuse(name, "two templates");
    around = tokenizer_template{};
    bool behind = false;
    for (const auto& piece : *single) {
      const auto* special = find(piece, "SpecialToken");
      if (special == nullptr) {
        if (find(piece, "Sequence") == nullptr || behind)
          refuse(name, "a template other than token, text, token");
        behind = true;
        continue;
      }
      auto& place = behind ? around->after : around->before;
      if (place) refuse(name, "more than one special token on a side has no counterpart in GGUF");
      place = template_id(part, text(*special, "id"));
    }
    if (!behind) refuse(name, "a template without the text");
  }

  [[nodiscard]] std::uint64_t template_id(const nlohmann::json& part,
                                          const std::string& token) const {
    const auto* table = find(part, "special_tokens");
    const auto* entry = table == nullptr ? nullptr : find(*table, token.c_str());
    const auto* ids = entry == nullptr ? nullptr : find(*entry, "ids");
    if (ids == nullptr || !ids->is_array() || ids->size() != 1 || !(*ids)[0].is_number_unsigned())
      refuse("post_processor", "expected one id for the special token '" + escaped(token) + "'");
    return (*ids)[0].get<std::uint64_t>();
  }

  /// Regular expressions that tokenizer.ggml.pre has names for.
  struct named_pattern {
    std::string_view name, regex;
  };
  static constexpr named_pattern named_patterns[] = {
      {"llama-bpe", R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|)"
                    R"( ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)"},
      {"qwen2", R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}|)"
                R"( ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)"},
      {"qwen35", R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}|)"
                 R"( ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)"},
      {"gpt-4o", R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*)"
                 R"([\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|)"
                 R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+)"
                 R"([\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}|)"
                 R"( ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)"},
      {"tekken", R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|)"
                 R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|)"
                 R"(\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)"},
      {"gpt-2", R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)"},
  };

  void name_pre_tokenizer(const nlohmann::json& root) {
    constexpr const char* name = "pre_tokenizer";
    if (pattern_.empty() && own_pattern_) pre_tokenizer = single_digits_ ? "smollm" : "gpt-2";
    for (const auto& row : named_patterns)
      if (row.regex == pattern_ && !own_pattern_ && !single_digits_) pre_tokenizer = row.name;
    if (pre_tokenizer.empty())
      refuse(name, pattern_.empty()
                       ? std::string("ByteLevel without a regular expression has no name in GGUF")
                       : "the pattern '" + escaped(pattern_) + "' has no name in GGUF");
    const auto* model = find(root, "model");
    const bool said = model != nullptr && find(*model, "ignore_merges") != nullptr;
    const bool ignores =
        model != nullptr && flag(*model, "ignore_merges", false, "model.ignore_merges");
    // The first files of Llama-3 lack the field, and its words that are tokens have merges.
    if (pre_tokenizer == "llama-bpe" && said && !ignores) pre_tokenizer = "dbrx";
    const bool takes_words = pre_tokenizer == "llama-bpe" || pre_tokenizer == "tekken";
    if (!takes_words && ignores)
      refuse("model.ignore_merges", "only the patterns of Llama 3 and Tekken have names with it in "
                                    "GGUF");
    if (pre_tokenizer == "tekken" && said && !ignores)
      refuse("model.ignore_merges", "GGUF's tekken takes words that are tokens whole");
  }

  std::string place_, pattern_;
  bool own_pattern_ = false, single_digits_ = false;
};

} // namespace io::detail
} // namespace edgequant::inline EDGEQUANT_ABI
