// SPDX-License-Identifier: MIT
#include "inputs.hpp"
#include "model/support.hpp"

#include <edgequant/model/kv_cache.hpp>

namespace {
using namespace model_test;

const eq::kv_shape shape{{3, 2}, 20}; // layers may differ

std::vector<float> head(std::size_t token, std::size_t which) {
  return inputs::make(inputs::gaussian, shape.head_size, static_cast<unsigned>(token * 7 + which));
}

/// Stores token `token` in all layers and heads.
void fill(eq::kv_sequence& s, std::size_t token) {
  for (std::size_t layer = 0; layer < shape.kv_heads.size(); ++layer)
    for (std::size_t h = 0; h < shape.kv_heads[layer]; ++h) {
      s.set_key(layer, token, h, head(token, layer * 10 + h).data());
      s.set_value(layer, token, h, head(token, 100 + layer * 10 + h).data());
    }
}

/// Largest difference between what was stored and what is read, over the largest magnitude.
double worst(const eq::kv_sequence& s) {
  double most = 0;
  std::vector<float> keys(s.size() * shape.head_size), values(keys.size());
  for (std::size_t layer = 0; layer < shape.kv_heads.size(); ++layer)
    for (std::size_t h = 0; h < shape.kv_heads[layer]; ++h) {
      s.read_keys(layer, h, 0, s.size(), keys.data(), s.size());
      s.read_values(layer, h, 0, s.size(), values.data());
      for (std::size_t t = 0; t < s.size(); ++t) {
        const auto k = head(t, layer * 10 + h), v = head(t, 100 + layer * 10 + h);
        const auto largest = [](const std::vector<float>& x) {
          return std::fabs(*std::max_element(
              x.begin(), x.end(), [](float a, float b) { return std::fabs(a) < std::fabs(b); }));
        };
        for (std::size_t i = 0; i < shape.head_size; ++i) {
          const float key = keys[i * s.size() + t], value = values[t * shape.head_size + i];
          most = std::max<double>(most, std::fabs(key - k[i]) / largest(k));
          most = std::max<double>(most, std::fabs(value - v[i]) / largest(v));
        }
      }
    }
  return most;
}

TEST(kv_cache, gives_back_what_was_stored) {
  // Half a unit in the last place of f16, and half a step of 1/127 with the rounding around it.
  struct {
    eq::kv_format type;
    double bound;
  } const cases[] = {{eq::kv_format::f32, 0.0},
                     {eq::kv_format::f16, 0x1p-11},
                     {eq::kv_format::int8, 0.5 / 127 + 1e-6},
                     // The largest magnitude at 7 alone errs by half a step of 1/7; f16 rounds the
                     // scale. Another scale is taken where the sum of squares over 32 values is
                     // smaller: no value errs by more than the root of that.
                     {eq::kv_format::int4, 0.5 / 7 * 5.66 + 1e-3}};
  for (const auto& [type, bound] : cases) {
    eq::kv_pool pool(shape, type, 10, 4);
    eq::kv_sequence a(pool), b(pool);
    for (std::size_t t = 0; t < 9; ++t) { // two texts grow in turn: their blocks are mixed
      a.extend(1), fill(a, t);
      b.extend(1), fill(b, t);
    }
    EXPECT_LE(worst(a), bound);
    EXPECT_LE(worst(b), bound);
  }
}

class kv_cache_zeros : public testing::TestWithParam<eq::kv_format> {};
TEST_P(kv_cache_zeros, a_head_of_zeros_is_zeros) {
  eq::kv_pool pool(shape, GetParam(), 1);
  eq::kv_sequence s(pool);
  s.extend(1);
  const std::vector<float> zeros(shape.head_size, 0.0f);
  s.set_key(0, 0, 0, zeros.data());
  s.set_value(0, 0, 0, zeros.data());
  std::vector<float> k(shape.head_size, 1.0f), v(k);
  s.read_keys(0, 0, 0, 1, k.data(), 1);
  s.read_values(0, 0, 0, 1, v.data());
  EXPECT_EQ(k, zeros);
  EXPECT_EQ(v, zeros);
}

INSTANTIATE_TEST_SUITE_P(formats, kv_cache_zeros,
                         testing::Values(eq::kv_format::int8, eq::kv_format::int4));

// What the README says of its size: 4.5 bits a value, of groups that are full.
TEST(kv_cache, int4_takes_half_a_byte_and_a_scale) {
  EXPECT_EQ(eq::kv_head_bytes(eq::kv_format::int4, 64), 36u);
  EXPECT_EQ(eq::kv_head_bytes(eq::kv_format::int4, 128), 72u);
  EXPECT_EQ(eq::kv_head_bytes(eq::kv_format::int4, 20), 20u); // one group, to whole floats
}

// Codes on a grid of -8 to 7 come back exactly: the search finds the grid's own scale.
TEST(kv_cache, int4_keeps_what_lies_on_its_grid) {
  for (const std::size_t d : {32u, 64u, 80u, 16u}) {
    eq::kv_pool pool({{1}, d}, eq::kv_format::int4, 4, 16);
    eq::kv_sequence s(pool);
    s.extend(37);
    const auto code = [&](std::size_t t, std::size_t i) {
      return i % 32 == 3 ? -8 : static_cast<int>((t * 31 + i * 7) % 16) - 8;
    };
    std::vector<float> x(d);
    for (std::size_t t = 0; t < 37; ++t) {
      for (std::size_t i = 0; i < d; ++i)
        x[i] = static_cast<float>(code(t, i)) * 0.25f * static_cast<float>(1 + i / 32);
      s.set_key(0, t, 0, x.data());
      s.set_value(0, t, 0, x.data());
    }
    std::vector<float> keys(d * 30), values(d * 30);
    s.read_keys(0, 0, 5, 30, keys.data(), 30); // begins and ends within a block
    s.read_values(0, 0, 5, 30, values.data());
    for (std::size_t t = 0; t < 30; ++t)
      for (std::size_t i = 0; i < d; ++i) {
        const float expected =
            static_cast<float>(code(t + 5, i)) * 0.25f * static_cast<float>(1 + i / 32);
        ASSERT_EQ(keys[i * 30 + t], expected) << d << " " << t << " " << i;
        ASSERT_EQ(values[t * d + i], expected) << d << " " << t << " " << i;
      }
  }
}

TEST(kv_cache, what_is_not_finite_stays_visible) {
  for (const auto type :
       {eq::kv_format::f32, eq::kv_format::f16, eq::kv_format::int8, eq::kv_format::int4})
    for (const float bad : {NAN, -NAN, INFINITY, -INFINITY}) {
      eq::kv_pool pool(shape, type, 1);
      eq::kv_sequence s(pool);
      s.extend(2);
      std::vector<float> x(shape.head_size, 1.0f), k(2 * x.size()), v(k);
      for (const std::size_t t : {0u, 1u}) {
        x[3] = t == 0 ? bad : 1.0f;
        s.set_key(0, t, 0, x.data());
        s.set_value(0, t, 0, x.data());
      }
      s.read_keys(0, 0, 0, 2, k.data(), 2);
      s.read_values(0, 0, 0, 2, v.data());
      EXPECT_FALSE(std::isfinite(k[3 * 2]));
      EXPECT_FALSE(std::isfinite(v[3]));
      for (std::size_t i = 0; i < shape.head_size; ++i) { // the other token
        EXPECT_NEAR(k[i * 2 + 1], 1.0f, 1e-6f);
        EXPECT_NEAR(v[shape.head_size + i], 1.0f, 1e-6f);
      }
    }
}

TEST(kv_cache, memory_follows_the_tokens) {
  eq::kv_pool pool({{8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8}, 64}, eq::kv_format::f16,
                   2048 / 16);
  EXPECT_EQ(pool.bytes(), 0u);
  eq::kv_sequence s(pool);
  s.extend(100);
  const std::size_t whole = std::size_t{2048} * 16 * 2 * 8 * 64 * 2;
  EXPECT_EQ(pool.block_bytes() * 128, whole);
  EXPECT_EQ(pool.blocks_in_use(), 7u);
  EXPECT_LE(pool.bytes(), whole / 10);
}

TEST(kv_cache, blocks_are_used_again) {
  eq::kv_pool pool(shape, eq::kv_format::f32, 4, 4);
  {
    eq::kv_sequence a(pool);
    a.extend(16);
    EXPECT_EQ(pool.blocks_left(), 0u);
    a.truncate(5);
    EXPECT_EQ(a.size(), 5u);
    EXPECT_EQ(pool.blocks_in_use(), 2u);
    eq::kv_sequence b(pool);
    b.extend(8);
    EXPECT_EQ(pool.blocks_left(), 0u);
  }
  EXPECT_EQ(pool.blocks_in_use(), 0u);
  EXPECT_EQ(pool.bytes(), 4 * pool.block_bytes()); // made once
}

TEST(kv_cache, running_out_is_an_error_that_changes_nothing) {
  eq::kv_pool pool(shape, eq::kv_format::f32, 3, 4);
  eq::kv_sequence a(pool), b(pool);
  a.extend(6);
  for (std::size_t t = 0; t < 6; ++t) fill(a, t);
  b.extend(4);
  try {
    a.extend(3);
    FAIL();
  } catch (const eq::exception& e) {
    EXPECT_EQ(e.code(), eq::error_code::exhausted);
    EXPECT_STREQ(e.what(), "KV cache: 3 tokens more need 1 block of 4, 0 are left");
  }
  EXPECT_EQ(a.size(), 6u);
  EXPECT_EQ(worst(a), 0.0);
  b.truncate(0);
  a.extend(3); // now there is room
  EXPECT_EQ(a.size(), 9u);
}

TEST(kv_cache, an_empty_shape_is_refused) {
  EXPECT_THROW(eq::kv_pool({{}, 2}, eq::kv_format::f32, 1), eq::exception);
  EXPECT_THROW(eq::kv_pool({{1}, 2}, eq::kv_format::f32, 1, 0), eq::exception);
}

} // namespace
