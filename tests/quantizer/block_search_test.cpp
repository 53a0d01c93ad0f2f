// SPDX-License-Identifier: MIT
#include "inputs.hpp"
#include "random_blocks.hpp"

#include <edgequant/quantizer/block_search.hpp>
#include <edgequant/quantizer/row_codec.hpp>

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace eq = edgequant;

namespace {

/// Formats that the search is for.
std::vector<eq::format> searched() {
  std::vector<eq::format> formats;
  for (const auto& row : eq::format_table)
    if (eq::find_layout(row.id) && !eq::visit_block_format(row.id, [](auto) {}))
      formats.push_back(row.id);
  return formats;
}

std::vector<float> bell(std::size_t count, std::uint64_t seed) {
  random_blocks::generator random{seed};
  std::vector<float> values(count);
  for (float& x : values) {
    std::int64_t sum = 0;
    for (int k = 0; k < 8; ++k) sum += static_cast<std::int64_t>(random() >> 44) - (1 << 19);
    x = static_cast<float>(sum) * 0x1p-26f;
  }
  return values;
}

/// The error of a group at a scale and a minimum by the definition: each value takes its best code.
double group_error(const eq::block_layout& f, const float* x, const float* c, double scale,
                   double minimum) {
  double sum = 0;
  for (std::size_t i = 0; i < f.group_length; ++i) {
    double best = std::numeric_limits<double>::infinity();
    for (int q = f.lowest_code; q <= f.highest_code; ++q) {
      if (!f.codebook.empty() &&
          std::find(f.codebook.begin(), f.codebook.end(), q) == f.codebook.end())
        continue;
      const double off = x[i] + minimum - q * scale;
      best = std::min(best, off * off);
    }
    sum += c[i] * best;
  }
  return sum;
}

double block_error(const eq::block_layout& f, const float* x, const float* c,
                   const eq::encoded_block& b) {
  double sum = 0;
  for (std::size_t g = 0; g < f.groups(); ++g) {
    const double step = eq::step_value(f.unit, b.scale_steps[g]);
    const double scale = f.unit == eq::scale_unit::half_of_block
                             ? static_cast<double>(static_cast<float>(b.scale)) * step
                             : step;
    const double minimum = static_cast<double>(static_cast<float>(b.minimum)) * b.minimum_steps[g];
    sum += group_error(f, x + g * f.group_length, c + g * f.group_length, scale, minimum);
  }
  return sum;
}

} // namespace

// The promise of block_search, by an oracle that tries every code. Rounding of the sums may hide a
// gain of 1e-12 of the error: 256 terms, each within a few 2^-53.
TEST(block_search, no_single_move_gains) {
  for (const auto type : searched()) {
    const auto f = *eq::find_layout(type);
    eq::block_search search(f);
    for (std::uint64_t seed = 1; seed < 5; ++seed) {
      const auto x = bell(f.block_length, seed);
      std::vector<float> c(f.block_length, 1.0f);
      random_blocks::generator random{seed};
      if (seed > 2)
        for (float& v : c) v = 0.01f + static_cast<float>(random() % 1000);
      eq::encoded_block b;
      ASSERT_TRUE(search(x.data(), c.data(), b));
      const double error = block_error(f, x.data(), c.data(), b) * (1 - 1e-12);
      const auto expect_no_gain = [&](const eq::encoded_block& moved, const char* what) {
        EXPECT_GE(block_error(f, x.data(), c.data(), moved), error) << eq::name_of(type) << what;
      };
      for (std::size_t g = 0; g < f.groups(); ++g)
        for (const int direction : {-1, 1}) {
          eq::encoded_block moved = b;
          moved.scale_steps[g] = static_cast<std::int16_t>(b.scale_steps[g] + direction);
          if (moved.scale_steps[g] >= f.lowest_step && moved.scale_steps[g] <= f.highest_step)
            expect_no_gain(moved, " scale");
          moved = b;
          const int minimum = b.minimum_steps[g] + direction;
          moved.minimum_steps[g] = static_cast<std::uint8_t>(minimum);
          if (minimum >= f.lowest_minimum && minimum <= f.highest_minimum)
            expect_no_gain(moved, " minimum");
        }
      if (f.unit != eq::scale_unit::half_of_block) continue;
      for (const int direction : {-1, 1}) {
        eq::encoded_block moved = b;
        moved.scale = *eq::quantizer::detail::next_half(b.scale, direction);
        expect_no_gain(moved, " half");
        moved = b;
        const auto minimum = eq::quantizer::detail::next_half(b.minimum, direction);
        if (f.has_minimum() && minimum) {
          moved.minimum = *minimum;
          expect_no_gain(moved, " half of minimums");
        }
      }
    }
  }
}

// Two values a scale: the optimum over all halves of either sign, by trying all of them.
TEST(block_search, is_near_the_optimum_of_one_half) {
  for (const auto type : {eq::format::q1_0, eq::format::q2_0, eq::format::iq4_nl}) {
    const auto f = *eq::find_layout(type);
    eq::block_search search(f);
    double found = 0, optimum = 0;
    for (std::uint64_t seed = 1; seed < 9; ++seed) {
      const auto x = bell(f.block_length, seed);
      const std::vector<float> c(f.block_length, 1.0f);
      eq::encoded_block b;
      ASSERT_TRUE(search(x.data(), nullptr, b));
      found += block_error(f, x.data(), c.data(), b);
      double best = std::numeric_limits<double>::infinity();
      for (int bits = 1; bits < 0x7c00; ++bits) {
        const double scale =
            static_cast<float>(Eigen::numext::bit_cast<eq::half>(static_cast<std::uint16_t>(bits)));
        if (scale < 0x1p-14 || scale > 0.5) continue; // values are below 0.063
        best = std::min({best,
                         eq::kernel::group_error(eq::kernel::code_set(f), f.group_length, x.data(),
                                                 c.data(), scale, 0),
                         eq::kernel::group_error(eq::kernel::code_set(f), f.group_length, x.data(),
                                                 c.data(), -scale, 0)});
      }
      optimum += best;
    }
    EXPECT_GE(found, optimum * (1 - 1e-12)) << eq::name_of(type);
    EXPECT_LE(found, optimum * 1.01) << eq::name_of(type);
  }
}

// A search for single formats that knows the optimum of each block: the general one, which also
// serves those, comes within 2 % of it.
TEST(block_search, is_near_the_exact_search_of_q4_0) {
  const auto x = bell(32 * 64, 5);
  std::vector<std::byte> bytes(eq::row_bytes(eq::format::q4_0, x.size()));
  eq::row_encoder(eq::format::q4_0, eq::scale_rule::mse, "w")(x, {}, 0, bytes.data());
  std::vector<float> exact(x.size());
  eq::decode_row(eq::format::q4_0, bytes.data(), exact);
  const auto f = eq::layout_of<eq::q4_0>();
  eq::block_search search(f);
  const std::vector<float> c(32, 1.0f);
  double found = 0, optimum = 0;
  for (std::size_t i = 0; i < x.size(); i += 32) {
    eq::encoded_block b;
    ASSERT_TRUE(search(x.data() + i, nullptr, b));
    found += block_error(f, x.data() + i, c.data(), b);
  }
  for (std::size_t i = 0; i < x.size(); ++i)
    optimum += std::pow(static_cast<double>(x[i]) - exact[i], 2);
  EXPECT_GE(found, optimum * (1 - 1e-9));
  EXPECT_LE(found, optimum * 1.02);
}

TEST(block_search, zeros_stay_zeros_and_importance_of_zeros_counts_as_none) {
  for (const auto type : searched()) {
    const auto f = *eq::find_layout(type);
    eq::row_encoder encode(type, eq::scale_rule::mse, "w");
    std::vector<float> x(f.block_length), back(x.size(), 1.0f), none(x.size());
    std::vector<std::byte> bytes(eq::row_bytes(type, x.size())), weighted(bytes.size());
    encode(x, {}, 0, bytes.data());
    eq::decode_row(type, bytes.data(), back);
    for (const float v : back) EXPECT_EQ(v, 0.0f) << eq::name_of(type);
    x = bell(f.block_length, 2);
    encode(x, {}, 0, bytes.data());
    encode(x, none, 0, weighted.data());
    EXPECT_EQ(bytes, weighted) << eq::name_of(type);
  }
}

TEST(block_search, columns_that_do_not_count_keep_near_codes) {
  const auto x = bell(256, 4);
  std::vector<float> importance(256, 1.0f), back(256);
  for (std::size_t i = 0; i < 256; i += 2) importance[i] = 0;
  for (std::size_t i = 0; i < 64; ++i) importance[i] = 0; // two whole groups
  std::vector<std::byte> bytes(eq::row_bytes(eq::format::q4_k, 256));
  eq::row_encoder(eq::format::q4_k, eq::scale_rule::mse, "w")(x, importance, 0, bytes.data());
  eq::decode_row(eq::format::q4_k, bytes.data(), back);
  double ignored = 0, counted = 0, signal = 0;
  for (std::size_t i = 0; i < 256; ++i) {
    const double off = static_cast<double>(x[i]) - back[i];
    (importance[i] == 0 ? ignored : counted) += off * off;
    if (importance[i] == 0) signal += static_cast<double>(x[i]) * x[i];
  }
  EXPECT_LT(counted, ignored);
  EXPECT_LT(ignored, 0.05 * signal);
}

TEST(block_search, refuses_scales_beyond_a_half_and_other_rules) {
  for (const auto type : searched()) {
    const auto f = *eq::find_layout(type);
    std::vector<float> x(f.block_length, 0.01f);
    x[3] = -1e30f;
    std::vector<std::byte> bytes(eq::row_bytes(type, x.size()));
    eq::row_encoder encode(type, eq::scale_rule::mse, "w");
    if (type == eq::format::mxfp4) { // its scales reach as far as floats do
      encode(x, {}, 0, bytes.data());
      continue;
    }
    try {
      encode(x, {}, 512, bytes.data());
      ADD_FAILURE() << eq::name_of(type);
    } catch (const eq::exception& e) {
      EXPECT_EQ(std::string(e.what()),
                "w: a scale of the block at index 512 is beyond the range of " +
                    std::string(eq::name_of(type)));
    }
  }
  EXPECT_THROW(eq::row_encoder(eq::format::q4_k, eq::scale_rule::absmax, "w"), eq::exception);
}
