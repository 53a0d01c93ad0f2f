// SPDX-License-Identifier: MIT
/// What the report page knows of a tensor, and its place in the grid of layers and roles.
#pragma once

#include "../model/tensor_table.hpp"
#include "../plan/sensitivity.hpp"
#include "html_text.hpp"

#include <map>
#include <span>

namespace edgequant::inline EDGEQUANT_ABI {

namespace report::detail {

/// `blk.3.attn_q.weight` is layer 3 of `blk.#.attn_q.weight`.
struct layer_place {
  std::uint32_t layer = 0;
  std::string role;
};

/// The first part between dots that is a number tells the layer, unless it is the whole name.
/// Numbers are as to_string() writes them, so that no two names have one place.
[[nodiscard]] inline std::optional<layer_place> place_in_layers(const std::string& name) {
  for (std::size_t begin = 0; begin < name.size();) {
    const std::size_t end = std::min(name.find('.', begin), name.size());
    std::uint32_t layer = 0;
    const auto [rest, error] = std::from_chars(name.data() + begin, name.data() + end, layer);
    if (error == std::errc{} && std::to_string(layer) == name.substr(begin, end - begin) &&
        end - begin < name.size())
      return layer_place{layer, name.substr(0, begin) + "#" + name.substr(end)};
    begin = end + 1;
  }
  return std::nullopt;
}

/// A tensor of the report with all that is known of it.
struct html_tensor {
  const tensor_report* report = nullptr;
  const layer_sensitivity* layer = nullptr; ///< null where it was not analyzed
  std::optional<double> output_error;       ///< in its format
  bool measured = false;                    ///< not that of plain rounding
  std::optional<layer_place> place;

  [[nodiscard]] std::uint64_t values() const {
    std::uint64_t count = 1;
    for (const auto d : report->dims) count *= d;
    return count;
  }
  [[nodiscard]] double bits() const { return bits_each(report->bytes_after, values()); }
};

[[nodiscard]] inline std::vector<html_tensor>
html_tensors(const compress_report& report, std::span<const layer_sensitivity> layers) {
  std::map<std::string_view, const layer_sensitivity*> by_name;
  for (const auto& layer : layers) by_name.emplace(layer.name, &layer);
  std::vector<html_tensor> tensors;
  for (const auto& t : report.tensors) {
    html_tensor tensor{&t, nullptr, std::nullopt, false, place_in_layers(t.name)};
    if (const auto found = by_name.find(t.name); found != by_name.end()) {
      tensor.layer = found->second;
      for (const auto& c : tensor.layer->candidates)
        if (c.type == t.type) tensor.output_error = c.output_error;
    }
    if (t.output_error) {
      tensor.output_error = t.output_error;
      tensor.measured = true;
    }
    tensors.push_back(std::move(tensor));
  }
  return tensors;
}

/// Layers are columns, roles are rows. A role that only one layer has is none, unless it is a
/// llama's: its tensor stands by its name.
struct tensor_grid {
  std::vector<std::uint32_t> layers; ///< that are there, rising
  std::vector<std::string> roles;    ///< a llama's in the order of its layer, others as in the file

  [[nodiscard]] static tensor_grid of(std::span<const html_tensor> tensors);
  [[nodiscard]] bool has(const html_tensor& t) const {
    return t.place && std::find(roles.begin(), roles.end(), t.place->role) != roles.end();
  }
  [[nodiscard]] std::size_t column(const html_tensor& t) const {
    return static_cast<std::size_t>(std::lower_bound(layers.begin(), layers.end(), t.place->layer) -
                                    layers.begin());
  }
  [[nodiscard]] std::size_t row(const html_tensor& t) const {
    return static_cast<std::size_t>(std::find(roles.begin(), roles.end(), t.place->role) -
                                    roles.begin());
  }
};

/// Where a role stands in a llama's layer.
[[nodiscard]] inline std::size_t role_rank(std::string_view role) {
  std::size_t rank = 0;
  for (const auto& row : tensor_table) {
    if (row.in_layer && role == "blk.#." + std::string(row.gguf) + ".weight") return rank;
    ++rank;
  }
  return rank;
}

inline tensor_grid tensor_grid::of(std::span<const html_tensor> tensors) {
  tensor_grid grid;
  std::map<std::string_view, std::size_t> counts;
  for (const auto& t : tensors)
    if (t.place) ++counts[t.place->role];
  for (const auto& t : tensors) {
    if (!t.place) continue;
    auto& count = counts[t.place->role];
    if (count == 0 || (count == 1 && !t.place->role.starts_with("blk.#."))) continue;
    grid.roles.push_back(t.place->role);
    count = 0;
  }
  std::stable_sort(grid.roles.begin(), grid.roles.end(),
                   [](const auto& a, const auto& b) { return role_rank(a) < role_rank(b); });
  for (const auto& t : tensors)
    if (grid.has(t)) grid.layers.push_back(t.place->layer);
  std::sort(grid.layers.begin(), grid.layers.end());
  grid.layers.erase(std::unique(grid.layers.begin(), grid.layers.end()), grid.layers.end());
  return grid;
}

/// `attn_q` for `blk.#.attn_q.weight`.
[[nodiscard]] inline std::string role_label(std::string role) {
  constexpr std::string_view before = "blk.#.", after = ".weight";
  if (role.starts_with(before)) role.erase(0, before.size());
  if (role.size() > after.size() && role.ends_with(after)) role.resize(role.size() - after.size());
  return role;
}

/// Name, shape, format and errors, a line each.
[[nodiscard]] inline std::string tensor_tip(const html_tensor& t) {
  std::string tip = t.report->name + "\n" + format_shape(t.report->dims) + ", " +
                    std::string(name_of(t.report->source_type)) + " \u2192 " +
                    std::string(name_of(t.report->type)) + "\n" + figure_text(t.bits(), 2) +
                    " bits per weight";
  if (t.report->error.sums().count != 0) {
    const std::string sqnr = sqnr_cell(t.report->error);
    tip += "\nSQNR " + sqnr + (sqnr == "exact" || sqnr == no_number ? "" : " dB");
  }
  if (t.output_error && std::isfinite(*t.output_error))
    tip += "\noutput error " + short_text(100 * *t.output_error) + " %";
  return tip;
}

} // namespace report::detail

} // namespace edgequant::inline EDGEQUANT_ABI
