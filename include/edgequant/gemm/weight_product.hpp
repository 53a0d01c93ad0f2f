// SPDX-License-Identifier: MIT
/// What the tasks of products share.
#pragma once

#include "activations.hpp"
#include "weight_view.hpp"

namespace edgequant::inline EDGEQUANT_ABI {

/// A matrix and where its product goes: y[tokens][w.rows].
struct weight_product {
  weight_view w;
  float* y = nullptr;
};

namespace gemm::detail {

/// While one lives, this thread may use the matrix unit with tiles of `Codes` codes a token; 0: it
/// does not.
template <int Codes, class S = simd::native> struct matrix_unit_use {
  typename S::template tile_unit<Codes> unit;
};
template <class S> struct matrix_unit_use<0, S> {};

} // namespace gemm::detail

} // namespace edgequant::inline EDGEQUANT_ABI
