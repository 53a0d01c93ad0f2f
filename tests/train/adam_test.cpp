// SPDX-License-Identifier: MIT
#include <edgequant/train/adam.hpp>

#include <gtest/gtest.h>

namespace {
namespace eq = edgequant;

// Means m and v of gradients and their squares with their corrections, as the papers write them.
TEST(adam, follows_the_formula) {
  eq::adam_options o;
  o.weight_decay = 0.1;
  eq::adam optimizer(2, o);
  std::vector<float> p{1, -2};
  double q[2] = {1, -2}, m[2] = {}, v[2] = {};
  for (int t = 1; t <= 50; ++t) {
    const std::vector<float> g{std::sin(0.3f * static_cast<float>(t)),
                               1e-3f * static_cast<float>(t % 7)};
    optimizer.step(p, g, 0.01);
    for (std::size_t i = 0; i < 2; ++i) {
      const double x = double{g[i]};
      m[i] = 0.9 * m[i] + 0.1 * x, v[i] = 0.99 * v[i] + 0.01 * x * x;
      const double mean = m[i] / (1 - std::pow(0.9, t)), square = v[i] / (1 - std::pow(0.99, t));
      q[i] -= 0.01 * (mean / (std::sqrt(square) + 1e-12) + 0.1 * q[i]);
      EXPECT_NEAR(double{p[i]}, q[i], 1e-5 * std::fabs(q[i])); // fifty roundings of floats
    }
  }
}

// The first step of Adam is as long as the rate in each parameter: the loss would fall by
// 0.1 (|3| + |-1|) = 0.4.
TEST(adam, a_step_is_shortened_to_the_decrease_that_is_allowed) {
  const std::vector<float> g{3, -1};
  const auto step = [&](double most) {
    eq::adam optimizer(2);
    std::vector<float> p{0, 0};
    const double decrease = optimizer.step(p, g, 0.1, most);
    EXPECT_NEAR(decrease, std::min(0.4, most), 1e-6);
    return p;
  };
  EXPECT_NEAR(step(1)[0], -0.1f, 1e-6f);
  EXPECT_NEAR(step(0.1)[0], -0.025f, 1e-6f);
  EXPECT_NEAR(step(0.1)[1], 0.025f, 1e-6f);
}

} // namespace
