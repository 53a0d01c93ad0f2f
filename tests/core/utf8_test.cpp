// SPDX-License-Identifier: MIT
#include <edgequant/core/utf8.hpp>

#include <gtest/gtest.h>

#include <random>
#include <vector>

namespace {
namespace eq = edgequant;

std::string encode(unsigned c) {
  const auto byte = [](unsigned b) { return static_cast<char>(b); };
  const auto tail = [&](unsigned shift) { return byte(0x80 | (c >> shift & 0x3f)); };
  if (c < 0x80) return {byte(c)};
  if (c < 0x800) return {byte(0xc0 | c >> 6), tail(0)};
  if (c < 0x10000) return {byte(0xe0 | c >> 12), tail(6), tail(0)};
  return {byte(0xf0 | c >> 18), tail(12), tail(6), tail(0)};
}

std::size_t number(std::string_view bytes) {
  std::size_t n = 0;
  for (const char b : bytes) n = n << 8 | static_cast<unsigned char>(b);
  return n;
}

TEST(utf8, every_code_point_comes_back) {
  for (char32_t point = 0; point < 0x110000; ++point) {
    if (point >= 0xd800 && point < 0xe000) continue;
    std::string text;
    eq::append_utf8(text, point);
    const auto read = eq::first_code_point(text + "x");
    ASSERT_TRUE(read.value == point) << std::hex << static_cast<unsigned>(point);
    ASSERT_EQ(read.bytes, text.size());
    ASSERT_EQ(eq::unfinished_bytes("x" + text), 0u);
    for (std::size_t part = 1; part < text.size(); ++part) {
      ASSERT_EQ(eq::first_code_point(text.substr(0, part)).bytes, 1u);
      ASSERT_EQ(eq::unfinished_bytes("x" + text.substr(0, part)), part)
          << std::hex << static_cast<unsigned>(point);
    }
  }
}

TEST(utf8, what_is_none_counts_byte_by_byte) {
  for (const std::string text :
       {"\x80", "\xbf", "\xc0\xaf", "\xc1\xbf", "\xe0\x80\x80", "\xe0\x9f\xbf", "\xed\xa0\x80",
        "\xed\xbf\xbf", "\xf0\x80\x80\x80", "\xf0\x8f\xbf\xbf", "\xf4\x90\x80\x80",
        "\xf5\x80\x80\x80", "\xff", "\xc3(", "\xe4\xb8(", "\xf0\x9f\x98("}) {
    EXPECT_TRUE(eq::first_code_point(text).value == 0xfffd) << text;
    EXPECT_EQ(eq::first_code_point(text).bytes, 1u) << text;
    EXPECT_EQ(eq::unfinished_bytes(text), 0u) << text;
  }
  EXPECT_EQ(eq::unfinished_bytes("\xe0\x80"), 0u); // overlong already
  EXPECT_EQ(eq::unfinished_bytes("\xed\xa0"), 0u); // a surrogate already
  EXPECT_EQ(eq::unfinished_bytes("\xf4\x90"), 0u);
  EXPECT_EQ(eq::unfinished_bytes("\x80\x80\x80\x80"), 0u);
  EXPECT_EQ(eq::unfinished_bytes(""), 0u);
}

/// Every code point's every proper prefix, against every string of one to three bytes.
TEST(utf8_stream, knows_all_beginnings_and_no_other) {
  std::vector<bool> begins[3];
  for (std::size_t i = 0; i < 3; ++i) begins[i].resize(std::size_t{1} << 8 * (i + 1));
  for (unsigned c = 0; c <= 0x10ffff; ++c) {
    if (c >= 0xd800 && c <= 0xdfff) continue; // surrogates are no characters
    const std::string bytes = encode(c);
    for (std::size_t n = 1; n < bytes.size(); ++n)
      begins[n - 1][number(std::string_view(bytes).substr(0, n))] = true;
  }
  for (std::size_t length = 1; length <= 3; ++length)
    for (std::size_t n = 0; n < begins[length - 1].size(); ++n) {
      std::string bytes(length, '\0');
      for (std::size_t i = 0; i < length; ++i)
        bytes[i] = static_cast<char>(n >> 8 * (length - 1 - i) & 0xff);
      ASSERT_EQ(eq::unfinished_bytes(bytes) == length, begins[length - 1][n]) << n;
    }
}

TEST(utf8_stream, keeps_back_only_what_may_become_a_character) {
  eq::utf8_stream stream;
  EXPECT_EQ(stream.push("a\xe2"), "a");
  EXPECT_EQ(stream.push("\x82"), "");
  EXPECT_EQ(stream.push(""), "");
  EXPECT_EQ(stream.push("\xac!"), "\xe2\x82\xac!");
  EXPECT_EQ(stream.push("\xf0\x9f"), "");
  EXPECT_EQ(stream.push("x"), "\xf0\x9fx"); // broken: passes through
  EXPECT_EQ(stream.push("\xff\xc0\x80"), "\xff\xc0\x80");
  EXPECT_EQ(stream.push("\xe2\xe2"), "\xe2");
  EXPECT_EQ(stream.flush(), "\xe2");
  EXPECT_EQ(stream.flush(), "");
}

TEST(utf8_stream, loses_nothing_wherever_it_is_cut) {
  std::mt19937 random(1);
  for (int round = 0; round < 200; ++round) {
    const bool valid = round % 2 == 0;
    std::string text, out;
    for (int i = 0; i < 50; ++i) {
      text += encode(random() % 2 ? random() % 0x800 : 0xe000 + random() % 0x10000);
      if (!valid) text += static_cast<char>(random() % 256);
    }
    eq::utf8_stream stream;
    for (std::size_t at = 0; at < text.size();) {
      const std::size_t count = random() % 6;
      const std::string ready = stream.push(std::string_view(text).substr(at, count));
      at += count;
      out += ready;
      EXPECT_LE(std::min(at, text.size()) - out.size(), 3u);
      const bool whole = out.size() == text.size() ||
                         (static_cast<unsigned char>(text[out.size()]) & 0xc0) != 0x80;
      EXPECT_TRUE(whole || !valid);
    }
    EXPECT_EQ(out + stream.flush(), text);
  }
}

} // namespace
