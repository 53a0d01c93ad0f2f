// SPDX-License-Identifier: MIT
/// Names of precisions in free text, and the bits a weight of each.
#pragma once

#include "name_match.hpp"

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

namespace edgequant::inline EDGEQUANT_ABI {

/// Mean bits a weight over a whole file. The K-quants keep some tensors at more bits than their
/// name says: means over files of 7B models, scales included.
struct quant_row {
  std::string_view name; ///< lower case; see match_name
  double bits_per_weight;
};

inline constexpr quant_row quant_table[] = {
    {"f32", 32},        {"fp32", 32},     {"f16", 16},      {"fp16", 16},      {"bf16", 16},
    {"q8_0", 8.5},      {"q8", 8.5},      {"q6_k", 6.6},    {"q6", 6.6},       {"q5_k_m", 5.7},
    {"q5_k_s", 5.55},   {"q5_0", 5.55},   {"q5_1", 6.0},    {"q5", 5.7},       {"q4_k_m", 4.85},
    {"q4_k_s", 4.6},    {"q4_k_xl", 5.0}, {"q4_0", 4.55},   {"q4_1", 5.05},    {"q4_k", 4.85},
    {"q4", 4.7},        {"q3_k_l", 4.3},  {"q3_k_m", 3.95}, {"q3_k_s", 3.5},   {"q3_k", 3.95},
    {"q3", 3.95},       {"q2_k_xl", 3.3}, {"q2_k", 3.0},    {"q2", 3.0},       {"iq4_xs", 4.3},
    {"iq4_nl", 4.55},   {"iq3_m", 3.7},   {"iq3_s", 3.5},   {"iq3_xs", 3.3},   {"iq3_xxs", 3.1},
    {"iq2_m", 2.75},    {"iq2_s", 2.6},   {"iq2_xs", 2.4},  {"iq2_xxs", 2.15}, {"iq1_m", 1.85},
    {"iq1_s", 1.65},    {"tq2_0", 2.1},   {"tq1_0", 1.7},   {"mxfp4", 4.3},    {"nvfp4", 4.6},
    {"mxfp8", 8.3},     {"fp8", 8},       {"f8_e4m3", 8},   {"fp4", 4.5},      {"nf4", 4.5},
    {"awq", 4.3},       {"gptq", 4.3},    {"q4f16_1", 4.5}, {"q4f16", 4.5},    {"q4f32", 4.5},
    {"q3f16", 3.5},     {"q0f16", 16},    {"q0f32", 32},    {"8da4w", 4.8},    {"int8 int4", 4.8},
    {"spinquant", 6.0}, {"qlora", 6.0},   {"int8", 8},      {"int4", 4.2},     {"i8", 8},
    {"i4", 4.2},        {"w8a8", 8},      {"w8a16", 8},     {"w4a16", 4},      {"w4a8", 4},
    {"8 bit", 8.5},     {"6 bit", 6.5},   {"5 bit", 5.5},   {"4 bit", 4.5},    {"3 bit", 3.5},
    {"2 bit", 2.5},     {"half", 16},     {"float", 32},
};

/// What was read from a name; both empty for a name without meaning ("n/a", "").
struct quant_reading {
  std::optional<double> bits_per_weight = {};
  std::optional<double> file_bytes = {}; ///< "~101 MB GGUF"
};

/// Reads "Q4_K_M", "4bit g64", "w4a16_g128", "int4 per-channel", "q4 (unstated)", "~101 MB GGUF".
/// The longest name of quant_table decides. A group `gN` beside whole bits adds a 16-bit scale
/// and a 16-bit zero point.
[[nodiscard]] quant_reading read_quant(std::string_view text);

namespace advisor::detail {

/// The number that ends right before `end`, blanks aside; empty where there is none.
[[nodiscard]] inline std::optional<double> number_before(std::string_view text, std::size_t end) {
  while (end > 0 && text[end - 1] == ' ') --end;
  std::size_t begin = end;
  while (begin > 0 && (is_digit(text[begin - 1]) || text[begin - 1] == '.')) --begin;
  return decimal(text.substr(begin, end - begin));
}

[[nodiscard]] inline std::optional<double> bytes_in(std::string_view lower) {
  struct unit {
    std::string_view name;
    double bytes;
  };
  constexpr unit units[] = {{"gib", 1073741824.0}, {"mib", 1048576.0}, {"gb", 1e9}, {"mb", 1e6}};
  for (const auto& u : units)
    if (const auto at = lower.find(u.name); at != lower.npos)
      if (const auto count = number_before(lower, at); count && *count > 0 && *count < 1e6)
        return *count * u.bytes;
  return {};
}

} // namespace advisor::detail

inline quant_reading read_quant(std::string_view text) {
  const std::string lower = advisor::detail::lower_case(text);
  quant_reading reading;
  reading.file_bytes = advisor::detail::bytes_in(lower);
  const auto* row = longest_match(lower, quant_table);
  if (row == nullptr) return reading;
  reading.bits_per_weight = row->bits_per_weight;
  const bool integer_bits = row->bits_per_weight == 4 || row->bits_per_weight == 8;
  for (const double group : {32.0, 64.0, 128.0, 256.0})
    if (integer_bits && match_name(lower, "g" + std::to_string(static_cast<int>(group))))
      reading.bits_per_weight = row->bits_per_weight + 32 / group;
  return reading;
}

} // namespace edgequant::inline EDGEQUANT_ABI
