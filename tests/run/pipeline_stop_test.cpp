// SPDX-License-Identifier: MIT
// Every way to end a text early, and that the pipeline lives on.
#include "run/scripted_engine.hpp"

#include <thread>

namespace {
using namespace deploy_test;
using eq::stop_reason;

TEST(pipeline_stop, a_full_context_ends_the_text) {
  ready p(long_text());
  p.engine().context = 6;
  (void)p.load_model();
  const auto report = p.infer("ab", 16); // 3 tokens; 3 more fit, and what they lead to is known
  EXPECT_EQ(report.reason, stop_reason::context_full);
  EXPECT_EQ(report.tokens.size(), 4u);
  EXPECT_EQ(p.engine().held, 6u);
  EXPECT_EQ(p.infer("ab", 4).reason, stop_reason::token_limit);
}

TEST(pipeline_stop, keeps_its_latency_budget_within_one_token) {
  auto options = some_model();
  options.latency_budget = std::chrono::milliseconds(55);
  ready p(long_text(), options);
  const auto start = fake_clock::now();
  const auto report = p.infer("abc");
  EXPECT_EQ(report.reason, stop_reason::latency_budget);
  EXPECT_EQ(report.tokens.size(), 5u); // at 21, 31, 41, 51 and 61 ms
  EXPECT_EQ(fake_clock::now() - start, std::chrono::milliseconds(61));
  (void)p.load_model();
  const auto cold = p.infer("abc"); // the warm-up alone takes longer
  EXPECT_EQ(cold.reason, stop_reason::latency_budget);
  EXPECT_TRUE(cold.tokens.empty());
  EXPECT_EQ(cold.time_to_first_token_ms, 0);
}

TEST(pipeline_stop, callback_cancels) {
  ready p(long_text());
  std::size_t heard = 0;
  const auto report = p.infer("abc", 16, [&](std::string_view) {
    if (++heard == 3) p.cancel();
  });
  EXPECT_EQ(report.reason, stop_reason::cancelled);
  EXPECT_EQ(report.text, "xxx");
  EXPECT_EQ(p.engine().calls, "Pdd");
  EXPECT_EQ(p.infer("abc", 4).reason, stop_reason::token_limit);
  p.cancel(); // nothing to end
  EXPECT_EQ(p.infer("abc", 4).reason, stop_reason::token_limit);
}

TEST(pipeline_stop, another_thread_cancels) {
  ready p(long_text());
  std::atomic<int> decodes = 0;
  std::atomic<bool> cancelled = false;
  std::thread other([&] {
    while (decodes < 3) std::this_thread::yield();
    p.cancel();
    cancelled = true;
  });
  p.engine().on_call = [&](char call) {
    if (call != 'd' || ++decodes != 3) return;
    while (!cancelled) std::this_thread::yield();
  };
  const auto report = p.infer("abc", 16);
  other.join();
  EXPECT_EQ(report.reason, stop_reason::cancelled);
  EXPECT_EQ(report.tokens.size(), 4u); // the one in progress is the last
}

TEST(pipeline_stop, cancelled_while_it_loads_or_warms_up) {
  for (const char when : {'L', 'P', 'd'}) {
    pipeline p(std::in_place, some_model(), long_text());
    p.engine().on_call = [&](char call) {
      if (call == when) p.cancel();
    };
    const auto report = p.infer("abc", 16);
    EXPECT_EQ(report.reason, stop_reason::cancelled);
    EXPECT_TRUE(report.tokens.empty());
    EXPECT_EQ(p.engine().calls, when == 'L' ? "L" : when == 'P' ? "LP" : "LPd");
    p.engine().on_call = {};
    EXPECT_EQ(p.infer("abc", 2).tokens.size(), 2u);
  }
}

TEST(pipeline_stop, is_usable_after_an_exception) {
  for (const char when : {'L', 'P', 'd'}) {
    pipeline p(std::in_place, some_model(), long_text());
    p.engine().on_call = [&](char call) {
      if (call == when) throw std::runtime_error("no power");
    };
    EXPECT_THROW((void)p.infer("abc", 4), std::runtime_error);
    p.engine().on_call = {};
    const auto report = p.infer("abc", 4);
    EXPECT_EQ(report.text, "xxxx");
    EXPECT_EQ(report.reason, stop_reason::token_limit);
  }
  ready p(long_text());
  const auto bad_reader = [](std::string_view) { throw std::logic_error("no paper"); };
  EXPECT_THROW((void)p.infer("abc", 4, bad_reader), std::logic_error);
  EXPECT_EQ(p.infer("abc", 4).text, "xxxx");
}

} // namespace
