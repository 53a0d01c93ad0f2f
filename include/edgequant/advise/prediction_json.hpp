// SPDX-License-Identifier: MIT
/// Queries for predictions as JSON, and the answers.
#pragma once

#include "../io/json.hpp"
#include "prediction.hpp"

#include <array>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace edgequant::inline EDGEQUANT_ABI {

/// Called for each query before it is used: a catalogue fills in what is missing.
using query_completion = std::function<void(prediction_query&)>;

/// An array of objects with any of device, engine, backend, model, quant, device_class (text) and
/// mem_bw_gbs, weight_bytes, parameters, active_parameters, layers, gpu_cores (positive numbers);
/// null is the same as missing. Other fields are passed over, save those that look like one of
/// these mistyped. bad_file at `place[index].field` for anything else.
[[nodiscard]] std::vector<prediction_query> parse_queries(const nlohmann::json& array,
                                                          std::string_view place,
                                                          const query_completion& complete = {});

/// An array, in the order given, of predicted_tokens_per_second, low, high and basis.
[[nodiscard]] nlohmann::json to_json(std::span<const speed_prediction> predictions);

namespace advisor::detail {

struct text_field {
  std::string_view name;
  std::string prediction_query::*member;
};

struct number_field {
  std::string_view name;
  std::optional<double> prediction_query::*member;
  double most;
};

inline constexpr text_field query_texts[] = {
    {"device", &prediction_query::device},   {"engine", &prediction_query::engine},
    {"backend", &prediction_query::backend}, {"model", &prediction_query::model},
    {"quant", &prediction_query::quant},
};

inline constexpr number_field query_numbers[] = {
    {"mem_bw_gbs", &prediction_query::memory_bandwidth_gb_s, most_bandwidth_gb_s},
    {"weight_bytes", &prediction_query::weight_bytes, most_bytes},
    {"parameters", &prediction_query::parameters, most_bytes},
    {"active_parameters", &prediction_query::active_parameters, most_bytes},
    {"layers", &prediction_query::layers, most_count},
    {"gpu_cores", &prediction_query::gpu_cores, most_count},
};

inline constexpr std::string_view class_field = "device_class";

/// Letters to insert, remove or change to make one of the other; lengths up to 31.
[[nodiscard]] inline std::size_t edit_distance(std::string_view a, std::string_view b) {
  if (b.size() > 31) return b.size();
  std::array<std::size_t, 32> row{};
  for (std::size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (std::size_t i = 0; i < a.size(); ++i) {
    std::size_t diagonal = row[0];
    row[0] = i + 1;
    for (std::size_t j = 0; j < b.size(); ++j) {
      const std::size_t changed = diagonal + (a[i] == b[j] ? 0 : 1);
      diagonal = row[j + 1];
      row[j + 1] = std::min({changed, row[j] + 1, row[j + 1] + 1});
    }
  }
  return row[b.size()];
}

/// One field of a query; false if there is no such field.
inline bool read_field(prediction_query& query, const std::string& name,
                       const nlohmann::json& value, const std::string& place) {
  for (const auto& field : query_texts)
    if (name == field.name) {
      if (!value.is_string()) fail(error_code::bad_file, place, "expected a text or null");
      query.*field.member = value.get<std::string>();
      return true;
    }
  for (const auto& field : query_numbers)
    if (name == field.name) {
      const bool number = value.is_number();
      if (!number || !(value.get<double>() > 0) || !(value.get<double>() <= field.most))
        fail(error_code::bad_file, place, positive_number(field.most) + " or null");
      query.*field.member = value.get<double>();
      return true;
    }
  if (name != class_field) return false;
  for (const auto& row : device_class_table)
    if (value.is_string() && value.get_ref<const std::string&>() == row.name) query.kind = row.id;
  if (!query.kind)
    fail(error_code::bad_file, place,
         "expected phone, sbc, edge-gpu, laptop, desktop, wearable or null");
  return true;
}

/// Refuses a field that is nearly one of ours; what is far from all is for someone else.
inline void refuse_mistyped(const std::string& name, const std::string& place) {
  const auto compare = [&](std::string_view known) {
    const std::size_t slips = known.size() < 8 ? 1 : 2;
    if (name.size() <= 31 && edit_distance(lower_case(name), known) <= slips)
      fail(error_code::bad_file, place, "unknown field; did you mean " + std::string(known) + "?");
  };
  for (const auto& field : query_texts) compare(field.name);
  for (const auto& field : query_numbers) compare(field.name);
  compare(class_field);
}

} // namespace advisor::detail

inline std::vector<prediction_query> parse_queries(const nlohmann::json& array,
                                                   std::string_view place,
                                                   const query_completion& complete) {
  if (!array.is_array())
    fail(error_code::bad_file, std::string(place), "expected an array of queries");
  std::vector<prediction_query> queries;
  for (const auto& item : array) {
    const std::string here = std::string(place) + '[' + std::to_string(queries.size()) + ']';
    if (!item.is_object()) fail(error_code::bad_file, here, "expected an object");
    auto& query = queries.emplace_back();
    for (const auto& [name, value] : item.items()) {
      const std::string field = here + '.' + escaped(name);
      if (!value.is_null() && !advisor::detail::read_field(query, name, value, field))
        advisor::detail::refuse_mistyped(name, field);
    }
    if (complete) complete(query);
  }
  return queries;
}

inline nlohmann::json to_json(std::span<const speed_prediction> predictions) {
  auto array = nlohmann::json::array();
  for (const auto& p : predictions)
    array.push_back({{"predicted_tokens_per_second", p.tokens_per_second},
                     {"low", p.low},
                     {"high", p.high},
                     {"basis", p.basis}});
  return array;
}

} // namespace edgequant::inline EDGEQUANT_ABI
