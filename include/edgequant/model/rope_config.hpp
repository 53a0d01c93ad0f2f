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

/// YaRN of a config.json.
struct yarn_config {
  double factor = 1;
  std::uint64_t original_context = 0; ///< tokens
  friend bool operator==(const yarn_config&, const yarn_config&) = default;
};

/// LongRoPE: divisors of frequencies for short texts and for those beyond the original context.
struct longrope_config {
  std::vector<double> short_factors, long_factors;
  std::uint64_t original_context = 0; ///< tokens
  friend bool operator==(const longrope_config&, const longrope_config&) = default;
};

struct rope_config {
  double rope_base = 10000;
  double linear_rope_factor = 1; ///< positions are divided by it
  std::optional<llama3_rope> stretched_rope;
  std::optional<yarn_config> yarn;
  std::optional<longrope_config> longrope;
  /// Of cosines and sines, but for what GGUF's readers of yarn add by themselves.
  double rope_magnitude = 1;
  double rotary_share = 1; ///< of a head that is turned
  friend bool operator==(const rope_config&, const rope_config&) = default;
};

/// Both of a network whose layers with a window turn heads in another way.
struct rope_configs {
  rope_config all;
  std::optional<rope_config> local;
  std::vector<std::string> notes = {}; ///< one line each
};

/// Where a file does not say.
struct rope_defaults {
  double base = 10000, local_base = 0; ///< 0: as the other layers
  std::uint64_t context = 0;           ///< tokens
};

/// Reads rope_theta and rope_scaling or rope_parameters, and rope_local_base_freq. bad_file, naming
/// the field, for types other than default, linear, dynamic, llama3, yarn and longrope, for a field
/// that its type does not have, for a missing type beside other fields, for a missing factor, and
/// for places that contradict each other.
[[nodiscard]] rope_configs read_rope_config(json_object& fields, const rope_defaults& defaults);

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

[[nodiscard]] inline llama3_rope read_llama3_rope(json_object& fields, json_object& rope,
                                                  std::uint64_t context) {
  llama3_rope stretched;
  stretched.factor = rope.require("factor", rope.positive("factor"));
  stretched.low_frequency_factor = rope.positive("low_freq_factor").value_or(1);
  stretched.high_frequency_factor = rope.positive("high_freq_factor").value_or(4);
  stretched.original_context = read_original_context(fields, rope).value_or(context);
  if (stretched.high_frequency_factor <= stretched.low_frequency_factor)
    rope.refuse("high_freq_factor", "more than low_freq_factor");
  return stretched;
}

/// A field of the object that equals what a plain RoPE has in its place.
inline void require_one(json_object& rope, const char* name) {
  if (const auto* value = rope.find(name); value != nullptr && *value != 1)
    rope.refuse(name, "1, as GGUF has no place for it");
}

/// How YaRN scales cosines and sines. Source: Peng et al. 2023, equation 22, and DeepSeek's mscale.
[[nodiscard]] inline double yarn_magnitude(double factor, double multiplier = 1) {
  return factor <= 1 ? 1 : 0.1 * multiplier * std::log(factor) + 1;
}

inline void read_yarn(json_object& fields, json_object& rope, std::uint64_t context,
                      rope_config& config) {
  yarn_config yarn;
  yarn.factor = rope.require("factor", rope.positive("factor"));
  yarn.original_context = read_original_context(fields, rope).value_or(context);
  // llama.cpp reads other bounds for two architectures alone.
  if (rope.positive("beta_fast").value_or(32) != 32) rope.refuse("beta_fast", "32");
  if (rope.positive("beta_slow").value_or(1) != 1) rope.refuse("beta_slow", "1");
  if (rope.flag("truncate") == false)
    rope.refuse("truncate", "true, as engines round the bounds of YaRN to whole pairs");
  const auto given = rope.positive("attention_factor");
  const auto some = rope.positive("mscale"), all = rope.positive("mscale_all_dim");
  const double by_itself = yarn_magnitude(yarn.factor);
  double wanted = by_itself;
  if (some && all) wanted = yarn_magnitude(yarn.factor, *some) / yarn_magnitude(yarn.factor, *all);
  config.rope_magnitude = given.value_or(wanted) / by_itself;
  config.yarn = yarn;
}

inline void read_longrope(json_object& fields, json_object& rope, std::uint64_t context,
                          rope_config& config) {
  longrope_config longrope;
  const auto factors = [&](const char* name) {
    const auto* list = rope.find(name);
    std::vector<double> values;
    if (list == nullptr || !list->is_array()) rope.refuse(name, "a list of factors");
    for (const auto& value : *list) {
      if (!value.is_number() || !(value.get<double>() > 0)) rope.refuse(name, "positive numbers");
      values.push_back(value.get<double>());
    }
    return values;
  };
  longrope.short_factors = factors("short_factor");
  longrope.long_factors = factors("long_factor");
  const auto original = read_original_context(fields, rope);
  longrope.original_context = original.value_or(context);
  const auto given = rope.positive("factor");
  const double factor =
      original ? static_cast<double>(context) / static_cast<double>(*original) : given.value_or(1);
  const double magnitude =
      factor <= 1 ? 1
                  : std::sqrt(1 + std::log(factor) /
                                      std::log(static_cast<double>(longrope.original_context)));
  config.rope_magnitude = rope.positive("attention_factor").value_or(magnitude);
  config.longrope = std::move(longrope);
}

/// One of the objects `rope_scaling` and `rope_parameters`, or of its parts.
[[nodiscard]] inline rope_config read_rope_object(json_object& fields, json_object rope,
                                                  std::optional<double> base, double default_base,
                                                  std::uint64_t context, rope_configs& result) {
  rope_config config;
  const auto inner = rope.positive("rope_theta");
  if (base && inner && *base != *inner) rope.refuse("rope_theta", "the rope_theta of config.json");
  config.rope_base = inner ? *inner : base.value_or(default_base);
  const auto type = read_rope_type(rope);
  config.rotary_share = rope.positive("partial_rotary_factor").value_or(1);
  if (type != "yarn" && type != "longrope" && type != "su") require_one(rope, "attention_factor");
  if (!type) {
    if (const auto others = rope.others(); !others.empty())
      rope.refuse_as(others.front(), "a RoPE field without rope_type");
  } else if (*type == "linear") {
    config.linear_rope_factor = rope.require("factor", rope.positive("factor"));
    (void)read_original_context(fields, rope); // other types use it
  } else if (*type == "llama3") {
    config.stretched_rope = read_llama3_rope(fields, rope, context);
  } else if (*type == "yarn") {
    read_yarn(fields, rope, context, config);
  } else if (*type == "longrope" || *type == "su") {
    read_longrope(fields, rope, context, config);
  } else if (*type == "dynamic") { // stretches what is longer than the context alone
    (void)rope.positive("factor");
    (void)read_original_context(fields, rope);
    result.notes.push_back("config.json: dynamic RoPE changes nothing within the context");
  } else if (*type == "default") {
    require_one(rope, "factor");
    (void)read_original_context(fields, rope);
  } else {
    rope.refuse_as("rope_type", "'" + escaped(*type) +
                                    "' is not supported; default, linear, dynamic, llama3, yarn "
                                    "and longrope are");
  }
  if (const auto others = rope.others(); !others.empty())
    rope.refuse_as(others.front(),
                   "RoPE of type '" + type.value_or("default") + "' has no such field here");
  return config;
}

} // namespace model::detail

inline rope_configs read_rope_config(json_object& fields, const rope_defaults& defaults) {
  rope_configs result;
  const std::optional<double> base = fields.positive("rope_theta");
  for (const char* name : {"rope_base", "rotary_base", "rotary_emb_base"})
    if (const auto other = fields.positive(name); other && base.value_or(defaults.base) != *other)
      fields.refuse(name, "the rope_theta of config.json");
  result.all.rope_base = base.value_or(defaults.base);
  const auto share = fields.positive("partial_rotary_factor");
  const auto local_base = fields.positive("rope_local_base_freq");
  if (local_base || defaults.local_base != 0)
    result.local.emplace().rope_base = local_base.value_or(defaults.local_base);
  const auto read = [&](json_object object, std::optional<double> outer, double otherwise) {
    return model::detail::read_rope_object(fields, std::move(object), outer, otherwise,
                                           defaults.context, result);
  };
  // Older files have rope_scaling beside rope_theta, newer ones both in rope_parameters, which may
  // hold an object for each kind of layer.
  auto scaling = fields.object("rope_scaling"), parameters = fields.object("rope_parameters");
  (void)fields.size("original_max_position_embeddings");
  auto of_all = parameters ? parameters->object("full_attention") : std::nullopt;
  auto of_local = parameters ? parameters->object("sliding_attention") : std::nullopt;
  if (of_all || of_local) {
    if (const auto others = parameters->others(); !others.empty())
      parameters->refuse_as(others.front(), "beside the parameters of kinds of layers");
    if (of_all) result.all = read(*of_all, base, defaults.base);
    if (of_local)
      result.local = read(*of_local, local_base,
                          defaults.local_base != 0 ? defaults.local_base : defaults.base);
    if (scaling && read(*scaling, base, defaults.base) != result.all)
      fields.refuse_as("rope_scaling", "contradicts rope_parameters");
  } else if (scaling && parameters) {
    const auto older = read(*scaling, base, defaults.base);
    result.all = read(*parameters, base, defaults.base);
    if (older != result.all) fields.refuse_as("rope_scaling", "contradicts rope_parameters");
  } else if (scaling || parameters) {
    result.all = read(scaling ? *scaling : *parameters, base, defaults.base);
  }
  if (share) {
    if (result.all.rotary_share != 1 && result.all.rotary_share != *share)
      fields.refuse("partial_rotary_factor", "that of rope_parameters");
    result.all.rotary_share = *share;
  }
  return result;
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
