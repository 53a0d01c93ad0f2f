// SPDX-License-Identifier: MIT
#include "support.hpp"

#include <edgequant/io/gguf_metadata.hpp>

#include <limits>

namespace {
using namespace io_test;
using strings = std::vector<std::string>;

TEST(gguf_metadata, scalars_come_back) {
  eq::gguf_metadata m;
  m.set("u32", 7u);
  m.set("u64", std::numeric_limits<std::uint64_t>::max());
  m.set("i32", -3);
  m.set("i8", std::int8_t{5});
  m.set("f32", 0.1f);
  m.set("f64", 0.1);
  m.set("bool", true);
  m.set("text", "literal");
  m.set("string", std::string("a\0b", 3));
  EXPECT_EQ(m.get_uint("u32"), 7u);
  EXPECT_EQ(m.get_uint("u64"), std::numeric_limits<std::uint64_t>::max());
  EXPECT_EQ(m.get_uint("i8"), 5u);
  EXPECT_EQ(m.get_float("i32"), -3.0);
  EXPECT_EQ(m.get_float("f32"), double{0.1f});
  EXPECT_EQ(m.get_float("f64"), 0.1);
  EXPECT_EQ(m.get_bool("bool"), true);
  EXPECT_EQ(m.get_string("text"), "literal");
  EXPECT_EQ(m.get_string("string"), std::string("a\0b", 3));
  EXPECT_EQ(m.find("text")->type, eq::gguf_type::string);
  EXPECT_EQ(m.find("bool")->type, eq::gguf_type::boolean);
  EXPECT_EQ(m.find("i32")->type, eq::gguf_type::i32);
}

TEST(gguf_metadata, arrays_come_back) {
  eq::gguf_metadata m;
  m.set_array("f", std::vector{1.0f, -2.5f});
  m.set_array("d", std::vector{0.5, 1e-3});
  const std::vector<std::int32_t> ints{1, -1, std::numeric_limits<std::int32_t>::min()};
  m.set_array("i", std::span<const std::int32_t>(ints));
  m.set_array("u", std::vector<std::uint8_t>{0, 255});
  m.set_array("s", strings{"", "a", "bc"});
  m.set_array("v", std::vector<std::string_view>{"x", "y"});
  m.set_array("none", strings{});
  EXPECT_EQ(m.get_floats("f"), (std::vector{1.0f, -2.5f}));
  EXPECT_EQ(m.get_floats("d"), (std::vector{0.5f, 1e-3f}));
  EXPECT_EQ(m.get_floats("u"), (std::vector{0.0f, 255.0f}));
  EXPECT_EQ(m.get_ints("i"), ints);
  EXPECT_EQ(m.get_ints("u"), (std::vector<std::int32_t>{0, 255}));
  EXPECT_EQ(m.get_strings("s"), (strings{"", "a", "bc"}));
  EXPECT_EQ(m.get_strings("v"), (strings{"x", "y"}));
  EXPECT_EQ(m.get_strings("none"), strings{});
}

TEST(gguf_metadata, a_missing_key_is_nothing) {
  const eq::gguf_metadata m;
  EXPECT_FALSE(m.contains("k"));
  EXPECT_FALSE(m.get_uint("k") || m.get_float("k") || m.get_bool("k") || m.get_string("k"));
  EXPECT_FALSE(m.get_strings("k") || m.get_floats("k") || m.get_ints("k"));
}

TEST(gguf_metadata, keys_keep_their_order) {
  eq::gguf_metadata m;
  for (const char* key : {"c", "a", "b"}) m.set(key, 1);
  m.set("a", "other type, same place");
  const auto keys = [&] {
    std::string out;
    for (const auto& item : m) out += item.key;
    return out;
  };
  EXPECT_EQ(keys(), "cab");
  EXPECT_TRUE(m.erase("c"));
  EXPECT_FALSE(m.erase("c"));
  EXPECT_EQ(keys(), "ab");
  EXPECT_EQ(m.get_string("a"), "other type, same place");
  EXPECT_EQ(m.get_uint("b"), 1u);
  m.set("c", 2);
  EXPECT_EQ(keys(), "abc");
  EXPECT_EQ(m.size(), 3u);
  const auto copy = m;
  EXPECT_EQ(copy, m);
  m.set("c", 3);
  EXPECT_NE(copy, m);
}

TEST(gguf_metadata, another_kind_is_an_error_that_names_file_and_key) {
  eq::gguf_metadata m("m.gguf");
  m.set("text", "x");
  m.set("minus", -1);
  m.set("real", 1.5f);
  m.set("flag", true);
  m.set("large", 1e300);
  m.set_array("reals", std::vector{1.0f});
  m.set_array("wide", std::vector{std::uint64_t{1} << 31});
  const auto message = [&](auto getter, const char* key) {
    return message_of([&] { return (m.*getter)(key); });
  };
  using md = eq::gguf_metadata;
  EXPECT_EQ(message(&md::get_uint, "text"),
            "m.gguf: key 'text' at byte 0: a value of type string where a number belongs");
  EXPECT_EQ(message(&md::get_uint, "minus"), "m.gguf: key 'minus': -1 is out of range");
  EXPECT_EQ(message(&md::get_uint, "real"),
            "m.gguf: key 'real': a value of type f32 where an integer belongs");
  EXPECT_EQ(message(&md::get_uint, "flag"),
            "m.gguf: key 'flag': a value of type bool where an integer belongs");
  EXPECT_EQ(message(&md::get_float, "flag"),
            "m.gguf: key 'flag': a value of type bool where a number belongs");
  EXPECT_EQ(message(&md::get_bool, "minus"),
            "m.gguf: key 'minus': a value of type i32 where a bool belongs");
  EXPECT_EQ(message(&md::get_string, "real"),
            "m.gguf: key 'real': a value of type f32 where a string belongs");
  EXPECT_EQ(message(&md::get_strings, "text"),
            "m.gguf: key 'text': a value of type string where an array belongs");
  EXPECT_EQ(message(&md::get_strings, "reals"),
            "m.gguf: key 'reals': an array of f32 where strings belong");
  EXPECT_EQ(message(&md::get_ints, "reals"),
            "m.gguf: key 'reals': a value of type f32 where an integer belongs");
  EXPECT_EQ(message(&md::get_ints, "wide"), "m.gguf: key 'wide': 2147483648 is out of range");
  m.set_array("large", std::vector{1e300});
  EXPECT_NE(message(&md::get_floats, "large"), "");
}

TEST(gguf_metadata, an_entry_is_held_against_its_type) {
  eq::gguf_metadata m;
  EXPECT_NE(message_of([&] { return m.set("", 1), 0; }), "");
  using entry = eq::gguf_metadata::entry;
  const auto set = [&](eq::gguf_type type, std::string_view value) {
    return message_of([&] { return m.set_entry(entry{"k", type, bytes_of(value)}), 0; });
  };
  EXPECT_EQ(set(eq::gguf_type::u32, "abc"), "key 'k' at byte 0: a value needs 4 bytes, 3 left");
  EXPECT_EQ(set(eq::gguf_type::u8, "abc"), "key 'k': 2 bytes after the value");
  EXPECT_EQ(set(eq::gguf_type::boolean, "\2"),
            "key 'k' at byte 0: a bool of 2 where 0 or 1 belongs");
  EXPECT_EQ(m.size(), 0u);
}

TEST(gguf_metadata, alignment) {
  eq::gguf_metadata m("m.gguf");
  EXPECT_EQ(eq::gguf_alignment(m), 32u);
  m.set("general.alignment", 64u);
  EXPECT_EQ(eq::gguf_alignment(m), 64u);
  const auto message = [&] { return message_of([&] { return eq::gguf_alignment(m); }); };
  m.set("general.alignment", 0u);
  EXPECT_EQ(message(), "m.gguf: key 'general.alignment': 0 is no power of two");
  m.set("general.alignment", 48u);
  EXPECT_EQ(message(), "m.gguf: key 'general.alignment': 48 is no power of two");
  m.set("general.alignment", 1u << 24);
  EXPECT_EQ(eq::gguf_alignment(m), 1u << 24);
  m.set("general.alignment", 1u << 25);
  EXPECT_EQ(message(), "m.gguf: key 'general.alignment': 33554432 is more than 16777216");
  m.set("general.alignment", std::uint64_t{64});
  EXPECT_EQ(message(), "m.gguf: key 'general.alignment': a value of type u64 where a u32 belongs");
}
} // namespace
