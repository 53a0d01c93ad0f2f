// SPDX-License-Identifier: MIT
#include "model/support.hpp"

#include <edgequant/model/checkpoint_keys.hpp>

#include <cmath>

namespace {
using namespace model_test;
using nlohmann::json;

eq::checkpoint_config parse(const json& config) {
  return eq::parse_checkpoint_config(config, "config.json");
}

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
    const std::string what = error.what(), place = ": " + field + ": ";
    EXPECT_TRUE(is_one_line(what));
    EXPECT_NE(what.find(place), std::string::npos) << what;
    return what.substr(what.find(place) + place.size());
  }
  return "read";
}

TEST(checkpoint_config, reads_hugging_faces_fields) {
  const auto config = parse(tiny_config());
  EXPECT_EQ(config.hidden_size, 64u);
  EXPECT_EQ(config.feed_forward_size, 96u);
  EXPECT_EQ(config.layers, 2u);
  EXPECT_EQ(config.heads, 4u);
  EXPECT_EQ(config.kv_heads, 2u);
  EXPECT_EQ(config.head_size, 16u);
  EXPECT_EQ(config.vocabulary, 40u);
  EXPECT_EQ(config.rms_epsilon, 0.03125);
  EXPECT_EQ(config.rope.rope_base, 5000.0);
  EXPECT_EQ(config.bos_token, 1u);
  EXPECT_EQ(config.eos_token, 2u);
}

TEST(checkpoint_config, has_hugging_faces_defaults) {
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
  EXPECT_EQ(read.rope.rope_base, 10000.0);
  EXPECT_EQ(read.bos_token, std::nullopt);
  EXPECT_EQ(read.eos_token, std::nullopt);
  EXPECT_EQ(read.rope.linear_rope_factor, 1.0);
  EXPECT_FALSE(read.rope.stretched_rope);
  EXPECT_FALSE(read.tied_embeddings);
}

TEST(checkpoint_config, names_the_field_that_is_missing) {
  for (const char* field : {"hidden_size", "intermediate_size", "num_hidden_layers",
                            "num_attention_heads", "vocab_size"}) {
    json config = tiny_config();
    config.erase(field);
    EXPECT_EQ(refusal(config, field), "the field is missing");
    EXPECT_EQ(refusal(with(field, nullptr), field), "the field is missing");
  }
}

TEST(checkpoint_config, sizes_are_whole_numbers_that_llama_cpp_can_count) {
  for (const char* field :
       {"hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
        "num_key_value_heads", "vocab_size", "max_position_embeddings", "head_dim"}) {
    for (const json& value : {json("64"), json(-1), json(64.0), json(1e30), json(true),
                              json::array({64}), json::object()})
      EXPECT_EQ(refusal(with(field, value), field),
                "expected a whole number from 1 to 2147483647, not " + value.dump());
    for (const json& value : {json(0), json(std::uint64_t{1} << 31), json(~std::uint64_t{0})})
      EXPECT_EQ(refusal(with(field, value), field),
                "expected a whole number from 1 to 2147483647, not " + value.dump());
  }
  EXPECT_EQ(parse(with("num_hidden_layers", 65536)).layers, 65536u);
  EXPECT_EQ(refusal(with("num_hidden_layers", 65537), "num_hidden_layers"),
            "expected at most 65536, not 65537");
}

TEST(checkpoint_config, numbers_fit_the_floats_of_gguf) {
  const std::string problem = "expected a number from 1.4013e-45 to 3.40282e+38, not ";
  for (const char* field : {"rms_norm_eps", "rope_theta"})
    for (const json& value : {json(0), json(-1), json(1e39), json(1e-46), json("1"), json(true)})
      EXPECT_EQ(refusal(with(field, value), field), problem + value.dump());
  EXPECT_EQ(parse(with("rope_theta", 500000)).rope.rope_base, 500000.0); // integers are numbers
}

TEST(checkpoint_config, refuses_sizes_that_contradict_each_other) {
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
  EXPECT_EQ(message_of([] { return parse(json::array()); }), "config.json: expected a JSON object");
}

TEST(checkpoint_config, head_dim_frees_the_head_size) {
  json config = with("head_dim", 32);
  EXPECT_EQ(parse(config).head_size, 32u);
  config["hidden_size"] = 63; // then hidden_size need not divide
  EXPECT_EQ(parse(config).head_size, 32u);
}

TEST(checkpoint_config, tokens_are_a_number_or_a_list_or_none) {
  EXPECT_EQ(parse(with("eos_token_id", json::array({7, 8}))).eos_token, 7u);
  EXPECT_EQ(parse(with("eos_token_id", json::array())).eos_token, std::nullopt);
  EXPECT_EQ(parse(with("eos_token_id", nullptr)).eos_token, std::nullopt);
  EXPECT_EQ(parse(with("bos_token_id", -1)).bos_token, std::nullopt);
  for (const json& value : {json("</s>"), json(1.5), json::array({"1"}), json::object()})
    EXPECT_EQ(refusal(with("eos_token_id", value), "eos_token_id"),
              "expected the number of a token or a list of them, not " + value.dump());
  for (const char* field : {"bos_token_id", "eos_token_id"})
    for (const json& value : {json(40), json(-2), json::array({1, 40}), json(1 << 30)})
      EXPECT_EQ(refusal(with(field, value), field),
                "expected a token below the vocabulary's size of 40, not " + value.dump());
  const auto many = parse(with("eos_token_id", json::array({7, 8, 7, 9})));
  EXPECT_EQ(many.other_ends, (std::vector<std::uint64_t>{8, 9}));
  EXPECT_EQ(parse(with("pad_token_id", 40)).notes.size(), 0u); // it only fills batches
  EXPECT_TRUE(parse(with("tie_word_embeddings", true)).tied_embeddings);
  EXPECT_EQ(refusal(with("tie_word_embeddings", 1), "tie_word_embeddings"),
            "expected true or false, not 1");
}

json without_theta(const char* field, json value) {
  json config = with(field, std::move(value));
  config.erase("rope_theta");
  return config;
}

const json llama3_scaling = {{"rope_type", "llama3"},
                             {"factor", 32.0},
                             {"low_freq_factor", 2.0},
                             {"high_freq_factor", 3.0},
                             {"original_max_position_embeddings", 4096},
                             {"rope_theta", 500000.0}};

TEST(checkpoint_config, reads_rope_scaling_old_and_new) {
  for (const char* type : {"type", "rope_type"}) {
    const auto config = parse(with("rope_scaling", {{type, "linear"}, {"factor", 4}}));
    EXPECT_EQ(config.rope.linear_rope_factor, 4.0);
    EXPECT_EQ(config.rope.rope_base, 5000.0);
    EXPECT_FALSE(config.rope.stretched_rope);
  }
  for (const char* field : {"rope_scaling", "rope_parameters"}) {
    const auto config = parse(without_theta(field, llama3_scaling));
    ASSERT_TRUE(config.rope.stretched_rope);
    EXPECT_EQ(*config.rope.stretched_rope, (eq::llama3_rope{32, 2, 3, 4096}));
    EXPECT_EQ(config.rope.rope_base, 500000.0);
    EXPECT_EQ(config.rope.linear_rope_factor, 1.0);
  }
  const auto plain = parse(without_theta("rope_parameters", {{"rope_theta", 7.0}}));
  EXPECT_EQ(plain.rope.rope_base, 7.0);
  EXPECT_FALSE(plain.rope.stretched_rope);
  EXPECT_EQ(parse(with("rope_scaling", {{"type", "default"}})).rope.linear_rope_factor, 1.0);
  EXPECT_EQ(parse(with("rope_scaling", json::object())).rope.linear_rope_factor, 1.0);
}

TEST(checkpoint_config, places_of_rope_agree) {
  json config = without_theta("rope_scaling", llama3_scaling);
  config["rope_parameters"] = llama3_scaling;
  EXPECT_EQ(parse(config).rope.stretched_rope->factor, 32.0);
  config["rope_parameters"]["factor"] = 8;
  EXPECT_EQ(refusal(config, "rope_scaling"), "contradicts rope_parameters");
  EXPECT_EQ(refusal(with("rope_scaling", llama3_scaling), "rope_scaling.rope_theta"),
            "expected the rope_theta of config.json, not 500000.0");
  EXPECT_EQ(refusal(with("rotary_emb_base", 10000), "rotary_emb_base"),
            "expected the rope_theta of config.json, not 10000");
  EXPECT_EQ(refusal(with("rope_scaling", {{"type", "linear"}, {"rope_type", "llama3"}}),
                    "rope_scaling.type"),
            "'linear' where rope_type says 'llama3'");
  config = without_theta("rope_scaling", llama3_scaling);
  config["original_max_position_embeddings"] = 512;
  EXPECT_EQ(refusal(config, "rope_scaling.original_max_position_embeddings"),
            "4096 where config.json itself says 512");
}

TEST(checkpoint_config, refuses_rope_scaling_that_it_does_not_know) {
  const auto scaling = [](json value, const std::string& field) {
    return refusal(with("rope_scaling", std::move(value)), "rope_scaling." + field);
  };
  const std::string unknown =
      " is not supported; default, linear, dynamic, llama3, yarn and longrope are";
  for (const char* type : {"ntk", "mrope", "proportional"})
    EXPECT_EQ(scaling({{"type", type}, {"factor", 2}}, "rope_type"),
              "'" + std::string(type) + "'" + unknown);
  EXPECT_EQ(scaling({{"rope_type", "ya\nrn"}}, "rope_type"), "'ya\\x0arn'" + unknown);
  EXPECT_EQ(scaling({{"type", "yarn"}}, "factor"), "the field is missing");
  EXPECT_EQ(scaling({{"type", "yarn"}, {"factor", 2}, {"beta_fast", 16}}, "beta_fast"),
            "expected 32, not 16");
  EXPECT_EQ(scaling({{"type", "longrope"}}, "short_factor"), "expected a list of factors, not ");
  EXPECT_EQ(scaling({{"type", 5}}, "type"), "expected a string, not 5");
  EXPECT_EQ(scaling({{"type", "linear"}, {"factor", 0}}, "factor"),
            "expected a number from 1.4013e-45 to 3.40282e+38, not 0");
  EXPECT_EQ(scaling({{"type", "linear"}}, "factor"), "the field is missing");
  EXPECT_EQ(scaling({{"type", "llama3"}}, "factor"), "the field is missing");
  EXPECT_EQ(scaling({{"type", "llama3"}, {"factor", 8}, {"low_freq_factor", 4}}, "high_freq_factor")
                .substr(0, 29),
            "expected more than low_freq_f");
  EXPECT_EQ(scaling({{"factor", 2}}, "factor"), "a RoPE field without rope_type");
  EXPECT_EQ(scaling({{"type", "linear"}, {"factor", 2}, {"beta_fast", 32}}, "beta_fast"),
            "RoPE of type 'linear' has no such field here");
  EXPECT_EQ(scaling({{"type", "default"}, {"factor", 2}}, "factor"),
            "expected 1, as GGUF has no place for it, not 2");
  EXPECT_EQ(scaling({{"full_attention", {{"rope_theta", 5000}}}}, "full_attention"),
            "a RoPE field without rope_type");
  EXPECT_EQ(message_of([] { return parse(with("rope_scaling", "linear")); }),
            "config.json: rope_scaling: expected a JSON object");
}

TEST(checkpoint_config, refuses_what_makes_it_another_network) {
  const std::pair<const char*, json> others[] = {
      {"hidden_act", "relu"},
      {"hidden_act", "gelu_pytorch_tanh"},
      {"hidden_activation", "gelu"},
      {"layer_types", json::array({"full_attention", "sliding_attention"})},
      {"num_local_experts", 8},
      {"num_experts", 4},
      {"position_embedding_type", "alibi"},
      {"attn_logit_softcapping", 50.0},
      {"final_logit_softcapping", 30},
      {"logit_scale", 0.0625},
      {"logits_scaling", 8},
      {"residual_multiplier", 0.22},
      {"embedding_multiplier", 12},
      {"attention_multiplier", 0.5},
      {"query_pre_attn_scalar", 144},
      {"qk_norm", true},
      {"use_parallel_residual", true},
      {"alibi", true},
      {"rope_interleaved", true},
      {"quantization_config", {{"bits", 4}}},
      {"no_rope_layers", json::array({1, 0})},
      {"attention_chunk_size", 8192},
      {"v_head_dim", 8},
      {"norm_type", "layernorm"},
      {"norm_eps", 0.5},
      {"bias", true},
      {"is_causal", false},
  };
  for (const auto& [field, value] : others) {
    const auto problem = refusal(with(field, value), field);
    EXPECT_EQ(problem.substr(0, 9), "expected ") << field << ": " << problem;
  }
}

TEST(checkpoint_config, heads_are_turned_in_part_where_gguf_can_say_it) {
  EXPECT_EQ(refusal(with("partial_rotary_factor", 0.5), "partial_rotary_factor"),
            "GGUF's llama has no place for heads that are turned in part");
  json config = with("partial_rotary_factor", 0.75);
  config["model_type"] = "phi3", config["max_position_embeddings"] = 64;
  EXPECT_EQ(parse(config).rope_size(), 12u);
}

TEST(checkpoint_config, takes_fields_that_change_nothing) {
  const std::pair<const char*, json> others[] = {
      {"hidden_act", "silu"},
      {"hidden_act", "swish"},
      {"layer_types", json::array({"full_attention", "full_attention"})},
      {"partial_rotary_factor", 1.0},
      {"num_local_experts", 1},
      {"attention_multiplier", 0.25}, // 1 / sqrt(16)
      {"query_pre_attn_scalar", 16},
      {"quantization_config", nullptr},
      {"quantization_config", json::object()},
      {"no_rope_layers", json::array({1, 1})},
      {"norm_eps", 0.03125},
      {"pretraining_tp", 1},
      {"torch_dtype", "bfloat16"},
      {"attention_dropout", 0.1},
      {"id2label", {{"0", "LABEL_0"}}},
      {"architectures", json::array({"LlamaForCausalLM"})},
  };
  for (const auto& [field, value] : others)
    EXPECT_TRUE(parse(with(field, value)).notes.empty()) << field;
  EXPECT_EQ(parse(with("shiny\n", 5)).notes,
            std::vector<std::string>{
                "config.json has a field 'shiny\\x0a' that this program does not know"});
  EXPECT_EQ(parse(with("architectures", json::array({"FooForCausalLM"}))).notes.size(), 1u);
}

TEST(checkpoint_config, a_window_below_the_context_counts_or_is_noted) {
  json config = with("sliding_window", 8);
  ASSERT_EQ(parse(config).notes.size(), 1u); // Hugging Face's Llama has no window
  EXPECT_NE(parse(config).notes[0].find("sliding_window 8 has no effect"), std::string::npos);
  EXPECT_EQ(parse(config).window, 0u);
  const auto window_of = [](const json& with_window) {
    eq::gguf_metadata keys;
    eq::set_network_keys(keys, parse(with_window));
    return keys.get_uint("llama.attention.sliding_window").value_or(0);
  };
  config["architectures"] = json::array({"MistralForCausalLM"});
  EXPECT_EQ(window_of(config), 8u);
  EXPECT_NE(parse(config).notes[0].find("llama.cpp has no window"), std::string::npos);
  config["use_sliding_window"] = false;
  EXPECT_EQ(refusal(config, "use_sliding_window"),
            "expected true, as llama has no such switch, not false");
  config.erase("use_sliding_window");
  for (const json& harmless : {json(2048), json(4096), json(nullptr)}) {
    config["sliding_window"] = harmless;
    EXPECT_TRUE(parse(config).notes.empty()) << harmless;
  }
  config = with("sliding_window", 100);
  config["use_sliding_window"] = true;
  EXPECT_EQ(window_of(config), 0u); // transformers' Llama has no window and no switch
  config["model_type"] = "qwen2";
  config["max_position_embeddings"] = 2048;
  EXPECT_EQ(window_of(config), 0u); // both layers come before max_window_layers
  config["max_window_layers"] = 1;
  EXPECT_EQ(refusal(config, "sliding_window"),
            "expected at least the context of 2048 tokens, as GGUF's qwen2 has no window, not 100");
  config.erase("sliding_window"); // 4096
  EXPECT_EQ(window_of(config), 0u);
  json gemma = with("max_position_embeddings", 8192);
  gemma["model_type"] = "gemma3_text", gemma["query_pre_attn_scalar"] = 16;
  gemma["head_dim"] = 16;
  EXPECT_EQ(parse(gemma).window, 4096u);
  EXPECT_EQ(parse(gemma).local, (std::vector<bool>{true, true}));
  gemma["sliding_window_pattern"] = 1; // every layer sees all
  EXPECT_EQ(parse(gemma).local, (std::vector<bool>{false, false}));
  gemma["sliding_window"] = nullptr;
  EXPECT_EQ(parse(gemma).window, 0u);
}

TEST(checkpoint_config, sets_every_key_that_llama_cpp_needs) {
  eq::gguf_metadata keys;
  eq::set_network_keys(keys, parse(with("max_position_embeddings", 512)));
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

TEST(checkpoint_config, sets_the_keys_of_unusual_models) {
  json config = with("head_dim", 32);
  config["rope_scaling"] = {{"type", "linear"}, {"factor", 2.5}};
  eq::gguf_metadata keys;
  eq::set_network_keys(keys, parse(config));
  EXPECT_EQ(keys.get_uint("llama.attention.key_length"), 32u);
  EXPECT_EQ(keys.get_uint("llama.attention.value_length"), 32u);
  EXPECT_EQ(keys.get_uint("llama.rope.dimension_count"), 32u);
  EXPECT_EQ(keys.get_string("llama.rope.scaling.type"), "linear");
  EXPECT_EQ(keys.get_float("llama.rope.scaling.factor"), 2.5);
}

// Llama 3.2's numbers. Hugging Face changes the inverse frequency f = base^(-i/d) of pair i:
// unchanged for short waves, f / factor for long ones, blended between them.
TEST(checkpoint_config, rope_divisors_give_hugging_faces_frequencies) {
  EXPECT_TRUE(eq::rope_divisors(parse(tiny_config())).empty());
  eq::checkpoint_config config;
  config.head_size = 64;
  config.rope.rope_base = 500000;
  config.rope.stretched_rope = eq::llama3_rope{32, 1, 4, 8192};
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

TEST(checkpoint_config, knows_the_model_type) {
  EXPECT_EQ(eq::model_type_of(tiny_config()), "llama");
  EXPECT_EQ(eq::model_type_of({{"model_type", 5}}), "");
  EXPECT_EQ(eq::model_type_of(json::object()), "");
  EXPECT_EQ(eq::model_type_of(json::array({"model_type"})), "");
}
} // namespace
