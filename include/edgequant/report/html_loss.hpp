// SPDX-License-Identifier: MIT
/// The page's view of what a plan costs: the tensors whose formats hurt most, and what they are.
#pragma once

#include "html_tensor.hpp"

namespace edgequant::inline EDGEQUANT_ABI {

namespace report::detail {

/// The divergence of a tensor in the format that it has, nats; nothing where it was not estimated.
[[nodiscard]] inline std::optional<double> loss_of(const html_tensor& t) {
  if (t.layer == nullptr) return std::nullopt;
  for (const auto& c : t.layer->candidates)
    if (c.type == t.report->type && c.kl && std::isfinite(*c.kl) && *c.kl >= 0) return *c.kl;
  return std::nullopt;
}

/// What may explain a tensor's loss: its place, its outliers, its size. HTML.
[[nodiscard]] inline std::string loss_reasons(const html_tensor& t, std::uint32_t last_layer,
                                              std::uint64_t all_values) {
  constexpr double many = 6; // twice the kurtosis of Gaussian weights
  std::string text;
  const auto add = [&](const std::string& part) { text += (text.empty() ? "" : ", ") + part; };
  if (!t.place)
    add("outside of layers");
  else if (t.place->role.find("attn_v") != std::string::npos)
    add("values, which attention passes on");
  else if (t.place->role.find("attn") != std::string::npos)
    add("attention");
  else if (t.place->role.find("ffn") != std::string::npos)
    add("feed-forward");
  if (t.place && t.place->layer == 0) add("first layer");
  if (t.place && t.place->layer == last_layer && last_layer != 0) add("last layer");
  if (t.layer->kurtosis > many)
    add("outliers (kurtosis " + figure_text(t.layer->kurtosis, 1) + ")");
  const double share = static_cast<double>(t.values()) / static_cast<double>(all_values);
  add(percent_text(share) + " of the weights");
  return text;
}

/// The tensors that cost most, a bar each; empty where nothing was estimated.
[[nodiscard]] inline std::string loss_section(std::span<const html_tensor> tensors) {
  constexpr std::size_t most = 12;
  std::vector<const html_tensor*> costly;
  double sum = 0;
  std::uint32_t last_layer = 0;
  std::uint64_t all_values = 0;
  for (const auto& t : tensors) {
    all_values += t.values();
    if (t.place) last_layer = std::max(last_layer, t.place->layer);
    if (!loss_of(t)) continue;
    costly.push_back(&t), sum += *loss_of(t);
  }
  if (!(sum > 0)) return "";
  std::stable_sort(costly.begin(), costly.end(),
                   [](auto* a, auto* b) { return *loss_of(*a) > *loss_of(*b); });
  const std::size_t shown = std::min(most, costly.size());
  double shown_sum = 0;
  for (std::size_t i = 0; i < shown; ++i) shown_sum += *loss_of(*costly[i]);
  std::string html = "<section id=\"loss\">\n<h2>What hurts most</h2>\n<p class=\"axis\">share of "
                     "the sum of the tensors' divergences, each in its format: these " +
                     std::to_string(shown) + " of " + std::to_string(costly.size()) + " make " +
                     percent_text(shown_sum / sum) + "</p>\n<div class=\"bars reasons\">\n";
  for (std::size_t i = 0; i < shown; ++i) {
    const html_tensor& t = *costly[i];
    const double own = *loss_of(t), width = 100 * own / *loss_of(*costly[0]);
    html += "<code>" + html_line(t.report->name) + "</code><span class=\"bar\" title=\"" +
            html_text(tensor_tip(t) + "\n" + short_text(own) + " nats") +
            "\"><i style=\"width:" + figure_text(width, 1) +
            "%;background:" + fill_of(t.report->type) + "\"></i></span><b>" +
            percent_text(own / sum) + "</b><span>" + format_chip(t.report->type) + " " +
            loss_reasons(t, last_layer, all_values) + "</span>\n";
  }
  return html + "</div>\n</section>\n";
}

} // namespace report::detail

} // namespace edgequant::inline EDGEQUANT_ABI
