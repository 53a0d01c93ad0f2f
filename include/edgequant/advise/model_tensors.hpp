// SPDX-License-Identifier: MIT
/// The tensors that follow from a model's sizes, and how many parameters they hold.
#pragma once

#include "../core/checked.hpp"
#include "../core/exception.hpp"
#include "../model/model_shape.hpp"
#include "../model/tensor_table.hpp"
#include "model_profile.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace edgequant::inline EDGEQUANT_ABI {

/// The row of an architecture; Llama's for one that has none.
[[nodiscard]] constexpr const architecture_row& family_of(std::string_view architecture) noexcept {
  const auto* row = find_architecture(architecture);
  return row != nullptr ? *row : architecture_table[0];
}

/// A tensor's GGUF name and shape; dims[0] is the length of a row.
struct tensor_shape {
  std::string name;
  std::vector<std::uint64_t> dims;
};

/// Largest number of layers and largest other size that a profile may have.
inline constexpr std::uint64_t most_layers = 1 << 16, most_size = 0x7fffffff;
/// Largest number of parameters: sums of bytes then fit 64 bits whatever the format.
inline constexpr std::uint64_t most_parameters = std::uint64_t{1} << 56;

/// All tensors of the model as a GGUF file holds them, from the sizes alone: what a file may hold
/// besides (divisors of RoPE) is not there. bad_argument for sizes of 0 or beyond the limits above.
[[nodiscard]] std::vector<tensor_shape> tensors_of(const model_profile& model);

/// Values in all of them, embeddings once if they are tied: what people call the model's size. A
/// family without a row counts like Llama. bad_argument as above, and for more than
/// most_parameters.
[[nodiscard]] std::uint64_t parameter_count(const model_profile& model);

namespace advisor::detail {

[[nodiscard]] inline std::string place_of_model(const model_profile& model) {
  return "model '" + model.name + "'";
}

inline void require_sizes(const model_profile& m) {
  const auto require = [&](const char* name, std::uint64_t value, std::uint64_t most) {
    if (value == 0 || value > most)
      fail(error_code::bad_argument, place_of_model(m),
           std::string(name) + " is " + std::to_string(value) + ", expected 1 to " +
               std::to_string(most));
  };
  require("layers", m.layers, most_layers);
  require("hidden_size", m.hidden_size, most_size);
  require("heads", m.heads, most_size);
  require("kv_heads", m.kv_heads, most_size);
  require("head_size", m.head_size, most_size);
  require("feed_forward_size", m.feed_forward_size, most_size);
  require("vocabulary", m.vocabulary, most_size);
}

} // namespace advisor::detail

inline std::vector<tensor_shape> tensors_of(const model_profile& model) {
  advisor::detail::require_sizes(model);
  const auto& family = family_of(model.architecture);
  std::vector<tensor_shape> tensors;
  const auto add = [&](const tensor_row& row, const std::string& prefix) {
    if (!has_tensor(family, row) || (row.gguf == "output" && model.tied_embeddings)) return;
    const std::string name = prefix + std::string(row.gguf);
    tensor_shape t{name + ".weight", {}};
    if (row.columns != network_size::one) t.dims.push_back(value_of(row.columns, model));
    t.dims.push_back(value_of(row.rows, model));
    if (row.part == tensor_part::each_expert) t.dims.push_back(model.experts);
    tensors.push_back(std::move(t));
    if (family.qkv_bias && row.bias == bias_of::inputs)
      tensors.push_back({name + ".bias", {value_of(row.rows, model)}});
  };
  for (const auto& row : tensor_table)
    if (!row.in_layer) add(row, {});
  for (std::uint64_t layer = 0; layer < model.layers; ++layer)
    for (const auto& row : tensor_table)
      if (row.in_layer) add(row, "blk." + std::to_string(layer) + ".");
  return tensors;
}

namespace advisor::detail {

/// Nothing for more than most_parameters.
[[nodiscard]] inline std::optional<std::uint64_t> count_parameters(const model_profile& model) {
  std::uint64_t sum = 0;
  for (const auto& tensor : tensors_of(model)) {
    std::optional<std::uint64_t> values = 1;
    for (const auto d : tensor.dims) values = values ? checked_multiply(*values, d) : values;
    if (!values || *values > most_parameters - sum) return std::nullopt;
    sum += *values;
  }
  return sum;
}

} // namespace advisor::detail

inline std::uint64_t parameter_count(const model_profile& model) {
  const auto count = advisor::detail::count_parameters(model);
  if (!count)
    fail(error_code::bad_argument, advisor::detail::place_of_model(model),
         "more than " + std::to_string(most_parameters) + " parameters follow from its sizes");
  return *count;
}

} // namespace edgequant::inline EDGEQUANT_ABI
