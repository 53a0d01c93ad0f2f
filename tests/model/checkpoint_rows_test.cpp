// SPDX-License-Identifier: MIT
// A checkpoint of every row of architecture_table that is converted.
#include "inputs.hpp"
#include "model/support.hpp"

#include <edgequant/compress/compress.hpp>
#include <edgequant/model/open_model.hpp>
#include <edgequant/model/transformer.hpp>

#include <set>

namespace {
using namespace model_test;
using nlohmann::json;

/// A config.json with little more than sizes.
json config_of(const eq::architecture_row& row) {
  json config = {{"model_type", row.model_type},
                 {"hidden_size", 32},
                 {"intermediate_size", 48},
                 {"num_hidden_layers", 2},
                 {"num_attention_heads", 4},
                 {"num_key_value_heads", 2},
                 {"head_dim", 8},
                 {"vocab_size", 40},
                 {"max_position_embeddings", 64},
                 {"tie_word_embeddings", false}};
  if (row.name == "minicpm")
    config.update({{"scale_emb", 12}, {"scale_depth", 1.4}, {"dim_model_base", 16}});
  if (row.experts)
    config.update({{"num_experts", 4},
                   {"num_experts_per_tok", 2},
                   {"moe_intermediate_size", 48},
                   {"norm_topk_prob", true}});
  if (row.name == "gemma2" || row.name == "gemma3") config["query_pre_attn_scalar"] = 8;
  return config;
}

bool is_converted(const eq::architecture_row& row) { return !row.expert_biases; }

class checkpoint_rows : public testing::Test {
protected:
  fs::path write(const eq::architecture_row& row, const json& config) {
    const auto path = folder / std::string(row.model_type);
    fs::create_directories(path);
    write_all(path / "config.json", config.dump());
    const auto parsed = eq::parse_checkpoint_config(config, "config.json");
    std::vector<raw_tensor> tensors;
    const auto add = [&](const std::string& name, std::vector<std::uint64_t> shape) {
      std::size_t count = 1;
      for (const auto axis : shape) count *= axis;
      auto values = inputs::make(inputs::gaussian, count, static_cast<unsigned>(tensors.size()));
      for (float& x : values) x *= 20;
      tensors.push_back(f32_tensor(name, std::move(shape), values));
    };
    for (const auto& t : eq::tensor_table) {
      if (!eq::has_tensor(row, t)) continue;
      std::vector<std::uint64_t> shape{eq::value_of(t.rows, parsed)};
      if (t.columns != eq::network_size::one) shape.push_back(eq::value_of(t.columns, parsed));
      for (std::uint64_t layer = 0; layer < (t.in_layer ? 2u : 1u); ++layer) {
        std::string name = (t.in_layer ? "model.layers." + std::to_string(layer) + "."
                            : t.checkpoint == "lm_head" ? ""
                                                        : "model.") +
                           std::string(t.checkpoint);
        const auto mark = name.find('#');
        for (int e = 0; e < (mark == name.npos ? 1 : 4); ++e) {
          std::string one = name;
          if (mark != name.npos) one.replace(mark, 1, std::to_string(e));
          add(one + ".weight", shape);
          if (row.qkv_bias && t.bias == eq::bias_of::inputs) add(one + ".bias", {shape[0]});
        }
      }
    }
    write_safetensors(path / "model.safetensors", tensors);
    return path;
  }
  temporary_folder folder;
};

TEST_F(checkpoint_rows, each_is_converted_and_runs) {
  for (const auto& row : eq::architecture_table) {
    if (!is_converted(row)) continue;
    SCOPED_TRACE(row.model_type);
    const auto path = write(row, config_of(row));
    const auto source = eq::open_model(path);
    ASSERT_EQ(source.notes.size(), 1u) << source.notes.back(); // that there is no vocabulary
    (void)eq::compress(source, folder / "model.gguf", {.type = eq::format::f32});
    const eq::model_weights weights(eq::read_gguf(folder / "model.gguf"));
    EXPECT_EQ(weights.shape().architecture->name, row.name);
    eq::transformer model(weights, 1);
    auto pool = model.make_pool(eq::kv_format::f32, 16);
    eq::kv_sequence sequence(pool);
    const auto logits = model.run(std::vector<std::int32_t>{1, 5, 7}, sequence);
    EXPECT_EQ(logits.size(), 40u);

    // What moves and what grows, against the checkpoint's own values.
    const auto own = eq::read_safetensors(path / "model.safetensors");
    const auto floats = [](const eq::stored_tensor& t) {
      std::vector<float> values(t.values());
      std::memcpy(values.data(), t.data.data(), t.data.size());
      return values;
    };
    const auto find = [&](std::string_view name) {
      return floats(*std::find_if(own.tensors.begin(), own.tensors.end(),
                                  [&](const auto& t) { return t.name == name; }));
    };
    const auto norm = find("model.norm.weight");
    for (std::size_t i = 0; i < norm.size(); ++i)
      EXPECT_EQ(weights.output_norm()[i], norm[i] + (row.unit_norms ? 1.0f : 0.0f));
    const auto& q = weights.layers()[1].attention_inputs[0];
    const auto rows = find(row.fused ? "model.layers.1.self_attn.qkv_proj.weight"
                                     : "model.layers.1.self_attn.q_proj.weight");
    std::vector<float> row_1(32);
    eq::decode_row(q.view.type, q.view.data + eq::row_bytes(q.view.type, 32), row_1);
    // GGUF's second row of a head is the first of its second half, where pairs are turned.
    const std::size_t from = row.rope == eq::rope_order::pairs ? 4 : 1;
    EXPECT_TRUE(std::equal(row_1.begin(), row_1.end(), rows.begin() + 32 * from));
    if (row.experts) {
      const auto& down = weights.layers()[0].down.view;
      EXPECT_EQ(down.rows, 4u * 32);
      const auto third = find("model.layers.0.mlp.experts.2.down_proj.weight");
      std::vector<float> first_row(48);
      eq::decode_row(down.type, down.data + 2 * 32 * eq::row_bytes(down.type, 48), first_row);
      EXPECT_TRUE(std::equal(first_row.begin(), first_row.end(), third.begin()));
    }
  }
}

// Fields of the configurations in Hugging Face transformers, with values that change the network.
TEST_F(checkpoint_rows, fields_without_a_place_are_refused_by_name) {
  struct field {
    const char *family, *name;
    json value;
  };
  const json two = json::array({"full_attention", "sliding_attention"});
  const field fields[] = {
      {"llama", "hidden_act", "gelu"},
      {"mistral", "hidden_act", "relu"},
      {"qwen2", "hidden_act", "gelu_new"},
      {"qwen3", "hidden_act", "gelu"},
      {"smollm3", "hidden_act", "relu"},
      {"granite", "hidden_act", "gelu"},
      {"phi3", "hidden_act", "gelu"},
      {"olmo2", "hidden_act", "gelu"},
      {"exaone4", "hidden_act", "gelu"},
      {"qwen3_moe", "hidden_act", "relu"},
      {"gemma", "hidden_act", "silu"},
      {"gemma2", "hidden_activation", "relu"},
      {"gemma3_text", "hidden_activation", "silu"},

      {"qwen2", "layer_types", two},
      {"qwen3", "layer_types", two},
      {"smollm3", "layer_types", two},
      {"llama", "layer_types", two},
      {"gemma2", "layer_types", json::array({"chunked_attention", "full_attention"})},
      {"gemma2", "attn_logit_softcapping", nullptr},
      {"gemma2", "final_logit_softcapping", nullptr},
      {"gemma2", "query_pre_attn_scalar", 144},
      {"gemma3_text", "query_pre_attn_scalar", 168},
      {"gemma3_text", "attn_logit_softcapping", 50.0},
      {"gemma", "attn_logit_softcapping", 50.0},
      {"gemma3_text", "use_bidirectional_attention", true},
      {"gemma2", "use_bidirectional_attention", true},
      {"llama", "attn_logit_softcapping", 20.0},
      {"qwen3", "final_logit_softcapping", 30.0},
      {"granite", "position_embedding_type", "nope"},
      {"llama", "logits_scaling", 8.0},
      {"llama", "embedding_multiplier", 12.0},
      {"llama", "residual_multiplier", 0.22},
      {"llama", "attention_multiplier", 0.0078125},
      {"qwen2", "scale_emb", 12},
      {"minicpm", "scale_emb", nullptr},
      {"minicpm", "dim_model_base", nullptr},
      {"smollm3", "no_rope_layers", json::array({1, 0})},
      {"smollm3", "no_rope_layer_interval", 2},
      {"llama", "no_rope_layers", json::array({1, 0})},
      {"qwen3",
       "rope_scaling",
       {{"rope_type", "longrope"}, {"short_factor", {1, 1, 1, 1}}, {"long_factor", {2, 2, 2, 2}}}},
      {"qwen3", "rope_scaling", {{"rope_type", "llama3"}, {"factor", 8}}},
      {"gemma3_text", "rope_scaling", {{"rope_type", "llama3"}, {"factor", 8}}},
      {"olmo2", "rope_scaling", {{"rope_type", "llama3"}, {"factor", 8}}},
      {"llama", "partial_rotary_factor", 0.5},
      {"qwen3", "partial_rotary_factor", 0.5},
      {"smollm3", "partial_rotary_factor", 0.5},
      {"olmo2", "head_dim", 16},
      {"phi3", "head_dim", 16},
      {"olmo2", "clip_qkv", 8.0},
      {"llama", "clip_qkv", 8.0},
      {"llama", "num_local_experts", 8},
      {"qwen3", "num_experts", 8},
      {"qwen2", "moe_intermediate_size", 64},
      {"qwen3_moe", "norm_topk_prob", false},
      {"qwen3_moe", "norm_topk_prob", nullptr},
      {"gemma2", "query_pre_attn_scalar", nullptr},
      {"gemma3_text", "query_pre_attn_scalar", nullptr},
      {"gemma2", "hidden_activation", "gelu"},
      {"mistral", "use_sliding_window", false},
      {"gemma2", "sliding_window", nullptr},
      {"phi3", "max_position_embeddings", nullptr},
      {"olmo2", "layer_types", two},
      {"qwen3_moe", "decoder_sparse_step", 2},
      {"qwen3_moe", "mlp_only_layers", json::array({0})},
      {"qwen3_moe", "shared_expert_intermediate_size", 64},
      {"qwen3_moe", "num_experts_per_tok", 5},
      {"qwen3_moe", "num_local_experts", 8},
      {"exaone4", "num_nextn_predict_layers", 1},
      {"llama", "kv_lora_rank", 512},
      {"llama", "attention_chunk_size", 8192},
      {"llama", "attn_temperature_tuning", true},
      {"llama", "use_qk_norm", true},
      {"olmo2", "use_qk_norm", true},
      {"qwen3", "qk_layernorm", true},
      {"gemma3_text", "num_kv_shared_layers", 2},
      {"gemma3_text", "hidden_size_per_layer_input", 16},
      {"gemma3_text", "laurel_rank", 8},
      {"gemma3_text", "altup_num_inputs", 4},
      {"gemma3_text", "vision_config", {{"hidden_size", 8}}},
      {"qwen2", "vision_config", {{"depth", 8}}},
      {"phi3", "quantization_config", {{"bits", 4}}},
      {"llama", "quantization_config", {{"quant_method", "gptq"}}},
      {"gemma2", "rope_interleaved", true},
      {"llama", "rope_interleave", true},
      {"granite", "num_local_experts", 4},
      {"nemotron-nas", "block_configs", json::array({json::object()})},
      {"mistral", "is_causal", false},
      {"qwen2", "use_mrope", true},
      {"llama", "attention_out_bias", true},
      {"phi3", "lm_head_bias", true},
      {"llama", "num_loops", 2}};
  std::set<std::string> seen;
  for (const auto& [family, name, value] : fields) {
    const auto* row = eq::find_model_type(family);
    ASSERT_NE(row, nullptr) << family;
    json config = config_of(*row);
    config[name] = value;
    const auto problem =
        message_of([&] { (void)eq::parse_checkpoint_config(config, "config.json"); });
    EXPECT_TRUE(problem.starts_with("config.json: ")) << family << " " << name << ": " << problem;
    const bool is_rope = std::string_view(name) == "rope_scaling"; // of which a part is named
    EXPECT_NE(problem.find(is_rope ? "rope_" : name), problem.npos) << problem;
    EXPECT_TRUE(is_one_line(problem)) << problem;
    seen.insert(std::string(family) + " " + name);
  }
  EXPECT_GE(seen.size(), 60u);
}

} // namespace
