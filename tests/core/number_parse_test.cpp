// SPDX-License-Identifier: MIT
#include <edgequant/core/number_parse.hpp>

#include <gtest/gtest.h>

#include <clocale>

namespace eq = edgequant;

TEST(number_parse, reads_the_nearest_double) {
  EXPECT_EQ(eq::read_number("99.9"), 99.9);
  EXPECT_EQ(eq::read_number("-0.5"), -0.5);
  EXPECT_EQ(eq::read_number(".5"), 0.5);
  EXPECT_EQ(eq::read_number("5."), 5.0);
  EXPECT_EQ(eq::read_number("1e3"), 1000.0);
  EXPECT_EQ(eq::read_number("1E-3"), 0.001);
  // Half way between two doubles, and a bit above: only all digits tell them apart.
  EXPECT_EQ(eq::read_number("9007199254740993"), 9007199254740992.0);
  EXPECT_EQ(eq::read_number("9007199254740993.00000000000000000001"), 9007199254740994.0);
  EXPECT_EQ(eq::read_number("1.7976931348623157e308"), 1.7976931348623157e308);
  EXPECT_EQ(eq::read_number("2.2250738585072011e-308"), 2.2250738585072011e-308);
  EXPECT_EQ(eq::read_number("1e-320"), 1e-320); // subnormal
}

TEST(number_parse, refuses_what_is_no_decimal_number) {
  for (const char* text : {"", " 1", "1 ", "+1", "-", ".", "-.", "e5", "inf", "nan", "0x10", "1,5",
                           "1e", "1e+", "--1", "1e400", "-1e400", "1e-400", "\0041"})
    EXPECT_FALSE(eq::read_number(text)) << text;
}

TEST(number_parse, stops_where_the_number_ends) {
  const auto expect = [](std::string_view text, double value, std::size_t length) {
    const auto number = eq::read_leading_number(text);
    ASSERT_TRUE(number) << text;
    EXPECT_EQ(number->value, value) << text;
    EXPECT_EQ(number->length, length) << text;
  };
  expect("3.2MiB", 3.2, 3);
  expect("1B", 1, 1); // B is a hexadecimal digit
  expect("5e", 5, 1);
  expect("5.0bpw", 5, 3);
  expect("5e1bpw", 50, 3);
  expect("5ebpw", 5, 1);
  expect("0x10", 0, 1);
  expect(std::string_view("12345").substr(0, 2), 12, 2);
}

TEST(number_parse, does_not_follow_the_locale) {
  const std::string before = std::setlocale(LC_ALL, nullptr);
  for (const char* name : {"de_DE.UTF-8", "fr_FR.UTF-8", "C"})
    if (std::setlocale(LC_ALL, name) != nullptr) {
      EXPECT_EQ(eq::read_number("1.5"), 1.5);
      EXPECT_FALSE(eq::read_number("1,5"));
    }
  std::setlocale(LC_ALL, before.c_str());
}
