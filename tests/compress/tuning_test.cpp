// SPDX-License-Identifier: MIT
#include "plan/support.hpp"

#include <edgequant/compress/quantize_model.hpp>

namespace {
using namespace plan_test;

class tuning : public testing::Test {
protected:
  temporary_folder folder;
  const fs::path data = fs::path(EDGEQUANT_SOURCE_DIR) / "examples/data";
  const fs::path file = data / "stories-2m-f16.gguf";
  eq::model_source source = eq::open_model(file);
  eq::quantize_model_options options;

  tuning() {
    options.type = format::q3_k;
    options.tune = data / "story.txt";
    options.tuning = {.steps = 12, .step_tokens = 192, .sequence_tokens = 32, .held_out = 64};
  }
  eq::quantize_model_result run(const char* name) {
    return eq::quantize_model(source, folder / name, options);
  }
  std::string bytes_of(const char* name) const {
    std::ifstream in(folder / name, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
  }
  double divergence(const char* name) const {
    const eq::model_weights tuned(eq::read_gguf(folder / name)), exact(eq::read_gguf(file));
    auto ready = eq::open_calibrated(source, file, "unused", {data / "story.txt", 297}, 0);
    eq::transformer a(tuned), b(exact);
    return eq::score_text(a, ready.text.tokens, {.context = 64, .bos = ready.text.bos}, &b)
        .from_reference->kl_mean;
  }
};

// The file has what was measured: as small as before, nearer to the original, the same for any
// number of threads.
TEST_F(tuning, brings_a_real_model_nearer_to_the_original) {
  options.tune.clear();
  (void)run("plain.gguf");
  options.tune = data / "story.txt";
  const auto result = run("tuned.gguf");
  ASSERT_TRUE(result.tuning);
  const auto& curve = result.tuning->curve;
  ASSERT_GE(curve.size(), 3u);
  EXPECT_EQ(curve.front().steps, 0u);
  EXPECT_EQ(curve.back().steps, 12u);
  for (const auto& point : curve)
    EXPECT_GE(point.divergence, curve[result.tuning->best].divergence);
  EXPECT_GT(result.tuning->moves, 0u);
  EXPECT_EQ(bytes_of("tuned.gguf").size(), bytes_of("plain.gguf").size());
  EXPECT_LT(divergence("tuned.gguf"), 0.97 * divergence("plain.gguf"));
  options.threads = 1;
  (void)run("again.gguf");
  EXPECT_TRUE(bytes_of("again.gguf") == bytes_of("tuned.gguf"));
}

// A rate that climbs: what is written is what no step has touched.
TEST_F(tuning, is_never_worse_on_its_held_out_tokens) {
  options.tune.clear();
  (void)run("plain.gguf");
  options.tune = data / "story.txt";
  options.tuning.steps = 2;
  options.tuning.learning_rate = -0.1, options.tuning.code_rate = 0;
  const auto result = run("tuned.gguf");
  EXPECT_EQ(result.tuning->best, 0u);
  EXPECT_TRUE(bytes_of("tuned.gguf") == bytes_of("plain.gguf"));
}

TEST_F(tuning, goes_with_gptq_and_formats_without_halves) {
  options.type = format::mxfp4;
  options.method = eq::parse_method("gptq");
  options.calibration = {data / "story.txt", 200};
  options.tuning.steps = 2;
  const auto result = run("tuned.gguf");
  EXPECT_EQ(result.tuning->curve.size(), 3u);
  EXPECT_NE(result.report.notes.back().find("tuning took"), std::string::npos);
}

/// A plan is judged before it is tuned; with rtn nothing but the plan is encoded then.
TEST_F(tuning, goes_with_a_budget_without_a_method) {
  options.budget = eq::parse_budget("4.0bpw");
  options.calibration = {data / "story.txt", 100};
  options.candidates = {format::q3_k, format::q4_k};
  for (const auto measure : {eq::loss_measure::fisher, eq::loss_measure::weight}) {
    options.sensitivity = measure;
    options.tuning.steps = 1;
    const auto result = run("tuned.gguf");
    options.tune.clear();
    (void)run("plain.gguf");
    options.tune = data / "story.txt";
    EXPECT_LT(divergence("tuned.gguf"), 1.1 * divergence("plain.gguf"));
    EXPECT_EQ(bytes_of("tuned.gguf").size(), bytes_of("plain.gguf").size());
  }
}

TEST_F(tuning, minutes_end_it) {
  options.tuning.steps = 0, options.tuning.minutes = 1e-4;
  EXPECT_EQ(run("tuned.gguf").tuning->curve.back().steps, 1u);
}

TEST_F(tuning, what_it_lacks_is_refused) {
  const auto refusal = [&] { return message_of([&] { (void)run("out.gguf"); }); };
  options.tuning.sequence_tokens = 7;
  EXPECT_EQ(refusal(), "tuning: sequences of 7 tokens; expected at least 8");
  options.tuning.sequence_tokens = 32;
  options.type = format::f16;
  EXPECT_EQ(refusal(), "tuning: no matrix is in a block format that can be written");
  options.tuning.sequence_tokens = 256;
  EXPECT_NE(refusal().find("tuning text: "), std::string::npos);
  EXPECT_NE(refusal().find("expected at least 2040"), std::string::npos);
  options.tuning.steps = 0;
  EXPECT_EQ(refusal(), "tuning: expected a number of steps or of minutes");
  options.tune = folder / "out.gguf";
  std::ofstream(options.tune) << "text";
  EXPECT_NE(refusal().find("OUT"), std::string::npos);
}

} // namespace
