// SPDX-License-Identifier: MIT
// Each op of each backend in this build against the specification, simd::scalar, bit for bit.
#include "backends.hpp"
#include "inputs.hpp"

#include <edgequant/simd/simd.hpp>

#include <gtest/gtest.h>

#include <functional>
#include <numeric>

namespace eq = edgequant;
using eq::simd::scalar;

namespace {

template <class V> std::vector<std::uint32_t> raw(const V& v) {
  std::vector<std::uint32_t> words(sizeof(V) / 4);
  std::memcpy(words.data(), &v, sizeof(V));
  return words;
}

/// Floats worth trying: all bfloat16 patterns that are finite, ties and their neighbours.
std::vector<float> interesting_floats() {
  std::vector<float> values;
  for (std::uint32_t b = 0; b < 0x10000; ++b) {
    const float x = std::bit_cast<float>(b << 16);
    if (eq::is_finite(x)) values.push_back(x);
  }
  for (int k = -140; k <= 140; ++k)
    for (const float x : {static_cast<float>(k), static_cast<float>(k) + 0.5f}) {
      values.push_back(std::nextafter(x, -1e9f));
      values.push_back(x);
      values.push_back(std::nextafter(x, 1e9f));
    }
  for (const float x :
       {std::numeric_limits<float>::max(), std::numeric_limits<float>::denorm_min()})
    values.push_back(x), values.push_back(-x);
  while (values.size() % 16 != 0) values.push_back(0.0f);
  return values;
}

template <class S> class backend : public testing::Test {};
TYPED_TEST_SUITE(backend, backends);

/// op(S{}, p) on all 16-float windows gives the same words for S and scalar.
template <class S, class Op> void expect_equal(const std::vector<float>& values, Op op) {
  for (std::size_t i = 0; i + 16 <= values.size(); i += 16)
    ASSERT_EQ(raw(op(S{}, values.data() + i)), raw(op(scalar{}, values.data() + i)))
        << "at " << values[i];
}

/// Lane i holds i.
template <class S> typename S::f32 lane_numbers() {
  std::array<float, 16> numbers;
  std::iota(numbers.begin(), numbers.end(), 0.0f);
  return S::load(numbers.data());
}
template <class S> std::array<float, 16> floats(typename S::f32 x) {
  std::array<float, 16> a;
  S::store(a.data(), x);
  return a;
}
template <class S> std::array<std::int8_t, 16> codes(typename S::i32 x) {
  std::array<std::int8_t, 16> a;
  S::store_i8(a.data(), x);
  return a;
}

TYPED_TEST(backend, float_ops_equal_scalar) {
  const auto values = interesting_floats();
  for (const float y : {1.0f, 0.1f, -3.7f, 1e30f, 1e-30f}) {
    expect_equal<TypeParam>(values, [y]<class S>(S, const float* p) {
      return floats<S>(S::mul(S::load(p), S::broadcast(y)));
    });
    expect_equal<TypeParam>(values, [y]<class S>(S, const float* p) {
      return floats<S>(S::add(S::rounded(S::load(p)), S::broadcast(y)));
    });
  }
  expect_equal<TypeParam>(values,
                          []<class S>(S, const float* p) { return floats<S>(S::abs(S::load(p))); });
  expect_equal<TypeParam>(values, []<class S>(S, const float* p) {
    return S::reduce_max(S::max(S::bits(S::abs(S::load(p))), S::bits(S::broadcast(0.25f))));
  });
  expect_equal<TypeParam>(values, []<class S>(S, const float* p) {
    return floats<S>(S::add(S::clamp(S::load(p), -3.5f, 2.5f), S::broadcast(0.0f)));
  });
  expect_equal<TypeParam>(values, []<class S>(S, const float* p) {
    return S::reduce_add(S::clamp(S::load(p), -1e30f, 1e30f));
  });
  expect_equal<TypeParam>(values, []<class S>(S, const float* p) {
    typename S::f32 v[16]; // the largest stands in another lane of each, and differs
    for (int i = 0; i < 16; ++i) {
      float x[16];
      for (int k = 0; k < 16; ++k) x[k] = p[(i + 5 * k) % 16] * (k % 16 < i ? 0.5f : 1.0f);
      v[i] = S::load(x);
    }
    return floats<S>(S::add(S::max_of_each(v), S::broadcast(0.0f)));
  });
  expect_equal<TypeParam>(values, []<class S>(S, const float* p) {
    typename S::f32 v[16]; // whole numbers of at most seven digits: all sums are exact
    for (int i = 0; i < 16; ++i) {
      float x[16];
      for (int k = 0; k < 16; ++k)
        x[k] =
            static_cast<float>(static_cast<int>(std::bit_cast<std::uint32_t>(p[k]) >> 13) + i * k);
      v[i] = S::load(x);
    }
    return floats<S>(S::sum_of_each(v));
  });
}

TYPED_TEST(backend, bounds_ops_equal_scalar) {
  // multiply_add is exempt: it may round once or twice.
  const auto values = interesting_floats();
  for (const float y : {0.7f, -3.0f, 1e-20f}) {
    expect_equal<TypeParam>(values, [y]<class S>(S, const float* p) {
      return floats<S>(S::sub(S::load(p), S::broadcast(y)));
    });
    expect_equal<TypeParam>(values, [y]<class S>(S, const float* p) {
      return floats<S>(S::div(S::broadcast(y), S::max(S::abs(S::load(p)), S::broadcast(1e-30f))));
    });
    expect_equal<TypeParam>(values, [y]<class S>(S, const float* p) {
      return floats<S>(S::add(S::min(S::load(p), S::broadcast(y)), S::broadcast(0.0f)));
    });
    expect_equal<TypeParam>(
        values, [y]<class S>(S, const float* p) { return S::less(S::load(p), S::broadcast(y)); });
    expect_equal<TypeParam>(values, [y]<class S>(S, const float* p) {
      return floats<S>(S::where_less(S::load(p), S::broadcast(y), lane_numbers<S>()));
    });
  }
  expect_equal<TypeParam>(values, []<class S>(S, const float* p) {
    return floats<S>(S::add(S::round_even(S::clamp(S::load(p), -4e6f, 4e6f)), S::broadcast(0.0f)));
  });
}

TYPED_TEST(backend, every_sixteen_bits_become_lanes_and_bits_again) {
  using S = TypeParam;
  const auto zero = S::broadcast(0.0f), below = S::broadcast(-8.0f), above = lane_numbers<S>();
  for (std::uint32_t bits = 0; bits < 0x10000; ++bits) {
    const std::uint32_t wider = bits | (bits ^ 0xa5a5) << 16; // the upper half says nothing
    const auto chosen = S::choose(wider, below, above);
    ASSERT_EQ(S::less(chosen, zero), bits);
    if (bits % 251 == 0) {
      ASSERT_EQ(floats<S>(chosen), floats<scalar>(scalar::choose(bits, scalar::broadcast(-8.0f),
                                                                 lane_numbers<scalar>())));
    }
  }
}

TYPED_TEST(backend, rounding_equals_scalar) {
  const auto values = interesting_floats();
  for (const float top : {7.0f, 127.0f})
    expect_equal<TypeParam>(values, [top]<class S>(S, const float* p) {
      return codes<S>(S::clamp_round(S::load(p), -top, top));
    });
  expect_equal<TypeParam>(values, []<class S>(S, const float* p) {
    return codes<S>(S::round_away(S::clamp(S::load(p), -127.0f, 127.0f)));
  });
  expect_equal<TypeParam>(values, []<class S>(S, const float* p) {
    return codes<S>(S::truncate(S::clamp(S::load(p), -127.0f, 127.0f)));
  });
}

TYPED_TEST(backend, doubles_equal_scalar) {
  using S = TypeParam;
  const auto values = interesting_floats();
  const auto sums = []<class T>(T, const float* p) {
    const auto x = T::widen(T::load(p));
    const auto y = T::sub(T::mul(x, x), T::add(x, T::broadcast(0.3)));
    std::array<double, 16> a;
    T::store(a.data(), y);
    return a;
  };
  expect_equal<S>(values, sums);
  expect_equal<S>(values, []<class T>(T, const float* p) {
    return T::reduce_add(
        T::rounded(T::mul(T::widen(T::clamp(T::load(p), -1e15f, 1e15f)), T::broadcast(1.0 / 3))));
  });
  expect_equal<S>(values, []<class T>(T, const float* p) {
    std::array<double, 16> a;
    T::store(a.data(), T::add(T::clamp_round(T::widen(T::load(p)), -8, 7), T::broadcast(0.0)));
    return a;
  });
  expect_equal<S>(values, []<class T>(T, const float* p) {
    const auto third = T::mul(T::widen(T::clamp(T::load(p), -1e30f, 1e30f)), T::broadcast(1.0 / 3));
    return floats<T>(T::narrow(third)); // rounds double to float, subnormals included
  });
}

TYPED_TEST(backend, every_byte_of_codes) {
  using S = TypeParam;
  for (int base = -128; base < 128; base += 16) {
    std::int8_t in[16], out[16];
    for (int i = 0; i < 16; ++i) in[i] = static_cast<std::int8_t>(base + i);
    S::store_i8(out, S::load_i8(in));
    EXPECT_TRUE(inputs::same_bits(in, out, 16));
    EXPECT_EQ(floats<S>(S::to_f32(S::load_i8(in))),
              floats<scalar>(scalar::to_f32(scalar::load_i8(in))));
  }
}

TYPED_TEST(backend, every_pair_of_nibbles) {
  using S = TypeParam;
  for (const std::uint8_t flip : {std::uint8_t{0}, std::uint8_t{0x88}})
    for (int base = 0; base < 256; base += 16) {
      std::uint8_t in[16], split[16], pairs[8];
      for (int i = 0; i < 16; ++i) in[i] = static_cast<std::uint8_t>(base + i);
      const auto low = S::load_low_nibbles(in, flip), high = S::load_high_nibbles(in, flip);
      S::store_nibbles(split, low, high, flip);
      EXPECT_TRUE(inputs::same_bits(in, split, 16));
      EXPECT_EQ(codes<S>(low), codes<scalar>(scalar::load_low_nibbles(in, flip)));
      EXPECT_EQ(codes<S>(high), codes<scalar>(scalar::load_high_nibbles(in, flip)));
      for (int part = 0; part < 16; part += 8) {
        const auto both = S::load_nibble_pairs(in + part, flip);
        EXPECT_EQ(codes<S>(both), codes<scalar>(scalar::load_nibble_pairs(in + part, flip)));
        S::store_nibble_pairs(pairs, both, flip);
        EXPECT_TRUE(inputs::same_bits(in + part, pairs, 8));
      }
    }
}

TYPED_TEST(backend, dot_products_are_exact) {
  using S = TypeParam;
  std::mt19937 random(7);
  std::int8_t a[64], with_offset[64], b[64];
  std::uint8_t nibbles[64];
  const auto expect_same = [](auto x, auto y) {
    EXPECT_EQ(floats<S>(S::to_f32(x)), floats<scalar>(scalar::to_f32(y)));
  };
  for (int round = 0; round < 300; ++round) {
    for (int i = 0; i < 64; ++i) {
      a[i] = static_cast<std::int8_t>(round == 0 ? -128 : static_cast<int>(random() % 256) - 128);
      b[i] = static_cast<std::int8_t>(round == 0 ? 127 : static_cast<int>(random() % 255) - 127);
      with_offset[i] = static_cast<std::int8_t>(a[i] + S::code_offset);
      nibbles[i] = static_cast<std::uint8_t>(round == 0 ? 255 : random());
    }
    const int start = static_cast<int>(random() % 1000) - 500;
    // What the offset adds is taken off by the start.
    std::int32_t sum[16];
    for (int i = 0; i < 16; ++i) sum[i] = b[4 * i] + b[4 * i + 1] + b[4 * i + 2] + b[4 * i + 3];
    const auto dot8 = [&]<class T>(T, const std::int8_t* w) {
      const auto sums = T::template add_dot<8>(T::template begin_dots<8>(start), T::load_codes(w),
                                               T::load_codes(b));
      return T::template end_dots<8>(sums, start);
    };
    const auto whole = dot8(S{}, with_offset);
    const auto expected = dot8(scalar{}, a);
    auto got = floats<S>(S::to_f32(whole));
    for (std::size_t i = 0; i < 16; ++i) got[i] -= static_cast<float>(S::code_offset * sum[i]);
    EXPECT_EQ(got, floats<scalar>(scalar::to_f32(expected)));

    std::int8_t bytes[64], same[64];
    S::store_codes(bytes, S::load_codes(a));
    EXPECT_TRUE(std::equal(a, a + 64, bytes));
    S::store_codes(bytes, S::load_low_codes(nibbles));
    scalar::store_codes(same, scalar::load_low_codes(nibbles));
    EXPECT_TRUE(std::equal(bytes, bytes + 64, same));
    S::store_codes(bytes, S::load_high_codes(nibbles));
    scalar::store_codes(same, scalar::load_high_codes(nibbles));
    EXPECT_TRUE(std::equal(bytes, bytes + 64, same));
    const auto expect_same_codes = [&](auto op) {
      S::store_codes(bytes, op(S{}));
      scalar::store_codes(same, op(scalar{}));
      EXPECT_TRUE(std::equal(bytes, bytes + 64, same));
    };
    [&]<int... Shift>(std::integer_sequence<int, Shift...>) {
      (expect_same_codes([&]<class T>(T) { return T::template field<Shift, 1>(T::load_codes(a)); }),
       ...);
    }
    (std::make_integer_sequence<int, 8>{});
    expect_same_codes([&]<class T>(T) { return T::template field<0, 2>(T::load_codes(a)); });
    expect_same_codes([&]<class T>(T) { return T::template field<6, 2>(T::load_codes(a)); });
    expect_same_codes([&]<class T>(T) {
      const auto pairs = T::template field<4, 2>(T::load_codes(a));
      return T::merge(T::load_low_codes(nibbles), T::template shift_up<4>(pairs));
    });
    expect_same_codes([&]<class T>(T) {
      return T::template shift_up<1>(T::template field<3, 1>(T::load_codes(a)));
    });
    expect_same_codes([&]<class T>(T) { return T::look_up(b, T::load_high_codes(nibbles)); });
    for (int dots = 1; dots <= 8; ++dots) { // as many as may follow each other
      const auto dot4 = [&]<class T>(T) {
        auto sums = T::template begin_dots<4>(start);
        for (int k = 0; k < dots; ++k) {
          const auto w = k % 2 == 0 ? T::load_low_codes(nibbles) : T::load_high_codes(nibbles);
          sums = T::template add_dot<4>(sums, w, T::broadcast_codes(b, k * 3 % 16));
        }
        return T::template end_dots<4>(sums, start);
      };
      expect_same(dot4(S{}), dot4(scalar{}));
    }
    const auto expect_same_bundles = [&]<int Bits>(std::integral_constant<int, Bits>) {
      if constexpr (requires { S::template dots_together<Bits>; }) {
        constexpr int together = S::template dots_together<Bits>;
        const auto codes = [&]<class T>(T) { return T::template field<0, Bits>(T::load_codes(a)); };
        typename S::i8 w[together], x[together];
        auto expected_sum = scalar::broadcast(start);
        for (int k = 0; k < together; ++k) {
          w[k] = codes(S{}), x[k] = S::broadcast_codes(b, k);
          expected_sum =
              scalar::add_dot<8>(expected_sum, codes(scalar{}), scalar::broadcast_codes(b, k));
        }
        expect_same(
            S::template end_dots<Bits>(
                S::template add_dots<Bits>(S::template begin_dots<Bits>(start), w, x), start),
            expected_sum);
      }
    };
    if (round == 0) std::fill_n(a, 64, std::int8_t{-1}); // the largest codes of any bits
    expect_same_bundles(std::integral_constant<int, 5>{});
    expect_same_bundles(std::integral_constant<int, 6>{});
  }
}

/// Half scales: sum * scale is rounded once, whatever the sum started from. A zero has either sign.
TYPED_TEST(backend, scaled_sums_are_rounded_once) {
  using S = TypeParam;
  for (const int sum : {0, 1, -1, 520192, -520192, 12345, (1 << 22) - 1, 1 - (1 << 22)})
    for (std::uint32_t base = 0; base < 0x10000; base += 16) {
      if ((base & 0x7c00) == 0x7c00) continue; // infinite or NaN
      std::uint16_t bits[16];
      for (std::uint32_t i = 0; i < 16; ++i) bits[i] = static_cast<std::uint16_t>(base + i);
      const auto scale = S::load_f16(bits);
      const auto scaled = S::scale_sum(S::broadcast(S::first_sum + sum), scale, S::shift_of(scale));
      const auto product =
          S::mul(S::to_f32(S::broadcast(sum)), scale); // held against scalar elsewhere
      const auto zero = S::broadcast(0.0f);
      ASSERT_EQ(raw(floats<S>(S::add(scaled, zero))), raw(floats<S>(S::add(product, zero))));
    }
}

TYPED_TEST(backend, every_half_and_bfloat16) {
  using S = TypeParam;
  for (std::uint32_t base = 0; base < 0x10000; base += 16) {
    std::uint16_t in[16], out[16];
    for (std::uint32_t i = 0; i < 16; ++i) in[i] = static_cast<std::uint16_t>(base + i);
    if ((base & 0x7c00) != 0x7c00) {
      EXPECT_EQ(raw(floats<S>(S::load_f16(in))), raw(floats<scalar>(scalar::load_f16(in))));
      S::store_f16(out, S::load_f16(in));
      EXPECT_TRUE(inputs::same_bits(in, out, 16)) << base;
    }
    if ((base & 0x7f80) != 0x7f80) {
      EXPECT_EQ(raw(floats<S>(S::load_bf16(in))), raw(floats<scalar>(scalar::load_bf16(in))));
      S::store_bf16(out, S::load_bf16(in));
      EXPECT_TRUE(inputs::same_bits(in, out, 16)) << base;
    }
  }
}

TYPED_TEST(backend, sixteen_bit_stores_round_as_scalar) {
  using S = TypeParam;
  // Every half, the midpoint above it, and the floats around both.
  std::vector<float> values;
  for (std::uint32_t b = 0; b < 0x7bff; ++b) {
    const auto at = [](std::uint32_t bits) {
      return static_cast<float>(
          Eigen::numext::bit_cast<eq::half>(static_cast<std::uint16_t>(bits)));
    };
    const float middle = (at(b) + at(b + 1)) / 2;
    values.insert(values.end(),
                  {std::nextafter(middle, 0.0f), -middle, middle, std::nextafter(middle, 1e6f)});
  }
  while (values.size() % 16 != 0) values.push_back(0.0f);
  const auto stored = []<class T>(T, const float* p) {
    std::array<std::uint16_t, 16> a, b;
    T::store_f16(a.data(), T::load(p));
    T::store_bf16(b.data(), T::load(p));
    return std::array{a, b};
  };
  expect_equal<S>(values, stored);
}

TEST(native, is_what_this_build_claims) {
  const std::string_view expected = EDGEQUANT_EXPECT_ISA;
  if (expected.empty())
    GTEST_SKIP() << "no instruction set was promised; native is " << eq::simd::native::name;
  EXPECT_EQ(eq::simd::native::name, expected);
}

} // namespace
