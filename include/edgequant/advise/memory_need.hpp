// SPDX-License-Identifier: MIT
/// What a model takes of a device's memory, part by part.
#pragma once

#include "../gemm/scratch_sizes.hpp"
#include "../model/kv_format.hpp"
#include "../model/scratch_sizes.hpp"
#include "../plan/default_format.hpp"
#include "model_tensors.hpp"

#include <algorithm>
#include <cstdint>
#include <initializer_list>

namespace edgequant::inline EDGEQUANT_ABI {

/// Bytes.
struct memory_need {
  std::uint64_t weights = 0; ///< as in the file; engines that repack them may take more
  std::uint64_t kv_cache = 0;
  std::uint64_t activations = 0; ///< see activation_bytes()
  std::uint64_t runtime = 0;     ///< the engine itself: code, vocabulary, graph, buffers

  [[nodiscard]] std::uint64_t total() const noexcept {
    return weights + kv_cache + activations + runtime;
  }
};

/// What an engine takes beside weights, KV cache and activations: the upper end of 0.3 to 0.5 GB,
/// derived from the memory of processes that RKLLM and ExecuTorch report.
inline constexpr std::uint64_t engine_runtime_bytes = 500'000'000;
/// The same of the built-in engine, which has no graph and no arena: code, the vocabulary with its
/// tables, and a few hundred KB of work memory a thread. 18 MB were measured with a vocabulary of
/// 128k tokens; the rest is for larger vocabularies and for other systems.
inline constexpr std::uint64_t built_in_runtime_bytes = 64'000'000;

/// Bytes of all tensors of the model in a file of `type`, each in the format that plan_formats()
/// gives it; `exact` has precedence for the tensors that it names. The file's metadata, vocabulary
/// and padding are not counted: a profile does not know them, gguf_bytes() does. bad_argument as
/// tensors_of(), and where `exact` names a tensor that the model does not have.
[[nodiscard]] std::uint64_t tensor_data_bytes(const model_profile& model, format type,
                                              const named_formats& exact = {});

/// Which tokens the KV cache of a layer with a sliding window keeps.
enum class window_cache {
  window, ///< those of the window and of one batch, as llama.cpp does
  all     ///< all of the context, as the built-in engine does
};

/// Tokens of a batch that a cache holds beside a window: llama.cpp's default.
inline constexpr std::uint64_t window_batch_tokens = 512;

/// Bytes of the KV cache with `tokens` tokens, in blocks of kv_block_tokens as the built-in engine
/// allocates them. Layers differ where model.layer_caches says so. For a model with windows that
/// layer_caches does not know it is an upper bound.
[[nodiscard]] std::uint64_t kv_cache_bytes(const model_profile& model, std::uint64_t tokens,
                                           kv_format type = kv_format::f16,
                                           window_cache windows = window_cache::window);

/// Bytes that the network needs beside weights and KV cache: an upper bound of what the built-in
/// engine allocates to run `context` tokens, and an estimate for other engines. It grows up to
/// chunk_tokens, and is the same for every longer context: attention takes the keys and values of
/// a tile of tokens at a time.
[[nodiscard]] std::uint64_t activation_bytes(const model_profile& model, std::uint64_t context);

namespace advisor::detail {

/// Sums and products of bytes are cut off at 2^60, so that sums of a few do not overflow.
inline constexpr std::uint64_t beyond_all = std::uint64_t{1} << 60;

[[nodiscard]] constexpr std::uint64_t product_of(std::initializer_list<std::uint64_t> factors) {
  std::uint64_t product = 1;
  for (const auto f : factors)
    product = std::min(checked_multiply(product, f).value_or(beyond_all), beyond_all);
  return product;
}

} // namespace advisor::detail

inline std::uint64_t tensor_data_bytes(const model_profile& model, format type,
                                       const named_formats& exact) {
  std::uint64_t sum = 0;
  std::size_t named = 0;
  for (const auto& tensor : tensors_of(model)) {
    format chosen = default_format(tensor.name, tensor.dims.size(), format::f32, type);
    if (const auto found = exact.find(tensor.name); found != exact.end())
      chosen = found->second, ++named;
    chosen = fitting_format(chosen, tensor.dims[0]);
    std::uint64_t rows = 1;
    for (std::size_t i = 1; i < tensor.dims.size(); ++i) rows *= tensor.dims[i];
    sum = std::min(sum + advisor::detail::product_of({row_bytes(chosen, tensor.dims[0]), rows}),
                   advisor::detail::beyond_all);
  }
  if (named != exact.size())
    fail(error_code::bad_argument, advisor::detail::place_of_model(model),
         "the plan names " + std::to_string(exact.size() - named) +
             " tensors that the model has not");
  return sum;
}

inline std::uint64_t kv_cache_bytes(const model_profile& model, std::uint64_t tokens,
                                    kv_format type, window_cache windows) {
  using advisor::detail::product_of;
  const auto bytes_of = [&](std::uint64_t layers, const layer_cache& layer) {
    std::uint64_t kept = tokens;
    if (windows == window_cache::window && layer.window != 0)
      kept = std::min(kept, layer.window + window_batch_tokens);
    const std::uint64_t blocks = kept / kv_block_tokens + (kept % kv_block_tokens != 0);
    return product_of(
        {2, layers, layer.kv_heads, kv_head_bytes(type, model.head_size), blocks, kv_block_tokens});
  };
  if (model.layer_caches.empty()) return bytes_of(model.layers, {model.kv_heads, 0});
  std::uint64_t sum = 0;
  for (const auto& layer : model.layer_caches)
    sum = std::min(sum + bytes_of(1, layer), advisor::detail::beyond_all);
  return sum;
}

namespace advisor::detail {

/// Buffers of all attention tasks of a chunk: a tile of keys and of values each, and for each token
/// and head the query, the sums, the state of the softmax and the number of tokens seen.
[[nodiscard]] inline std::uint64_t attention_bytes(const model_profile& m, std::uint64_t chunk) {
  const std::uint64_t parts = (chunk + attention_part_tokens - 1) / attention_part_tokens;
  const std::uint64_t tile = product_of({2, gemm::attention_tile_tokens, m.head_size, 4});
  const std::uint64_t query = 2 * 4 * m.head_size + gemm::softmax_state_bytes + 8;
  return product_of({parts, m.kv_heads, tile + edgequant::model::detail::head_attention_bytes}) +
         product_of({chunk, m.heads, query});
}

/// Inputs of matrix products, once coded in 8 bits for quantized weights and once in the order that
/// weights of plain numbers take. A file of one kind needs one of the two.
[[nodiscard]] inline std::uint64_t product_input_bytes(std::uint64_t chunk, std::uint64_t widest) {
  constexpr std::uint64_t tile = gemm::matrix_tile_tokens, group = gemm::activation_group_length;
  const std::uint64_t tokens = (chunk + tile - 1) / tile * tile;
  return product_of({tokens, (widest + group - 1) / group, gemm::activation_group_bytes}) + 64 +
         product_of({tokens, widest, 4});
}

} // namespace advisor::detail

inline std::uint64_t activation_bytes(const model_profile& m, std::uint64_t context) {
  using advisor::detail::product_of;
  const std::uint64_t chunk = std::min<std::uint64_t>(context, chunk_tokens);
  const std::uint64_t queries = product_of({m.heads, m.head_size});
  const std::uint64_t keys = product_of({m.kv_heads, m.head_size});
  const auto& family = family_of(m.architecture);
  // Floats of a token: the residual, its norm and what a sublayer adds; q and the output of
  // attention; k and v; gate and up; the cosines and sines of RoPE, which layers with a window may
  // have of their own.
  std::uint64_t vectors =
      3 * m.hidden_size + 2 * queries + 2 * keys + 2 * m.feed_forward_size + 2 * m.head_size;
  // The outputs of a matrix that stands for several; an expert's tokens, and the sum of experts.
  if (family.fused) vectors += std::max(queries + 2 * keys, 2 * m.feed_forward_size);
  if (family.experts) vectors += 2 * m.hidden_size;
  const std::uint64_t widest = std::max({m.hidden_size, queries, m.feed_forward_size});
  return product_of({4, chunk, vectors}) + advisor::detail::product_input_bytes(chunk, widest) +
         advisor::detail::attention_bytes(m, chunk) + product_of({4, logits_tokens, m.vocabulary});
}

} // namespace edgequant::inline EDGEQUANT_ABI
