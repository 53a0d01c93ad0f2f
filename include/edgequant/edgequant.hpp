// SPDX-License-Identifier: MIT
/// EdgeQuant: small and fast language models for edge devices. This file is the map.
#pragma once

#include "quantize.hpp" // the small door: quantizers, packing, error figures, products

#include "advise/advice.hpp"           // advise: engine, precision and speed for a device
#include "advise/npu_operators.hpp"    // check_operators: what an NPU runs and what falls back
#include "advise/requirement.hpp"      // requirement_for, rule_of: what the user asks for
#include "compress/prune_model.hpp"    // prune_model: fewer layers, heads and channels
#include "compress/quantize_model.hpp" // quantize_model: the whole job; compress: one pass of it
#include "model/calibration.hpp"       // what weight matrices see while a text is read
#include "model/evaluate.hpp"          // perplexity and KL divergence on a text
#include "model/open_model.hpp"        // open_model: GGUF, safetensors, checkpoint folders
#include "model/sampler.hpp"           // the next token: temperature, top-k, top-p, penalty
#include "model/task.hpp"              // evaluate_task: questions with right answers
#include "plan/budget.hpp"             // plan_for_budget: the best formats for a file size
#include "plan/mixed_precision.hpp"    // assign_formats, assign_precision: exact optima
#include "plan/sensitivity.hpp"        // analyze_sensitivity: what formats do to a matrix
#include "quantizer/awq.hpp"           // awq_factors: columns scaled before they are rounded
#include "quantizer/gptq.hpp"          // gptq_encode: errors that make up for each other
#include "quantizer/row_codec.hpp"     // rows of any stored format
#include "report/report_page.hpp"   // the report of a job as a page; report_text.hpp: table, JSON
#include "run/pipeline.hpp"         // inference_pipeline: load, warm up, infer, measure
#include "run/reference_engine.hpp" // the built-in engine behind it
#include "system/progress_bar.hpp"  // progress reports and a bar
#include "text/tokenizer.hpp"       // tokenizer: text to tokens and back
