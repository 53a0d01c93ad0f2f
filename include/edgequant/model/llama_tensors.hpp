// SPDX-License-Identifier: MIT
/// A Llama checkpoint's tensors under their GGUF names, in GGUF's shapes and order.
#pragma once

#include "../quantizer/row_codec.hpp"
#include "llama_config.hpp"
#include "model_source.hpp"
#include "tensor_table.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <set>

namespace edgequant::inline EDGEQUANT_ABI {

/// Renames, checks and orders the tensors. bad_file with the tensor for a name without a place in
/// the architecture (a norm's bias, the output's), a layer beyond the model, values that are no
/// floats, a shape that contradicts config.json, biases that contradict it, and for RoPE
/// frequencies that are not those of config.json. An lm_head that equals a tied embedding is
/// dropped, another one is kept, and a note says so. A note says which tensors the model lacks.
[[nodiscard]] std::vector<model_tensor> map_llama_tensors(std::span<const stored_tensor> tensors,
                                                          const llama_config& config,
                                                          const std::string& place,
                                                          std::vector<std::string>& notes);

namespace model::detail {

/// A checkpoint's name taken apart.
struct llama_name {
  const tensor_row* row = nullptr;
  std::uint64_t layer = 0;
  bool bias = false;

  [[nodiscard]] std::string gguf() const {
    return (row->in_layer ? "blk." + std::to_string(layer) + "." : std::string{}) +
           std::string(row->gguf) + (bias ? ".bias" : ".weight");
  }
  /// Position in the file: embedding, layers, the rest.
  [[nodiscard]] std::array<std::uint64_t, 3> rank() const {
    const auto kind = static_cast<std::uint64_t>(row - tensor_table);
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
  for (const auto& row : tensor_table)
    if (row.part == tensor_part::always && row.in_layer == in_layer && row.checkpoint == name &&
        !(result.bias && row.bias == bias_of::none)) // GGUF's llama has no such bias
      result.row = &row;
  return result;
}

inline void require_floats(const stored_tensor& tensor, const std::string& place) {
  if (info_of(tensor.type).use != format_use::carried) return;
  std::string dtype(name_of(tensor.type));
  for (char& c : dtype)
    if (c >= 'a' && c <= 'z') c = static_cast<char>(c - 'a' + 'A');
  fail(error_code::bad_file, place_of(place, "tensor", tensor.name),
       "dtype " + dtype + " where the llama architecture has floats");
}

inline void require_shape(const stored_tensor& tensor, const llama_name& name,
                          const llama_config& config, const std::string& place) {
  const std::uint64_t rows = value_of(name.row->rows, config);
  const std::uint64_t columns = name.bias ? 1 : value_of(name.row->columns, config);
  const bool vector = columns == 1;
  require_floats(tensor, place);
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

/// How many weights of one kind the model should have. A model without an output matrix of its own
/// takes the embedding, whether config.json says so or not: note_output() tells.
[[nodiscard]] inline std::uint64_t expected_count(const tensor_row& row,
                                                  const llama_config& config) {
  if (row.part != tensor_part::always || row.gguf == "output") return 0;
  return row.in_layer ? config.layers : 1;
}

using name_set = std::set<std::string, std::less<>>;

[[nodiscard]] inline name_set names_of(const std::vector<model_tensor>& tensors) {
  name_set names;
  for (const auto& t : tensors) names.insert(t.stored.name);
  return names;
}

/// Whether the model lacks tensors: how many, and the first of them, as one note. Names are
/// tried up to the first gap only: config.json may claim 2^31 layers.
[[nodiscard]] inline bool note_missing(const name_set& present, const llama_config& config,
                                       std::vector<std::string>& notes) {
  std::uint64_t missing = 0;
  for (const auto& row : tensor_table) missing += expected_count(row, config);
  for (const auto& name : present) // each of the others is expected
    if (name.ends_with(".weight") && name != "output.weight") --missing;
  if (missing == 0) return false;
  std::string first;
  for (const auto& row : tensor_table)
    for (std::uint64_t layer = 0; first.empty() && layer < expected_count(row, config); ++layer)
      if (auto name = llama_name{&row, layer}.gguf(); !present.contains(name))
        first = std::move(name);
  notes.push_back("the checkpoint lacks " + counted(missing, "tensor") + " (first: " + first +
                  "): no engine will run the file");
  return true;
}

/// The biases that a flag of config.json speaks of must be there, or must not.
inline void require_biases(const name_set& present, std::span<const llama_name> names,
                           const llama_config& config, const std::string& place,
                           std::vector<std::string>& notes) {
  bool silent = false;
  for (const auto& name : names) {
    if (name.row->bias == bias_of::none) continue;
    const bool in_mlp = name.row->bias == bias_of::feed_forward;
    const auto& flag = in_mlp ? config.mlp_bias : config.attention_bias;
    const std::string field = in_mlp ? "mlp_bias" : "attention_bias";
    const std::string bias = llama_name{name.row, name.layer, true}.gguf();
    if (name.bias && flag == false)
      fail(error_code::bad_file, place,
           "the checkpoint has " + bias + ", and config.json's " + field + " is false");
    if (!name.bias && flag == true && !present.contains(bias))
      fail(error_code::bad_file, place,
           "the checkpoint lacks " + bias + ", and config.json's " + field + " is true");
    silent = silent || (name.bias && !flag);
  }
  if (silent)
    notes.push_back("config.json does not speak of the biases that the checkpoint has: they are "
                    "kept");
}

/// Whether two tensors of one shape hold the same values, up to the rounding of the dtype that is
/// the coarser one.
[[nodiscard]] inline bool same_values(const stored_tensor& a, const stored_tensor& b) {
  if (a.type == b.type)
    return std::equal(a.data.begin(), a.data.end(), b.data.begin(), b.data.end());
  const std::uint64_t columns = a.columns();
  const std::uint64_t a_bytes = row_bytes(a.type, columns), b_bytes = row_bytes(b.type, columns);
  std::vector<float> left(columns), right(columns);
  const auto round = [&](float x) {
    if (a.type == format::bf16 || b.type == format::bf16) x = static_cast<float>(bfloat16(x));
    if (a.type == format::f16 || b.type == format::f16) x = static_cast<float>(half(x));
    return x;
  };
  for (std::uint64_t r = 0; r < a.rows(); ++r) {
    decode_row(a.type, a.data.data() + r * a_bytes, left);
    decode_row(b.type, b.data.data() + r * b_bytes, right);
    for (std::size_t c = 0; c < left.size(); ++c)
      if (!(round(left[c]) == round(right[c]))) return false;
  }
  return true;
}

/// Drops an output matrix that is a copy of the embedding where config.json ties the two, and says
/// what becomes of it in the other cases.
inline void note_output(std::vector<model_tensor>& tensors, const llama_config& config,
                        bool complete, std::vector<std::string>& notes) {
  const auto find = [&](std::string_view name) {
    return std::find_if(tensors.begin(), tensors.end(),
                        [&](const auto& t) { return t.stored.name == name; });
  };
  const auto output = find("output.weight"), embedding = find("token_embd.weight");
  if (output == tensors.end()) {
    if (!config.tied_embeddings && complete)
      notes.push_back(
          "the checkpoint has no lm_head.weight, and config.json does not tie it to the "
          "embedding: engines take the embedding");
  } else if (config.tied_embeddings) {
    if (embedding != tensors.end() && same_values(output->stored, embedding->stored))
      tensors.erase(output);
    else
      notes.push_back("lm_head.weight is no copy of the embedding, though config.json says "
                      "tie_word_embeddings: it is kept as output.weight");
  }
}

/// model.rotary_emb.inv_freq, and one a layer in older checkpoints.
[[nodiscard]] inline bool is_rope_frequencies(std::string_view name, const llama_config& config) {
  if (name.starts_with("model.")) name.remove_prefix(6);
  if (name == "rotary_emb.inv_freq") return true;
  if (!name.starts_with("layers.")) return false;
  name.remove_prefix(7);
  std::uint64_t layer = 0;
  const auto [stop, error] = std::from_chars(name.data(), name.data() + name.size(), layer);
  name.remove_prefix(static_cast<std::size_t>(stop - name.data()));
  return error == std::errc{} && layer < config.layers && name == ".self_attn.rotary_emb.inv_freq";
}

/// The frequencies follow from config.json, so they are not kept: those of the checkpoint must be
/// the same, before or after they are stretched. Tolerance: 1/1000 for a float computed elsewhere,
/// 2^-8 for bf16, and the 2^-25 to which f16 rounds its smallest values.
inline void require_frequencies(const stored_tensor& tensor, const llama_config& config,
                                const std::string& place) {
  require_floats(tensor, place);
  const std::string where = place_of(place, "tensor", tensor.name);
  std::vector<float> values(static_cast<std::size_t>(config.head_size / 2));
  if (tensor.values() != values.size())
    fail(error_code::bad_file, where,
         counted(tensor.values(), "RoPE frequency value") + " for a head size of " +
             std::to_string(config.head_size));
  decode_row(tensor.type, tensor.data.data(), values);
  const auto divisors = rope_divisors(config);
  bool plain = true, stretched = true;
  const double relative = tensor.type == format::bf16 ? 0x1p-8 : 1e-3;
  for (std::size_t i = 0; i < values.size(); ++i) {
    const double wanted =
        std::pow(config.rope_base, -static_cast<double>(i) / static_cast<double>(values.size()));
    const double divided = wanted / (divisors.empty() ? config.linear_rope_factor : divisors[i]);
    const auto near = [&](double x) {
      return std::abs(double{values[i]} - x) <=
             relative * x + (tensor.type == format::f16 ? 0x1p-25 : 0);
    };
    plain = plain && near(wanted);
    stretched = stretched && near(divided);
  }
  if (!plain && !stretched)
    fail(error_code::bad_file, where, "other RoPE frequencies than those of config.json");
}

} // namespace model::detail

inline std::vector<model_tensor> map_llama_tensors(std::span<const stored_tensor> tensors,
                                                   const llama_config& config,
                                                   const std::string& place,
                                                   std::vector<std::string>& notes) {
  std::vector<std::pair<std::array<std::uint64_t, 3>, model_tensor>> ranked;
  std::vector<model::detail::llama_name> names;
  for (const auto& tensor : tensors) {
    if (model::detail::is_rope_frequencies(tensor.name, config)) {
      model::detail::require_frequencies(tensor, config, place);
      continue;
    }
    const auto name = model::detail::parse_llama_name(tensor.name);
    if (name.row == nullptr || (name.row->in_layer && name.layer >= config.layers))
      fail(error_code::bad_file, place_of(place, "tensor", tensor.name),
           name.row == nullptr ? "the llama architecture has no such tensor"
                               : "config.json has " + std::to_string(config.layers) + " layers");
    model::detail::require_shape(tensor, name, config, place);
    const std::uint64_t heads = name.row->gguf == "attn_q" ? config.heads : config.kv_heads;
    model_tensor mapped{tensor, name.row->rotated && !name.bias ? heads : 0};
    if (name.row->rotated && name.bias)
      mapped.stored = model::detail::reordered_bias(tensor, heads);
    mapped.stored.name = name.gguf();
    ranked.emplace_back(name.rank(), std::move(mapped));
    names.push_back(name);
  }
  std::sort(ranked.begin(), ranked.end(),
            [](const auto& a, const auto& b) { return a.first < b.first; });
  std::vector<model_tensor> result;
  for (auto& entry : ranked) result.push_back(std::move(entry.second));
  const auto present = model::detail::names_of(result);
  model::detail::require_biases(present, names, config, place, notes);
  const bool complete = !model::detail::note_missing(present, config, notes);
  model::detail::note_output(result, config, complete, notes);
  return result;
}

} // namespace edgequant::inline EDGEQUANT_ABI
