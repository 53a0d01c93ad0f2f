// SPDX-License-Identifier: MIT
/// A Llama checkpoint's tensors under their GGUF names, in GGUF's shapes and order.
#pragma once

#include "llama_config.hpp"
#include "llama_tensor_table.hpp"
#include "model_source.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <set>

namespace edgequant::inline EDGEQUANT_ABI {

/// Renames, checks and orders the tensors. bad_file with the tensor for a name without a place in
/// the architecture, a layer beyond the model, or a shape that contradicts config.json. A note says
/// which tensors the model lacks.
[[nodiscard]] std::vector<model_tensor> map_llama_tensors(std::span<const stored_tensor> tensors,
                                                          const llama_config& config,
                                                          const std::string& place,
                                                          std::vector<std::string>& notes);

namespace model::detail {

[[nodiscard]] inline std::uint64_t value_of(llama_size size, const llama_config& config) {
  switch (size) {
  case llama_size::one:
    return 1;
  case llama_size::hidden:
    return config.hidden_size;
  case llama_size::feed_forward:
    return config.feed_forward_size;
  case llama_size::queries:
    return config.heads * config.head_size;
  case llama_size::keys:
    return config.kv_heads * config.head_size;
  case llama_size::vocabulary:
    break;
  }
  return config.vocabulary;
}

/// A checkpoint's name taken apart.
struct llama_name {
  const llama_tensor_row* row = nullptr;
  std::uint64_t layer = 0;
  bool bias = false;

  [[nodiscard]] std::string gguf() const {
    return (row->in_layer ? "blk." + std::to_string(layer) + "." : std::string{}) +
           std::string(row->gguf) + (bias ? ".bias" : ".weight");
  }
  /// Position in the file: embedding, layers, the rest.
  [[nodiscard]] std::array<std::uint64_t, 3> rank() const {
    const auto kind = static_cast<std::uint64_t>(row - llama_tensor_table);
    return {kind == 0 ? 0u : row->in_layer ? 1u : 2u, layer, 2 * kind + (bias ? 1 : 0)};
  }
};

/// Nothing in `row` if the name is not of the architecture.
[[nodiscard]] inline llama_name parse_llama_name(std::string_view name) {
  const auto drop = [&](std::string_view prefix) {
    const bool there = name.starts_with(prefix);
    if (there) name.remove_prefix(prefix.size());
    return there;
  };
  llama_name result;
  drop("model.");
  const bool in_layer = drop("layers.");
  if (in_layer) {
    const auto [stop, error] =
        std::from_chars(name.data(), name.data() + name.size(), result.layer);
    if (error != std::errc{} || stop == name.data() + name.size() || *stop != '.') return {};
    name.remove_prefix(static_cast<std::size_t>(stop - name.data()) + 1);
  }
  result.bias = name.ends_with(".bias");
  if (!result.bias && !name.ends_with(".weight")) return {};
  name.remove_suffix(result.bias ? 5 : 7);
  for (const auto& row : llama_tensor_table)
    if (row.in_layer == in_layer && row.checkpoint == name) result.row = &row;
  return result;
}

inline void require_shape(const stored_tensor& tensor, const llama_name& name,
                          const llama_config& config, const std::string& place) {
  const std::uint64_t rows = value_of(name.row->rows, config);
  const std::uint64_t columns = name.bias ? 1 : value_of(name.row->columns, config);
  const bool vector = columns == 1;
  const bool fits =
      vector ? tensor.dims.size() == 1 && tensor.dims[0] == rows
             : tensor.dims.size() == 2 && tensor.dims[0] == columns && tensor.dims[1] == rows;
  if (fits) return;
  std::string shape;
  for (auto d = tensor.dims.rbegin(); d != tensor.dims.rend(); ++d)
    shape += (shape.empty() ? "" : " x ") + std::to_string(*d);
  fail(error_code::bad_file, place_of(place, "tensor", tensor.name),
       "shape " + shape + " where config.json asks for " + std::to_string(rows) +
           (vector ? "" : " x " + std::to_string(columns)));
}

/// The values of a bias in GGUF's row order. They are few: a copy is simplest.
[[nodiscard]] inline stored_tensor reordered_bias(const stored_tensor& bias, std::uint64_t heads) {
  const std::uint64_t size = row_bytes(bias.type, 1);
  std::vector<std::byte> bytes;
  for (std::uint64_t i = 0; i < bias.dims[0]; ++i) {
    const auto value = bias.data.subspan(rope_source_row(i, bias.dims[0] / heads) * size, size);
    bytes.insert(bytes.end(), value.begin(), value.end());
  }
  return make_tensor(bias.name, bias.dims, bias.type, std::move(bytes));
}

/// How many weights of one kind the model should have.
[[nodiscard]] inline std::uint64_t expected_count(const llama_tensor_row& row,
                                                  const llama_config& config) {
  if (row.in_layer) return config.layers;
  return row.gguf == "output" && config.tied_embeddings ? 0 : 1;
}

/// How many names the model should have and does not, and the first of them, as one note. Names are
/// tried up to the first gap only: config.json may claim 2^31 layers.
inline void note_missing(const std::vector<model_tensor>& tensors, const llama_config& config,
                         std::vector<std::string>& notes) {
  std::set<std::string_view> present;
  for (const auto& t : tensors)
    if (t.stored.name.ends_with(".weight")) present.insert(t.stored.name);
  std::uint64_t missing = 0;
  for (const auto& row : llama_tensor_table) missing += expected_count(row, config);
  missing -= present.size(); // each of them is expected
  if (missing == 0) return;
  std::string first;
  for (const auto& row : llama_tensor_table)
    for (std::uint64_t layer = 0; first.empty() && layer < expected_count(row, config); ++layer)
      if (auto name = llama_name{&row, layer}.gguf(); !present.contains(name))
        first = std::move(name);
  notes.push_back("the checkpoint lacks " + counted(missing, "tensor") + " (first: " + first +
                  "): engines will not run the file");
}

} // namespace model::detail

inline std::vector<model_tensor> map_llama_tensors(std::span<const stored_tensor> tensors,
                                                   const llama_config& config,
                                                   const std::string& place,
                                                   std::vector<std::string>& notes) {
  std::vector<std::pair<std::array<std::uint64_t, 3>, model_tensor>> ranked;
  for (const auto& tensor : tensors) {
    if (tensor.name.ends_with("rotary_emb.inv_freq")) continue; // follows from config.json
    const auto name = model::detail::parse_llama_name(tensor.name);
    if (name.row == nullptr || (name.row->in_layer && name.layer >= config.layers))
      fail(error_code::bad_file, place_of(place, "tensor", tensor.name),
           name.row == nullptr ? "the llama architecture has no such tensor"
                               : "config.json has " + std::to_string(config.layers) + " layers");
    if (name.row->gguf == "output" && config.tied_embeddings) continue; // a copy of the embedding
    model::detail::require_shape(tensor, name, config, place);
    const std::uint64_t heads = name.row->gguf == "attn_q" ? config.heads : config.kv_heads;
    model_tensor mapped{tensor, name.row->rotated && !name.bias ? heads : 0};
    if (name.row->rotated && name.bias)
      mapped.stored = model::detail::reordered_bias(tensor, heads);
    mapped.stored.name = name.gguf();
    ranked.emplace_back(name.rank(), std::move(mapped));
  }
  std::sort(ranked.begin(), ranked.end(),
            [](const auto& a, const auto& b) { return a.first < b.first; });
  std::vector<model_tensor> result;
  for (auto& entry : ranked) result.push_back(std::move(entry.second));
  model::detail::note_missing(result, config, notes);
  return result;
}

} // namespace edgequant::inline EDGEQUANT_ABI
