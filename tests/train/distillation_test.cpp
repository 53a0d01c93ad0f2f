// SPDX-License-Identifier: MIT
#include "model/toy_model.hpp"

#include <edgequant/train/distillation.hpp>

namespace {
using namespace model_test;

class distillations : public testing::Test {
protected:
  temporary_folder folder;
  eq::calibration_text text;

  distillations() {
    std::uint32_t state = 1;
    for (int i = 0; i < 400; ++i) {
      state = state * 1664525 + 1013904223;
      text.tokens.push_back(static_cast<std::int32_t>(2 + state / 65536 % 38));
    }
    text.bos = 1;
  }
  /// `factor`: of a student, of what its feed-forward networks give.
  eq::model_weights open(const char* architecture, float factor = 1) {
    toy_options o = toy_of(*eq::find_architecture(architecture));
    o.change_tensor = [factor](eq::tensor_info& t, std::vector<float>& values) {
      const bool is_down = t.name.find("ffn_down") != t.name.npos && t.name.ends_with(".weight");
      if (is_down || t.name.find("post_ffw_norm") != t.name.npos)
        for (float& v : values) v *= factor;
      return true;
    };
    write_toy(folder / "toy.gguf", o);
    eq::model_weights weights(eq::read_gguf(folder / "toy.gguf"));
    return weights;
  }
  static eq::distillation_options quick() {
    return {.steps = 24,
            .step_tokens = 64,
            .sequence_tokens = 16,
            .held_out = 64,
            .learning_rate = 3e-3};
  }
};

TEST_F(distillations, a_student_comes_near_its_teacher_in_every_kind_of_network) {
  for (const char* name : {"llama", "gemma3", "phi3", "qwen3moe"}) {
    SCOPED_TRACE(name);
    const auto teacher = open(name);
    auto student = open(name, 0.5f);
    eq::changed_weights changed;
    const auto result = eq::distill(student, teacher, text, quick(), changed);
    EXPECT_LT(result.curve[result.best].divergence, 0.85 * result.curve[0].divergence);
    // What it has is what is returned, and what was measured.
    const auto sequences = eq::distillation_sequences(teacher, text, quick());
    const std::size_t training = sequences.size() - 4;
    eq::kept_predictions<> reference(teacher, sequences);
    EXPECT_EQ(
        eq::mean_divergence(student, reference, std::span(sequences).subspan(training), training),
        result.curve[result.best].divergence);
    EXPECT_EQ(changed.vectors.at("output_norm.weight"), student.output_norm());
    for (const auto& [matrix, values] : changed.matrices)
      EXPECT_EQ(student.find_matrix(matrix).data,
                reinterpret_cast<const std::byte*>(values.data()));
  }
}

TEST_F(distillations, threads_change_nothing) {
  eq::changed_weights one, two;
  const auto teacher = open("llama");
  for (auto* changed : {&one, &two}) {
    auto student = open("llama", 0.5f);
    auto options = quick();
    options.threads = changed == &one ? 1 : 3;
    (void)eq::distill(student, teacher, text, options, *changed);
  }
  EXPECT_EQ(one.vectors, two.vectors);
  EXPECT_TRUE(one.matrices == two.matrices);
}

TEST_F(distillations, nothing_worse_is_kept) {
  const auto teacher = open("llama");
  auto student = open("llama");
  auto options = quick();
  options.learning_rate = 0.1;
  eq::changed_weights changed;
  const auto result = eq::distill(student, teacher, text, options, changed);
  EXPECT_EQ(result.best, 0u); // a teacher has nothing to learn from itself
  EXPECT_LT(result.curve[0].divergence, 1e-6);
}

TEST_F(distillations, text_alone_teaches_the_text) {
  const auto teacher = open("llama");
  auto student = open("llama", 0.5f);
  // A text that repeats: what follows is certain.
  for (std::size_t i = 0; i < text.tokens.size(); ++i)
    text.tokens[i] = static_cast<std::int32_t>(2 + i % 5);
  const auto loss = [&](const eq::model_weights& weights) {
    eq::transformer model(weights, 1);
    auto pool = model.make_pool(eq::kv_format::f32, 16);
    eq::kv_sequence sequence(pool);
    double sum = 0;
    const auto tokens = std::span(text.tokens).first(16);
    model.run(tokens, sequence, [&](std::size_t i, std::span<const float> logits) {
      if (i + 1 < 16) sum -= eq::log_probability(logits, static_cast<std::size_t>(tokens[i + 1]));
    });
    return sum;
  };
  const double before = loss(student);
  auto options = quick();
  options.from_text_alone = true;
  eq::trained_weights<> trained(student, {}, 1);
  eq::label_loss<> labels({}, {});
  const std::vector<std::vector<std::int32_t>> sequences(
      4, std::vector<std::int32_t>(text.tokens.begin(), text.tokens.begin() + 16));
  for (int step = 0; step < 10; ++step) {
    eq::label_loss<> own(sequences, {.labels = eq::gradient_labels::text});
    trained.begin_step(-3e-3, 64); // log p is to rise
    eq::walk_gradients(student, sequences, own, trained, 1);
    trained.end_step();
  }
  EXPECT_LT(loss(student), 0.7 * before);
  eq::changed_weights changed;
  // 22 sequences train, four a step: of six steps the last has two.
  EXPECT_EQ(eq::distill(student, teacher, text, options, changed).tokens, 24u * 64 - 4 * 32);
}

TEST_F(distillations, what_it_lacks_is_refused) {
  const auto teacher = open("llama");
  auto student = open("llama");
  eq::changed_weights changed;
  const auto refusal = [&](const eq::distillation_options& options) {
    return message_of([&] { (void)eq::distill(student, teacher, text, options, changed); });
  };
  EXPECT_EQ(refusal({}), "distillation: expected a number of steps or of minutes");
  EXPECT_EQ(refusal({.steps = 1}), "text: 400 tokens; expected at least 504");
  toy_options o;
  o.words = 41;
  write_toy(folder / "more.gguf", o);
  const eq::model_weights more(eq::read_gguf(folder / "more.gguf"));
  EXPECT_NE(message_of([&] {
              (void)eq::distill(student, more, text, quick(), changed);
            }).find("a vocabulary of 40 tokens, the teacher has 41"),
            std::string::npos);
}

} // namespace
