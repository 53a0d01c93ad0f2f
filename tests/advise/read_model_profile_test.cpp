// SPDX-License-Identifier: MIT
#include "model/support.hpp"

#include <edgequant/advise/model_catalogue.hpp>
#include <edgequant/advise/read_model_profile.hpp>
#include <edgequant/io/gguf_writer.hpp>

namespace {
using namespace model_test;
using nlohmann::json;

/// A GGUF with the model's tensors in f32 and one of RoPE's divisors.
void write_model(const fs::path& path, const eq::model_profile& m,
                 const std::function<void(eq::gguf_metadata&)>& change = {}) {
  eq::gguf_metadata keys;
  const std::string at = m.architecture + ".";
  const auto set = [&](const char* name, std::uint64_t value) {
    keys.set(at + name, static_cast<std::uint32_t>(value));
  };
  keys.set("general.architecture", m.architecture);
  keys.set("general.name", m.name);
  set("block_count", m.layers);
  set("embedding_length", m.hidden_size);
  set("feed_forward_length", m.feed_forward_size);
  set("context_length", m.context_tokens);
  set("attention.head_count", m.heads);
  set("attention.head_count_kv", m.kv_heads);
  set("attention.key_length", m.head_size);
  if (change) change(keys);
  std::vector<eq::tensor_info> infos;
  std::uint64_t values = 8;
  for (auto& t : eq::tensors_of(m)) {
    values += t.dims[0] * (t.dims.size() == 2 ? t.dims[1] : 1);
    infos.push_back({std::move(t.name), std::move(t.dims)});
  }
  infos.push_back({"rope_freqs.weight", {8}});
  eq::gguf_writer writer(path, keys, infos);
  writer.write(bytes_from(std::vector<float>(values, 1.0f)));
  writer.finish();
}

eq::model_profile toy(const std::string& architecture) {
  eq::model_profile m;
  m.name = "toy", m.architecture = architecture;
  m.layers = 2, m.hidden_size = 64, m.heads = 4, m.kv_heads = 2, m.head_size = 16;
  m.feed_forward_size = 96, m.vocabulary = 40, m.context_tokens = 128;
  m.parameters = eq::parameter_count(m);
  return m;
}

TEST(read_model_profile, any_architecture_in_a_gguf) {
  const temporary_folder folder;
  const auto path = folder / "m.gguf";
  for (const char* architecture : {"llama", "qwen2", "gemma3", "command-r"})
    for (const bool tied : {false, true}) {
      auto m = toy(architecture);
      m.tied_embeddings = tied, m.parameters = eq::parameter_count(m);
      write_model(path, m);
      m.before.file_bytes = fs::file_size(path), m.source = path.string();
      m.file_kind = "gguf", m.matrix_formats = {eq::format::f32};
      auto read = eq::read_model_profile(path);
      read.built_in_refusal.clear();
      EXPECT_EQ(read, m) << architecture;
    }
}

TEST(read_model_profile, of_numbers_for_each_layer_the_largest) {
  const temporary_folder folder;
  const auto path = folder / "m.gguf";
  write_model(path, toy("odd"), [](eq::gguf_metadata& keys) {
    keys.set_array("odd.attention.head_count_kv", std::vector<std::uint32_t>{0, 2});
    keys.set_array("odd.feed_forward_length", std::vector<std::int32_t>{96, 48});
    keys.erase("odd.attention.key_length");
    keys.erase("general.name");
  });
  const auto m = eq::read_model_profile(path);
  EXPECT_EQ(m.kv_heads, 2u);
  EXPECT_EQ(m.layer_caches, (std::vector<eq::layer_cache>{{0, 0}, {2, 0}}));
  EXPECT_EQ(m.feed_forward_size, 96u);
  EXPECT_EQ(m.head_size, 16u);
  EXPECT_EQ(m.name, "m");
}

/// The profile of a toy of 12 layers, with keys that `change` adds.
eq::model_profile twelve_layers(const std::string& architecture,
                                const std::function<void(eq::gguf_metadata&)>& change) {
  const temporary_folder folder;
  auto m = toy(architecture);
  m.layers = 12;
  write_model(folder / "m.gguf", m, change);
  return eq::read_model_profile(folder / "m.gguf");
}

std::vector<std::uint64_t> windows_of(const eq::model_profile& m) {
  std::vector<std::uint64_t> windows;
  for (const auto& layer : m.layer_caches) windows.push_back(layer.window);
  return windows;
}

TEST(read_model_profile, windows_of_layers) {
  const auto windowed = [](const std::string& architecture, std::uint32_t window) {
    return windows_of(twelve_layers(architecture, [&](eq::gguf_metadata& keys) {
      keys.set(architecture + ".attention.sliding_window", window);
    }));
  };
  using numbers = std::vector<std::uint64_t>;
  EXPECT_EQ(windowed("gemma3", 32), (numbers{32, 32, 32, 32, 32, 0, 32, 32, 32, 32, 32, 0}));
  EXPECT_EQ(windowed("gemma2", 64), (numbers{64, 0, 64, 0, 64, 0, 64, 0, 64, 0, 64, 0}));
  EXPECT_EQ(windowed("llama", 64), numbers{}); // which layers is not known: an upper bound
  EXPECT_EQ(windows_of(twelve_layers("gemma3", {})), numbers{});
  const std::string pattern = "gemma4.attention.sliding_window_pattern";
  const auto by_pattern = [&](const std::function<void(eq::gguf_metadata&)>& set) {
    return windows_of(twelve_layers("gemma4", [&](eq::gguf_metadata& keys) {
      keys.set("gemma4.attention.sliding_window", std::uint32_t{8});
      set(keys);
    }));
  };
  EXPECT_EQ(by_pattern([&](auto& keys) { keys.set(pattern, std::uint32_t{3}); }),
            (numbers{8, 8, 0, 8, 8, 0, 8, 8, 0, 8, 8, 0}));
  const std::array<bool, 12> first = {true, true};
  EXPECT_EQ(by_pattern([&](auto& keys) { keys.set_array(pattern, first); }),
            (numbers{8, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}));
  const auto message = message_of([&] {
    (void)by_pattern([&](auto& keys) { keys.set_array(pattern, std::vector<std::uint32_t>{1}); });
  });
  EXPECT_TRUE(message.ends_with("key '" + pattern + "': 1 number for 12 layers")) << message;
}

TEST(read_model_profile, kv_heads_of_layers) {
  const auto with = [](const std::vector<std::int32_t>& heads) {
    return twelve_layers("llama", [&](eq::gguf_metadata& keys) {
      keys.set_array("llama.attention.head_count_kv", heads);
    });
  };
  const auto m = with({0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 4});
  EXPECT_EQ(m.kv_heads, 4u);
  ASSERT_EQ(m.layer_caches.size(), 12u);
  EXPECT_EQ(m.layer_caches[7].kv_heads, 2u);
  EXPECT_NE(m.built_in_refusal.find("attention.head_count_kv"), std::string::npos);
  EXPECT_TRUE(with(std::vector<std::int32_t>(12, 2)).layer_caches.empty());
  EXPECT_TRUE(message_of([&] { (void)with({1, 2}); }).ends_with("2 numbers for 12 layers"));
  EXPECT_TRUE(message_of([&] {
                (void)with({-1, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 4});
              }).ends_with("a negative number"));
}

TEST(read_model_profile, what_the_built_in_engine_refuses) {
  const auto refusal = [](const std::function<void(eq::gguf_metadata&)>& change) {
    return twelve_layers("llama",
                         [&](eq::gguf_metadata& keys) {
                           keys.set("llama.attention.layer_norm_rms_epsilon", 1e-5f);
                           change(keys);
                         })
        .built_in_refusal;
  };
  EXPECT_EQ(refusal([](auto&) {}), "");
  EXPECT_EQ(refusal([](auto& keys) { keys.set("llama.rope.scaling.type", "linear"); }), "");
  EXPECT_TRUE(refusal([](auto& keys) {
                keys.set("llama.rope.scaling.type", "ntk");
              }).starts_with("key 'llama.rope.scaling.type': 'ntk'"));
  const auto m = twelve_layers(
      "llama", [](eq::gguf_metadata& keys) { keys.set("llama.expert_count", std::uint32_t{8}); });
  EXPECT_EQ(m.experts, 8u);
  EXPECT_NE(m.built_in_refusal, "");
  EXPECT_EQ(eq::profile_of_config({{"model_type", "gpt2"},
                                   {"hidden_size", 64},
                                   {"intermediate_size", 64},
                                   {"num_hidden_layers", 1},
                                   {"num_attention_heads", 2},
                                   {"vocab_size", 9}},
                                  "c", "x")
                .built_in_refusal,
            "checkpoints of model_type 'gpt2' are not converted");
}

TEST(read_model_profile, bad_keys_are_named) {
  const temporary_folder folder;
  const auto path = folder / "m.gguf";
  const auto error = [&](const std::function<void(eq::gguf_metadata&)>& change) {
    write_model(path, toy("llama"), change);
    const auto message = message_of([&] { (void)eq::read_model_profile(path); });
    return message.substr(std::min(message.size(), path.string().size() + 2));
  };
  EXPECT_EQ(error([](auto& keys) { keys.erase("llama.block_count"); }),
            "key 'llama.block_count': the key is missing");
  EXPECT_EQ(error([](auto& keys) { keys.erase("general.architecture"); }),
            "key 'general.architecture': the key is missing");
  EXPECT_EQ(error([](auto& keys) { keys.set("llama.block_count", std::uint32_t{70000}); }),
            "key 'llama.block_count': expected 1 to 65536");
  EXPECT_EQ(error([](auto& keys) {
              keys.set_array("llama.context_length", std::vector<std::uint32_t>{});
            }),
            "key 'llama.context_length': expected 1 to 2147483647");
  EXPECT_EQ(error([](auto& keys) {
              keys.erase("llama.attention.key_length");
              keys.set("llama.attention.head_count", std::uint32_t{5});
            }),
            "key 'llama.attention.head_count': embedding_length is no multiple of it");
  EXPECT_EQ(error([](auto& keys) { keys.set("split.count", std::uint16_t{3}); }),
            "one of 3 parts of a split model, without the key 'split.no'");
}

/// The config.json that a catalogue model's repository holds, where it says all.
json config_of(const eq::model_profile& m, const char* type) {
  return {{"model_type", type},
          {"hidden_size", m.hidden_size},
          {"intermediate_size", m.feed_forward_size},
          {"num_hidden_layers", m.layers},
          {"num_attention_heads", m.heads},
          {"num_key_value_heads", m.kv_heads},
          {"head_dim", m.head_size},
          {"vocab_size", m.vocabulary},
          {"max_position_embeddings", m.context_tokens},
          {"tie_word_embeddings", m.tied_embeddings}};
}

/// What the profile of a config.json has in common with a catalogue's.
eq::model_profile without_refusal(eq::model_profile m) {
  m.built_in_refusal.clear();
  return m;
}

TEST(read_model_profile, a_config_json_counts_like_the_catalogue) {
  for (const auto& m : eq::model_catalogue()) {
    for (const auto& row : eq::architecture_table) {
      if (row.name != m.architecture) continue;
      auto config = config_of(m, std::string(row.model_type).c_str());
      if (!m.layer_caches.empty()) config["sliding_window"] = m.layer_caches[0].window;
      auto expected = m;
      expected.source = "config.json";
      const auto found = eq::profile_of_config(config, "config.json", m.name);
      EXPECT_EQ(without_refusal(found), expected) << m.name;
      EXPECT_EQ(found.built_in_refusal, "") << m.name;
      if (row.head_size != 0) config.erase("head_dim"); // the family's, where it is not said
      if (row.tied_embeddings) config.erase("tie_word_embeddings");
      EXPECT_EQ(eq::profile_of_config(config, "config.json", m.name).parameters, m.parameters);
      expected.source += ": text_config";
      EXPECT_EQ(
          without_refusal(eq::profile_of_config({{"text_config", config}}, "config.json", m.name)),
          expected);
    }
  }
}

TEST(read_model_profile, what_cannot_be_counted_is_refused) {
  auto config = config_of(eq::models::llama_3_2_1b(), "llama");
  const auto error = [&](const char* name, const json& value) {
    auto changed = config;
    changed[name] = value;
    return message_of([&] { (void)eq::profile_of_config(changed, "c", "x"); });
  };
  EXPECT_EQ(error("num_local_experts", 8),
            "c: field 'num_local_experts': a mixture of experts cannot be counted; its GGUF can");
  EXPECT_EQ(error("mlp_bias", true),
            "c: field 'mlp_bias': these biases are not counted; a GGUF's are");
  EXPECT_EQ(error("hidden_size", nullptr), "c: field 'hidden_size': the field is missing");
  EXPECT_EQ(error("num_hidden_layers", 70000), "c: field 'num_hidden_layers': more than 65536");
  config["model_type"] = "starcoder9";
  const auto other = eq::profile_of_config(config, "c", "x");
  EXPECT_EQ(other.architecture, "starcoder9");
  EXPECT_EQ(other.source, "c (parameters counted like Llama's)");
  EXPECT_EQ(other.parameters, eq::models::llama_3_2_1b().parameters);
}

TEST(read_model_profile, files_are_told_by_their_content) {
  const temporary_folder folder;
  fs::create_directory(folder / "Model");
  auto m = eq::models::tinyllama_1_1b();
  write_all(folder / "Model/config.json", config_of(m, "llama").dump());
  EXPECT_EQ(eq::read_model_profile(folder / "Model").name, "Model");
  EXPECT_EQ(eq::read_model_profile(folder / "Model/config.json").parameters, m.parameters);
  write_all(folder / "profile", "\n  " + eq::to_json(m).dump());
  EXPECT_EQ(eq::read_model_profile(folder / "profile"), m);
  write_model(folder / "no suffix", toy("llama"));
  EXPECT_EQ(eq::read_model_profile(folder / "no suffix").name, "toy");
  write_all(folder / "other", "weights");
  EXPECT_EQ(message_of([&] { (void)eq::read_model_profile(folder / "other"); }),
            (folder / "other").string() +
                ": neither a GGUF, a config.json nor a model profile in JSON");
  for (const char* missing : {"nothing", "nothing.gguf"})
    EXPECT_TRUE(is_one_line(message_of([&] { (void)eq::read_model_profile(folder / missing); })));
}

TEST(read_model_profile, a_real_checkpoint_and_its_gguf_agree) {
  const auto model = shared_data("models/stories260K");
  SKIP_WITHOUT(model);
  auto from_config = eq::read_model_profile(model);
  const auto from_gguf = eq::read_model_profile(model / "stories260K-f32.gguf");
  EXPECT_EQ(from_config.parameters, 260032u);
  from_config.source = from_gguf.source, from_config.name = from_gguf.name;
  from_config.before = from_gguf.before, from_config.file_kind = from_gguf.file_kind;
  EXPECT_EQ(from_gguf.matrix_formats, std::vector{eq::format::f32});
  from_config.matrix_formats = from_gguf.matrix_formats;
  EXPECT_EQ(from_config, from_gguf); // neither is refused
}

} // namespace
