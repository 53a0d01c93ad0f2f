// SPDX-License-Identifier: MIT
/// An engine that says what a test wrote down for it, on a clock that only it moves.
#pragma once

#include <edgequant/run/pipeline.hpp>

#include <gtest/gtest.h>

#include <stdexcept>

namespace deploy_test {
namespace eq = edgequant;

struct fake_clock {
  using duration = std::chrono::microseconds;
  using rep = duration::rep;
  using period = duration::period;
  using time_point = std::chrono::time_point<fake_clock>;
  static constexpr bool is_steady = true;
  static inline time_point current{};
  static time_point now() { return current; }
  static void pass(double milliseconds) {
    current += duration(static_cast<rep>(milliseconds * 1000));
  }
};

/// Token i stands for pieces[i] and is followed by token i + 1; the one after the last ends the
/// text. A prompt is a begin token and a token a byte. Not movable, as engines may be.
struct scripted_engine {
  std::vector<std::string> pieces;
  std::size_t context = 100;
  double load_ms = 500, tokenize_ms = 1, prefill_ms = 20;
  std::vector<double> decode_ms;     ///< of decode(i); the last one stays; none: 10
  std::function<void(char)> on_call; ///< with L, P or d, before the call does anything
  std::string calls;                 ///< all so far
  std::size_t held = 0;              ///< tokens in the sequence

  scripted_engine() = default;
  explicit scripted_engine(std::vector<std::string> text) : pieces(std::move(text)) {}
  scripted_engine(const scripted_engine&) = delete;
  scripted_engine& operator=(const scripted_engine&) = delete;

  eq::model_facts load(const std::filesystem::path& file) {
    call('L', load_ms);
    if (file.empty()) eq::fail(eq::error_code::io_error, "scripted", "no such file");
    return {"Q4_0", 1234, "paper", context};
  }
  std::vector<std::int32_t> tokenize(std::string_view text) {
    fake_clock::pass(tokenize_ms);
    if (text == "nothing") return {};
    std::vector<std::int32_t> tokens{1000};
    for (const char c : text) tokens.push_back(c);
    return tokens;
  }
  std::span<const float> prefill(std::span<const std::int32_t> tokens) {
    call('P', prefill_ms);
    held = tokens.size();
    return say(0);
  }
  std::span<const float> decode(std::int32_t token) {
    const auto at = static_cast<std::size_t>(token);
    call('d', decode_ms.empty() ? 10 : decode_ms[std::min(at, decode_ms.size() - 1)]);
    ++held;
    return say(at + 1);
  }
  std::string detokenize(std::int32_t token) { return pieces.at(static_cast<std::size_t>(token)); }
  bool ends_text(std::int32_t token) { return static_cast<std::size_t>(token) == pieces.size(); }

private:
  void call(char what, double milliseconds) {
    calls += what;
    if (on_call) on_call(what);
    fake_clock::pass(milliseconds);
    if (held >= context && what == 'd') throw std::length_error("decode beyond the context");
  }
  std::span<const float> say(std::size_t token) {
    logits_.assign(pieces.size() + 1, 0.0f);
    logits_[std::min(token, pieces.size())] = 1;
    return logits_;
  }
  std::vector<float> logits_;
};

using strings = std::vector<std::string>;
using pipeline = eq::inference_pipeline<scripted_engine, fake_clock>;

/// `count` tokens that each say "x".
inline strings long_text(std::size_t count = 50) { return strings(count, "x"); }

inline eq::pipeline_options some_model() {
  eq::pipeline_options options;
  options.model = "some.gguf";
  return options;
}

/// A pipeline that is loaded and needs no warm-up.
struct ready : pipeline {
  explicit ready(strings text, eq::pipeline_options options = some_model())
      : pipeline(std::in_place, std::move(options), std::move(text)) {
    warmup(0);
    engine().calls.clear();
  }
};

/// What infer() says against it, or "inferred".
inline std::string refusal(pipeline& p, std::string_view prompt, std::size_t max_tokens = 5) {
  try {
    (void)p.infer(prompt, max_tokens);
  } catch (const eq::exception& error) {
    EXPECT_EQ(error.code(), eq::error_code::bad_argument);
    return error.what();
  }
  return "inferred";
}

} // namespace deploy_test
