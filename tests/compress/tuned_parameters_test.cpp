// SPDX-License-Identifier: MIT
#include "plan/support.hpp"

#include <edgequant/compress/encoded_weights.hpp>
#include <edgequant/compress/tuned_parameters.hpp>

namespace {
using namespace plan_test;
using eq::matrix_f;

/// Gradients told by hand, of a model in q4_0 whose embedding is its output matrix too.
class tuned_parameters : public plans {
protected:
  eq::calibrated_model ready = open();
  eq::named_formats formats;
  eq::encoded_tensors encoded;
  std::optional<eq::compression::detail::tuned_parameters<>> all;
  std::optional<eq::adam> optimizer;

  tuned_parameters() {
    eq::compress_options o;
    o.keep = {eq::parse_keep("token_embd=q4_0")};
    formats = eq::planned_formats(source, o);
    encoded = eq::round_rest(ready.weights, formats, o, encoded);
    eq::install(ready.weights, encoded);
    all.emplace(ready.weights, formats, encoded, 1);
    optimizer.emplace(all->size());
  }
  /// The gradient of a matrix is `weights[s]` times a fixed one for sequence s.
  void tell(const eq::named_weight& w, const std::vector<float>& weights) {
    const matrix_f x = matrix_f::Ones(1, static_cast<Eigen::Index>(w.view.columns));
    for (std::size_t s = 0; s < weights.size(); ++s) {
      const matrix_f g = weights[s] * matrix_f::Ones(1, static_cast<Eigen::Index>(w.view.rows));
      all->matrix(s, {w.name, 0, x, g});
    }
  }
  /// By how much the loss would change on the way of a step, had sequences the first one's
  /// gradient.
  float change(const eq::named_weight& w, const std::vector<float>& weights, double loss = 1e6) {
    const matrix_f before = values(w);
    const eq::named_weight* one = &w;
    all->begin_step(0);
    all->begin({&one, 1});
    tell(w, weights);
    all->end();
    all->end_step(*optimizer, loss, 1, 0.05);
    return (values(w) - before).sum();
  }
  matrix_f values(const eq::named_weight& w) const {
    const auto v = ready.weights.find_matrix(w.name);
    return eq::decode_matrix(v.type, v.data, v.rows, v.columns);
  }
  const eq::named_weight& down() const { return ready.weights.layers()[0].down; }
};

// Three sequences pull one way by 1, a fourth the other way: it counts at most 2.
TEST_F(tuned_parameters, a_sequence_counts_at_most_twice_the_median) {
  EXPECT_LT(change(down(), {1, 1, 1, -1.5f}), 0);
  EXPECT_LT(change(down(), {1, 1, 1, -100}), 0);
}

TEST_F(tuned_parameters, a_norm_is_followed_likewise) {
  const std::string name = "blk.0.ffn_norm.weight";
  const auto& norm = ready.weights.layers()[0].feed_forward_norm;
  const std::vector<float> before = norm;
  all->begin_step(0);
  for (const double w : {1.0, 1.0, 1.0, -100.0})
    all->vector(0, name, std::vector<double>(norm.size(), w));
  all->end();
  all->end_step(*optimizer, 1e6, 1, 0.05);
  for (std::size_t i = 0; i < norm.size(); ++i)
    EXPECT_NEAR(norm[i], before[i] * std::exp(before[i] > 0 ? -0.05f : 0.05f), 1e-5f);
  all->encode_vectors();
  const auto* stored = encoded.find(name);
  ASSERT_NE(stored, nullptr);
  EXPECT_EQ(stored->type, format::f32);
  EXPECT_EQ(std::memcmp(stored->bytes.data(), norm.data(), stored->bytes.size()), 0);
  EXPECT_NE(encoded.find("output_norm.weight"), nullptr);
}

TEST_F(tuned_parameters, a_looked_up_row_counts_at_most_twice_the_median) {
  const eq::named_weight& w = ready.weights.embedding();
  const matrix_f before = values(w);
  matrix_f g = matrix_f::Ones(4, 64);
  g.row(3) *= -100; // the same row of the embedding
  const std::vector<std::int32_t> tokens{5, 5, 5, 5};
  const eq::named_weight* one = &w;
  all->begin_step(0);
  all->begin({&one, 1}), all->end(); // as the output matrix
  all->begin({&one, 1});
  all->lookup(0, {w.name, tokens, g});
  all->end();
  all->end_step(*optimizer, 1e6, 1, 0.05);
  EXPECT_LT((values(w) - before).row(5).sum(), 0);
  EXPECT_EQ((values(w) - before).row(6).sum(), 0);
}

// A tied embedding has one gradient of both its uses: one push a step.
TEST_F(tuned_parameters, codes_of_a_tied_embedding_are_pushed_once_a_step) {
  const eq::named_weight& w = ready.weights.embedding();
  const eq::named_weight* one = &w;
  const matrix_f g = matrix_f::Ones(1, 258), x = matrix_f::Ones(1, 64);
  const std::vector<std::int32_t> tokens{5};
  const auto step = [&] {
    all->begin_step(0.3f);
    all->begin({&one, 1});
    all->matrix(0, {w.name, 0, x, g});
    all->end();
    all->begin({&one, 1});
    all->lookup(0, {w.name, tokens, x});
    all->end();
    all->end_step(*optimizer, 1e9, 1, 0);
  };
  step();
  EXPECT_EQ(all->moves(), 0u);
  step();
  EXPECT_GT(all->moves(), 258u * 64 / 2);
}

// Of a loss of 1 codes may promise a tenth, and one code a hundredth of that.
TEST_F(tuned_parameters, codes_promise_no_more_than_a_share_of_the_loss) {
  const eq::named_weight* one = &down();
  const auto step = [&](double loss) {
    const auto before = all->moves();
    all->begin_step(1);
    all->begin({&one, 1});
    tell(down(), {1});
    all->end();
    const matrix_f old = values(down());
    all->end_step(*optimizer, loss, 1, 0);
    const double promised = double{(old - values(down())).sum()};
    EXPECT_LE(promised, 0.1 * loss * (1 + 1e-4));
    return all->moves() - before;
  };
  // A code promises its scale, about an eighth of the largest value of its block: less than a
  // tenth of this loss, and more than a thousandth.
  EXPECT_EQ(step(2.5 * double{values(down()).cwiseAbs().maxCoeff()}), 0u);
  const auto few = step(100);
  EXPECT_GT(few, 0u);
  EXPECT_GT(step(1e9), few);
}

} // namespace
