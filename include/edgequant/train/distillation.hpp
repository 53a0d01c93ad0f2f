// SPDX-License-Identifier: MIT
/// Distillation: a network learns to predict what another one predicts.
#pragma once

#include "../model/evaluate.hpp"
#include "divergence_loss.hpp"
#include "trained_weights.hpp"

#include <chrono>

namespace edgequant::inline EDGEQUANT_ABI {

struct distillation_options {
  std::size_t steps = 0; ///< 0: as many as fit into `minutes`, by the time that the first one takes
  double minutes = 0;    ///< when they are over, the step that runs is the last; 0: no limit
  std::size_t step_tokens = 1024;
  std::size_t sequence_tokens = 256;
  std::size_t held_out = 4096; ///< tokens that judge: the last of the text, at most a quarter
  double learning_rate = 2e-4;
  double warm_up = 0.05; ///< share of the steps in which the rate rises; then it falls to zero
  /// The text's own next tokens are learnt in place of the teacher's predictions.
  bool from_text_alone = false;
  unsigned threads = 0;
};

struct distillation_result {
  struct point {
    std::size_t steps = 0;
    double divergence = 0; ///< from the teacher, in nats a token, on the held-out tokens
    double minutes = 0;
  };
  std::vector<point> curve; ///< from 0 steps on
  std::size_t best = 0;     ///< of the curve: what was kept
  std::size_t tokens = 0;   ///< of training, in all steps
};

/// What distill() cuts a text into; the last ones judge. bad_argument for neither steps nor minutes
/// and for a text of fewer tokens than 8 sequences have.
template <class = void>
[[nodiscard]] std::vector<std::vector<std::int32_t>>
distillation_sequences(const model_weights& student, const calibration_text& text,
                       const distillation_options& options);

/// Trains all weights of the student's layers by AdamW (see trained_weights) towards the teacher's
/// predictions on the text: the loss is the Kullback-Leibler divergence, the mean of all tokens.
/// The student ends with what was best on the held-out tokens, which is never worse there than
/// before; its matrices and vectors are in the result, which it reads. Both have one vocabulary.
/// The result depends on the options and the text, not on the number of threads; where minutes
/// count, also on the machine's speed. Memory: 16 bytes a trained weight, and what
/// walk_gradients() says. Errors of distillation_sequences(); bad_argument for vocabularies of
/// different sizes and a teacher with too small a context; the student is not to be used after an
/// exception. Source: Hinton et al. 2015.
template <class = void>
[[nodiscard]] distillation_result
distill(model_weights& student, const model_weights& teacher, const calibration_text& text,
        const distillation_options& options, changed_weights& changed,
        const progress_callback& listener = {});

namespace train::detail {

template <class T> class distillation {
public:
  distillation(model_weights& student, const model_weights& teacher,
               std::vector<std::vector<std::int32_t>> sequences,
               const distillation_options& options, const progress_callback& listener)
      : student_(student), options_(options), listener_(listener), sequences_(std::move(sequences)),
        reference_(teacher, sequences_, options.threads),
        trained_(student, {.beta2 = 0.95, .epsilon = 1e-10}, options.threads) {
    const std::size_t length = sequences_[0].size();
    const std::size_t judging =
        std::clamp<std::size_t>(options.held_out / length, 1, sequences_.size() / 4);
    training_ = sequences_.size() - judging;
    together_ = std::clamp<std::size_t>(options.step_tokens / length, 1, training_);
  }

  distillation_result run(changed_weights& changed);

private:
  void judge(std::size_t steps);
  void step(double rate);
  [[nodiscard]] double rate(std::size_t done) const {
    const double share = static_cast<double>(done) / static_cast<double>(steps_);
    const double rise =
        options_.warm_up > 0 ? (share + 1 / static_cast<double>(steps_)) / options_.warm_up : 1;
    return options_.learning_rate * std::min({1.0, rise, (1 - share) / (1 - options_.warm_up)});
  }
  [[nodiscard]] double minutes() const {
    return std::chrono::duration<double, std::ratio<60>>(std::chrono::steady_clock::now() - start_)
        .count();
  }
  void tell(std::size_t done) const {
    if (listener_) listener_({"heal", "", done, steps_, "steps"});
  }

  model_weights& student_;
  const distillation_options& options_;
  const progress_callback& listener_;
  std::vector<std::vector<std::int32_t>> sequences_; ///< those that judge are the last
  kept_predictions<> reference_;
  trained_weights<> trained_;
  std::size_t training_ = 0, together_ = 1, next_ = 0, steps_ = 0;
  changed_weights best_;
  distillation_result result_;
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

template <class T> void distillation<T>::judge(std::size_t steps) {
  const double divergence = mean_divergence(
      student_, reference_, std::span(sequences_).subspan(training_), training_, options_.threads);
  result_.curve.push_back({steps, divergence, minutes()});
  if (steps != 0 && !(divergence < result_.curve[result_.best].divergence)) return;
  result_.best = result_.curve.size() - 1;
  best_ = trained_.values();
}

template <class T> void distillation<T>::step(double rate) {
  if (next_ == training_) next_ = 0;
  const auto some = std::span(sequences_).subspan(next_, std::min(together_, training_ - next_));
  std::size_t tokens = 0;
  for (const auto& s : some) tokens += s.size();
  // Gradients of labels are those of log p, which is to rise.
  trained_.begin_step(options_.from_text_alone ? -rate : rate, tokens);
  if (options_.from_text_alone) {
    label_loss<> loss(some, {.labels = gradient_labels::text, .threads = options_.threads});
    walk_gradients(student_, some, loss, trained_, options_.threads);
  } else {
    divergence_loss<> loss(reference_, next_, options_.threads);
    walk_gradients(student_, some, loss, trained_, options_.threads);
  }
  trained_.end_step();
  next_ += some.size();
  result_.tokens += tokens;
}

template <class T> distillation_result distillation<T>::run(changed_weights& changed) {
  constexpr std::size_t points = 8;
  steps_ = options_.steps != 0 ? options_.steps : 64; // until the first step has told
  tell(0);
  judge(0);
  const double before = minutes();
  for (std::size_t done = 0; done < steps_;) {
    step(rate(done));
    ++done;
    if (done == 1 && options_.steps == 0)
      steps_ = static_cast<std::size_t>(
          std::clamp((options_.minutes - before * points) / (minutes() - before), 1.0, 1e6));
    tell(done);
    const bool is_over = options_.minutes > 0 && minutes() >= options_.minutes;
    const std::size_t between = (steps_ + points - 1) / points;
    if (done % between == 0 || done == steps_ || is_over) judge(done);
    if (is_over || !std::isfinite(result_.curve.back().divergence)) break;
  }
  trained_.set_values(best_);
  changed = trained_.values();
  for (const auto& [name, m] : changed.matrices)
    student_.replace(name, {format::f32, static_cast<std::size_t>(m.rows()),
                            static_cast<std::size_t>(m.cols()),
                            reinterpret_cast<const std::byte*>(m.data())});
  tell(steps_);
  return std::move(result_);
}

} // namespace train::detail

template <class>
std::vector<std::vector<std::int32_t>> distillation_sequences(const model_weights& student,
                                                              const calibration_text& text,
                                                              const distillation_options& options) {
  if (options.steps == 0 && !(options.minutes > 0))
    fail(error_code::bad_argument, "distillation", "expected a number of steps or of minutes");
  const std::size_t length = std::min(options.sequence_tokens, student.shape().context);
  if (length < fewest_chunk_tokens)
    fail(error_code::bad_argument, "distillation",
         "sequences of " + counted(length, "token") + "; expected at least " +
             std::to_string(fewest_chunk_tokens));
  auto sequences = gradient_sequences(text, text.tokens.size(), length);
  if (sequences.size() < 8)
    fail(error_code::bad_argument, "text",
         counted(text.tokens.size(), "token") + "; expected at least " +
             std::to_string(8 * (length - 1)));
  require_known_tokens(student, sequences);
  return sequences;
}

template <class>
distillation_result distill(model_weights& student, const model_weights& teacher,
                            const calibration_text& text, const distillation_options& options,
                            changed_weights& changed, const progress_callback& listener) {
  if (student.vocabulary() != teacher.vocabulary())
    fail(error_code::bad_argument, student.file().metadata.place(),
         "a vocabulary of " + counted(student.vocabulary(), "token") + ", the teacher has " +
             std::to_string(teacher.vocabulary()));
  auto sequences = distillation_sequences(student, text, options);
  if (sequences[0].size() > teacher.shape().context)
    fail(error_code::bad_argument, teacher.file().metadata.place(),
         "a context of " + std::to_string(teacher.shape().context) + ", the sequences have " +
             counted(sequences[0].size(), "token"));
  return train::detail::distillation<void>(student, teacher, std::move(sequences), options,
                                           listener)
      .run(changed);
}

} // namespace edgequant::inline EDGEQUANT_ABI
