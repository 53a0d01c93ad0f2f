// SPDX-License-Identifier: MIT
/// What tokenizer_config.json, generation_config.json and their neighbours say of a vocabulary.
#pragma once

#include "../io/json_object.hpp"
#include "vocabulary.hpp"

#include <filesystem>
#include <string>
#include <vector>

namespace edgequant::inline EDGEQUANT_ABI {

/// A checkpoint's vocabulary while its files are read, one after another.
struct checkpoint_vocabulary {
  vocabulary words;
  config_tokens tokens;
  std::optional<tokenizer_template> around;                        ///< of tokenizer.json
  std::vector<std::pair<std::string, std::string>> chat_templates; ///< name and text; "" first
  std::vector<std::string> notes;                                  ///< one line each
};

/// Gives a token its place and type. bad_file at `place` for an id beyond the vocabulary.
void add_token(checkpoint_vocabulary& vocabulary, const added_token& token,
               const std::string& place);

/// The special tokens around a text as tokenizer.json has them: BOS before it, EOS behind it.
/// bad_file for ids beyond the vocabulary.
void apply_template(checkpoint_vocabulary& vocabulary, const tokenizer_template& around,
                    const std::string& place);

/// added_tokens.json: texts and their ids. Errors as add_token().
void apply_added_tokens(checkpoint_vocabulary& vocabulary, const nlohmann::json& json,
                        const std::string& place);

/// tokenizer_config.json: add_bos_token, add_eos_token, add_prefix_space, bos_token, eos_token,
/// added_tokens_decoder and chat_template. bad_file, naming the field, for values of the wrong
/// type, ids beyond the vocabulary, a BOS that has to be added and is no token, and for what
/// changes the tokens in a way that GGUF cannot say. A field that is not known becomes a note.
void apply_tokenizer_config(checkpoint_vocabulary& vocabulary, const nlohmann::json& json,
                            const std::string& place);

/// generation_config.json: every eos_token_id ends a text. bad_file for ids beyond the vocabulary.
void apply_generation_config(checkpoint_vocabulary& vocabulary, const nlohmann::json& json,
                             const std::string& place);

/// The tokenizer.chat_template keys.
void set_chat_templates(gguf_metadata& metadata, const checkpoint_vocabulary& vocabulary);

/// Reads a token id, or a list of them, below `limit`; -1 stands for none. bad_file otherwise.
[[nodiscard]] std::vector<std::uint64_t> token_ids_of(json_object& fields, const char* name,
                                                      std::uint64_t limit);

inline std::vector<std::uint64_t> token_ids_of(json_object& fields, const char* name,
                                               std::uint64_t limit) {
  std::vector<std::uint64_t> ids;
  const auto add = [&](const nlohmann::json& value) {
    if (!value.is_number_integer()) fields.refuse(name, "the number of a token or a list of them");
    if (is_number(value, -1)) return;
    // What a parser reads is unsigned, what a program writes as json(7) is signed.
    const bool negative = !value.is_number_unsigned() && value.get<std::int64_t>() < 0;
    if (negative || value.get<std::uint64_t>() >= limit)
      fields.refuse(name, "a token below the vocabulary's size of " + std::to_string(limit));
    ids.push_back(value.get<std::uint64_t>());
  };
  const auto* value = fields.find(name);
  if (value == nullptr) return ids;
  if (!value->is_array()) add(*value);
  if (value->is_array())
    for (const auto& entry : *value) add(entry);
  return ids;
}

namespace text::detail {

/// Fields of tokenizer_config.json with no say in which tokens a text becomes, or with the same as
/// tokenizer.json has, which is read. Names as in Hugging Face transformers.
inline constexpr std::string_view passive_fields[] = {
    "add_special_tokens",
    "additional_special_tokens",
    "audio_token",
    "auto_map",
    "backend",
    "boi_token",
    "chat_template_type",
    "clean_up_tokenization_spaces",
    "cls_token",
    "device_map",
    "eoi_token",
    "errors",
    "extra_special_tokens",
    "fast_tokenizer",
    "image_token",
    "is_local",
    "legacy",
    "mask_token",
    "max_length",
    "model_input_names",
    "model_max_length",
    "model_specific_special_tokens",
    "model_type",
    "name_or_path",
    "pad_to_multiple_of",
    "pad_token",
    "pad_token_type_id",
    "padding",
    "padding_side",
    "processor_class",
    "response_schema",
    "sep_token",
    "special_tokens_map_file",
    "spaces_between_special_tokens",
    "stride",
    "tokenizer_class",
    "tokenizer_file",
    "trim_offsets",
    "truncation",
    "truncation_side",
    "truncation_strategy",
    "trust_remote_code",
    "unk_token",
    "use_default_system_prompt",
    "use_fast",
    "use_fast_tokenizer",
    "vocab_file",
    "vocab_size",
    "video_token",
};

/// A note for each field that nobody asked for and that may change a text's tokens.
inline void note_unknown_fields(checkpoint_vocabulary& v, const json_object& fields) {
  for (const auto& name : fields.others())
    if (std::find(std::begin(passive_fields), std::end(passive_fields), name) ==
        std::end(passive_fields))
      v.notes.push_back(fields.here(name) + ": this field is not known and counts for nothing");
}

[[nodiscard]] inline std::optional<std::uint64_t> find_token(const vocabulary& words,
                                                             const std::string& text) {
  const auto found = std::find(words.tokens.begin(), words.tokens.end(), text);
  if (found == words.tokens.end()) return std::nullopt;
  return static_cast<std::uint64_t>(found - words.tokens.begin());
}

inline void require_id(const checkpoint_vocabulary& v, std::uint64_t id, const std::string& what,
                       const std::string& place) {
  if (id >= v.tokens.vocabulary)
    fail(error_code::bad_file, place,
         what + " has the id " + std::to_string(id) + ", the vocabulary " +
             counted(v.tokens.vocabulary, "token"));
}

/// A token's text: a string, or an object with `content`.
[[nodiscard]] inline std::optional<std::string> token_text(json_object& fields, const char* name) {
  const auto* value = fields.find(name);
  if (value == nullptr || value->is_string()) return fields.text(name);
  return fields.object(name)->text("content");
}

/// A special token that a file names by its text.
[[nodiscard]] inline std::optional<std::uint64_t>
named_token(checkpoint_vocabulary& v, json_object& fields, const char* name) {
  const auto text = token_text(fields, name);
  if (!text || text->empty()) return std::nullopt;
  const auto id = find_token(v.words, *text);
  if (!id)
    v.notes.push_back(fields.here(name) + ": '" + escaped(*text) + "' is no token");
  else if (auto& type = v.words.types[static_cast<std::size_t>(*id)];
           type == token_type::user_defined)
    type = token_type::control;
  return id;
}

inline void set_bos(checkpoint_vocabulary& v, std::uint64_t id, const std::string& place) {
  auto& bos = v.tokens.bos_token;
  if (bos && *bos != id)
    v.notes.push_back(place + ": BOS is token " + std::to_string(id) + ", not config.json's " +
                      std::to_string(*bos));
  bos = id;
}

inline void set_flag(checkpoint_vocabulary& v, bool& flag, std::optional<bool> said,
                     bool in_template, const std::string& place) {
  if (!said) return;
  if (v.around && *said != in_template)
    v.notes.push_back(place + ": " + (*said ? "true" : "false") +
                      ", against the template of tokenizer.json");
  flag = *said;
}

inline void read_added_decoder(checkpoint_vocabulary& v, json_object& fields,
                               const std::string& place) {
  constexpr const char* name = "added_tokens_decoder";
  const auto* table = fields.find(name);
  if (table == nullptr) return;
  if (!table->is_object()) fields.refuse(name, "an object of ids and tokens");
  const io::detail::tokenizer_components reader(place);
  for (const auto& [key, token] : table->items()) {
    const bool digits =
        !key.empty() && key.size() < 10 && key.find_first_not_of("0123456789") == key.npos;
    if (!digits) fields.refuse_as(name, "'" + escaped(key) + "' is no id");
    add_token(v, io::detail::read_added_token(token, std::stoull(key), reader), place);
  }
}

/// A text, or a list of {name, template}.
inline void read_chat_templates(checkpoint_vocabulary& v, json_object& fields) {
  constexpr const char* name = "chat_template";
  const auto* value = fields.find(name);
  if (value == nullptr) return;
  if (!value->is_array()) {
    v.chat_templates.emplace_back("", *fields.text(name));
    return;
  }
  for (const auto& entry : *value) {
    json_object one(entry, fields.here(name));
    const auto text = one.require("template", one.text("template"));
    const auto called = one.require("name", one.text("name"));
    v.chat_templates.emplace_back(called == "default" ? "" : called, text);
  }
}

} // namespace text::detail

inline void add_token(checkpoint_vocabulary& v, const added_token& token,
                      const std::string& place) {
  text::detail::require_id(v, token.id, "added token '" + escaped(token.text) + "'", place);
  const auto id = static_cast<std::size_t>(token.id);
  auto& words = v.words;
  if (token.id >= words.tokens.size() + most_unused_tokens)
    fail(error_code::bad_file, place, "the id of '" + escaped(token.text) + "' is too large");
  for (auto next = words.tokens.size(); next <= id; ++next) {
    words.tokens.push_back(text::detail::unused_name(next));
    words.types.push_back(token_type::unused);
    if (words.model == "llama") words.scores.push_back(-1000.0f);
  }
  auto& type = words.types[id];
  const bool same = words.tokens[id] == token.text;
  if (!same && text::detail::find_token(words, token.text))
    fail(error_code::bad_file, place,
         "'" + escaped(token.text) + "' is token " +
             std::to_string(*text::detail::find_token(words, token.text)) + " and token " +
             std::to_string(id));
  words.tokens[id] = token.text;
  if (same && (type == token_type::unknown || type == token_type::byte)) return;
  if (token.special)
    type = token_type::control;
  else if (!same || type != token_type::control)
    type = token_type::user_defined;
}

inline void apply_template(checkpoint_vocabulary& v, const tokenizer_template& around,
                           const std::string& place) {
  v.around = around;
  v.words.add_bos = around.before.has_value();
  v.words.add_eos = around.after.has_value();
  for (const auto& id : {around.before, around.after})
    if (id) text::detail::require_id(v, *id, "post_processor: a special token", place);
  if (around.before) text::detail::set_bos(v, *around.before, place + ": post_processor");
  if (!around.after) return;
  const auto other = v.tokens.eos_token; // what is added behind a text is the key's token
  v.tokens.eos_token = *around.after;
  if (other) v.tokens.add_end(*other);
}

inline void apply_added_tokens(checkpoint_vocabulary& v, const nlohmann::json& json,
                               const std::string& place) {
  json_object fields(json, place);
  for (const auto& [text, id] : json.items()) {
    const auto number = fields.integer(text, 0, 0x7fffffff);
    if (!number || text.empty()) continue;
    add_token(v, {*number, text, false}, place);
  }
}

inline void apply_tokenizer_config(checkpoint_vocabulary& v, const nlohmann::json& json,
                                   const std::string& place) {
  json_object fields(json, place);
  text::detail::read_added_decoder(v, fields, place);
  for (const auto& text : fields.find("additional_special_tokens") != nullptr &&
                                  json["additional_special_tokens"].is_array()
                              ? json["additional_special_tokens"]
                              : nlohmann::json::array())
    if (text.is_string())
      if (const auto id = text::detail::find_token(v.words, text.get<std::string>());
          id && v.words.types[static_cast<std::size_t>(*id)] == token_type::user_defined)
        v.words.types[static_cast<std::size_t>(*id)] = token_type::control;
  text::detail::set_flag(v, v.words.add_bos, fields.flag("add_bos_token"),
                         v.around && v.around->before, fields.here("add_bos_token"));
  text::detail::set_flag(v, v.words.add_eos, fields.flag("add_eos_token"),
                         v.around && v.around->after, fields.here("add_eos_token"));
  if (const auto bos = text::detail::named_token(v, fields, "bos_token")) {
    // The template has the last word on what is put before a text.
    if (!v.around || !v.around->before) text::detail::set_bos(v, *bos, fields.here("bos_token"));
  } else if (v.words.add_bos && fields.find("bos_token") != nullptr) {
    fields.refuse("bos_token", "a token of the vocabulary, as a text begins with it");
  }
  if (const auto eos = text::detail::named_token(v, fields, "eos_token")) v.tokens.add_end(*eos);
  if (v.words.model == "gpt2" && v.words.add_bos && !v.tokens.bos_token)
    fields.refuse_as("add_bos_token", "true, and no file names the token");
  if (v.words.model == "gpt2" && v.words.add_eos && !v.tokens.eos_token)
    fields.refuse_as("add_eos_token", "true, and no file names the token");
  if (const auto prefix = fields.flag("add_prefix_space")) {
    if (v.words.model == "gpt2" && *prefix)
      fields.refuse("add_prefix_space", "false, as GGUF's byte-level BPE has no such space");
    v.words.add_space_prefix = v.words.model == "llama" && *prefix;
  }
  if (fields.flag("do_lower_case").value_or(false))
    fields.refuse("do_lower_case", "false, as engines of GGUF keep the case");
  if (const auto* options = fields.find("sp_model_kwargs");
      options != nullptr && options->is_object() && !options->empty())
    fields.refuse("sp_model_kwargs", "no options, as GGUF has no place for them");
  if (fields.flag("split_special_tokens").value_or(false))
    fields.refuse("split_special_tokens", "false, as engines of GGUF keep special tokens whole");
  if (fields.flag("from_slow").value_or(false) && v.around)
    v.notes.push_back(fields.here("from_slow") + ": tokenizer.json is taken as it is");
  text::detail::read_chat_templates(v, fields);
  text::detail::note_unknown_fields(v, fields);
}

inline void apply_generation_config(checkpoint_vocabulary& v, const nlohmann::json& json,
                                    const std::string& place) {
  json_object fields(json, place);
  for (const auto id : token_ids_of(fields, "eos_token_id", v.tokens.vocabulary))
    v.tokens.add_end(id);
  const auto bos = token_ids_of(fields, "bos_token_id", v.tokens.vocabulary);
  if (!bos.empty() && !v.tokens.bos_token) v.tokens.bos_token = bos.front();
  for (const char* name : {"suppress_tokens", "begin_suppress_tokens", "bad_words_ids",
                           "forced_bos_token_id", "forced_eos_token_id", "stop_strings"})
    if (const auto* value = fields.find(name); value != nullptr && !value->empty())
      v.notes.push_back(fields.here(name) + ": GGUF has no key for it, and engines will not know");
}

inline void set_chat_templates(gguf_metadata& metadata, const checkpoint_vocabulary& v) {
  std::vector<std::string> names;
  for (const auto& [name, text] : v.chat_templates) {
    if (!name.empty()) names.push_back(name);
    metadata.set("tokenizer.chat_template" + (name.empty() ? "" : "." + name), text);
  }
  if (!names.empty()) metadata.set_array("tokenizer.chat_templates", names);
}

} // namespace edgequant::inline EDGEQUANT_ABI
