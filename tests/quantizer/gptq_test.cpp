// SPDX-License-Identifier: MIT
#include "inputs.hpp"

#include <edgequant/core/matrix.hpp>
#include <edgequant/quantizer/gptq.hpp>

#include <gtest/gtest.h>

#include <random>

namespace eq = edgequant;
using Eigen::Index;
using eq::format;

namespace {

/// Inputs whose columns depend on each other, as activations do.
Eigen::MatrixXd correlated_inputs(Index samples, Index columns, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<double> normal;
  const auto fill = [&](Index r, Index c) {
    return Eigen::MatrixXd::NullaryExpr(r, c, [&] { return normal(random); }).eval();
  };
  const Index hidden = std::max<Index>(1, columns / 4);
  return fill(samples, hidden) * fill(hidden, columns) + 0.3 * fill(samples, columns);
}

struct matrix {
  std::size_t rows, columns;
  std::vector<float> values;
  matrix(std::size_t r, std::size_t c, unsigned seed)
      : rows(r), columns(c), values(inputs::make(inputs::gaussian, r * c, seed)) {}
  Eigen::Map<const eq::matrix_f> view() const {
    return {values.data(), static_cast<Index>(rows), static_cast<Index>(columns)};
  }
};

std::vector<std::byte> by_gptq(const matrix& w, format type, const Eigen::MatrixXd& gram,
                               eq::gptq_options options = {}) {
  std::vector<std::byte> bytes(w.rows * eq::row_bytes(type, w.columns));
  (void)eq::gptq_encode(type, w.values.data(), w.rows, eq::gptq_columns(gram, options.damping),
                        options, "w", bytes.data());
  return bytes;
}

std::vector<std::byte> by_rounding(const matrix& w, format type) {
  const std::size_t row = eq::row_bytes(type, w.columns);
  std::vector<std::byte> bytes(w.rows * row);
  eq::row_encoder encode(type, eq::scale_rule::mse, "w");
  for (std::size_t r = 0; r < w.rows; ++r)
    encode(std::span(w.values).subspan(r * w.columns, w.columns), {}, 0, bytes.data() + r * row);
  return bytes;
}

eq::matrix_f decoded(const matrix& w, format type, const std::vector<std::byte>& bytes) {
  eq::matrix_f values(static_cast<Index>(w.rows), static_cast<Index>(w.columns));
  const std::size_t row = eq::row_bytes(type, w.columns);
  for (std::size_t r = 0; r < w.rows; ++r)
    eq::decode_row(type, bytes.data() + r * row,
                   std::span(values.data() + r * w.columns, w.columns));
  return values;
}

/// |X (W - Q)^T|^2
double output_error(const matrix& w, format type, const std::vector<std::byte>& bytes,
                    const Eigen::MatrixXd& x) {
  const Eigen::MatrixXd off = (w.view() - decoded(w, type, bytes)).cast<double>();
  return (x * off.transpose()).squaredNorm();
}

/// X^T X as the columns have it, in the order of the tensor.
Eigen::MatrixXd in_order_of_tensor(const eq::gptq_columns& columns) {
  const auto& order = columns.order();
  Eigen::MatrixXd gram(columns.size(), columns.size());
  for (Index i = 0; i < columns.size(); ++i)
    for (Index k = 0; k < columns.size(); ++k)
      gram(order[static_cast<std::size_t>(i)], order[static_cast<std::size_t>(k)]) =
          double{columns.gram()(i, k)};
  return gram;
}

// In float: entries of the Gram matrix are up to its largest diagonal entry, those of its factor
// are sums of n terms in double that are rounded to float once.
TEST(gptq, factor_is_that_of_the_gram_matrix) {
  for (const Index n : {1, 32, 45, 96}) {
    const auto x = correlated_inputs(200, n, 3);
    const Eigen::MatrixXd gram = x.transpose() * x;
    const eq::gptq_columns columns(gram);
    EXPECT_EQ(columns.damping(), 0.01);
    Eigen::MatrixXd expected = gram / gram.diagonal().mean();
    expected.diagonal().array() += 0.01;
    const double bound = 0x1p-23 * expected.diagonal().maxCoeff();
    EXPECT_LT((in_order_of_tensor(columns) - expected).cwiseAbs().maxCoeff(), bound);
    EXPECT_EQ(columns.factor(), columns.factor().transpose());
    const Eigen::MatrixXd r = columns.factor().cast<double>().triangularView<Eigen::Upper>();
    EXPECT_GT(r.diagonal().minCoeff(), 0);
    const Eigen::MatrixXd ordered = columns.gram().cast<double>();
    EXPECT_LT((r * r.transpose() - ordered).cwiseAbs().maxCoeff(), 2 * bound);
    for (Index i = 1; i < n; ++i) {
      if (i % 32 == 0) continue; // the order is one inside groups of 32
      EXPECT_LE(ordered(i, i), ordered(i - 1, i - 1));
    }
  }
}

TEST(gptq, lowers_the_output_error) {
  const auto x = correlated_inputs(500, 128, 1);
  const Eigen::MatrixXd gram = x.transpose() * x;
  const matrix w(40, 128, 2);
  for (const auto type : {format::q4_0, format::q8_0}) {
    const double rounded = output_error(w, type, by_rounding(w, type), x);
    const double swept = output_error(w, type, by_gptq(w, type, gram, {.passes = 0}), x);
    const double descended = output_error(w, type, by_gptq(w, type, gram), x);
    EXPECT_LT(swept, 0.63 * rounded); // 2 dB
    EXPECT_LT(descended, swept);
  }
}

/// The method as its paper writes it, column by column and without blocks, in double: with scales
/// of 1 for all groups, which leave nothing to choose, both round to the same codes.
TEST(gptq, equals_the_plain_algorithm) {
  constexpr std::size_t n = 544; // two steps of columns and a part of one
  for (const unsigned seed : {1u, 2u, 3u}) {
    const auto x = correlated_inputs(700, static_cast<Index>(n), seed);
    const eq::gptq_columns columns(x.transpose() * x);
    // U with U^T U = the inverse: all later columns adapt to what a column has become.
    const Eigen::MatrixXd inverse =
        columns.gram().cast<double>().llt().solve(Eigen::MatrixXd::Identity(x.cols(), x.cols()));
    const Eigen::MatrixXd u = inverse.llt().matrixU();
    matrix w(3, n, seed);
    for (std::size_t i = 0; i < w.values.size(); ++i) w.values[i] *= 50;
    // The scales that the code chooses; the codes must follow from them.
    const auto bytes = by_gptq(w, format::q4_0, x.transpose() * x, {.passes = 0});
    const auto* blocks = reinterpret_cast<const eq::block_q4_0*>(bytes.data());
    std::size_t equal = 0;
    for (std::size_t r = 0; r < w.rows; ++r) {
      std::vector<double> left(w.values.begin() + static_cast<long>(r * n),
                               w.values.begin() + static_cast<long>((r + 1) * n));
      for (std::size_t i = 0; i < n; ++i) {
        const auto c = static_cast<std::size_t>(columns.order()[i]);
        const eq::block_q4_0& block = blocks[r * n / 32 + c / 32];
        const double scale = static_cast<float>(block.scale);
        const double code = std::clamp(std::nearbyint(left[c] / scale), -8.0, 7.0);
        const std::size_t at = c % 32;
        const int stored = (at < 16 ? block.nibbles[at] & 15 : block.nibbles[at - 16] >> 4) - 8;
        equal += stored == static_cast<int>(code);
        const auto row = static_cast<Index>(i);
        const double error = (left[c] - stored * scale) / u(row, row);
        for (std::size_t k = i + 1; k < n; ++k)
          left[static_cast<std::size_t>(columns.order()[k])] -=
              error * u(row, static_cast<Index>(k));
      }
    }
    EXPECT_GE(equal, 3 * n - 2); // sums in float may turn what is nearly a tie
  }
}

/// What the descent gains while later columns are still to adapt, before any pass over all.
TEST(gptq, the_sweep_descends_in_each_step) {
  const auto x = correlated_inputs(600, 512, 51);
  const eq::gptq_columns columns(x.transpose() * x);
  const matrix w(16, 512, 52);
  for (const auto type : {format::q4_0, format::q2_k}) {
    const auto error = [&](bool descends) {
      const eq::quantizer::detail::gptq_setting<> setting(type, columns, descends);
      const eq::gptq_options options{.passes = 0};
      std::vector<std::byte> bytes(w.rows * eq::row_bytes(type, w.columns));
      std::vector<double> errors(w.rows);
      eq::quantizer::detail::gptq_job<>(setting, options)
          .run(w.values.data(), w.rows, bytes.data(), errors.data());
      return std::accumulate(errors.begin(), errors.end(), 0.0);
    };
    EXPECT_LT(error(true), 0.97 * error(false)) << eq::name_of(type);
  }
}

TEST(gptq, does_not_depend_on_threads) {
  const auto x = correlated_inputs(200, 96, 5);
  const matrix w(70, 96, 6);
  const Eigen::MatrixXd gram = x.transpose() * x;
  EXPECT_EQ(by_gptq(w, format::q4_0, gram, {.threads = 1}),
            by_gptq(w, format::q4_0, gram, {.threads = 3}));
}

/// Columns enough that Eigen, left to itself, would round sums elsewhere on several threads: the
/// errors are equal to the last bit.
TEST(gptq, sums_do_not_depend_on_threads) {
  const auto x = correlated_inputs(100, 640, 5);
  const matrix w(64, 640, 6);
  const eq::gptq_columns columns(x.transpose() * x);
  const auto error = [&](unsigned threads) {
    std::vector<std::byte> bytes(w.rows * eq::row_bytes(format::q4_0, w.columns));
    return eq::gptq_encode(format::q4_0, w.values.data(), w.rows, columns, {.threads = threads},
                           "w", bytes.data());
  };
  EXPECT_EQ(error(1), error(2));
}

TEST(gptq, survives_inputs_that_say_little) {
  const matrix w(5, 64, 7);
  const auto check = [&](const Eigen::MatrixXd& x, const char* what) {
    const auto bytes = by_gptq(w, format::q4_0, x.transpose() * x);
    const auto values = decoded(w, format::q4_0, bytes);
    ASSERT_TRUE(values.allFinite()) << what;
    // No column is lost, used or not: each value is within some steps of its own.
    EXPECT_LT((values - w.view()).norm(), 0.6f * w.view().norm()) << what;
  };
  check(Eigen::MatrixXd::Zero(3, 64), "zeros");
  check(Eigen::MatrixXd::Zero(0, 64), "nothing");
  check(correlated_inputs(1, 64, 8), "one token");
  Eigen::MatrixXd x = correlated_inputs(20, 64, 9);
  x.col(3).setZero();
  x.col(40) = x.col(41);
  check(x, "a dead column and a double one");
  x.col(5) *= 1e150;
  check(x, "a huge column");
  check(Eigen::MatrixXd::Constant(9, 64, 1e-200), "rank one, hardly there");
  x(0, 0) = NAN;
  check(x, "NaN");
  x(0, 0) = INFINITY;
  check(x, "infinity");
}

TEST(gptq, raises_damping_until_it_succeeds) {
  Eigen::MatrixXd gram = Eigen::MatrixXd::Ones(32, 32); // and below zero by more than 1 %
  gram.diagonal().array() -= 0.05;
  const eq::gptq_columns columns(gram);
  EXPECT_EQ(columns.damping(), 0.1);
  EXPECT_TRUE(columns.factor().allFinite());
  EXPECT_EQ(eq::gptq_columns(Eigen::MatrixXd::Zero(32, 32)).damping(), 0);
}

TEST(gptq, damping_of_nothing_is_raised_too) {
  const eq::gptq_columns columns(Eigen::MatrixXd::Ones(32, 32), 0);
  EXPECT_EQ(columns.damping(), 1e-4);
}

TEST(gptq, weights_that_cannot_be_stored_are_named) {
  matrix w(2, 64, 1);
  const Eigen::MatrixXd gram = Eigen::MatrixXd::Identity(64, 64);
  const auto refusal = [&] {
    try {
      (void)by_gptq(w, format::q4_0, gram);
    } catch (const eq::exception& error) {
      return std::string(error.what());
    }
    return std::string("encoded");
  };
  w.values[100] = 1e6f;
  EXPECT_EQ(refusal(), "w: the scale of the group at index 96 is above 65504, the largest f16 "
                       "(absmax rule)");
  w.values[100] = NAN;
  EXPECT_EQ(refusal(), "w: value at index 100 is NaN");
}

TEST(gptq, scales_of_a_table_have_their_own_limit) { // nvfp4: 224 times 12
  matrix w(2, 64, 1);
  const Eigen::MatrixXd gram = Eigen::MatrixXd::Identity(64, 64);
  w.values[100] = 2000;
  EXPECT_NO_THROW((void)by_gptq(w, format::nvfp4, gram));
  w.values[100] = 10000;
  EXPECT_THROW((void)by_gptq(w, format::nvfp4, gram), eq::exception);
}

// Squares of such weights are beyond a float.
TEST(gptq, errors_of_huge_weights_are_finite) {
  const auto x = correlated_inputs(100, 64, 61);
  const eq::gptq_columns columns(x.transpose() * x);
  matrix w(4, 64, 62);
  for (float& v : w.values) v *= 1e30f;
  std::vector<std::byte> bytes(w.rows * eq::row_bytes(format::mxfp4, w.columns));
  const double reported =
      eq::gptq_encode(format::mxfp4, w.values.data(), w.rows, columns, {}, "w", bytes.data());
  const Eigen::MatrixXd off = (w.view() - decoded(w, format::mxfp4, bytes)).cast<double>();
  const double error = (off * in_order_of_tensor(columns)).cwiseProduct(off).sum();
  EXPECT_NEAR(reported, error, 1e-4 * error);
}

TEST(gptq, columns_refuse_damping_that_is_none) {
  for (const double damping : {-0.01, std::nan(""), std::numeric_limits<double>::infinity()})
    EXPECT_THROW(eq::gptq_columns(Eigen::MatrixXd::Identity(32, 32), damping), eq::exception);
  Eigen::MatrixXd none = 1e-300 * Eigen::MatrixXd::Identity(32, 32); // no Gram matrix of anything
  none(5, 4) = 1e300;
  const eq::gptq_columns columns(none);
  EXPECT_EQ(columns.damping(), 0);
  EXPECT_EQ(columns.gram(), eq::matrix_f(eq::matrix_f::Identity(32, 32)));
}

// Scales, minimums, halves and codebooks of every format: what the job believes to have stored is
// what the bytes hold, and the output error is below that of rounding.
TEST(gptq, serves_every_encodable_format) {
  const auto x = correlated_inputs(600, 256, 21);
  const Eigen::MatrixXd gram = x.transpose() * x;
  const eq::gptq_columns columns(gram);
  const Eigen::MatrixXd weighed = in_order_of_tensor(columns);
  const matrix w(8, 256, 22);
  for (const auto& row : eq::format_table) {
    if (!eq::find_layout(row.id)) continue;
    std::vector<std::byte> bytes(w.rows * eq::row_bytes(row.id, w.columns));
    const double reported =
        eq::gptq_encode(row.id, w.values.data(), w.rows, columns, {}, "w", bytes.data());
    const eq::matrix_f q = decoded(w, row.id, bytes);
    const Eigen::MatrixXd off = w.view().cast<double>() - q.cast<double>();
    const double error = (off * weighed).cwiseProduct(off).sum();
    // The job sums up in float, in other orders.
    EXPECT_NEAR(error, reported, 1e-4 * error) << row.name;
    const Eigen::MatrixXd rounded =
        w.view().cast<double>() - decoded(w, row.id, by_rounding(w, row.id)).cast<double>();
    EXPECT_LT(error, 0.9 * (rounded * weighed).cwiseProduct(rounded).sum()) << row.name;
  }
}

// Where the descent has come to rest no step of a scale or minimum and no half may move and gain:
// each is moved in the bytes, and the output error follows from what they then decode to.
TEST(gptq, descent_ends_where_no_step_or_half_gains) {
  const auto x = correlated_inputs(600, 256, 31);
  const Eigen::MatrixXd gram = x.transpose() * x;
  const eq::gptq_columns columns(gram);
  const Eigen::MatrixXd weighed = in_order_of_tensor(columns);
  const matrix w(2, 256, 32);
  const auto check = [&]<class F>(F) {
    const auto f = eq::layout_of<F>();
    const std::size_t row = eq::row_bytes(F::id, 256);
    std::vector<std::byte> bytes(w.rows * row);
    (void)eq::gptq_encode(F::id, w.values.data(), w.rows, columns, {.passes = 1000}, "w",
                          bytes.data());
    const auto error = [&] {
      const Eigen::MatrixXd off =
          w.view().cast<double>() - decoded(w, F::id, bytes).template cast<double>();
      return (off * weighed).cwiseProduct(off).sum();
    };
    const double least = error() * (1 - 1e-5); // decoded values are floats
    for (std::size_t at = 0; at < bytes.size(); at += sizeof(typename F::block)) {
      typename F::block block, before;
      std::memcpy(&before, bytes.data() + at, sizeof before);
      eq::encoded_block b;
      eq::unpack_codes(before, b.codes);
      eq::unpack_scales(before, b);
      const auto expect_no_gain = [&](const eq::encoded_block& moved, const char* what) {
        eq::pack(moved, block);
        std::memcpy(bytes.data() + at, &block, sizeof block);
        EXPECT_GE(error(), least) << eq::name_of(F::id) << ' ' << what;
        std::memcpy(bytes.data() + at, &before, sizeof before);
      };
      for (const int direction : {-1, 1}) {
        for (std::size_t g = 0; g < f.groups(); ++g) {
          auto moved = b;
          moved.scale_steps[g] = static_cast<std::int16_t>(b.scale_steps[g] + direction);
          if (moved.scale_steps[g] >= f.lowest_step && moved.scale_steps[g] <= f.highest_step)
            expect_no_gain(moved, "scale");
          moved = b;
          const int minimum = b.minimum_steps[g] + direction;
          moved.minimum_steps[g] = static_cast<std::uint8_t>(minimum);
          if (minimum >= f.lowest_minimum && minimum <= f.highest_minimum)
            expect_no_gain(moved, "minimum");
        }
        for (auto member : {&eq::stored_scales::scale, &eq::stored_scales::minimum}) {
          auto moved = b;
          const auto half = eq::quantizer::detail::next_half(b.*member, direction);
          if (!half || f.unit != eq::scale_unit::half_of_block) continue;
          moved.*member = *half;
          expect_no_gain(moved, "half");
        }
      }
    }
  };
  check(eq::q4_k{}), check(eq::q2_k{}), check(eq::q6_k{}), check(eq::iq4_xs{});
  check(eq::q4_1{}), check(eq::nvfp4{});
}

// Steps that are refitted on the weights as they have become: without it 0.34 is left, with it 0.22
// (measured); inputs of very different sizes.
TEST(gptq, the_sweep_refits_the_steps_of_super_blocks) {
  auto x = correlated_inputs(2000, 512, 41);
  std::mt19937 random(42);
  std::normal_distribution<double> normal;
  for (Index c = 0; c < x.cols(); ++c) x.col(c) *= std::exp(0.7 * normal(random));
  const matrix w(32, 512, 43);
  std::vector<std::byte> bytes(w.rows * eq::row_bytes(format::q2_k, w.columns));
  const eq::gptq_columns columns(x.transpose() * x);
  const double swept = eq::gptq_encode(format::q2_k, w.values.data(), w.rows, columns,
                                       {.passes = 0}, "w", bytes.data());
  const Eigen::MatrixXd off = w.view().cast<double>() -
                              decoded(w, format::q2_k, by_rounding(w, format::q2_k)).cast<double>();
  EXPECT_LT(swept, 0.28 * (off * in_order_of_tensor(columns)).cwiseProduct(off).sum());
}

TEST(gptq, is_never_worse_than_rounding) {
  const auto x = correlated_inputs(10, 32, 11);
  const Eigen::MatrixXd gram = x.transpose() * x;
  const eq::gptq_columns columns(gram);
  const matrix w(200, 32, 12);
  const auto bytes = by_gptq(w, format::q4_0, gram);
  // Rounding with the scales that GPTQ would choose: those of the mse rule, each column by its own
  // error.
  std::vector<float> importance(32);
  for (std::size_t i = 0; i < 32; ++i) {
    const auto k = static_cast<Index>(i);
    importance[static_cast<std::size_t>(columns.order()[i])] =
        columns.factor()(k, k) * columns.factor()(k, k);
  }
  std::vector<std::byte> rounded(bytes.size());
  eq::row_encoder encode(format::q4_0, eq::scale_rule::mse, "w");
  for (std::size_t r = 0; r < w.rows; ++r)
    encode(std::span(w.values).subspan(r * 32, 32), importance, 0, rounded.data() + r * 18);
  const Eigen::MatrixXd weighed = in_order_of_tensor(columns);
  const auto error = [&](Index row, const std::vector<std::byte>& of) {
    const Eigen::VectorXd off =
        (w.view() - decoded(w, format::q4_0, of)).row(row).transpose().cast<double>();
    return off.dot(weighed * off);
  };
  std::size_t equal = 0;
  for (Index r = 0; r < 200; ++r) {
    EXPECT_LE(error(r, bytes), error(r, rounded) * (1 + 1e-5));
    equal += std::memcmp(bytes.data() + r * 18, rounded.data() + r * 18, 18) == 0;
  }
  EXPECT_GT(equal, 0u); // for some rows rounding is best
}

TEST(gptq, refuses_what_has_no_groups) {
  const matrix w(1, 33, 1);
  std::vector<std::byte> bytes(1000);
  const auto encode = [&](format type, Index columns) {
    try {
      (void)eq::gptq_encode(type, w.values.data(), 1,
                            eq::gptq_columns(Eigen::MatrixXd::Identity(columns, columns)), {}, "w",
                            bytes.data());
    } catch (const eq::exception& error) {
      return std::string(error.what());
    }
    return std::string("encoded");
  };
  EXPECT_EQ(encode(format::f16, 32), "w: GPTQ needs a format with groups, not f16");
  EXPECT_EQ(encode(format::q4_0, 33), "w: rows of 33 values are no whole blocks of 32");
}

} // namespace
