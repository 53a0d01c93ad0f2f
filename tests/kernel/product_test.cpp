// SPDX-License-Identifier: MIT
#include "backends.hpp"
#include "inputs.hpp"

#include <edgequant/kernel/product.hpp>
#include <edgequant/quantizer/row_codec.hpp>

#include <gtest/gtest.h>

namespace eq = edgequant;
namespace kernel = eq::kernel;

namespace {

/// A weight matrix in a format, and its values.
struct matrix {
  eq::weight_view view;
  std::vector<std::byte> bytes;
  std::vector<float> values;
};

matrix make_matrix(eq::format type, std::size_t rows, std::size_t columns) {
  matrix m{{type, rows, columns, nullptr}, {}, std::vector<float>(rows * columns)};
  const auto row_size = eq::row_bytes(type, columns);
  m.bytes.resize(rows * row_size);
  eq::row_encoder encode(type, eq::scale_rule::absmax, "matrix");
  for (std::size_t r = 0; r < rows; ++r) {
    const auto row = inputs::make(inputs::gaussian, columns, static_cast<unsigned>(r));
    encode(row, {}, 0, m.bytes.data() + r * row_size);
    eq::decode_row(type, m.bytes.data() + r * row_size,
                   std::span(m.values).subspan(r * columns, columns));
  }
  m.view.data = m.bytes.data();
  return m;
}

/// Whole numbers with a 127 in each group, whose int8 codes are the numbers themselves.
std::vector<float> whole_numbers(std::size_t count) {
  std::mt19937 random(5);
  std::vector<float> x(count);
  for (std::size_t i = 0; i < count; ++i)
    x[i] = i % 32 == 7 ? -127.0f : static_cast<float>(static_cast<int>(random() % 255) - 127);
  return x;
}

template <class S> class product_tiles : public testing::Test {};
TYPED_TEST_SUITE(product_tiles, backends);

} // namespace

/// Scales are 1 and sums stay below 2^24: every float on the way is exact, so a tile of any backend
/// gives the sum of products.
TYPED_TEST(product_tiles, sums_of_whole_numbers_are_exact) {
  using S = TypeParam;
  std::mt19937 random(9);
  for (const std::size_t blocks : {1u, 2u, 3u, 8u, 9u}) {
    std::vector<eq::block_q8_0> wide(4 * blocks);
    std::vector<eq::block_q4_0> narrow(4 * blocks);
    for (auto& b : wide) {
      b.scale = eq::half(1.0f);
      for (auto& c : b.codes) c = static_cast<std::int8_t>(static_cast<int>(random() % 256) - 128);
    }
    for (auto& b : narrow) {
      b.scale = eq::half(1.0f);
      for (auto& n : b.nibbles) n = static_cast<std::uint8_t>(random());
    }
    const auto x = whole_numbers(5 * blocks * 32);
    eq::activations columns;
    columns.assign(x.data(), 5, blocks * 32);
    const auto codes = columns.codes(1);
    const auto expect = [&](const auto& rows, auto code_of) {
      float tile[20], single[20];
      kernel::dot_tile<4, 4, std::decay_t<decltype(rows[0])>, S>(rows.data(), blocks, codes, 1,
                                                                 tile + 4, 4);
      for (std::size_t r = 0; r < 4; ++r)
        for (std::size_t c = 0; c < 5; ++c) {
          kernel::dot_tile<1, 1, std::decay_t<decltype(rows[0])>, S>(
              rows.data() + r * blocks, blocks, codes, c, single + c * 4 + r, 4);
          int sum = 0;
          for (std::size_t i = 0; i < blocks * 32; ++i)
            sum += code_of(rows[r * blocks + i / 32], i % 32) *
                   static_cast<int>(x[c * blocks * 32 + i]);
          ASSERT_EQ(single[c * 4 + r], static_cast<float>(sum)) << r << " " << c;
          if (c == 0) continue; // the tile begins at column 1
          ASSERT_EQ(tile[c * 4 + r], static_cast<float>(sum)) << r << " " << c;
        }
    };
    expect(wide, [](const eq::block_q8_0& b, std::size_t i) { return int{b.codes[i]}; });
    expect(narrow, [](const eq::block_q4_0& b, std::size_t i) {
      return (i < 16 ? b.nibbles[i] & 15 : b.nibbles[i - 16] >> 4) - 8;
    });
  }
}

TEST(product, agrees_with_a_sum_in_double) {
  for (const auto type :
       {eq::format::f32, eq::format::f16, eq::format::bf16, eq::format::q8_0, eq::format::q4_0})
    for (const std::size_t columns : {32u, 96u, 100u, 17u, 256u}) {
      const bool coded = eq::is_block_format(type);
      if (coded && columns % 32 != 0) continue;
      const auto w = make_matrix(type, 71, columns);
      for (const std::size_t count : {1u, 3u, 4u, 9u, 37u}) {
        const auto x = inputs::make(inputs::gaussian, count * columns, 77);
        eq::activations columns_of;
        columns_of.assign(x.data(), count, columns);
        std::vector<float> y(count * 71, NAN);
        eq::multiply(w.view, columns_of, y.data(), 2);
        for (std::size_t i = 0; i < y.size(); ++i) {
          double sum = 0, magnitudes = 0, weights = 0;
          float largest = 0;
          for (std::size_t k = 0; k < columns; ++k) {
            const double a = w.values[i % 71 * columns + k], b = x[i / 71 * columns + k];
            sum += a * b, magnitudes += std::fabs(a * b), weights += std::fabs(a);
            largest = std::max(largest, std::fabs(x[i / 71 * columns + k]));
          }
          // Codes are off by half a step of largest / 127; the rest is float summation.
          const double steps = coded ? weights * double{largest} / 254 : 0;
          const double rounding = (static_cast<double>(columns) / 16 + 8) * 0x1p-24 * magnitudes;
          ASSERT_NEAR(y[i], sum, steps + rounding + (coded ? 0x1p-21 * magnitudes : 0))
              << eq::name_of(type) << " " << columns << " x " << count;
        }
      }
    }
}

TEST(product, does_not_depend_on_threads) {
  for (const auto type : {eq::format::f16, eq::format::q8_0, eq::format::q4_0}) {
    const auto w = make_matrix(type, 130, 64);
    const auto x = inputs::make(inputs::gaussian, 33 * 64);
    std::vector<float> one(33 * 130), three(33 * 130);
    eq::activations columns;
    columns.assign(x.data(), 33, 64);
    eq::multiply(w.view, columns, one.data(), 1);
    eq::multiply(w.view, columns, three.data(), 3);
    EXPECT_EQ(one, three);
  }
}

TEST(product, what_is_not_finite_stays_visible) {
  for (const auto type : {eq::format::f32, eq::format::q8_0}) {
    const auto w = make_matrix(type, 2, 64);
    for (const float bad : {NAN, INFINITY}) {
      std::vector<float> x(64, 1.0f), y(2);
      x[40] = bad;
      eq::activations columns;
      columns.assign(x.data(), 1, 64);
      eq::multiply(w.view, columns, y.data(), 1);
      EXPECT_FALSE(std::isfinite(y[0])) << eq::name_of(type);
    }
  }
}

TEST(product, zeros_give_zero) {
  const auto w = make_matrix(eq::format::q4_0, 3, 96);
  const std::vector<float> x(96, 0.0f);
  std::vector<float> y(3, NAN);
  eq::activations columns;
  columns.assign(x.data(), 1, 96);
  eq::multiply(w.view, columns, y.data(), 1);
  EXPECT_EQ(y, std::vector<float>(3, 0.0f));
}
