// SPDX-License-Identifier: MIT
#include "plan/support.hpp"

#include <edgequant/compress/compress.hpp>
#include <edgequant/compress/encoded_tensors.hpp>
#include <edgequant/metric/rank_correlation.hpp>
#include <edgequant/plan/divergence.hpp>

namespace {
using namespace plan_test;
using Eigen::Index;

eq::matrix_f random_matrix(Index rows, Index columns, unsigned seed) {
  const auto values =
      inputs::make(inputs::gaussian, static_cast<std::size_t>(rows * columns), seed);
  return Eigen::Map<const eq::matrix_f>(values.data(), rows, columns);
}

/// Every figure from its definition, with the inputs themselves instead of their Gram matrix.
TEST(sensitivity, figures_follow_their_definitions) {
  const eq::matrix_f w = random_matrix(70, 64, 1), x = random_matrix(150, 64, 2);
  const eq::matrix_f outliers = x * Eigen::VectorXf::LinSpaced(64, 0.1f, 9).asDiagonal();
  eq::calibration seen([](std::string_view) { return true; });
  seen("w", outliers.data(), 150, 64);
  const auto s = eq::analyze_sensitivity("w", w, seen.all().at("w"), three, 2);
  ASSERT_EQ(s.candidates.size(), 3u);
  EXPECT_EQ(s.name, "w");
  EXPECT_EQ(s.rows, 70u);
  EXPECT_EQ(s.columns, 64u);
  EXPECT_NEAR(s.kurtosis, 3, 0.3);
  EXPECT_EQ(s.sensitivity, s.candidates[0].output_error);
  const Eigen::MatrixXd exact = w.cast<double>(), inputs = outliers.cast<double>();
  const Eigen::VectorXd weight = inputs.colwise().squaredNorm().transpose();
  for (const auto& c : s.candidates) {
    EXPECT_EQ(c.bytes, 70 * eq::row_bytes(c.type, 64));
    eq::matrix_f q(70, 64);
    std::vector<std::byte> bytes(eq::row_bytes(c.type, 64));
    for (Index r = 0; r < 70; ++r) {
      eq::row_encoder encode(c.type, eq::scale_rule::mse, "w");
      encode({w.row(r).data(), 64}, {}, 0, bytes.data());
      eq::decode_row(c.type, bytes.data(), {q.row(r).data(), 64});
    }
    const Eigen::MatrixXd off = exact - q.cast<double>();
    const auto columns = [&](const Eigen::MatrixXd& m) {
      return std::sqrt(m.cwiseAbs2().colwise().sum().dot(weight));
    };
    EXPECT_NEAR(c.weight_error, off.norm() / exact.norm(), 1e-12);
    EXPECT_NEAR(c.column_error, columns(off) / columns(exact), 1e-12);
    const double output = (inputs * off.transpose()).norm() / (inputs * exact.transpose()).norm();
    EXPECT_NEAR(c.output_error, output, 1e-9);
    EXPECT_FALSE(c.kl);
  }
  const auto one = eq::analyze_sensitivity("w", w, seen.all().at("w"), three, 1);
  EXPECT_EQ(one.candidates[0].output_error, s.candidates[0].output_error); // on any threads
}

TEST(sensitivity, finds_its_inputs_by_name) {
  const eq::matrix_f w = random_matrix(8, 64, 1), x = random_matrix(9, 64, 2);
  eq::calibration seen([](std::string_view) { return true; });
  seen("w", x.data(), 9, 64);
  EXPECT_EQ(eq::analyze_sensitivity("w", w, seen).sensitivity,
            eq::analyze_sensitivity("w", w, seen.all().at("w")).sensitivity);
  EXPECT_EQ(message_of([&] { (void)eq::analyze_sensitivity("v", w, seen); }),
            "v: the calibration has not seen it");
}

TEST(sensitivity, falls_back_on_what_it_has) {
  const eq::matrix_f w = random_matrix(8, 64, 1);
  const auto bare = eq::analyze_sensitivity("w", w);
  EXPECT_EQ(bare.candidates[0].output_error, bare.candidates[0].weight_error);
  eq::calibration without_gram;
  const std::vector<float> x(64, 0.5f);
  without_gram("w", x.data(), 1, 64);
  const auto weighted = eq::analyze_sensitivity("w", w, without_gram.all().at("w"));
  EXPECT_EQ(weighted.candidates[0].output_error, weighted.candidates[0].column_error);
  const auto odd = eq::analyze_sensitivity("odd", random_matrix(3, 33, 1));
  EXPECT_TRUE(odd.candidates.empty());
  const auto zero = eq::analyze_sensitivity("zero", eq::matrix_f::Zero(3, 32));
  EXPECT_EQ(zero.candidates[0].weight_error, 0);
  EXPECT_EQ(zero.kurtosis, 0);
}

TEST(sensitivity, refuses_what_it_cannot_read) {
  eq::matrix_f w = random_matrix(3, 32, 1);
  eq::calibration seen;
  const std::vector<float> x(64, 0.5f);
  seen("w", x.data(), 1, 64);
  EXPECT_EQ(message_of([&] { (void)eq::analyze_sensitivity("w", w, seen.all().at("w")); }),
            "w: inputs of 64 values for rows of 32");
  w(1, 2) = NAN;
  EXPECT_EQ(message_of([&] { (void)eq::analyze_sensitivity("w", w); }),
            "w: value at index 34 is NaN");
}

TEST_F(plans, every_matrix_of_a_model_is_analyzed) {
  const auto ready = open();
  const auto layers = eq::analyze_model(ready.weights, ready.text, three, 1);
  ASSERT_EQ(layers.size(), 1u + 2 * 7);
  EXPECT_EQ(layers.back().name, "token_embd.weight"); // tied: it reads what the last layer gives
  EXPECT_NE(layers.back().candidates[0].output_error, layers.back().candidates[0].weight_error);
  for (const auto& l : layers) {
    ASSERT_EQ(l.candidates.size(), 3u) << l.name;
    for (std::size_t i = 1; i < 3; ++i)
      EXPECT_LT(l.candidates[i].output_error, l.candidates[i - 1].output_error) << l.name;
  }
}

TEST_F(plans, weights_are_analyzed_without_a_text) {
  const auto ready = eq::open_calibrated(source, model, folder / "out.gguf", {}, 1);
  EXPECT_TRUE(ready.text.tokens.empty());
  const auto layers = eq::analyze_model(ready.weights, ready.text, three, 1);
  const auto with_text = open();
  const auto seen = eq::analyze_model(with_text.weights, with_text.text, three, 1);
  ASSERT_EQ(layers.size(), seen.size());
  for (std::size_t i = 0; i < layers.size(); ++i) {
    EXPECT_EQ(layers[i].name, seen[i].name);
    EXPECT_EQ(layers[i].candidates[0].weight_error, seen[i].candidates[0].weight_error);
    EXPECT_EQ(layers[i].candidates[0].output_error, layers[i].candidates[0].weight_error);
  }
}

TEST_F(plans, divergence_that_was_kept_is_not_measured_again) {
  auto ready = open();
  auto layers = eq::analyze_model(ready.weights, ready.text, three, 1), again = layers;
  std::size_t measured = 0;
  const auto count = [&](const eq::progress& p) { measured += !p.item.empty(); };
  eq::encoded_tensors kept(folder / "kept", "job");
  layers.resize(4); // as if interrupted
  eq::measure_divergence(ready.weights, ready.text, 64, layers, 1, count, eq::divergences_in(kept));
  EXPECT_EQ(measured, 4u);
  eq::encoded_tensors found(folder / "kept", "job");
  measured = 0;
  eq::measure_divergence(ready.weights, ready.text, 64, again, 1, count, eq::divergences_in(found));
  EXPECT_EQ(measured, again.size() - 4);
  for (std::size_t i = 0; i < 4; ++i)
    for (std::size_t c = 0; c < 3; ++c)
      EXPECT_EQ(again[i].candidates[c].kl, layers[i].candidates[c].kl);
}

/// The divergence that is said to come from one tensor is that of a file where only it changed.
TEST_F(plans, divergence_is_that_of_the_tensor_alone) {
  auto ready = open();
  auto layers = eq::analyze_model(ready.weights, ready.text, three, 1);
  eq::measure_divergence(ready.weights, ready.text, 300, layers, 1);
  for (const char* name : {"token_embd.weight", "blk.1.ffn_down.weight"}) {
    const auto layer =
        std::find_if(layers.begin(), layers.end(), [&](const auto& l) { return l.name == name; });
    eq::compress_options options;
    options.type = format::f32;
    options.keep = {eq::parse_keep(std::string(name) + "=q4_0")};
    (void)eq::compress(source, folder / "one.gguf", options);
    const eq::model_weights one(eq::read_gguf(folder / "one.gguf")), all(eq::read_gguf(model));
    eq::transformer changed(one, 1), reference(all, 1);
    const auto tokens = std::span(ready.text.tokens).first(300);
    const auto score =
        eq::score_text(changed, tokens, {.context = 64, .bos = ready.text.bos}, &reference);
    EXPECT_NEAR(*layer->candidates[0].kl, score.from_reference->kl_mean,
                1e-9 + 1e-6 * score.from_reference->kl_mean);
    const double ratio = layer->candidates[1].output_error / layer->candidates[0].output_error;
    EXPECT_NEAR(*layer->candidates[1].kl, *layer->candidates[0].kl * ratio * ratio, 1e-12);
  }
  // The weights are as they were.
  EXPECT_EQ(ready.weights.find_matrix("blk.1.ffn_down.weight").type, format::f32);
}

#if defined(NDEBUG)
/// The sum of the tensors' divergences tells which of two plans is the better one.
TEST(sensitivity, sums_of_divergences_rank_plans) {
  const fs::path data = fs::path(EDGEQUANT_SOURCE_DIR) / "examples/data";
  const auto file = data / "stories-2m-f16.gguf";
  const auto demo = eq::open_model(file);
  auto ready = eq::open_calibrated(demo, file, "unused", {data / "story.txt", 297}, 0);
  auto layers = eq::analyze_model(ready.weights, ready.text);
  eq::measure_divergence(ready.weights, ready.text, 297, layers);
  const eq::model_weights exact(ready.weights.file());
  eq::transformer model(ready.weights), reference(exact);
  std::mt19937 random(1);
  std::vector<double> predicted, measured;
  for (int plan = 0; plan < 20; ++plan) {
    std::vector<std::vector<std::byte>> kept;
    double sum = 0;
    const auto narrow = 1 + random() % 9; // of ten tensors so many have the first format
    for (const auto& l : layers) {
      const auto& c = l.candidates[random() % 10 < narrow ? 0 : 1 + random() % 2];
      const auto w = exact.find_matrix(l.name);
      kept.push_back(eq::encode_matrix(c.type, eq::scale_rule::mse,
                                       eq::decode_matrix(w.type, w.data, w.rows, w.columns),
                                       l.name));
      ready.weights.replace(l.name, {c.type, w.rows, w.columns, kept.back().data()});
      sum += *c.kl;
    }
    predicted.push_back(sum);
    measured.push_back(eq::score_text(model, ready.text.tokens,
                                      {.context = 256, .bos = ready.text.bos}, &reference)
                           .from_reference->kl_mean);
  }
  EXPECT_GE(eq::rank_correlation(predicted, measured), 0.9); // 0.988
}
#endif

} // namespace

namespace {

/// Divergences follow from a candidate whose errors are small.
TEST(layer_sensitivity, measures_the_first_candidate_of_four_bits) {
  eq::layer_sensitivity layer;
  layer.candidates = {{format::q2_k}, {format::q3_k}, {format::iq4_xs}, {format::q8_0}};
  EXPECT_EQ(layer.measured().type, format::iq4_xs);
  layer.candidates.resize(2);
  EXPECT_EQ(layer.measured().type, format::q3_k);
}

} // namespace
