// SPDX-License-Identifier: MIT
/// A model with a larger hidden size and the same logits, for formats whose blocks do not divide
/// its rows.
#pragma once

#include "../io/gguf_writer.hpp"
#include "../quantizer/row_codec.hpp"
#include "../system/scratch_file.hpp"
#include "model_shape.hpp"
#include "model_source.hpp"
#include "tensor_table.hpp"

#include <cmath>
#include <limits>

namespace edgequant::inline EDGEQUANT_ABI {

/// Grows the hidden size n to `hidden`, N: zero columns and rows behind those of the model, norm
/// weights times sqrt(n / N), epsilon times n / N, and the head size written down. The norm of x
/// with zeros behind it has a mean square of n / N times as much, so that every product is as
/// before; norm weights alone are rounded, to float.
///
/// The weights are written as a GGUF into a scratch_file beside `output`, which lives as long as
/// the result. f32, f16 and bf16 keep their type, other matrices become f32. bad_argument for an N
/// that is not above n; bad_file for a model that the engine cannot run.
[[nodiscard]] model_source widen_model(const model_source& source, std::uint64_t hidden,
                                       const std::filesystem::path& output);

/// Whether nothing but the norms of the hidden size depends on it: norms of heads share their
/// epsilon, and Gemma's embedding scale follows from the size.
[[nodiscard]] constexpr bool can_widen(const architecture_row& row) noexcept {
  return row.qk_norms == qk_norm::none && !row.scaled_embedding;
}

namespace model::detail {

/// How a tensor grows.
struct widened_tensor {
  bool rows = false, columns = false; ///< the dimension that is the hidden size
  bool is_norm = false;               ///< a norm's weights: scaled
};

/// The row of tensor_table for a GGUF name, and the tensor's place in it; nothing is widened where
/// there is none.
[[nodiscard]] inline widened_tensor widened_parts(std::string_view name) {
  if (name.starts_with("blk.")) {
    const auto dot = name.find('.', 4);
    if (dot == name.npos) return {};
    name.remove_prefix(dot + 1);
  }
  const bool is_bias = name.ends_with(".bias");
  const auto dot = name.rfind('.');
  if (dot == name.npos) return {};
  for (const auto& row : tensor_table)
    if (row.gguf == name.substr(0, dot)) {
      const bool is_vector = row.columns == network_size::one || is_bias;
      return {!is_vector && row.rows == network_size::hidden,
              is_vector ? row.rows == network_size::hidden : row.columns == network_size::hidden,
              row.columns == network_size::one && !is_bias};
    }
  return {};
}

} // namespace model::detail

inline model_source widen_model(const model_source& source, std::uint64_t hidden,
                                const std::filesystem::path& output) {
  const model_shape shape = read_model_shape(source.metadata);
  const std::uint64_t before = shape.hidden;
  if (!can_widen(*shape.architecture))
    fail(error_code::bad_argument, source.name,
         std::string(shape.architecture->name) +
             " cannot be widened: another size than the hidden one follows from it");
  if (hidden <= before || hidden > std::numeric_limits<std::uint32_t>::max())
    fail(error_code::bad_argument, source.name,
         "a hidden size of " + std::to_string(before) + " cannot be widened to " +
             std::to_string(hidden));
  const double ratio = static_cast<double>(before) / static_cast<double>(hidden);
  gguf_metadata metadata = source.metadata;
  const std::string prefix = std::string(shape.architecture->name) + ".";
  const auto set_size = [&](const char* key, std::uint64_t value) {
    metadata.set(prefix + key, static_cast<std::uint32_t>(value));
  };
  set_size("embedding_length", hidden);
  set_size("attention.key_length", shape.head_size);
  set_size("attention.value_length", shape.head_size);
  set_size("rope.dimension_count", shape.rope_size);
  metadata.set(prefix + "attention.layer_norm_rms_epsilon",
               static_cast<float>(double{shape.rms_epsilon} * ratio));
  std::vector<tensor_info> infos;
  for (const auto& tensor : source.tensors) {
    const stored_tensor& t = tensor.stored;
    const auto grows = model::detail::widened_parts(t.name);
    tensor_info info{t.name, t.dims, t.type};
    if (grows.columns) info.dims[0] = hidden;
    if (grows.rows) info.dims.at(1) = hidden;
    const bool is_float = t.type == format::f32 || t.type == format::f16 || t.type == format::bf16;
    if (grows.is_norm || ((grows.columns || grows.rows) && !is_float)) info.type = format::f32;
    infos.push_back(std::move(info));
  }
  scratch_file file(output);
  gguf_writer writer(file, place_of(output), metadata, infos);
  for (std::size_t i = 0; i < infos.size(); ++i) {
    const model_tensor& tensor = source.tensors[i];
    const stored_tensor& t = tensor.stored;
    const tensor_info& to = infos[i];
    const auto grows = model::detail::widened_parts(t.name);
    if (!grows.rows && !grows.columns) {
      for (std::uint64_t r = 0; r < t.rows(); ++r) writer.write(tensor.row(r));
      continue;
    }
    std::vector<float> values(t.columns()), row(to.dims[0]);
    std::vector<std::byte> bytes(row_bytes(to.type, row.size()));
    row_encoder encode(to.type, scale_rule::absmax, t.name);
    const std::uint64_t rows = to.dims.size() > 1 ? to.dims[1] : 1;
    for (std::uint64_t r = 0; r < rows; ++r) {
      std::fill(row.begin(), row.end(), 0.0f);
      if (r < t.rows()) {
        decode_row(t.type, tensor.row(r).data(), values);
        std::copy(values.begin(), values.end(), row.begin());
      }
      if (grows.is_norm)
        for (float& x : row) x = static_cast<float>(x * std::sqrt(ratio));
      encode(row, {}, r * row.size(), bytes.data());
      writer.write(bytes);
    }
  }
  writer.finish();
  gguf_file widened = read_gguf(file.map());
  model_source result{source.name, std::move(widened.metadata), {}, source.notes, source.path,
                      true};
  for (auto& tensor : widened.tensors) result.tensors.push_back({std::move(tensor), 0});
  result.notes.push_back("the hidden size " + std::to_string(before) + " is widened to " +
                         std::to_string(hidden) + " by zeros, with the same logits");
  return result;
}

} // namespace edgequant::inline EDGEQUANT_ABI
