// SPDX-License-Identifier: MIT
/// The page's view of precision: a strip of layers and roles, coloured by format.
#pragma once

#include "html_tensor.hpp"
#include "svg_chart.hpp"

namespace edgequant::inline EDGEQUANT_ABI {

namespace report::detail {

/// Formats in use, the one with the fewest bits first, each with its tensors and share of weights.
[[nodiscard]] inline std::string format_legend(std::span<const html_tensor> tensors) {
  struct part {
    std::size_t tensors = 0;
    std::uint64_t values = 0;
  };
  const auto by_bits = [](format a, format b) {
    const auto &x = info_of(a), &y = info_of(b);
    const auto left = x.block_bytes * y.block_length, right = y.block_bytes * x.block_length;
    return left != right ? left < right : a < b;
  };
  std::map<format, part, decltype(by_bits)> parts(by_bits);
  std::uint64_t all = 0;
  for (const auto& t : tensors) {
    auto& part = parts[t.report->type];
    ++part.tensors, part.values += t.values(), all += t.values();
  }
  std::string html = "<ul class=\"legend\">\n";
  for (const auto& [type, part] : parts) {
    const double share = all == 0 ? 0 : static_cast<double>(part.values) / static_cast<double>(all);
    html += "<li>" + format_chip(type) + " " + std::to_string(part.tensors) +
            (part.tensors == 1 ? " tensor, " : " tensors, ") + percent_text(share) +
            " of the weights</li>\n";
  }
  return html + "</ul>\n";
}

[[nodiscard]] inline std::string precision_strip(std::span<const html_tensor> tensors,
                                                 const tensor_grid& grid) {
  std::size_t letters = 0;
  for (const auto& role : grid.roles) letters = std::max(letters, role_label(role).size());
  const auto columns = static_cast<double>(grid.layers.size());
  const double left = 7.0 * static_cast<double>(letters) + 14, top = 24, height = 24;
  const double width = std::clamp(std::floor(860 / columns), 9.0, 48.0);
  svg_drawing svg(left + width * columns + 14,
                  top + height * static_cast<double>(grid.roles.size()) + 2);
  const auto x = [&](std::size_t column) { return left + width * static_cast<double>(column); };
  const auto y = [&](std::size_t row) { return top + height * static_cast<double>(row); };
  const auto room = std::max<std::size_t>(1, static_cast<std::size_t>(width * columns / 34));
  const std::size_t stride = label_stride(grid.layers.size(), room);
  for (std::size_t c = 0; c < grid.layers.size(); c += stride)
    svg.text(x(c) + width / 2, top - 8, "tick middle", std::to_string(grid.layers[c]));
  for (std::size_t r = 0; r < grid.roles.size(); ++r)
    svg.text(left - 8, y(r) + height / 2 + 4, "name end", role_label(grid.roles[r]));
  const double gap = width > 14 ? 2 : 1;
  for (const auto& t : tensors) {
    if (!grid.has(t)) continue;
    const std::size_t c = grid.column(t), r = grid.row(t);
    const std::string name(name_of(t.report->type));
    svg.rectangle(x(c), y(r), width - gap, height - 2, "cell", fill_of(t.report->type),
                  tensor_tip(t));
    if (7.0 * static_cast<double>(name.size()) + 4 <= width - gap)
      svg.text(x(c) + (width - gap) / 2, y(r) + height / 2 + 3,
               ink_of(t.report->type) == "#ffffff" ? "on middle light" : "on middle dark", name);
  }
  return "<div class=\"scroll\">" + svg.finish("Format of each tensor by layer and role", false) +
         "</div>\n";
}

/// The whole section.
[[nodiscard]] inline std::string precision_section(std::span<const html_tensor> tensors,
                                                   const tensor_grid& grid) {
  std::string html =
      "<section id=\"precision\">\n<h2>Precision of every tensor</h2>\n" + format_legend(tensors);
  if (!grid.roles.empty())
    html += "<p class=\"axis\">layers from left to right, roles from top to bottom</p>\n" +
            precision_strip(tensors, grid);
  std::string others;
  for (const auto& t : tensors)
    if (!grid.has(t))
      others += "<li title=\"" + html_text(tensor_tip(t)) + "\">" + format_chip(t.report->type) +
                " <code>" + html_line(t.report->name) + "</code></li>\n";
  if (!others.empty()) html += "<ul class=\"names\">\n" + others + "</ul>\n";
  return html + "</section>\n";
}

} // namespace report::detail

} // namespace edgequant::inline EDGEQUANT_ABI
