// SPDX-License-Identifier: MIT
/// EdgeQuant: small and fast language models for edge devices. This file is the map.
#pragma once

#include "config.hpp" // version, instruction set, floating-point guard

#include "core/matrix.hpp"         // matrix_f, vector_f, matrix_view
#include "core/progress.hpp"       // progress reports and a bar
#include "format/format.hpp"       // every tensor format, a row each
#include "metric/error.hpp"        // measure_error, quantize<Format>(matrix)
#include "quantizer/plain.hpp"     // quantize_int8, quantize_int4, pack_int4: spans in, vectors out
#include "quantizer/row_codec.hpp" // rows of any stored format
