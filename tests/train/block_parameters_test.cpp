// SPDX-License-Identifier: MIT
#include "plan/support.hpp"

#include <edgequant/train/code_moves.hpp>
#include <edgequant/train/stored_factors.hpp>

namespace {
using namespace plan_test;
using eq::matrix_f;

constexpr format with_halves[] = {format::q4_0,   format::q4_1,   format::q5_1, format::q8_0,
                                  format::q2_k,   format::q3_k,   format::q4_k, format::q6_k,
                                  format::iq4_nl, format::iq4_xs, format::q2_0, format::tq2_0};

struct some_blocks {
  format type;
  matrix_f values = matrix_f::Random(3, 256);
  std::vector<std::byte> bytes;
  explicit some_blocks(format t)
      : type(t), bytes(eq::encode_matrix(t, eq::scale_rule::mse, values, "w")) {}
  [[nodiscard]] matrix_f decoded() const { return eq::decode_matrix(type, bytes.data(), 3, 256); }
};

// The loss sum(g * w) is linear in each half, whose factor is e^u: its derivative at u is the part
// of the loss that the half makes. A quarter more of it makes a quarter of that more; the halves
// are rounded to 11 bits.
TEST(stored_factors, gradients_are_those_of_the_values) {
  for (const format type : with_halves) {
    SCOPED_TRACE(std::string(eq::name_of(type)));
    some_blocks w(type);
    const matrix_f g = matrix_f::Random(3, 256);
    eq::stored_factors factors(type, w.bytes, 256);
    std::vector<float> sums(factors.size());
    for (std::size_t r = 0; r < 3; ++r)
      factors.add_gradients(r, g.row(static_cast<Eigen::Index>(r)).data(), sums);
    const matrix_f before = w.decoded();
    for (std::size_t i = 0; i < factors.size(); ++i) {
      std::vector<float> u(factors.size());
      u[i] = std::log(1.25f);
      factors.store(u);
      const matrix_f change = w.decoded() - before;
      const double loss = double{change.cwiseProduct(g).sum()};
      EXPECT_NEAR(loss, 0.25 * double{sums[i]}, 0x1p-10 * double{before.cwiseAbs().sum()}) << i;
      EXPECT_GT(change.cwiseAbs().sum(), 0) << i;
    }
    factors.store(std::vector<float>(factors.size()));
    EXPECT_EQ(w.decoded(), before); // a factor of 1 changes no bit
    std::vector<float> huge(factors.size(), 60.0f);
    factors.store(huge);
    EXPECT_EQ(w.decoded(), before); // beyond the range of a half
  }
}

TEST(stored_factors, a_format_without_halves_is_refused) {
  std::vector<std::byte> bytes(eq::row_bytes(format::mxfp4, 32));
  EXPECT_EQ(message_of([&] { eq::stored_factors(format::mxfp4, bytes, 32); }),
            "mxfp4: its blocks store no halves");
}

// A gradient of usual size pushes by the rate: after three steps at 0.2 every code has passed half
// a step, and each moves to the neighbour that lowers the loss.
TEST(code_moves, codes_move_against_gradients_that_agree) {
  for (const format type : {format::q4_0, format::q3_k, format::q4_k, format::q6_k, format::iq4_xs,
                            format::mxfp4, format::q2_0}) {
    SCOPED_TRACE(std::string(eq::name_of(type)));
    some_blocks w(type);
    matrix_f g(3, 256);
    for (Eigen::Index i = 0; i < g.size(); ++i) g.data()[i] = i % 3 == 0 ? 2.0f : -2.0f;
    const matrix_f before = w.decoded();
    eq::code_moves codes(type, w.bytes, 256);
    std::vector<eq::code_move> ready;
    codes.push(g, 0.2f, ready), codes.push(g, 0.2f, ready);
    EXPECT_TRUE(ready.empty());
    codes.push(g, 0.2f, ready);
    EXPECT_EQ(w.decoded(), before); // nobody has let them
    ASSERT_FALSE(ready.empty());
    double promised = 0;
    for (const auto& m : ready) promised += double{m.decrease}, codes.move(m);
    const matrix_f change = w.decoded() - before;
    EXPECT_NEAR(double{change.cwiseProduct(g).sum()}, -promised, 1e-4 * promised);
    std::size_t moved = 0;
    for (Eigen::Index i = 0; i < g.size(); ++i) {
      moved += change.data()[i] != 0;
      EXPECT_LE(change.data()[i] * g.data()[i], 0);
    }
    EXPECT_EQ(moved, ready.size()); // all but those at the end of their range
    EXPECT_GT(moved, 768u / 3);
    std::vector<eq::code_move> again;
    codes.push(g, 0.2f, again), codes.push(g, 0.2f, again);
    EXPECT_TRUE(again.empty()); // offsets begin anew
  }
}

TEST(code_moves, gradients_without_a_direction_move_nothing) {
  some_blocks w(format::q4_0);
  eq::code_moves codes(format::q4_0, w.bytes, 256);
  std::vector<eq::code_move> ready;
  matrix_f g = matrix_f::Random(3, 256);
  for (int i = 0; i < 20; ++i, g = -g) codes.push(g, 0.15f, ready);
  EXPECT_TRUE(ready.empty());
  codes.push(matrix_f::Zero(3, 256), 1.0f, ready);
  EXPECT_TRUE(ready.empty());
}

} // namespace
