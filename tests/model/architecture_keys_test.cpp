// SPDX-License-Identifier: MIT
#include "model/toy_model.hpp"

#include <edgequant/model/architecture_keys.hpp>

#include <set>

namespace {
using namespace model_test;

class architecture_keys : public testing::Test {
protected:
  /// What is said of a toy's keys with one more, behind `key '...': `; empty where they are taken.
  template <class Value>
  static std::string said(const std::string& key, Value value, const char* architecture = "llama") {
    toy_options o;
    o.architecture = architecture;
    if (eq::find_architecture(architecture)->experts) o.experts = 4;
    auto keys = toy_keys(o);
    if constexpr (requires { keys.set(key, value); })
      keys.set(key, value);
    else
      keys.set_array(key, value);
    const auto message = message_of([&] {
      eq::refuse_unknown_keys(keys, eq::read_model_shape(keys));
      return 0;
    });
    if (message.empty()) return {};
    EXPECT_TRUE(is_one_line(message)) << message;
    const std::string at = "key '" + key + "': "; // keys in memory have no file
    const auto begin = message.find(at);
    EXPECT_EQ(begin, 0u) << message;
    return begin == message.npos ? message : message.substr(begin + at.size());
  }
};

TEST_F(architecture_keys, values_that_change_nothing_are_taken) {
  for (const char* key : {"expert_count", "attn_logit_softcapping", "attention.clamp_kqv",
                          "attention.max_alibi_bias", "pooling_type", "attention.sliding_window"})
    EXPECT_EQ(said(std::string("llama.") + key, 0u), "");
  for (const char* key : {"logit_scale", "residual_scale", "embedding_scale", "rope.scale_linear",
                          "rope.scaling.factor", "rope.scaling.attn_factor"})
    EXPECT_EQ(said(std::string("llama.") + key, 1.0f), "");
  EXPECT_EQ(said("llama.vocab_size", 40u), "");
  EXPECT_EQ(said("llama.attention.causal", true), "");
  EXPECT_EQ(said("llama.use_parallel_residual", false), "");
  EXPECT_EQ(said("llama.attention.sliding_window", 64u), ""); // all of the context
  EXPECT_EQ(said("llama.attention.scale", 0.35355338f), "");  // 1 / sqrt(8)
  EXPECT_EQ(said("llama.hidden_activation", "silu"), "");
  EXPECT_EQ(said("llama.tensor_data_layout", "Meta AI original pth"), "");
  EXPECT_EQ(said("llama.rope.scaling.original_context_length", 32u), "");
  EXPECT_EQ(said("general.type", "model"), "");
}

TEST_F(architecture_keys, values_that_change_the_network_are_named) {
  EXPECT_EQ(said("llama.expert_count", 8u), "8 cannot be run; 0 can");
  EXPECT_EQ(said("llama.attn_logit_softcapping", -50.0f), "expected a positive number or 0");
  EXPECT_EQ(said("llama.logit_scale", 0.0625f), "0.0625 cannot be run; 1 can");
  EXPECT_EQ(said("llama.logit_scale", NAN), "nan cannot be run; 1 can");
  EXPECT_EQ(said("llama.residual_scale", 0.5f), "0.5 cannot be run; 1 can");
  EXPECT_EQ(said("llama.embedding_scale", 12.0f), "12 cannot be run; 1 can");
  EXPECT_EQ(said("llama.attention.causal", false), "0 cannot be run; 1 can");
  EXPECT_EQ(said("llama.use_parallel_residual", true), "1 cannot be run; 0 can");
  EXPECT_EQ(said("llama.pooling_type", 3u), "3 cannot be run; 0 can");
  EXPECT_EQ(said("llama.attention.scale", -0.125f), "expected a positive number");
  EXPECT_EQ(said("qwen2.attention.sliding_window", 63u, "qwen2"),
            "63 cannot be run; 0 or at least the context_length can");
  EXPECT_EQ(said("llama.rope.scale_linear", 2.0f), "2 cannot be run; 1 can");
  EXPECT_EQ(said("llama.rope.scaling.yarn_ext_factor", 1.0f), "1 cannot be run; 0 can");
  EXPECT_EQ(said("llama.rope.scaling.factor", 4.0f),
            "4 cannot be run; 1, or rope.scaling.type 'linear' with it, can");
  EXPECT_EQ(said("llama.hidden_activation", "gelu"), "'gelu' cannot be run; 'silu' can");
  EXPECT_EQ(said("llama.tensor_data_layout", "other"),
            "'other' cannot be run; 'reference' and 'Meta AI original pth' can");
  EXPECT_EQ(said("qwen2.tensor_data_layout", "Meta AI original pth", "qwen2"),
            "'Meta AI original pth' cannot be run; 'reference' can");
  EXPECT_EQ(said("qwen3moe.expert_gating_func", 2u, "qwen3moe"), "2 cannot be run; 1 or 3 can");
  EXPECT_EQ(said("qwen3moe.expert_used_count", 5u, "qwen3moe"), "more than expert_count");
  EXPECT_EQ(said("qwen3moe.expert_shared_count", 1u, "qwen3moe"), "1 cannot be run; 0 can");
  EXPECT_EQ(said("general.type", "adapter"), "'adapter' cannot be run; 'model' can");
}

TEST_F(architecture_keys, unknown_keys_of_the_architecture_are_named) {
  const std::string unknown = "the engine does not know this key and what it changes";
  for (const char* key : {"rope.dimension_sections", "ssm.conv_kernel", "wkv.head_size",
                          "attention.key_length_mla", "a", "attention.layer_norm_epsilon", ""}) {
    EXPECT_EQ(said(std::string("llama.") + key, 1u), unknown) << key;
    EXPECT_EQ(said(std::string("qwen2.") + key, 1u, "qwen2"), unknown) << key;
  }
  EXPECT_EQ(said("llama.attention.sliding_window_pattern", std::vector<std::uint32_t>{1}),
            "expected one value a layer");
  for (const char* key : {"qwen2.a", "general.a", "llamas.a", "tokenizer.a", "quantize.imatrix.a"})
    EXPECT_EQ(said(key, 1u), ""); // not the network's
}

TEST_F(architecture_keys, numbers_by_layer_are_taken) {
  using list = std::vector<std::uint32_t>;
  EXPECT_EQ(said("llama.attention.head_count_kv", list{2, 2}), "");
  EXPECT_EQ(said("llama.feed_forward_length", list{44, 44}), "");
  EXPECT_EQ(said("llama.attention.head_count", list{4, 4}), "");
  EXPECT_EQ(said("llama.attention.head_count_kv", list{2, 4}), "");
  EXPECT_EQ(said("llama.feed_forward_length", list{44, 0}), "");
  EXPECT_EQ(said("llama.attention.head_count_kv", list{2, 0}),
            "0: a layer of linear attention cannot be run");
  EXPECT_EQ(said("llama.attention.head_count", list{4, 4, 4}), "expected one number a layer");
  EXPECT_EQ(said("llama.attention.head_count", list{}), "expected one number a layer");
  EXPECT_EQ(said("llama.attention.head_count", list{0, 0}),
            "a network without attention cannot be run");
  toy_options o;
  o.change_keys = [](eq::gguf_metadata& keys) {
    keys.set_array("llama.attention.head_count_kv", list{2, 2});
  };
  EXPECT_EQ(eq::read_model_shape(toy_keys(o)).layers[1].kv_heads, 2u);
}

TEST_F(architecture_keys, the_table_is_one) {
  std::set<std::string_view> names;
  for (const auto& row : eq::architecture_key_table) EXPECT_TRUE(names.insert(row.name).second);
}

} // namespace
