// SPDX-License-Identifier: MIT
/// A selection for people (text) and for programs (JSON).
#pragma once

#include "../core/number_text.hpp"
#include "engine_json.hpp"
#include "selection.hpp"

#include <ostream>

namespace edgequant::inline EDGEQUANT_ABI {

/// One object: platform; ranked: engine, precision (the format's name where a quantized file is
/// taken as it is; null where no precision was judged), score, points by rule, reasons, against,
/// figures (null where unknown); excluded: engine and why; problems. Bytes that are not UTF-8
/// become U+FFFD.
[[nodiscard]] nlohmann::json to_json(const selection& answer);

/// A line an engine with rank, precision and score, the reasons for (+) and against it (-) below;
/// then the excluded engines (x) and the problems (!).
void print_selection(std::ostream& out, const selection& answer);

namespace advisor::detail {

/// The text with U+FFFD for bytes that are not UTF-8, which dump() refuses.
[[nodiscard]] inline std::string as_utf8(const std::string& text) {
  using json = nlohmann::json;
  return json::parse(json(text).dump(-1, ' ', false, json::error_handler_t::replace));
}

[[nodiscard]] inline nlohmann::json texts_json(const std::vector<std::string>& texts) {
  auto json = nlohmann::json::array();
  for (const auto& text : texts) json.push_back(as_utf8(text));
  return json;
}

[[nodiscard]] inline nlohmann::json figures_json(const run_figures& figures) {
  const auto value = [](const auto& v) { return v ? nlohmann::json(*v) : nlohmann::json(nullptr); };
  return {{"ms_per_token", value(figures.ms_per_token)},
          {"ms_to_first_token", value(figures.ms_to_first_token)},
          {"power_mw", value(figures.power_mw)},
          {"memory_bytes", value(figures.memory_bytes)},
          {"storage_bytes", value(figures.storage_bytes)},
          {"sqnr_db", value(figures.sqnr_db)}, // an infinite one is written as null
          {"kl", value(figures.kl)},
          {"fits", value(figures.fits)}};
}

} // namespace advisor::detail

inline nlohmann::json to_json(const selection& answer) {
  using nlohmann::json;
  json ranked = json::array(), excluded = json::array();
  for (const auto& r : answer.ranked) {
    json points = json::object();
    for (const auto& p : r.points) points[advisor::detail::as_utf8(p.rule)] = p.points;
    ranked.push_back({{"engine", advisor::detail::as_utf8(r.engine.name)},
                      {"precision", r.weights ? json(r.weights_name) : json(nullptr)},
                      {"score", r.score},
                      {"points", std::move(points)},
                      {"reasons", advisor::detail::texts_json(r.reasons)},
                      {"against", advisor::detail::texts_json(r.against)},
                      {"features", advisor::detail::texts_json(r.engine.features)},
                      {"figures", advisor::detail::figures_json(r.figures)}});
  }
  for (const auto& e : answer.excluded)
    excluded.push_back({{"engine", advisor::detail::as_utf8(e.engine.name)},
                        {"why", advisor::detail::texts_json(e.why)}});
  return {{"platform", name_of(answer.os)},
          {"ranked", std::move(ranked)},
          {"excluded", std::move(excluded)},
          {"problems", advisor::detail::texts_json(answer.problems)}};
}

inline void print_selection(std::ostream& out, const selection& answer) {
  std::size_t rank = 0, width = 16;
  for (const auto& r : answer.ranked) width = std::max(width, escaped(r.engine.name, 60).size());
  for (const auto& r : answer.ranked) {
    out << right_aligned(std::to_string(++rank), 2) + ". " +
               left_aligned(escaped(r.engine.name, 60), width) + " " +
               left_aligned(r.weights_name, 7) + " " + right_aligned(fixed_text(r.score, 1), 6) +
               "\n";
    for (const auto& text : r.reasons) out << "      + " << text << '\n';
    for (const auto& text : r.against) out << "      - " << text << '\n';
  }
  for (const auto& e : answer.excluded)
    for (const auto& text : e.why)
      out << " x  " << escaped(e.engine.name, 60) << ": " << text << '\n';
  for (const auto& text : answer.problems) out << " !  " << text << '\n';
}

} // namespace edgequant::inline EDGEQUANT_ABI
