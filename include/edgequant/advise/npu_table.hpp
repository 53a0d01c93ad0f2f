// SPDX-License-Identifier: MIT
/// Operators that NPUs compute, a row an NPU, from documents of their makers and users.
#pragma once

#include "../config.hpp"

#include <cstdint>
#include <string_view>

namespace edgequant::inline EDGEQUANT_ABI {

/// Lists are words, separated by spaces. Operators are those that a decoder can be made of:
///   gather linear (a product with constant weights) matmul (of two activations) softmax silu
///   sigmoid mul add mean sqrt rsqrt div rms_norm rope slice concat scatter state (a buffer that
///   stays between calls) dynamic_shapes
struct npu_row {
  std::string_view vendor; ///< as in npu_profile
  std::string_view name;
  std::string_view models;     ///< one of these words is in the NPU's name; empty: all others
  std::string_view operators;  ///< empty: not published
  std::string_view types;      ///< of weights: int4 int8 fp16; empty: not published
  bool falls_back;             ///< its tools leave other operators to the CPU
  std::uint64_t max_dimension; ///< of a tensor; 0: none known
  std::string_view note, source, confidence;
};

/// The first row that matches counts.
inline constexpr npu_row npu_table[] = {
    {"qualcomm", "Hexagon HTP", "",
     "gather linear matmul softmax sigmoid mul add mean sqrt rsqrt div rms_norm rope slice concat "
     "scatter",
     "int4 int8 fp16", true, 0,
     "RoPE is one operator since QNN SDK 2.45, several before; compiled for fixed shapes",
     "Qualcomm AI Engine Direct, HTP Backend Op Definition Supplement and Op Support Revision "
     "History (80-63442-10); pytorch/executorch backends/qualcomm/builders",
     "medium"},
    {"apple", "Neural Engine", "",
     "gather linear matmul softmax silu sigmoid mul add mean sqrt rsqrt div slice concat state",
     "int4 int8 fp16", true, 0,
     "Core ML chooses the processor of each operator and publishes no list; a range of shapes runs "
     "there in its default shape only; INT4 from iOS 18 and macOS 15 on",
     "coremltools guide: Stateful Models, Flexible Input Shapes, What's New; operators of a "
     "converted SmolLM2-135M; pytorch/executorch examples/apple/coreml/llama",
     "medium"},
    {"mediatek", "NPU (NeuroPilot)", "",
     "linear matmul softmax sigmoid mul add mean rsqrt slice concat", "int4 int8", true, 0,
     "no public operator list: what the Llama export of ExecuTorch uses, which leaves the "
     "embedding to the CPU and fixes prompt and cache lengths; types unverified",
     "pytorch/executorch examples/mediatek", "low"},
    {"samsung", "Exynos NPU", "",
     "gather linear matmul softmax silu sigmoid mul add mean sqrt rsqrt div rms_norm slice concat",
     "int8", true, 0, "operators of the ExecuTorch backend; types unverified",
     "pytorch/executorch backends/samsung/builders", "low"},
    {"google", "Tensor TPU", "", "", "", true, 0,
     "neither operators nor types are published; the SDK is a beta with sign-up",
     "LiteRT documentation, Google Tensor SDK", "low"},
    {"coral", "Edge TPU", "", "linear softmax sigmoid mul add mean slice concat", "int8", true, 0,
     "weights must be constants, so products of two activations are not for it",
     "Coral and Axis ARTPEC-7 documentation, supported operations", "medium"},
    {"rockchip", "RKNPU of RK3576, RV1126B", "RK3576 RV1126B",
     "gather linear matmul softmax sigmoid mul add mean sqrt div slice concat scatter",
     "int4 int8 fp16", true, 0, "RKLLM runs Llama-like models whole: w4a16, w8a8",
     "airockchip/rknn-toolkit2 RKNNToolKit2_OP_Support 2.1.0; airockchip/rknn-llm README",
     "medium"},
    {"rockchip", "RKNPU", "",
     "gather linear matmul softmax sigmoid mul add mean sqrt div slice concat scatter", "int8 fp16",
     true, 0, "RKLLM runs Llama-like models whole: w8a8 on RK3588",
     "airockchip/rknn-toolkit2 RKNNToolKit2_OP_Support 2.1.0; airockchip/rknn-llm README",
     "medium"},
    {"intel", "NPU (OpenVINO)", "",
     "gather linear matmul softmax silu sigmoid mul add mean sqrt div slice concat scatter state",
     "int4 int8 fp16", false, 0,
     "no dynamic shapes and no heterogeneous execution; INT4 symmetric, by channel or groups of "
     "128; operators as those of the models that its guide runs",
     "OpenVINO 2025 documentation: Supported Devices, OpenVINO GenAI on NPU", "medium"},
    {"arm", "Ethos-U85", "Ethos-U85",
     "gather linear matmul softmax silu sigmoid mul add mean sqrt rsqrt div slice concat scatter",
     "int8", true, 0, "INT8 or INT16 activations, static quantization",
     "pytorch/executorch docs/source/backends/arm-ethos-u/U85_op_support", "high"},
    {"arm", "Ethos-U55, U65", "",
     "linear matmul softmax silu sigmoid mul add mean rsqrt div slice concat", "int8", true, 65535,
     "INT8 or INT16 activations, static quantization; INT4 weights of convolutions only",
     "pytorch/executorch docs/source/backends/arm-ethos-u/U55_op_support; Ethos-U Vela 3.6 "
     "SUPPORTED_OPS",
     "high"},
};

} // namespace edgequant::inline EDGEQUANT_ABI
