// SPDX-License-Identifier: MIT
#include "model/support.hpp"

#include <edgequant/text/vocabulary.hpp>

namespace {
using namespace model_test;

class vocabulary : public testing::Test {
protected:
  eq::sentencepiece_model model{{{"<s>", 0, 3},
                                 {"<unk>", 0, 2},
                                 {"<0x0A>", 0, 6},
                                 {"\xe2\x96\x81the", -1.5f, 1},
                                 {"<unk2>", -2, 2}},
                                true};
  eq::config_tokens config;
  eq::gguf_metadata keys;

  std::string set(std::uint64_t size) {
    config.vocabulary = size;
    keys = {};
    return message_of([&] { eq::set_sentencepiece_keys(keys, model, config, "t.model"); });
  }
};

TEST_F(vocabulary, becomes_keys) {
  config.bos_token = 0;
  config.eos_token = 4;
  ASSERT_EQ(set(5), "");
  EXPECT_EQ(keys.get_string("tokenizer.ggml.model"), "llama");
  EXPECT_EQ(keys.get_string("tokenizer.ggml.pre"), "default");
  EXPECT_EQ(keys.get_strings("tokenizer.ggml.tokens"),
            (std::vector<std::string>{"<s>", "<unk>", "<0x0A>", "\xe2\x96\x81the", "<unk2>"}));
  EXPECT_EQ(keys.get_floats("tokenizer.ggml.scores"), (std::vector<float>{0, 0, 0, -1.5f, -2}));
  EXPECT_EQ(keys.get_ints("tokenizer.ggml.token_type"), (std::vector<std::int32_t>{3, 2, 6, 1, 2}));
  EXPECT_EQ(keys.get_uint("tokenizer.ggml.bos_token_id"), 0u);
  EXPECT_EQ(keys.get_uint("tokenizer.ggml.eos_token_id"), 4u);
  EXPECT_EQ(keys.get_uint("tokenizer.ggml.unknown_token_id"), 1u); // the first
  EXPECT_EQ(keys.get_bool("tokenizer.ggml.add_bos_token"), true);
  EXPECT_EQ(keys.get_bool("tokenizer.ggml.add_eos_token"), false);
  EXPECT_EQ(keys.get_bool("tokenizer.ggml.add_space_prefix"), true);
  model.add_dummy_prefix = false;
  ASSERT_EQ(set(5), "");
  EXPECT_EQ(keys.get_bool("tokenizer.ggml.add_space_prefix"), false);
}

TEST_F(vocabulary, tokens_that_are_not_there_have_no_key) {
  model.pieces.resize(1); // <s>
  ASSERT_EQ(set(1), "");
  EXPECT_FALSE(keys.contains("tokenizer.ggml.bos_token_id"));
  EXPECT_FALSE(keys.contains("tokenizer.ggml.eos_token_id"));
  EXPECT_FALSE(keys.contains("tokenizer.ggml.unknown_token_id"));
  config.bos_token = 1; // beyond the tokens
  EXPECT_EQ(set(1), "t.model: BOS is token 1 of 1");
}

TEST_F(vocabulary, every_end_of_a_text_has_a_key_or_a_known_name) {
  for (const char* name : {"<|im_end|>", "<a>", "<b>", "<c>"}) model.pieces.push_back({name, 0, 3});
  config.vocabulary = 9;
  for (const std::uint64_t id : {0u, 5u, 6u, 7u, 6u, 8u}) config.add_end(id);
  const auto notes = eq::set_vocabulary_keys(keys, eq::to_vocabulary(model), config, "t.model");
  EXPECT_EQ(keys.get_uint("tokenizer.ggml.eos_token_id"), 0u);
  EXPECT_EQ(keys.get_uint("tokenizer.ggml.eot_token_id"), 6u);
  EXPECT_EQ(keys.get_uint("tokenizer.ggml.eom_token_id"), 7u);
  ASSERT_EQ(notes.size(), 1u); // 5 is known by its name
  EXPECT_EQ(notes[0].substr(0, 15), "token 8, '<c>',");
}

TEST_F(vocabulary, unused_tokens_fill_up_to_the_embedding) {
  config.eos_token = 6;
  ASSERT_EQ(set(7), "");
  const auto tokens = *keys.get_strings("tokenizer.ggml.tokens");
  ASSERT_EQ(tokens.size(), 7u);
  EXPECT_EQ(tokens[5], "[PAD5]");
  EXPECT_EQ(tokens[6], "[PAD6]");
  EXPECT_EQ(keys.get_floats("tokenizer.ggml.scores")->at(6), -1000.0f);
  EXPECT_EQ(keys.get_ints("tokenizer.ggml.token_type")->at(6), 5); // unused
  EXPECT_EQ(keys.get_uint("tokenizer.ggml.eos_token_id"), 6u);
}

TEST_F(vocabulary, sizes_must_agree) {
  EXPECT_EQ(set(4), "t.model: 5 pieces for a vocabulary of 4");
  EXPECT_EQ(set(5 + eq::most_unused_tokens), "");
  EXPECT_EQ(set(6 + eq::most_unused_tokens), "t.model: 5 pieces for a vocabulary of 1048582");
  EXPECT_EQ(set(0x7fffffff), "t.model: 5 pieces for a vocabulary of 2147483647");
}

TEST_F(vocabulary, may_be_absent) {
  eq::set_no_vocabulary(keys);
  EXPECT_EQ(keys.size(), 1u);
  EXPECT_EQ(keys.get_string("tokenizer.ggml.model"), "no_vocab");
}
} // namespace
