// SPDX-License-Identifier: MIT
#include "random_blocks.hpp"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>

namespace eq = edgequant;

namespace {

template <class F> std::vector<float> values_of(const typename F::block& block) {
  std::vector<float> values(F::block_length);
  eq::decode_block<F>(block, values.data());
  return values;
}

} // namespace

// Every code of a format with the scale 1, set by hand in the places that ggml's layout names.
TEST(block_groups, codes_lie_where_the_layout_says) {
  eq::block_q4_k q4{eq::half(1.0f), eq::half(1.0f), {}, {}};
  q4.scales[1] = 2, q4.scales[5] = 3; // group 1: scale 2, minimum 3
  for (int j = 0; j < 32; ++j) q4.nibbles[j] = static_cast<std::uint8_t>(j % 16 << 4);
  const auto a = values_of<eq::q4_k>(q4);
  for (std::size_t i = 0; i < 256; ++i)
    EXPECT_EQ(a[i], i >= 32 && i < 64 ? 2.0f * static_cast<float>(i % 16) - 3 : 0.0f) << i;

  eq::block_q6_k q6{{}, {}, {}, eq::half(0.5f)};
  for (auto& s : q6.scales) s = -2;
  q6.nibbles[64 + 32 + 5] = 0xf0, q6.pairs[32 + 5] = 0x80; // value 128 + 96 + 5: 15 + 2 * 16
  const auto b = values_of<eq::q6_k>(q6);
  for (std::size_t i = 0; i < 256; ++i) EXPECT_EQ(b[i], i == 229 ? -15.0f : 32.0f) << i;

  eq::block_q3_k q3{{}, {}, {}, eq::half(1.0f)};
  q3.scales[1] = 0x10, q3.scales[9] = 0x20; // group 9: low nibble 1, bits 4 and 5 are 2
  q3.high_bits[16] = 0x10;                  // value 128 + 16
  const auto c = values_of<eq::q3_k>(q3);
  EXPECT_EQ(c[128 + 16], 0.0f);
  EXPECT_EQ(c[128 + 17], -4.0f * (33 - 32));
  EXPECT_EQ(c[0], -4.0f * -32);
}

TEST(block_groups, four_bit_floats_have_their_levels) {
  eq::block_mxfp4 m{127, {}};
  for (int u = 0; u < 16; ++u) m.nibbles[u] = static_cast<std::uint8_t>(u);
  const auto a = values_of<eq::mxfp4>(m);
  const float levels[8] = {0, 0.5f, 1, 1.5f, 2, 3, 4, 6};
  for (std::size_t u = 0; u < 16; ++u) EXPECT_EQ(a[u], u < 8 ? levels[u] : -levels[u - 8]);
  m.exponent = 0;
  EXPECT_EQ(values_of<eq::mxfp4>(m)[2], std::ldexp(1.0f, -127));
  m.exponent = 254;
  EXPECT_EQ(values_of<eq::mxfp4>(m)[2], std::ldexp(1.0f, 127));

  eq::block_nvfp4 n{{}, {}};
  n.nibbles[0] = 0x27; // values 0 and 8: 6 and 1
  for (int byte = 0; byte < 256; ++byte) {
    n.scales[0] = static_cast<std::uint8_t>(byte);
    const int exponent = byte >> 3 & 15, mantissa = byte & 7;
    const double scale = byte == 127     ? 0
                         : exponent == 0 ? std::ldexp(mantissa, -9)
                                         : std::ldexp(8 + mantissa, exponent - 10);
    const auto b = values_of<eq::nvfp4>(n);
    EXPECT_EQ(b[0], 6 * scale) << byte;
    EXPECT_EQ(b[8], scale) << byte;
  }
}

// Digits of a byte b to the base of 3 are those of the fraction b / 256.
TEST(block_groups, ternary_digits_are_those_of_a_fraction) {
  eq::block_tq1_0 t{{}, {}, eq::half(1.0f)};
  for (int byte = 0; byte < 256; ++byte) {
    t.digits[3] = t.digits[40] = t.last[2] = static_cast<std::uint8_t>(byte);
    const auto values = values_of<eq::tq1_0>(t);
    int rest = byte;
    for (std::size_t n = 0; n < 5; ++n) {
      const float digit = static_cast<float>(rest * 3 / 256) - 1;
      EXPECT_EQ(values[32 * n + 3], digit);
      EXPECT_EQ(values[160 + 16 * n + 8], digit);
      if (n < 4) {
        EXPECT_EQ(values[240 + 4 * n + 2], digit);
      }
      rest = rest * 3 % 256;
    }
  }
}

TEST(block_groups, every_format_has_codes_scales_and_minimums_of_its_own) {
  [&]<class... F>(eq::coded_list<F...>) {
    const auto check = []<class G>(G) {
      for (const auto& block : random_blocks::make<G>(20, 5)) {
        eq::block_groups<G> groups;
        eq::unpack(block, groups);
        const auto values = values_of<G>(block);
        for (std::size_t i = 0; i < values.size(); ++i) {
          const std::size_t g = i / G::group_length;
          const double minimum = G::has_minimum ? groups.minimums[g] : 0;
          ASSERT_TRUE(std::isfinite(values[i])) << eq::name_of(G::id);
          EXPECT_EQ(values[i],
                    static_cast<float>(groups.codes[i] * double{groups.scales[g]} - minimum))
              << eq::name_of(G::id);
        }
      }
    };
    (check(F{}), ...);
  }(eq::stored_formats{});
}
