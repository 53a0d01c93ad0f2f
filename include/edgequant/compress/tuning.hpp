// SPDX-License-Identifier: MIT
/// Tuning: what a quantized model stores follows the gradient of its divergence from the original.
#pragma once

#include "../train/divergence_loss.hpp"
#include "tuned_parameters.hpp"

#include <chrono>

namespace edgequant::inline EDGEQUANT_ABI {

struct tuning_options {
  /// 0: as many as fit into `minutes`, by the time that the first one takes.
  std::size_t steps = 64;
  double minutes = 0; ///< when they are over, the step that runs is the last; 0: no limit
  std::size_t step_tokens = 2048;
  std::size_t sequence_tokens = 256;
  std::size_t held_out = 4096; ///< tokens that judge: the last of the text, at most a quarter
  double learning_rate = 3e-3; ///< of factors: about the share by which one changes in a step
  double code_rate = 0.2;      ///< of codes, times sqrt(steps): see tune()
  unsigned threads = 0;
};

struct tuning_result {
  /// On the held-out tokens.
  struct point {
    std::size_t steps = 0;
    double divergence = 0; ///< from the original, in nats a token
  };
  std::vector<point> curve; ///< from 0 steps on
  std::size_t best = 0;     ///< of the curve: what was kept
  std::uint64_t moves = 0;  ///< of codes, in all steps
};

/// Trains a quantized model: the scales and minimums of matrices in `encoded` that are stored as
/// halves, and the norms and biases of the network, each times a factor, by Adam; and the codes of
/// all block formats that can be written, as code_moves says. Integer steps of scales and
/// everything else stay. The loss is the Kullback-Leibler divergence from the original, the model
/// of `weights.file()`, on the text. Rates fall to zero over the steps. The one of codes is
/// code_rate / sqrt(steps): half a step, where a code moves, is then 4 standard deviations of where
/// gradients without a direction would bring its offset.
///
/// Products read what the file will hold: halves are rounded in every step, and the gradient goes
/// through the rounding (a straight-through estimator). `weights` must have the values of
/// `encoded`; both end with what was best on the held-out tokens, which is never worse there than
/// before. A step follows no gradient further than a tenth of the loss, so that it does not leap
/// over directions in which the loss bends fast; a sequence counts at most twice as much as the
/// median one. Norms and biases are put into `encoded` in their formats of `formats`. The bytes
/// depend on the options and the text, not on the number of threads; where minutes count, also on
/// the machine's speed. Memory: what walk_gradients() says, the encoded tensors once more, a float
/// for each weight that is encoded, and for a sublayer's matrices gradients, inputs and those of
/// their outputs of a step's tokens.
///
/// bad_argument for a text of fewer tokens than 8 sequences have, sequences of fewer than 8 tokens,
/// neither steps nor minutes, and where no matrix has a block format that can be written. Sources:
/// Chen et al. 2024, "EfficientQAT" (its second phase); Malinovskii et al. 2024, "PV-Tuning" (codes
/// that move where the loss falls).
template <class = void>
[[nodiscard]] tuning_result tune(model_weights& weights, const calibration_text& text,
                                 const named_formats& formats, const tuning_options& options,
                                 encoded_tensors& encoded, const progress_callback& listener = {});

/// What tune() cuts a text into: the last ones judge. Its errors, for who would know them before
/// anything is encoded.
template <class = void>
[[nodiscard]] std::vector<std::vector<std::int32_t>>
tuning_sequences(const model_weights& weights, const calibration_text& text,
                 const tuning_options& options);

namespace compression::detail {

template <class T> class tuning_job {
public:
  tuning_job(model_weights& weights, std::vector<std::vector<std::int32_t>> sequences,
             const named_formats& formats, const tuning_options& options, encoded_tensors& encoded,
             const progress_callback& listener)
      : weights_(weights), options_(options), listener_(listener), sequences_(std::move(sequences)),
        original_(weights.file()), reference_(original_, sequences_, options.threads),
        parameters_(weights, formats, encoded, options.threads), optimizer_(parameters_.size()) {
    const std::size_t length = sequences_[0].size();
    const std::size_t judging =
        std::clamp<std::size_t>(options.held_out / length, 1, sequences_.size() / 4);
    training_ = sequences_.size() - judging;
    together_ = std::clamp<std::size_t>(options.step_tokens / length, 1, training_);
  }

  tuning_result run();

private:
  void judge(std::size_t steps);
  void step(double left);
  [[nodiscard]] double minutes() const {
    return std::chrono::duration<double, std::ratio<60>>(std::chrono::steady_clock::now() - start_)
        .count();
  }

  model_weights& weights_;
  const tuning_options& options_;
  const progress_callback& listener_;
  std::vector<std::vector<std::int32_t>> sequences_; ///< those that judge are the last
  model_weights original_;
  kept_predictions<> reference_;
  tuned_parameters<> parameters_;
  adam optimizer_;
  std::size_t training_ = 0; ///< sequences
  std::size_t together_ = 1; ///< of a step
  std::size_t next_ = 0;     ///< where the next step begins
  std::size_t steps_ = 0;    ///< in all
  tuned_parameters<>::snapshot best_;
  tuning_result result_;
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

/// Keeps what is better than all before.
template <class T> void tuning_job<T>::judge(std::size_t steps) {
  const double divergence = mean_divergence(
      weights_, reference_, std::span(sequences_).subspan(training_), training_, options_.threads);
  result_.curve.push_back({steps, divergence});
  if (steps != 0 && !(divergence < result_.curve[result_.best].divergence)) return;
  result_.best = result_.curve.size() - 1;
  best_ = parameters_.take_snapshot();
}

/// `left`: of the rates.
template <class T> void tuning_job<T>::step(double left) {
  if (next_ + together_ > training_) next_ = 0;
  divergence_loss<> loss(reference_, next_, options_.threads);
  const double code_rate = options_.code_rate / std::sqrt(static_cast<double>(steps_));
  parameters_.begin_step(static_cast<float>(code_rate * left));
  walk_gradients(weights_, std::span(sequences_).subspan(next_, together_), loss, parameters_,
                 options_.threads);
  parameters_.end_step(optimizer_, loss.sum() / static_cast<double>(loss.tokens()), loss.tokens(),
                       options_.learning_rate * left);
  next_ += together_;
}

template <class T> tuning_result tuning_job<T>::run() {
  // The best of several is a little better by chance alone: eight points are few.
  constexpr std::size_t points = 8;
  const auto tell = [&](std::size_t done) {
    if (listener_) listener_({"tune", "", done, steps_, "steps"});
  };
  // Until the first step has told how many fit.
  steps_ = options_.steps != 0 ? options_.steps : tuning_options{}.steps;
  tell(0);
  judge(0);
  const double before = minutes();
  for (std::size_t done = 0; done < steps_;) {
    step(1 - static_cast<double>(done) / static_cast<double>(steps_));
    ++done;
    if (done == 1 && options_.steps == 0)
      steps_ = static_cast<std::size_t>(
          std::clamp((options_.minutes - before * points) / (minutes() - before), 1.0, 1e6));
    tell(done);
    const bool is_over = options_.minutes > 0 && minutes() >= options_.minutes;
    const std::size_t between = (steps_ + points - 1) / points;
    if (done % between == 0 || done == steps_ || is_over) judge(done);
    if (is_over) break;
  }
  parameters_.restore(best_);
  parameters_.encode_vectors();
  result_.moves = parameters_.moves();
  tell(steps_);
  return std::move(result_);
}

} // namespace compression::detail

template <class>
std::vector<std::vector<std::int32_t>> tuning_sequences(const model_weights& weights,
                                                        const calibration_text& text,
                                                        const tuning_options& options) {
  if (options.steps == 0 && !(options.minutes > 0))
    fail(error_code::bad_argument, "tuning", "expected a number of steps or of minutes");
  const std::size_t length = std::min(options.sequence_tokens, weights.shape().context);
  if (length < fewest_chunk_tokens)
    fail(error_code::bad_argument, "tuning",
         "sequences of " + counted(length, "token") + "; expected at least " +
             std::to_string(fewest_chunk_tokens));
  auto sequences = gradient_sequences(text, text.tokens.size(), length);
  if (sequences.size() < 8)
    fail(error_code::bad_argument, "tuning text",
         counted(text.tokens.size(), "token") + "; expected at least " +
             std::to_string(8 * (length - 1)));
  return sequences;
}

template <class>
tuning_result tune(model_weights& weights, const calibration_text& text,
                   const named_formats& formats, const tuning_options& options,
                   encoded_tensors& encoded, const progress_callback& listener) {
  return compression::detail::tuning_job<void>(weights, tuning_sequences(weights, text, options),
                                               formats, options, encoded, listener)
      .run();
}

} // namespace edgequant::inline EDGEQUANT_ABI
