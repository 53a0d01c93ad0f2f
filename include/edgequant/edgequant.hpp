// SPDX-License-Identifier: MIT
/// EdgeQuant: small and fast language models for edge devices. This file is the map.
#pragma once

#include "config.hpp" // version, instruction set, floating-point guard

#include "advise/advice.hpp"               // advise: engine, precision and speed for a device
#include "compress/calibrated_model.hpp"   // a model ready to run on the text that calibrates it
#include "compress/compress.hpp"           // compress: a model in, a smaller GGUF out
#include "compress/layer_encoding.hpp"     // encode_layers: GPTQ and AWQ, layer by layer
#include "core/matrix.hpp"                 // matrix_f, vector_f, matrix_view
#include "format/format.hpp"               // every tensor format, a row each
#include "metric/error.hpp"                // measure_error: MSE, max, mean, SQNR, cosine
#include "model/calibration.hpp"           // what weight matrices see while a text is read
#include "model/evaluate.hpp"              // perplexity and KL divergence on a text
#include "model/open_model.hpp"            // open_model: GGUF, safetensors, checkpoint folders
#include "model/sampler.hpp"               // the next token: temperature, top-k, top-p, penalty
#include "plan/budget.hpp"                 // plan_for_budget: the best formats for a file size
#include "plan/mixed_precision.hpp"        // assign_formats, assign_precision: exact optima
#include "plan/sensitivity.hpp"            // analyze_sensitivity: what formats do to a matrix
#include "quantizer/awq.hpp"               // awq_factors: columns scaled before they are rounded
#include "quantizer/gptq.hpp"              // gptq_encode: errors that make up for each other
#include "quantizer/plain.hpp"             // quantize_int8, quantize_int4, pack_int4
#include "quantizer/quantized_product.hpp" // quantize<Format>(matrix), matrix times vector
#include "quantizer/row_codec.hpp"         // rows of any stored format
#include "report/html_report.hpp"          // its report as a table, as JSON, as one HTML page
#include "run/pipeline.hpp"                // inference_pipeline: load, warm up, infer, measure
#include "run/reference_engine.hpp"        // the built-in engine behind it
#include "system/progress_bar.hpp"         // progress reports and a bar
#include "text/tokenizer.hpp"              // tokenizer: text to tokens and back
