// SPDX-License-Identifier: MIT
#include <edgequant/format/group_format.hpp>

#include <gtest/gtest.h>

#include <set>

namespace eq = edgequant;

TEST(format_table, every_row_is_found_by_id_and_by_name) {
  std::set<std::string_view> names;
  for (const auto& row : eq::format_table) {
    EXPECT_EQ(&eq::info_of(row.id), &row);
    EXPECT_EQ(eq::find_format(row.name), &row);
    EXPECT_TRUE(names.insert(row.name).second) << row.name;
  }
  EXPECT_EQ(eq::find_format(4), nullptr); // ids that ggml has given up
  EXPECT_EQ(eq::find_format("q9_9"), nullptr);
}

TEST(format_table, sizes_are_those_of_the_documents) {
  EXPECT_EQ(eq::row_bytes(eq::format::q4_0, 64), 36u);
  EXPECT_EQ(eq::row_bytes(eq::format::q5_0, 64), 44u);
  EXPECT_EQ(eq::row_bytes(eq::format::q8_0, 64), 68u);
  EXPECT_EQ(eq::row_bytes(eq::format::q6_k, 512), 420u);
  EXPECT_EQ(eq::row_bytes(eq::format::bf16, 7), 14u);
}

TEST(block_formats, each_row_of_codes_has_a_type) {
  for (const auto& row : eq::format_table) {
    int visits = 0;
    const bool known = eq::visit_block_format(row.id, [&]<class F>(F) {
      ++visits;
      EXPECT_EQ(F::id, row.id);
    });
    EXPECT_EQ(known, row.code_bits != 0) << row.name;
    EXPECT_EQ(visits, known ? 1 : 0) << row.name;
  }
}
