// SPDX-License-Identifier: MIT
/// RoPE as a config.json describes it: its base, and how its frequencies are stretched.
#pragma once

#include "../io/json_object.hpp"

#include <cmath>
#include <numbers>
#include <optional>
#include <string>
#include <vector>

namespace edgequant::inline EDGEQUANT_ABI {

/// Llama-3's stretched RoPE frequencies.
struct llama3_rope {
  double factor = 1, low_frequency_factor = 1, high_frequency_factor = 4;
  std::uint64_t original_context = 8192; ///< tokens
  friend bool operator==(const llama3_rope&, const llama3_rope&) = default;
};

struct rope_config {
  double rope_base = 10000;
  double linear_rope_factor = 1; ///< positions are divided by it
  std::optional<llama3_rope> stretched_rope;
  friend bool operator==(const rope_config&, const rope_config&) = default;
};

/// Reads rope_theta and rope_scaling or rope_parameters. bad_file, naming the field, for types
/// other than default, linear and llama3, for a field that its type does not have, for a missing
/// type beside other fields, for a missing factor, and for places that contradict each other.
[[nodiscard]] rope_config read_rope_config(json_object& fields);

/// Divisors of the RoPE frequencies, head_size / 2 floats, or none: GGUF's rope_freqs.weight.
/// Source: the llama3 rule of Hugging Face's modeling_rope_utils.
[[nodiscard]] std::vector<float> rope_divisors(const rope_config& rope, std::uint64_t head_size);

namespace model::detail {

/// `rope_type`, which older files call `type`.
[[nodiscard]] inline std::optional<std::string> read_rope_type(json_object& rope) {
  const auto type = rope.text("rope_type"), old = rope.text("type");
  if (type && old && *type != *old)
    rope.refuse_as("type", "'" + escaped(*old) + "' where rope_type says '" + escaped(*type) + "'");
  return type ? type : old;
}

/// Tokens that the model was trained with before its RoPE was stretched.
[[nodiscard]] inline std::optional<std::uint64_t> read_original_context(json_object& fields,
                                                                        json_object& rope) {
  constexpr const char* name = "original_max_position_embeddings";
  const auto outer = fields.size(name), inner = rope.size(name);
  if (outer && inner && *outer != *inner)
    rope.refuse_as(name, std::to_string(*inner) + " where config.json itself says " +
                             std::to_string(*outer));
  return inner ? inner : outer;
}

[[nodiscard]] inline llama3_rope read_llama3_rope(json_object& fields, json_object& rope) {
  llama3_rope stretched;
  stretched.factor = rope.require("factor", rope.positive("factor"));
  stretched.low_frequency_factor = rope.positive("low_freq_factor").value_or(1);
  stretched.high_frequency_factor = rope.positive("high_freq_factor").value_or(4);
  stretched.original_context = read_original_context(fields, rope).value_or(8192);
  if (stretched.high_frequency_factor <= stretched.low_frequency_factor)
    rope.refuse("high_freq_factor", "more than low_freq_factor");
  return stretched;
}

/// A field of the object that equals what a plain RoPE has in its place.
inline void require_one(json_object& rope, const char* name) {
  if (const auto* value = rope.find(name); value != nullptr && *value != 1)
    rope.refuse(name, "1, as GGUF's llama has no place for it");
}

/// One of the objects `rope_scaling` and `rope_parameters`.
[[nodiscard]] inline rope_config read_rope_object(json_object& fields, json_object rope,
                                                  std::optional<double> base) {
  rope_config config;
  const auto inner = rope.positive("rope_theta");
  if (base && inner && *base != *inner) rope.refuse("rope_theta", "the rope_theta of config.json");
  config.rope_base = inner ? *inner : base.value_or(config.rope_base);
  const auto type = read_rope_type(rope);
  require_one(rope, "partial_rotary_factor");
  require_one(rope, "attention_factor");
  if (!type) {
    if (const auto others = rope.others(); !others.empty())
      rope.refuse_as(others.front(), "a RoPE field without rope_type");
  } else if (*type == "linear") {
    config.linear_rope_factor = rope.require("factor", rope.positive("factor"));
    (void)read_original_context(fields, rope); // other types use it
  } else if (*type == "llama3") {
    config.stretched_rope = read_llama3_rope(fields, rope);
  } else if (*type == "default") {
    require_one(rope, "factor");
    (void)read_original_context(fields, rope);
  } else {
    rope.refuse_as("rope_type",
                   "'" + escaped(*type) + "' is not supported; default, linear and llama3 are");
  }
  if (const auto others = rope.others(); !others.empty())
    rope.refuse_as(others.front(),
                   "RoPE of type '" + type.value_or("default") + "' has no such field here");
  return config;
}

} // namespace model::detail

inline rope_config read_rope_config(json_object& fields) {
  rope_config config;
  std::optional<double> base = fields.positive("rope_theta");
  for (const char* name : {"rope_base", "rotary_base", "rotary_emb_base"})
    if (const auto other = fields.positive(name); other && base.value_or(10000) != *other)
      fields.refuse(name, "the rope_theta of config.json");
  config.rope_base = base.value_or(config.rope_base);
  // Older files have rope_scaling beside rope_theta, newer ones both in rope_parameters.
  auto scaling = fields.object("rope_scaling"), parameters = fields.object("rope_parameters");
  (void)fields.size("original_max_position_embeddings");
  if (!scaling && !parameters) return config;
  if (!scaling || !parameters)
    return model::detail::read_rope_object(fields, scaling ? *scaling : *parameters, base);
  const auto older = model::detail::read_rope_object(fields, *scaling, base);
  config = model::detail::read_rope_object(fields, *parameters, base);
  if (older != config) fields.refuse_as("rope_scaling", "contradicts rope_parameters");
  return config;
}

inline std::vector<float> rope_divisors(const rope_config& config, std::uint64_t head_size) {
  if (!config.stretched_rope) return {};
  const llama3_rope& rope = *config.stretched_rope;
  const auto context = static_cast<double>(rope.original_context);
  std::vector<float> divisors;
  for (std::uint64_t i = 0; i < head_size; i += 2) {
    const double exponent = static_cast<double>(i) / static_cast<double>(head_size);
    const double wavelength = 2 * std::numbers::pi * std::pow(config.rope_base, exponent);
    double divisor = 1;
    if (wavelength > context / rope.low_frequency_factor) {
      divisor = rope.factor;
    } else if (wavelength > context / rope.high_frequency_factor) {
      const double smooth = (context / wavelength - rope.low_frequency_factor) /
                            (rope.high_frequency_factor - rope.low_frequency_factor);
      divisor = 1 / ((1 - smooth) / rope.factor + smooth);
    }
    divisors.push_back(static_cast<float>(divisor));
  }
  return divisors;
}

} // namespace edgequant::inline EDGEQUANT_ABI
