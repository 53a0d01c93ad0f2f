// SPDX-License-Identifier: MIT
/// What is known of a run, and how names and classes fill in what is not.
#pragma once

#include "../core/exception.hpp"
#include "apple_chip.hpp"
#include "backend_name.hpp"
#include "chip_table.hpp"
#include "model_name.hpp"
#include "prediction_constants.hpp"
#include "quant_name.hpp"

#include <algorithm>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace edgequant::inline EDGEQUANT_ABI {

/// What is known. Everything may be missing: names fill in numbers, the class fills in the rest,
/// and each guess widens the interval.
struct prediction_query {
  std::string device = {};  ///< "Apple M2 Pro (19)", "Raspberry Pi 5", "RTX 4090"
  std::string engine = {};  ///< "llama.cpp", "MLX", "edgequant" ...
  std::string backend = {}; ///< "CPU", "Metal", "OpenCL Adreno 840", "Hexagon HTP" ...
  std::string model = {};   ///< "Llama-3.1-8B"
  std::string quant = {};   ///< "Q4_K_M", "4bit g64", "w4a16"
  std::optional<double> memory_bandwidth_gb_s = {}; ///< peak; for engine "edgequant" measured reads
  std::optional<double> weight_bytes = {};          ///< all that the file holds
  std::optional<double> parameters = {};            ///< all that the file holds
  std::optional<double> active_parameters = {};     ///< that a token passes; empty: by the name
  std::optional<double> layers = {};
  std::optional<double> gpu_cores = {};
  std::optional<double> gops = {}; ///< 10^9 operations a second that prefill reaches
  std::optional<device_class> kind = {};
};

/// A query with its gaps filled: what the formula needs.
struct resolved_query {
  speed_unit unit = speed_unit::cpu;
  device_class kind = device_class::desktop;
  core_age cores = core_age::current; ///< of the CPU, where that computes
  bool open_npu = false;              ///< an NPU driven by llama.cpp
  double apple_generation = 0;        ///< M1 is 1; 0: no M chip
  double apple_gpu_cores = 0;         ///< 0: unknown
  double bandwidth_gb_s = 0, streamed_bytes = 0, parameters = 0, layers = 0;
  double doubt = 0;         ///< what guesses add to the spread, squared
  std::string guessed = {}; ///< "bandwidth of a usual phone, ..."
};

[[nodiscard]] resolved_query resolve(const prediction_query& query);

namespace advisor::detail {

/// Beyond these a number is a mistake of its unit.
inline constexpr double most_bandwidth_gb_s = 1e6, most_bytes = 1e15, most_count = 1e5,
                        most_gops = 1e9;

[[nodiscard]] inline std::string positive_number(double most) {
  return "expected a positive number of at most " + std::to_string(static_cast<long long>(most));
}

/// Log half-widths that a guess adds, at 80 %.
namespace guess_width {
inline constexpr double chip_bandwidth = 0.10, class_bandwidth = 0.6, named_size = 0.12,
                        unknown_quant = 0.3, unknown_model = 0.9, backend = 0.35, kind = 0.25,
                        cores = 0.5, experts = 0.2;
}

class resolver {
public:
  explicit resolver(const prediction_query& query);
  [[nodiscard]] resolved_query result() { return std::move(out_); }

private:
  void guess(double width, std::string_view what) {
    out_.doubt += width * width;
    out_.guessed.append(out_.guessed.empty() ? "" : ", ").append(what);
  }
  void find_place();
  void find_unit();
  void doubt_class();
  void find_bandwidth();
  void find_size();
  void check_numbers() const;

  const prediction_query& query_;
  std::string device_, engine_, backend_; ///< lower case
  std::optional<apple_chip> apple_;
  const chip_row* chip_ = nullptr;
  bool kind_known_ = true;
  resolved_query out_;
};

inline resolver::resolver(const prediction_query& query)
    : query_(query), device_(lower_case(query.device)), engine_(lower_case(query.engine)),
      backend_(lower_case(query.backend)), apple_(apple_chip_in(query.device)),
      chip_(longest_match(device_, chip_table)) {
  check_numbers();
  find_place();
  find_unit();
  doubt_class();
  find_bandwidth();
  find_size();
}

inline void resolver::check_numbers() const {
  const auto check = [](const std::optional<double>& value, std::string_view name, double most) {
    if (value && !(*value > 0 && *value <= most)) // NaN too
      fail(error_code::bad_argument, std::string(name), positive_number(most));
  };
  check(query_.memory_bandwidth_gb_s, "memory_bandwidth_gb_s", most_bandwidth_gb_s);
  check(query_.weight_bytes, "weight_bytes", most_bytes);
  check(query_.parameters, "parameters", most_bytes);
  check(query_.active_parameters, "active_parameters", most_bytes);
  check(query_.layers, "layers", most_count);
  check(query_.gpu_cores, "gpu_cores", most_count);
  check(query_.gops, "gops", most_gops);
}

inline void resolver::find_place() {
  if (apple_) {
    out_.apple_generation = apple_->generation;
    out_.apple_gpu_cores = query_.gpu_cores.value_or(apple_->gpu_cores.value_or(0));
  }
  if (query_.kind) {
    out_.kind = *query_.kind;
  } else if (apple_) {
    out_.kind = device_class::laptop;
  } else if (chip_ != nullptr) {
    out_.kind = chip_->kind;
  } else {
    for (const auto& row : class_words)
      if (match_name(device_ + " " + backend_, row.name)) {
        out_.kind = row.kind;
        return;
      }
    kind_known_ = false;
  }
}

inline void resolver::find_unit() {
  auto backend = backend_from_name(query_.backend);
  if (!backend) backend = backend_from_name(query_.engine);
  if (!backend) {
    const bool is_card = chip_ != nullptr && chip_->part == chip_part::card;
    backend = is_card || apple_ ? backend_kind::gpu : backend_kind::cpu;
    guess(guess_width::backend, *backend == backend_kind::gpu ? "the GPU" : "the CPU");
  }
  const auto says = [&](std::string_view word) {
    return match_name(device_, word) || match_name(backend_, word);
  };
  const bool own = match_name(engine_, "edgequant"); // its constants are for measured bandwidths
  if (*backend == backend_kind::npu) {
    out_.unit = speed_unit::npu;
    out_.open_npu = match_name(engine_, "llama") || match_name(engine_, "ggml");
  } else if (*backend == backend_kind::cpu) {
    out_.unit = own && query_.memory_bandwidth_gb_s ? speed_unit::built_in : speed_unit::cpu;
    if (out_.unit == speed_unit::cpu && chip_ != nullptr) out_.cores = chip_->cores;
    if (out_.cores != core_age::current) guess(guess_width::cores, "what such cores manage");
  } else if (apple_) {
    out_.unit = speed_unit::apple_gpu;
  } else {
    const bool is_card = (chip_ != nullptr && chip_->part == chip_part::card) || says("rtx") ||
                         says("gtx") || says("geforce") || says("radeon rx") || says("tesla") ||
                         says("quadro");
    const bool shared = out_.kind != device_class::desktop && out_.kind != device_class::laptop;
    const bool nvidia = !shared && (says("cuda") || says("nvidia") || says("rocm"));
    // GB10 and Strix Halo share memory and are cards in all else.
    const bool large = out_.kind == device_class::desktop && chip_ != nullptr &&
                       chip_->part == chip_part::system && chip_->memory_bandwidth_gb_s >= 200;
    out_.unit = is_card || nvidia || large ? speed_unit::discrete_gpu : speed_unit::integrated_gpu;
  }
}

/// Classes matter to units that have a row for each.
inline void resolver::doubt_class() {
  if (!kind_known_ && (out_.unit == speed_unit::cpu || out_.unit == speed_unit::npu ||
                       out_.unit == speed_unit::integrated_gpu))
    guess(guess_width::kind, "a desktop");
}

/// "DDR5-6400" is two channels of 8 bytes, as desktops and laptops have them.
[[nodiscard]] inline std::optional<double> ddr_bandwidth(std::string_view lower) {
  for (const std::string_view name : {"ddr5", "ddr4", "ddr5x", "ddr4x"})
    if (const auto at = lower.find(name); at != lower.npos) {
      std::size_t from = at + name.size(), end;
      while (from < lower.size() && !is_word(lower[from])) ++from;
      for (end = from; end < lower.size() && is_digit(lower[end]); ++end) {
      }
      const auto rate = decimal(lower.substr(from, end - from));
      if (rate && *rate >= 1600 && *rate <= 12800) return *rate * 16e-3;
    }
  return {};
}

[[nodiscard]] inline double usual_bandwidth(speed_unit unit, device_class kind) {
  if (unit == speed_unit::discrete_gpu) return kind == device_class::laptop ? 272 : 448;
  switch (kind) {
  case device_class::phone:
    return 60;
  case device_class::sbc:
    return 17;
  case device_class::edge_gpu:
    return 102;
  case device_class::laptop:
    return 90;
  case device_class::wearable:
    return 8.5;
  default:
    return 77;
  }
}

inline void resolver::find_bandwidth() {
  const bool discrete = out_.unit == speed_unit::discrete_gpu;
  const bool chip_fits = chip_ != nullptr && (chip_->part == chip_part::system ||
                                              (chip_->part == chip_part::card) == discrete);
  if (query_.memory_bandwidth_gb_s) {
    out_.bandwidth_gb_s = *query_.memory_bandwidth_gb_s;
  } else if (const auto ddr = ddr_bandwidth(device_); ddr && !discrete && !apple_) {
    out_.bandwidth_gb_s = *ddr;
    guess(guess_width::chip_bandwidth, "bandwidth of two channels of that DDR");
  } else if (apple_ && !discrete) {
    apple_->gpu_cores =
        out_.apple_gpu_cores > 0 ? std::optional(out_.apple_gpu_cores) : std::nullopt;
    out_.bandwidth_gb_s = apple_bandwidth(*apple_);
    guess(guess_width::chip_bandwidth, "bandwidth of that chip");
  } else if (chip_fits) {
    out_.bandwidth_gb_s = chip_->memory_bandwidth_gb_s;
    guess(guess_width::chip_bandwidth, "bandwidth of that chip");
  } else {
    out_.bandwidth_gb_s = usual_bandwidth(out_.unit, out_.kind);
    guess(guess_width::class_bandwidth, "bandwidth of its class");
  }
}

inline void resolver::find_size() {
  const auto quant = read_quant(query_.quant);
  const auto named = size_from_name(query_.model);
  const double bits = quant.bits_per_weight.value_or(4.85);
  std::optional<double> bytes = query_.weight_bytes ? query_.weight_bytes : quant.file_bytes;
  double total = query_.parameters.value_or(named ? named->parameters : 0);
  if (total == 0 && bytes) total = *bytes * 8 / bits;
  if (total == 0) {
    total = 7e9;
    guess(guess_width::unknown_model, "a model of 7 billion parameters");
  }
  double share = named && named->parameters > 0 ? named->active / named->parameters : 1;
  if (query_.active_parameters) share = std::min(1.0, *query_.active_parameters / total);
  out_.parameters = total * share;
  out_.layers = query_.layers.value_or(usual_layers(total));
  if (share < 0.95 && !query_.active_parameters)
    guess(guess_width::experts, "the part that a token passes");
  if (!bytes) {
    bytes = total * bits / 8;
    if (quant.bits_per_weight)
      guess(guess_width::named_size, "bytes by precision and parameters");
    else
      guess(guess_width::unknown_quant, "4.85 bits a weight");
  }
  out_.streamed_bytes = *bytes * share;
}

} // namespace advisor::detail

inline resolved_query resolve(const prediction_query& query) {
  return advisor::detail::resolver(query).result();
}

} // namespace edgequant::inline EDGEQUANT_ABI
