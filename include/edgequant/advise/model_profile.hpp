// SPDX-License-Identifier: MIT
/// What is known of a model that shall run on a device.
#pragma once

#include "../core/precision.hpp"
#include "../format/format.hpp"

#include <cstdint>
#include <optional>
#include <string>

namespace edgequant::inline EDGEQUANT_ABI {

/// Figures of a model in one precision, as measured.
struct model_figures {
  std::optional<std::uint64_t> file_bytes = {};
  std::optional<double> ms_per_token = {};
  std::optional<std::uint64_t> memory_bytes = {};
  friend bool operator==(const model_figures&, const model_figures&) = default;
};

/// A decoder of Llama's kind. Units are in the names.
struct model_profile {
  std::string name;
  std::uint64_t parameters = 0;
  std::uint64_t layers = 0, hidden_size = 0, heads = 0, kv_heads = 0, head_size = 0;
  std::uint64_t feed_forward_size = 0, vocabulary = 0;
  bool tied_embeddings = false;
  std::uint64_t context_tokens = 0;
  std::optional<double> accuracy = {};   ///< 0 to 1, on a benchmark of the caller's choice
  model_figures before = {}, after = {}; ///< compression
  /// Of most weights of a file that is quantized: before.file_bytes are in it. No engine gets more
  /// bits than that back. None: the weights can have any precision.
  std::optional<format> stored = {};
  std::string source = {};
  std::string architecture = "llama"; ///< as GGUF names it; a row of architecture_table, or another
  friend bool operator==(const model_profile&, const model_profile&) = default;
};

/// What engines call weights in a block format: int8 from 8 bits a weight on, else int4.
[[nodiscard]] constexpr precision precision_of(format stored) noexcept {
  const format_row& row = info_of(stored);
  return row.block_bytes >= row.block_length ? precision::int8 : precision::int4;
}

} // namespace edgequant::inline EDGEQUANT_ABI
