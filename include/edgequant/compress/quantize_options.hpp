// SPDX-License-Identifier: MIT
/// What the main job is told, and what it tells.
#pragma once

#include "../plan/budget.hpp"
#include "../plan/recipe.hpp"
#include "../report/compress_report.hpp"
#include "calibrated_model.hpp"
#include "tuning.hpp"

namespace edgequant::inline EDGEQUANT_ABI {

/// Whether the hidden size grows, so that blocks of 256 fit its rows.
struct widening {
  enum class choice : std::uint8_t {
    automatic, ///< by up to 15 %, to a multiple of 256, where files become smaller
    off,
    size, ///< to `hidden`
  };
  choice when = choice::automatic;
  std::uint64_t hidden = 0;
};

/// Reads `auto`, `off` or a hidden size; bad_argument for anything else.
[[nodiscard]] widening parse_widening(std::string_view text);

struct quantize_model_options {
  format type = format::q4_0; ///< of the matrices, unless something below says otherwise
  /// A ready-made mixture of formats: find_recipe(). It takes the place of `type`.
  const recipe* mixture = nullptr;
  scale_choice scale = scale_rule::mse; ///< of matrices that are rounded without GPTQ or AWQ
  std::vector<keep_rule> keep = {};     ///< exceptions; stronger than a budget and a plan
  layer_method method = {};             ///< how the layers' matrices are rounded: parse_method()
  /// The text that gptq, awq and budgets need. Without them it says how much each column counts.
  calibration_options calibration = {};

  widening widen = {}; ///< grow the hidden size: see widen_model()

  std::optional<file_budget> budget = {}; ///< the best formats for a file of at most this size
  std::vector<format> candidates{std::begin(default_candidates), std::end(default_candidates)};
  loss_measure sensitivity = loss_measure::fisher; ///< what the budget minimises
  std::filesystem::path plan = {};                 ///< take the formats from such a file
  std::filesystem::path plan_output = {};          ///< write the plan there, as JSON

  std::filesystem::path report = {}; ///< write a page there if it ends in .html, else JSON
  std::filesystem::path resume = {}; ///< a folder for what an interrupted run has finished
  /// A text that the encoded model is tuned on, or none: see tune().
  std::filesystem::path tune = {};
  std::size_t tune_tokens = 262144; ///< of it at most, from its beginning
  tuning_options tuning = {};

  unsigned threads = 0; ///< 0: all
  bool dry_run = false; ///< check and plan; write nothing
};

struct quantize_model_result {
  compress_report report;
  std::optional<budget_plan> plan;       ///< with a budget: the optimum, with its bound
  std::vector<layer_sensitivity> layers; ///< what the budget weighed
  std::optional<tuning_result> tuning;
};

inline widening parse_widening(std::string_view text) {
  if (text == "auto") return {};
  if (text == "off") return {widening::choice::off};
  const auto size = read_number(text);
  if (size && *size >= 1 && *size <= 0x1p31 && *size == std::floor(*size))
    return {widening::choice::size, static_cast<std::uint64_t>(*size)};
  fail(error_code::bad_argument, "widening '" + escaped(text) + "'",
       "expected auto, off or a hidden size such as 1024");
}

} // namespace edgequant::inline EDGEQUANT_ABI
