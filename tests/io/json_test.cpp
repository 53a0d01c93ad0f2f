// SPDX-License-Identifier: MIT
#include "support.hpp"

#include <edgequant/io/json.hpp>

namespace {
using namespace io_test;

std::string refusal(std::string_view text, int depth = 16) {
  const auto message = message_of([&] { return eq::parse_json(text, "c.json", depth); });
  EXPECT_TRUE(is_one_line(message)) << message;
  EXPECT_EQ(message.rfind("c.json", 0), 0u) << message;
  return message;
}

TEST(json, reads) {
  const auto json = eq::parse_json(R"({"a": [1, {"a": "x"}], "b": {"a": null}})", "c.json");
  EXPECT_EQ(json["a"][1]["a"], "x");
  EXPECT_TRUE(json["b"]["a"].is_null());
  EXPECT_EQ(eq::parse_json("7", "c.json"), 7);
}

TEST(json, the_same_key_in_other_objects_is_fine) {
  EXPECT_EQ(message_of([&] {
              return eq::parse_json(R"([{"a":{"b":1}},{"a":{"b":{"a":1}}}, {"a":1}])", "c.json");
            }),
            "");
}

TEST(json, refuses_duplicate_keys_at_every_level) {
  EXPECT_EQ(refusal(R"({"a": 1, "a": 1})"), "c.json: key 'a': the key is there twice");
  EXPECT_EQ(refusal(R"([{"x": {"b\n": 1, "c": {"b": 1}, "b\n": 2}}])"),
            "c.json: key 'x': key 'b\\x0a': the key is there twice");
  EXPECT_EQ(refusal(R"({"a": [{"a": 1}, {"b": 1}], "a": 1})"),
            "c.json: key 'a': the key is there twice");
}

TEST(json, refuses_deep_nesting_without_building_it) {
  EXPECT_EQ(message_of([] { return eq::parse_json("[[{}]]", "c.json", 3); }), "");
  EXPECT_EQ(refusal("[[{}]]", 2), "c.json: JSON nested more than 2 deep");
  EXPECT_EQ(refusal(std::string(1u << 20, '[')), "c.json: JSON nested more than 16 deep");
  EXPECT_EQ(refusal(R"({"a": {"c": 1}, "b": [[{"d": [1]}, []]]})", 3),
            "c.json: key 'b': JSON nested more than 3 deep");
}

TEST(json, a_number_out_of_range_is_refused_with_its_key) {
  EXPECT_EQ(refusal(R"({"a": {"b": 1}, "c": [1e999]})").rfind("c.json: key 'c': invalid JSON", 0),
            0u);
  EXPECT_EQ(refusal(R"([{"a": [1], "b": {"c": {"d": -1e999}}}])")
                .rfind("c.json: key 'b': key 'd': invalid JSON: number overflow", 0),
            0u);
}

TEST(json, invalid_text_is_refused_with_its_byte) {
  EXPECT_EQ(refusal(R"({"a": tru})").rfind("c.json at byte 9: invalid JSON: syntax error", 0), 0u)
      << refusal(R"({"a": tru})");
  EXPECT_EQ(refusal("").rfind("c.json at byte 0: ", 0), 0u) << refusal("");
  EXPECT_NE(refusal("{} x"), "");
  EXPECT_NE(refusal("{\"a\":1"), "");
  EXPECT_NE(refusal("[\"\xff\"]"), "");
  EXPECT_NE(refusal("[\"\n\"]"), "");
  EXPECT_NE(refusal("[1e999]").find("invalid JSON: number overflow"), std::string::npos);
  EXPECT_LT(refusal("{\"a\": " + std::string(10000, 'x')).size(), 300u);
}
} // namespace
