// SPDX-License-Identifier: MIT
#include <edgequant/model/utf8.hpp>

#include <gtest/gtest.h>

namespace {
namespace eq = edgequant;
using enum eq::code_point_class;

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

TEST(utf8, classes) {
  struct row {
    eq::code_point_class expected;
    std::u32string points; // the ends of ranges among them
  };
  const row rows[] = {
      {letter, U"AZaz\u00aa\u00b5\u00df\u02c1\u0370\u0e33\u1cfa\u3400\u4dbf\u4e00\u9fff\uac00\ud7a3"
               U"\U00020000\U0002a6df\U0002ebf0\U0002ee5d\U000323af"},
      {number, U"09\u00b2\u00bc\u0660\u0669\u2160\u3007\uff19\U00011f59\U0001fbf9"},
      {punctuation, U"!_{}\u00a1\u00bf\u2010\u3001\uff01\U00011f43"},
      {space, U"\t\n\v\f\r \u00a0\u1680\u2000\u200a\u2028\u2029\u202f\u205f\u3000"},
      {other, U"$+<=>^`|~\u00a2\u0301\u0903\u200b\u200d\u2581\u2603\ue000\ufeff\U0001f600"
              U"\U0002ee5e\U000323b0\U0010ffff"}};
  for (const auto& row : rows)
    for (const auto point : row.points)
      EXPECT_EQ(eq::class_of(point), row.expected) << std::hex << static_cast<unsigned>(point);
  EXPECT_EQ(eq::class_of(0), other);
  EXPECT_EQ(eq::class_of(0x7f), other);
  EXPECT_EQ(eq::class_of(0x85), space);
}

TEST(utf8, class_sizes) {
  std::size_t counts[5] = {};
  for (char32_t point = 0; point < 0x110000; ++point)
    ++counts[static_cast<std::size_t>(eq::class_of(point))];
  // The counts of L*, N* and P* in Unicode 15.1.
  EXPECT_EQ(counts[1], 136726u);
  EXPECT_EQ(counts[2], 1831u);
  EXPECT_EQ(counts[3], 842u);
  EXPECT_EQ(counts[4], 25u);
}
} // namespace
