// SPDX-License-Identifier: MIT
/// Inspections of models for people (tables) and for programs (JSON).
#pragma once

#include "inspection.hpp"
#include "report_text.hpp"

#include <cmath>

namespace edgequant::inline EDGEQUANT_ABI {

/// Arrays of more values than this are given by their type and length, unless all are asked for.
inline constexpr std::size_t shown_array_values = 16;

/// A value of metadata: numbers, strings, and arrays of them; a long array as
/// {"array_of": "string", "count": 32000} unless `whole_arrays`. A float that is not finite is its
/// name in a string.
[[nodiscard]] nlohmann::json value_json(const gguf_metadata::entry& entry, bool whole_arrays);

/// input; metadata, an object; tensors, an array of {name, dims, format, values, bytes,
/// bits_per_weight}; formats, roles and layers, arrays of {name or layer, tensors, values, bytes,
/// bits_per_weight}; totals; notes.
[[nodiscard]] nlohmann::json to_json(const model_inspection& model, bool whole_arrays = false);

/// keys, an array of {key, where}, and tensors, an array of {name, where, first_format,
/// second_format, identical, error}: `where` is both, first or second; the error as in a
/// compression report, and null where values were not compared.
[[nodiscard]] nlohmann::json to_json(const model_difference& difference);

void print_inspection(std::ostream& out, const model_inspection& model);
void print_difference(std::ostream& out, const model_difference& difference);

namespace report::detail {

template <class Number> nlohmann::json number_json(Number x) {
  if constexpr (std::is_floating_point_v<Number>) {
    if (!std::isfinite(x)) return std::isnan(x) ? "NaN" : x < 0 ? "-infinity" : "infinity";
    return nlohmann::json::parse(shortest_text(x)); // 1e-05, not the double of that f32
  } else {
    return x;
  }
}

/// The next value; `type` is a scalar's or a string's.
[[nodiscard]] inline nlohmann::json next_json(byte_reader& reader, gguf_type type) {
  if (type == gguf_type::string) return utf8(std::string(read_gguf_string(reader, "a string")));
  return visit_number(reader, type, [](auto x) { return number_json(x); });
}

[[nodiscard]] inline nlohmann::json totals_json(const tensor_totals& t) {
  return {{"tensors", t.tensors},
          {"values", t.values},
          {"bytes", t.bytes},
          {"bits_per_weight", t.bits_per_weight()}};
}

[[nodiscard]] inline const char* where_text(model_difference::place where) {
  using place = model_difference::place;
  return where == place::both ? "both" : where == place::first_only ? "first" : "second";
}

[[nodiscard]] inline std::string totals_row(std::string_view name, const tensor_totals& t) {
  return left_aligned(name, 24) + right_aligned(std::to_string(t.tensors), 8) +
         right_aligned(std::to_string(t.values), 14) + right_aligned(format_bytes(t.bytes), 12) +
         right_aligned(fixed_text(t.bits_per_weight(), 3), 8) + "\n";
}

[[nodiscard]] inline std::string totals_head(std::string_view what) {
  return "\n" + left_aligned(what, 24) + right_aligned("tensors", 8) + right_aligned("values", 14) +
         right_aligned("size", 12) + right_aligned("bits/w", 8) + "\n";
}

/// Whether the bytes are the same in the same format.
[[nodiscard]] inline bool identical(const model_difference::tensor& t) {
  return t.first != nullptr && t.second != nullptr && t.first->type == t.second->type &&
         t.first->dims == t.second->dims && std::ranges::equal(t.first->data, t.second->data);
}

} // namespace report::detail

inline nlohmann::json value_json(const gguf_metadata::entry& entry, bool whole_arrays) {
  byte_reader reader(entry.value, "metadata");
  if (entry.type != gguf_type::array) return report::detail::next_json(reader, entry.type);
  const gguf_type type = read_gguf_type(reader);
  const auto count = reader.read<std::uint64_t>("a count");
  if (!whole_arrays && count > shown_array_values)
    return {{"array_of", info_of(type).name}, {"count", count}};
  nlohmann::json values = nlohmann::json::array();
  for (std::uint64_t i = 0; i < count; ++i)
    values.push_back(report::detail::next_json(reader, type));
  return values;
}

inline nlohmann::json to_json(const model_inspection& model, bool whole_arrays) {
  using nlohmann::json;
  json metadata = json::object(), tensors = json::array(), formats = json::array(),
       roles = json::array(), layers = json::array();
  for (const auto& entry : model.source->metadata)
    metadata[report::detail::utf8(entry.key)] = value_json(entry, whole_arrays);
  for (const auto& tensor : model.source->tensors) {
    const auto& t = tensor.stored;
    tensor_totals one;
    one.add(t);
    tensors.push_back({{"name", report::detail::utf8(t.name)},
                       {"dims", t.dims},
                       {"format", name_of(t.type)},
                       {"values", one.values},
                       {"bytes", one.bytes},
                       {"bits_per_weight", one.bits_per_weight()}});
  }
  const auto add = [](json& list, const char* field, const json& name, const tensor_totals& t) {
    list.push_back({{field, name}});
    list.back().update(report::detail::totals_json(t));
  };
  for (const auto& [name, t] : model.formats) add(formats, "name", name, t);
  for (const auto& [name, t] : model.roles) add(roles, "name", report::detail::utf8(name), t);
  for (const auto& [number, t] : model.layers) add(layers, "layer", number, t);
  return {{"input", report::detail::utf8(model.source->name)},
          {"metadata", std::move(metadata)},
          {"tensors", std::move(tensors)},
          {"formats", std::move(formats)},
          {"roles", std::move(roles)},
          {"layers", std::move(layers)},
          {"totals", report::detail::totals_json(model.all)},
          {"notes", model.source->notes}};
}

inline nlohmann::json to_json(const model_difference& difference) {
  using nlohmann::json;
  json keys = json::array(), tensors = json::array();
  for (const auto& key : difference.keys)
    keys.push_back({{"key", report::detail::utf8(key.name)},
                    {"where", report::detail::where_text(key.where)}});
  const auto format_json = [](const stored_tensor* t) {
    return t == nullptr ? json(nullptr) : json(name_of(t->type));
  };
  for (const auto& t : difference.tensors)
    tensors.push_back({{"name", report::detail::utf8(t.name)},
                       {"where", report::detail::where_text(t.where)},
                       {"first_format", format_json(t.first)},
                       {"second_format", format_json(t.second)},
                       {"identical", report::detail::identical(t)},
                       {"error", t.error ? report::detail::error_json(*t.error) : json(nullptr)}});
  return {{"keys", std::move(keys)},
          {"tensors", std::move(tensors)},
          {"error", report::detail::error_json(difference.error)}};
}

inline void print_inspection(std::ostream& out, const model_inspection& model) {
  for (const auto& entry : model.source->metadata) {
    const auto value = value_json(entry, false);
    const std::string text = value.is_object()
                                 ? std::to_string(value["count"].get<std::uint64_t>()) +
                                       " values, " + value["array_of"].get<std::string>()
                             : value.is_string() ? escaped(value.get<std::string>(), 100)
                                                 : value.dump();
    out << left_aligned(escaped(entry.key), 44) + " " + text + "\n";
  }
  out << "\n" + left_aligned("tensor", 36) + right_aligned("shape", 18) + "  " +
             left_aligned("format", 8) + right_aligned("size", 12) + right_aligned("bits/w", 8) +
             "\n";
  for (const auto& tensor : model.source->tensors) {
    const auto& t = tensor.stored;
    tensor_totals one;
    one.add(t);
    out << left_aligned(escaped(t.name), 36) + right_aligned(format_shape(t.dims), 18) + "  " +
               left_aligned(name_of(t.type), 8) + right_aligned(format_bytes(one.bytes), 12) +
               right_aligned(fixed_text(one.bits_per_weight(), 3), 8) + "\n";
  }
  out << report::detail::totals_head("format");
  for (const auto& [name, t] : model.formats) out << report::detail::totals_row(name, t);
  out << report::detail::totals_head("role");
  for (const auto& [name, t] : model.roles) out << report::detail::totals_row(escaped(name), t);
  if (!model.layers.empty()) out << report::detail::totals_head("layer");
  for (const auto& [number, t] : model.layers)
    out << report::detail::totals_row(std::to_string(number), t);
  out << "\n" + report::detail::totals_row("all tensors", model.all);
  for (const auto& note : model.source->notes) out << "note: " << note << '\n';
}

inline void print_difference(std::ostream& out, const model_difference& difference) {
  for (const auto& key : difference.keys)
    out << "key " + left_aligned(escaped(key.name), 44) +
               (key.where == model_difference::place::both
                    ? " differs"
                    : std::string(" only in the ") + report::detail::where_text(key.where)) +
               "\n";
  std::size_t same = 0;
  for (const auto& t : difference.tensors) {
    if (report::detail::identical(t)) {
      ++same;
      continue;
    }
    std::string what = std::string("only in the ") + report::detail::where_text(t.where);
    if (t.where == model_difference::place::both) {
      what = left_aligned(name_of(t.first->type), 8) + "-> " +
             left_aligned(name_of(t.second->type), 8);
      what += t.first->dims != t.second->dims
                  ? format_shape(t.first->dims) + " -> " + format_shape(t.second->dims)
              : t.error ? right_aligned(report::detail::sqnr_text(*t.error), 10)
                        : "not compared";
    }
    out << left_aligned(escaped(t.name), 36) + " " + what + "\n";
  }
  out << std::to_string(same) + " of " + counted(difference.tensors.size(), "tensor") +
             " identical, SQNR of all that were compared " +
             report::detail::sqnr_text(difference.error) + "\n";
}

} // namespace edgequant::inline EDGEQUANT_ABI
