// SPDX-License-Identifier: MIT
#include "io/split_parts.hpp"
#include "model/plain_network.hpp"
#include "model/toy_model.hpp"

#include <edgequant/compress/compress.hpp>
#include <edgequant/metric/logits.hpp>
#include <edgequant/model/calibration.hpp>
#include <edgequant/model/evaluate.hpp>
#include <edgequant/model/open_model.hpp>
#include <edgequant/model/sublayer_matrices.hpp>
#include <edgequant/model/transformer.hpp>
#include <edgequant/model/widen.hpp>

#include <map>

namespace {
using namespace model_test;

/// A model with a cache, ready to run.
struct network {
  eq::model_weights weights;
  eq::transformer model;
  eq::kv_pool pool;
  eq::kv_sequence sequence;

  explicit network(const fs::path& path, eq::kv_format type = eq::kv_format::f32,
                   std::size_t block_tokens = 16, unsigned threads = 1)
      : weights(eq::read_model_gguf(path)), model(weights, threads),
        pool(model.make_pool(type, 1).shape(), type, 1000, block_tokens), sequence(pool) {}
};

const std::vector<std::int32_t> some_tokens{1,  5, 39, 0, 7,  7,  12, 30, 2,
                                            21, 8, 8,  3, 17, 33, 4,  9,  11};

const std::vector<std::string> every_other_bias{"attn_output", "ffn_gate", "ffn_up", "ffn_down"};

class transformer : public testing::Test {
protected:
  temporary_folder folder;

  fs::path toy(const toy_options& o = {}) {
    write_toy(folder / "toy.gguf", o);
    return folder / "toy.gguf";
  }
  // Some hundred float operations deep: 2^-24 each, and activations of about 1 to 10, or what the
  // logits are.
  void expect_near(std::span<const float> logits, const std::vector<double>& expected) {
    ASSERT_EQ(logits.size(), expected.size());
    double largest = 10;
    for (const double x : expected) largest = std::max(largest, std::fabs(x));
    for (std::size_t i = 0; i < logits.size(); ++i)
      EXPECT_NEAR(logits[i], expected[i], 1e-5 * largest) << i;
  }
  void expect_formulas(const toy_options& o) {
    SCOPED_TRACE(o.architecture);
    const auto path = toy(o);
    network n(path);
    expect_near(n.model.run(some_tokens, n.sequence), plain_network(path)(some_tokens));
  }
  std::string refusal(const toy_options& o) {
    const auto path = toy(o);
    const auto message = message_of([&] { eq::model_weights w(eq::read_gguf(path)); });
    EXPECT_TRUE(is_one_line(message)) << message;
    return message.substr(std::min(message.size(), path.string().size() + 2));
  }
};

const fs::path stories = fs::path(EDGEQUANT_SOURCE_DIR) / "examples/data/stories-2m-f16.gguf";

TEST_F(transformer, agrees_with_the_formulas_in_double) {
  std::vector<toy_options> all(10);
  all[1].own_output = true, all[1].divisors = true;
  all[2].linear_factor = 4, all[2].kv_heads = 1;
  all[3].architecture = "qwen2", all[3].biases = true;
  all[4].biases = true, all[4].kv_heads = 4; // llama with biases, a head of keys for each query
  all[5].other_biases = {"attn_output"};
  all[6].other_biases = {"ffn_gate"};
  all[7].other_biases = {"ffn_up"}, all[7].architecture = "qwen2", all[7].biases = true;
  all[8].other_biases = {"ffn_down"};
  all[9].other_biases = every_other_bias, all[9].biases = true;
  for (const auto& o : all) expect_formulas(o);
}

TEST_F(transformer, agrees_with_the_formulas_for_every_architecture) {
  for (const auto& row : eq::architecture_table) expect_formulas(toy_of(row));
}

TEST_F(transformer, agrees_with_the_formulas_where_layers_differ) {
  const auto with = [&](toy_options o, std::function<void(eq::gguf_metadata&)> change) {
    o.change_keys = std::move(change);
    return o;
  };
  toy_options llama, gemma3, olmo2, gpt_oss, exaone4, granite, phi3;
  gemma3.architecture = "gemma3", gemma3.window = 5, gemma3.layers = 3;
  expect_formulas(with(gemma3, [](eq::gguf_metadata& keys) {
    keys.set_array("gemma3.attention.sliding_window_pattern", std::vector<std::uint32_t>{0, 1, 0});
    keys.set("gemma3.rope.freq_base_swa", 70.0f);
    keys.set("gemma3.rope.scaling.type", "linear");
    keys.set("gemma3.rope.scaling.factor", 8.0f);
    keys.set("gemma3.final_logit_softcapping", 3.0f);
    keys.set("gemma3.attn_logit_softcapping", 2.0f);
  }));
  const auto yarn = [](eq::gguf_metadata& keys, const std::string& at) {
    keys.set(at + ".rope.scaling.type", "yarn");
    keys.set(at + ".rope.scaling.factor", 4.0f);
    keys.set(at + ".rope.scaling.original_context_length", 16u);
    keys.set(at + ".rope.scaling.yarn_beta_fast", 2.0f);
  };
  olmo2.architecture = "olmo2", olmo2.window = 5, olmo2.layers = 5;
  expect_formulas(with(olmo2, [&](eq::gguf_metadata& keys) { yarn(keys, "olmo2"); }));
  expect_formulas(with(llama, [&](eq::gguf_metadata& keys) {
    yarn(keys, "llama");
    keys.set("llama.rope.scaling.attn_factor", 1.5f);
    keys.set("llama.rope.scaling.yarn_log_multiplier", 0.5f);
    keys.set("llama.attention.scale", 0.11f);
  }));
  granite.architecture = "granite";
  expect_formulas(with(granite, [](eq::gguf_metadata& keys) {
    keys.set("granite.rope.scaling.finetuned", false); // no RoPE
  }));
  exaone4.architecture = "exaone4", exaone4.layers = 5; // no window: RoPE everywhere
  expect_formulas(exaone4);
}

TEST_F(transformer, heads_may_be_turned_in_part) {
  for (const char* architecture : {"phi3", "llama"}) {
    toy_options o;
    o.architecture = architecture;
    o.change_keys = [=](eq::gguf_metadata& keys) {
      keys.set(std::string(architecture) + ".rope.dimension_count", 6u); // of 8
    };
    expect_formulas(o);
  }
}

TEST_F(transformer, a_long_cache_takes_the_long_factors) {
  toy_options o;
  o.architecture = "phi3";
  o.change_keys = [](eq::gguf_metadata& keys) {
    keys.set("phi3.rope.scaling.original_context_length", 32u);
    keys.set("phi3.rope.scaling.attn_factor", 1.2f);
  };
  o.more = {{"rope_factors_short.weight", {4}}, {"rope_factors_long.weight", {4}}};
  const auto path = toy(o);
  for (const std::size_t tokens : {32u, 48u}) {
    const eq::model_weights weights(eq::read_gguf(path));
    eq::transformer model(weights, 1);
    eq::kv_pool pool = model.make_pool(eq::kv_format::f32, tokens);
    eq::kv_sequence sequence(pool);
    expect_near(model.run(some_tokens, sequence), plain_network(path)(some_tokens, tokens));
  }
  o.more = {{"rope_factors_long.weight", {4}}};
  EXPECT_EQ(refusal(o), "tensor 'rope_factors_short.weight': the tensor is missing");
}

TEST_F(transformer, layers_may_have_sizes_of_their_own) {
  toy_options o;
  o.architecture = "deci", o.layers = 3;
  o.change_keys = [](eq::gguf_metadata& keys) {
    using list = std::vector<std::uint32_t>;
    keys.set_array("deci.attention.head_count", list{4, 0, 4});
    keys.set_array("deci.attention.head_count_kv", list{2, 0, 1});
    keys.set_array("deci.feed_forward_length", list{44, 44, 0});
  };
  o.change_tensor = [](eq::tensor_info& t, std::vector<float>& values) {
    if (t.name.starts_with("blk.1.attn_") || t.name.starts_with("blk.2.ffn_")) return false;
    if (t.name == "blk.2.attn_k.weight" || t.name == "blk.2.attn_v.weight")
      t.dims[1] = 8, values.resize(32 * 8);
    return true;
  };
  expect_formulas(o);
}

// Zeros behind every vector of the network: the engine makes of the wide file what it makes of the
// narrow one, within the tolerance of the test above.
TEST_F(transformer, a_widened_model_has_the_same_logits) {
  std::vector<toy_options> all(4);
  all[1].own_output = true, all[1].divisors = true;
  all[2].architecture = "qwen2", all[2].biases = true;
  all[3].other_biases = every_other_bias, all[3].biases = true, all[3].linear_factor = 4;
  for (auto& o : all) {
    o.change_keys = [&](eq::gguf_metadata& keys) { // large enough to matter
      keys.set(o.architecture + ".attention.layer_norm_rms_epsilon", 0.25f);
    };
    const auto path = toy(o);
    network narrow(path);
    const auto run = narrow.model.run(some_tokens, narrow.sequence);
    const std::vector<float> expected(run.begin(), run.end());
    for (const std::uint64_t hidden : {33u, 64u}) {
      const auto wide = eq::widen_model(eq::open_model(path), hidden, folder / "wide.gguf");
      EXPECT_FALSE(fs::exists(folder / "wide.gguf"));
      (void)eq::compress(wide, folder / "wide.gguf", {.type = eq::format::f32});
      network n(folder / "wide.gguf");
      EXPECT_EQ(n.weights.shape().hidden, hidden);
      const auto logits = n.model.run(some_tokens, n.sequence);
      ASSERT_EQ(logits.size(), expected.size());
      for (std::size_t i = 0; i < logits.size(); ++i)
        EXPECT_NEAR(logits[i], expected[i], 1e-4) << i;
      fs::remove(folder / "wide.gguf");
    }
  }
}

TEST_F(transformer, widening_keeps_float_types_and_refuses_what_is_not_wider) {
  toy_options o;
  o.type = eq::format::f16;
  const auto source = eq::open_model(toy(o));
  const auto wide = eq::widen_model(source, 48, folder / "wide.gguf");
  ASSERT_EQ(wide.tensors.size(), source.tensors.size());
  for (std::size_t i = 0; i < wide.tensors.size(); ++i)
    EXPECT_EQ(wide.tensors[i].stored.type, source.tensors[i].stored.type);
  EXPECT_EQ(wide.metadata.get_uint("llama.embedding_length"), 48u);
  EXPECT_EQ(wide.metadata.get_uint("llama.attention.key_length"), 8u);
  EXPECT_NE(wide.notes.back().find("widened to 48"), std::string::npos);
  for (const std::uint64_t hidden : {0u, 31u, 32u})
    EXPECT_NE(message_of([&] {
                (void)eq::widen_model(source, hidden, folder / "w.gguf");
              }).find("a hidden size of 32 cannot be widened to " + std::to_string(hidden)),
              std::string::npos);
  auto other = source;
  other.metadata.set("general.architecture", "mamba");
  EXPECT_NE(message_of([&] {
              (void)eq::widen_model(other, 64, folder / "w.gguf");
            }).find("'mamba' cannot be run"),
            std::string::npos);
}

/// What a walk over the layers sees is what a run sees, biases and all.
TEST_F(transformer, sublayer_by_sublayer_is_the_same_network) {
  toy_options o;
  o.biases = true, o.other_biases = every_other_bias;
  network n(toy(o));
  std::map<std::string, std::vector<float>> seen;
  n.model.observe(
      [&](std::string_view name, const float* x, std::size_t count, std::size_t length) {
        seen[std::string(name)].assign(x, x + count * length);
      });
  (void)n.model.run(some_tokens, n.sequence);
  n.model.observe({});
  auto x = n.model.embedded(some_tokens);
  for (std::size_t layer = 0; layer < 2; ++layer)
    for (const auto part : {eq::sublayer::attention, eq::sublayer::feed_forward}) {
      const eq::sublayer_matrices matrices(n.weights, layer, part);
      for (const auto end : {eq::sublayer_end::in, eq::sublayer_end::out}) {
        const auto inputs = n.model.sublayer_inputs(layer, part, end, x, n.sequence);
        for (const auto* w : matrices.at(end))
          EXPECT_TRUE(std::ranges::equal(inputs, seen.at(w->name))) << w->name;
      }
      n.model.run_sublayer(layer, part, x, n.sequence);
    }
}

/// All that a file holds is in the network, or the file is refused.
TEST_F(transformer, tensors_without_a_place_are_named) {
  const std::string said = "the engine's llama has no such tensor";
  for (const char* name : {"attn_norm", "ffn_norm", "attn_q_norm"}) {
    toy_options o;
    o.other_biases = {name};
    EXPECT_EQ(refusal(o), "tensor 'blk.0." + std::string(name) + ".bias': " + said + " (one of 2)");
  }
  const auto renamed = [&](const char* from, const char* to) {
    toy_options o;
    o.own_output = o.divisors = true;
    o.change_tensor = [=](eq::tensor_info& t, std::vector<float>&) {
      if (t.name == from) t.name = to;
      return true;
    };
    return refusal(o);
  };
  EXPECT_EQ(renamed("output.weight", "output.bias"), "tensor 'output.bias': " + said);
  EXPECT_EQ(renamed("output.weight", "lm_head.weight"), "tensor 'lm_head.weight': " + said);
  EXPECT_EQ(renamed("rope_freqs.weight", "rope_factors_long.weight"),
            "tensor 'rope_factors_short.weight': the tensor is missing");
  EXPECT_EQ(renamed("rope_freqs.weight", "blk.0.rope_freqs.weight"),
            "tensor 'blk.0.rope_freqs.weight': " + said);
  toy_options fewer; // layers that the keys do not count
  fewer.change_keys = [](eq::gguf_metadata& keys) { keys.set("llama.block_count", 1u); };
  EXPECT_EQ(refusal(fewer), "tensor 'blk.1.attn_norm.weight': " + said + " (one of 9)");
}

TEST_F(transformer, divisors_of_one_layer_must_be_those_of_all) {
  std::vector<float> divisors;
  for (const float factor : {1.0f, 2.0f}) {
    toy_options o;
    o.divisors = true, o.other_biases = {"rope_freqs"};
    for (const bool known : {false, true}) // the divisors come last: the first time only asks
      o.change_tensor =
          [&, known](eq::tensor_info& t, std::vector<float>& values) {
            if (t.name == "rope_freqs.weight") divisors = values;
            if (!t.name.ends_with("rope_freqs.bias")) return true;
            t.name = t.name.substr(0, t.name.size() - 4) + "weight", t.dims = {4};
            values = known ? divisors : std::vector<float>(4, 1.0f);
            for (float& x : values) x *= factor;
            return true;
          },
      (void)toy(o);
    if (factor == 1)
      EXPECT_NO_THROW(network n(toy(o)));
    else
      EXPECT_EQ(refusal(o), "tensor 'blk.0.rope_freqs.weight': the engine's llama has no such "
                            "tensor (one of 2)");
  }
}

/// Each kind of tensor in a part of its own, and what is packed.
TEST_F(transformer, a_split_model_is_the_model) {
  toy_options o;
  o.own_output = o.divisors = o.biases = true;
  o.hidden = 64, o.feed_forward = 96, o.type = eq::format::q8_0;
  const auto path = toy(o);
  network one(path);
  const auto expected = one.model.run(some_tokens, one.sequence);
  for (const char* alone : {"output.weight", "rope_freqs.weight", ".bias", ".weight"}) {
    const auto first = write_parts(folder.path, eq::read_gguf(path), 2, [&](const std::string& n) {
      return std::size_t{n.ends_with(alone)};
    });
    network joined(first);
    joined.weights.pack(1);
    const auto logits = joined.model.run(some_tokens, joined.sequence);
    EXPECT_TRUE(std::ranges::equal(logits, expected)) << alone;
    EXPECT_EQ(message_of([&] { eq::model_weights w(eq::read_gguf(first)); }),
              first.string() + ": part 1 of 2 of a split model, without the others");
  }
}

TEST_F(transformer, one_token_at_a_time_is_the_same_text) {
  const auto path = toy();
  network whole(path), steps(path), parts(path);
  const auto expected = whole.model.run(some_tokens, whole.sequence);
  std::span<const float> logits;
  for (const auto token : some_tokens) logits = steps.model.run({&token, 1}, steps.sequence);
  (void)parts.model.run(std::span(some_tokens).first(7), parts.sequence);
  const auto rest = parts.model.run(std::span(some_tokens).subspan(7), parts.sequence);
  for (std::size_t i = 0; i < logits.size(); ++i) {
    EXPECT_NEAR(logits[i], expected[i], 1e-4);
    EXPECT_NEAR(rest[i], expected[i], 1e-4);
  }
}

TEST_F(transformer, tokens_that_are_fed_leave_the_same_cache) {
  const auto path = toy();
  network fed(path), run(path);
  const auto first = std::span(some_tokens).first(7), rest = std::span(some_tokens).subspan(7);
  (void)run.model.run(first, run.sequence);
  const auto expected = run.model.run(rest, run.sequence);
  std::set<std::string> seen;
  fed.model.observe([&](std::string_view name, auto&&...) { seen.emplace(name); });
  fed.model.feed(first, fed.sequence);
  const auto before = seen.size();
  EXPECT_EQ(fed.sequence.size(), 7u);
  const auto logits = fed.model.run(rest, fed.sequence);
  EXPECT_TRUE(std::ranges::equal(logits, expected)); // bit for bit
  EXPECT_EQ(seen.size(), before + 1);                // the output matrix, that only now is read
  EXPECT_THROW(fed.model.feed({}, fed.sequence), eq::exception);
}

/// More tokens than go through the network together, and than one task of attention takes.
TEST_F(transformer, a_long_prompt_is_the_same_text) {
  toy_options o;
  o.context = 600;
  const auto path = toy(o);
  std::vector<std::int32_t> tokens{1};
  for (int i = 1; i < 333; ++i) tokens.push_back(i * i % 40);
  const auto expected = plain_network(path)(tokens);
  network whole(path), steps(path);
  const auto logits = whole.model.run(tokens, whole.sequence);
  std::span<const float> last;
  for (const auto token : tokens) last = steps.model.run({&token, 1}, steps.sequence);
  for (std::size_t i = 0; i < expected.size(); ++i) {
    EXPECT_NEAR(logits[i], expected[i], 1e-4);
    EXPECT_NEAR(last[i], expected[i], 1e-4);
  }
}

TEST_F(transformer, pages_threads_and_packing_change_no_bit) {
  toy_options o;
  o.hidden = 64, o.feed_forward = 96, o.words = 41, o.own_output = true, o.type = eq::format::q4_0;
  const auto expect_same = [](const fs::path& path) {
    network contiguous(path, eq::kv_format::f32, 1000), paged(path, eq::kv_format::f32, 3, 3);
    paged.weights.pack(2);
    const auto a = contiguous.model.run(some_tokens, contiguous.sequence);
    const auto b = paged.model.run(some_tokens, paged.sequence);
    EXPECT_TRUE(std::equal(a.begin(), a.end(), b.begin()));
  };
  expect_same(toy());
  expect_same(stories);
  expect_same(toy(o));
  o.type = eq::format::q5_0;
  expect_same(toy(o));
}

TEST_F(transformer, packing_takes_the_bytes_of_the_file_in_whole_panels) {
  toy_options o;
  o.hidden = 64, o.feed_forward = 96, o.kv_heads = 4, o.words = 41, o.type = eq::format::q4_0;
  const eq::model_weights weights{eq::read_gguf(toy(o))};
  const std::size_t square = 64 * 64, inner = 64 * 96, output = 48 * 64; // 41 rows in 3 panels
  EXPECT_EQ(weights.packed_bytes(), (2 * (4 * square + 3 * inner) + output) / 32 * 18);
  o.type = eq::format::q5_0;
  const eq::model_weights five_bits{eq::read_gguf(toy(o))};
  EXPECT_EQ(five_bits.packed_bytes(), (2 * (4 * square + 3 * inner) + output) / 32 * 22);
  const eq::model_weights plain{eq::read_gguf(stories)};
  EXPECT_EQ(plain.packed_bytes(), 0u);
}

TEST_F(transformer, the_sink_sees_every_token) {
  const auto path = toy();
  network all(path), last(path);
  std::size_t seen = 0;
  all.model.run(some_tokens, all.sequence, [&](std::size_t i, std::span<const float> logits) {
    EXPECT_EQ(i, seen++);
    last.sequence.truncate(0);
    const auto expected = last.model.run(std::span(some_tokens).first(i + 1), last.sequence);
    for (std::size_t k = 0; k < logits.size(); ++k) EXPECT_NEAR(logits[k], expected[k], 1e-4);
  });
  EXPECT_EQ(seen, some_tokens.size());
}

/// Log probabilities that stock llama.cpp gives each next token of the story's beginning.
TEST_F(transformer, agrees_with_llama_cpp) {
  const std::vector<std::int32_t> tokens{1,   642, 964, 642, 393, 265,  883, 545, 268,  328, 973,
                                         307, 989, 324, 973, 951, 1005, 385, 963, 973,  619, 545,
                                         407, 367, 550, 510, 268, 902,  412, 951, 1005, 385, 963,
                                         535, 268, 430, 723, 959, 266,  973, 307};
  const std::vector<double> expected{
      -9.910826, -7.924778, -3.858656, -2.592743, -1.606503, -3.340253, -5.434236, -0.556720,
      -2.151352, -0.110005, -0.007332, -2.311783, -1.092245, -0.560293, -5.482804, -2.778998,
      -0.205317, -0.003780, -3.399883, -4.962037, -0.124957, -1.448253, -6.239146, -4.934977,
      -0.087126, -1.624081, -6.600472, -2.492826, -3.646130, -0.013527, -0.006460, -0.001192,
      -1.862062, -0.060322, -4.171167, -3.027672, -0.001039, -0.000372, -0.102096, -0.024573};
  const std::vector<std::size_t> top{434, 268, 315, 286, 261, 365, 837, 268,  427, 973, 307,
                                     979, 956, 973, 642, 689, 385, 963, 984,  642, 545, 407,
                                     545, 862, 510, 963, 334, 964, 315, 1005, 385, 963, 286,
                                     268, 328, 417, 959, 266, 973, 307, 980};
  network n(stories);
  n.model.run(tokens, n.sequence, [&](std::size_t i, std::span<const float> logits) {
    EXPECT_EQ(eq::top_token(logits), top[i]) << i;
    // It rounds activations to f16 before products with f16 weights; 0.03 is what that may do.
    if (i < expected.size()) {
      EXPECT_NEAR(eq::log_probability(logits, static_cast<std::size_t>(tokens[i + 1])), expected[i],
                  0.03)
          << i;
    }
  });
}

/// Nats a token that a cache of this format costs on some tokens.
double divergence_of_cache(eq::kv_format type) {
  network reference(stories), coded(stories, type);
  std::vector<std::int32_t> tokens{1};
  for (int i = 0; i < 100; ++i) tokens.push_back(3 + i * 37 % 1000);
  std::vector<std::vector<float>> expected;
  reference.model.run(tokens, reference.sequence, [&](std::size_t, std::span<const float> l) {
    expected.emplace_back(l.begin(), l.end());
  });
  double sum = 0;
  coded.model.run(tokens, coded.sequence, [&](std::size_t i, std::span<const float> l) {
    sum += eq::kl_divergence(expected[i], l);
  });
  return sum / static_cast<double>(tokens.size());
}

TEST_F(transformer, caches_of_int8_and_int4_hardly_differ) {
  const double int8 = divergence_of_cache(eq::kv_format::int8);
  EXPECT_LT(int8, 0.01);
  EXPECT_GT(int8, 0);
  EXPECT_LT(divergence_of_cache(eq::kv_format::int4), 0.05);
}

TEST_F(transformer, runs_that_make_no_sense_are_refused_and_leave_nothing) {
  const auto path = toy();
  network n(path);
  (void)n.model.run(some_tokens, n.sequence);
  const auto refused = [&](std::vector<std::int32_t> tokens) {
    const auto message = message_of([&] { (void)n.model.run(tokens, n.sequence); });
    EXPECT_EQ(n.sequence.size(), some_tokens.size());
    return message.substr(path.string().size());
  };
  EXPECT_EQ(refused({}), ": no tokens to run");
  EXPECT_EQ(refused({3, 40}), ": token 40 is outside the vocabulary of 40");
  EXPECT_EQ(refused({-1}), ": token -1 is outside the vocabulary of 40");
  EXPECT_EQ(refused(std::vector<std::int32_t>(47, 1)), ": 65 tokens, the context holds 64");
}

TEST_F(transformer, a_full_pool_can_be_handled) {
  network n(toy());
  eq::kv_pool small({{2, 2}, 8}, eq::kv_format::f32, 1, 8);
  eq::kv_sequence sequence(small);
  EXPECT_THROW((void)n.model.run(some_tokens, sequence), eq::exception);
  EXPECT_EQ(sequence.size(), 0u);
  EXPECT_NO_THROW((void)n.model.run(std::span(some_tokens).first(8), sequence));
}

TEST_F(transformer, weights_that_are_not_finite_are_named) {
  for (const char* name : {"blk.1.ffn_up.weight", "output_norm.weight"}) {
    toy_options o;
    o.change_tensor = [&](eq::tensor_info& t, std::vector<float>& values) {
      if (t.name == name) values[5] = NAN;
      return true;
    };
    network n(toy(o));
    const auto message = message_of([&] { (void)n.model.run(some_tokens, n.sequence); });
    EXPECT_NE(message.find(std::string("tensor '") + name + "': value at index 5 is NaN"),
              message.npos)
        << message;
    EXPECT_EQ(n.sequence.size(), 0u);
  }
}

TEST_F(transformer, what_is_not_finite_is_seen_through_every_cache) {
  toy_options o;
  o.own_output = true;
  o.change_tensor = [](eq::tensor_info& t, std::vector<float>& values) {
    if (t.name == "token_embd.weight") values[3 * 32 + 1] = NAN;
    return true;
  };
  const auto path = toy(o);
  for (const auto type : {eq::kv_format::f32, eq::kv_format::f16, eq::kv_format::int8}) {
    network n(path, type);
    const std::int32_t tokens[] = {1, 3, 5}; // the logits are those behind token 5
    EXPECT_THROW((void)n.model.run(tokens, n.sequence), eq::exception);
  }
}

TEST_F(transformer, squares_that_overflow_are_no_zeros) {
  toy_options o;
  o.own_output = true;
  o.change_tensor = [](eq::tensor_info& t, std::vector<float>& values) {
    for (float& x : values) x *= t.name == "token_embd.weight" ? 1e20f : 1.0f;
    return true;
  };
  network n(toy(o));
  const auto message = message_of([&] { (void)n.model.run(some_tokens, n.sequence); });
  EXPECT_NE(message.find("the logits are not finite: activations overflow"), message.npos);
}

TEST_F(transformer, tensors_that_are_not_there_or_of_another_shape_are_named) {
  const auto without = [&](const char* name) {
    toy_options o;
    o.change_tensor = [=](eq::tensor_info& t, std::vector<float>&) { return t.name != name; };
    return refusal(o);
  };
  EXPECT_EQ(without("blk.1.attn_k.weight"), "tensor 'blk.1.attn_k.weight': the tensor is missing");
  EXPECT_EQ(without("token_embd.weight"), "tensor 'token_embd.weight': the tensor is missing");
  EXPECT_EQ(without("output_norm.weight"), "tensor 'output_norm.weight': the tensor is missing");
  toy_options o;
  o.change_tensor = [](eq::tensor_info& t, std::vector<float>& values) {
    if (t.name == "blk.0.ffn_down.weight") t.dims = {32, 44};
    return !values.empty();
  };
  EXPECT_EQ(refusal(o),
            "tensor 'blk.0.ffn_down.weight': 32 x 44 values where the metadata asks for 44 x 32");
  toy_options qwen;
  qwen.architecture = "qwen2";
  EXPECT_EQ(refusal(qwen), "tensor 'blk.0.attn_q.bias': the tensor is missing");
}

TEST_F(transformer, keys_that_contradict_are_named) {
  const auto with = [&](const char* key, auto value) {
    toy_options o;
    o.change_keys = [=](eq::gguf_metadata& keys) { keys.set(key, value); };
    return refusal(o);
  };
  EXPECT_EQ(
      with("general.architecture", "mamba"),
      "key 'general.architecture': 'mamba' cannot be run; llama, qwen2, qwen3, smollm3, minicpm, "
      "granite, deci, phi3, gemma, gemma2, gemma3, olmo2, exaone4, qwen3moe, gpt-oss can");
  EXPECT_EQ(with("llama.attention.head_count", 0u),
            "key 'llama.attention.head_count': expected 1 to 2^31 - 1");
  EXPECT_EQ(with("llama.attention.head_count_kv", 3u),
            "key 'llama.attention.head_count_kv': attention.head_count is no multiple of it");
  EXPECT_EQ(with("llama.attention.head_count", 5u),
            "key 'llama.attention.head_count_kv': attention.head_count is no multiple of it");
  EXPECT_EQ(with("llama.rope.dimension_count", 10u),
            "key 'llama.rope.dimension_count': expected an even number up to the head size");
  EXPECT_EQ(with("llama.attention.layer_norm_rms_epsilon", -1.0f),
            "key 'llama.attention.layer_norm_rms_epsilon': expected a positive number");
  EXPECT_EQ(with("llama.rope.scaling.type", "ntk"),
            "key 'llama.rope.scaling.type': 'ntk' cannot be run; linear, yarn and longrope can");
  EXPECT_EQ(with("llama.block_count", 1000000u), "key 'llama.block_count': more than 65536 layers");
  EXPECT_EQ(with("llama.block_count", 60000u),
            "tensor 'blk.2.attn_norm.weight': the tensor is missing");
}

TEST_F(transformer, calibration_sums_what_the_weights_see) {
  const auto path = toy();
  network n(path);
  std::map<std::string, std::vector<float>> seen; // all inputs, kept
  n.model.observe(
      [&](std::string_view name, const float* x, std::size_t count, std::size_t length) {
        auto& all = seen[std::string(name)];
        all.insert(all.end(), x, x + count * length);
      });
  for (std::size_t i = 0; i < some_tokens.size(); i += 9) {
    std::vector<std::int32_t> chunk{1};
    for (std::size_t k = i; k < std::min(i + 9, some_tokens.size()); ++k)
      chunk.push_back(some_tokens[k]);
    n.sequence.truncate(0);
    (void)n.model.run(chunk, n.sequence);
  }
  const auto statistics = eq::calibrate(
      n.model, some_tokens, 1, 10,
      eq::calibration([](std::string_view name) { return name == "blk.1.ffn_down.weight"; }));
  ASSERT_EQ(statistics.all().size(), seen.size());
  for (const auto& [name, s] : statistics.all()) {
    const auto& x = seen.at(name);
    const auto columns = static_cast<std::size_t>(s.squares.size());
    ASSERT_EQ(s.count, x.size() / columns) << name;
    for (std::size_t c = 0; c < columns; ++c) {
      double squares = 0, gram = 0;
      float largest = 0;
      for (std::size_t i = c; i < x.size(); i += columns) {
        squares += double{x[i]} * double{x[i]};
        gram += double{x[i]} * double{x[i - c]};
        largest = std::max(largest, std::fabs(x[i]));
      }
      const auto at = static_cast<Eigen::Index>(c);
      EXPECT_NEAR(s.squares[at], squares, squares * 1e-12);
      EXPECT_EQ(s.largest[at], largest);
      if (s.gram.size() != 0) {
        EXPECT_NEAR(s.gram(at, 0), gram, 1e-9);
      }
      EXPECT_EQ(s.mean_squares()[c],
                static_cast<float>(s.squares[at] / static_cast<double>(s.count)));
    }
    EXPECT_EQ(s.gram.size() != 0, name == "blk.1.ffn_down.weight");
  }
}

TEST_F(transformer, scores_follow_their_definition) {
  toy_options o;
  const auto path = toy(o);
  o.change_tensor = [](eq::tensor_info& t, std::vector<float>& values) {
    if (t.name == "blk.0.ffn_up.weight") values[3] += 1;
    return true;
  };
  write_toy(folder / "other.gguf", o);
  network n(path), other(folder / "other.gguf");
  std::vector<std::int32_t> text;
  for (int i = 0; i < 77; ++i) text.push_back(i * 11 % 40);
  // Chunks of 9 tokens behind a BOS: 8 of them, and 5 tokens that are dropped. With 38 tokens: two,
  // each compared in more than one piece, and a token that is dropped.
  for (const std::size_t context : {10u, 39u}) {
    const std::size_t scored = context == 10 ? 72 : 76;
    const auto score = eq::score_text(n.model, text, {.context = context, .bos = 1}, &other.model);
    EXPECT_EQ(score.tokens, scored);
    double sum = 0, divergences = 0;
    for (std::size_t begin = 0; begin < scored; begin += context - 1) {
      std::vector<std::int32_t> chunk{1};
      chunk.insert(chunk.end(), text.begin() + static_cast<long>(begin),
                   text.begin() + static_cast<long>(begin + context - 1));
      for (std::size_t k = 1; k < chunk.size(); ++k) {
        n.sequence.truncate(0), other.sequence.truncate(0);
        const auto a = n.model.run(std::span(chunk).first(k), n.sequence);
        const auto b = other.model.run(std::span(chunk).first(k), other.sequence);
        sum -= eq::log_probability(a, static_cast<std::size_t>(chunk[k]));
        divergences += eq::kl_divergence(b, a);
      }
    }
    const auto count = static_cast<double>(scored);
    EXPECT_NEAR(score.perplexity, std::exp(sum / count), 1e-4 * score.perplexity);
    EXPECT_NEAR(score.from_reference->kl_mean, divergences / count, 1e-5);
  }
  const auto same = eq::score_text(n.model, text, {.context = 10, .bos = 1}, &n.model);
  EXPECT_NEAR(same.from_reference->kl_max, 0, 1e-9);
  EXPECT_EQ(same.from_reference->top1, 1.0);
  EXPECT_THROW((void)eq::score_text(n.model, text, {.context = 65}), eq::exception);
  EXPECT_THROW((void)eq::score_text(n.model, text, {.context = 7}), eq::exception);
  EXPECT_THROW((void)eq::score_text(n.model, std::span(text).first(6), {.context = 10}),
               eq::exception);
}

TEST(logits, divergence_follows_its_formula) {
  const std::vector<float> p{0.0f, std::log(3.0f)}, q{0.0f, 0.0f};
  EXPECT_NEAR(eq::log_probability(p, 1), std::log(0.75), 1e-7);
  EXPECT_NEAR(eq::kl_divergence(p, q), 0.25 * std::log(0.5) + 0.75 * std::log(1.5), 1e-7);
  EXPECT_EQ(eq::kl_divergence(p, p), 0.0);
  EXPECT_EQ(eq::top_token(q), 0u);
}

} // namespace
