// SPDX-License-Identifier: MIT
#include <edgequant/text/code_point_class.hpp>

#include <gtest/gtest.h>

namespace {
namespace eq = edgequant;
using enum eq::code_point_class;

TEST(code_point_class, of_the_ends_of_ranges) {
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
      {mark, U"\u0300\u0301\u036f\u0903\u20d0\ufe0f\U000e01ef"},
      {other, U"$+<=>^`|~\u00a2\u200b\u200d\u2581\u2603\ue000\ufeff\U0001f600"
              U"\U0002ee5e\U000323b0\U0010ffff"}};
  for (const auto& row : rows)
    for (const auto point : row.points)
      EXPECT_EQ(eq::class_of(point), row.expected) << std::hex << static_cast<unsigned>(point);
  EXPECT_EQ(eq::class_of(0), other);
  EXPECT_EQ(eq::class_of(0x7f), other);
  EXPECT_EQ(eq::class_of(0x85), space);
}

TEST(code_point_class, sizes) {
  std::size_t counts[6] = {};
  for (char32_t point = 0; point < 0x110000; ++point)
    ++counts[static_cast<std::size_t>(eq::class_of(point))];
  // The counts of L*, N*, P* and M* in Unicode 15.1.
  EXPECT_EQ(counts[1], 136726u);
  EXPECT_EQ(counts[2], 1831u);
  EXPECT_EQ(counts[3], 842u);
  EXPECT_EQ(counts[4], 25u);
  EXPECT_EQ(counts[5], 2450u);
}
} // namespace
