// SPDX-License-Identifier: MIT
#include <edgequant/io/tokenizer_json.hpp>

#include <gtest/gtest.h>

namespace eq = edgequant;

namespace {

std::string with(const std::string& model, const std::string& rest = "") {
  return R"({"version": "1.0", "model": )" + model + rest + "}";
}

std::string refusal(const std::string& text) {
  try {
    (void)eq::parse_tokenizer_json(text, "tokenizer.json", 100);
  } catch (const eq::exception& e) {
    EXPECT_EQ(e.code(), eq::error_code::bad_file);
    return e.what();
  }
  return "nothing was thrown";
}

const std::string small =
    R"({"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": ["a b"]})";

} // namespace

TEST(tokenizer_json, llama2_style_with_byte_fallback) {
  const auto t = eq::parse_tokenizer_json(
      with(
          R"({"type": "BPE", "unk_token": "<unk>", "byte_fallback": true,
               "vocab": {"<unk>": 0, "<s>": 1, "<0x0A>": 2, "a": 3, "b": 4, "ab": 5}, "merges": [["a", "b"]]})",
          R"(, "added_tokens": [{"id": 0, "content": "<unk>", "special": true}, {"id": 1, "content": "<s>", "special": true}],
              "normalizer": {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "\u2581"}, {"type": "Replace"}]},
              "pre_tokenizer": null,
              "post_processor": {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<s>"}}, {"Sequence": {"id": "A"}}]})"),
      "tokenizer.json");
  EXPECT_FALSE(t.byte_level);
  EXPECT_TRUE(t.adds_bos);
  EXPECT_TRUE(t.adds_space_prefix);
  EXPECT_EQ(t.unknown_token, "<unk>");
  EXPECT_EQ(t.merges, std::vector<std::string>{"a b"});
  ASSERT_EQ(t.tokens.size(), 6u);
  EXPECT_TRUE(t.tokens[1].special);
  EXPECT_FALSE(t.tokens[5].added);
}

TEST(tokenizer_json, byte_level_rules_are_told_apart) {
  const auto rule = [](const std::string& pre) {
    return eq::parse_tokenizer_json(with(small, ", \"pre_tokenizer\": " + pre), "t").pre_tokenizer;
  };
  const auto split = [](const std::string& regex) {
    return R"({"type": "Sequence", "pretokenizers": [{"type": "Split", "pattern": {"Regex": ")" +
           regex + R"("}}, {"type": "ByteLevel", "use_regex": false}]})";
  };
  EXPECT_EQ(rule(R"({"type": "ByteLevel", "add_prefix_space": false})"), "gpt-2");
  EXPECT_EQ(rule(split(R"((?i:'s|'t)|\\p{L}+|\\p{N}{1,3}| ?x)")), "llama-bpe");
  EXPECT_EQ(rule(split(R"((?i:'s|'t)|\\p{L}+|\\p{N}| ?x)")), "qwen2");
  EXPECT_EQ(rule(split("[0-9]")), "");
}

TEST(tokenizer_json, ids_may_have_holes) {
  const auto t = eq::parse_tokenizer_json(with(R"({"vocab": {"a": 3}, "merges": []})"), "t");
  ASSERT_EQ(t.tokens.size(), 4u);
  EXPECT_EQ(t.tokens[0].text, "");
}

TEST(tokenizer_json, what_is_wrong_is_named) {
  EXPECT_NE(refusal("{}").find("field 'model': the field is missing"), std::string::npos);
  EXPECT_NE(refusal(with(R"({"type": "Unigram", "vocab": []})")).find("only BPE"),
            std::string::npos);
  EXPECT_NE(refusal(with(R"({"vocab": {"a": 0}})")).find("field 'merges'"), std::string::npos);
  EXPECT_NE(refusal(with(R"({"vocab": {}, "merges": []})")).find("model.vocab"), std::string::npos);
  EXPECT_NE(refusal(with(R"({"vocab": {"a": 0, "b": 0}, "merges": []})"))
                .find("0 is already that of 'a'"),
            std::string::npos);
  EXPECT_NE(refusal(with(R"({"vocab": {"a": -1}, "merges": []})")).find("whole number below 100"),
            std::string::npos);
  EXPECT_NE(refusal(with(R"({"vocab": {"a": 100}, "merges": []})")).find("whole number below 100"),
            std::string::npos);
  for (const auto* merge : {"\"ab\"", "\"a \"", "\" \"", "[\"a\"]", "7", "[\"a\", \"\"]", "\"\""})
    EXPECT_NE(refusal(with(R"({"vocab": {"a": 0}, "merges": [)" + std::string(merge) + "]}"))
                  .find("merge 0 is no pair"),
              std::string::npos)
        << merge;
  EXPECT_NE(refusal(with(small, R"(, "added_tokens": [{"id": 0}])")).find("field 'content'"),
            std::string::npos);
  EXPECT_NE(refusal(with(small, R"(, "added_tokens": [{"id": 0, "content": "x"}])"))
                .find("already that of 'a'"),
            std::string::npos);
  EXPECT_NE(refusal("[1]").find("field 'model'"), std::string::npos);
}
