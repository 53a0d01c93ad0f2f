// SPDX-License-Identifier: MIT
#include <edgequant/compress/column_removal.hpp>

#include <Eigen/QR>
#include <gtest/gtest.h>

#include <random>

namespace eq = edgequant;

namespace {

/// Inputs that depend on each other, a matrix, and how much its outputs count.
struct problem {
  Eigen::MatrixXd inputs, weights, fisher; // [tokens][columns], [rows][columns], [rows][rows]

  explicit problem(Eigen::Index columns, Eigen::Index rows = 6, Eigen::Index tokens = 400) {
    std::mt19937 random(static_cast<unsigned>(columns));
    std::normal_distribution<double> normal;
    const auto draw = [&](Eigen::Index r, Eigen::Index c) {
      return Eigen::MatrixXd(Eigen::MatrixXd::NullaryExpr(r, c, [&] { return normal(random); }));
    };
    inputs = draw(tokens, columns) + draw(tokens, 3) * draw(3, columns);
    weights = draw(rows, columns);
    const Eigen::MatrixXd g = draw(rows, rows);
    fisher = g * g.transpose();
  }
  [[nodiscard]] Eigen::MatrixXd gram() const { return inputs.transpose() * inputs; }
  [[nodiscard]] eq::column_losses<> losses() const {
    return {weights.transpose() * fisher * weights, gram(), 0};
  }
  /// The loss of the least-squares solution without these columns, by a QR of the inputs.
  [[nodiscard]] double solved(const std::vector<std::size_t>& gone) const {
    std::vector<Eigen::Index> left;
    for (Eigen::Index i = 0; i < inputs.cols(); ++i)
      if (std::find(gone.begin(), gone.end(), static_cast<std::size_t>(i)) == gone.end())
        left.push_back(i);
    const Eigen::MatrixXd outputs = inputs * weights.transpose();
    Eigen::MatrixXd error = outputs;
    if (!left.empty()) {
      const Eigen::MatrixXd some = inputs(Eigen::all, left);
      error -= some * some.colPivHouseholderQr().solve(outputs);
    }
    return (error * fisher * error.transpose()).trace();
  }
};

} // namespace

TEST(column_removal, losses_of_sets_are_those_of_the_least_squares_solution) {
  const problem p(12);
  const auto losses = p.losses();
  for (const std::vector<std::size_t>& gone : {std::vector<std::size_t>{3},
                                               {0, 1, 2},
                                               {1, 4, 7, 11},
                                               {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}})
    EXPECT_NEAR(losses.of(gone) / p.solved(gone), 1, 1e-9);
}

TEST(column_removal, groups_go_one_after_the_other) {
  const problem p(12);
  auto losses = p.losses();
  const std::vector<std::size_t> first{2, 3, 7}, second{0, 11}, both{0, 2, 3, 7, 11};
  const double one = losses.take(first);
  EXPECT_NEAR(one / p.solved(first), 1, 1e-9);
  EXPECT_NEAR((one + losses.of(second)) / p.solved(both), 1, 1e-9);
  EXPECT_NEAR((one + losses.take(second)) / p.solved(both), 1, 1e-9);
}

TEST(column_removal, each_step_takes_the_column_that_costs_least) {
  const problem p(150); // more than what is collected before it is applied
  const auto removal = p.losses().remove(10);
  ASSERT_EQ(removal.order.size(), 140u);
  std::vector<std::size_t> gone;
  for (std::size_t step = 0; step < removal.order.size(); ++step) {
    std::vector<std::size_t> sorted = gone;
    if (step % 23 == 0) // by brute force
      for (std::size_t other = 0; other < 150; ++other) {
        if (std::find(gone.begin(), gone.end(), other) != gone.end()) continue;
        auto with = gone;
        with.push_back(other);
        EXPECT_GE(p.solved(with), removal.losses[step] * (1 - 1e-7)) << step << ' ' << other;
      }
    gone.push_back(removal.order[step]);
    if (step % 23 == 0) {
      EXPECT_NEAR(p.solved(gone) / removal.losses[step], 1, 1e-7) << step;
    }
  }
}

TEST(column_removal, an_input_that_others_make_up_for_goes_first) {
  problem p(8);
  p.inputs.col(5) = p.inputs.col(1) + 2 * p.inputs.col(6); // its weights are the largest
  p.weights.col(5) *= 10;
  const auto removal =
      eq::column_losses<>(p.weights.transpose() * p.fisher * p.weights, p.gram(), 1e-9).remove(7);
  EXPECT_EQ(removal.order.size(), 1u);
  EXPECT_TRUE(removal.order[0] == 5 || removal.order[0] == 1 || removal.order[0] == 6);
  EXPECT_LT(removal.losses[0], 1e-5 * p.losses().of(std::vector<std::size_t>{0}));
}

TEST(column_removal, without_inputs_nothing_costs_anything) {
  const problem p(5);
  const Eigen::MatrixXd none = Eigen::MatrixXd::Zero(5, 5);
  const auto removal = eq::column_losses<>(p.weights.transpose() * p.weights, none).remove(0);
  EXPECT_EQ(removal.order.size(), 5u);
  EXPECT_EQ(removal.losses.back(), 0);
}
