// SPDX-License-Identifier: MIT
#include "text/words.hpp"

#include <cmath>

namespace {
using namespace model_test;
using type = eq::token_type;

TEST(token_table, ends) {
  auto w = pieces();
  const auto turn = w.add("<|im_end|>", type::user_defined), other = w.add("<|im_start|>");
  auto keys = w.keys();
  const eq::tokenizer t(keys);
  EXPECT_EQ(t.bos(), 1);
  EXPECT_EQ(t.eos(), 2);
  EXPECT_TRUE(t.add_bos());
  EXPECT_TRUE(t.ends_text(2));
  EXPECT_TRUE(t.ends_text(turn)); // a control token, whatever the file says
  EXPECT_EQ(t.bytes_of(turn), "");
  EXPECT_EQ(t.encode("<|im_end|>").size(), 10u + 3); // the space's three bytes
  EXPECT_FALSE(t.ends_text(other));
  EXPECT_FALSE(t.ends_text(1));
  keys.set("tokenizer.ggml.eos_token_id", std::uint32_t{4});
  keys.set("tokenizer.ggml.eot_token_id", std::uint32_t{5});
  keys.set("tokenizer.ggml.bos_token_id", std::int32_t{-1});
  keys.set("tokenizer.ggml.add_bos_token", false);
  const eq::tokenizer named(keys);
  EXPECT_EQ(named.eos(), 4);
  EXPECT_EQ(named.bos(), 1); // -1 names none
  EXPECT_FALSE(named.add_bos());
  for (const auto id : {2, 4, 5, turn}) EXPECT_TRUE(named.ends_text(id)); // 2 is </s>
  const eq::tokenizer bytes(byte_level({}).keys());
  EXPECT_FALSE(bytes.eos());
  EXPECT_FALSE(bytes.bos());
}

TEST(token_table, end_of_a_message_where_calls_end_the_text) {
  auto w = pieces();
  const auto end = w.add("<|end|>", type::control);
  EXPECT_TRUE(eq::tokenizer(w.keys()).ends_text(end));
  w.add("<|return|>", type::control);
  EXPECT_TRUE(eq::tokenizer(w.keys()).ends_text(end));
  w.add("<|call|>", type::control);
  const eq::tokenizer t(w.keys());
  EXPECT_FALSE(t.ends_text(end));
  EXPECT_TRUE(t.ends_text(end + 1));
  EXPECT_EQ(t.encode("<|end|>"), ids{end});
}

std::string refusal(const eq::gguf_metadata& keys) {
  try {
    eq::tokenizer t(keys);
  } catch (const eq::exception& error) {
    EXPECT_EQ(error.code(), eq::error_code::bad_file);
    EXPECT_TRUE(is_one_line(error.what()));
    return error.what();
  }
  return "";
}

TEST(token_table, refuses_what_contradicts) {
  const auto w = pieces();
  const std::string at = "m.gguf: key 'tokenizer.ggml.";
  const auto with = [&](auto change) {
    auto keys = w.keys();
    change(keys);
    return refusal(keys);
  };
  EXPECT_EQ(refusal(w.keys()), "");
  EXPECT_EQ(with([](auto& k) { k.erase("tokenizer.ggml.model"); }),
            at + "model': the key is missing");
  EXPECT_EQ(with([](auto& k) { k.set("tokenizer.ggml.model", "bert"); }),
            at + "model': unknown model 'bert'");
  EXPECT_EQ(with([](auto& k) { k.erase("tokenizer.ggml.tokens"); }),
            at + "tokens': the key is missing");
  EXPECT_EQ(with([](auto& k) { k.set_array("tokenizer.ggml.tokens", std::vector<std::string>{}); }),
            at + "tokens': no tokens");
  EXPECT_EQ(with([](auto& k) {
              k.set_array("tokenizer.ggml.tokens", std::vector<std::string>{"a", "b", "a"});
            }),
            at + "tokens': token 2, 'a', is there twice");
  EXPECT_EQ(with([](auto& k) { k.set_array("tokenizer.ggml.scores", std::vector<float>{1}); }),
            at + "scores': 1 score for 259 tokens");
  EXPECT_EQ(
      with([](auto& k) { k.set_array("tokenizer.ggml.scores", std::vector<float>(259, NAN)); }),
      at + "scores': the score of token 0 is no number");
  EXPECT_EQ(with([](auto& k) {
              k.set_array("tokenizer.ggml.token_type", std::vector<std::int32_t>{1, 2});
            }),
            at + "token_type': 2 types for 259 tokens");
  EXPECT_EQ(with([](auto& k) {
              k.set_array("tokenizer.ggml.token_type", std::vector<std::int32_t>(259, 7));
            }),
            at + "token_type': type 7 of token 0");
  EXPECT_EQ(with([](auto& k) {
              k.set_array("tokenizer.ggml.token_type", std::vector<std::int32_t>(259, 6));
            }),
            at + "token_type': token 0, '<unk>', stands for no byte");
  for (const std::string name : {"bos", "eos", "unknown", "eot", "eom"})
    EXPECT_EQ(
        with([&](auto& k) { k.set("tokenizer.ggml." + name + "_token_id", std::uint32_t{259}); }),
        at + name + "_token_id': 259 where there are 259 tokens");
}

TEST(token_table, refuses_merges_of_unknown_tokens) {
  const std::string at = "m.gguf: key 'tokenizer.ggml.";
  auto w = byte_level({"a b"});
  EXPECT_EQ(refusal(w.keys()), "");
  EXPECT_EQ(refusal(w.keys("gpt2")), at + "pre': unknown pre-tokenizer 'gpt2'");
  auto keys = w.keys();
  keys.erase("tokenizer.ggml.pre");
  EXPECT_EQ(refusal(keys), ""); // llama.cpp's rule for such files
  keys.erase("tokenizer.ggml.merges");
  EXPECT_EQ(refusal(keys), at + "merges': the key is missing");
  for (const auto* merge : {"ab", "ab ", " ab"}) {
    w.merges = {merge};
    EXPECT_EQ(refusal(w.keys()), at + "merges': merge 0, '" + merge + "', is no pair of tokens");
  }
  w.merges = {"a b", "ab a"};
  EXPECT_EQ(refusal(w.keys()), at + "merges': merge 1, 'ab a', is of an unknown token, 'aba'");
  w.merges = {"xy a"};
  EXPECT_EQ(refusal(w.keys()), at + "merges': merge 0, 'xy a', is of an unknown token, 'xy'");
}
} // namespace
