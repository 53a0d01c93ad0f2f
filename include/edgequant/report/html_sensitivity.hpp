// SPDX-License-Identifier: MIT
/// The page's view of sensitivity: a small chart for each role, all on one scale.
#pragma once

#include "html_tensor.hpp"
#include "svg_chart.hpp"

namespace edgequant::inline EDGEQUANT_ABI {

namespace report::detail {

/// The measured candidate of most tensors; nothing where there are none.
[[nodiscard]] inline std::optional<format> usual_candidate(std::span<const html_tensor> tensors) {
  std::map<format, std::size_t> counts;
  std::optional<format> usual;
  for (const auto& t : tensors)
    if (t.layer != nullptr && !t.layer->candidates.empty()) ++counts[t.layer->measured().type];
  for (const auto& [type, count] : counts)
    if (!usual || count > counts[*usual]) usual = type;
  return usual;
}

/// A figure of a tensor in its measured candidate format.
struct sensitivity_figure {
  std::string title;
  std::string unit; ///< behind values in tips
  double factor;    ///< from the figure to what is shown
  std::optional<double> (*of)(const format_loss&);

  /// What is shown of a tensor: finite, at least 0; nothing where it was not measured.
  [[nodiscard]] std::optional<double> at(const html_tensor& t) const {
    if (t.layer == nullptr || t.layer->candidates.empty()) return std::nullopt;
    const auto value = of(t.layer->measured());
    if (!value || !std::isfinite(factor * *value) || *value < 0) return std::nullopt;
    return factor * *value;
  }
  [[nodiscard]] std::string tip(const html_tensor& t) const {
    return tensor_tip(t) + "\n" + short_text(*at(t)) + unit + " in " +
           std::string(name_of(t.layer->measured().type));
  }
};

[[nodiscard]] inline std::string sensitivity_panel(std::span<const html_tensor> tensors,
                                                   const sensitivity_figure& figure,
                                                   const tensor_grid& grid, const std::string& role,
                                                   chart_axis axis) {
  constexpr double width = 260, height = 132, right = 8, top = 8, bottom = 22;
  svg_drawing svg(width, height);
  axis.from = height - bottom, axis.to = top;
  const auto ticks = ticks_of(axis, 5);
  std::size_t letters = 0;
  for (const auto& tick : ticks) letters = std::max(letters, letters_of(tick.label));
  const double left = 14 + 6.5 * static_cast<double>(letters);
  for (const auto& tick : ticks) {
    svg.line(left, axis.at(tick.value), width - right, axis.at(tick.value), "grid");
    svg.text(left - 6, axis.at(tick.value) + 3.5, "tick end", tick.label);
  }
  const auto count = static_cast<double>(grid.layers.size());
  const double step = (width - left - right) / count;
  const auto x = [&](std::size_t c) { return left + step * (static_cast<double>(c) + 0.5); };
  const std::size_t stride = label_stride(grid.layers.size(), 8);
  for (std::size_t c = 0; c < grid.layers.size(); c += stride)
    svg.text(x(c), height - 6, "tick middle", std::to_string(grid.layers[c]));
  std::map<std::size_t, const html_tensor*> by_column;
  for (const auto& t : tensors)
    if (t.place && t.place->role == role && figure.at(t)) by_column[grid.column(t)] = &t;
  std::vector<std::array<double, 2>> points;
  for (const auto& [c, t] : by_column) points.push_back({x(c), axis.at(*figure.at(*t))});
  svg.path(points, "trend");
  for (const auto& [c, t] : by_column)
    svg.circle(x(c), axis.at(*figure.at(*t)), count > 48 ? 2 : 3.4,
               count > 48 ? "dot small" : "dot", fill_of(t->report->type), figure.tip(*t));
  return "<figure><figcaption>" + html_line(role_label(role)) + "</figcaption>" +
         svg.finish(figure.title + ", " + role_label(role) + ", by layer", true) + "</figure>\n";
}

/// Tensors outside of layers: a bar each, the longest 40.
[[nodiscard]] inline std::string sensitivity_bars(std::vector<const html_tensor*> tensors,
                                                  const sensitivity_figure& figure) {
  constexpr std::size_t most = 40;
  std::stable_sort(tensors.begin(), tensors.end(),
                   [&](auto* a, auto* b) { return *figure.at(*a) > *figure.at(*b); });
  const double longest = *figure.at(*tensors[0]);
  std::string html = "<div class=\"bars\">\n";
  for (std::size_t i = 0; i < std::min(most, tensors.size()); ++i) {
    const html_tensor& t = *tensors[i];
    const double share = longest > 0 ? 100 * *figure.at(t) / longest : 0;
    html += "<code>" + html_line(t.report->name) + "</code><span class=\"bar\" title=\"" +
            html_text(figure.tip(t)) + "\"><i style=\"width:" + figure_text(share, 1) +
            "%;background:" + fill_of(t.report->type) + "\"></i></span><b>" +
            short_text(*figure.at(t)) + figure.unit + "</b>\n";
  }
  html += "</div>\n";
  if (tensors.size() > most)
    html += "<p class=\"axis\">the " + std::to_string(most) + " largest of " +
            std::to_string(tensors.size()) + "; the table has all</p>\n";
  return html;
}

/// One figure over all tensors; empty where none has it.
[[nodiscard]] inline std::string sensitivity_charts(std::span<const html_tensor> tensors,
                                                    const tensor_grid& grid,
                                                    const sensitivity_figure& figure) {
  std::vector<double> values, usual_values;
  std::vector<const html_tensor*> others;
  const auto usual = usual_candidate(tensors);
  for (const auto& t : tensors) {
    const auto value = figure.at(t);
    if (!value) continue;
    if (grid.has(t))
      (t.layer->measured().type == usual ? usual_values : values).push_back(*value);
    else
      others.push_back(&t);
  }
  if (values.empty() && usual_values.empty() && others.empty()) return "";
  chart_axis axis = fit_axis(usual_values, 0, 1, 30);
  values.insert(values.end(), usual_values.begin(), usual_values.end());
  // What is much finer than the usual format lies at the bottom of a linear axis, where it belongs.
  if (axis.logarithmic || usual_values.empty() ||
      axis.high < *std::max_element(values.begin(), values.end()))
    axis = fit_axis(values, 0, 1, 30);
  std::string html =
      "<h3>" + html_line(figure.title) + (axis.logarithmic ? ", log scale" : "") + "</h3>\n";
  if (!values.empty()) {
    html += "<p class=\"axis\">horizontal: layers; the colour is the format that was chosen</p>\n"
            "<div class=\"panels\">\n";
    for (const auto& role : grid.roles)
      if (std::any_of(tensors.begin(), tensors.end(), [&](const auto& t) {
            return t.place && t.place->role == role && figure.at(t);
          }))
        html += sensitivity_panel(tensors, figure, grid, role, axis);
    html += "</div>\n";
  }
  return others.empty() ? html : html + sensitivity_bars(std::move(others), figure);
}

/// The whole section; empty where nothing was measured.
[[nodiscard]] inline std::string sensitivity_section(std::span<const html_tensor> tensors) {
  std::vector<html_tensor> known; // layers without figures need no place on the axes
  for (const auto& t : tensors)
    if (t.layer != nullptr && !t.layer->candidates.empty()) known.push_back(t);
  const tensor_grid grid = tensor_grid::of(known);
  const auto usual = usual_candidate(known);
  if (!usual) return "";
  std::string in(name_of(*usual));
  if (std::any_of(known.begin(), known.end(),
                  [&](const auto& t) { return t.layer->measured().type != usual; }))
    in += ", or the first format that fits";
  const std::string charts =
      sensitivity_charts(known, grid,
                         {"Relative output error of each tensor in " + in + ", %", " %", 100,
                          [](const format_loss& c) { return std::optional(c.output_error); }}) +
      sensitivity_charts(known, grid,
                         {"KL divergence of the model with one tensor in " + in + ", nats", " nats",
                          1, [](const format_loss& c) { return c.kl; }});
  if (charts.empty()) return "";
  return "<section id=\"sensitivity\">\n<h2>Sensitivity by layer</h2>\n" + charts + "</section>\n";
}

} // namespace report::detail

} // namespace edgequant::inline EDGEQUANT_ABI
