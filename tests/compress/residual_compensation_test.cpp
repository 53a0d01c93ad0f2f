// SPDX-License-Identifier: MIT
#include "model/toy_model.hpp"

#include <edgequant/compress/residual_compensation.hpp>

#include <Eigen/LU>
#include <gtest/gtest.h>

#include <random>

namespace {
namespace eq = edgequant;
using Eigen::MatrixXd;

MatrixXd gaussian(Eigen::Index rows, Eigen::Index columns, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<double> normal;
  return MatrixXd::NullaryExpr(rows, columns, [&] { return normal(random); });
}

/// Inputs of tokens in columns, and sums over the two halves of them.
struct readings {
  MatrixXd x, y, apart;
  [[nodiscard]] eq::compensation sums() const {
    eq::compensation d;
    const Eigen::Index count = x.cols() / 2;
    for (int h = 0; h < 2; ++h) {
      const auto tokens = Eigen::seqN(h * count, count);
      const MatrixXd right = x(Eigen::all, tokens).transpose();
      d[static_cast<std::size_t>(h)] = {x(Eigen::all, tokens) * right,
                                        y(Eigen::all, tokens) * right, MatrixXd()};
      if (apart.size() != 0)
        d[static_cast<std::size_t>(h)].residual = apart(Eigen::all, tokens) * right;
    }
    return d;
  }
  /// Squared difference of the outputs.
  [[nodiscard]] double off(const eq::matrix_f& q, const eq::matrix_f& target) const {
    MatrixXd out = target.cast<double>() * y - q.cast<double>() * x;
    if (apart.size() != 0) out += apart;
    return out.squaredNorm();
  }
};

/// y = A x exactly, so that target A undoes the compensation: floats round its values to 2^-24 of
/// them, and damping of 1e-9 of the mean diagonal keeps 1e-9 of the step away, times a condition
/// below 50.
TEST(compensation, a_linear_difference_is_undone) {
  readings r;
  r.x = gaussian(40, 600, 1);
  const MatrixXd a = MatrixXd::Identity(40, 40) + 0.1 * gaussian(40, 40, 2);
  r.y = a * r.x;
  const eq::matrix_f w = gaussian(100, 40, 3).cast<float>(),
                     t = gaussian(100, 40, 33).cast<float>();
  const eq::matrix_f result = eq::compensated(w, t, r.sums(), 1e-9, 2);
  const MatrixXd wanted = t.cast<double>() * a;
  EXPECT_LT((result.cast<double>() - wanted).cwiseAbs().maxCoeff(),
            2e-7 * wanted.cwiseAbs().maxCoeff());
}

/// What is added behind the matrix counts too, where it depends on the inputs.
TEST(compensation, a_difference_of_the_residual_stream_is_undone) {
  readings r;
  r.x = r.y = gaussian(32, 500, 4);
  const MatrixXd b = gaussian(20, 32, 5);
  r.apart = b * r.x;
  const eq::matrix_f w = gaussian(20, 32, 6).cast<float>();
  const eq::matrix_f result = eq::compensated(w, w, r.sums(), 1e-9, 1);
  const MatrixXd wanted = w.cast<double>() + b;
  EXPECT_LT((result.cast<double>() - wanted).cwiseAbs().maxCoeff(),
            2e-7 * wanted.cwiseAbs().maxCoeff());
}

/// Differences that the inputs do not explain: few tokens would be learned by heart. On new tokens
/// the weights stay close to what they were, where a full step would double the error.
TEST(compensation, noise_is_not_followed) {
  const auto draw = [](Eigen::Index tokens, unsigned seed) {
    readings r;
    r.x = r.y = gaussian(48, tokens, seed);
    r.apart = gaussian(30, tokens, seed + 1);
    return r;
  };
  const eq::matrix_f w = gaussian(30, 48, 7).cast<float>();
  const readings few = draw(200, 8), fresh = draw(5000, 10);
  const eq::matrix_f result = eq::compensated(w, w, few.sums(), 0.01, 1);
  // The full step, the strength being left out: by hand.
  const auto d = few.sums();
  const MatrixXd gram = d[0].gram + d[1].gram;
  const eq::matrix_f full = w + ((d[0].residual + d[1].residual) * gram.inverse()).cast<float>();
  EXPECT_GT(fresh.off(full, w), 1.2 * fresh.off(w, w)); // 48 / (200 - 48): a third more
  EXPECT_LT(fresh.off(result, w), 1.02 * fresh.off(w, w));
}

/// A difference that the inputs explain to a tenth: a full step adds more noise than it takes away,
/// the measured part of it takes away more. Powers of an output: explained 48 * 0.04 = 1.9, noise
/// 16, noise that 400 tokens leave in a full step 16 * 48 / 352 = 2.2, that 200 leave 5; strength
/// about 1.9 / (1.9 + 5) = 0.28, with which 16 + 0.72^2 * 1.9 + 0.28^2 * 2.2 = 17.2 of 17.9 are
/// left.
TEST(compensation, a_weak_signal_is_followed_in_part) {
  readings r, fresh;
  const MatrixXd b = 0.2 * gaussian(30, 48, 11);
  for (auto* one : {&r, &fresh}) {
    const Eigen::Index tokens = one == &r ? 400 : 5000;
    one->x = one->y = gaussian(48, tokens, 12 + static_cast<unsigned>(tokens));
    one->apart = b * one->x + 4 * gaussian(30, tokens, 13 + static_cast<unsigned>(tokens));
  }
  const eq::matrix_f w = gaussian(30, 48, 14).cast<float>();
  const auto d = r.sums();
  const MatrixXd gram = d[0].gram + d[1].gram;
  const eq::matrix_f full = w + ((d[0].residual + d[1].residual) * gram.inverse()).cast<float>();
  EXPECT_GT(fresh.off(full, w), fresh.off(w, w));
  EXPECT_LT(fresh.off(eq::compensated(w, w, d, 0.01, 1), w), 0.98 * fresh.off(w, w));
}

TEST(compensation, one_half_alone_and_sums_that_are_not_finite_change_nothing) {
  readings r;
  r.x = r.y = gaussian(32, 100, 15);
  r.apart = gaussian(8, 100, 16);
  const eq::matrix_f w = gaussian(8, 32, 17).cast<float>();
  auto d = r.sums();
  d[0].gram(3, 4) = std::numeric_limits<double>::quiet_NaN();
  EXPECT_EQ(eq::compensated(w, w, d, 0.01, 1), w);
  d = r.sums();
  for (auto& s : d) s.gram.setZero(), s.cross.setZero(), s.residual.setZero();
  EXPECT_EQ(eq::compensated(w, w, d, 0.01, 1), w);
  d = r.sums();
  d[1] = {};
  EXPECT_EQ(eq::compensated(w, w, d, 0.01, 1), w);
}

/// Sums of 900 terms, which Eigen on several threads would cut elsewhere.
TEST(compensation, threads_change_no_bit) {
  readings r;
  r.x = gaussian(900, 64, 18);
  r.y = r.x + 0.1 * gaussian(900, 64, 19);
  const auto d = r.sums();
  const eq::matrix_f w = gaussian(130, 900, 20).cast<float>();
  EXPECT_EQ(eq::compensated(w, w, d, 0.01, 1), eq::compensated(w, w, d, 0.01, 3));
}

/// A writer whose outputs y pass a norm with weights g: with y changed by what is asked for, the
/// normalised outputs change by the residual, but for its part along them, which no y can bring.
TEST(residual_compensation, outputs_behind_a_norm_are_led_by_their_direction) {
  constexpr Eigen::Index n = 40, tokens = 3;
  const MatrixXd y = gaussian(n, tokens, 1), residual = 1e-4 * gaussian(n, tokens, 2);
  std::vector<float> g(n);
  for (std::size_t i = 0; i < g.size(); ++i) g[i] = 0.5f + 0.05f * static_cast<float>(i);
  const auto normalised = [&](const Eigen::VectorXd& v) {
    Eigen::VectorXd out = v / std::sqrt(v.squaredNorm() / n);
    for (Eigen::Index i = 0; i < n; ++i) out[i] *= double{g[static_cast<std::size_t>(i)]};
    return out;
  };
  MatrixXd change = residual;
  const auto weights = eq::compression::detail::turn_into_directions(change, y, g);
  for (Eigen::Index t = 0; t < tokens; ++t) {
    const double rms = std::sqrt(y.col(t).squaredNorm() / n);
    EXPECT_NEAR(weights[t], 1 / rms, 1e-12);
    const Eigen::VectorXd got = normalised(y.col(t) + rms * change.col(t)) - normalised(y.col(t));
    // The residual in units of g, without what it has along y, and in its own units again. The
    // floor under 1 / g is 1e-4 of the mean of g^2, and the second order 1e-8.
    Eigen::VectorXd wanted = residual.col(t);
    for (Eigen::Index i = 0; i < n; ++i) wanted[i] /= double{g[static_cast<std::size_t>(i)]};
    wanted -= y.col(t) * (y.col(t).dot(wanted) / y.col(t).squaredNorm());
    for (Eigen::Index i = 0; i < n; ++i) wanted[i] *= double{g[static_cast<std::size_t>(i)]};
    EXPECT_LT((got - wanted).norm(), 2e-3 * wanted.norm()) << t;
  }
}

/// The sums before a writer, from their definition: of a network that scales what it adds, and of
/// one whose writers have norms behind them.
TEST(residual_compensation, sums_follow_the_network) {
  model_test::temporary_folder folder;
  std::vector<std::int32_t> text;
  for (int i = 0; i < 60; ++i) text.push_back(i * 7 % 40);
  for (const char* architecture : {"granite", "gemma3", "olmo2"}) {
    model_test::toy_options o;
    o.architecture = architecture;
    model_test::write_toy(folder / "original.gguf", o);
    o.change_tensor = [](eq::tensor_info& t, std::vector<float>& values) {
      if (t.name == "blk.0.attn_output.weight")
        for (std::size_t i = 0; i < values.size(); i += 5) values[i] += 0.1f;
      return true;
    };
    model_test::write_toy(folder / "changed.gguf", o);
    const eq::model_weights a(eq::read_gguf(folder / "changed.gguf"));
    const eq::model_weights b(eq::read_gguf(folder / "original.gguf"));
    eq::layer_walk encoded(a, text, 1, 16, 1), original(b, text, 1, 16, 1);
    encoded.advance(), original.advance(); // to the feed-forward network, where they are apart
    // Once all tokens alike, once each third of them twice. Products are in float: 1e-5.
    std::vector<float> counts;
    for (std::size_t i = 0; i < 64; ++i) counts.push_back(i % 3 == 0 ? 2.0f : 1.0f);
    const std::span<const float> token_weights[] = {{}, counts};
    const auto results =
        eq::measure_compensation(encoded, original, eq::sublayer_end::out, token_weights, 1);
    const auto& sums = results[0];
    const auto& norm = b.layers()[0].post_feed_forward_norm;
    MatrixXd gram[2], residual[2], weighed[2];
    Eigen::Index token = 0;
    for (std::size_t chunk = 0; chunk < encoded.chunks(); ++chunk) {
      const auto matrix = [](std::span<const float> values, Eigen::Index rows) {
        return Eigen::Map<const Eigen::MatrixXf>(values.data(), rows,
                                                 static_cast<Eigen::Index>(values.size()) / rows)
            .cast<double>()
            .eval();
      };
      MatrixXd x = matrix(encoded.inputs(chunk, eq::sublayer_end::out), 44);
      MatrixXd apart = (matrix(original.vectors(chunk), 32) - matrix(encoded.vectors(chunk), 32)) /
                       double{b.shape().residual_scale};
      if (!norm.empty()) {
        const auto weights = eq::compression::detail::turn_into_directions(
            apart, matrix(original.outputs(chunk), 32), norm);
        x = x * weights.asDiagonal();
      }
      const std::size_t h = chunk % 2;
      if (gram[h].size() == 0)
        gram[h] = weighed[h] = MatrixXd::Zero(44, 44), residual[h] = MatrixXd::Zero(32, 44);
      gram[h] += x * x.transpose();
      residual[h] += apart * x.transpose();
      for (Eigen::Index t = 0; t < x.cols(); ++t, ++token)
        weighed[h] += (token % 3 == 0 ? 2 : 1) * x.col(t) * x.col(t).transpose();
    }
    for (std::size_t h = 0; h < 2; ++h) {
      EXPECT_TRUE(sums[h].gram.isApprox(gram[h], 1e-5)) << architecture;
      EXPECT_TRUE(sums[h].residual.isApprox(residual[h], 1e-5)) << architecture;
      EXPECT_TRUE(results[1][h].gram.isApprox(weighed[h], 1e-5)) << architecture;
      EXPECT_GT(residual[h].norm(), 0) << architecture;
    }
  }
}

} // namespace
