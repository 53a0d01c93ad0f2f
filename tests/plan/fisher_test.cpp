// SPDX-License-Identifier: MIT
#include "plan/support.hpp"

#include <edgequant/metric/rank_correlation.hpp>
#include <edgequant/plan/divergence.hpp>
#include <edgequant/plan/fisher.hpp>

namespace {
using namespace plan_test;

/// Of a small model the divergences by gradients are those that a run measures, within the noise of
/// the labels.
TEST(fisher, divergences_are_those_of_a_run) {
  const fs::path data = fs::path(EDGEQUANT_SOURCE_DIR) / "examples/data";
  const auto file = data / "stories-2m-f16.gguf";
  const auto demo = eq::open_model(file);
  auto ready = eq::open_calibrated(demo, file, "unused", {data / "story.txt", 297}, 0);
  ready.text.context = 149; // two sequences, as those of the gradients
  constexpr format types[] = {format::q3_k, format::q4_k, format::q5_0};
  eq::fisher_estimate estimate;
  const auto layers = eq::analyze_by_gradients(
      ready.weights, ready.text, types, {.sequences = 2, .tokens = 149, .samples = 16}, &estimate);
  ASSERT_EQ(layers.size(), 1u + 4 * 7);
  eq::plan::detail::divergence_meter measure(ready.weights, ready.text, 297, 0);
  std::vector<double> predicted, measured;
  double log_sum = 0, log_squares = 0;
  for (std::size_t i = 0; i < layers.size(); i += 3)
    for (const auto& c : layers[i].candidates) {
      eq::layer_sensitivity one = layers[i];
      one.candidates = {c};
      const auto* group = &one;
      predicted.push_back(*c.kl);
      measured.push_back(measure({&group, 1}));
      const double log_ratio = std::log(predicted.back() / measured.back());
      log_sum += log_ratio, log_squares += log_ratio * log_ratio;
    }
  const double n = static_cast<double>(predicted.size());
  EXPECT_GE(eq::rank_correlation(predicted, measured), 0.95);
  // 32 samples: a relative deviation of sqrt(2 / 32) = 0.25 where a candidate stands alone.
  EXPECT_LT(std::fabs(log_sum / n), 0.25);
  EXPECT_LT(std::sqrt(log_squares / n), 0.4);
  // All matrices at once: their interactions count.
  std::map<std::string, format, std::less<>> all;
  std::vector<eq::layer_sensitivity> coded(layers);
  std::vector<const eq::layer_sensitivity*> group;
  for (auto& layer : coded) {
    all[layer.name] = layer.candidates[1].type;
    layer.candidates = {layer.candidates[1]};
    group.push_back(&layer);
  }
  const auto together = estimate.of(all);
  const double truth = measure(group);
  EXPECT_NEAR(together.value, truth, 0.25 * truth + 2 * together.error);
}

/// <W - Q, G> from its definition, on a model whose embedding is the output matrix.
TEST_F(plans, inner_products_follow_their_definition) {
  const auto ready = open();
  const eq::fisher_options options{.sequences = 2, .tokens = 20, .samples = 2, .threads = 2};
  eq::fisher_estimate estimate;
  const auto layers =
      eq::analyze_by_gradients(ready.weights, ready.text, three, options, &estimate);
  struct summing : eq::gradient_visitor {
    std::map<std::string, eq::matrix_f> sums[4]; // of sequence and sample
    const eq::model_weights* weights = nullptr;
    eq::matrix_f& sum(std::size_t which, std::string_view name) {
      auto& m = sums[which][std::string(name)];
      const auto w = weights->find_matrix(name);
      if (m.size() == 0)
        m = eq::matrix_f::Zero(static_cast<Eigen::Index>(w.rows),
                               static_cast<Eigen::Index>(w.columns));
      return m;
    }
    void matrix(std::size_t sequence, const eq::matrix_gradient& g) override {
      const Eigen::Index n = g.inputs.rows();
      for (Eigen::Index s = 0; s < 2; ++s) {
        auto& all = sum(2 * sequence + static_cast<std::size_t>(s), g.name);
        const eq::matrix_f own = g.gradients.middleRows(s * n, n).transpose() * g.inputs;
        for (Eigen::Index r = 0; r < own.rows(); ++r)
          all.row(static_cast<Eigen::Index>(g.row(static_cast<std::size_t>(r)))) += own.row(r);
      }
    }
    void lookup(std::size_t sequence, const eq::lookup_gradient& g) override {
      for (std::size_t s = 0; s < 2; ++s)
        for (std::size_t t = 0; t < g.tokens.size(); ++t)
          sum(2 * sequence + s, g.name).row(g.tokens[t]) +=
              g.gradients.row(static_cast<Eigen::Index>(s * g.tokens.size() + t));
    }
  } walk;
  walk.weights = &ready.weights;
  const auto sequences = eq::gradient_sequences(ready.text, 2, 20);
  eq::walk_gradients(ready.weights, sequences, {.samples = 2}, walk);
  for (const auto& layer : layers) {
    const auto w = ready.weights.find_matrix(layer.name);
    const auto exact = eq::decode_matrix(w.type, w.data, w.rows, w.columns);
    for (const auto& c : layer.candidates) {
      const auto bytes = eq::encode_matrix(c.type, eq::scale_rule::mse, exact, layer.name);
      const eq::matrix_f error = eq::decode_matrix(c.type, bytes.data(), w.rows, w.columns) - exact;
      const auto& changes = estimate.of(layer.name, c.type);
      ASSERT_EQ(changes.size(), 4u);
      for (std::size_t i = 0; i < 4; ++i) {
        const auto& g = walk.sums[i].at(layer.name);
        const double expected =
            error.cast<double>().cwiseProduct(g.cast<double>()).sum() / std::sqrt(20.0);
        // Sums of floats, in another order.
        EXPECT_NEAR(changes[i], expected, 1e-4 * double{error.norm()} * double{g.norm()})
            << layer.name;
      }
      EXPECT_GT(*c.kl, 0);
    }
  }
  EXPECT_EQ(message_of([&] { (void)estimate.of("blk.0.attn_q.weight", format::q2_k); }),
            "blk.0.attn_q.weight: its divergence in q2_K was not estimated");
  EXPECT_EQ(message_of([&] { (void)eq::analyze_by_gradients(ready.weights, {}, three, options); }),
            "calibration text: no tokens");
}

/// An embedding that is not the output matrix is looked up alone: its rows cost by their tokens.
TEST_F(plans, an_embedding_of_its_own_is_weighed_too) {
  toy_options o;
  o.own_output = true;
  write_toy(folder / "own.gguf", speaking(o));
  const eq::model_weights weights(eq::read_gguf(folder / "own.gguf"));
  const auto layers =
      eq::analyze_by_gradients(weights, open().text, three, {.sequences = 3, .tokens = 40});
  EXPECT_EQ(layers.front().name, "token_embd.weight");
  EXPECT_EQ(layers.back().name, "output.weight");
  for (const auto* layer : {&layers.front(), &layers.back()})
    for (const auto& c : layer->candidates) {
      EXPECT_GT(*c.kl, 0) << layer->name;
      EXPECT_GT(c.weight_error, 0) << layer->name;
      EXPECT_GT(c.output_error, 0) << layer->name;
    }
}

/// A matrix of a file that is quantized already costs nothing in its own format. Super-blocks tell:
/// a second search of their steps does not find the same ones.
TEST_F(plans, a_matrix_may_stay_as_it_is) {
  toy_options o;
  o.type = format::q4_k;
  o = speaking(o);
  o.hidden = o.feed_forward = 256;
  write_toy(folder / "coded.gguf", o);
  const eq::model_weights weights(eq::read_gguf(folder / "coded.gguf"));
  const format two[] = {format::q4_k, format::q4_0};
  std::size_t seen = 0;
  for (const bool keeps : {true, false})
    for (const auto& layer : eq::analyze_by_gradients(
             weights, open().text, two, {.sequences = 2, .tokens = 40, .keeps_codes = keeps})) {
      if (weights.find_matrix(layer.name).type != format::q4_k) continue;
      ++seen;
      EXPECT_EQ(layer.candidates[0].weight_error == 0, keeps) << layer.name;
      EXPECT_EQ(*layer.candidates[0].kl == 0, keeps) << layer.name;
      EXPECT_GT(*layer.candidates[1].kl, 0) << layer.name;
    }
  EXPECT_GE(seen, 2 * 14u);
}

/// Log ratios of 0.2 and -0.2 have a variance of 0.08: of 25 samples that is the noise itself, of
/// 100 it is four times the noise, 0.02, so that three quarters of each difference are kept.
TEST(fisher, estimates_are_drawn_together_as_far_as_noise_explains) {
  const double expected[] = {1, 4, 1};
  const double up = std::exp(0.2), down = std::exp(-0.2);
  std::vector<double> estimates{up, 4 * down, 0};
  eq::plan::detail::draw_together(estimates, expected, 25);
  EXPECT_NEAR(estimates[0], 1, 1e-12);
  EXPECT_NEAR(estimates[1], 4, 1e-12);
  EXPECT_EQ(estimates[2], 0);
  estimates = {up, 4 * down, 0};
  eq::plan::detail::draw_together(estimates, expected, 100);
  EXPECT_NEAR(estimates[0], std::exp(0.15), 1e-12);
  EXPECT_NEAR(estimates[1], 4 * std::exp(-0.15), 1e-12);
  estimates = {up};
  eq::plan::detail::draw_together(estimates, std::span(expected).first(1), 25);
  EXPECT_EQ(estimates[0], up);
}

/// What rounding each column costs once all later ones have adapted to it, which is its Schur
/// complement in the Gram matrix of them, over its own diagonal.
double share_left(const eq::calibrated_model& ready, const std::string& name) {
  struct summing : eq::gradient_visitor {
    std::string name;
    Eigen::MatrixXd gram;
    void matrix(std::size_t, const eq::matrix_gradient& g) override {
      if (g.name != name) return;
      if (gram.size() == 0) gram = Eigen::MatrixXd::Zero(g.inputs.cols(), g.inputs.cols());
      const Eigen::MatrixXd x = g.inputs.cast<double>();
      for (Eigen::Index i = 0; i < g.gradients.rows(); ++i) {
        const Eigen::Index t = i % x.rows();
        gram += double{g.gradients.row(i).squaredNorm()} * x.row(t).transpose() * x.row(t);
      }
    }
  } walk;
  walk.name = name;
  eq::walk_gradients(ready.weights, eq::gradient_sequences(ready.text, 4, 50), {.samples = 3},
                     walk);
  const eq::gptq_columns columns(walk.gram);               // for the damping and the order
  const Eigen::MatrixXd h = columns.gram().cast<double>(); // in the order of rounding
  double left = 0;
  for (Eigen::Index i = 0; i < h.rows(); ++i) {
    const Eigen::Index later = h.rows() - i - 1;
    const Eigen::MatrixXd others = h.bottomRightCorner(later, later);
    const Eigen::VectorXd mixed = h.col(i).tail(later);
    left += h(i, i);
    if (later > 0) left -= mixed.dot(others.llt().solve(mixed));
  }
  return left / h.trace();
}

/// What GPTQ leaves is a share of what rounding does.
TEST_F(plans, errors_that_adapt_are_smaller) {
  const auto ready = open();
  eq::fisher_options options{.sequences = 4, .tokens = 50, .threads = 1};
  const auto rounded = eq::analyze_by_gradients(ready.weights, ready.text, three, options);
  options.adapted = true;
  const auto adapted = eq::analyze_by_gradients(ready.weights, ready.text, three, options);
  for (std::size_t i = 0; i < rounded.size(); ++i) {
    const double share = *adapted[i].candidates[0].kl / *rounded[i].candidates[0].kl;
    EXPECT_LT(share, 1) << rounded[i].name;
    EXPECT_GT(share, 0.01) << rounded[i].name;
    EXPECT_NEAR(*adapted[i].candidates[2].kl, share * *rounded[i].candidates[2].kl, 1e-9);
    if (rounded[i].name == "blk.1.ffn_down.weight") {
      EXPECT_NEAR(share, share_left(ready, rounded[i].name), 1e-4);
    }
  }
}

} // namespace
