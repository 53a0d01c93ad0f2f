// SPDX-License-Identifier: MIT
#include "io/split_parts.hpp"
#include "model/toy_model.hpp"

#include <edgequant/io/gguf_writer.hpp>
#include <edgequant/model/open_model.hpp>

namespace {
using namespace model_test;
using nlohmann::json;

class open_model : public testing::Test {
protected:
  temporary_folder folder;

  void checkpoint(const json& config = tiny_config()) {
    write_checkpoint(folder.path, tiny_tensors(), config);
  }
  void gguf(std::string_view name, eq::gguf_metadata keys) {
    const eq::tensor_info info{"blk.0.attn_q.weight", {32, 4}, eq::format::f32};
    eq::gguf_writer writer(folder / name, keys, {&info, 1});
    writer.write(bytes(32 * 4 * 4));
    writer.finish();
  }
  std::string refusal(std::string_view name) {
    const auto message = message_of([&] { return eq::open_model(folder / name); });
    EXPECT_TRUE(is_one_line(message)) << message;
    return message;
  }
  std::string at(std::string_view name) const { return (folder / name).string() + ": "; }
  std::string names() {
    std::string all;
    for (const auto& t : eq::open_model(folder.path).tensors) all += t.stored.name + " ";
    return all;
  }
};

TEST_F(open_model, a_gguf_keeps_keys_and_names_whatever_it_is_called) {
  eq::gguf_metadata keys;
  keys.set("general.architecture", "mamba");
  keys.set("split.count", std::uint16_t{1});
  for (const char* name : {"m.gguf", "m.safetensors", "m"}) {
    gguf(name, keys);
    const auto source = eq::open_model(folder / name);
    EXPECT_EQ(source.name, (folder / name).string());
    EXPECT_EQ(source.metadata, keys);
    ASSERT_EQ(source.tensors.size(), 1u);
    EXPECT_EQ(source.tensors[0].stored.name, "blk.0.attn_q.weight");
    EXPECT_EQ(source.tensors[0].rope_heads, 0u); // it has GGUF's order already
    EXPECT_TRUE(source.notes.empty());
  }
}

TEST_F(open_model, parts_of_a_gguf_are_one_model) {
  write_toy(folder / "toy.gguf", {});
  const auto toy = eq::read_gguf(folder / "toy.gguf");
  const auto first = write_parts(folder.path, toy, 2, [](const std::string& name) {
    return std::size_t{name.starts_with("blk.1.")};
  });
  const auto source = eq::open_model(first);
  EXPECT_EQ(source.metadata, toy.metadata);
  EXPECT_EQ(source.tensors.size(), toy.tensors.size());
  fs::remove(folder / part_name(1, 2));
  EXPECT_EQ(refusal(part_name(0, 2)), at(part_name(0, 2)) +
                                          "part 1 of 2 of a split model: part 2, '" +
                                          part_name(1, 2) + "', is missing");
}

TEST_F(open_model, a_folder_with_a_checkpoint_config_is_a_checkpoint) {
  checkpoint();
  write_all(folder / "tokenizer.model", tokenizer_of({"<unk>", "<s>", "</s>", "a"}));
  for (const auto& path : {folder.path, folder / "", folder / "model.safetensors"}) {
    const auto source = eq::open_model(path);
    ASSERT_EQ(source.tensors.size(), 21u);
    EXPECT_EQ(source.tensors[0].stored.name, "token_embd.weight");
    EXPECT_EQ(source.tensors[2].rope_heads, 4u);
    EXPECT_EQ(source.metadata.get_string("general.architecture"), "llama");
    EXPECT_EQ(source.metadata.get_string("general.name"), folder.path.filename().string());
    EXPECT_EQ(source.metadata.get_uint("llama.block_count"), 2u);
    EXPECT_EQ(source.metadata.get_strings("tokenizer.ggml.tokens")->size(), 40u);
    EXPECT_TRUE(source.notes.empty());
  }
}

TEST_F(open_model, a_checkpoint_without_tokenizer_says_so) {
  checkpoint();
  const auto source = eq::open_model(folder.path);
  EXPECT_EQ(source.metadata.get_string("tokenizer.ggml.model"), "no_vocab");
  EXPECT_EQ(
      source.notes,
      (std::vector<std::string>{
          "no tokenizer.model or tokenizer.json beside config.json: the file has no vocabulary"}));
}

TEST_F(open_model, stretched_rope_adds_its_divisors) {
  json config = tiny_config();
  config["rope_scaling"] = {{"rope_type", "llama3"}, {"factor", 8}};
  checkpoint(config);
  const auto source = eq::open_model(folder.path);
  const auto& last = source.tensors.back().stored;
  EXPECT_EQ(last.name, "rope_freqs.weight");
  EXPECT_EQ(last.dims, std::vector<std::uint64_t>{8});
  EXPECT_EQ(floats_of(last.data),
            eq::rope_divisors(eq::parse_checkpoint_config(config, "config.json")));
}

TEST_F(open_model, shards_make_one_checkpoint) {
  write_all(folder / "config.json", tiny_config().dump());
  const auto all = tiny_tensors();
  json map = json::object();
  for (const std::size_t part : {0u, 1u}) {
    const auto name = std::to_string(part) + ".safetensors";
    std::vector<raw_tensor> tensors;
    for (std::size_t i = part; i < all.size(); i += 2) {
      tensors.push_back(all[i]);
      map[all[i].name] = name;
    }
    write_safetensors(folder / name, tensors);
  }
  write_all(folder / "model.safetensors.index.json", json{{"weight_map", map}}.dump());
  const auto whole = names();
  EXPECT_EQ(eq::open_model(folder / "model.safetensors.index.json").tensors.size(), 21u);
  std::filesystem::remove(folder / "model.safetensors.index.json");
  checkpoint();
  EXPECT_EQ(whole, names());
}

TEST_F(open_model, without_config_tensors_keep_names_and_rows) {
  checkpoint();
  std::filesystem::remove(folder / "config.json");
  const auto source = eq::open_model(folder.path);
  EXPECT_EQ(source.tensors[0].stored.name, "lm_head.weight"); // the first of the data
  for (const auto& t : source.tensors) EXPECT_EQ(t.rope_heads, 0u);
  EXPECT_EQ(source.metadata.get_string("general.architecture"), "unknown");
  EXPECT_EQ(source.metadata.size(), 1u);
  EXPECT_EQ(source.notes,
            (std::vector<std::string>{"no config.json beside the tensors: they keep their names, "
                                      "and no engine will run the file"}));
}

TEST_F(open_model, other_model_types_keep_names_and_say_so) {
  json config = tiny_config();
  for (const auto& [type, architecture] :
       {std::pair<json, std::string>{"gpt2", "gpt2"}, {5, "unknown"}, {nullptr, "unknown"}}) {
    config["model_type"] = type;
    checkpoint(config);
    const auto source = eq::open_model(folder.path);
    EXPECT_EQ(source.tensors[0].stored.name, "lm_head.weight");
    EXPECT_EQ(source.metadata.get_string("general.architecture"), architecture);
    ASSERT_EQ(source.notes.size(), 1u);
    EXPECT_EQ(
        source.notes[0],
        "config.json is of model type '" + (type.is_string() ? architecture : std::string()) +
            "', which is not known: tensors keep their names, and no engine will run the file");
  }
}

TEST_F(open_model, neither_one_nor_the_other) {
  write_all(folder / "m.bin", "GGU");
  EXPECT_EQ(refusal("m.bin"), at("m.bin") + "neither a GGUF nor a safetensors file");
  write_all(folder / "m.gguf", "GGML");
  EXPECT_EQ(refusal("m.gguf"),
            at("m.gguf").substr(0, at("m.gguf").size() - 2) + " at byte 0: this is no GGUF file");
  write_all(folder / "m", "");
  EXPECT_EQ(refusal("m"), at("m") + "the file is empty");
  EXPECT_EQ(refusal("no"), at("no") + "cannot open: No such file or directory");
  EXPECT_EQ(refusal(std::string(300, 'x')),
            at(std::string(300, 'x')) + "cannot open: File name too long");
  EXPECT_EQ(refusal("a\nb"), at("a\\x0ab") + "cannot open: No such file or directory");
}

TEST_F(open_model, a_config_that_cannot_be_read_is_an_error) {
  checkpoint();
  write_all(folder / "config.json", "{");
  EXPECT_NE(refusal("").find("invalid JSON"), std::string::npos);
  std::filesystem::remove(folder / "config.json");
  std::filesystem::create_symlink("gone", folder / "config.json");
  EXPECT_EQ(refusal(""), at("config.json") + "cannot open: No such file or directory");
  std::filesystem::remove(folder / "config.json");
  checkpoint();
  std::filesystem::create_symlink("gone", folder / "tokenizer.model");
  EXPECT_EQ(refusal(""), at("tokenizer.model") + "cannot open: No such file or directory");
}

/// The keys of a checkpoint of four pieces and another file.
TEST_F(open_model, the_tokenizers_files_are_read) {
  checkpoint();
  write_all(folder / "tokenizer.model", tokenizer_of({"<unk>", "<s>", "</s>", "a"}));
  const auto keys = [&](const char* name, const std::string& text) {
    write_all(folder / name, text);
    auto metadata = eq::open_model(folder.path).metadata;
    std::filesystem::remove(folder / name);
    return metadata;
  };
  const char* config = "tokenizer_config.json";
  EXPECT_EQ(keys(config, "{}").get_bool("tokenizer.ggml.add_bos_token"), true);
  EXPECT_EQ(keys(config, R"({"add_bos_token": false})").get_bool("tokenizer.ggml.add_bos_token"),
            false);
  EXPECT_EQ(keys(config, R"({"add_eos_token": true})").get_bool("tokenizer.ggml.add_eos_token"),
            true);
  EXPECT_EQ(
      keys(config, R"({"bos_token": {"content": "</s>"}})").get_uint("tokenizer.ggml.bos_token_id"),
      2u);
  EXPECT_EQ(keys(config, R"({"chat_template": "x{{y}}"})").get_string("tokenizer.chat_template"),
            "x{{y}}");
  EXPECT_EQ(keys("chat_template.jinja", "z").get_string("tokenizer.chat_template"), "z");
  const auto tools = keys(config, R"({"chat_template": [{"name": "default", "template": "d"},
                                         {"name": "tool_use", "template": "t"}]})");
  EXPECT_EQ(tools.get_string("tokenizer.chat_template"), "d");
  EXPECT_EQ(tools.get_string("tokenizer.chat_template.tool_use"), "t");
  const auto added = keys(config, R"({"added_tokens_decoder":
      {"5": {"content": "<new>", "special": true}, "6": {"content": "<tag>", "special": false}}})");
  EXPECT_EQ(added.get_strings("tokenizer.ggml.tokens")->at(5), "<new>");
  EXPECT_EQ(added.get_ints("tokenizer.ggml.token_type")->at(4), 5);
  EXPECT_EQ(added.get_ints("tokenizer.ggml.token_type")->at(5), 3);
  EXPECT_EQ(added.get_ints("tokenizer.ggml.token_type")->at(6), 4);
  EXPECT_EQ(keys("added_tokens.json", R"({"<x>": 4})").get_strings("tokenizer.ggml.tokens")->at(4),
            "<x>");
  EXPECT_EQ(keys("generation_config.json", R"({"eos_token_id": [2, 3]})")
                .get_uint("tokenizer.ggml.eot_token_id"),
            3u);
  const auto around = keys("tokenizer.json", R"({"post_processor": {"type": "TemplateProcessing",
      "single": [{"Sequence": {"id": "A"}}, {"SpecialToken": {"id": "e"}}],
      "special_tokens": {"e": {"ids": [3]}}}})");
  EXPECT_EQ(around.get_bool("tokenizer.ggml.add_bos_token"), false);
  EXPECT_EQ(around.get_bool("tokenizer.ggml.add_eos_token"), true);
  EXPECT_EQ(around.get_uint("tokenizer.ggml.eos_token_id"), 3u);
}

TEST_F(open_model, unknown_fields_of_the_tokenizer_are_noted) {
  checkpoint();
  write_all(folder / "tokenizer.model", tokenizer_of({"<unk>", "<s>", "</s>", "a"}));
  const auto notes_of = [&](const char* text) {
    write_all(folder / "tokenizer_config.json", text);
    return eq::open_model(folder.path).notes;
  };
  const auto known = notes_of(R"({"legacy": true, "model_max_length": 4, "pad_token": null})");
  const auto notes = notes_of(R"({"legacy": true, "reverse_text": true, "also_new": null})");
  ASSERT_EQ(notes.size(), known.size() + 1);
  EXPECT_NE(notes.back().find("tokenizer_config.json: reverse_text: "), std::string::npos);
}

TEST_F(open_model, the_tokenizers_files_are_refused_by_name) {
  checkpoint();
  write_all(folder / "tokenizer.model", tokenizer_of({"<unk>", "<s>", "</s>", "a"}));
  const auto problem = [&](const char* name, const std::string& text, const std::string& wanted) {
    write_all(folder / name, text);
    const auto what = refusal("");
    EXPECT_NE(what.find(name), std::string::npos) << what;
    EXPECT_NE(what.find(wanted), std::string::npos) << what;
    std::filesystem::remove(folder / name);
  };
  problem("tokenizer_config.json", R"({"add_bos_token": 1})", "add_bos_token");
  problem("tokenizer_config.json", R"({"bos_token": "<none>"})", "bos_token");
  problem("tokenizer_config.json", R"({"do_lower_case": true})", "do_lower_case");
  problem("tokenizer_config.json", R"({"split_special_tokens": true})", "split_special_tokens");
  problem("tokenizer_config.json", R"({"sp_model_kwargs": {"enable_sampling": true}})",
          "sp_model_kwargs");
  problem("tokenizer_config.json", R"({"added_tokens_decoder": {"40": {"content": "x"}}})",
          "added token 'x' has the id 40, the vocabulary 40 tokens");
  problem("tokenizer_config.json",
          R"({"added_tokens_decoder": {"5": {"content": "x", "rstrip": true}}})", "rstrip");
  problem("added_tokens.json", R"({"x": 40})", "added token 'x' has the id 40");
  problem("generation_config.json", R"({"eos_token_id": [2, 40]})", "eos_token_id");
  problem("generation_config.json", R"({"eos_token_id": "2"})", "eos_token_id");
  problem("tokenizer.json", R"({"post_processor": {"type": "BertProcessing"}})", "post_processor");
}

TEST_F(open_model, its_name_fits_a_message) {
  std::filesystem::create_directory(folder / "a\nb");
  write_safetensors(folder / "a\nb" / "model.safetensors", {numbered("w", {2})});
  EXPECT_EQ(eq::open_model(folder / "a\nb").name, (folder / "a\\x0ab").string());
  write_all(folder / "a\nb" / "config.json", tiny_config().dump());
  EXPECT_EQ(refusal("a\nb"),
            at("a\\x0ab") + "tensor 'w': the llama architecture has no such tensor");
}
} // namespace
