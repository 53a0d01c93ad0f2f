// SPDX-License-Identifier: MIT
#include "model/support.hpp"

#include <edgequant/model/llama_config.hpp>

#include <cmath>

namespace {
using namespace model_test;
using nlohmann::json;

eq::llama_config parse(const json& config) { return eq::parse_llama_config(config, "config.json"); }

/// tiny_config() with one field changed.
json with(const char* field, json value) {
  json config = tiny_config();
  config[field] = std::move(value);
  return config;
}

/// The refusal of a config, and that it names the field.
std::string refusal(const json& config, const std::string& field) {
  try {
    (void)parse(config);
  } catch (const eq::exception& error) {
    EXPECT_EQ(error.code(), eq::error_code::bad_file);
    const std::string what = error.what(), place = "field '" + field + "': ";
    EXPECT_TRUE(is_one_line(what));
    EXPECT_NE(what.find(place), std::string::npos) << what;
    return what.substr(what.find(place) + place.size());
  }
  return "read";
}

TEST(llama_config, reads_hugging_faces_fields) {
  const auto config = parse(tiny_config());
  EXPECT_EQ(config.hidden_size, 64u);
  EXPECT_EQ(config.feed_forward_size, 96u);
  EXPECT_EQ(config.layers, 2u);
  EXPECT_EQ(config.heads, 4u);
  EXPECT_EQ(config.kv_heads, 2u);
  EXPECT_EQ(config.head_size, 16u);
  EXPECT_EQ(config.vocabulary, 40u);
  EXPECT_EQ(config.rms_epsilon, 0.03125);
  EXPECT_EQ(config.rope_base, 5000.0);
  EXPECT_EQ(config.bos_token, 1u);
  EXPECT_EQ(config.eos_token, 2u);
}

TEST(llama_config, has_hugging_faces_defaults) {
  json config = tiny_config();
  for (const char* field :
       {"num_key_value_heads", "bos_token_id", "eos_token_id", "rms_norm_eps", "rope_theta"})
    config.erase(field);
  config["head_dim"] = nullptr; // null is as good as missing
  const auto read = parse(config);
  EXPECT_EQ(read.kv_heads, 4u);
  EXPECT_EQ(read.head_size, 16u);
  EXPECT_EQ(read.context, 2048u);
  EXPECT_EQ(read.rms_epsilon, 1e-6);
  EXPECT_EQ(read.rope_base, 10000.0);
  EXPECT_EQ(read.bos_token, std::nullopt);
  EXPECT_EQ(read.eos_token, std::nullopt);
  EXPECT_EQ(read.linear_rope_factor, 1.0);
  EXPECT_FALSE(read.stretched_rope);
  EXPECT_FALSE(read.tied_embeddings);
}

TEST(llama_config, names_the_field_that_is_missing) {
  for (const char* field : {"hidden_size", "intermediate_size", "num_hidden_layers",
                            "num_attention_heads", "vocab_size"}) {
    json config = tiny_config();
    config.erase(field);
    EXPECT_EQ(refusal(config, field), "the field is missing");
    EXPECT_EQ(refusal(with(field, nullptr), field), "the field is missing");
  }
}

TEST(llama_config, sizes_are_whole_numbers_that_llama_cpp_can_count) {
  for (const char* field :
       {"hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
        "num_key_value_heads", "vocab_size", "max_position_embeddings", "head_dim"}) {
    for (const json& value : {json("64"), json(-1), json(64.0), json(1e30), json(true),
                              json::array({64}), json::object()})
      EXPECT_EQ(refusal(with(field, value), field), "expected a whole number") << value;
    for (const json& value : {json(0), json(std::uint64_t{1} << 31), json(~std::uint64_t{0})})
      EXPECT_EQ(refusal(with(field, value), field), "expected 1 to 2^31 - 1") << value;
  }
  EXPECT_EQ(parse(with("num_hidden_layers", 0x7fffffff)).layers, 0x7fffffffu);
}

TEST(llama_config, numbers_fit_the_floats_of_gguf) {
  const auto problem = "expected a positive number in the range of f32";
  for (const char* field : {"rms_norm_eps", "rope_theta"})
    for (const json& value : {json(0), json(-1), json(1e39), json(1e-46), json("1"), json(true)})
      EXPECT_EQ(refusal(with(field, value), field), problem) << value;
  EXPECT_EQ(parse(with("rope_theta", 500000)).rope_base, 500000.0); // integers are numbers
}

TEST(llama_config, refuses_sizes_that_contradict_each_other) {
  EXPECT_EQ(refusal(with("num_attention_heads", 5), "num_attention_heads"),
            "hidden_size is no multiple of it");
  EXPECT_EQ(refusal(with("num_key_value_heads", 3), "num_key_value_heads"),
            "num_attention_heads is no multiple of it");
  EXPECT_EQ(refusal(with("num_key_value_heads", 8), "num_key_value_heads"),
            "num_attention_heads is no multiple of it");
  EXPECT_EQ(refusal(with("num_attention_heads", 64), "head_dim"),
            "an odd head size has no RoPE pairs");
  EXPECT_EQ(refusal(with("head_dim", 7), "head_dim"), "an odd head size has no RoPE pairs");
  EXPECT_EQ(refusal(with("head_dim", 65538), "head_dim"), "more than 65536");
  EXPECT_EQ(parse(with("head_dim", 65536)).head_size, 65536u);
  EXPECT_EQ(message_of([] { return parse(json::array()); }), "config.json: not a JSON object");
}

TEST(llama_config, head_dim_frees_the_head_size) {
  json config = with("head_dim", 32);
  EXPECT_EQ(parse(config).head_size, 32u);
  config["hidden_size"] = 63; // then hidden_size need not divide
  EXPECT_EQ(parse(config).head_size, 32u);
}

TEST(llama_config, tokens_are_a_number_or_a_list_or_none) {
  EXPECT_EQ(parse(with("eos_token_id", json::array({7, 8}))).eos_token, 7u);
  EXPECT_EQ(parse(with("eos_token_id", json::array())).eos_token, std::nullopt);
  EXPECT_EQ(parse(with("eos_token_id", nullptr)).eos_token, std::nullopt);
  EXPECT_EQ(parse(with("bos_token_id", -1)).bos_token, std::nullopt);
  for (const json& value : {json("</s>"), json(1.5), json::array({"1"}), json::object()})
    EXPECT_EQ(refusal(with("eos_token_id", value), "eos_token_id"), "expected a token's number");
  EXPECT_TRUE(parse(with("tie_word_embeddings", true)).tied_embeddings);
  EXPECT_EQ(refusal(with("tie_word_embeddings", 1), "tie_word_embeddings"),
            "expected true or false");
}

TEST(llama_config, reads_rope_scaling_old_and_new) {
  for (const char* type : {"type", "rope_type"}) {
    const auto config = parse(with("rope_scaling", {{type, "linear"}, {"factor", 4}}));
    EXPECT_EQ(config.linear_rope_factor, 4.0);
    EXPECT_EQ(config.rope_base, 5000.0);
    EXPECT_FALSE(config.stretched_rope);
  }
  const json llama3 = {{"rope_type", "llama3"},
                       {"factor", 32.0},
                       {"low_freq_factor", 2.0},
                       {"high_freq_factor", 3.0},
                       {"original_max_position_embeddings", 4096},
                       {"rope_theta", 500000.0}};
  for (const char* field : {"rope_scaling", "rope_parameters"}) {
    const auto config = parse(with(field, llama3));
    ASSERT_TRUE(config.stretched_rope);
    EXPECT_EQ(config.stretched_rope->factor, 32.0);
    EXPECT_EQ(config.stretched_rope->low_frequency_factor, 2.0);
    EXPECT_EQ(config.stretched_rope->high_frequency_factor, 3.0);
    EXPECT_EQ(config.stretched_rope->original_context, 4096u);
    EXPECT_EQ(config.rope_base, 500000.0);
    EXPECT_EQ(config.linear_rope_factor, 1.0);
  }
  const auto plain = parse(with("rope_parameters", {{"rope_theta", 7.0}}));
  EXPECT_EQ(plain.rope_base, 7.0);
  EXPECT_FALSE(plain.stretched_rope);
  EXPECT_EQ(parse(with("rope_scaling", {{"type", "default"}})).linear_rope_factor, 1.0);
}

TEST(llama_config, refuses_rope_scaling_that_it_does_not_know) {
  EXPECT_EQ(refusal(with("rope_scaling", {{"rope_type", "ya\nrn"}}), "rope_type"),
            "'ya\\x0arn' is not supported; linear and llama3 are");
  EXPECT_EQ(refusal(with("rope_scaling", {{"type", 5}}), "type"), "expected a string");
  EXPECT_EQ(refusal(with("rope_scaling", {{"type", "linear"}, {"factor", 0}}), "factor"),
            "expected a positive number in the range of f32");
  EXPECT_EQ(refusal(with("rope_scaling", {{"type", "llama3"}, {"low_freq_factor", 4}}),
                    "high_freq_factor"),
            "expected more than low_freq_factor");
  EXPECT_EQ(message_of([] { return parse(with("rope_scaling", "linear")); }),
            "config.json: RoPE scaling: not a JSON object");
}

TEST(llama_config, sets_every_key_that_llama_cpp_needs) {
  eq::gguf_metadata keys;
  eq::set_llama_keys(keys, parse(with("max_position_embeddings", 512)));
  EXPECT_EQ(keys.get_string("general.architecture"), "llama");
  const std::pair<const char*, std::uint64_t> counts[] = {{"vocab_size", 40},
                                                          {"context_length", 512},
                                                          {"embedding_length", 64},
                                                          {"block_count", 2},
                                                          {"feed_forward_length", 96},
                                                          {"attention.head_count", 4},
                                                          {"attention.head_count_kv", 2},
                                                          {"rope.dimension_count", 16}};
  for (const auto& [key, value] : counts) {
    const auto* entry = keys.find(std::string("llama.") + key);
    ASSERT_NE(entry, nullptr) << key;
    EXPECT_EQ(entry->type, eq::gguf_type::u32) << key;
    EXPECT_EQ(keys.get_uint(entry->key), value) << key;
  }
  EXPECT_EQ(keys.get_float("llama.attention.layer_norm_rms_epsilon"), 0.03125);
  EXPECT_EQ(keys.get_float("llama.rope.freq_base"), 5000.0);
  EXPECT_FALSE(keys.contains("llama.attention.key_length"));
  EXPECT_FALSE(keys.contains("llama.rope.scaling.type"));
}

TEST(llama_config, sets_the_keys_of_unusual_models) {
  json config = with("head_dim", 32);
  config["rope_scaling"] = {{"type", "linear"}, {"factor", 2.5}};
  eq::gguf_metadata keys;
  eq::set_llama_keys(keys, parse(config));
  EXPECT_EQ(keys.get_uint("llama.attention.key_length"), 32u);
  EXPECT_EQ(keys.get_uint("llama.attention.value_length"), 32u);
  EXPECT_EQ(keys.get_uint("llama.rope.dimension_count"), 32u);
  EXPECT_EQ(keys.get_string("llama.rope.scaling.type"), "linear");
  EXPECT_EQ(keys.get_float("llama.rope.scaling.factor"), 2.5);
}

// Llama 3.2's numbers. Hugging Face changes the inverse frequency f = base^(-i/d) of pair i:
// unchanged for short waves, f / factor for long ones, blended between them.
TEST(llama_config, rope_divisors_give_hugging_faces_frequencies) {
  EXPECT_TRUE(eq::rope_divisors(parse(tiny_config())).empty());
  eq::llama_config config;
  config.head_size = 64;
  config.rope_base = 500000;
  config.stretched_rope = eq::llama3_rope{32, 1, 4, 8192};
  const auto divisors = eq::rope_divisors(config);
  ASSERT_EQ(divisors.size(), 32u);
  int blended = 0;
  for (std::size_t i = 0; i < 32; ++i) {
    const double f = std::exp(-std::log(500000.0) * static_cast<double>(i) / 32.0);
    const double waves = 8192 * f / (2 * std::acos(-1.0)); // in the original context
    if (waves > 4) {
      EXPECT_EQ(divisors[i], 1.0f) << i;
    } else if (waves < 1) {
      EXPECT_EQ(divisors[i], 32.0f) << i;
    } else {
      ++blended;
      const double share = (waves - 1) / 3;
      const double wanted = (1 - share) * f / 32 + share * f;
      // The divisor is rounded to float once, 2^-24; the rest is some double roundings.
      EXPECT_NEAR(f / (wanted * double{divisors[i]}), 1.0, 0x1p-24 + 0x1p-40) << i;
    }
  }
  EXPECT_GT(blended, 0);
  EXPECT_EQ(divisors.front(), 1.0f);
  EXPECT_EQ(divisors.back(), 32.0f);
}

TEST(llama_config, knows_the_model_type) {
  EXPECT_EQ(eq::model_type_of(tiny_config()), "llama");
  EXPECT_EQ(eq::model_type_of({{"model_type", 5}}), "");
  EXPECT_EQ(eq::model_type_of(json::object()), "");
  EXPECT_EQ(eq::model_type_of(json::array({"model_type"})), "");
}
} // namespace
