// SPDX-License-Identifier: MIT
/// Rules that score an engine: each has a weight and gives its reason for or against the engine.
#pragma once

#include "../core/exception.hpp"
#include "../core/nearest_name.hpp"
#include "../core/number_text.hpp"
#include "accelerator_match.hpp"
#include "model_profile.hpp"

#include <functional>

namespace edgequant::inline EDGEQUANT_ABI {

/// Measured or predicted figures of an engine that runs the model on the device in one precision.
struct run_figures {
  std::optional<double> ms_per_token = {};         ///< while it generates
  std::optional<double> ms_to_first_token = {};    ///< after the caller's prompt
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
  std::optional<precision> weights = {}; ///< that is judged; nothing: the engine as such
  const run_figures* figures = nullptr;  ///< in that precision; null: not given
};

/// What a rule finds. Its points are `share` times the rule's weight.
struct rule_result {
  double share = 0;         ///< 1: the whole weight; below 0: a penalty. Finite
  std::string reason = {};  ///< for the engine; empty: none
  std::string against = {}; ///< against it, or what could not be checked; empty: none
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

/// The baseline: `platform` (30 points; an engine that does not run on the OS is out), `ram` (20
/// where the device has the engine's minimum), `nnapi` (25 where the device has an NPU and the
/// engine's features name NNAPI, on any OS), `int4` (15 where it is supported).
[[nodiscard]] std::vector<scoring_rule> baseline_rules();

/// Today's rules: `platform`, `ram` and `int4` as above, except that an engine without a published
/// minimum gets 20 points for RAM; and
///   processor (20)   out if the row is for other chips, or names CPUs but neither CPU, GPU nor NPU
///                    of this device; -1 if it names no CPU and reaches no other processor
///   opens (0)        out if the engine is known not to open the model: the kind of its file, the
///                    formats of its matrices, its architecture, a mixture of experts
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

[[nodiscard]] inline bool one_equals(const std::vector<std::string>& names, std::string_view name) {
  return std::any_of(names.begin(), names.end(),
                     [&](const auto& one) { return equal_ignoring_case(one, name); });
}

/// "a, b and c".
[[nodiscard]] inline std::string listed(const std::vector<std::string>& names) {
  std::string text;
  for (std::size_t i = 0; i < names.size(); ++i)
    text += (i == 0 ? "" : i + 1 == names.size() ? " and " : ", ") + escaped(names[i], 40);
  return text;
}

/// Formats of the file's matrices that the engine does not open.
[[nodiscard]] inline std::vector<std::string> formats_not_opened(const engine_profile& engine,
                                                                 const model_profile& model) {
  std::vector<std::string> names;
  const auto add = [&](format type) {
    const std::string name(name_of(type));
    if (!one_equals(engine.gguf_formats, name) && !one_equals(names, name)) names.push_back(name);
  };
  if (engine.gguf_formats.empty()) return names;
  if (model.stored) add(*model.stored);
  for (const auto type : model.matrix_formats) add(type);
  return names;
}

/// Why the engine cannot open the model, as far as its profile tells; empty: nothing is known.
[[nodiscard]] inline std::string not_opened(const engine_profile& engine,
                                            const model_profile& model) {
  std::vector<std::string> why;
  if (!model.file_kind.empty() && !engine.files.empty() &&
      !one_equals(engine.files, model.file_kind))
    return "cannot open a " + model.file_kind + " file; opens " + listed(engine.files);
  if (const auto formats = formats_not_opened(engine, model); !formats.empty())
    why.push_back("cannot open " + listed(formats) + "; opens " + listed(engine.gguf_formats));
  if (!engine.architectures.empty() && !one_equals(engine.architectures, model.architecture))
    why.push_back("does not run the architecture " + escaped(model.architecture, 40) + "; runs " +
                  listed(engine.architectures));
  if (model.experts != 0 && engine.experts == false)
    why.push_back("does not run a mixture of experts (" + std::to_string(model.experts) +
                  " experts)");
  std::string text;
  for (const auto& one : why) text += (text.empty() ? "" : "; ") + one;
  return text;
}

[[nodiscard]] inline rule_result score_opens(const scoring_case& c) {
  if (c.model == nullptr) return {};
  if (auto why = not_opened(c.engine, *c.model); !why.empty()) return excluded(std::move(why));
  if (c.engine.name == built_in_engine_name && !c.model->built_in_refusal.empty())
    return excluded("refuses the file: " + c.model->built_in_refusal);
  return {};
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
          {"opens", 0, advisor::detail::score_opens},
          {"fit", 0, advisor::detail::score_fit},
          {"ram", 20, advisor::detail::score_ram},
          {"npu", 25, advisor::detail::score_npu},
          {"int4", 15, advisor::detail::score_int4},
          {"gpu", 10, advisor::detail::score_gpu},
          {"maintained", 30, advisor::detail::score_maintained},
          {"speed", 20, advisor::detail::score_speed}};
}

} // namespace edgequant::inline EDGEQUANT_ABI
