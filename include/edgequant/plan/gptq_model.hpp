// SPDX-License-Identifier: MIT
/// GPTQ for the layers of a model: each calibrates on what the quantized layers before it give.
#pragma once

#include "../core/progress.hpp"
#include "../model/layer_walk.hpp"
#include "../quantizer/gptq.hpp"
#include "../quantizer/matrix_codec.hpp"
#include "encoded_tensors.hpp"
#include "format_plan.hpp"

namespace edgequant::inline EDGEQUANT_ABI {

/// The text that calibrates, in tokens.
struct calibration_text {
  std::vector<std::int32_t> tokens;
  std::int32_t bos = 0;
  std::size_t context = 0; ///< tokens of a chunk, BOS included; 0: the model's, at most 512
};

/// The tokens of a chunk that `text` stands for.
[[nodiscard]] inline std::size_t chunk_context(const model_weights& weights,
                                               const calibration_text& text) {
  return text.context != 0 ? text.context : std::min<std::size_t>(512, weights.shape().context);
}

/// Encodes the matrices of all layers, each in its format, and puts them into `encoded` under their
/// names; those with a format without groups, or with none, are left out. Tensors that are there
/// already are taken as they are. The weights end as the encoded ones. Memory: the encoded tensors,
/// and the Gram matrices of one layer.
void encode_layers_by_gptq(model_weights& weights, const calibration_text& text,
                           const named_formats& formats, const gptq_options& options,
                           encoded_tensors& encoded, const progress_callback& listener = {});

namespace detail {

/// Matrices of a layer that read the same inputs: the first of them is observed.
inline std::vector<std::vector<const named_weight*>> shared_inputs(const layer_weights& w) {
  return {{&w.q, &w.k, &w.v}, {&w.attention_output}, {&w.gate, &w.up}, {&w.down}};
}

[[nodiscard]] inline encoded_tensors::tensor encode_by_gptq(const named_weight& w, format type,
                                                            const gptq_columns& columns,
                                                            const gptq_options& options) {
  const matrix_f values =
      decode_matrix(w.view.type, w.view.data, w.view.rows, w.view.columns, options.threads);
  encoded_tensors::tensor result{type, {}};
  result.bytes.resize(w.view.rows * row_bytes(type, w.view.columns));
  (void)gptq_encode(type, values.data(), w.view.rows, columns, options, w.name,
                    result.bytes.data());
  return result;
}

} // namespace detail

inline void encode_layers_by_gptq(model_weights& weights, const calibration_text& text,
                                  const named_formats& formats, const gptq_options& options,
                                  encoded_tensors& encoded, const progress_callback& listener) {
  const auto type_of = [&](const std::string& name) {
    const auto found = formats.find(name);
    return found == formats.end() ? format::f32 : found->second;
  };
  layer_walk walk(weights, text.tokens, text.bos, chunk_context(weights, text), options.threads);
  const std::size_t layers = weights.layers().size();
  const auto is_open = [&](const named_weight* w) {
    return visit_block_format(type_of(w->name), [](auto) {}) && encoded.find(w->name) == nullptr;
  };
  for (std::size_t i = 0; i < layers; ++i) {
    const auto groups = detail::shared_inputs(weights.layers()[i]);
    const auto is_wanted = [&](std::string_view name) {
      for (const auto& group : groups)
        if (group[0]->name == name) return std::any_of(group.begin(), group.end(), is_open);
      return false;
    };
    if (listener) listener({"calibrate", groups[0][0]->name, 2 * i, 2 * layers, "steps"});
    const calibration seen = walk.observe(is_wanted);
    for (const auto& group : groups) {
      if (is_wanted(group[0]->name)) {
        const gptq_columns columns(seen.all().find(group[0]->name)->second.gram, options.damping);
        for (const auto* w : group) {
          if (listener) listener({"gptq", w->name, 2 * i + 1, 2 * layers, "steps"});
          if (is_open(w))
            encoded.put(w->name, detail::encode_by_gptq(*w, type_of(w->name), columns, options));
        }
      }
      for (const auto* w : group)
        if (const auto* done = encoded.find(w->name))
          weights.replace(w->name, {done->type, w->view.rows, w->view.columns, done->bytes.data()});
    }
    walk.advance();
  }
  if (listener) listener({"gptq", "", 2 * layers, 2 * layers, "steps"});
}

} // namespace edgequant::inline EDGEQUANT_ABI
