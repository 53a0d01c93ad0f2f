// SPDX-License-Identifier: MIT
#include "random_blocks.hpp"

#include <edgequant/format/block_packing.hpp>

#include <gtest/gtest.h>

namespace eq = edgequant;

namespace {

/// Calls use(F{}) with every encodable format.
template <class Use> void for_each_encodable(Use use) {
  int seen = 0;
  for (const auto& row : eq::format_table)
    eq::visit_encodable_format(row.id, [&]<class F>(F f) { use(f), ++seen; });
  EXPECT_EQ(seen, 18);
}

/// A code of the format, chosen by a number.
std::int8_t code_of(const eq::block_layout& f, std::uint64_t n) {
  if (!f.codebook.empty()) return f.codebook[n % f.codebook.size()];
  return static_cast<std::int8_t>(
      f.lowest_code +
      static_cast<int>(n % static_cast<unsigned>(f.highest_code - f.lowest_code + 1)));
}

} // namespace

// In 200 random blocks every code, step and minimum of a group occurs.
TEST(block_packing, is_the_inverse_of_unpacking) {
  for_each_encodable([]<class F>(F) {
    const auto f = eq::layout_of<F>();
    random_blocks::generator random{static_cast<std::uint64_t>(F::id) + 1};
    const auto within = [&](int low, int high) {
      return low + static_cast<int>(random() % static_cast<unsigned>(high - low + 1));
    };
    for (int round = 0; round < 200; ++round) {
      eq::encoded_block from;
      from.scale = random_blocks::random_scale(random);
      if (f.has_minimum()) from.minimum = random_blocks::random_scale(random);
      for (std::size_t i = 0; i < f.block_length; ++i) from.codes[i] = code_of(f, random());
      for (std::size_t g = 0; g < f.groups(); ++g) {
        from.scale_steps[g] = static_cast<std::int16_t>(within(f.lowest_step, f.highest_step));
        from.minimum_steps[g] =
            static_cast<std::uint8_t>(within(f.lowest_minimum, f.highest_minimum));
      }
      typename F::block block;
      eq::pack(from, block);
      eq::block_groups<F> to;
      eq::unpack(block, to);
      for (std::size_t i = 0; i < f.block_length; ++i)
        ASSERT_EQ(to.codes[i], from.codes[i]) << eq::name_of(F::id) << ' ' << i;
      const float unit =
          f.unit == eq::scale_unit::half_of_block ? static_cast<float>(from.scale) : 1.0f;
      for (std::size_t g = 0; g < f.groups(); ++g) {
        ASSERT_EQ(to.scales[g], unit * eq::step_value(f.unit, from.scale_steps[g]))
            << eq::name_of(F::id) << ' ' << g;
        if constexpr (F::has_minimum) {
          ASSERT_EQ(to.minimums[g],
                    static_cast<float>(from.minimum) * static_cast<float>(from.minimum_steps[g]))
              << eq::name_of(F::id) << ' ' << g;
        }
      }
    }
  });
}

// Whatever bytes a block has, its codes are ones that an encoder may write.
TEST(block_packing, layouts_hold_every_code_that_unpacking_gives) {
  for_each_encodable([]<class F>(F) {
    const auto f = eq::layout_of<F>();
    EXPECT_EQ(f.block_length % f.group_length, 0u);
    EXPECT_LE(f.block_length, eq::encoded_block::longest);
    EXPECT_LE(f.groups(), eq::encoded_block::most_groups);
    EXPECT_TRUE(std::is_sorted(f.codebook.begin(), f.codebook.end()));
    for (const auto& block : random_blocks::make<F>(50, 3)) {
      eq::block_groups<F> groups;
      eq::unpack(block, groups);
      for (const int code : groups.codes) {
        if (F::id == eq::format::q8_0 && code == -128) continue; // in no file that we write
        EXPECT_GE(code, f.lowest_code);
        EXPECT_LE(code, f.highest_code);
        if (!f.codebook.empty()) {
          EXPECT_NE(std::find(f.codebook.begin(), f.codebook.end(), code), f.codebook.end());
        }
      }
    }
  });
}
