// SPDX-License-Identifier: MIT
#include <edgequant/core/number_text.hpp>
#include <edgequant/core/progress.hpp>

#include <gtest/gtest.h>

#include <clocale>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <limits>
#include <locale>
#include <random>
#include <string>
#include <vector>

namespace {
namespace eq = edgequant;

/// A C and C++ locale with a decimal comma, if the system has one.
class comma_locale {
public:
  comma_locale() : before_(std::setlocale(LC_ALL, nullptr)) {
    for (const char* name : {"de_DE.UTF-8", "de_DE.utf8", "fr_FR.UTF-8", "de_DE"})
      if (std::setlocale(LC_ALL, name) != nullptr) {
        there = true;
        std::locale::global(std::locale(name));
        return;
      }
  }
  ~comma_locale() {
    std::locale::global(std::locale::classic());
    std::setlocale(LC_ALL, before_.c_str());
  }
  bool there = false;

private:
  std::string before_;
};

std::string printed(const char* form, int digits, double value) {
  char text[400];
  std::snprintf(text, sizeof text, form, digits, value);
  return text;
}

TEST(number_text, is_that_of_printf_in_the_c_locale) {
  std::mt19937_64 random(7);
  std::vector<double> values = {0,
                                -0.0,
                                1,
                                0.5,
                                2.5,
                                999.95,
                                0.0001,
                                1e-5,
                                123456,
                                1e22,
                                5e-324,
                                std::numeric_limits<double>::max(),
                                std::numeric_limits<double>::infinity(),
                                -std::numeric_limits<double>::infinity()};
  for (int i = 0; i < 2000; ++i) {
    const double scale = std::pow(10.0, static_cast<double>(random() % 30) - 15);
    values.push_back((static_cast<double>(random() >> 11) * 0x1p-53 - 0.5) * scale);
  }
  for (const double value : values)
    for (const int digits : {0, 1, 2, 3, 6}) {
      ASSERT_EQ(eq::fixed_text(value, digits), printed("%.*f", digits, value));
      ASSERT_EQ(eq::general_text(value, digits), printed("%.*g", digits, value));
    }
  EXPECT_EQ(eq::fixed_text(std::numeric_limits<double>::quiet_NaN(), 2), "nan");
  EXPECT_EQ(eq::shortest_text(0.1f), "0.1");
  EXPECT_EQ(eq::shortest_text(0.1), "0.1");
}

TEST(number_text, has_a_dot_in_every_locale) {
  const comma_locale comma;
  if (!comma.there) GTEST_SKIP() << "no locale with a decimal comma is installed";
  ASSERT_EQ(printed("%.*f", 1, 1.5), "1,5"); // else this test shows nothing
  EXPECT_EQ(eq::fixed_text(1234567.5, 1), "1234567.5");
  EXPECT_EQ(eq::general_text(12.25, 3), "12.2");
  EXPECT_EQ(eq::shortest_text(0.25f), "0.25");
  EXPECT_EQ(eq::format_bytes(1572864 + 100000), "1.6 MiB");
}

TEST(number_text, columns_of_a_table) {
  EXPECT_EQ(eq::right_aligned("ab", 4), "  ab");
  EXPECT_EQ(eq::left_aligned("ab", 4), "ab  ");
  EXPECT_EQ(eq::right_aligned("abcde", 4), "abcde");
  EXPECT_EQ(eq::left_aligned("abcde", 4), "abcde");
}

TEST(progress, bytes_have_binary_units) {
  EXPECT_EQ(eq::format_bytes(1023), "1023 B");
  EXPECT_EQ(eq::format_bytes(1536), "1.5 KiB");
  EXPECT_EQ(eq::format_bytes(std::uint64_t{5} << 30), "5.0 GiB");
}
} // namespace
