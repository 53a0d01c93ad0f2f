// SPDX-License-Identifier: MIT
/// Model profiles as JSON: the fields are those of the struct.
#pragma once

#include "../io/json_object.hpp"
#include "../io/text_file.hpp"
#include "model_tensors.hpp"

#include <filesystem>

namespace edgequant::inline EDGEQUANT_ABI {

/// Reads an object with the fields of model_profile. Required are name, layers, hidden_size, heads,
/// kv_heads, feed_forward_size, vocabulary and context_tokens. Defaults: head_size is
/// hidden_size / heads, parameters are counted from the sizes, architecture is llama. bad_file,
/// with `place` and the field's path, for a missing or unknown field and a value of another type or
/// out of range.
[[nodiscard]] model_profile parse_model(const nlohmann::json& json, const std::string& place);

/// What parse_model() reads back as an equal profile; empty fields are left out.
[[nodiscard]] nlohmann::json to_json(const model_profile& model);

namespace advisor::detail {

[[nodiscard]] inline model_figures parse_figures(json_object fields) {
  constexpr auto largest_bytes = std::uint64_t{1} << 60;
  model_figures figures;
  figures.file_bytes = fields.integer("file_bytes", 0, largest_bytes);
  figures.ms_per_token = fields.number("ms_per_token");
  figures.memory_bytes = fields.integer("memory_bytes", 0, largest_bytes);
  fields.require_no_others();
  return figures;
}

[[nodiscard]] inline nlohmann::json to_json(const model_figures& figures) {
  nlohmann::json json = nlohmann::json::object();
  if (figures.file_bytes) json["file_bytes"] = *figures.file_bytes;
  if (figures.ms_per_token) json["ms_per_token"] = *figures.ms_per_token;
  if (figures.memory_bytes) json["memory_bytes"] = *figures.memory_bytes;
  return json;
}

inline void parse_sizes(json_object& fields, model_profile& model) {
  const auto size = [&](const char* name, std::uint64_t most) {
    return fields.require(name, fields.integer(name, 1, most));
  };
  model.layers = size("layers", most_layers);
  model.hidden_size = size("hidden_size", most_size);
  model.heads = size("heads", most_size);
  model.kv_heads = size("kv_heads", most_size);
  model.feed_forward_size = size("feed_forward_size", most_size);
  model.vocabulary = size("vocabulary", most_size);
  model.context_tokens = size("context_tokens", most_size);
  const auto head_size = fields.integer("head_size", 1, most_size);
  if (!head_size && model.hidden_size % model.heads != 0)
    fail(error_code::bad_file, fields.here("head_size"),
         "the field is missing, and hidden_size is no multiple of heads");
  model.head_size = head_size.value_or(model.hidden_size / model.heads);
}

inline void parse_layer_caches(json_object& fields, const std::string& place,
                               model_profile& model) {
  const auto* list = fields.find("layer_caches");
  if (list == nullptr) return;
  if (!list->is_array() || list->size() != model.layers)
    fields.refuse("layer_caches", "a list with an object for each of the layers");
  for (const auto& item : *list) {
    const auto path = "layer_caches[" + std::to_string(model.layer_caches.size()) + "]";
    json_object layer(item, place, path);
    layer_cache cache;
    cache.kv_heads = layer.require("kv_heads", layer.integer("kv_heads", 0, most_size));
    cache.window = layer.integer("window", 0, most_size).value_or(0);
    layer.require_no_others();
    model.layer_caches.push_back(cache);
  }
}

/// What the profile says of the model's file.
inline void parse_file_facts(json_object& fields, model_profile& model) {
  if (const auto stored = fields.text("stored")) {
    const auto* row = find_format(*stored);
    if (row == nullptr || row->block_length == 1)
      fail(error_code::bad_file, fields.here("stored"),
           "expected a format of quantized weights, such as q4_0, not '" + escaped(*stored) + "'");
    model.stored = row->id;
  }
  model.file_kind = fields.text("file_kind").value_or("");
  for (const auto& name : fields.texts("matrix_formats")) {
    const auto* row = find_format(name);
    if (row == nullptr)
      fail(error_code::bad_file, fields.here("matrix_formats"),
           "unknown format '" + escaped(name) + "'");
    model.matrix_formats.push_back(row->id);
  }
  model.built_in_refusal = fields.text("built_in_refusal").value_or("");
}

} // namespace advisor::detail

inline model_profile parse_model(const nlohmann::json& json, const std::string& place) {
  json_object fields(json, place);
  model_profile model;
  model.name = fields.require("name", fields.text("name"));
  model.architecture = fields.text("architecture").value_or(model.architecture);
  advisor::detail::parse_sizes(fields, model);
  model.tied_embeddings =
      fields.flag("tied_embeddings").value_or(family_of(model.architecture).tied_embeddings);
  const auto parameters = fields.integer("parameters", 1, most_parameters);
  model.accuracy = fields.number("accuracy", 0, 1);
  if (auto before = fields.object("before")) model.before = advisor::detail::parse_figures(*before);
  if (auto after = fields.object("after")) model.after = advisor::detail::parse_figures(*after);
  model.experts = fields.integer("experts", 0, most_size).value_or(0);
  advisor::detail::parse_layer_caches(fields, place, model);
  advisor::detail::parse_file_facts(fields, model);
  model.source = fields.text("source").value_or("");
  fields.require_no_others();
  const auto count = advisor::detail::count_parameters(model);
  if (!count) fail(error_code::bad_file, place, "its sizes make no model: too many parameters");
  model.parameters = parameters.value_or(*count);
  return model;
}

inline nlohmann::json to_json(const model_profile& model) {
  nlohmann::json json = {{"name", model.name},
                         {"architecture", model.architecture},
                         {"parameters", model.parameters},
                         {"layers", model.layers},
                         {"hidden_size", model.hidden_size},
                         {"heads", model.heads},
                         {"kv_heads", model.kv_heads},
                         {"head_size", model.head_size},
                         {"feed_forward_size", model.feed_forward_size},
                         {"vocabulary", model.vocabulary},
                         {"tied_embeddings", model.tied_embeddings},
                         {"context_tokens", model.context_tokens}};
  if (model.accuracy) json["accuracy"] = *model.accuracy;
  if (model.before != model_figures{}) json["before"] = advisor::detail::to_json(model.before);
  if (model.after != model_figures{}) json["after"] = advisor::detail::to_json(model.after);
  for (const auto& layer : model.layer_caches) {
    nlohmann::json item = {{"kv_heads", layer.kv_heads}};
    if (layer.window != 0) item["window"] = layer.window;
    json["layer_caches"].push_back(std::move(item));
  }
  if (model.experts != 0) json["experts"] = model.experts;
  if (model.stored) json["stored"] = name_of(*model.stored);
  if (!model.file_kind.empty()) json["file_kind"] = model.file_kind;
  for (const auto type : model.matrix_formats) json["matrix_formats"].push_back(name_of(type));
  if (!model.built_in_refusal.empty()) json["built_in_refusal"] = model.built_in_refusal;
  if (!model.source.empty()) json["source"] = model.source;
  return json;
}

} // namespace edgequant::inline EDGEQUANT_ABI
