// SPDX-License-Identifier: MIT
/// A prompt in, a text and its timings out: the same steps around whatever engine runs the model.
#pragma once

#include "../core/utf8.hpp"
#include "../model/sampler.hpp"
#include "../system/scheduling.hpp"
#include "inference_engine.hpp"
#include "inference_report.hpp"

#include <atomic>
#include <chrono>
#include <functional>
#include <optional>
#include <utility>

namespace edgequant::inline EDGEQUANT_ABI {

struct pipeline_options {
  std::filesystem::path model = {};
  unsigned threads = 0; ///< 0: all. For the engine's maker to pass on; the pipeline starts none
  edgequant::sampling sampling = {};
  std::vector<int> cores = {}; ///< where to run; empty: anywhere (see thread_scheduling)
  int priority = 0;            ///< -19 to 20, 0: as it is (see thread_scheduling)
  std::optional<std::chrono::milliseconds> latency_budget = {}; ///< of one infer(); above 0
};

/// Receives text as it is generated, in whole UTF-8 characters; only what the model leaves broken
/// arrives so. All pieces together are the report's text.
using text_callback = std::function<void(std::string_view)>;

/// Runs an engine: load, warm up, infer. One thread at a time; cancel() alone may come from any.
/// What the engine or a callback throws passes through, and the pipeline can be used again.
/// Clock: a steady clock; tests pass their own.
template <inference_engine E, class Clock = std::chrono::steady_clock> class inference_pipeline {
public:
  /// bad_argument for options that make no sense. Reads no file yet.
  inference_pipeline(E engine, pipeline_options options) requires std::move_constructible<E>
      : inference_pipeline(std::in_place, std::move(options), std::move(engine)) {}
  /// The same, with an engine made of `arguments` in place; it need not be movable.
  template <class... Arguments>
  inference_pipeline(std::in_place_t, pipeline_options options, Arguments&&... arguments);

  /// Loads the model, or loads it anew. Files that are bad or not there: what the engine throws.
  load_report load_model();

  /// Runs `count` inferences of a short fixed prompt and up to 4 greedy tokens, so that memory is
  /// mapped, threads are there and clocks are up. Loads the model if nobody did. Returns the mean
  /// time of one in milliseconds; 0 for count 0, which counts as warm, and after cancel().
  double warmup(unsigned count = 3);

  /// Continues `prompt` by up to max_tokens tokens, drawn anew from options.sampling.seed. Loads
  /// the model and warms up first if nobody did: the latency budget includes that, the report's
  /// times do not. The budget is looked at before each token is begun, the first one with its
  /// prefill included: it is missed by one token's time at most, and by load and warm-up.
  /// bad_argument for max_tokens 0, a prompt of no tokens, and one that fills the context.
  [[nodiscard]] inference_report infer(std::string_view prompt, std::size_t max_tokens = 256,
                                       const text_callback& on_text = {});

  /// Ends the infer() or warmup() in progress within one token; between them it does nothing.
  void cancel() noexcept { cancelled_ = true; }

  [[nodiscard]] E& engine() noexcept { return engine_; }
  [[nodiscard]] const pipeline_options& options() const noexcept { return options_; }

private:
  using time_point = typename Clock::time_point;
  static double milliseconds_since(time_point start) {
    return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
  }
  static double per_second(std::size_t count, double milliseconds) {
    return milliseconds > 0 ? 1000 * static_cast<double>(count) / milliseconds : 0;
  }

  load_report load();
  double warm_up(unsigned count);
  std::vector<std::int32_t> tokens_of(std::string_view prompt);
  std::optional<stop_reason> must_stop(const inference_report& report, time_point called) const;
  void generate(inference_report& report, const text_callback& on_text, time_point called);

  pipeline_options options_;
  E engine_;
  std::optional<model_facts> facts_; ///< of the loaded model
  bool warm_ = false;
  std::atomic<bool> cancelled_ = false;
};

template <inference_engine E, class Clock>
template <class... Arguments>
inference_pipeline<E, Clock>::inference_pipeline(std::in_place_t, pipeline_options options,
                                                 Arguments&&... arguments)
    : options_(std::move(options)), engine_(std::forward<Arguments>(arguments)...) {
  (void)sampler(options_.sampling);
  thread_scheduling::require_valid(options_.cores, options_.priority);
  if (options_.latency_budget && options_.latency_budget->count() <= 0)
    fail(error_code::bad_argument, "inference_pipeline", "latency_budget must be above 0 ms");
}

template <inference_engine E, class Clock> load_report inference_pipeline<E, Clock>::load_model() {
  const thread_scheduling scheduling(options_.cores, options_.priority);
  return load();
}

template <inference_engine E, class Clock> load_report inference_pipeline<E, Clock>::load() {
  facts_.reset();
  warm_ = false;
  const auto start = Clock::now();
  facts_ = engine_.load(options_.model);
  return {options_.model, facts_->device, facts_->quantization, facts_->bytes,
          milliseconds_since(start)};
}

template <inference_engine E, class Clock>
double inference_pipeline<E, Clock>::warmup(unsigned count) {
  const thread_scheduling scheduling(options_.cores, options_.priority);
  cancelled_ = false;
  if (!facts_) (void)load();
  return warm_up(count);
}

template <inference_engine E, class Clock>
double inference_pipeline<E, Clock>::warm_up(unsigned count) {
  constexpr std::size_t decodes = 4;
  double sum = 0;
  for (unsigned i = 0; i < count; ++i) {
    const auto start = Clock::now();
    auto tokens = engine_.tokenize("Once upon a time");
    const std::size_t context = facts_->context;
    if (tokens.size() >= context) tokens.resize(context - (context != 0));
    if (tokens.empty()) break; // no room for one: infer() says so of its own prompt
    const std::size_t most = std::min(tokens.size() + decodes, context);
    sampler choose(sampling{});
    auto logits = engine_.prefill(tokens);
    while (tokens.size() < most && !cancelled_) {
      tokens.push_back(choose(logits, tokens));
      logits = engine_.decode(tokens.back());
    }
    if (cancelled_) return 0;
    sum += milliseconds_since(start);
  }
  warm_ = true;
  return count == 0 ? 0 : sum / count;
}

template <inference_engine E, class Clock>
std::vector<std::int32_t> inference_pipeline<E, Clock>::tokens_of(std::string_view prompt) {
  auto tokens = engine_.tokenize(prompt);
  if (tokens.empty()) fail(error_code::bad_argument, "infer", "a prompt of no tokens");
  if (tokens.size() >= facts_->context)
    fail(error_code::bad_argument, "infer",
         "a prompt of " + std::to_string(tokens.size()) + " tokens, the context has " +
             std::to_string(facts_->context));
  return tokens;
}

template <inference_engine E, class Clock>
inference_report inference_pipeline<E, Clock>::infer(std::string_view prompt,
                                                     std::size_t max_tokens,
                                                     const text_callback& on_text) {
  const auto called = Clock::now();
  cancelled_ = false;
  if (max_tokens == 0) fail(error_code::bad_argument, "infer", "max_tokens must be above 0");
  const thread_scheduling scheduling(options_.cores, options_.priority);
  if (!facts_) (void)load();
  if (!warm_ && !cancelled_) (void)warm_up(3);

  inference_report report;
  report.prompt = prompt;
  report.max_tokens = max_tokens;
  report.quantization = facts_->quantization;
  report.scheduling_note = scheduling.note();
  generate(report, on_text, called);
  return report;
}

/// Why the next token must not be begun, if so.
template <inference_engine E, class Clock>
std::optional<stop_reason> inference_pipeline<E, Clock>::must_stop(const inference_report& report,
                                                                   time_point called) const {
  if (cancelled_) return stop_reason::cancelled;
  if (report.tokens.size() == report.max_tokens) return stop_reason::token_limit;
  if (report.prompt_tokens + report.tokens.size() > facts_->context)
    return stop_reason::context_full; // the last token is there, but cannot be decoded
  if (options_.latency_budget &&
      milliseconds_since(called) >= static_cast<double>(options_.latency_budget->count()))
    return stop_reason::latency_budget;
  return {};
}

template <inference_engine E, class Clock>
void inference_pipeline<E, Clock>::generate(inference_report& report, const text_callback& on_text,
                                            time_point called) {
  const auto start = Clock::now();
  auto history = tokens_of(report.prompt);
  report.prompt_tokens = history.size();
  const auto emit = [&](const std::string& text) {
    report.text += text;
    if (on_text && !text.empty()) on_text(text);
  };

  sampler choose(options_.sampling);
  utf8_stream characters;
  std::vector<double> latencies;
  std::span<const float> logits;
  auto reason = must_stop(report, called);
  auto token_start = Clock::now();
  if (!reason) {
    logits = engine_.prefill(history);
    report.prefill_tokens_per_second = per_second(history.size(), milliseconds_since(token_start));
  }
  while (!reason) {
    const std::int32_t token = choose(logits, history);
    if (report.tokens.empty())
      report.time_to_first_token_ms = milliseconds_since(start);
    else
      latencies.push_back(milliseconds_since(token_start));
    if (engine_.ends_text(token)) {
      reason = stop_reason::end_token;
      break;
    }
    history.push_back(token);
    report.tokens.push_back(token);
    emit(characters.push(engine_.detokenize(token)));
    reason = must_stop(report, called);
    if (reason) break;
    token_start = Clock::now();
    logits = engine_.decode(token);
  }
  emit(characters.flush());

  report.reason = *reason;
  report.latency = summarize_latency(latencies);
  report.decode_tokens_per_second =
      per_second(latencies.size(), report.latency.mean * static_cast<double>(latencies.size()));
}

} // namespace edgequant::inline EDGEQUANT_ABI
