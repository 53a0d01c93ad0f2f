// SPDX-License-Identifier: MIT
/// What speaks for an engine and what against: small rules with a weight, each with its reason.
#pragma once

#include "../core/number_text.hpp"
#include "accelerator_match.hpp"
#include "model_profile.hpp"

#include <functional>

namespace edgequant::inline EDGEQUANT_ABI {

/// What is known, or predicted, of an engine that runs the model on the device in one precision.
struct run_figures {
  std::optional<double> ms_per_token = {};         ///< while it generates
  std::optional<double> ms_to_first_token = {};    ///< of the prompt that the caller has in mind
  std::optional<double> power_mw = {};             ///< of the device meanwhile
  std::optional<std::uint64_t> memory_bytes = {};  ///< weights, KV cache, activations, runtime
  std::optional<std::uint64_t> storage_bytes = {}; ///< of the model file
  std::optional<double> sqnr_db = {};              ///< of the weights
  std::optional<double> kl = {};                   ///< nats a token from the original, mean
  std::optional<bool> fits = {};                   ///< whether RAM and storage hold it
  std::string note = {};                           ///< how it fits, or why it does not
};

/// What a rule judges. References live as long as the call.
struct scoring_case {
  const engine_profile& engine;
  const device_profile& device;
  platform os;                           ///< that was chosen
  const model_profile* model = nullptr;  ///< null: not given
  std::optional<precision> weights = {}; ///< of the model; nothing: no one in particular
  const run_figures* figures = nullptr;  ///< null: nobody supplies any
};

/// What a rule finds. Its points are `share` times the rule's weight.
struct rule_result {
  double share = 0;         ///< 1: the whole weight; below 0: a penalty. Finite
  std::string reason = {};  ///< for the engine; empty: none
  std::string against = {}; ///< against it, what is not known included; empty: nothing
  bool excludes = false;    ///< the engine is out, `against` says why
};

[[nodiscard]] inline rule_result in_favour(std::string reason, double share = 1) {
  return {.share = share, .reason = std::move(reason)};
}
[[nodiscard]] inline rule_result speaks_against(std::string reason, double share = 0) {
  return {.share = share, .against = std::move(reason)};
}
[[nodiscard]] inline rule_result excluded(std::string reason) {
  return {.against = std::move(reason), .excludes = true};
}

/// A rule that throws, or whose points are no finite number, gives none and is reported by name.
struct scoring_rule {
  std::string name;  ///< one of a kind in a selector
  double weight = 0; ///< points for a share of 1
  std::function<rule_result(const scoring_case&)> score;
  /// Its points also choose between an engine's precisions; of equal ones the highest is taken.
  bool weighs_precision = false;
};

/// The baseline: `platform` (an engine without it is out, else 30 points), `ram` (at least its
/// minimum: 20), `nnapi` (the device has an NPU and the row's features name NNAPI, on any OS: 25),
/// `int4` (supported: 15).
[[nodiscard]] std::vector<scoring_rule> baseline_rules();

/// Today's rules: `platform`, `ram` and `int4` as above, except that a row without a published
/// minimum has 20 points for RAM; and
///   processor (20)   out if the row is for other chips, or names CPUs but neither CPU, GPU nor NPU
///                    of this device; -1 if it names no CPU and reaches no other processor
///   fit (0)          a precision that does not fit is out, where figures say so
///   npu (25)         the row names the NPU of the device's vendor
///   gpu (10)         the row names a GPU interface that the device has
///   maintained (30)  archived: -1, deprecated: -0.5
///   speed (20)       tokens/s over tokens/s + 10, where figures have it (people read 5 to 10)
[[nodiscard]] std::vector<scoring_rule> current_rules();

namespace advisor::detail {

[[nodiscard]] inline rule_result score_platform(const scoring_case& c) {
  const std::string os(name_of(c.os));
  return runs_on(c.engine, c.os) ? in_favour("runs on " + os) : excluded("does not run on " + os);
}

[[nodiscard]] inline rule_result score_ram(const scoring_case& c) {
  if (!c.engine.min_ram_mib) return in_favour("publishes no minimum of RAM");
  const std::string least = std::to_string(*c.engine.min_ram_mib) + " MiB";
  if (c.device.ram_mib == 0) return speaks_against("asks for " + least + " of RAM, unknown here");
  if (c.device.ram_mib >= *c.engine.min_ram_mib)
    return in_favour(std::to_string(c.device.ram_mib) + " MiB of RAM, at least its " + least);
  return speaks_against(std::to_string(c.device.ram_mib) + " MiB of RAM, below its " + least);
}

[[nodiscard]] inline rule_result score_nnapi(const scoring_case& c) {
  if (!c.device.npu) return {};
  if (names_nnapi(c.engine)) return in_favour("NNAPI, and the device has an NPU");
  return speaks_against("no NNAPI, and the device has an NPU");
}

[[nodiscard]] inline rule_result score_int4(const scoring_case& c) {
  return supports(c.engine, precision::int4) ? in_favour("INT4 weights")
                                             : speaks_against("no INT4 weights");
}

[[nodiscard]] inline std::string with_note(std::string text, const std::string& note) {
  return note.empty() ? text : std::move(text) + " (" + note + ")";
}

[[nodiscard]] inline rule_result score_processor(const scoring_case& c) {
  if (!made_for(c.engine, c.device)) return excluded("is made for other chips");
  if (const auto isa = common_isa(c.engine, c.device); !isa.empty())
    return in_favour("CPU kernels for " + std::string(isa), 0);
  if (way_to_gpu(c.engine, c.device, c.os) || way_to_npu(c.engine, c.device)) return {};
  if (c.engine.cpu_isas.empty()) return speaks_against("names no processor of the device", -1);
  if (c.device.isa.empty()) return speaks_against("instruction set of the device unknown");
  return excluded("runs on none of the device's processors");
}

[[nodiscard]] inline rule_result score_fit(const scoring_case& c) {
  if (c.figures == nullptr || !c.figures->fits) return {};
  if (*c.figures->fits) return in_favour(with_note("fits", c.figures->note), 0);
  return excluded(with_note("does not fit", c.figures->note));
}

[[nodiscard]] inline rule_result score_npu(const scoring_case& c) {
  if (!c.device.npu) return {};
  const auto* way = way_to_npu(c.engine, c.device);
  const std::string& npu = c.device.npu->name;
  if (way == nullptr) return speaks_against("does not reach the NPU " + npu);
  return in_favour(with_note("reaches the NPU " + npu, way->note));
}

[[nodiscard]] inline rule_result score_gpu(const scoring_case& c) {
  const auto* way = way_to_gpu(c.engine, c.device, c.os);
  if (way == nullptr) return {};
  return in_favour(with_note("reaches the GPU by " + way->api, way->note));
}

[[nodiscard]] inline rule_result score_maintained(const scoring_case& c) {
  if (c.engine.status == engine_status::active) return {};
  return speaks_against(with_note(std::string(name_of(c.engine.status)), c.engine.status_note),
                        c.engine.status == engine_status::archived ? -1 : -0.5);
}

/// "12.3 tokens/s".
[[nodiscard]] inline std::string tokens_per_second_text(double ms_per_token) {
  return general_text(1000 / ms_per_token, 3) + " tokens/s";
}

[[nodiscard]] inline rule_result score_speed(const scoring_case& c) {
  if (c.figures == nullptr || !c.figures->ms_per_token || !(*c.figures->ms_per_token > 0))
    return {};
  const double ms = *c.figures->ms_per_token, reader = 100; // ms a token, at 10 tokens/s
  return in_favour(tokens_per_second_text(ms) + " predicted", reader / (reader + ms));
}

} // namespace advisor::detail

inline std::vector<scoring_rule> baseline_rules() {
  return {{"platform", 30, advisor::detail::score_platform},
          {"ram", 20, advisor::detail::score_ram},
          {"nnapi", 25, advisor::detail::score_nnapi},
          {"int4", 15, advisor::detail::score_int4}};
}

inline std::vector<scoring_rule> current_rules() {
  return {{"platform", 30, advisor::detail::score_platform},
          {"processor", 20, advisor::detail::score_processor},
          {"fit", 0, advisor::detail::score_fit},
          {"ram", 20, advisor::detail::score_ram},
          {"npu", 25, advisor::detail::score_npu},
          {"int4", 15, advisor::detail::score_int4},
          {"gpu", 10, advisor::detail::score_gpu},
          {"maintained", 30, advisor::detail::score_maintained},
          {"speed", 20, advisor::detail::score_speed}};
}

} // namespace edgequant::inline EDGEQUANT_ABI
