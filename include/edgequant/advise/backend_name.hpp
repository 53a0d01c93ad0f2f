// SPDX-License-Identifier: MIT
/// Names of CPU, GPU and NPU in free text.
#pragma once

#include "name_match.hpp"

#include <optional>
#include <string_view>

namespace edgequant::inline EDGEQUANT_ABI {

enum class backend_kind { cpu, gpu, npu };

struct backend_row {
  std::string_view name; ///< see match_name
  backend_kind kind;
};

inline constexpr backend_row backend_table[] = {
    {"cpu", backend_kind::cpu},      {"xnnpack", backend_kind::cpu},
    {"neon", backend_kind::cpu},     {"kleidiai", backend_kind::cpu},
    {"avx", backend_kind::cpu},      {"blas", backend_kind::cpu},
    {"gpu", backend_kind::gpu},      {"metal", backend_kind::gpu},
    {"mps", backend_kind::gpu},      {"mlx", backend_kind::gpu},
    {"cuda", backend_kind::gpu},     {"tensorrt", backend_kind::gpu},
    {"vulkan", backend_kind::gpu},   {"opencl", backend_kind::gpu},
    {"rocm", backend_kind::gpu},     {"hip", backend_kind::gpu},
    {"sycl", backend_kind::gpu},     {"webgpu", backend_kind::gpu},
    {"directml", backend_kind::gpu}, {"adreno", backend_kind::gpu},
    {"mali", backend_kind::gpu},     {"npu", backend_kind::npu},
    {"hexagon", backend_kind::npu},  {"htp", backend_kind::npu},
    {"qnn", backend_kind::npu},      {"rknpu", backend_kind::npu},
    {"rkllm", backend_kind::npu},    {"rknn", backend_kind::npu},
    {"ane", backend_kind::npu},      {"neural engine", backend_kind::npu},
    {"coreml", backend_kind::npu},   {"core ml", backend_kind::npu},
    {"tpu", backend_kind::npu},      {"ethos", backend_kind::npu},
    {"vpu", backend_kind::npu},      {"genie", backend_kind::npu},
    {"apu", backend_kind::npu},
};

/// The processor that a free text names; empty if it names none.
[[nodiscard]] std::optional<backend_kind> backend_from_name(std::string_view backend);

inline std::optional<backend_kind> backend_from_name(std::string_view backend) {
  const auto* row = longest_match(advisor::detail::lower_case(backend), backend_table);
  return row != nullptr ? std::optional(row->kind) : std::nullopt;
}

} // namespace edgequant::inline EDGEQUANT_ABI
