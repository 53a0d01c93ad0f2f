// SPDX-License-Identifier: MIT
/// The small front door: quantizers, packing, error figures and products. No files, no JSON, no
/// engine; edgequant.hpp has all of them.
#pragma once

#include "config.hpp" // version, instruction set, floating-point guard

#include "core/matrix.hpp"                 // matrix_f, vector_f, matrix_view
#include "format/format.hpp"               // every tensor format, a row each
#include "metric/error.hpp"                // measure_error: MSE, max, mean, SQNR, cosine
#include "quantizer/plain.hpp"             // quantize_int8, quantize_int4, pack_int4
#include "quantizer/quantized_product.hpp" // quantize<Format>(matrix), matrix times vector
