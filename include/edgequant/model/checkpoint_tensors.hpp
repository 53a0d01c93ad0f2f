// SPDX-License-Identifier: MIT
/// A checkpoint's tensors under their GGUF names, in GGUF's shapes and order.
#pragma once

#include "../quantizer/row_codec.hpp"
#include "checkpoint_config.hpp"
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
[[nodiscard]] std::vector<model_tensor>
map_checkpoint_tensors(std::span<const stored_tensor> tensors, const checkpoint_config& config,
                       const std::string& place, std::vector<std::string>& notes);

namespace model::detail {

/// A checkpoint's name taken apart.
struct checkpoint_name {
  const tensor_row* row = nullptr;
  std::uint64_t layer = 0;
  std::optional<std::uint64_t> expert = {};
  bool bias = false;

  [[nodiscard]] std::string gguf() const {
    return (row->in_layer ? "blk." + std::to_string(layer) + "." : std::string{}) +
           std::string(row->gguf) + (bias ? ".bias" : ".weight");
  }
  /// Position in the file: embedding, layers, the rest.
  [[nodiscard]] std::array<std::uint64_t, 4> rank() const {
    const auto kind = static_cast<std::uint64_t>(row - tensor_table);
    return {kind == 0       ? 0u
            : row->in_layer ? 1u
                            : 2u,
            layer, 2 * kind + (bias ? 1 : 0), expert.value_or(0)};
  }
};

/// Takes a number from the front of a name, up to a dot, which goes too.
[[nodiscard]] inline std::optional<std::uint64_t> take_number(std::string_view& name) {
  std::uint64_t number = 0;
  const auto [stop, error] = std::from_chars(name.data(), name.data() + name.size(), number);
  if (error != std::errc{} || stop == name.data() + name.size() || *stop != '.')
    return std::nullopt;
  name.remove_prefix(static_cast<std::size_t>(stop - name.data()) + 1);
  return number;
}

/// Nothing in `row` if the name is not of the architecture.
[[nodiscard]] inline checkpoint_name parse_checkpoint_name(std::string_view name,
                                                           const architecture_row& family) {
  const auto drop = [&](std::string_view prefix) {
    const bool there = name.starts_with(prefix);
    if (there) name.remove_prefix(prefix.size());
    return there;
  };
  checkpoint_name result;
  drop("model.");
  const bool in_layer = drop("layers.");
  if (in_layer) {
    const auto layer = take_number(name);
    if (!layer) return {};
    result.layer = *layer;
  }
  result.bias = name.ends_with(".bias");
  if (!result.bias && !name.ends_with(".weight")) return {};
  name.remove_suffix(result.bias ? 5 : 7);
  std::string pattern(name);
  if (drop("mlp.experts.")) {
    result.expert = take_number(name);
    pattern = "mlp.experts.#." + std::string(name);
  }
  for (const auto& row : tensor_table)
    if (has_tensor(family, row) && row.in_layer == in_layer && row.checkpoint == pattern &&
        (row.part == tensor_part::each_expert) == result.expert.has_value() &&
        !(result.bias && row.bias == bias_of::none)) // GGUF has no such bias
      result.row = &row;
  return result;
}

/// What value_of() asks for, of one layer.
struct network_sizes {
  std::uint64_t hidden_size = 0, feed_forward_size = 0, heads = 0, kv_heads = 0, head_size = 0;
  std::uint64_t vocabulary = 0, experts = 0;

  network_sizes(const checkpoint_config& config, std::uint64_t layer)
      : hidden_size(config.hidden_size), head_size(config.head_size), vocabulary(config.vocabulary),
        experts(config.experts) {
    const auto sizes = config.sizes_of(layer);
    feed_forward_size = sizes.feed_forward_size;
    heads = sizes.heads, kv_heads = sizes.kv_heads;
  }
  /// Whether the layer has the sublayer of a tensor.
  [[nodiscard]] bool has(const tensor_row& row) const noexcept {
    if (!row.in_layer) return true;
    const bool is_attention =
        row.gguf.starts_with("attn") || row.gguf.starts_with("post_attention");
    return is_attention ? heads != 0 : feed_forward_size != 0;
  }
};

inline void require_floats(const stored_tensor& tensor, const std::string& place) {
  if (info_of(tensor.type).use != format_use::carried) return;
  std::string dtype(name_of(tensor.type));
  for (char& c : dtype)
    if (c >= 'a' && c <= 'z') c = static_cast<char>(c - 'a' + 'A');
  fail(error_code::bad_file, place_of(place, "tensor", tensor.name),
       "dtype " + dtype + " where the architecture has floats");
}

inline void require_shape(const stored_tensor& tensor, const checkpoint_name& name,
                          const checkpoint_config& config, const std::string& place) {
  const network_sizes sizes(config, name.layer);
  const std::uint64_t rows = value_of(name.row->rows, sizes);
  const std::uint64_t columns = name.bias ? 1 : value_of(name.row->columns, sizes);
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
                                                  const checkpoint_config& config) {
  if (!has_tensor(*config.family, row) || row.gguf == "output") return 0;
  if (!row.in_layer) return 1;
  if (config.sizes.empty()) return config.layers;
  std::uint64_t count = 0;
  for (std::uint64_t i = 0; i < config.layers; ++i)
    count += network_sizes(config, i).has(row) ? 1 : 0;
  return count;
}

/// The values of a norm whose checkpoint holds its weights less 1.
[[nodiscard]] inline stored_tensor unit_norm(const stored_tensor& norm) {
  std::vector<float> values(static_cast<std::size_t>(norm.values()));
  decode_row(norm.type, norm.data.data(), values);
  for (float& x : values) x += 1;
  const auto bytes = std::as_bytes(std::span(values));
  return make_tensor(norm.name, norm.dims, format::f32, {bytes.begin(), bytes.end()});
}

using name_set = std::set<std::string, std::less<>>;

[[nodiscard]] inline name_set names_of(const std::vector<model_tensor>& tensors) {
  name_set names;
  for (const auto& t : tensors) names.insert(t.stored.name);
  return names;
}

/// Whether the model lacks tensors: how many, and the first of them, as one note. Names are
/// tried up to the first gap only: config.json may claim 2^31 layers.
[[nodiscard]] inline bool note_missing(const name_set& present, const checkpoint_config& config,
                                       std::vector<std::string>& notes) {
  std::uint64_t missing = 0;
  for (const auto& row : tensor_table) missing += expected_count(row, config);
  for (const auto& name : present) // each of the others is expected
    if (name.ends_with(".weight") && name != "output.weight") --missing;
  if (missing == 0) return false;
  std::string first;
  for (const auto& row : tensor_table)
    for (std::uint64_t layer = 0, seen = 0; first.empty() && seen < expected_count(row, config);
         ++layer)
      if (network_sizes(config, layer).has(row)) {
        ++seen;
        if (auto name = checkpoint_name{&row, layer}.gguf(); !present.contains(name))
          first = std::move(name);
      }
  notes.push_back("the checkpoint lacks " + counted(missing, "tensor") + " (first: " + first +
                  "): no engine will run the file");
  return true;
}

/// The biases that a flag of config.json speaks of must be there, or must not.
inline void require_biases(const name_set& present, std::span<const checkpoint_name> names,
                           const checkpoint_config& config, const std::string& place,
                           std::vector<std::string>& notes) {
  bool silent = false;
  for (const auto& name : names) {
    if (name.row->bias == bias_of::none) continue;
    const bool in_mlp = name.row->bias == bias_of::feed_forward;
    auto flag = in_mlp ? config.mlp_bias : config.attention_bias;
    if (config.family->qkv_bias && !in_mlp) // Qwen2 has them without a word, and o has none
      flag = name.row->bias == bias_of::inputs;
    const std::string field = in_mlp ? "mlp_bias" : "attention_bias";
    const std::string bias = checkpoint_name{name.row, name.layer, {}, true}.gguf();
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

/// Joins the matrices of experts, which follow each other in their order under one name.
inline void stack_experts(std::vector<model_tensor>& tensors, const checkpoint_config& config,
                          const std::string& place) {
  std::vector<model_tensor> result;
  for (auto& tensor : tensors) {
    const bool is_expert = tensor.stored.name.find("_exps.") != std::string::npos;
    if (!is_expert || result.empty() || result.back().stored.name != tensor.stored.name) {
      result.push_back(std::move(tensor));
      if (!is_expert) continue;
      model_tensor& first = result.back();
      first.stack = {first.stored};
      first.stored.dims.push_back(config.experts);
      first.stored.data = {};
      continue;
    }
    if (result.back().stored.type != tensor.stored.type)
      fail(error_code::bad_file, place_of(place, "tensor", tensor.stored.name),
           "experts of different dtypes");
    result.back().stack.push_back(std::move(tensor.stored));
  }
  for (const auto& tensor : result)
    if (!tensor.stack.empty() && tensor.stack.size() != config.experts)
      fail(error_code::bad_file, place_of(place, "tensor", tensor.stored.name),
           counted(tensor.stack.size(), "expert") + " where config.json has " +
               std::to_string(config.experts));
  tensors = std::move(result);
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
inline void note_output(std::vector<model_tensor>& tensors, const checkpoint_config& config,
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
[[nodiscard]] inline bool is_rope_frequencies(std::string_view name,
                                              const checkpoint_config& config) {
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
inline void require_frequencies(const stored_tensor& tensor, const checkpoint_config& config,
                                const std::string& place) {
  require_floats(tensor, place);
  const std::string where = place_of(place, "tensor", tensor.name);
  std::vector<float> values(static_cast<std::size_t>(config.rope_size() / 2));
  if (tensor.values() != values.size())
    fail(error_code::bad_file, where,
         counted(tensor.values(), "RoPE frequency value") + " for " +
             std::to_string(config.rope_size()) + " values of a head that are turned");
  decode_row(tensor.type, tensor.data.data(), values);
  const auto divisors = rope_divisors(config);
  bool plain = true, stretched = true;
  const double relative = tensor.type == format::bf16 ? 0x1p-8 : 1e-3;
  for (std::size_t i = 0; i < values.size(); ++i) {
    const double wanted = std::pow(config.rope.rope_base,
                                   -static_cast<double>(i) / static_cast<double>(values.size()));
    const double divided =
        wanted / (divisors.empty() ? config.rope.linear_rope_factor : divisors[i]);
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

inline std::vector<model_tensor> map_checkpoint_tensors(std::span<const stored_tensor> tensors,
                                                        const checkpoint_config& config,
                                                        const std::string& place,
                                                        std::vector<std::string>& notes) {
  std::vector<std::pair<std::array<std::uint64_t, 4>, model_tensor>> ranked;
  std::vector<model::detail::checkpoint_name> names;
  const architecture_row& family = *config.family;
  const auto refuse = [&](const stored_tensor& tensor, const std::string& problem) {
    fail(error_code::bad_file, place_of(place, "tensor", tensor.name), problem);
  };
  for (const auto& tensor : tensors) {
    if (model::detail::is_rope_frequencies(tensor.name, config)) {
      model::detail::require_frequencies(tensor, config, place);
      continue;
    }
    const auto name = model::detail::parse_checkpoint_name(tensor.name, family);
    if (name.row == nullptr)
      refuse(tensor, "the " + std::string(family.name) + " architecture has no such tensor");
    if (name.row->in_layer && name.layer >= config.layers)
      refuse(tensor, "config.json has " + std::to_string(config.layers) + " layers");
    if (!model::detail::network_sizes(config, name.layer).has(*name.row))
      refuse(tensor, "config.json has no such part in this layer");
    if (name.expert && *name.expert >= config.experts)
      refuse(tensor, "config.json has " + std::to_string(config.experts) + " experts");
    model::detail::require_shape(tensor, name, config, place);
    const bool moves = name.row->rotated && family.rope == rope_order::pairs;
    const auto sizes = config.sizes_of(name.layer);
    const std::uint64_t heads = name.row->gguf == "attn_q" ? sizes.heads : sizes.kv_heads;
    model_tensor mapped{tensor, moves && !name.bias ? heads : 0};
    if (moves && name.bias) mapped.stored = model::detail::reordered_bias(tensor, heads);
    if (family.unit_norms && name.row->columns == network_size::one)
      mapped.stored = model::detail::unit_norm(tensor);
    mapped.stored.name = name.gguf();
    ranked.emplace_back(name.rank(), std::move(mapped));
    names.push_back(name);
  }
  std::sort(ranked.begin(), ranked.end(),
            [](const auto& a, const auto& b) { return a.first < b.first; });
  std::vector<model_tensor> result;
  for (auto& entry : ranked) result.push_back(std::move(entry.second));
  model::detail::stack_experts(result, config, place);
  const auto present = model::detail::names_of(result);
  model::detail::require_biases(present, names, config, place, notes);
  const bool complete = !model::detail::note_missing(present, config, notes);
  model::detail::note_output(result, config, complete, notes);
  return result;
}

} // namespace edgequant::inline EDGEQUANT_ABI
