// SPDX-License-Identifier: MIT
/// Ranks the engines for a model on a device, each with its best precision, its memory, its
/// predicted speed and the reasons.
#pragma once

#include "../core/number_text.hpp"
#include "device_catalogue.hpp"
#include "engine_selector.hpp"
#include "memory_fit.hpp"
#include "model_catalogue.hpp"
#include "prediction.hpp"
#include "selection_json.hpp"

#include <cmath>

namespace edgequant::inline EDGEQUANT_ABI {

struct advice_options {
  std::optional<platform> os = {}; ///< none: the device's first
  std::uint64_t context_tokens = 2048;
  double prompt_tokens = 128; ///< that are read before the first token is generated
  bool measured_bandwidth =
      false; ///< the device's bandwidth was measured, not read in a data sheet
};

/// Memory and speed of a model on a device with one engine, in one precision.
struct run_estimate {
  std::string backend;       ///< the fastest that the engine reaches: "CPU", "metal" ...
  format type = format::f16; ///< of most weights
  memory_fit fit;
  speed_prediction decode; ///< tokens a second, with an interval
  first_token_prediction first_token;
};

/// The format that stands for a precision: f16 for fp16, q8_0 for int8, q4_0 for int4.
[[nodiscard]] constexpr format format_of(precision weights) noexcept {
  return weights == precision::fp16 ? format::f16
                                    : (weights == precision::int8 ? format::q8_0 : format::q4_0);
}

/// Predicts the speed on the CPU, GPU and NPU that the engine reaches, and returns the fastest. The
/// weights are in format_of(weights), or as stored where the model is a quantized file of this
/// precision. Errors as fits() and predict_decode().
[[nodiscard]] run_estimate estimate_run(const engine_profile& engine, const device_profile& device,
                                        const model_profile& model, platform os, precision weights,
                                        const advice_options& options = {});

/// An engine of a selection with its estimate, in the precision that the selection found best.
struct advised_engine {
  recommendation engine;
  run_estimate estimate;
};

struct advice {
  selection answer;
  std::vector<advised_engine> ranked; ///< as in the answer
};

/// The selector's ranking, with memory and speed of estimate_run() as figures. bad_argument for a
/// device without platform where options.os is not set.
[[nodiscard]] advice advise(const engine_selector& selector, const device_profile& device,
                            const model_profile& model, const advice_options& options = {});

/// Fills in what the query leaves open and the catalogues know of its device and model.
void complete_from_catalogues(prediction_query& query);

/// to_json(selection) with `estimate` for each engine that is ranked: backend, format,
/// bits_per_weight (of that format), fits, reason, memory_bytes, weight_bytes, kv_cache_bytes,
/// activation_bytes, runtime_bytes, largest_context, tokens_per_second with low and high,
/// ms_to_first_token, basis.
[[nodiscard]] nlohmann::json to_json(const advice& given);

/// A line an engine, and the reasons below it.
void print_advice(std::ostream& out, const advice& given);

namespace advisor::detail {

/// The processors by which an engine runs on a device, as backends of a prediction.
[[nodiscard]] inline std::vector<std::string>
backends_of(const engine_profile& engine, const device_profile& device, platform os) {
  std::vector<std::string> names;
  const auto* gpu = way_to_gpu(engine, device, os);
  const auto* npu = way_to_npu(engine, device);
  // The CPU cores of a Raspberry Pi are faster than its GPU.
  if (gpu != nullptr && find_gpu_family(device.gpu) != nullptr &&
      find_gpu_family(device.gpu)->name == "videocore")
    gpu = nullptr;
  if (!common_isa(engine, device).empty() || (gpu == nullptr && npu == nullptr))
    names.push_back("CPU");
  if (gpu != nullptr) names.push_back("GPU " + gpu->api);
  if (npu != nullptr) names.push_back("NPU " + device.npu->name);
  return names;
}

/// The engine's name for the prediction. Its table has EdgeQuant's share of a measured bandwidth,
/// not of a data sheet's: there it counts as an unknown engine.
[[nodiscard]] inline std::string predicted_engine(const engine_profile& engine, bool measured) {
  return engine.name == built_in_engine_name && !measured ? "" : engine.name;
}

template <class T>
[[nodiscard]] const T* find_known(const std::vector<T>& all, std::string_view name) {
  const auto found = std::find_if(
      all.begin(), all.end(), [&](const T& one) { return equal_ignoring_case(one.name, name); });
  return found == all.end() ? nullptr : &*found;
}

} // namespace advisor::detail

inline run_estimate estimate_run(const engine_profile& engine, const device_profile& device,
                                 const model_profile& model, platform os, precision weights,
                                 const advice_options& options) {
  run_estimate best{{}, format_of(weights), {}, {}, {}};
  fit_options fit;
  if (engine.name == built_in_engine_name) {
    fit.runtime_bytes = built_in_runtime_bytes;
    fit.windows = window_cache::all;
  }
  if (model.stored && model.before.file_bytes && weights == precision_of(*model.stored)) {
    best.type = *model.stored;
    best.fit = fits(device, model, *model.before.file_bytes, options.context_tokens, fit);
  } else {
    best.fit = fits(device, model, best.type, options.context_tokens, fit);
  }
  prediction_query query;
  query.device = device.name;
  query.engine = advisor::detail::predicted_engine(engine, options.measured_bandwidth);
  query.model = model.name;
  query.memory_bandwidth_gb_s = device.memory_bandwidth_gb_s;
  query.weight_bytes = static_cast<double>(best.fit.need.weights);
  query.parameters = static_cast<double>(model.parameters);
  query.layers = static_cast<double>(model.layers);
  query.kind = device.kind;
  for (const auto& backend : advisor::detail::backends_of(engine, device, os)) {
    query.backend = backend;
    auto decode = predict_decode(query);
    if (!best.backend.empty() && decode.tokens_per_second <= best.decode.tokens_per_second)
      continue;
    best.backend = backend;
    best.decode = std::move(decode);
    best.first_token = predict_first_token(query, options.prompt_tokens);
  }
  return best;
}

inline advice advise(const engine_selector& selector, const device_profile& device,
                     const model_profile& model, const advice_options& options) {
  if (device.platforms.empty() && !options.os)
    fail(error_code::bad_argument, device.name, "its platform is unknown");
  const platform os = options.os ? *options.os : device.platforms.front();
  selection_context context{os, [&](const engine_profile& engine, precision weights) {
                              const run_estimate e =
                                  estimate_run(engine, device, model, os, weights, options);
                              run_figures figures;
                              figures.ms_per_token = 1000 / e.decode.tokens_per_second;
                              figures.ms_to_first_token = e.first_token.milliseconds;
                              figures.memory_bytes = e.fit.need.total();
                              figures.storage_bytes = e.fit.need.weights;
                              figures.fits = e.fit.fits;
                              figures.note = e.fit.reason;
                              return figures;
                            }};
  advice given{selector.select(device, model, context), {}};
  for (const auto& r : given.answer.ranked)
    given.ranked.push_back({r, estimate_run(r.engine, device, model, os,
                                            r.weights.value_or(precision::fp16), options)});
  return given;
}

inline void complete_from_catalogues(prediction_query& query) {
  if (const auto* device = advisor::detail::find_known(device_catalogue(), query.device)) {
    if (!query.memory_bandwidth_gb_s) query.memory_bandwidth_gb_s = device->memory_bandwidth_gb_s;
    if (!query.kind) query.kind = device->kind;
  }
  if (const auto* model = advisor::detail::find_known(model_catalogue(), query.model)) {
    if (!query.parameters) query.parameters = static_cast<double>(model->parameters);
    if (!query.layers) query.layers = static_cast<double>(model->layers);
  }
}

inline nlohmann::json to_json(const advice& given) {
  auto json = to_json(given.answer);
  for (std::size_t i = 0; i < given.ranked.size(); ++i) {
    const run_estimate& e = given.ranked[i].estimate;
    json["ranked"][i]["estimate"] = {{"backend", e.backend},
                                     {"format", name_of(e.type)},
                                     {"bits_per_weight", bits_per_weight(e.type)},
                                     {"fits", e.fit.fits},
                                     {"reason", e.fit.reason},
                                     {"memory_bytes", e.fit.need.total()},
                                     {"weight_bytes", e.fit.need.weights},
                                     {"kv_cache_bytes", e.fit.need.kv_cache},
                                     {"activation_bytes", e.fit.need.activations},
                                     {"runtime_bytes", e.fit.need.runtime},
                                     {"largest_context", e.fit.largest_context},
                                     {"tokens_per_second", e.decode.tokens_per_second},
                                     {"low", e.decode.low},
                                     {"high", e.decode.high},
                                     {"ms_to_first_token", e.first_token.milliseconds},
                                     {"basis", e.decode.basis}};
  }
  return json;
}

inline void print_advice(std::ostream& out, const advice& given) {
  const auto row = [&](const std::string& start, std::string_view engine, std::string_view weights,
                       std::string_view type, std::string_view memory, std::string_view speed,
                       const std::string& first, std::string_view score) {
    out << start + left_aligned(engine, 34) + " " + left_aligned(weights, 7) + " " +
               left_aligned(type, 7) + " " + right_aligned(memory, 10) + "  " +
               left_aligned(speed, 22) + " " + right_aligned(first, 7) + "  " +
               right_aligned(score, 6) + "\n";
  };
  row("     ", "engine", "weights", "format", "memory", "tokens/s (80 %)", "first", "score");
  std::size_t rank = 0;
  for (const auto& [r, e] : given.ranked) {
    const std::string speed = general_text(e.decode.tokens_per_second, 3) + " (" +
                              general_text(e.decode.low, 3) + " to " +
                              general_text(e.decode.high, 3) + ")";
    row(right_aligned(std::to_string(++rank), 3) + ". ", escaped(r.engine.name, 34),
        r.weights ? r.weights_name : "fp16", name_of(e.type), format_bytes(e.fit.need.total()),
        speed, fixed_text(e.first_token.milliseconds / 1000, 1) + " s", fixed_text(r.score, 1));
    out << "       by " << e.backend << "; " << e.fit.reason << "; " << e.decode.basis << '\n';
    for (const auto& text : r.reasons) out << "       + " << text << '\n';
    for (const auto& text : r.against) out << "       - " << text << '\n';
  }
  for (const auto& e : given.answer.excluded)
    for (const auto& text : e.why)
      out << "  x  " << escaped(e.engine.name, 60) << ": " << text << '\n';
  for (const auto& text : given.answer.problems) out << "  !  " << text << '\n';
}

} // namespace edgequant::inline EDGEQUANT_ABI
