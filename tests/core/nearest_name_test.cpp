// SPDX-License-Identifier: MIT
#include <edgequant/core/nearest_name.hpp>

#include <gtest/gtest.h>

namespace eq = edgequant;

namespace {

TEST(nearest_name, counts_edits) {
  EXPECT_EQ(eq::edit_distance("", "abc"), 3u);
  EXPECT_EQ(eq::edit_distance("kitten", "sitting"), 3u); // k/s, e/i, g
  EXPECT_EQ(eq::edit_distance("flaw", "lawn"), 2u);
  EXPECT_EQ(eq::edit_distance("same", "same"), 0u);
}

TEST(nearest_name, compares_words_in_any_order_and_case) {
  const std::string_view names[] = {"Apple M1", "Apple M2 Max", "iPhone 15 Pro", "Raspberry Pi 5",
                                    "iPhone 16 Pro"};
  const auto nearest = [&](std::string_view name) { return eq::nearest_name(name, names); };
  EXPECT_EQ(nearest("rasberry"), "Raspberry Pi 5");
  EXPECT_EQ(nearest("pi5"), "Raspberry Pi 5"); // letters and digits are words of their own
  EXPECT_EQ(nearest("IPHONE16"), "iPhone 16 Pro");
  EXPECT_EQ(nearest("iphone"), "iPhone 15 Pro"); // of equals the first
  EXPECT_EQ(nearest("max m2"), "Apple M2 Max");
  EXPECT_EQ(nearest("m1"), "Apple M1");
  EXPECT_EQ(nearest(""), "Apple M1"); // what has the fewest words that nobody asked for
  EXPECT_EQ(eq::nearest_name("x", {}), "");
}

struct item {
  std::string name;
};

TEST(nearest_name, an_unknown_name_is_one_line_with_the_nearest) {
  const item items[] = {{"First"}, {"Second"}};
  const std::span<const item> all(items);
  EXPECT_EQ(&eq::find_by_name(all, "sECOND", "thing"), &items[1]);
  try {
    (void)eq::find_by_name(all, "secnd\n", "thing");
    ADD_FAILURE();
  } catch (const eq::exception& error) {
    EXPECT_EQ(error.code(), eq::error_code::bad_argument);
    EXPECT_STREQ(error.what(), "thing 'secnd?': unknown; did you mean 'Second'?");
  }
}

} // namespace
