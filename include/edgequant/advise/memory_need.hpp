// SPDX-License-Identifier: MIT
/// What a model takes of a device's memory, part by part.
#pragma once

#include "../model/kv_format.hpp"
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
  std::uint64_t activations = 0; ///< at most
  std::uint64_t runtime = 0;     ///< the engine itself: code, vocabulary, graph, buffers

  [[nodiscard]] std::uint64_t total() const noexcept {
    return weights + kv_cache + activations + runtime;
  }
};

/// What engines take beside weights and cache, the upper end of 0.3 to 0.5 GB; derived from what
/// RKLLM and ExecuTorch report as the memory of whole processes.
inline constexpr std::uint64_t engine_runtime_bytes = 500'000'000;
/// The built-in engine has no graph and no arena: code, and the vocabulary with its tables. 18 MB
/// were measured with 128k words beyond the other parts; the rest is for 256k and for other
/// systems.
inline constexpr std::uint64_t built_in_runtime_bytes = 64'000'000;

/// Bytes of all tensors of the model in a file of `type`, each in the format that plan_formats()
/// gives it: `exact` decides for the tensors that it names. Without the file's metadata, vocabulary
/// and padding, which a profile does not know: gguf_bytes() knows them. bad_argument as
/// tensors_of(), and for a plan that names a tensor which the model has not.
[[nodiscard]] std::uint64_t tensor_data_bytes(const model_profile& model, format type,
                                              const named_formats& exact = {});

/// Bytes of the built-in engine's KV cache with so many tokens, in whole blocks; engines that give
/// layers a sliding window take less.
[[nodiscard]] std::uint64_t kv_cache_bytes(const model_profile& model, std::uint64_t tokens,
                                           kv_format type = kv_format::f16);

/// An upper estimate of what the network needs beside weights and cache, from what the built-in
/// engine allocates at most: for 256 tokens at once (or the context) every vector between two
/// operations in f32, the 8-bit codes of the widest and its values once more, for four parts of
/// them and each key head the keys, values and scores of the context, and sixteen rows of logits.
[[nodiscard]] std::uint64_t activation_bytes(const model_profile& model, std::uint64_t context);

namespace advisor::detail {

/// Sums and products stop at 2^60: what is that large fits nowhere.
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
    const std::uint64_t rows = tensor.dims.size() == 2 ? tensor.dims[1] : 1;
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
                                    kv_format type) {
  const std::uint64_t blocks = tokens / kv_block_tokens + (tokens % kv_block_tokens != 0);
  return advisor::detail::product_of({2, model.layers, model.kv_heads,
                                      kv_head_bytes(type, model.head_size), blocks,
                                      kv_block_tokens});
}

inline std::uint64_t activation_bytes(const model_profile& m, std::uint64_t context) {
  using advisor::detail::product_of;
  const std::uint64_t chunk = std::min<std::uint64_t>(context, 256);
  const std::uint64_t queries = m.heads * m.head_size, keys = m.kv_heads * m.head_size;
  // x, its norm and its change; q and what attention mixes; k and v; gate and up; RoPE's angles.
  const std::uint64_t vectors =
      3 * m.hidden_size + 2 * queries + 2 * keys + 2 * m.feed_forward_size + m.head_size;
  // 32 values become 32 codes and three numbers of 4 bytes: less than 2 bytes a value. Matrices of
  // plain numbers take the values in another order.
  const std::uint64_t widest = std::max({m.hidden_size, queries, m.feed_forward_size});
  const std::uint64_t parts = (chunk + 63) / 64 * m.kv_heads;
  return product_of({4, chunk, vectors}) + product_of({chunk, widest, 2 + 4}) +
         product_of({4, parts, context, 2 * m.head_size + 1}) + product_of({4, 16, m.vocabulary});
}

} // namespace edgequant::inline EDGEQUANT_ABI
