// SPDX-License-Identifier: MIT
/// What a compression job did, tensor by tensor: the record that tables, JSON and pages show.
#pragma once

#include "../format/format.hpp"
#include "../metric/error.hpp"
#include "../quantizer/row_codec.hpp"

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace edgequant::inline EDGEQUANT_ABI {

struct tensor_report {
  std::string name;
  std::vector<std::uint64_t> dims; ///< dims[0] is the length of a row
  format source_type = format::f32, type = format::f32;
  std::uint64_t bytes_before = 0, bytes_after = 0;
  error_accumulator error;                 ///< empty after a dry run and for integers
  std::optional<double> output_error = {}; ///< of tensors that were encoded with a text: what is
                                           ///< lost of their outputs, as a ratio
};

struct compress_report {
  std::string input, output;
  format type = format::q4_0; ///< of the matrices
  scale_choice scale = scale_rule::mse;
  bool dry_run = false;
  std::vector<tensor_report> tensors;
  std::uint64_t values = 0;       ///< weights of all tensors
  std::uint64_t bytes_before = 0; ///< tensor data of the input
  std::uint64_t bytes_after = 0;  ///< tensor data of the output
  std::uint64_t file_bytes = 0;   ///< the output file, metadata and padding included
  error_accumulator error;        ///< all tensors
  std::vector<std::string> notes;
};

/// `dims` as a person writes a shape, output channels first: "512 x 256".
[[nodiscard]] inline std::string format_shape(std::span<const std::uint64_t> dims) {
  std::string text;
  for (auto d = dims.rbegin(); d != dims.rend(); ++d)
    text += (text.empty() ? "" : " x ") + std::to_string(*d);
  return text;
}

} // namespace edgequant::inline EDGEQUANT_ABI
