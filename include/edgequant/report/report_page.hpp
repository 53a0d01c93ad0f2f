// SPDX-License-Identifier: MIT
/// A compression report as one HTML page that needs nothing else: to read, to keep, to pass on.
#pragma once

#include "html_frontier.hpp"
#include "html_loss.hpp"
#include "html_precision.hpp"
#include "html_sensitivity.hpp"
#include "html_style.hpp"

namespace edgequant::inline EDGEQUANT_ABI {

/// What is known besides the report. Sections without data are left out.
struct report_details {
  const budget_plan* plan = nullptr;           ///< what chose the formats
  loss_measure measure = loss_measure::fisher; ///< what the plan minimised
  /// Tensors whose output error the report does not have are shown with that of plain rounding.
  std::span<const layer_sensitivity> layers = {};
  std::string method = {}; ///< how matrices were rounded, as a person names it
};

/// A page in HTML: totals, the plan and its proof, the tensors that hurt most, sensitivities by
/// layer, the frontier of file size against loss, the format of every tensor, a table of all,
/// layers in their order, which sorts by a click on a column's head, and the notes. Style,
/// drawings and the few lines of script for the table are within it; nothing is loaded. It depends
/// on the arguments alone. Names may hold any bytes: they are escaped, with U+FFFD for what is no
/// UTF-8. Numbers that are not finite are shown as a dash. Errors of pareto_frontier() for the
/// groups of a plan.
[[nodiscard]] std::string report_page(const compress_report& report,
                                      const report_details& details = {});

namespace report::detail {

/// An item of the list of totals; `value` and `note` are HTML.
[[nodiscard]] inline std::string html_fact(std::string_view name, const std::string& value,
                                           const std::string& note = "") {
  return "<div><dt>" + std::string(name) + "</dt><dd>" + value +
         (note.empty() ? "" : "<small>" + note + "</small>") + "</dd></div>\n";
}

[[nodiscard]] inline std::string ratio_text(std::uint64_t before, std::uint64_t after) {
  if (after == 0) return std::string(no_number);
  return figure_text(static_cast<double>(before) / static_cast<double>(after), 2) + "\u00d7";
}

[[nodiscard]] inline std::string loss_name(loss_measure measure) {
  return measure == loss_measure::weight ? "sum of squared relative weight errors"
                                         : "KL divergence, nats";
}

[[nodiscard]] inline std::string html_heading(const compress_report& report) {
  const std::string name = std::filesystem::path(report.output).filename().string();
  return "<p class=\"kicker\">EdgeQuant compression report" +
         std::string(report.dry_run ? ", dry run: nothing was written" : "") + "</p>\n<h1>" +
         html_line(name) + "</h1>\n<p class=\"paths\"><code>" + html_line(report.input) +
         "</code> \u2192 <code>" + html_line(report.output) + "</code></p>\n";
}

[[nodiscard]] inline std::string total_facts(const compress_report& report,
                                             const std::string& method) {
  const std::string sqnr = sqnr_cell(report.error);
  const std::string scales = "scales by " + html_line(to_string(report.scale));
  return "<dl>\n" +
         html_fact("File", format_bytes(report.file_bytes),
                   grouped_text(report.file_bytes) + " bytes") +
         html_fact("Tensors", ratio_text(report.bytes_before, report.bytes_after) + " smaller",
                   format_bytes(report.bytes_before) + " \u2192 " +
                       format_bytes(report.bytes_after)) +
         html_fact("Bits per weight", figure_text(bits_each(report.bytes_after, report.values), 3),
                   figure_text(bits_each(report.file_bytes, report.values), 3) +
                       " with metadata and padding") +
         html_fact("Weights", grouped_text(report.values),
                   "in " + grouped_text(report.tensors.size()) + " tensors") +
         (report.error.sums().count == 0 ? ""
                                         : html_fact("SQNR", sqnr + (sqnr == "exact" ? "" : " dB"),
                                                     "signal to quantization noise")) +
         (method.empty() ? html_fact("Rounding", scales)
                         : html_fact("Rounding", html_line(method), scales)) +
         "</dl>\n";
}

[[nodiscard]] inline std::string plan_facts(const budget_plan& plan, loss_measure measure) {
  const auto& r = plan.result;
  const double used = static_cast<double>(plan.file_bytes) / static_cast<double>(plan.budget_bytes);
  const bool certain = r.proven || r.gap() == 0;
  return "<dl class=\"plan\">\n" +
         html_fact("Budget", format_bytes(plan.budget_bytes),
                   grouped_text(plan.budget_bytes) + " bytes, " + percent_text(used) + " used") +
         html_fact("Predicted loss", short_text(r.loss), loss_name(measure)) +
         (plan.predicted ? html_fact("Predicted divergence", short_text(plan.predicted->value),
                                     "± " + short_text(plan.predicted->error) +
                                         " nats a token, with interactions")
                         : "") +
         (plan.measured ? html_fact("Measured divergence", short_text(*plan.measured),
                                    "nats a token, on text that calibration has not seen")
                        : "") +
         html_fact("Lower bound", short_text(r.lower_bound),
                   "no plan within the budget does less") +
         html_fact("Gap", certain ? "proven optimal" : short_text(r.gap()),
                   certain ? "no plan within the budget is better"
                           : percent_text(r.gap() / r.loss) + " of the loss, at most") +
         "</dl>\n";
}

/// A cell whose numbers line up and which sorts by `value`, what is missing as the least; `kind` is
/// a further class.
[[nodiscard]] inline std::string number_cell(const std::string& text, double value,
                                             std::string_view kind = "") {
  return "<td class=\"n" + std::string(kind) + "\" data-v=\"" +
         (std::isfinite(value) ? figure_text(value, 6) : "-1e9") + "\">" + text + "</td>";
}

[[nodiscard]] inline std::string total_cell(const std::string& text) {
  return "<td class=\"n\">" + text + "</td>";
}

/// A column's head, to be clicked at.
[[nodiscard]] inline std::string head_cell(std::string_view text, std::string_view attributes) {
  return "<th" + std::string(attributes) + "><button>" + std::string(text) + "</button></th>";
}

/// Columns that not every report can fill.
struct table_columns {
  bool sqnr = false, output_error = false, loss = false;
};

[[nodiscard]] inline std::string table_row(const html_tensor& t, std::size_t place,
                                           table_columns columns) {
  constexpr double missing = std::numeric_limits<double>::quiet_NaN();
  const tensor_report& r = *t.report;
  std::string html = "<tr><td data-v=\"" + std::to_string(place) + "\"><code>" + html_line(r.name) +
                     "</code></td>" +
                     number_cell(format_shape(r.dims), static_cast<double>(t.values())) +
                     "<td data-v=\"" + std::to_string(static_cast<std::uint32_t>(r.type)) + "\">" +
                     std::string(name_of(r.source_type)) + " \u2192 " + format_chip(r.type) +
                     "</td>" + number_cell(figure_text(t.bits(), 2), t.bits());
  if (columns.sqnr)
    html +=
        number_cell(sqnr_cell(r.error),
                    r.error.sums().count == 0 ? missing : std::min(r.error.figures().sqnr_db, 1e9));
  if (columns.output_error)
    html += number_cell(t.output_error ? percent_text(*t.output_error) : std::string(no_number),
                        t.output_error ? 100 * *t.output_error : missing,
                        t.output_error && !t.measured ? " guess" : "");
  const auto loss = loss_of(t);
  if (columns.loss)
    html += number_cell(loss ? short_text(*loss) : std::string(no_number),
                        1e6 * loss.value_or(missing));
  return html + number_cell(grouped_text(r.bytes_after), static_cast<double>(r.bytes_after)) +
         "</tr>\n";
}

/// What stands outside of layers as in the file, then layer by layer, roles in their order.
[[nodiscard]] inline std::vector<html_tensor> in_natural_order(std::span<const html_tensor> from) {
  std::vector<html_tensor> tensors(from.begin(), from.end());
  const auto key = [](const html_tensor& t) {
    return t.place ? std::tuple(1, t.place->layer, role_rank(t.place->role))
                   : std::tuple(0, std::uint32_t{0}, std::size_t{0});
  };
  std::stable_sort(tensors.begin(), tensors.end(),
                   [&](const auto& a, const auto& b) { return key(a) < key(b); });
  return tensors;
}

[[nodiscard]] inline std::string table_section(const compress_report& report,
                                               std::span<const html_tensor> tensors) {
  table_columns columns;
  bool rounded = false;
  for (const auto& t : tensors) {
    columns.sqnr = columns.sqnr || t.report->error.sums().count != 0;
    columns.output_error = columns.output_error || t.output_error;
    columns.loss = columns.loss || loss_of(t);
    rounded = rounded || (t.output_error && !t.measured);
  }
  std::string html = "<section id=\"tensors\">\n<h2>Tensors</h2>\n";
  if (rounded)
    html += "<p class=\"axis\">Output errors in this colour are those of plain rounding on the "
            "calibration text.</p>\n";
  constexpr std::string_view number = " class=\"n\"";
  html += "<div class=\"scroll\"><table>\n<thead><tr>" +
          head_cell("name", " aria-sort=\"ascending\"") + head_cell("shape", number) +
          head_cell("format", "") + head_cell("bits per weight", number);
  if (columns.sqnr) html += head_cell("SQNR, dB", number);
  if (columns.output_error) html += head_cell("output error", number);
  if (columns.loss) html += head_cell("divergence, nats", number);
  html += head_cell("bytes", number) + "</tr></thead>\n<tbody>\n";
  const auto rows = in_natural_order(tensors);
  for (std::size_t i = 0; i < rows.size(); ++i) html += table_row(rows[i], i, columns);
  html += "</tbody>\n<tfoot><tr><td>all</td><td></td><td></td>" +
          total_cell(figure_text(bits_each(report.bytes_after, report.values), 2));
  if (columns.sqnr) html += total_cell(sqnr_cell(report.error));
  if (columns.output_error) html += "<td></td>";
  if (columns.loss) html += "<td></td>";
  return html + total_cell(grouped_text(report.bytes_after)) +
         "</tr></tfoot>\n</table></div>\n<script>" + std::string(sort_script) +
         "</script>\n</section>\n";
}

[[nodiscard]] inline std::string notes_section(const std::vector<std::string>& notes) {
  if (notes.empty()) return "";
  std::string html = "<section id=\"notes\">\n<h2>Notes</h2>\n<ul class=\"notes\">\n";
  for (const auto& note : notes) html += "<li>" + html_line(note) + "</li>\n";
  return html + "</ul>\n</section>\n";
}

} // namespace report::detail

inline std::string report_page(const compress_report& report, const report_details& details) {
  const auto tensors = report::detail::html_tensors(report, details.layers);
  const std::string title = std::filesystem::path(report.output).filename().string();
  std::string html =
      "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
      "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n<title>" +
      report::detail::html_line(title) + " - compression report</title>\n<style>" +
      std::string(report::detail::html_style) + "</style>\n</head>\n<body>\n<main>\n" +
      report::detail::html_heading(report) + "<section id=\"summary\">\n" +
      report::detail::total_facts(report, details.method);
  if (details.plan != nullptr) html += report::detail::plan_facts(*details.plan, details.measure);
  html += "</section>\n" + report::detail::loss_section(tensors) +
          report::detail::sensitivity_section(tensors);
  if (details.plan != nullptr)
    html +=
        report::detail::frontier_section(*details.plan, report::detail::loss_name(details.measure));
  if (!tensors.empty())
    html += report::detail::precision_section(tensors, report::detail::tensor_grid::of(tensors)) +
            report::detail::table_section(report, tensors);
  return html + report::detail::notes_section(report.notes) + "</main>\n</body>\n</html>\n";
}

} // namespace edgequant::inline EDGEQUANT_ABI
