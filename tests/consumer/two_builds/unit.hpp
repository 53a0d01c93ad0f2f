// SPDX-License-Identifier: MIT
/// What passes between translation units that are built for different instruction sets: spans and
/// plain structs.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

struct unit_report {
  char backend[16];          ///< simd::native::name
  const void* function;      ///< the address of edgequant::quantize_int8 in this unit
  std::size_t bytes;         ///< how many of the output's bytes are written
  bool refuses_not_a_number; ///< by an exception of its own that its own handler catches
};

/// The same calls of the library in each unit, on a row-major matrix of `cols` columns. All that
/// they give is written to `output`.
unit_report vector_unit(std::span<const float> matrix, std::size_t cols,
                        std::span<std::byte> output);
unit_report scalar_unit(std::span<const float> matrix, std::size_t cols,
                        std::span<std::byte> output);
