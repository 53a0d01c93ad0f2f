// SPDX-License-Identifier: MIT
#include "inputs.hpp"

#include <edgequant/metric/error.hpp>
#include <edgequant/quantizer/plain.hpp>
#include <edgequant/quantizer/row_codec.hpp>

#include <gtest/gtest.h>

namespace eq = edgequant;

namespace {

eq::matrix_f matrix(std::size_t rows, std::size_t cols, inputs::kind kind = inputs::gaussian) {
  const auto values = inputs::make(kind, rows * cols, 9);
  return Eigen::Map<const eq::matrix_f>(values.data(), static_cast<Eigen::Index>(rows),
                                        static_cast<Eigen::Index>(cols));
}

const eq::scale_choice all_rules[] = {eq::scale_rule::absmax,
                                      eq::scale_rule::signed_max,
                                      eq::scale_rule::ggml,
                                      {eq::scale_rule::percentile, 90},
                                      eq::scale_rule::mse};

/// The message of the exception that `call` must throw.
template <class Call> std::string message_of(Call call) {
  try {
    call();
  } catch (const eq::exception& e) {
    return e.what();
  }
  return "nothing was thrown";
}

} // namespace

TEST(scale_rule, names_are_read_and_written) {
  for (const auto* name :
       {"absmax", "signed_max", "ggml", "mse", "percentile:99.9", "percentile:50"})
    EXPECT_EQ(eq::to_string(eq::parse_scale(name)), name);
  EXPECT_EQ(eq::to_string(eq::parse_scale("percentile")), "percentile:99.9");
  for (const auto* bad : {"", "max", "absmax:3", "percentile:", "percentile:0", "percentile:101",
                          "percentile:9x", "percentile:nan", "mse:1"})
    EXPECT_THROW((void)eq::parse_scale(bad), eq::exception) << bad;
}

TEST(plain, int8_is_absmax_over_127) {
  const std::vector<float> values{0.5f, -1.27f, 0.015f, 1.0f};
  const auto q = eq::quantize_int8(values);
  EXPECT_EQ(q.scale, 1.27f / 127.0f);
  EXPECT_EQ(q.zero_point, 0);
  EXPECT_EQ(q.codes, (std::vector<std::int8_t>{50, -127, 2, 100})); // 1.5 rounds to even
  const auto back = eq::dequantize_int8(q.codes, q.scale);
  EXPECT_EQ(back[1], -127.0f * q.scale);
}

TEST(plain, int4_is_absmax_over_7_and_signed_max_reaches_minus_8) {
  const std::vector<float> values{0.7f, -0.3f, 0.05f};
  const auto q = eq::quantize_int4(values);
  EXPECT_EQ(q.scale, 0.7f / 7.0f);
  EXPECT_EQ(q.codes, (std::vector<std::int8_t>{7, -3, 0}));
  const auto s = eq::quantize_int4(values, eq::scale_rule::signed_max);
  EXPECT_EQ(s.scale, 0.7f / -8.0f);
  EXPECT_EQ(s.codes[0], -8);
}

TEST(plain, edge_inputs_are_defined) {
  for (const auto& rule : all_rules) {
    const auto empty = eq::quantize_int8({}, rule);
    EXPECT_TRUE(empty.codes.empty());
    EXPECT_EQ(empty.scale, 0.0f);
    for (const float x : {0.0f, -0.0f, 1e-45f, -1e-44f}) {
      const auto zeros = eq::quantize_int4(std::vector<float>(5, x), rule);
      EXPECT_EQ(zeros.codes, std::vector<std::int8_t>(5, 0)) << eq::to_string(rule) << " " << x;
      EXPECT_EQ(zeros.scale, 0.0f);
    }
    for (const float x : {1.0f, -3e38f, std::numeric_limits<float>::max(), 1e-30f}) {
      const std::vector<float> one{x};
      for (const auto& q : {eq::quantize_int8(one, rule), eq::quantize_int4(one, rule)}) {
        // One value is code * scale up to the rounding of the scale and of the product.
        const auto back = eq::dequantize_int8(q.codes, q.scale);
        EXPECT_NEAR(back[0] / x, 1.0, 0x1p-22) << eq::to_string(rule) << " " << x;
      }
    }
  }
}

TEST(plain, nan_and_infinity_are_refused_with_name_and_index) {
  std::vector<float> values(100, 1.0f);
  values[77] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_EQ(message_of([&] { (void)eq::quantize_int8(values, {}, "blk.0.attn_q"); }),
            "blk.0.attn_q: value at index 77 is NaN");
  values[3] = -std::numeric_limits<float>::infinity();
  EXPECT_EQ(message_of([&] { (void)eq::quantize_int4(values); }),
            "weights: value at index 3 is -infinity");
}

TEST(plain, int4_packing_round_trips_and_checks_its_input) {
  for (std::size_t n = 0; n < 70; ++n) {
    std::vector<std::int8_t> codes(n);
    for (std::size_t i = 0; i < n; ++i)
      codes[i] = static_cast<std::int8_t>(static_cast<int>(i * 5 % 16) - 8);
    for (const auto order : {eq::nibble_order::interleaved, eq::nibble_order::split_half})
      EXPECT_EQ(eq::unpack_int4(eq::pack_int4(codes, order), n, order), codes);
  }
  EXPECT_EQ(eq::pack_int4(std::vector<std::int8_t>{1, 2}), std::vector<std::uint8_t>{0x21});
  EXPECT_NE(message_of([] {
              (void)eq::pack_int4(std::vector<std::int8_t>{0, 8});
            }).find("code 8 at index 1"),
            std::string::npos);
  EXPECT_NE(message_of([] {
              (void)eq::unpack_int4(std::vector<std::uint8_t>(3), 7);
            }).find("3 bytes cannot be 7 codes"),
            std::string::npos);
}

TEST(percentile, clips_what_lies_beyond_and_keeps_sparse_groups) {
  std::vector<float> values(1000);
  for (std::size_t i = 0; i < 1000; ++i) values[i] = static_cast<float>(i + 1);
  const auto q = eq::quantize_int8(values, {eq::scale_rule::percentile, 90});
  EXPECT_EQ(q.scale, 900.0f / 127.0f);
  EXPECT_EQ(q.codes[999], 127);
  std::vector<float> sparse(1000, 0.0f);
  sparse[5] = 2.0f;
  EXPECT_EQ(eq::quantize_int8(sparse, {eq::scale_rule::percentile, 90}).codes[5], 127);
}

template <class F> void expect_group_error(const eq::scale_choice& rule) {
  for (const std::size_t cols : {1u, 31u, 32u, 33u, 172u}) {
    const auto w = matrix(5, cols);
    const auto q = eq::quantize<F>(w, {.scale = rule});
    const auto back = q.dequantize();
    ASSERT_EQ(back.rows(), w.rows());
    ASSERT_EQ(back.cols(), w.cols());
    // Unclipped codes miss by half a step, at most absmax / 7 (4 bits, absmax) * (1 + f16
    // rounding).
    const float step = w.cwiseAbs().maxCoeff() / 7.0f * 1.001f;
    EXPECT_LE((back - w).cwiseAbs().maxCoeff(), step) << cols;
  }
}

TEST(quantize, every_format_and_rule_on_odd_shapes) {
  for (const auto& rule :
       {all_rules[0], all_rules[1], all_rules[2]}) { // the rules that do not clip
    expect_group_error<eq::q8_0>(rule);
    expect_group_error<eq::q5_0>(rule);
    expect_group_error<eq::q4_0>(rule);
    expect_group_error<eq::symmetric<8, eq::per_channel>>(rule);
    expect_group_error<eq::symmetric<8, eq::per_tensor, eq::half>>(rule);
    expect_group_error<eq::symmetric<4, eq::per_tensor>>(rule);
    expect_group_error<eq::symmetric<4, 7, eq::half>>(rule);
    expect_group_error<eq::symmetric<8, 128>>(rule);
  }
}

TEST(quantize, mse_is_never_worse_than_the_other_rules) {
  const auto worse = [](const auto& w, const auto& rule, auto format) {
    using F = decltype(format);
    const auto mse = eq::measure_error(w, eq::quantize<F>(w, {.scale = eq::scale_rule::mse}));
    const auto other = eq::measure_error(w, eq::quantize<F>(w, {.scale = rule}));
    return mse.mse > other.mse * (1 + 1e-6); // codes are nearest up to the rounding of 1/scale
  };
  for (const auto kind : {inputs::gaussian, inputs::ties, inputs::outliers, inputs::signed_zeros})
    for (const auto& rule : all_rules) {
      const auto w = matrix(20, 172, kind);
      EXPECT_FALSE(worse(w, rule, eq::q5_0{}));
      EXPECT_FALSE(worse(w, rule, eq::q4_0{}));
      EXPECT_FALSE(worse(w, rule, eq::q8_0{}));
      EXPECT_FALSE(worse(w, rule, eq::symmetric<4, eq::per_channel>{}));
      EXPECT_FALSE(worse(w, rule, eq::symmetric<4, eq::per_tensor>{}));
    }
}

TEST(quantize, empty_matrices_are_empty) {
  EXPECT_EQ((eq::quantize<eq::q4_0>(eq::matrix_f(0, 64)).bytes()), 0u);
  EXPECT_EQ((eq::quantize<eq::symmetric<4, 32>>(eq::matrix_f(3, 0)).bytes()), 0u);
}

TEST(quantize, bytes_and_bits_are_those_of_the_format) {
  const auto w = matrix(4, 64);
  EXPECT_EQ(eq::quantize<eq::q8_0>(w).bits_per_weight(), 8.5);
  EXPECT_EQ(eq::quantize<eq::q5_0>(w).bits_per_weight(), 5.5);
  EXPECT_EQ(eq::quantize<eq::q4_0>(w).bits_per_weight(), 4.5);
  EXPECT_EQ((eq::quantize<eq::symmetric<8, eq::per_channel>>(w).bytes()), 4 * 64 + 4 * 4u);
  EXPECT_EQ((eq::quantize<eq::symmetric<4, eq::per_tensor, eq::half>>(w).bytes()), 4 * 32 + 2u);
  EXPECT_EQ((eq::quantize<eq::symmetric<4, 48, eq::half>>(w).bytes()), 4 * (32 + 4u));
}

TEST(quantize, a_tail_group_is_a_group_of_fewer_values) {
  const auto w = matrix(1, 40);
  const eq::matrix_f tail = w.rightCols(8);
  const auto whole = eq::quantize<eq::q4_0>(w, {.scale = eq::scale_rule::mse}).dequantize();
  const auto alone = eq::quantize<eq::q4_0>(tail, {.scale = eq::scale_rule::mse}).dequantize();
  EXPECT_EQ(whole.rightCols(8), alone);
}

template <class F> void expect_groups_alone_equal_groups_in_a_row(inputs::kind kind) {
  const auto w = matrix(2, 1024 + 96, kind); // two batches of sixteen groups, and three groups
  for (const auto& rule : all_rules) {
    const auto all = eq::quantize<F>(w, {.scale = rule});
    for (int r = 0; r < 2; ++r)
      for (int g = 0; g < 35; ++g) {
        const eq::matrix_f group = w.block(r, 32 * g, 1, 32);
        const auto one = eq::quantize<F>(group, {.scale = rule});
        ASSERT_TRUE(inputs::same_bits(&one.storage().blocks[0],
                                      &all.storage().blocks[static_cast<std::size_t>(35 * r + g)],
                                      1))
            << eq::to_string(rule) << " group " << g;
      }
  }
}

TEST(quantize, groups_do_not_depend_on_their_neighbours) {
  for (int k = 0; k < inputs::kinds; ++k) {
    expect_groups_alone_equal_groups_in_a_row<eq::q8_0>(static_cast<inputs::kind>(k));
    expect_groups_alone_equal_groups_in_a_row<eq::q5_0>(static_cast<inputs::kind>(k));
    expect_groups_alone_equal_groups_in_a_row<eq::q4_0>(static_cast<inputs::kind>(k));
  }
}

TEST(quantize, threads_do_not_change_a_bit) {
  const auto w = matrix(300, 320, inputs::outliers);
  for (const auto& rule : all_rules) {
    const auto one = eq::quantize<eq::q4_0>(w, {.scale = rule, .threads = 1});
    const auto many = eq::quantize<eq::q4_0>(w, {.scale = rule, .threads = 4});
    EXPECT_TRUE(inputs::same_bits(one.storage().blocks.data(), many.storage().blocks.data(),
                                  one.storage().blocks.size()));
  }
}

TEST(quantize, refuses_what_it_cannot_hold) {
  auto w = matrix(3, 64);
  w(1, 40) = std::numeric_limits<float>::infinity();
  EXPECT_EQ(message_of([&] { (void)eq::quantize<eq::q8_0>(w, {.name = "up"}); }),
            "up: value at index 104 is infinity");
  w(1, 40) = 1e9f;
  for (const auto& rule : {all_rules[0], all_rules[1], all_rules[2], all_rules[4]})
    EXPECT_NE(message_of([&] {
                (void)eq::quantize<eq::q8_0>(w, {.scale = rule, .name = "up"});
              }).find("up: the scale of the group at index 96 is above 65504"),
              std::string::npos)
        << eq::to_string(rule);
  EXPECT_NO_THROW((void)(eq::quantize<eq::symmetric<8, 32>>(w)));
  const std::vector<float> short_importance(63, 1.0f), negative(64, -1.0f);
  EXPECT_THROW((void)eq::quantize_weighted<eq::q8_0>(matrix(3, 64), short_importance),
               eq::exception);
  EXPECT_THROW((void)eq::quantize_weighted<eq::q8_0>(matrix(3, 64), negative), eq::exception);
}

TEST(quantize, mse_with_importance_lowers_the_weighted_error) {
  const auto w = matrix(64, 64);
  std::vector<float> importance(64, 0.01f);
  importance[3] = importance[40] = 10.0f;
  const auto plain = eq::quantize<eq::q4_0>(w, {.scale = eq::scale_rule::mse}).dequantize();
  const auto weighted = eq::quantize_weighted<eq::q4_0>(w, importance).dequantize();
  const auto error = [&](const eq::matrix_f& v) {
    const Eigen::Map<const Eigen::RowVectorXf> c(importance.data(), 64);
    return ((v - w).array().square().rowwise() * c.array()).sum();
  };
  EXPECT_LT(error(weighted), 0.5f * error(plain));
}

TEST(quantize, gaussian_q4_0_reaches_the_known_optimum) {
  // 21.87 dB is the optimum over half scales of both signs; a sample of 2^18 scatters by 0.02.
  const auto w = matrix(512, 512);
  EXPECT_GE(eq::measure_error(w, eq::quantize<eq::q4_0>(w, {.scale = eq::scale_rule::mse})).sqnr_db,
            21.83);
  EXPECT_NEAR(
      eq::measure_error(w, eq::quantize<eq::q4_0>(w, {.scale = eq::scale_rule::ggml})).sqnr_db,
      21.32, 0.03);
}

/// ggml's q5_0 encoder as its description says, value by value. 1/d that is no number is the one
/// place where the library departs from it: such a group is zeros.
eq::block_q5_0 ggml_q5_0(const float* x) {
  float most = 0, with_sign = 0;
  for (int j = 0; j < 32; ++j)
    if (std::fabs(x[j]) > most) most = std::fabs(x[j]), with_sign = x[j];
  const float d = with_sign / -16;
  float id = d != 0 ? 1.0f / d : 0.0f;
  const bool zeros = !std::isfinite(id);
  if (zeros) id = 0;
  eq::block_q5_0 block{};
  block.scale = eq::half(zeros ? std::copysign(0.0f, d) : d);
  std::uint32_t bits = 0;
  for (std::size_t j = 0; j < 32; ++j) {
    const float product = x[j] * id;
    const volatile float rounded = product; // not fused with the addition
    const auto u =
        static_cast<unsigned>(std::min(31, int{static_cast<std::int8_t>(rounded + 16.5f)}));
    auto& byte = block.nibbles[j % 16];
    byte = static_cast<std::uint8_t>(byte | (u & 15) << (j < 16 ? 0 : 4));
    bits |= u >> 4 << j;
  }
  for (std::size_t k = 0; k < 4; ++k)
    block.high_bits[k] = static_cast<std::uint8_t>(bits >> 8 * k & 255);
  return block;
}

TEST(quantize, q5_0_by_the_ggml_rule_is_what_ggml_writes) {
  for (int k = 0; k < inputs::kinds; ++k) {
    const auto w = matrix(300, 576, static_cast<inputs::kind>(k));
    const auto q = eq::quantize<eq::q5_0>(w, {.scale = eq::scale_rule::ggml});
    for (std::size_t b = 0; b < q.storage().blocks.size(); ++b) {
      const auto expected = ggml_q5_0(w.data() + 32 * b);
      ASSERT_TRUE(inputs::same_bits(&q.storage().blocks[b], &expected, 1)) << k << " block " << b;
    }
  }
}

/// Each rule by its definition: the scale of scale_rule's comments, and the nearest codes.
TEST(quantize, q5_0_scales_are_those_of_the_rules) {
  const auto w = matrix(4, 512, inputs::outliers);
  for (const auto rule : {eq::scale_rule::absmax, eq::scale_rule::signed_max}) {
    const auto q = eq::quantize<eq::q5_0>(w, {.scale = rule});
    for (std::size_t b = 0; b < q.storage().blocks.size(); ++b) {
      const float* x = w.data() + 32 * b;
      const float largest = *std::max_element(
          x, x + 32, [](float a, float c) { return std::fabs(a) < std::fabs(c); });
      const auto scale =
          eq::half(rule == eq::scale_rule::absmax ? std::fabs(largest) / 15.0f : largest / -16.0f);
      const auto& block = q.storage().blocks[b];
      ASSERT_TRUE(inputs::same_bits(&block.scale, &scale, 1));
      float values[32];
      eq::kernel::dequantize_block(block, values);
      const auto step = static_cast<float>(scale);
      for (int j = 0; j < 32; ++j) {
        const float code = std::nearbyint(x[j] * (1.0f / step));
        ASSERT_EQ(values[j], std::clamp(code, -16.0f, 15.0f) * step) << eq::to_string(rule);
      }
    }
  }
}

TEST(row_codec, writes_what_it_reads) {
  const auto values = inputs::make(inputs::gaussian, 768, 4);
  for (const auto& row : eq::format_table) {
    if (row.use != eq::format_use::writable) continue;
    eq::row_encoder encode(row.id, eq::scale_rule::mse, "w");
    std::vector<std::byte> bytes(eq::row_bytes(row.id, values.size())), again(bytes.size());
    std::vector<float> back(values.size());
    encode(values, {}, 0, bytes.data());
    eq::decode_row(row.id, bytes.data(), back);
    encode(back, {}, 0, again.data());
    // Bell-shaped values gain about 6 dB a bit; the worst of these formats has 18.9 dB at 4.25
    // bits.
    const double bits = 8.0 * row.block_bytes / row.block_length;
    EXPECT_GE(eq::measure_error(values, back).sqnr_db, std::min(5.5 * bits - 5, 40.0)) << row.name;
    if (!eq::is_block_format(row.id)) {
      EXPECT_EQ(bytes, again) << row.name;
    }
    std::vector<std::byte> odd(bytes.size() + 1); // at an address that is aligned to nothing
    std::copy(bytes.begin(), bytes.end(), odd.begin() + 1);
    std::vector<float> from_odd(values.size());
    eq::decode_row(row.id, odd.data() + 1, from_odd);
    EXPECT_EQ(back, from_odd) << row.name;
  }
}

TEST(row_codec, refuses_values_beyond_a_float_format) {
  eq::row_encoder f16(eq::format::f16, {}, "w"), bf16(eq::format::bf16, {}, "w");
  std::vector<float> row{1.0f, 65519.0f};
  std::vector<std::byte> out(4);
  EXPECT_NO_THROW(f16(row, {}, 0, out.data()));
  row[1] = -65520.0f;
  EXPECT_NE(message_of([&] {
              f16(row, {}, 10, out.data());
            }).find("w: value -65520.000000 at index 11 is beyond the range of f16"),
            std::string::npos);
  row[1] = std::numeric_limits<float>::max();
  EXPECT_NE(message_of([&] { bf16(row, {}, 0, out.data()); }).find("index 1"), std::string::npos);
  EXPECT_THROW(eq::row_encoder(eq::format::q4_k, {}, "w"), eq::exception);
  const std::vector<float> ones(32, 1), importance(32, 2);
  std::vector<std::byte> encoded(128);
  for (const auto type : {eq::format::f16, eq::format::q4_0}) {
    eq::row_encoder encode(type, eq::scale_rule::absmax, "w");
    EXPECT_THROW(encode(ones, importance, 0, encoded.data()), eq::exception);
    EXPECT_NO_THROW(encode(ones, {}, 0, encoded.data()));
  }
  eq::row_encoder mse(eq::format::q4_0, eq::scale_rule::mse, "w");
  EXPECT_NO_THROW(mse(ones, importance, 0, encoded.data()));
  EXPECT_THROW(eq::decode_row(eq::format::i32, out.data(), row), eq::exception);
}
