// SPDX-License-Identifier: MIT
#include "model/toy_model.hpp"

#include <edgequant/model/cut.hpp>
#include <edgequant/model/transformer.hpp>

namespace {
using namespace model_test;

/// A cut network gives what the whole one gives when the columns that the removed heads and
/// channels feed are zero.
class cut_models : public testing::Test {
protected:
  temporary_folder folder;
  const std::vector<std::int32_t> tokens{1, 5, 7, 9, 3, 2, 8, 8, 30, 11, 4, 39};

  eq::gguf_file write(const toy_options& o, const char* name = "toy.gguf") {
    write_toy(folder / name, o);
    return eq::read_gguf(folder / name);
  }
  /// The toy with zeros in the columns of writing matrices that `kept` does not keep.
  static toy_options silenced(toy_options o, const std::vector<eq::kept_layer>& kept) {
    const std::size_t d = o.hidden / o.heads;
    o.change_tensor = [kept, d](eq::tensor_info& t, std::vector<float>& values) {
      if (!t.name.starts_with("blk.") || !t.name.ends_with(".weight")) return true;
      const auto& layer = kept[std::stoul(t.name.substr(4))];
      const bool is_output = t.name.find("attn_output") != t.name.npos;
      const bool is_down = t.name.find("ffn_down") != t.name.npos;
      if (!is_output && !is_down) return true;
      const auto& list = is_output ? layer.heads : layer.channels;
      for (std::size_t i = 0; i < values.size(); ++i) {
        const std::size_t column = i % t.dims[0], part = is_output ? column / d : column;
        if (std::find(list.begin(), list.end(), part) == list.end()) values[i] = 0;
      }
      return true;
    };
    return o;
  }
  std::vector<std::vector<float>> logits(eq::gguf_file file) {
    const eq::model_weights weights(std::move(file));
    eq::transformer model(weights, 1);
    auto pool = model.make_pool(eq::kv_format::f32, tokens.size());
    eq::kv_sequence sequence(pool);
    std::vector<std::vector<float>> all;
    model.run(tokens, sequence, [&](std::size_t, std::span<const float> row) {
      all.emplace_back(row.begin(), row.end());
    });
    return all;
  }
  /// Sums without zero terms round otherwise: some thousand roundings of numbers around 1.
  void expect_same(const toy_options& o, const std::vector<eq::kept_layer>& kept,
                   const char* architecture) {
    SCOPED_TRACE(o.architecture);
    const auto file = eq::cut_model(write(o), kept, folder / "out.gguf");
    EXPECT_EQ(file.metadata.get_string("general.architecture"), architecture);
    const auto cut = logits(file), whole = logits(write(silenced(o, kept), "silent.gguf"));
    for (std::size_t t = 0; t < cut.size(); ++t)
      for (std::size_t i = 0; i < cut[t].size(); ++i)
        ASSERT_NEAR(cut[t][i], whole[t][i], 2e-4f * (1 + std::fabs(whole[t][i]))) << t << ' ' << i;
  }
};

TEST_F(cut_models, heads_and_channels_go_in_every_architecture) {
  for (const auto& row : eq::architecture_table) {
    if (eq::find_architecture(row.name) != &row || row.experts) continue;
    const bool whole_heads = !eq::heads_can_be_cut(row);
    toy_options o = toy_of(row);
    o.biases = row.qkv_bias || row.fused;
    const eq::kept_layer queries{{0, 1}, {1, 2}, {0, 3, 4, 17, 43}};
    const eq::kept_layer group{{1}, {2, 3}, {5, 6, 7}};
    const eq::kept_layer channels{{0, 1}, {0, 1, 2, 3}, {2, 20}};
    for (const auto& layer : whole_heads ? std::vector{channels} : std::vector{queries, group})
      expect_same(o, std::vector<eq::kept_layer>(o.layers, layer), o.architecture.c_str());
  }
}

TEST_F(cut_models, layers_go_where_nothing_depends_on_their_number) {
  toy_options o;
  o.layers = 4;
  o.divisors = o.own_output = true;
  const auto whole = eq::whole_layer({4, 2, 44});
  for (const char* name : {"llama", "qwen2", "qwen3", "olmo2"}) {
    o.architecture = name;
    o.divisors = eq::find_architecture(name)->rope_factors;
    o.biases = eq::find_architecture(name)->qkv_bias;
    expect_same(o, {whole, {}, {}, whole}, name);
  }
}

TEST_F(cut_models, layers_of_different_sizes_make_a_deci) {
  toy_options o;
  o.layers = 4;
  o.type = eq::format::f16;
  const auto whole = eq::whole_layer({4, 2, 44});
  const std::vector<eq::kept_layer> kept{
      {{0, 1}, {0, 3}, whole.channels}, {{}, {}, {1, 2}}, {}, {{0}, {0, 1}, {40}}};
  expect_same(o, kept, "deci");
  const auto file = eq::cut_model(write(o), kept, folder / "out.gguf");
  EXPECT_EQ(file.metadata.get_uint("deci.block_count"), 3u);
  EXPECT_EQ(file.metadata.get_ints("deci.attention.head_count"),
            (std::vector<std::int32_t>{2, 0, 2}));
  EXPECT_EQ(file.metadata.get_ints("deci.attention.head_count_kv"),
            (std::vector<std::int32_t>{2, 0, 1}));
  EXPECT_EQ(file.metadata.get_ints("deci.feed_forward_length"),
            (std::vector<std::int32_t>{44, 2, 1}));
  EXPECT_FALSE(file.metadata.contains("llama.block_count"));
  for (const auto& t : file.tensors)
    if (t.dims.size() > 1) {
      EXPECT_EQ(t.type, eq::format::f16) << t.name;
    }
  // And a deci is cut again.
  const std::vector<eq::kept_layer> again{{{0, 1}, {0, 1}, {0, 1, 2}}, {{}, {}, {1}}, {}};
  const auto twice = eq::cut_model(file, again, folder / "out.gguf");
  EXPECT_EQ(twice.metadata.get_ints("deci.feed_forward_length"), (std::vector<std::int32_t>{3, 1}));
}

TEST_F(cut_models, columns_of_blocks_become_floats) {
  toy_options o;
  o.hidden = 64, o.feed_forward = 96, o.type = eq::format::q8_0;
  const auto whole = eq::whole_layer({4, 2, 96});
  eq::kept_layer layer = whole;
  layer.channels = {0, 7, 90};
  const auto before = write(o);
  const auto file = eq::cut_model(before, std::vector(2, layer), folder / "out.gguf");
  for (const auto& t : file.tensors) {
    if (t.dims.size() < 2) continue;
    const bool is_cut = t.name.find("ffn_down") != t.name.npos;
    EXPECT_EQ(t.type, is_cut ? eq::format::f32 : eq::format::q8_0) << t.name;
  }
}

TEST_F(cut_models, formats_that_are_not_cut_stay) {
  toy_options o;
  o.hidden = 256, o.feed_forward = 256, o.type = eq::format::q4_k;
  o.heads = 4, o.kv_heads = 2;
  const auto before = write(o);
  const auto whole = eq::whole_layer({4, 2, 256});
  const auto file =
      eq::cut_model(before, std::vector{whole, eq::kept_layer{}}, folder / "out.gguf");
  for (const auto& t : file.tensors)
    if (t.dims.size() > 1) {
      EXPECT_EQ(t.type, eq::format::q4_k) << t.name;
    }
}

TEST_F(cut_models, what_cannot_be_is_refused) {
  toy_options o;
  o.layers = 3;
  const auto whole = eq::whole_layer({4, 2, 44});
  const auto refusal = [&](std::vector<eq::kept_layer> kept) {
    const auto file = write(o);
    const auto text = message_of([&] { (void)eq::cut_model(file, kept, folder / "out.gguf"); });
    return text.substr(std::min(text.size(), text.find("toy.gguf") + 10));
  };
  EXPECT_EQ(refusal({whole, whole}), "2 layers to keep of 3");
  EXPECT_EQ(refusal({{}, {}, {}}), "no layer would be left");
  EXPECT_EQ(refusal({whole, {{0, 1}, {0, 1, 2}, {1}}, whole}),
            "layer '1': heads of keys would serve different numbers of queries");
  EXPECT_EQ(refusal({whole, {{0}, {0, 2}, {1}}, whole}),
            "layer '1': head 2 stays, its keys do not");
  EXPECT_EQ(refusal({whole, {{0, 1}, {0, 1, 2, 3}, {}}, whole}),
            "layer '1': attention without a feed-forward network is skipped by llama.cpp");
  EXPECT_EQ(refusal({{{}, {}, {1}}, whole, whole}), "layer '0': the first layer needs attention");
  EXPECT_EQ(refusal({whole, {{0, 1}, {0, 1, 2, 3}, {44}}, whole}),
            "layer '1': expected channels below 44, ascending");
  EXPECT_EQ(refusal({whole, {{0, 1}, {0, 1, 2, 3}, {3, 3}}, whole}),
            "layer '1': expected channels below 44, ascending");
  o.architecture = "qwen3";
  EXPECT_EQ(refusal({whole, {{0, 1}, {0, 2}, {1}}, whole}),
            "layers of qwen3 have one size; those of llama may differ");
  o.architecture = "qwen2", o.biases = true;
  EXPECT_EQ(refusal(std::vector<eq::kept_layer>(3, {{0}, {0, 1}, {1}})),
            "layer '0': llama.cpp loads no other number of heads");
  o.architecture = "olmo2", o.biases = false;
  EXPECT_EQ(refusal(std::vector<eq::kept_layer>(3, {{0}, {0, 1}, {1}})),
            "layer '0': heads that share one norm cannot be cut");
  o = toy_of(*eq::find_architecture("gemma3"));
  std::vector<eq::kept_layer> kept(o.layers, whole);
  kept[2] = {};
  EXPECT_EQ(refusal(kept), "layer '5': as layer 4 it would have another window or RoPE");
  o = toy_of(*eq::find_architecture("qwen3moe"));
  kept.assign(o.layers, {{0, 1}, {0, 1, 2, 3}, {1, 2}});
  EXPECT_EQ(refusal(kept), "layer '0': of a layer of experts all or nothing can stay");
}

TEST_F(cut_models, layers_of_experts_go_whole) {
  toy_options o = toy_of(*eq::find_architecture("qwen3moe"));
  o.layers = 3;
  std::vector<eq::kept_layer> kept(3, eq::whole_layer({4, 2, 44}));
  kept[1] = {};
  expect_same(o, kept, "qwen3moe");
  const auto shape = eq::read_model_shape(write(o).metadata);
  // 4 + 2 heads of 8 twice; three matrices of 44 for each of 5 experts, and a router.
  EXPECT_EQ(eq::kept_weights(shape, shape.layers[0], kept[0]),
            32u * (2 * 8 * 6 + 5 * (3 * 44 + 1)));
}

} // namespace
