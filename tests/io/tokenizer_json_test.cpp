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
              "normalizer": {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "\u2581"}, {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"}]},
              "pre_tokenizer": null,
              "post_processor": {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<s>"}}, {"Sequence": {"id": "A"}}],
              "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}}})"),
      "tokenizer.json");
  EXPECT_FALSE(t.byte_level);
  EXPECT_TRUE(t.adds_bos());
  EXPECT_EQ(t.around->before, 1u);
  EXPECT_FALSE(t.around->after);
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
  const auto split = [](const std::string& regex, const std::string& more = "") {
    return R"({"type": "Sequence", "pretokenizers": [{"type": "Split", "pattern": {"Regex": ")" +
           regex + "\"}" + more +
           R"(}, {"type": "ByteLevel", "add_prefix_space": false, "use_regex": false}]})";
  };
  const auto words = [](const std::string& digits) {
    return R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|)" + digits +
           R"(| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+)";
  };
  const auto refused = [&](const std::string& pre) {
    return refusal(with(small, ", \"pre_tokenizer\": " + pre));
  };
  const std::string llama3 = words(R"(\\p{N}{1,3})");
  EXPECT_EQ(rule(R"({"type": "ByteLevel", "add_prefix_space": false})"), "gpt-2");
  EXPECT_EQ(rule(split(llama3)), "llama-bpe");
  EXPECT_EQ(rule(split(llama3, R"(, "behavior": "Isolated", "invert": false)")), "llama-bpe");
  EXPECT_EQ(rule(split(llama3, R"(, "behavior": "Removed", "invert": true)")), "llama-bpe");
  EXPECT_EQ(rule(split(words(R"(\\p{N})"))), "qwen2");
  EXPECT_NE(refused(split(words("[0-9]"))).find("pre_tokenizer': the pattern"), std::string::npos);
  EXPECT_NE(refused(split(llama3, R"(, "behavior": "Removed")")).find("Split of behavior"),
            std::string::npos);
  EXPECT_NE(refused(R"({"type": "ByteLevel", "add_prefix_space": true})").find("add_prefix_space"),
            std::string::npos);
  EXPECT_NE(refused(R"({"type": "Whitespace"})").find("'Whitespace' has no counterpart"),
            std::string::npos);
}

TEST(tokenizer_json, ignored_merges_have_a_name_or_are_refused) {
  const std::string model = small.substr(0, small.size() - 1) + R"(, "ignore_merges": )";
  const std::string pre =
      R"(, "pre_tokenizer": {"type": "Sequence", "pretokenizers": [{"type": "Split", "pattern": {"Regex":
      "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"}},
      {"type": "ByteLevel", "add_prefix_space": false, "use_regex": false}]})";
  EXPECT_EQ(eq::parse_tokenizer_json(with(model + "true}", pre), "t").pre_tokenizer, "llama-bpe");
  EXPECT_EQ(eq::parse_tokenizer_json(with(model + "false}", pre), "t").pre_tokenizer, "dbrx");
  EXPECT_NE(refusal(with(model + "true}",
                         R"(, "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false})"))
                .find("model.ignore_merges"),
            std::string::npos);
}

TEST(tokenizer_json, rules_without_a_place_in_gguf_are_refused) {
  const auto rest = [](const std::string& field, const std::string& value) {
    return refusal(with(small, ", \"" + field + "\": " + value));
  };
  for (const auto* type : {"Lowercase", "NFKC", "StripAccents", "Precompiled", "BertNormalizer"})
    EXPECT_NE(rest("normalizer", R"({"type": ")" + std::string(type) + "\"}").find("'normalizer'"),
              std::string::npos)
        << type;
  EXPECT_NE(rest("normalizer", R"({"type": "Replace", "pattern": {"String": "a"}, "content": "b"})")
                .find("Replace"),
            std::string::npos);
  EXPECT_NE(rest("post_processor", R"({"type": "RobertaProcessing"})").find("'post_processor'"),
            std::string::npos);
  EXPECT_NE(rest("decoder", R"({"type": "WordPiece"})").find("'decoder'"), std::string::npos);
  EXPECT_NE(rest("added_tokens", R"([{"id": 3, "content": "x", "special": false, "lstrip": true}])")
                .find("lstrip has no counterpart"),
            std::string::npos);
  const std::string model = small.substr(0, small.size() - 1);
  for (const auto* field : {R"("dropout": 0.1)", R"("end_of_word_suffix": "</w>")",
                            R"("continuing_subword_prefix": "##")", R"("ignore_merges": true)"})
    EXPECT_NE(refusal(with(model + ", " + field + "}")).find("field 'model."), std::string::npos)
        << field;
  const auto t = eq::parse_tokenizer_json(
      with(small, R"(, "normalizer": {"type": "NFC"}, "truncation": {"max_length": 8})"), "t");
  EXPECT_EQ(t.notes.size(), 3u); // NFC, spaces as they are, truncation
}

TEST(tokenizer_json, merges_are_tokens_without_spaces) {
  const auto merges = [](const std::string& list) {
    return refusal(
        with(R"({"vocab": {"a": 0, " ": 1, "a ": 2, "b": 3, "a b": 4, "ab": 5}, "merges": )" +
             list + "}"));
  };
  EXPECT_NE(merges(R"([["a", " "]])").find("merge 0, 'a' and ' ', has a space"), std::string::npos);
  EXPECT_NE(merges(R"(["a b", ["a ", "b"]])").find("merge 1, 'a ' and 'b', has a space"),
            std::string::npos);
  EXPECT_NE(merges(R"(["a b b"])").find("merge 0, 'a' and 'b b', has a space"), std::string::npos);
  EXPECT_NE(merges(R"(["b a"])").find("needs 'ba', which is no token"), std::string::npos);
  EXPECT_NE(merges(R"([["c", "a"]])").find("needs 'c', which is no token"), std::string::npos);
  EXPECT_EQ(merges(R"(["a b"])"), "nothing was thrown");
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
