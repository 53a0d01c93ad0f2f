// SPDX-License-Identifier: MIT
#include "run/scripted_engine.hpp"

namespace {
using namespace deploy_test;
using eq::stop_reason;

TEST(pipeline, loads_and_reports) {
  pipeline p(std::in_place, some_model(), strings{"a"});
  const auto report = p.load_model();
  EXPECT_EQ(report.model, "some.gguf");
  EXPECT_EQ(report.device, "paper");
  EXPECT_EQ(report.quantization, "Q4_0");
  EXPECT_EQ(report.bytes, 1234u);
  EXPECT_EQ(report.load_ms, 500);
}

TEST(pipeline, infers) {
  ready p({"Hello", ", ", "world"});
  const auto report = p.infer("abc", 16);
  EXPECT_EQ(report.prompt, "abc");
  EXPECT_EQ(report.max_tokens, 16u);
  EXPECT_EQ(report.quantization, "Q4_0");
  EXPECT_EQ(report.text, "Hello, world");
  EXPECT_EQ(report.tokens, (std::vector<std::int32_t>{0, 1, 2}));
  EXPECT_EQ(report.prompt_tokens, 4u);
  EXPECT_EQ(report.reason, stop_reason::end_token);
  EXPECT_EQ(report.scheduling_note, "");
  EXPECT_EQ(p.engine().calls, "Pddd"); // the last one brings the end
}

TEST(pipeline, measures_times) {
  ready p(long_text());
  p.engine().decode_ms = {10, 10, 40, 20, 20};
  const auto slow_reader = [](std::string_view) { fake_clock::pass(1000); };
  const auto report = p.infer("abc", 6, slow_reader);
  EXPECT_EQ(report.time_to_first_token_ms, 21); // tokenizer and prefill
  EXPECT_EQ(report.prefill_tokens_per_second, 4 * 1000 / 20.0);
  EXPECT_EQ(report.latency.p50, 20); // of 10 10 20 20 40, without the callback's time
  EXPECT_EQ(report.latency.p90, 40);
  EXPECT_EQ(report.latency.max, 40);
  EXPECT_EQ(report.latency.mean, 20);
  EXPECT_DOUBLE_EQ(report.latency.jitter, std::sqrt(600 / 5.0));
  EXPECT_EQ(report.decode_tokens_per_second, 50);
}

TEST(pipeline, one_token_has_no_decode_times) {
  ready p(long_text());
  p.engine().prefill_ms = 0; // no clock is that coarse, but a rate must stay a number
  const auto report = p.infer("abc", 1);
  EXPECT_EQ(p.engine().calls, "P");
  EXPECT_EQ(report.reason, stop_reason::token_limit);
  EXPECT_EQ(report.time_to_first_token_ms, 1);
  EXPECT_EQ(report.prefill_tokens_per_second, 0);
  EXPECT_EQ(report.decode_tokens_per_second, 0);
  EXPECT_EQ(report.latency.max, 0);
}

TEST(pipeline, loads_and_warms_up_once) {
  pipeline p(std::in_place, some_model(), long_text());
  const auto report = p.infer("abc", 2);
  EXPECT_EQ(p.engine().calls, "LPddddPddddPddddPd");
  EXPECT_EQ(report.time_to_first_token_ms, 21); // neither load nor warm-up
  (void)p.infer("abc", 1);
  EXPECT_EQ(p.engine().calls, "LPddddPddddPddddPdP");
  (void)p.load_model(); // a new model is cold
  (void)p.infer("abc", 1);
  EXPECT_EQ(p.engine().calls, "LPddddPddddPddddPdPLPddddPddddPddddP");
}

TEST(pipeline, warms_up_when_asked) {
  pipeline p(std::in_place, some_model(), long_text());
  EXPECT_EQ(p.warmup(2), 61); // 1 + 20 + 4 * 10
  EXPECT_EQ(p.engine().calls, "LPddddPdddd");
  (void)p.infer("abc", 1);
  EXPECT_EQ(p.engine().calls, "LPddddPddddP");
}

TEST(pipeline, warms_up_within_a_small_context) {
  for (const std::size_t context : {0u, 1u, 2u, 3u, 17u, 18u, 20u}) { // its prompt has 17 tokens
    pipeline p(std::in_place, some_model(), long_text());
    p.engine().context = context;
    EXPECT_EQ(p.warmup() > 0, context > 1) << context; // decode beyond the context would throw
    EXPECT_EQ(p.engine().calls.find('d') != std::string::npos, context > 1) << context;
    EXPECT_EQ(refusal(p, "") == "inferred", context > 1) << context;
  }
}

TEST(pipeline, streams_whole_characters) {
  const strings pieces{"a\xe2", "\x82", "", "\xac!", "\xff\xf0\x9f", "\x98"};
  ready p(pieces);
  strings heard;
  const auto report = p.infer("abc", 16, [&](std::string_view text) { heard.emplace_back(text); });
  EXPECT_EQ(heard, (strings{"a", "\xe2\x82\xac!", "\xff", "\xf0\x9f\x98"}));
  EXPECT_EQ(report.text, "a\xe2\x82\xac!\xff\xf0\x9f\x98");
}

TEST(pipeline, refuses_bad_arguments) {
  ready p(long_text());
  EXPECT_EQ(refusal(p, "nothing"), "infer: a prompt of no tokens");
  EXPECT_EQ(refusal(p, "abc", 0), "infer: max_tokens must be above 0");
  EXPECT_EQ(refusal(p, std::string(99, 'a')), "infer: a prompt of 100 tokens, the context has 100");
  EXPECT_EQ(refusal(p, std::string(98, 'a')), "inferred");
  EXPECT_EQ(refusal(p, ""), "inferred"); // the begin token
}

TEST(pipeline, refuses_bad_options) {
  const auto refuses = [](auto change) {
    auto options = some_model();
    change(options);
    EXPECT_THROW(pipeline(std::in_place, options, strings{"a"}), eq::exception);
  };
  refuses([](auto& o) { o.sampling.top_p = 0; });
  refuses([](auto& o) { o.cores = {-1}; });
  refuses([](auto& o) { o.priority = 21; });
  refuses([](auto& o) { o.latency_budget = std::chrono::milliseconds(0); });
  pipeline p(std::in_place, eq::pipeline_options{}, strings{"a"});
  EXPECT_THROW((void)p.load_model(), eq::exception); // the engine's own
}

TEST(pipeline, says_what_scheduling_was_not_possible) {
  auto options = some_model();
  options.cores = {1 << 20};
  ready p(long_text(), options);
  EXPECT_NE(p.infer("abc", 1).scheduling_note, "");
}

TEST(pipeline, draws_the_same_text_from_the_same_seed) {
  auto options = some_model();
  options.sampling = {.temperature = 3, .seed = 7};
  strings letters;
  for (char c = 'a'; c <= 'z'; ++c) letters.push_back({c});
  ready p(letters, options);
  const auto text = p.infer("abc", 12).text;
  EXPECT_EQ(p.infer("abc", 12).text, text);
  options.sampling.seed = 8;
  EXPECT_NE(ready(letters, options).infer("abc", 12).text, text);
}

/// The least that an engine must be; movable, on the real clock.
struct movable_engine {
  float logits[2] = {0, 1};
  eq::model_facts load(const std::filesystem::path&) { return {"F32", 0, "CPU", 9}; }
  std::vector<std::int32_t> tokenize(std::string_view) { return {0}; }
  std::span<const float> prefill(std::span<const std::int32_t>) { return logits; }
  std::span<const float> decode(std::int32_t) { return logits; }
  std::string detokenize(std::int32_t) { return "y"; }
  bool ends_text(std::int32_t) { return false; }
};

TEST(pipeline, takes_a_movable_engine) {
  eq::inference_pipeline p(movable_engine{}, some_model());
  const auto report = p.infer("abc", 3);
  EXPECT_EQ(report.text, "yyy");
  EXPECT_GE(report.time_to_first_token_ms, 0);
  static_assert(!eq::inference_engine<int>);
  EXPECT_EQ(eq::name_of(stop_reason::end_token), "end token");
  EXPECT_EQ(eq::name_of(stop_reason::context_full), "context full");
}

} // namespace
