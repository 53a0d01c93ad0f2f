// SPDX-License-Identifier: MIT
/// A model as it will stand in a GGUF file: metadata and tensors, nothing copied yet.
#pragma once

#include "../io/gguf.hpp"

#include <filesystem>

#include <string>
#include <vector>

namespace edgequant::inline EDGEQUANT_ABI {

/// Hugging Face keeps the rows that RoPE turns together as two halves of a head, GGUF's llama
/// layout as neighbouring pairs. GGUF row h*d + 2*i + j is row h*d + j*d/2 + i of the checkpoint,
/// with d rows a head.
[[nodiscard]] constexpr std::uint64_t rope_source_row(std::uint64_t row, std::uint64_t d) noexcept {
  const std::uint64_t within = row % d;
  return row - within + within % 2 * (d / 2) + within / 2;
}

/// A stored tensor under its GGUF name, with the order of its rows.
struct model_tensor {
  stored_tensor stored;
  std::uint64_t rope_heads = 0; ///< not 0: rows of so many heads change to GGUF's order
  /// Matrices of one shape that lie behind each other in GGUF, those of experts; `stored` has no
  /// data then. Empty: the values are those of `stored`.
  std::vector<stored_tensor> stack = {};

  /// Calls use(tensor) for each that holds values.
  template <class Use> void for_each_part(Use use) const {
    if (stack.empty()) use(stored);
    for (const auto& part : stack) use(part);
  }
  /// The bytes of row `row`, counted in GGUF's order.
  [[nodiscard]] std::span<const std::byte> row(std::uint64_t row) const noexcept {
    const std::uint64_t bytes = row_bytes(stored.type, stored.columns());
    if (!stack.empty()) {
      const std::uint64_t rows = stack.front().rows();
      return stack[row / rows].data.subspan(row % rows * bytes, bytes);
    }
    const std::uint64_t from =
        rope_heads == 0 ? row : rope_source_row(row, stored.rows() / rope_heads);
    return stored.data.subspan(from * bytes, bytes);
  }
};

struct model_source {
  std::string name; ///< what messages call it: the path as given, on one line
  gguf_metadata metadata;
  std::vector<model_tensor> tensors;
  std::vector<std::string> notes;  ///< one line each: what the user should know
  std::filesystem::path path = {}; ///< the file or folder that it was opened from
  bool rewritten = false;          ///< the tensors are not those that lie there: widen_model()
};

} // namespace edgequant::inline EDGEQUANT_ABI
