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

// The first four numbers of a row are printed by bench/prediction_fit; prefill_gops are read off
// the time to the first token and pp512 in the same sources, of the middling device of the row.
inline constexpr speed_constants speed_table[] = {
    {speed_unit::cpu, {}, 0.55, 2, 0.6, 400, ""},
    {speed_unit::cpu, device_class::phone, 0.45, 2, 0.6, 400, ""},
    {speed_unit::cpu, device_class::sbc, 0.55, 2, 0.6, 120, ""},
    {speed_unit::cpu, device_class::laptop, 0.55, 2, 0.6, 500, ""},
    {speed_unit::cpu, device_class::desktop, 0.6, 2, 0.6, 700, ""},
    {speed_unit::integrated_gpu, {}, 0.7, 8, 0.6, 2500, ""},
    {speed_unit::integrated_gpu, device_class::phone, 0.65, 8, 0.6, 1300, ""},
    {speed_unit::integrated_gpu, device_class::edge_gpu, 0.6, 14, 0.6, 8000, ""},
    {speed_unit::integrated_gpu, device_class::laptop, 0.7, 8, 0.6, 4000, ""},
    {speed_unit::discrete_gpu, {}, 0.9, 1, 0.4, 40000, ""},
    {speed_unit::apple_gpu, {}, 0.939, 7.6, 0.12, 0, ""},
    {speed_unit::npu, {}, 0.8, 40, 0.5, 1000, ""},
    {speed_unit::npu, device_class::phone, 0.6, 40, 0.5, 6000, ""},
    {speed_unit::npu, device_class::sbc, 0.95, 44, 0.5, 700, ""},
    {speed_unit::built_in, {}, 0.82, 1, 0.25, 60, ""},
};

/// Facts beside the rows. Fitted by the same program where the comment says so.
struct speed_facts {
  double apple_step = 1.19;      ///< fitted: each M generation divides the overhead by this
  double older_cores = 0.45;     ///< fitted: efficiency of core_age::older against current
  double in_order_cores = 0.2;   ///< fitted: efficiency of core_age::in_order against current
  double open_npu = 0.6;         ///< fitted: ggml's kernels against the maker's runtime
  double npu_overhead_gb_s = 17; ///< NPU overheads are for this bandwidth and go with 1 / it
  double apple_cpu_gb_s = 250;   ///< a CPU cluster cannot draw more, Max and Ultra or not
  double apple_core_gops = 350;  ///< prefill, a GPU core: pp512 of llama.cpp discussion 4167
};

inline constexpr speed_facts default_speed_facts{};

} // namespace edgequant::inline EDGEQUANT_ABI
