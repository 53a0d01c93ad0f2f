// SPDX-License-Identifier: MIT
#include <edgequant/text/pre_tokenizer.hpp>

#include <gtest/gtest.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace {
namespace eq = edgequant;
using words = std::vector<std::string_view>;
using splits = std::vector<words>; // each the words of the text that they make together

void expect_splits(eq::pre_tokenizer rule, const splits& expected) {
  for (const auto& each : expected) {
    std::string text;
    for (const auto word : each) text += word;
    EXPECT_EQ(eq::split_words(text, rule), each) << text;
  }
}

TEST(pre_tokenizer, gpt2) {
  expect_splits(eq::pre_tokenizer::gpt2,
                {{},
                 {" "},
                 {"Hello", " world", "!"},
                 {" Hello"},
                 {"a", " ", " b"},
                 {"a", "  ", " b"},
                 {"a", "  "},
                 {"a", "\n", "b"},
                 {"a", "\n", " b"},
                 {"a", "\t", "\n", "b"},
                 {"don", "'t", " we", "'ll", "'ve", "'re", "'s", "'m", "'d"},
                 {"I", "'", "LL", " '", "T"}, // small letters only
                 {"'", "x", " '", "r"},
                 {"abc", "123", "def", " 4567"},
                 {"x", " ...!?", " a"},
                 {"na\xc3\xafve", " caf\xc3\xa9"},
                 {"e", "\xcc\x81", "a"}, // a combining accent is no letter
                 {"\xe4\xb8\xad\xe6\x96\x87", " \xf0\x9f\x98\x80\xf0\x9f\x91\x8d"},
                 {"1\xc2\xbd\xd9\xa1", "x"},            // a half, an Arabic digit
                 {"a", "\xc2\xa0", "b"},                // a no-break space
                 {"a", "\xe3\x80\x80", " b"},           // an ideographic one
                 {"a", "\xff\xfe", "b", " \xe4\xb8"}}); // no UTF-8
}

TEST(pre_tokenizer, llama3) {
  expect_splits(eq::pre_tokenizer::llama3, {{},
                                            {"Hello", " world", "!"},
                                            {"(hello", ")"},
                                            {"\thello", " ", "\tx"},
                                            {"a", "  ", " b"},
                                            {"don", "'t", " we", "'LL", "'Ve", "'S"},
                                            {"'x", " '", "r"},
                                            {"12", "a", "123", "456", "7"},
                                            {" ", "123"},
                                            {"x", " ...\r\n\n", " y"},
                                            {"a", "\n\n", "b"},
                                            {"\n", "a", "\r", "b"},
                                            {"a", "  \n \r", "  ", " b"},
                                            {"a", " \n", "  "},
                                            {"a", "\n", " b"},
                                            {"a", "\n", "\xcc\x81z"},
                                            {"\xe3\x80\x80\xe4\xb8\xad", "\xef\xbc\x91"}});
}

TEST(pre_tokenizer, qwen2_takes_digits_one_by_one) {
  expect_splits(
      eq::pre_tokenizer::qwen2,
      {{"a", "1", "2", "3", "4"}, {" ", "1", " b", "'RE", "\n", "2"}, {"x", " !?\n", "(y", ")"}});
}

TEST(pre_tokenizer, single_digits) {
  expect_splits(
      eq::pre_tokenizer::single_digits,
      {{"a", "1", "2", " b", "'t", "'", "T"}, {" ", "1", " ", "2"}, {"a", "  ", "1", "  "}});
}

TEST(pre_tokenizer, fallback) {
  expect_splits(eq::pre_tokenizer::fallback,
                {{"Hello", " world", "!?", " x"},
                 {"don", "'", "t"}, // punctuation goes first
                 {"a", " ", "123", "456", "7"},
                 {" ", "\xd9\xa1\xd9\xa2\xd9\xa3\xd9\xa4"}, // in threes are ASCII's digits only
                 {"x", "==$", " `", "@"}});
}

TEST(pre_tokenizer, names) {
  const auto rule_of = [](std::string_view name) { return eq::find_pre_tokenizer(name)->rule; };
  EXPECT_EQ(rule_of("gpt-2"), eq::pre_tokenizer::gpt2);
  for (const auto* name : {"llama-bpe", "llama3", "llama-v3"}) {
    EXPECT_EQ(rule_of(name), eq::pre_tokenizer::llama3);
    EXPECT_TRUE(eq::find_pre_tokenizer(name)->entire_words);
    EXPECT_TRUE(eq::find_pre_tokenizer(name)->adds_bos);
  }
  EXPECT_FALSE(eq::find_pre_tokenizer("dbrx")->entire_words);
  EXPECT_EQ(rule_of("qwen2"), eq::pre_tokenizer::qwen2);
  EXPECT_EQ(rule_of("smollm"), eq::pre_tokenizer::single_digits);
  EXPECT_EQ(rule_of("default"), eq::pre_tokenizer::fallback);
  EXPECT_FALSE(eq::find_pre_tokenizer("gpt2"));
  EXPECT_FALSE(eq::find_pre_tokenizer(""));
}

// As the expressions cut them in JavaScript, with small and capital letters outside of ASCII as
// llama.cpp takes them.
TEST(pre_tokenizer, gpt4o_and_tekken) {
  const splits both = {{"Mc", "Donald", " i", "Phone", " WORLD"},
                       {"ABCdef", "GHI"},
                       {"abc", "DEF"},
                       {"ÄÖÜ", "A"},
                       {"\xd0\x96\xd0\xb8", "A"},
                       {"AÄ", "BC"},
                       {"Äb", "C"},
                       {"(word", ")", " [//\n", "x"},
                       {"a", " \n\n", " b"}};
  expect_splits(eq::pre_tokenizer::gpt4o, both);
  expect_splits(eq::pre_tokenizer::tekken, both);
  expect_splits(eq::pre_tokenizer::gpt4o, {{"don't", " WE'LL"}, {"123", "45"}});
  expect_splits(eq::pre_tokenizer::tekken, {{"don", "'t", " WE", "'LL"}, {"1", "2"}});
}

TEST(pre_tokenizer, marks_are_letters_to_qwen35) {
  const splits marked = {{"\xe0\xa4\x95\xe0\xa5\x8d\xe0\xa4\xb7\xe0\xa4\xbf", "!"}};
  expect_splits(eq::pre_tokenizer::qwen35, marked);
  expect_splits(eq::pre_tokenizer::qwen35, {{"e\xcc\x81t", "1", "2", " ...\n"}});
  EXPECT_GT(
      eq::split_words("\xe0\xa4\x95\xe0\xa5\x8d\xe0\xa4\xb7", eq::pre_tokenizer::qwen2).size(), 1u);
}

TEST(pre_tokenizer, falcon_and_deepseek) {
  expect_splits(eq::pre_tokenizer::falcon, {{"a", "``", " ", "123", "4"}, {"x", "+=", "1"}});
  expect_splits(eq::pre_tokenizer::deepseek_coder,
                {{"a", "\n", "\n", " b", " (", "1", "2", ")"}, {" ", " x"}});
  expect_splits(eq::pre_tokenizer::deepseek_llm, {{"a", " b", " ++", "12", "  "}});
  expect_splits(eq::pre_tokenizer::lines, {{"a b", "\n\n", "c"}});
}

TEST(pre_tokenizer, any_bytes_are_cut_without_loss) {
  std::uint32_t state = 1;
  for (int round = 0; round < 2000; ++round) {
    std::string text;
    for (int i = 0; i < 12; ++i) {
      state = state * 1664525u + 1013904223u;
      constexpr std::string_view pool = "a1 '\n\xe4\xb8\xad\xff.";
      text += pool[(state >> 20) % pool.size()];
    }
    for (const auto rule :
         {eq::pre_tokenizer::gpt2, eq::pre_tokenizer::llama3, eq::pre_tokenizer::qwen2,
          eq::pre_tokenizer::single_digits, eq::pre_tokenizer::qwen35, eq::pre_tokenizer::gpt4o,
          eq::pre_tokenizer::tekken, eq::pre_tokenizer::falcon, eq::pre_tokenizer::deepseek_coder,
          eq::pre_tokenizer::deepseek_llm, eq::pre_tokenizer::lines, eq::pre_tokenizer::fallback}) {
      std::string together;
      for (const auto word : eq::split_words(text, rule)) {
        EXPECT_FALSE(word.empty());
        together += word;
      }
      ASSERT_EQ(together, text);
    }
  }
}
} // namespace
