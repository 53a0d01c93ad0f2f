// SPDX-License-Identifier: MIT
/// Whole matrices to the bytes of a format and back, on threads.
#pragma once

#include "../core/matrix.hpp"
#include "../system/parallel_for.hpp"
#include "row_codec.hpp"

namespace edgequant::inline EDGEQUANT_ABI {

/// Rows one after the other, as in a file. Errors of row_encoder, which also says what `importance`
/// is; `name` is for their messages.
[[nodiscard]] inline std::vector<std::byte>
encode_matrix(format type, const scale_choice& scale, Eigen::Ref<const matrix_f> values,
              std::string_view name, unsigned threads = 0, std::span<const float> importance = {}) {
  const auto rows = static_cast<std::size_t>(values.rows());
  const auto columns = static_cast<std::size_t>(values.cols());
  const std::size_t bytes_per_row = row_bytes(type, columns);
  std::vector<std::byte> bytes(rows * bytes_per_row);
  parallel_for((rows + 15) / 16, threads, [&](std::size_t part) {
    row_encoder encode(type, scale, name);
    for (std::size_t r = part * 16; r < std::min(rows, part * 16 + 16); ++r)
      encode({values.row(static_cast<Eigen::Index>(r)).data(), columns}, importance, r * columns,
             bytes.data() + r * bytes_per_row);
  });
  return bytes;
}

/// The values of such bytes; errors of decode_row.
[[nodiscard]] inline matrix_f decode_matrix(format type, const std::byte* data, std::size_t rows,
                                            std::size_t columns, unsigned threads = 0) {
  matrix_f values(static_cast<Eigen::Index>(rows), static_cast<Eigen::Index>(columns));
  const std::size_t bytes_per_row = row_bytes(type, columns);
  parallel_for(rows, threads, [&](std::size_t r) {
    decode_row(type, data + r * bytes_per_row, {values.data() + r * columns, columns});
  });
  return values;
}

} // namespace edgequant::inline EDGEQUANT_ABI
