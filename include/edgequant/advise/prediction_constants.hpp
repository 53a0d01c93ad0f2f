// SPDX-License-Identifier: MIT
/// The constants behind predicted speeds, each with its origin.
#pragma once

#include "device_profile.hpp"

#include <optional>
#include <string_view>

namespace edgequant::inline EDGEQUANT_ABI {

/// What computes. GPUs with their own memory, GPUs that share the system's, and Apple's differ more
/// from each other than phones from laptops.
enum class speed_unit { cpu, integrated_gpu, discrete_gpu, apple_gpu, npu, built_in };

/// decode ms = bytes / (efficiency x bandwidth) + overhead_ms x shape; see predict_decode.
struct speed_constants {
  speed_unit unit;
  std::optional<device_class> kind; ///< empty: any class that has no row of its own
  double efficiency;                ///< share of the peak bandwidth that weights stream at
  double overhead_ms;               ///< of a token of a model of Llama-2-7B's shape
  double spread;                    ///< 80 % of unseen devices are within a factor e^spread
  double prefill_gops;              ///< 10^9 operations a second that prefill reaches; rough
  std::string_view origin;
};

namespace speed_origin {
inline constexpr std::string_view
    file = "fitted to measured_tokens_per_second.json",
    both = "fitted to measured_tokens_per_second.json and bench/published_speeds.hpp",
    published = "fitted to bench/published_speeds.hpp",
    own = "decode of this project's engine against its own measured reads";
}

// Printed by bench/prediction_fit, prefill_gops and origin aside. prefill_gops are what the
// middling device of a row reached by pp512 or the time to the first token in the same sources.
inline constexpr speed_constants speed_table[] = {
    {speed_unit::cpu, {}, 0.6305, 2.424, 0.582, 400, speed_origin::both},
    {speed_unit::cpu, device_class::phone, 0.7267, 2.351, 0.618, 500, speed_origin::both},
    {speed_unit::cpu, device_class::sbc, 0.6394, 2.424, 0.479, 120, speed_origin::file},
    {speed_unit::cpu, device_class::laptop, 0.5736, 2.750, 0.487, 500, speed_origin::both},
    {speed_unit::cpu, device_class::desktop, 0.6620, 2.412, 0.412, 700, speed_origin::file},
    {speed_unit::integrated_gpu, {}, 0.7143, 14.284, 0.432, 2500, speed_origin::both},
    {speed_unit::integrated_gpu, device_class::phone, 0.7464, 13.815, 0.360, 1300,
     speed_origin::file},
    {speed_unit::integrated_gpu, device_class::edge_gpu, 0.6912, 15.823, 0.366, 8000,
     speed_origin::file},
    {speed_unit::integrated_gpu, device_class::laptop, 0.7288, 14.019, 0.440, 3000,
     speed_origin::published},
    {speed_unit::discrete_gpu, {}, 0.8096, 1.029, 0.246, 40000, speed_origin::published},
    {speed_unit::apple_gpu, {}, 0.9441, 7.554, 0.095, 3500, speed_origin::file},
    {speed_unit::npu, {}, 0.8232, 33.396, 0.343, 1000, speed_origin::file},
    {speed_unit::npu, device_class::phone, 0.7945, 34.050, 0.311, 6000, speed_origin::file},
    {speed_unit::npu, device_class::sbc, 0.8622, 34.337, 0.294, 700, speed_origin::file},
    {speed_unit::built_in, {}, 0.8700, 3.000, 0.250, 400, speed_origin::own},
};

/// Facts beside the rows, fitted by the same program where the comment says so.
struct speed_facts {
  double apple_step = 1.1895;      ///< fitted: each M generation divides the overhead by this
  double older_cores = 0.4576;     ///< fitted: efficiency of core_age::older against current
  double in_order_cores = 0.1375;  ///< fitted: efficiency of core_age::in_order against current
  double open_npu = 0.5197;        ///< fitted: ggml's kernels against the maker's runtime
  double mobile_cpu_gb_s = 103.45; ///< fitted: what phones' and boards' cores take, memory aside
  double npu_overhead_gb_s = 17;   ///< NPU overheads are for this bandwidth and go with 1 / it
  double apple_cpu_gb_s = 250;     ///< a CPU cluster cannot draw more, Max and Ultra or not
  double apple_core_gops = 300;    ///< prefill, a GPU core: pp512 of llama.cpp discussion 4167
  double card_gops_per_gb_s = 90;  ///< prefill of cards, by their bandwidth
};

inline constexpr speed_facts default_speed_facts{};

} // namespace edgequant::inline EDGEQUANT_ABI
