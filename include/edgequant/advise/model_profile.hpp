// SPDX-License-Identifier: MIT
/// The model that is to run on a device: its sizes and its file.
#pragma once

#include "../core/precision.hpp"
#include "../format/format.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace edgequant::inline EDGEQUANT_ABI {

/// Figures of a model in one precision, as measured.
struct model_figures {
  std::optional<std::uint64_t> file_bytes = {};
  std::optional<double> ms_per_token = {};
  std::optional<std::uint64_t> memory_bytes = {};
  friend bool operator==(const model_figures&, const model_figures&) = default;
};

/// What one layer keeps in the KV cache.
struct layer_cache {
  std::uint64_t kv_heads = 0; ///< 0: a layer without attention keeps nothing
  std::uint64_t window = 0;   ///< tokens that it attends to; 0: all
  friend bool operator==(const layer_cache&, const layer_cache&) = default;
};

/// Sizes of a decoder-only transformer, and what is known of its file. Units are in the names.
struct model_profile {
  std::string name;
  std::uint64_t parameters = 0;
  std::uint64_t layers = 0, hidden_size = 0, heads = 0, kv_heads = 0, head_size = 0;
  std::uint64_t feed_forward_size = 0, vocabulary = 0;
  bool tied_embeddings = false;
  std::uint64_t context_tokens = 0;
  /// Of each layer, where layers differ in KV heads or window; kv_heads is then the largest number.
  /// Empty: all layers have kv_heads and attend to the full context.
  std::vector<layer_cache> layer_caches = {};
  std::uint64_t experts = 0;             ///< of a mixture of experts; 0: the network is dense
  std::optional<double> accuracy = {};   ///< 0 to 1, on a benchmark of the caller's choice
  model_figures before = {}, after = {}; ///< before and after compression
  /// The format of most weights of a file that is quantized, whose size is before.file_bytes. A
  /// higher precision cannot be recovered from it. None: the weights can have any precision.
  std::optional<format> stored = {};
  /// "gguf": engines have to open this file. Empty: a checkpoint, or sizes alone, which the tools
  /// of each engine convert.
  std::string file_kind = {};
  std::vector<format> matrix_formats = {}; ///< of the file's matrices, the most frequent first
  /// Why EdgeQuant's own engine or converter does not take the file, in its words. Empty: it does,
  /// or there is no file.
  std::string built_in_refusal = {};
  std::string source = {};
  std::string architecture = "llama"; ///< as GGUF names it; a row of architecture_table, or another
  friend bool operator==(const model_profile&, const model_profile&) = default;
};

/// The precision that counts for weights in a quantized format: int8 from 8 bits a weight on, else
/// int4. For people it is called by the format's own name, see name_of_weights().
[[nodiscard]] constexpr precision precision_of(format stored) noexcept {
  const format_row& row = info_of(stored);
  return row.block_bytes >= row.block_length ? precision::int8 : precision::int4;
}

/// Bits of a weight in a format, its scales included: 4.5 for q4_0.
[[nodiscard]] constexpr double bits_per_weight(format type) noexcept {
  const format_row& row = info_of(type);
  return 8.0 * row.block_bytes / row.block_length;
}

/// What weights of `weights` are called: the stored format of a file that has this precision
/// already ("q6_K"), else the precision ("int4").
[[nodiscard]] inline std::string name_of_weights(const model_profile* model, precision weights) {
  if (model != nullptr && model->stored && precision_of(*model->stored) == weights)
    return std::string(name_of(*model->stored));
  return std::string(name_of(weights));
}

} // namespace edgequant::inline EDGEQUANT_ABI
