// SPDX-License-Identifier: MIT
#include "model/toy_model.hpp"

#include <edgequant/model/evaluate.hpp>

#include <numeric>

namespace {
using namespace model_test;

/// Two toys that differ in a weight.
class evaluate : public testing::Test {
protected:
  evaluate() {
    toy_options o;
    write_toy(folder / "a.gguf", o);
    o.change_tensor = [](eq::tensor_info& t, std::vector<float>& values) {
      if (t.name == "blk.0.ffn_up.weight")
        for (std::size_t i = 0; i < values.size(); i += 3) values[i] += 0.05f;
      return true;
    };
    write_toy(folder / "b.gguf", o);
    for (int i = 0; i < 77; ++i) text.push_back(i * 11 % 40);
  }
  /// Logits behind the tokens, of a model that saw nothing else.
  std::vector<float> logits(const char* name, std::span<const std::int32_t> tokens) {
    const eq::model_weights weights(eq::read_gguf(folder / name));
    eq::transformer model(weights, 1);
    auto pool = model.make_pool(eq::kv_format::f32, 64);
    eq::kv_sequence sequence(pool);
    const auto run = model.run(tokens, sequence);
    return {run.begin(), run.end()};
  }

  temporary_folder folder;
  std::vector<std::int32_t> text;
};

TEST_F(evaluate, second_halves_are_scored_as_they_are_defined) {
  constexpr std::size_t context = 10;
  for (const bool with_bos : {true, false}) {
    std::vector<std::int32_t> all(text);
    if (with_bos) all.insert(all.begin(), 1);
    std::vector<double> kl, log, change;
    double same = 0;
    for (std::size_t at = 0; at + context <= all.size(); at += context) {
      std::vector<std::int32_t> chunk(all.begin() + static_cast<long>(at),
                                      all.begin() + static_cast<long>(at + context));
      if (with_bos) chunk[0] = 1;
      for (std::size_t k = context / 2 + 1; k < context; ++k) {
        const auto a = logits("a.gguf", std::span(chunk).first(k));
        const auto b = logits("b.gguf", std::span(chunk).first(k));
        const auto next = static_cast<std::size_t>(chunk[k]);
        log.push_back(-eq::log_probability(b, next));
        kl.push_back(eq::kl_divergence(a, b));
        change.push_back(std::exp(eq::log_probability(b, next)) -
                         std::exp(eq::log_probability(a, next)));
        same += eq::top_token(a) == eq::top_token(b);
      }
    }
    const auto mean = [](const std::vector<double>& x) {
      return std::accumulate(x.begin(), x.end(), 0.0) / static_cast<double>(x.size());
    };
    const auto error = [&](const std::vector<double>& x) { // of a mean, from its definition
      double sum = 0;
      for (const double v : x) sum += (v - mean(x)) * (v - mean(x));
      const auto n = static_cast<double>(x.size());
      return std::sqrt(sum / n / (n - 1));
    };
    const eq::model_weights a(eq::read_gguf(folder / "a.gguf")),
        b(eq::read_gguf(folder / "b.gguf"));
    eq::transformer reference(a, 1), model(b, 1);
    eq::evaluation_options options;
    options.context = context, options.scored = eq::scored_tokens::second_half;
    options.bos = with_bos ? std::optional<std::int32_t>(1) : std::nullopt;
    const auto score = eq::score_text(model, text, options, &reference);
    ASSERT_EQ(score.tokens, kl.size());
    EXPECT_NEAR(score.perplexity, std::exp(mean(log)), 1e-4 * score.perplexity);
    EXPECT_NEAR(score.perplexity_error, score.perplexity * error(log), 1e-4 * score.perplexity);
    const auto& d = *score.from_reference;
    EXPECT_NEAR(d.kl_mean, mean(kl), 1e-6);
    EXPECT_NEAR(d.kl_error, error(kl), 1e-6);
    EXPECT_NEAR(d.mean_probability.value, mean(change), 1e-6);
    EXPECT_NEAR(d.mean_probability.error, error(change), 1e-6);
    double squares = 0;
    for (const double x : change) squares += x * x;
    EXPECT_NEAR(d.rms_probability.value, std::sqrt(squares / static_cast<double>(change.size())),
                1e-6);
    EXPECT_EQ(d.top1, same / static_cast<double>(kl.size()));
    std::sort(kl.begin(), kl.end());
    EXPECT_NEAR(d.kl_median, kl[(kl.size() + 1) / 2 - 1], 1e-6);
    EXPECT_NEAR(d.kl_max, kl.back(), 1e-6);

    // The same from a file. Its codes are a 65535th of at most 16 apart.
    const auto written = eq::write_logit_file(reference, text, options, folder / "a.kld");
    EXPECT_EQ(written.tokens, score.tokens);
    EXPECT_NEAR(written.perplexity, d.perplexity, 1e-5 * d.perplexity);
    eq::logit_file file(folder / "a.kld");
    EXPECT_EQ(file.header().context, context);
    EXPECT_EQ(file.header().tokens.size(), all.size() / context * context);
    const auto from_file = eq::score_text(model, file, options);
    EXPECT_EQ(from_file.perplexity, score.perplexity);
    EXPECT_NEAR(from_file.from_reference->kl_mean, d.kl_mean, 2.5e-4);
    EXPECT_EQ(from_file.from_reference->top1, d.top1);
  }
}

TEST_F(evaluate, what_cannot_be_scored_is_refused) {
  const eq::model_weights weights(eq::read_gguf(folder / "a.gguf"));
  eq::transformer model(weights, 1);
  eq::evaluation_options options;
  options.context = 10, options.bos = std::nullopt;
  const auto refusal = [&](std::size_t tokens) {
    return message_of([&] { (void)eq::score_text(model, std::span(text).first(tokens), options); });
  };
  EXPECT_EQ(refusal(20), "text: no BOS to stand before the chunks");
  options.scored = eq::scored_tokens::second_half;
  EXPECT_EQ(refusal(9), "text: 9 tokens, fewer than a chunk of 10 has");
  EXPECT_EQ(refusal(10), "");
}

TEST_F(evaluate, files_of_log_probabilities_are_read_with_care) {
  const eq::model_weights weights(eq::read_gguf(folder / "a.gguf"));
  eq::transformer model(weights, 1);
  eq::evaluation_options options;
  options.context = 10;
  (void)eq::write_logit_file(model, text, options, folder / "good.kld");
  const auto good = read_all(folder / "good.kld");
  const auto refusal = [&](const std::string& content) {
    write_all(folder / "bad.kld", content);
    const auto message = message_of([&] { eq::logit_file file(folder / "bad.kld"); });
    EXPECT_TRUE(message.empty() || is_one_line(message)) << message;
    return message.substr(std::min(message.size(), (folder / "bad.kld").string().size()));
  };
  EXPECT_EQ(refusal(good), "");
  for (std::size_t size = 0; size < good.size(); size += 7)
    EXPECT_NE(refusal(good.substr(0, size)), "");
  const auto with = [&](std::size_t at, std::uint32_t value) {
    std::string changed = good;
    std::memcpy(changed.data() + at, &value, 4);
    return refusal(changed);
  };
  EXPECT_EQ(with(0, 1), " at byte 0: no file of log probabilities");
  EXPECT_EQ(with(8, 3), " at byte 8: sizes that no file has");
  EXPECT_EQ(with(12, 0), " at byte 8: sizes that no file has");
  // Token 39 is number 29 of the file.
  EXPECT_EQ(with(12, 39), " at byte 140: a token outside of the vocabulary");
  EXPECT_EQ(with(16, 0xffffffff), " at byte 20: more tokens than the file has bytes");
  EXPECT_EQ(with(20, 40), " at byte 20: a token outside of the vocabulary");
}

} // namespace
