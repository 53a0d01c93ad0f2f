// SPDX-License-Identifier: MIT
#include <edgequant/format/block_packing.hpp>

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
  for (const std::uint32_t withdrawn : {4, 5, 31, 32, 33, 36, 37, 38, 43})
    EXPECT_EQ(eq::find_format(withdrawn), nullptr) << withdrawn;
  EXPECT_EQ(eq::find_format("q9_9"), nullptr);
}

TEST(format_table, sizes_are_those_of_the_documents) {
  EXPECT_EQ(eq::row_bytes(eq::format::q4_0, 64), 36u);
  EXPECT_EQ(eq::row_bytes(eq::format::q5_0, 64), 44u);
  EXPECT_EQ(eq::row_bytes(eq::format::q8_0, 64), 68u);
  EXPECT_EQ(eq::row_bytes(eq::format::q6_k, 512), 420u);
  EXPECT_EQ(eq::row_bytes(eq::format::bf16, 7), 14u);
}

// Bytes of 256 values, from ggml's table of types.
TEST(format_table, every_type_of_gguf_has_its_size) {
  constexpr struct {
    std::uint32_t id;
    const char* name;
    std::uint64_t bytes;
  } types[] = {{16, "iq2_xxs", 66}, {17, "iq2_xs", 74}, {18, "iq3_xxs", 98}, {19, "iq1_s", 50},
               {20, "iq4_nl", 144}, {21, "iq3_s", 110}, {22, "iq2_s", 82},   {23, "iq4_xs", 136},
               {29, "iq1_m", 56},   {34, "tq1_0", 54},  {35, "tq2_0", 66},   {39, "mxfp4", 136},
               {40, "nvfp4", 144},  {41, "q1_0", 36},   {42, "q2_0", 72}};
  for (const auto& [id, name, bytes] : types) {
    const auto* row = eq::find_format(id);
    ASSERT_NE(row, nullptr) << name;
    EXPECT_EQ(row->name, name);
    EXPECT_EQ(eq::row_bytes(row->id, 256), bytes) << name;
    EXPECT_EQ(row->use,
              eq::find_layout(row->id) ? eq::format_use::writable : eq::format_use::readable)
        << name;
  }
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
    const bool stored =
        eq::visit_stored_format(row.id, [&]<class F>(F) { EXPECT_EQ(F::id, row.id); });
    EXPECT_FALSE(known && stored) << row.name;
    EXPECT_TRUE(!(known || stored) || row.use != eq::format_use::carried) << row.name;
  }
}
