// SPDX-License-Identifier: MIT
/// Rows become columns.
#pragma once

#include "../config.hpp"

#include <algorithm>
#include <cstddef>
#include <cstring>

namespace edgequant::inline EDGEQUANT_ABI::gemm {

namespace detail {

/// Four rows of four, with the compilers' vectors of four floats.
inline void transpose_4x4(const float* from, std::size_t from_stride, float* to,
                          std::size_t to_stride) noexcept {
  using four [[gnu::vector_size(16)]] = float;
  four a, b, c, d;
  std::memcpy(&a, from, 16);
  std::memcpy(&b, from + from_stride, 16);
  std::memcpy(&c, from + 2 * from_stride, 16);
  std::memcpy(&d, from + 3 * from_stride, 16);
  const four ab = __builtin_shufflevector(a, b, 0, 4, 1, 5);
  const four cd = __builtin_shufflevector(c, d, 0, 4, 1, 5);
  const four ab_high = __builtin_shufflevector(a, b, 2, 6, 3, 7);
  const four cd_high = __builtin_shufflevector(c, d, 2, 6, 3, 7);
  const four rows[4] = {__builtin_shufflevector(ab, cd, 0, 1, 4, 5),
                        __builtin_shufflevector(ab, cd, 2, 3, 6, 7),
                        __builtin_shufflevector(ab_high, cd_high, 0, 1, 4, 5),
                        __builtin_shufflevector(ab_high, cd_high, 2, 3, 6, 7)};
  for (std::size_t i = 0; i < 4; ++i) std::memcpy(to + i * to_stride, rows + i, 16);
}

} // namespace detail

/// to[c * to_stride + r] = from[r * from_stride + c], for rows x columns floats.
inline void transpose(const float* from, std::size_t rows, std::size_t columns,
                      std::size_t from_stride, float* to, std::size_t to_stride) noexcept {
  const std::size_t aligned_rows = rows / 4 * 4, aligned_columns = columns / 4 * 4;
  // A cache line of each row at a time: rows may be as far from each other as evicts them.
  for (std::size_t part = 0; part < aligned_columns; part += 16)
    for (std::size_t r = 0; r < aligned_rows; r += 4)
      for (std::size_t c = part; c < std::min(aligned_columns, part + 16); c += 4)
        detail::transpose_4x4(from + r * from_stride + c, from_stride, to + c * to_stride + r,
                              to_stride);
  const auto copy = [&](std::size_t r, std::size_t first) {
    for (std::size_t c = first; c < columns; ++c) to[c * to_stride + r] = from[r * from_stride + c];
  };
  for (std::size_t r = 0; r < aligned_rows; ++r) copy(r, aligned_columns);
  for (std::size_t r = aligned_rows; r < rows; ++r) copy(r, 0);
}

} // namespace edgequant::inline EDGEQUANT_ABI::gemm
