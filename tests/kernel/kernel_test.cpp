// SPDX-License-Identifier: MIT
// Each kernel of each backend against scalar: all sizes 0 to 97, unaligned, with guards.
#include "backends.hpp"
#include "inputs.hpp"

#include <edgequant/kernel/absmax.hpp>
#include <edgequant/kernel/code_sums.hpp>
#include <edgequant/kernel/convert.hpp>
#include <edgequant/kernel/error_sums.hpp>
#include <edgequant/kernel/exponential.hpp>
#include <edgequant/kernel/hadamard.hpp>
#include <edgequant/kernel/nibbles.hpp>
#include <edgequant/kernel/quantize.hpp>

#include <gtest/gtest.h>

namespace eq = edgequant;
namespace kernel = edgequant::kernel;
using eq::simd::scalar;
using inputs::guarded;
using inputs::same_bits;

namespace {

template <class S> class kernels : public testing::Test {};
TYPED_TEST_SUITE(kernels, backends);

/// Calls check(values) for every kind and size of input, at an odd address.
template <class Check> void for_all_inputs(Check check) {
  for (int k = 0; k < inputs::kinds; ++k)
    for (std::size_t n = 0; n <= 97; ++n) {
      const auto values = inputs::make(static_cast<inputs::kind>(k), n, static_cast<unsigned>(n));
      guarded<float> unaligned(n);
      std::copy(values.begin(), values.end(), unaligned.data());
      check(std::span<const float>(unaligned.data(), n));
    }
}

template <class S, int Bits, kernel::rounding R>
std::vector<std::int8_t> quantized(std::span<const float> v, float inverse) {
  guarded<std::int8_t> codes(v.size());
  kernel::quantize<Bits, R, S>(v, inverse, codes.data());
  EXPECT_TRUE(codes.intact());
  return {codes.data(), codes.data() + v.size()};
}

TYPED_TEST(kernels, absmax_equals_scalar_and_definition) {
  for_all_inputs([](auto v) {
    std::uint32_t most = 0;
    for (const float x : v) most = std::max(most, eq::abs_bits(x));
    ASSERT_EQ(kernel::absmax_bits<TypeParam>(v), most);
  });
}

TYPED_TEST(kernels, non_finite_values_are_found_at_their_index) {
  for (const float bad :
       {std::numeric_limits<float>::infinity(), -std::numeric_limits<float>::infinity(),
        std::numeric_limits<float>::quiet_NaN(), -std::numeric_limits<float>::signaling_NaN()})
    for (std::size_t n = 1; n <= 40; ++n)
      for (std::size_t at = 0; at < n; ++at) {
        auto v = inputs::make(inputs::extremes, n);
        v[at] = bad;
        ASSERT_EQ(kernel::find_non_finite<TypeParam>(v), at);
      }
  EXPECT_EQ(kernel::find_non_finite<TypeParam>(inputs::make(inputs::extremes, 50)), std::nullopt);
}

TYPED_TEST(kernels, codes_equal_scalar) {
  for_all_inputs([](auto v) {
    for (const float inverse : {0.0f, 1.0f, 37.5f, 4.0f, -3.7f, 1e38f}) {
      ASSERT_EQ((quantized<TypeParam, 8, kernel::rounding::half_even>(v, inverse)),
                (quantized<scalar, 8, kernel::rounding::half_even>(v, inverse)));
      ASSERT_EQ((quantized<TypeParam, 4, kernel::rounding::half_even>(v, inverse)),
                (quantized<scalar, 4, kernel::rounding::half_even>(v, inverse)));
      ASSERT_EQ((quantized<TypeParam, 5, kernel::rounding::half_even>(v, inverse)),
                (quantized<scalar, 5, kernel::rounding::half_even>(v, inverse)));
      ASSERT_EQ((quantized<TypeParam, 8, kernel::rounding::ggml>(v, inverse)),
                (quantized<scalar, 8, kernel::rounding::ggml>(v, inverse)));
      ASSERT_EQ((quantized<TypeParam, 4, kernel::rounding::ggml>(v, inverse)),
                (quantized<scalar, 4, kernel::rounding::ggml>(v, inverse)));
      ASSERT_EQ((quantized<TypeParam, 5, kernel::rounding::ggml>(v, inverse)),
                (quantized<scalar, 5, kernel::rounding::ggml>(v, inverse)));
    }
  });
}

TYPED_TEST(kernels, codes_follow_the_definition_of_rounding) {
  // Halves: 0.5 -> 0, 1.5 -> 2, 2.5 -> 2, -0.5 -> 0, 8.5 -> clamped.
  const std::vector<float> halves{0.5f, 1.5f, 2.5f,  -0.5f,  -1.5f,  6.5f,
                                  7.5f, 8.5f, -8.5f, 126.5f, 127.5f, -127.5f};
  EXPECT_EQ((quantized<TypeParam, 8, kernel::rounding::half_even>(halves, 1)),
            (std::vector<std::int8_t>{0, 2, 2, 0, -2, 6, 8, 8, -8, 126, 127, -127}));
  EXPECT_EQ((quantized<TypeParam, 4, kernel::rounding::half_even>(halves, 1)),
            (std::vector<std::int8_t>{0, 2, 2, 0, -2, 6, 7, 7, -8, 7, 7, -8}));
  EXPECT_EQ((quantized<TypeParam, 8, kernel::rounding::ggml>(halves, 1)),
            (std::vector<std::int8_t>{1, 2, 3, -1, -2, 7, 8, 9, -9, 127, 127, -127}));
  EXPECT_EQ((quantized<TypeParam, 4, kernel::rounding::ggml>(halves, 1)),
            (std::vector<std::int8_t>{1, 2, 3, 0, -1, 7, 7, 7, -8, 7, 7, -8}));
  EXPECT_EQ((quantized<TypeParam, 5, kernel::rounding::half_even>(halves, 1)),
            (std::vector<std::int8_t>{0, 2, 2, 0, -2, 6, 8, 8, -8, 15, 15, -16}));
  EXPECT_EQ((quantized<TypeParam, 5, kernel::rounding::ggml>(halves, 1)),
            (std::vector<std::int8_t>{1, 2, 3, 0, -1, 7, 8, 9, -8, 15, 15, -16}));
}

TYPED_TEST(kernels, dequantize_equals_scalar) {
  for_all_inputs([](auto v) {
    const auto codes = quantized<scalar, 8, kernel::rounding::half_even>(v, 100.0f);
    for (const float scale : {0.013f, -7.3e-8f, 1e30f}) {
      guarded<float> a(v.size()), b(v.size());
      kernel::dequantize<TypeParam>(codes, scale, a.data());
      kernel::dequantize<scalar>(codes, scale, b.data());
      ASSERT_TRUE(same_bits(a.data(), b.data(), v.size()) && a.intact());
    }
  });
}

template <class S, class Block> void expect_equal_blocks() {
  for (int k = 0; k < inputs::kinds; ++k)
    for (unsigned seed = 0; seed < 50; ++seed) {
      const auto v = inputs::make(static_cast<inputs::kind>(k), 32, seed);
      Block a{}, b{};
      a.scale = b.scale = static_cast<eq::half>(0.0123f);
      kernel::quantize_block<kernel::rounding::half_even, S>(v.data(), 81.3f, a);
      kernel::quantize_block<kernel::rounding::half_even, scalar>(v.data(), 81.3f, b);
      ASSERT_TRUE(same_bits(&a, &b, 1));
      float x[32], y[32];
      kernel::dequantize_block<S>(a, x);
      kernel::dequantize_block<scalar>(b, y);
      ASSERT_TRUE(same_bits(x, y, 32));
      kernel::quantize_block<kernel::rounding::ggml, S>(v.data(), 81.3f, a);
      kernel::quantize_block<kernel::rounding::ggml, scalar>(v.data(), 81.3f, b);
      ASSERT_TRUE(same_bits(&a, &b, 1));
    }
}

TYPED_TEST(kernels, blocks_equal_scalar) {
  expect_equal_blocks<TypeParam, eq::block_q8_0>();
  expect_equal_blocks<TypeParam, eq::block_q4_0>();
  expect_equal_blocks<TypeParam, eq::block_q5_0>();
}

TEST(blocks, q4_0_keeps_value_j_beside_value_j_plus_16) {
  float v[32];
  for (int i = 0; i < 32; ++i) v[i] = static_cast<float>(i % 16 - 8);
  v[16] = 7;
  eq::block_q4_0 block{};
  kernel::quantize_block(v, 1.0f, block);
  EXPECT_EQ(block.nibbles[0], 0xf0); // -8 + 8 low, 7 + 8 high
  EXPECT_EQ(block.nibbles[1], 0x11);
}

/// The code of value j of a q5_0 block, from ggml's description of the layout.
int code_of(const eq::block_q5_0& b, std::size_t j) {
  const int low = j < 16 ? b.nibbles[j] & 15 : b.nibbles[j - 16] >> 4;
  return (low | (b.high_bits[j / 8] >> j % 8 & 1) << 4) - 16;
}

/// Each code at each place of a q5_0 block, beside codes of every kind, there and back.
TYPED_TEST(kernels, q5_0_blocks_round_trip) {
  std::mt19937 random(5);
  for (std::size_t place = 0; place < 32; ++place)
    for (int code = -16; code < 16; ++code)
      for (int round = 0; round < 4; ++round) {
        eq::block_q5_0 block{}, back{};
        block.scale = back.scale = eq::half(-0.5f);
        const auto any = [&] { // zeros, anything, every other bit, ones
          return static_cast<std::uint8_t>(round == 1 ? random()
                                                      : 85u * static_cast<unsigned>(round));
        };
        for (auto& byte : block.high_bits) byte = any();
        for (auto& byte : block.nibbles) byte = any();
        auto& nibbles = block.nibbles[place % 16];
        const unsigned u = static_cast<unsigned>(code + 16), shift = place < 16 ? 0 : 4;
        nibbles = static_cast<std::uint8_t>((nibbles & ~(15u << shift)) | (u & 15) << shift);
        auto& bits = block.high_bits[place / 8];
        bits = static_cast<std::uint8_t>((bits & ~(1u << place % 8)) | u >> 4 << place % 8);

        guarded<float> values(32);
        kernel::dequantize_block<TypeParam>(block, values.data());
        ASSERT_EQ(code_of(block, place), code);
        for (std::size_t j = 0; j < 32; ++j) {
          ASSERT_EQ(values.data()[j], static_cast<float>(code_of(block, j)) * -0.5f);
        }
        ASSERT_TRUE(values.intact());
        kernel::quantize_block<kernel::rounding::half_even, TypeParam>(values.data(), -2.0f, back);
        ASSERT_TRUE(same_bits(&block, &back, 1));
        kernel::quantize_block<kernel::rounding::ggml, TypeParam>(values.data(), -2.0f, back);
        ASSERT_TRUE(same_bits(&block, &back, 1));
      }
}

TYPED_TEST(kernels, nibbles_round_trip_and_equal_scalar) {
  for (const auto order : {eq::nibble_order::interleaved, eq::nibble_order::split_half})
    for (std::size_t n = 0; n <= 97; ++n) {
      std::vector<std::int8_t> codes(n);
      for (std::size_t i = 0; i < n; ++i)
        codes[i] = static_cast<std::int8_t>(static_cast<int>((i * 7 + n) % 16) - 8);
      guarded<std::uint8_t> a(kernel::packed_bytes(n)), b(kernel::packed_bytes(n));
      kernel::pack_nibbles<TypeParam>(codes, order, a.data());
      kernel::pack_nibbles<scalar>(codes, order, b.data());
      ASSERT_TRUE(same_bits(a.data(), b.data(), kernel::packed_bytes(n)) && a.intact()) << n;
      guarded<std::int8_t> back(n);
      kernel::unpack_nibbles<TypeParam>(a.data(), order, {back.data(), n});
      ASSERT_TRUE(same_bits(back.data(), codes.data(), n) && back.intact()) << n;
    }
}

TEST(nibbles, orders_are_what_they_say) {
  const std::vector<std::int8_t> five{1, 2, 3, -1, -8};
  std::uint8_t bytes[3];
  kernel::pack_nibbles(five, eq::nibble_order::interleaved, bytes);
  EXPECT_EQ(bytes[0], 0x21);
  EXPECT_EQ(bytes[1], 0xf3);
  EXPECT_EQ(bytes[2], 0x08);
  kernel::pack_nibbles(five, eq::nibble_order::split_half, bytes);
  EXPECT_EQ(bytes[0], 0xf1); // j = 0 with j + 3
  EXPECT_EQ(bytes[1], 0x82);
  EXPECT_EQ(bytes[2], 0x03);
  std::vector<std::int8_t> run(32, 0);
  run[5] = 6, run[21] = -3;
  std::uint8_t half_bytes[16];
  kernel::pack_nibbles(run, eq::nibble_order::split_half, half_bytes);
  EXPECT_EQ(half_bytes[5], 0xd6);
}

TYPED_TEST(kernels, sixteen_bit_rows_equal_scalar) {
  for_all_inputs([](auto v) {
    const std::size_t n = v.size();
    std::vector<float> small(v.begin(), v.end());
    for (float& x : small) x = std::fmod(x, 60000.0f);
    guarded<std::uint16_t> a(n), b(n);
    guarded<float> back_a(n), back_b(n);
    kernel::to_f16<TypeParam>(small, a.data());
    kernel::to_f16<scalar>(small, b.data());
    kernel::from_f16<TypeParam>(a.data(), {back_a.data(), n});
    kernel::from_f16<scalar>(b.data(), {back_b.data(), n});
    ASSERT_TRUE(same_bits(a.data(), b.data(), n) && same_bits(back_a.data(), back_b.data(), n));
    kernel::to_bf16<TypeParam>(small, a.data());
    kernel::to_bf16<scalar>(small, b.data());
    kernel::from_bf16<TypeParam>(a.data(), {back_a.data(), n});
    kernel::from_bf16<scalar>(b.data(), {back_b.data(), n});
    ASSERT_TRUE(same_bits(a.data(), b.data(), n) && same_bits(back_a.data(), back_b.data(), n));
    ASSERT_TRUE(a.intact() && back_a.intact());
  });
}

TYPED_TEST(kernels, an_error_is_one_exact_difference_rounded_once) {
  std::mt19937 random(3);
  std::normal_distribution<float> normal;
  for (int i = 0; i < 2000; ++i) {
    const float w = normal(random), scale = normal(random) / 50;
    const auto code = static_cast<std::int8_t>(static_cast<int>(random() % 255) - 127);
    const double exact = double{w} - static_cast<double>(code) * double{scale};
    const double d = static_cast<float>(exact);
    const auto sums = kernel::sum_errors<TypeParam>({&w, 1}, {&code, 1}, scale);
    ASSERT_EQ(sums.noise, d * d);
    ASSERT_EQ(sums.absolute, std::fabs(d));
    ASSERT_EQ(sums.largest, std::fabs(d));
  }
}

TYPED_TEST(kernels, error_sums_equal_scalar) {
  for_all_inputs([](auto v) {
    const auto codes = quantized<scalar, 8, kernel::rounding::half_even>(v, 1000.0f);
    for (const float scale : {0.001f, 0.00100001f, -3.0f}) {
      const auto a = kernel::sum_errors<TypeParam>(v, codes, scale);
      const auto b = kernel::sum_errors<scalar>(v, codes, scale);
      ASSERT_TRUE(same_bits(&a, &b, 1));
    }
    const auto other = inputs::make(inputs::gaussian, v.size(), 5);
    const auto a = kernel::sum_errors<TypeParam>(v, other),
               b = kernel::sum_errors<scalar>(v, other);
    ASSERT_TRUE(same_bits(&a, &b, 1));
  });
}

TYPED_TEST(kernels, code_sums_equal_scalar) {
  for_all_inputs([](auto v) {
    std::vector<float> importance(v.size()), weighted(v.size());
    for (std::size_t i = 0; i < v.size(); ++i) {
      importance[i] = 0.1f + static_cast<float>(i % 5);
      weighted[i] = importance[i] * v[i];
    }
    const auto equal = [](const kernel::code_sums& a, const kernel::code_sums& b) {
      return a.cross == b.cross && a.square == b.square;
    };
    for (const float inverse : {31.7f, -250.0f}) {
      ASSERT_TRUE(equal((kernel::sum_codes<4, TypeParam>(v, {}, {}, inverse)),
                        (kernel::sum_codes<4, scalar>(v, {}, {}, inverse))));
      ASSERT_TRUE(equal((kernel::sum_codes<5, TypeParam>(v, weighted, importance, inverse)),
                        (kernel::sum_codes<5, scalar>(v, weighted, importance, inverse))));
      ASSERT_TRUE(equal((kernel::sum_codes<8, TypeParam>(v, weighted, importance, inverse)),
                        (kernel::sum_codes<8, scalar>(v, weighted, importance, inverse))));
    }
  });
}

/// The rotation is its own inverse, keeps products, and mixes a head's values evenly.
TEST(hadamard, is_symmetric_and_orthogonal) {
  for (const std::size_t n : {1u, 2u, 24u, 64u, 80u}) {
    auto x = inputs::make(inputs::gaussian, n, 1), y = inputs::make(inputs::gaussian, n, 2);
    const auto product = [&] {
      double sum = 0;
      for (std::size_t i = 0; i < n; ++i) sum += double{x[i]} * y[i];
      return sum;
    };
    const auto before = x;
    const double expected = product();
    kernel::turn_by_hadamard(x.data(), n), kernel::turn_by_hadamard(y.data(), n);
    EXPECT_NEAR(product(), expected, 1e-8) << n; // values of 0.02, a few roundings each
    kernel::turn_by_hadamard(x.data(), n);
    for (std::size_t i = 0; i < n; ++i) EXPECT_NEAR(x[i], before[i], 1e-7) << n;
  }
  std::vector<float> one(64);
  one[5] = 8;
  kernel::turn_by_hadamard(one.data(), 64);
  for (const float v : one) EXPECT_EQ(std::fabs(v), 1.0f);
}

/// Gates and soft caps against their formulas in double. The exponential is right within 3 units in
/// the last place, and a few operations follow: 1e-6 of the magnitudes.
TYPED_TEST(kernels, activations_follow_their_formulas) {
  for (const std::size_t n : {1u, 16u, 37u}) {
    std::vector<float> x(n), up(n);
    for (std::size_t i = 0; i < n; ++i) {
      x[i] = -12 + 24 * static_cast<float>(i) / static_cast<float>(n);
      up[i] = 9 - static_cast<float>(i % 19);
    }
    const auto expect = [&](auto kernel_of, auto formula, const char* name) {
      guarded<float> gate(n);
      std::copy(x.begin(), x.end(), gate.data());
      kernel_of(gate.data());
      for (std::size_t i = 0; i < n; ++i) {
        const double wanted = formula(double{x[i]}, double{up[i]});
        EXPECT_NEAR(gate.data()[i], wanted, 1e-6 * std::max(1.0, std::fabs(wanted) * 4))
            << name << " of " << x[i];
      }
      EXPECT_TRUE(gate.intact());
    };
    expect([&](float* g) { kernel::multiply_silu<TypeParam>(g, up.data(), n); },
           [](double g, double u) { return u * g / (1 + std::exp(-g)); }, "silu");
    expect([&](float* g) { kernel::multiply_gelu<TypeParam>(g, up.data(), n); },
           [](double g, double u) {
             return u * g / 2 * (1 + std::tanh(0.7978845608028654 * (g + 0.044715 * g * g * g)));
           },
           "gelu");
    expect([&](float* g) { kernel::multiply_clamped_silu<TypeParam>(g, up.data(), n); },
           [](double g, double u) {
             const double x_7 = std::min(g, 7.0);
             return x_7 / (1 + std::exp(-1.702 * x_7)) * (std::clamp(u, -7.0, 7.0) + 1);
           },
           "clamped silu");
    expect([&](float* g) { kernel::soft_cap<TypeParam>(g, n, 3); },
           [](double g, double) { return 3 * std::tanh(g / 3); }, "soft cap");
    double sum = 0;
    for (const float v : x) sum += std::exp(double{v} - 12);
    EXPECT_NEAR(kernel::sum_of_exponentials<TypeParam>(x, 12.0f), sum, 1e-6 * sum);
  }
}

} // namespace
