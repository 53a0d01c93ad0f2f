// SPDX-License-Identifier: MIT
#include "model/support.hpp"

#include <edgequant/model/checkpoint_tensors.hpp>

#include <cmath>

namespace {
using namespace model_test;

class checkpoint_tensors : public testing::Test {
protected:
  eq::checkpoint_config config = eq::parse_checkpoint_config(tiny_config(), "config.json");
  std::vector<std::string> notes;

  std::vector<eq::model_tensor> map(const std::vector<raw_tensor>& raw) {
    std::vector<eq::stored_tensor> tensors;
    for (const auto& t : raw)
      tensors.push_back(
          eq::make_tensor(t.name, {t.shape.rbegin(), t.shape.rend()}, type_of(t.dtype), t.data));
    notes.clear();
    return eq::map_checkpoint_tensors(tensors, config, "folder", notes);
  }
  static eq::format type_of(const std::string& dtype) {
    return dtype == "F16"    ? eq::format::f16
           : dtype == "BF16" ? eq::format::bf16
           : dtype == "I8"   ? eq::format::i8
           : dtype == "I64"  ? eq::format::i64
                             : eq::format::f32;
  }
  std::string refusal(const raw_tensor& tensor) { return refusal(std::vector{tensor}); }
  std::string refusal(const std::vector<raw_tensor>& tensors) {
    try {
      (void)map(tensors);
    } catch (const eq::exception& error) {
      EXPECT_EQ(error.code(), eq::error_code::bad_file);
      EXPECT_TRUE(is_one_line(error.what()));
      return error.what();
    }
    return "mapped";
  }
};

std::vector<std::string> names_of(const std::vector<eq::model_tensor>& tensors) {
  std::vector<std::string> names;
  for (const auto& t : tensors) names.push_back(t.stored.name);
  return names;
}

TEST_F(checkpoint_tensors, get_ggufs_names_and_order) {
  const auto tensors = map(tiny_tensors());
  std::vector<std::string> expected = {"token_embd.weight"};
  for (const std::string layer : {"blk.0.", "blk.1."})
    for (const std::string kind : {"attn_norm", "attn_q", "attn_k", "attn_v", "attn_output",
                                   "ffn_norm", "ffn_gate", "ffn_up", "ffn_down"})
      expected.push_back(layer + kind + ".weight");
  expected.insert(expected.end(), {"output_norm.weight", "output.weight"});
  EXPECT_EQ(names_of(tensors), expected);
  EXPECT_TRUE(notes.empty());
  for (const auto& t : tensors) {
    const bool q = t.stored.name.ends_with("attn_q.weight");
    const bool k = t.stored.name.ends_with("attn_k.weight");
    EXPECT_EQ(t.rope_heads, q ? 4u : k ? 2u : 0u) << t.stored.name;
  }
}

TEST_F(checkpoint_tensors, layers_are_in_the_order_of_their_numbers) {
  config.layers = 12;
  const auto names = names_of(map({numbered("model.layers.10.input_layernorm.weight", {64}),
                                   numbered("layers.9.input_layernorm.weight", {64})}));
  EXPECT_EQ(names, (std::vector<std::string>{"blk.9.attn_norm.weight", "blk.10.attn_norm.weight"}));
}

// transformers: row h*d + j*d/2 + i, with j the half and i the place in it; GGUF: h*d + 2*i + j.
TEST_F(checkpoint_tensors, q_and_k_rows_move_from_halves_to_pairs) {
  for (const auto& t : map(tiny_tensors())) {
    if (t.rope_heads == 0) continue;
    const std::uint64_t d = 16;
    ASSERT_EQ(t.stored.rows(), t.rope_heads * d);
    for (std::uint64_t h = 0; h < t.rope_heads; ++h)
      for (std::uint64_t j = 0; j < 2; ++j)
        for (std::uint64_t i = 0; i < d / 2; ++i) {
          const auto row = floats_of(t.row(h * d + 2 * i + j));
          const float from = static_cast<float>(h * d + j * d / 2 + i);
          ASSERT_EQ(row.size(), 64u);
          EXPECT_EQ(row[0], from);
          EXPECT_EQ(row[63], from + 63.0f / 1024);
        }
  }
}

TEST_F(checkpoint_tensors, other_rows_stay) {
  for (const auto& t : map(tiny_tensors()))
    for (std::uint64_t r = 0; t.rope_heads == 0 && r < t.stored.rows(); ++r)
      EXPECT_EQ(t.row(r).data(), t.stored.data.data() + r * t.stored.columns() * sizeof(float));
}

TEST_F(checkpoint_tensors, biases_move_like_their_rows) {
  const std::string at = "model.layers.0.self_attn.";
  const auto tensors =
      map({numbered(at + "q_proj.bias", {64}), numbered(at + "k_proj.bias", {32}),
           numbered(at + "v_proj.bias", {32}), numbered(at + "o_proj.bias", {64})});
  ASSERT_EQ(names_of(tensors),
            (std::vector<std::string>{"blk.0.attn_q.bias", "blk.0.attn_k.bias", "blk.0.attn_v.bias",
                                      "blk.0.attn_output.bias"}));
  for (const std::size_t t : {0u, 1u}) {
    const auto values = floats_of(tensors[t].stored.data);
    for (std::size_t g = 0; g < values.size(); ++g) // GGUF's row g = h*16 + 2*i + j
      EXPECT_EQ(values[g], static_cast<float>(g / 16 * 16 + g % 2 * 8 + g % 16 / 2));
    EXPECT_EQ(tensors[t].rope_heads, 0u); // done already
  }
  EXPECT_EQ(floats_of(tensors[2].stored.data), floats_of(numbered("", {32}).data));
  EXPECT_EQ(floats_of(tensors[3].stored.data), floats_of(numbered("", {64}).data));
}

TEST_F(checkpoint_tensors, a_tied_output_is_dropped) {
  config.tied_embeddings = true;
  const auto names = names_of(map(tiny_tensors()));
  EXPECT_EQ(names.size(), 20u);
  EXPECT_EQ(names.back(), "output_norm.weight");
  EXPECT_TRUE(notes.empty()); // nor is it missed
}

/// tiny_tensors() with another lm_head.
std::vector<raw_tensor> with_head(raw_tensor head) {
  auto raw = tiny_tensors();
  raw[0] = std::move(head);
  return raw;
}

template <class Float> raw_tensor rounded(std::string name, const char* dtype) {
  const auto exact = floats_of(numbered("", {40, 64}).data);
  std::vector<Float> values;
  for (const float x : exact) values.push_back(Float(x));
  return {std::move(name), dtype, {40, 64}, bytes_from(values)};
}

TEST_F(checkpoint_tensors, a_tied_output_in_another_dtype_is_dropped_too) {
  config.tied_embeddings = true;
  for (const auto& head : {rounded<eq::half>("lm_head.weight", "F16"),
                           rounded<eq::bfloat16>("lm_head.weight", "BF16")}) {
    EXPECT_EQ(map(with_head(head)).size(), 20u) << head.dtype;
    EXPECT_TRUE(notes.empty());
  }
}

TEST_F(checkpoint_tensors, an_output_that_is_no_copy_is_kept) {
  config.tied_embeddings = true;
  auto head = numbered("lm_head.weight", {40, 64});
  head.data[4 * 40 * 64 - 1] ^= std::byte{0x40};
  auto narrow = rounded<eq::half>("lm_head.weight", "F16");
  narrow.data.back() ^= std::byte{1};
  for (const auto& other : {head, narrow}) {
    const auto tensors = map(with_head(other));
    ASSERT_EQ(tensors.size(), 21u);
    EXPECT_EQ(tensors.back().stored.name, "output.weight");
    ASSERT_EQ(notes.size(), 1u);
    EXPECT_NE(notes[0].find("lm_head.weight is no copy"), std::string::npos);
  }
  EXPECT_NE(refusal(with_head(numbered("lm_head.weight", {7, 3}))).find("lm_head.weight': shape"),
            std::string::npos);
}

TEST_F(checkpoint_tensors, a_missing_output_is_the_embedding_and_that_is_said) {
  auto raw = tiny_tensors();
  raw.erase(raw.begin());
  EXPECT_EQ(map(raw).size(), 20u);
  ASSERT_EQ(notes.size(), 1u);
  EXPECT_NE(notes[0].find("engines take the embedding"), std::string::npos);
}

TEST_F(checkpoint_tensors, rotary_frequencies_are_held_against_the_config) {
  std::vector<float> values;
  for (int i = 0; i < 8; ++i) values.push_back(static_cast<float>(std::pow(5000.0, -i / 8.0)));
  for (const char* name : {"model.layers.1.self_attn.rotary_emb.inv_freq",
                           "model.rotary_emb.inv_freq", "rotary_emb.inv_freq"}) {
    auto raw = tiny_tensors();
    raw.push_back(f32_tensor(name, {8}, values));
    EXPECT_EQ(map(raw).size(), 21u);
    auto changed = values;
    changed[7] *= 1.01f;
    raw.back() = f32_tensor(name, {8}, changed);
    EXPECT_EQ(refusal(raw), "folder: tensor '" + std::string(name) +
                                "': other RoPE frequencies than those of config.json");
    EXPECT_NE(refusal(f32_tensor(name, {4}, {1, 1, 1, 1})).find("4 RoPE frequency values"),
              std::string::npos);
  }
}

TEST_F(checkpoint_tensors, values_that_are_no_floats_are_refused) {
  const std::string q = "model.layers.0.self_attn.q_proj.weight";
  EXPECT_EQ(refusal(raw_tensor{q, "I8", {64, 64}, bytes(64 * 64)}),
            "folder: tensor '" + q + "': dtype I8 where the architecture has floats");
  EXPECT_EQ(refusal(raw_tensor{"model.norm.weight", "I64", {64}, bytes(64 * 8)}),
            "folder: tensor 'model.norm.weight': dtype I64 where the architecture has floats");
}

TEST_F(checkpoint_tensors, biases_agree_with_the_config) {
  const std::string at = "model.layers.0.";
  const auto q = numbered(at + "self_attn.q_proj.weight", {64, 64});
  const auto bias = numbered(at + "self_attn.q_proj.bias", {64});
  const auto gate = numbered(at + "mlp.gate_proj.weight", {96, 64});
  const auto gate_bias = numbered(at + "mlp.gate_proj.bias", {96});
  config.attention_bias = config.mlp_bias = true;
  EXPECT_EQ(refusal(q), "folder: the checkpoint lacks blk.0.attn_q.bias, and config.json's "
                        "attention_bias is true");
  EXPECT_EQ(refusal(gate), "folder: the checkpoint lacks blk.0.ffn_gate.bias, and config.json's "
                           "mlp_bias is true");
  EXPECT_EQ(map({q, bias, gate, gate_bias}).size(), 4u);
  config.attention_bias = config.mlp_bias = false;
  EXPECT_EQ(map({q, gate}).size(), 2u);
  EXPECT_EQ(refusal({q, bias}), "folder: the checkpoint has blk.0.attn_q.bias, and config.json's "
                                "attention_bias is false");
  EXPECT_EQ(refusal({gate, gate_bias}), "folder: the checkpoint has blk.0.ffn_gate.bias, and "
                                        "config.json's mlp_bias is false");
}

TEST_F(checkpoint_tensors, unknown_names_are_refused) {
  const auto refused = [](const std::string& name) {
    return "folder: tensor '" + name + "': the llama architecture has no such tensor";
  };
  for (const std::string name : {"",
                                 ".weight",
                                 "model.",
                                 "model.layers.",
                                 "model.layers.0.",
                                 "model.layers.x.norm.weight",
                                 "model.layers.-1.input_layernorm.weight",
                                 "model.layers.+1.input_layernorm.weight",
                                 "model.layers.0input_layernorm.weight",
                                 "model.layers..input_layernorm.weight",
                                 "model.layers.99999999999999999999.input_layernorm.weight",
                                 "model.norm",
                                 "model.norm.bia",
                                 "norm.weights",
                                 "model.model.norm.weight",
                                 "model.layers.0.norm.weight",
                                 "lm_head.bias",
                                 "model.embed_tokens.bias",
                                 "model.norm.bias",
                                 "model.layers.0.input_layernorm.bias",
                                 "model.layers.0.self_attn.q_norm.weight",
                                 "model.input_layernorm.weight",
                                 "token_embd.weight",
                                 "model.layers.0.mlp.gate.weight"})
    EXPECT_EQ(refusal(numbered(name, {64})), refused(name));
}

TEST_F(checkpoint_tensors, a_layer_beyond_the_model_is_refused) {
  EXPECT_EQ(refusal(numbered("model.layers.2.input_layernorm.weight", {64})),
            "folder: tensor 'model.layers.2.input_layernorm.weight': config.json has 2 layers");
}

TEST_F(checkpoint_tensors, wrong_shapes_are_refused) {
  const auto shape = [&](const std::string& name, std::vector<std::uint64_t> axes) {
    const auto what = refusal(numbered(name, std::move(axes)));
    return what.substr(std::min(what.size(), what.find("': ") + 3));
  };
  const std::string q = "model.layers.0.self_attn.q_proj.weight";
  EXPECT_EQ(shape(q, {64, 32}), "shape 64 x 32 where config.json asks for 64 x 64");
  EXPECT_EQ(shape(q, {4096}), "shape 4096 where config.json asks for 64 x 64");
  EXPECT_EQ(shape(q, {1, 64, 64}), "shape 1 x 64 x 64 where config.json asks for 64 x 64");
  EXPECT_EQ(shape("model.layers.0.self_attn.k_proj.weight", {64, 64}),
            "shape 64 x 64 where config.json asks for 32 x 64");
  EXPECT_EQ(shape("model.layers.0.mlp.down_proj.weight", {96, 64}),
            "shape 96 x 64 where config.json asks for 64 x 96");
  EXPECT_EQ(shape("model.norm.weight", {64, 1}), "shape 64 x 1 where config.json asks for 64");
  EXPECT_EQ(shape("model.layers.0.self_attn.k_proj.bias", {64}),
            "shape 64 where config.json asks for 32");
  EXPECT_EQ(shape("lm_head.weight", {41, 64}), "shape 41 x 64 where config.json asks for 40 x 64");
}

TEST_F(checkpoint_tensors, missing_ones_are_counted_and_the_first_is_named) {
  auto raw = tiny_tensors();
  std::erase_if(raw, [](const auto& t) {
    return t.name.ends_with("1.mlp.up_proj.weight") || t.name == "model.norm.weight" ||
           t.name.ends_with("1.self_attn.v_proj.weight");
  });
  raw.push_back(numbered("model.layers.1.self_attn.v_proj.bias", {32})); // no weight
  EXPECT_EQ(map(raw).size(), 19u);
  ASSERT_EQ(notes.size(), 2u);
  EXPECT_NE(notes[0].find("does not speak of the biases"), std::string::npos);
  notes.erase(notes.begin());
  EXPECT_EQ(notes, (std::vector<std::string>{"the checkpoint lacks 3 tensors (first: "
                                             "blk.1.attn_v.weight): no engine will run the "
                                             "file"}));
  raw = tiny_tensors();
  raw.pop_back();
  (void)map(raw);
  EXPECT_EQ(notes, (std::vector<std::string>{"the checkpoint lacks 1 tensor (first: "
                                             "token_embd.weight): no engine will run the "
                                             "file"}));
}

// 9 weights a layer and 3 others; to try all their names would take an hour.
TEST_F(checkpoint_tensors, a_model_of_two_billion_layers_takes_no_time) {
  config.layers = 0x7fffffff;
  (void)map(tiny_tensors());
  EXPECT_EQ(notes, (std::vector<std::string>{"the checkpoint lacks 19327352805 tensors (first: "
                                             "blk.2.attn_norm.weight): no engine will run the "
                                             "file"}));
}

TEST(model_tensor, rope_order_is_a_permutation_inside_each_head) {
  for (const std::uint64_t d : {2u, 4u, 8u, 64u, 128u})
    for (std::uint64_t h = 0; h < 3; ++h) {
      std::vector<bool> seen(d);
      for (std::uint64_t r = 0; r < d; ++r) {
        const auto from = eq::rope_source_row(h * d + r, d);
        ASSERT_GE(from, h * d);
        ASSERT_LT(from, (h + 1) * d);
        EXPECT_FALSE(seen[from - h * d]);
        seen[from - h * d] = true;
      }
    }
}
} // namespace
