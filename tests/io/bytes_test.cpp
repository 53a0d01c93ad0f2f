// SPDX-License-Identifier: MIT
#include "support.hpp"

#include <bit>

namespace {
using namespace io_test;

TEST(bytes, numbers_are_little_endian) {
  const auto data = bytes_of("\x01\x02\x03\x04\x05\x06\x07\x08\x09");
  eq::byte_reader reader(data, "f");
  EXPECT_EQ(reader.read<std::uint16_t>("x"), 0x0201u);
  EXPECT_EQ(reader.offset(), 2u);
  EXPECT_EQ(reader.read<std::int8_t>("x"), 3);
  EXPECT_EQ(reader.read<std::uint32_t>("x"), 0x07060504u);
  EXPECT_EQ(reader.remaining(), 2u);
  EXPECT_EQ(eq::as_text(reader.read_bytes(2, "x")), "\x08\x09");
  EXPECT_TRUE(reader.read_bytes(0, "x").empty());
}

TEST(bytes, append_and_read_agree) {
  bytes data;
  eq::append_number(data, 1.5f);
  eq::append_number(data, std::int64_t{-2});
  eq::append_text(data, "ab");
  ASSERT_EQ(data.size(), 14u);
  eq::byte_reader reader(data, "f");
  EXPECT_EQ(reader.read<float>("x"), 1.5f);
  EXPECT_EQ(reader.read<std::int64_t>("x"), -2);
}

TEST(bytes, reading_past_the_end_names_place_item_and_byte) {
  const auto data = bytes_of("abc");
  eq::byte_reader reader(data, "m.gguf", 100);
  reader.read_bytes(1, "x");
  EXPECT_EQ(message_of([&] { return reader.read<std::uint32_t>("a count"); }),
            "m.gguf at byte 101: a count needs 4 bytes, 2 left");
  reader.enter("tensor", "t");
  EXPECT_EQ(message_of([&] { return reader.read_bytes(~std::uint64_t{0}, "data"); }),
            "m.gguf: tensor 't' at byte 101: data needs 18446744073709551615 bytes, 2 left");
  reader.leave();
  EXPECT_EQ(reader.here(7), "m.gguf at byte 7");
  EXPECT_EQ(reader.offset(), 101u); // a failed read moves nothing
  EXPECT_EQ(eq::byte_reader({}, "").here(7), "byte 7");
}

TEST(bytes, names_are_escaped_and_capped) {
  EXPECT_EQ(eq::escaped("blk.0"), "blk.0");
  EXPECT_EQ(eq::escaped(std::string_view("a\n\x1b\0\xff\x7f\\", 7)),
            "a\\x0a\\x1b\\x00\\xff\\x7f\\\\");
  EXPECT_EQ(eq::escaped(std::string(80, 'x')), std::string(80, 'x'));
  EXPECT_EQ(eq::escaped(std::string(81, 'x')), std::string(80, 'x') + "...");
  EXPECT_EQ(eq::place_of("f", "key", "\n"), "f: key '\\x0a'");
  EXPECT_EQ(eq::place_of("", "key", "a"), "key 'a'");
  EXPECT_EQ(eq::place_of(std::filesystem::path("\xc3\xa4\n")), "\xc3\xa4\\x0a");
}
} // namespace
