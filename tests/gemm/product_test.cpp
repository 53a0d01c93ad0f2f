// SPDX-License-Identifier: MIT
#include "backends.hpp"
#include "inputs.hpp"
#include "random_blocks.hpp"

#include <edgequant/gemm/product.hpp>
#include <edgequant/quantizer/row_codec.hpp>

#include <gtest/gtest.h>

#include <numeric>

namespace eq = edgequant;
namespace gemm = eq::gemm;
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

template <class S> class product_tiles : public testing::Test {};
TYPED_TEST_SUITE(product_tiles, backends);

} // namespace

/// Scales are 1 and sums stay below 2^24: every float on the way is exact, so a tile of any backend
/// gives the sum of products.
TYPED_TEST(product_tiles, sums_of_integers_are_exact) {
  using S = TypeParam;
  constexpr std::size_t most = gemm::tile_tokens<S>;
  std::mt19937 random(9);
  for (const std::size_t groups : {1u, 2u, 3u, 9u})
    for (const std::size_t rows : {1u, 15u, 16u}) {
      std::vector<eq::block_q8_0> wide(rows * groups);
      std::vector<eq::block_q5_0> middle(rows * groups);
      std::vector<eq::block_q4_0> narrow(rows * groups);
      const bool extreme = rows == 15;
      for (auto& b : wide) {
        b.scale = eq::half(1.0f);
        for (auto& c : b.codes)
          c = static_cast<std::int8_t>(extreme ? -128 : static_cast<int>(random() % 256) - 128);
      }
      for (auto& b : middle) {
        b.scale = eq::half(1.0f);
        // -16 everywhere, or anything.
        for (auto& bits : b.high_bits) bits = static_cast<std::uint8_t>(extreme ? 0 : random());
        for (auto& n : b.nibbles) n = static_cast<std::uint8_t>(extreme ? 0 : random());
      }
      for (auto& b : narrow) {
        b.scale = eq::half(1.0f);
        for (auto& n : b.nibbles) n = static_cast<std::uint8_t>(extreme ? 255 : random());
      }
      std::vector<std::int8_t> x(most * groups * 32);
      for (auto& v : x)
        v = static_cast<std::int8_t>(extreme ? 127 : static_cast<int>(random() % 255) - 127);
      const auto expect = [&](const auto& blocks, auto code_of, auto columns) {
        using block = std::decay_t<decltype(blocks[0])>;
        constexpr std::size_t n = columns();
        std::vector<gemm::activation_group<n>> tile(groups);
        for (std::size_t g = 0; g < groups; ++g)
          for (std::size_t c = 0; c < n; ++c) {
            std::copy_n(x.data() + (c * groups + g) * 32, 32, tile[g].codes[c]);
            const auto* codes = tile[g].codes[c];
            tile[g].scales[c] = 1.0f;
            gemm::set_corrections<S>(tile[g], c, std::accumulate(codes, codes + 16, 0),
                                     std::accumulate(codes + 16, codes + 32, 0));
          }
        float y[n * 17];
        if constexpr (std::is_same_v<block, eq::block_q5_0>) {
          using source = gemm::coded_source<eq::q5_0, S>;
          std::vector<std::byte> panel(groups * source::layout::bytes);
          gemm::pack_coded_panel<eq::q5_0>(blocks.data(), rows, groups, panel.data());
          gemm::multiply_coded<1, n, S>(source{panel.data(), groups}, groups, tile.data(), false, y,
                                        17);
        } else {
          std::vector<typename gemm::panel_of<block>::type> panel(groups);
          gemm::pack_panel<S>(blocks.data(), rows, groups, panel.data());
          gemm::multiply_panels<1, n, S>(panel.data(), groups, tile.data(), false, y, 17);
        }
        for (std::size_t r = 0; r < 16; ++r)
          for (std::size_t c = 0; c < n; ++c) {
            int sum = 0;
            for (std::size_t i = 0; r < rows && i < groups * 32; ++i)
              sum += code_of(blocks[r * groups + i / 32], i % 32) * x[c * groups * 32 + i];
            ASSERT_EQ(y[c * 17 + r], static_cast<float>(sum)) << r << " " << c;
          }
      };
      const auto byte = [](const eq::block_q8_0& b, std::size_t i) { return int{b.codes[i]}; };
      const auto nibble = [](const eq::block_q4_0& b, std::size_t i) {
        return (i < 16 ? b.nibbles[i] & 15 : b.nibbles[i - 16] >> 4) - 8;
      };
      const auto five_bits = [](const eq::block_q5_0& b, std::size_t i) {
        const int low = i < 16 ? b.nibbles[i] & 15 : b.nibbles[i - 16] >> 4;
        return (low | (b.high_bits[i / 8] >> i % 8 & 1) << 4) - 16;
      };
      expect(wide, byte, std::integral_constant<std::size_t, most>{});
      expect(wide, byte, std::integral_constant<std::size_t, 1>{});
      expect(middle, five_bits, std::integral_constant<std::size_t, most>{});
      expect(middle, five_bits, std::integral_constant<std::size_t, 1>{});
      expect(narrow, nibble, std::integral_constant<std::size_t, most>{});
      expect(narrow, nibble, std::integral_constant<std::size_t, 1>{});
    }
}

TYPED_TEST(product_tiles, dots_and_scaled_sums_touch_what_they_are_given) {
  using S = TypeParam;
  for (std::size_t n = 0; n <= 37; ++n) {
    const auto a = inputs::make(inputs::gaussian, n, 1), b = inputs::make(inputs::gaussian, n, 2);
    double sum = 0, magnitudes = 0;
    for (std::size_t i = 0; i < n; ++i)
      sum += double{a[i]} * b[i], magnitudes += std::fabs(double{a[i]} * b[i]);
    EXPECT_NEAR(kernel::dot<S>(a.data(), b.data(), n), sum, 9 * 0x1p-24 * magnitudes);
    std::vector<float> y(b);
    y.push_back(42.0f); // a guard
    kernel::add_scaled<S>(0.5f, a.data(), y.data(), n);
    EXPECT_EQ(y[n], 42.0f);
    for (std::size_t i = 0; i < n; ++i) EXPECT_EQ(y[i], b[i] + 0.5f * a[i]); // 0.5 a is exact
  }
}

namespace {

/// Codes and activations whose products are whole numbers: all scales are 1, so that outputs of any
/// backend are the sums of an integer oracle.
enum class pattern { random, lowest, alternating, equal };

std::int8_t code_of(pattern p, std::size_t i, int lowest, int highest, std::mt19937& random) {
  const auto within = static_cast<unsigned>(highest - lowest + 1);
  switch (p) {
  case pattern::random:
    return static_cast<std::int8_t>(lowest + static_cast<int>(random() % within));
  case pattern::lowest:
    return static_cast<std::int8_t>(lowest);
  case pattern::alternating:
    return static_cast<std::int8_t>(i % 2 == 0 ? lowest : highest);
  case pattern::equal:
    break;
  }
  return static_cast<std::int8_t>(highest);
}

struct integer_problem {
  std::size_t rows, columns, count;
  std::vector<std::int8_t> w;
  std::vector<float> x;

  integer_problem(std::size_t r, std::size_t k, std::size_t n, pattern p, int lowest, int highest)
      : rows(r), columns(k), count(n), w(r * k), x(n * k) {
    std::mt19937 random(static_cast<unsigned>(r * 31 + k * 7 + n));
    for (std::size_t i = 0; i < w.size(); ++i) w[i] = code_of(p, i, lowest, highest, random);
    for (std::size_t i = 0; i < x.size(); ++i) x[i] = code_of(p, i / 3, -127, 127, random);
    for (std::size_t i = 0; i < x.size(); i += i % k / 32 * 32 + 32 < k ? 32 : k - i % k)
      x[i] = x[i] < 0 ? -127.0f : 127.0f; // each group of 32 has a scale of 1
  }
  void expect(const eq::weight_view& view) const {
    eq::activations inputs;
    inputs.assign(x.data(), count, columns);
    std::vector<float> y(rows * count + 1, 42.0f);
    eq::multiply(view, inputs, y.data(), 1); // threads: see the test after the next
    EXPECT_EQ(y.back(), 42.0f);              // a guard
    for (std::size_t c = 0; c < count; ++c)
      for (std::size_t r = 0; r < rows; ++r) {
        int sum = 0;
        for (std::size_t i = 0; i < columns; ++i)
          sum += w[r * columns + i] * static_cast<int>(x[c * columns + i]);
        const float scale = view.scales == nullptr ? 1.0f : view.scales[r]; // a power of two
        ASSERT_EQ(y[c * rows + r], static_cast<float>(sum) * scale)
            << rows << " x " << columns << " times " << count << " at " << r << ", " << c;
      }
  }
};

template <class Block> void set_code(Block& block, std::size_t i, int code) {
  if constexpr (std::is_same_v<Block, eq::block_q8_0>) {
    block.codes[i] = static_cast<std::int8_t>(code);
  } else {
    const bool five = std::is_same_v<Block, eq::block_q5_0>;
    const int u = code + (five ? 16 : 8), shift = i < 16 ? 0 : 4;
    auto& byte = block.nibbles[i % 16];
    byte = static_cast<std::uint8_t>((byte & ~(15 << shift)) | (u & 15) << shift);
    if constexpr (std::is_same_v<Block, eq::block_q5_0>) {
      auto& bits = block.high_bits[i / 8];
      bits = static_cast<std::uint8_t>((bits & ~(1 << i % 8)) | (u >> 4) << i % 8);
    }
  }
}

/// As blocks, row by row and packed.
template <class F> void expect_blocks(const integer_problem& p) {
  using block = typename F::block;
  std::vector<block> blocks(p.w.size() / 32);
  for (auto& b : blocks) b.scale = eq::half(1.0f);
  for (std::size_t i = 0; i < p.w.size(); ++i) set_code(blocks[i / 32], i % 32, p.w[i]);
  const eq::weight_view rows{F::id, p.rows, p.columns,
                             reinterpret_cast<const std::byte*>(blocks.data())};
  std::vector<std::byte> packed(eq::panel_bytes(rows));
  p.expect(rows);
  p.expect(eq::pack_panels(rows, packed.data(), 1));
}

void expect_channels(const integer_problem& p) {
  std::vector<float> scales(p.rows);
  for (std::size_t r = 0; r < p.rows; ++r) scales[r] = static_cast<float>(1 << r % 5);
  const eq::weight_view rows{eq::format::i8,
                             p.rows,
                             p.columns,
                             reinterpret_cast<const std::byte*>(p.w.data()),
                             eq::weight_layout::rows,
                             scales.data()};
  std::vector<std::byte> packed(eq::panel_bytes(rows));
  p.expect(rows);
  p.expect(eq::pack_panels(rows, packed.data(), 1));
}

} // namespace

/// Every size from 1 to 200 in each dimension, beside sizes with tails in the others.
TEST(product, integers_are_exact_in_all_shapes) {
  for (std::size_t size = 1; size <= 200; size += inputs::sanitized ? 3 : 1) {
    const auto p = static_cast<pattern>(size % 4);
    const std::size_t groups = (1 + size % 7) * 32;
    for (const auto& [rows, columns, count] :
         {std::array{size, groups, 1 + size % 5}, std::array{17 + size % 40, groups, size},
          std::array{size, groups, 13 + size % 50}}) {
      expect_blocks<eq::q8_0>({rows, columns, count, p, -128, 127});
      expect_blocks<eq::q5_0>({rows, columns, count, p, -16, 15});
      expect_blocks<eq::q4_0>({rows, columns, count, p, -8, 7});
      expect_channels({rows, columns, count, p, -128, 127});
    }
    expect_channels({33, size, 7, p, -128, 127});
    expect_channels({50, size, 20, pattern::random, -128, 127});
  }
}

/// More columns than are made ready at a time, whole and with a rest.
TEST(product, integers_are_exact_in_long_rows) {
  for (const std::size_t groups : {16u, 17u, 32u, 37u})
    for (const std::size_t count : {1u, 20u, 31u}) {
      expect_blocks<eq::q8_0>({33, groups * 32, count, pattern::random, -128, 127});
      expect_blocks<eq::q4_0>({64, groups * 32, count, pattern::random, -8, 7});
      expect_channels({33, groups * 32 - 5, count, pattern::random, -128, 127});
    }
}

#if defined(EDGEQUANT_HAS_AMX)
namespace {

/// Sums of tiles of `Codes` codes beside whole numbers, with the unit used for nothing else.
template <int Codes> void expect_tile() {
  using S = eq::simd::avx512_amx;
  std::mt19937 random(Codes);
  alignas(64) std::int8_t columns[16][Codes], rows[Codes / 4][16][4];
  alignas(64) std::int32_t sums[16][16];
  for (auto& column : columns)
    for (auto& code : column)
      code = static_cast<std::int8_t>(static_cast<int>(random() % 255) - 127);
  for (auto& four : rows)
    for (auto& row : four)
      for (auto& code : row) code = static_cast<std::int8_t>(random());
  const auto expect = [&](auto weight) {
    for (std::size_t c = 0; c < 16; ++c)
      for (std::size_t r = 0; r < 16; ++r) {
        int sum = 0;
        for (std::size_t i = 0; i < Codes; ++i)
          sum += columns[c][i] * weight(rows[i / 4][r][i % 4]);
        ASSERT_EQ(sums[c][r], sum) << c << " " << r;
      }
  };
  const auto multiply = [&](auto add) {
    const S::tile_unit<Codes> unit;
    S::zero_tile<0>();
    S::load_tokens<0, Codes>(columns[0]);
    S::load_rows<0>(rows[0][0]);
    add();
    S::store_tile<0>(sums[0]);
  };
  multiply([] { S::add_product<0>(); });
  expect([](std::int8_t code) { return int{code}; });
  multiply([] { S::add_offset_product<0>(); });
  expect([](std::int8_t code) { return int{static_cast<std::uint8_t>(code)}; });
}

} // namespace

TEST(product, tiles_are_exact) {
  if (!eq::gemm::matrix_unit_ready()) GTEST_SKIP() << "the system does not let us use tiles";
  expect_tile<32>();
  expect_tile<64>();
}
#endif

TEST(product, no_columns_give_zeros) {
  const std::vector<float> scales(20, 1.0f);
  for (const auto type : {eq::format::q4_0, eq::format::i8, eq::format::f16})
    for (const std::size_t count : {1u, 40u}) {
      eq::activations inputs;
      inputs.assign(nullptr, count, 0);
      std::vector<float> y(20 * count, 42.0f);
      eq::multiply({type, 20, 0, nullptr, eq::weight_layout::rows, scales.data()}, inputs, y.data(),
                   1);
      EXPECT_EQ(y, std::vector<float>(20 * count, 0.0f));
    }
}

TEST(product, nothing_is_left_of_an_earlier_vector) {
  const std::vector<std::int8_t> w(16 * 64, 1);
  const std::vector<float> scales(16, 1.0f), x(64, 127.0f);
  eq::activations inputs;
  for (std::size_t columns = 64; columns > 0; --columns) {
    std::vector<float> y(16);
    inputs.assign(x.data(), 1, 64);
    inputs.encode(eq::activation_coding::per_token, 1);
    inputs.assign(x.data(), 1, columns);
    eq::multiply({eq::format::i8, 16, columns, reinterpret_cast<const std::byte*>(w.data()),
                  eq::weight_layout::rows, scales.data()},
                 inputs, y.data(), 1);
    EXPECT_EQ(y, std::vector<float>(16, 127.0f * static_cast<float>(columns)));
  }
}

TEST(product, agrees_with_a_sum_in_double) {
  for (const auto type : {eq::format::f32, eq::format::f16, eq::format::bf16, eq::format::q8_0,
                          eq::format::q5_0, eq::format::q4_0})
    for (const std::size_t columns : {32u, 96u, 100u, 17u, 256u, 300u}) {
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
          // Sixteen sums side by side, or parts in order and then their sums.
          const std::size_t terms = count < gemm::min_float_tile_tokens
                                        ? columns / 16 + 8
                                        : std::min(columns, gemm::float_tile_depth) +
                                              columns / gemm::float_tile_depth + 1;
          const double rounding = static_cast<double>(terms) * 0x1p-24 * magnitudes;
          ASSERT_NEAR(y[i], sum, steps + rounding + (coded ? 0x1p-21 * magnitudes : 0))
              << eq::name_of(type) << " " << columns << " x " << count;
        }
      }
    }
}

/// The integers are exact. A part of a group has three roundings in float and one more where the
/// parts are added, so that n parts are off by (n + 3) 2^-24 times the sum of the magnitudes.
TEST(product, of_stored_formats_agrees_with_a_sum_in_double) {
  const auto check = []<class F>(F) {
    for (const auto& [rows, columns, count] :
         {std::array<std::size_t, 3>{37, 512, 1}, {16, 256, 5}, {70, 768, 19}}) {
      const auto blocks = random_blocks::make<F>(rows * columns / F::block_length, rows);
      const auto* bytes = reinterpret_cast<const std::byte*>(blocks.data());
      std::vector<float> w(rows * columns), y(count * rows, NAN), again(y);
      eq::decode_row(F::id, bytes, w);
      const auto x = inputs::make(inputs::gaussian, count * columns, 5);
      eq::activations tokens;
      tokens.assign(x.data(), count, columns);
      eq::multiply(eq::weight_view{F::id, rows, columns, bytes}, tokens, y.data(), 1);
      eq::multiply(eq::weight_view{F::id, rows, columns, bytes}, tokens, again.data(), 3);
      EXPECT_EQ(y, again);
      eq::weight_view packed{F::id, rows, columns, bytes};
      std::vector<std::byte> memory(eq::panel_bytes(packed));
      if (eq::can_pack(F::id)) packed = eq::pack_panels(packed, memory.data(), 2);
      std::fill(again.begin(), again.end(), NAN);
      eq::multiply(packed, tokens, again.data(), 2);
      EXPECT_EQ(y, again) << eq::name_of(F::id);
      std::vector<gemm::activation_group<1>> codes(columns / 32);
      for (std::size_t c = 0; c < count; ++c) {
        gemm::quantize_token(x.data() + c * columns, codes.size(), codes.data(), 0);
        for (std::size_t r = 0; r < rows; ++r) {
          double sum = 0, magnitudes = 0;
          for (std::size_t i = 0; i < columns; ++i) {
            const double a = double{codes[i / 32].scales[0]} * codes[i / 32].codes[0][i % 32];
            sum += a * w[r * columns + i];
            // A value may be a small difference of a code and a minimum.
            magnitudes += std::fabs(a) * (std::fabs(w[r * columns + i]) + (F::has_minimum ? 8 : 0));
          }
          const double parts = static_cast<double>(columns) / 16;
          ASSERT_NEAR(y[c * rows + r], sum, (parts + 3) * 0x1p-24 * magnitudes)
              << eq::name_of(F::id) << " " << columns << " " << count;
        }
      }
      for (std::size_t c = 0; c < count; ++c) {
        tokens.assign(x.data() + c * columns, 1, columns);
        eq::multiply(packed, tokens, again.data() + c * rows, 1);
      }
      EXPECT_EQ(y, again) << eq::name_of(F::id);
    }
  };
  [&]<class... F>(eq::coded_list<F...>) { (check(F{}), ...); }(eq::stored_formats{});
}

/// Every row and vector is summed in one order: neither threads, nor the layout, nor the vectors
/// beside it, nor whether a unit for matrices multiplied them change a bit.
TEST(product, depends_on_nothing_but_its_row_and_vector) {
  for (const auto type : {eq::format::f16, eq::format::q8_0, eq::format::q5_0, eq::format::q4_0})
    for (const auto& [rows, length] :
         {std::array<std::size_t, 2>{1, 64}, {15, 64}, {16, 608}, {64, 64}, {130, 608}}) {
      const auto w = make_matrix(type, rows, length);
      std::vector<std::byte> packed;
      auto panels = w.view;
      if (eq::can_pack(type)) {
        packed.resize(eq::panel_bytes(w.view));
        panels = eq::pack_panels(w.view, packed.data(), 2);
      }
      const auto x = inputs::make(inputs::gaussian, 79 * length);
      std::vector<float> y(79 * rows + 1, 42.0f), again(y); // a guard is behind them
      eq::activations columns;
      columns.assign(x.data(), 79, length);
      eq::multiply(w.view, columns, y.data(), 1);
      EXPECT_EQ(y.back(), 42.0f);
      eq::multiply(w.view, columns, again.data(), 3);
      EXPECT_EQ(y, again);
      eq::multiply(panels, columns, again.data(), 3);
      EXPECT_EQ(y, again);
      if (type == eq::format::f16) continue; // its tiles are of different shapes
      for (std::size_t c = 0; c < 79; ++c) {
        columns.assign(x.data() + c * length, 1, length);
        eq::multiply(panels, columns, again.data() + c * rows, 1);
      }
      EXPECT_EQ(y, again);
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

TEST(product, panels_take_as_many_bytes_as_the_file) {
  const auto bytes = [](eq::format type) { return eq::panel_bytes({type, 17, 96}); };
  EXPECT_EQ(bytes(eq::format::q8_0), 32u * 3 * 34);
  EXPECT_EQ(bytes(eq::format::q5_0), 32u * 3 * 22);
  EXPECT_EQ(bytes(eq::format::q4_0), 32u * 3 * 18);
  for (const auto& row : eq::format_table) {
    if (!eq::find_layout(row.id)) continue;
    const double file = static_cast<double>(16 * 1024 * row.block_bytes / row.block_length);
    EXPECT_LE(static_cast<double>(eq::panel_bytes({row.id, 16, 1024})),
              (row.id == eq::format::tq1_0 ? 1.23 : 1.04) * file)
        << row.name;
  }
  for (const auto& row : eq::format_table) {
    const bool plain =
        row.id == eq::format::f32 || row.id == eq::format::f16 || row.id == eq::format::bf16;
    EXPECT_EQ(eq::can_pack(row.id), eq::find_layout(row.id).has_value() || row.id == eq::format::i8)
        << row.name;
    EXPECT_EQ(eq::can_multiply(row.id),
              plain || (eq::is_block_format(row.id) && row.use != eq::format_use::carried))
        << row.name;
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
