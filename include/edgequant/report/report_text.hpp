// SPDX-License-Identifier: MIT
/// A compression report for people (a table) and for programs (JSON).
#pragma once

#include "../core/number_text.hpp"
#include "../core/progress.hpp"
#include "compress_report.hpp"

#include <nlohmann/json.hpp>

#include <ostream>

namespace edgequant::inline EDGEQUANT_ABI {

/// One object: input, output, format, scale, dry_run, tensors, totals, notes. Sizes are bytes,
/// sqnr_db is dB and null for an exact copy; a tensor's error is null where none was measured
/// (integers, a dry run); output_error is a ratio, null for what was not encoded with a text. Names
/// are as in the file, with U+FFFD for what is no UTF-8.
[[nodiscard]] nlohmann::json to_json(const compress_report& report);

/// A row a tensor (shape, formats, bits per weight, SQNR), the totals, the notes.
void print_table(std::ostream& out, const compress_report& report);

namespace report::detail {

[[nodiscard]] inline double bits_each(std::uint64_t bytes, std::uint64_t values) {
  return values == 0 ? 0 : 8 * static_cast<double>(bytes) / static_cast<double>(values);
}

/// Any bytes as a string that dump() takes.
[[nodiscard]] inline std::string utf8(const std::string& text) {
  using json = nlohmann::json;
  return json::parse(json(text).dump(-1, ' ', false, json::error_handler_t::replace));
}

[[nodiscard]] inline nlohmann::json error_json(const error_accumulator& error) {
  if (error.sums().count == 0) return nullptr;
  const error_figures f = error.figures();
  return {
      {"sqnr_db", std::isfinite(f.sqnr_db) ? nlohmann::json(f.sqnr_db) : nlohmann::json(nullptr)},
      {"mse", f.mse},
      {"max_error", f.max_error},
      {"mean_abs_error", f.mean_abs_error},
      {"cosine", f.cosine}};
}

[[nodiscard]] inline std::string sqnr_text(const error_accumulator& error) {
  if (error.sums().count == 0) return "-";
  const double db = error.figures().sqnr_db;
  if (std::isinf(db)) return db > 0 ? "exact" : "-inf dB";
  return fixed_text(db, 2) + " dB";
}

[[nodiscard]] inline std::string table_row(std::string_view name, std::string_view shape,
                                           std::string_view from, std::string_view to,
                                           std::string_view bits, std::string_view sqnr) {
  return left_aligned(name, 32) + " " + right_aligned(shape, 16) + "  " + left_aligned(from, 5) +
         " -> " + left_aligned(to, 5) + " " + right_aligned(bits, 7) + "  " +
         right_aligned(sqnr, 10) + "\n";
}

} // namespace report::detail

inline nlohmann::json to_json(const compress_report& report) {
  nlohmann::json tensors = nlohmann::json::array();
  for (const auto& t : report.tensors) {
    std::uint64_t values = 1;
    for (const auto d : t.dims) values *= d;
    tensors.push_back({{"name", report::detail::utf8(t.name)},
                       {"dims", t.dims},
                       {"source_format", name_of(t.source_type)},
                       {"format", name_of(t.type)},
                       {"bytes_before", t.bytes_before},
                       {"bytes_after", t.bytes_after},
                       {"bits_per_weight", report::detail::bits_each(t.bytes_after, values)},
                       {"error", report::detail::error_json(t.error)},
                       {"output_error", t.output_error ? nlohmann::json(*t.output_error)
                                                       : nlohmann::json(nullptr)}});
  }
  return {{"input", report::detail::utf8(report.input)},
          {"output", report::detail::utf8(report.output)},
          {"format", name_of(report.type)},
          {"scale", to_string(report.scale)},
          {"dry_run", report.dry_run},
          {"tensors", std::move(tensors)},
          {"totals",
           {{"weights", report.values},
            {"tensor_bytes_before", report.bytes_before},
            {"tensor_bytes_after", report.bytes_after},
            {"file_bytes", report.file_bytes},
            {"bits_per_weight", report::detail::bits_each(report.bytes_after, report.values)},
            {"error", report::detail::error_json(report.error)}}},
          {"notes", report.notes}};
}

inline void print_table(std::ostream& out, const compress_report& report) {
  out << left_aligned("tensor", 32) + " " + right_aligned("shape", 16) + "  " +
             left_aligned("format", 14) + " " + right_aligned("bits/w", 7) + "  " +
             right_aligned("SQNR", 10) + "\n";
  for (const auto& t : report.tensors) {
    std::uint64_t values = 1;
    for (const auto d : t.dims) values *= d;
    out << report::detail::table_row(
        escaped(t.name), format_shape(t.dims), name_of(t.source_type), name_of(t.type),
        fixed_text(report::detail::bits_each(t.bytes_after, values), 3),
        report::detail::sqnr_text(t.error));
  }
  for (const auto& note : report.notes) out << "note: " << note << '\n';
  const double ratio = report.bytes_after == 0 ? 0
                                               : static_cast<double>(report.bytes_before) /
                                                     static_cast<double>(report.bytes_after);
  out << std::to_string(report.values) + " weights: tensors " + format_bytes(report.bytes_before) +
             " -> " + format_bytes(report.bytes_after) + " (" + fixed_text(ratio, 2) +
             " times smaller), " +
             fixed_text(report::detail::bits_each(report.bytes_after, report.values), 3) +
             " bits/weight, SQNR " + report::detail::sqnr_text(report.error) + "\n";
  // Not as a number: a stream's locale may group its digits.
  out << (report.dry_run ? "would write " : "wrote ") << place_of(report.output) << ", "
      << std::to_string(report.file_bytes) << " bytes\n";
}

} // namespace edgequant::inline EDGEQUANT_ABI
