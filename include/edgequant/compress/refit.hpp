// SPDX-License-Identifier: MIT
/// A cut network's writing matrices solved anew, so that its hidden states follow the original's.
#pragma once

#include "../model/cut.hpp"
#include "../train/trained_weights.hpp"
#include "loss_weights.hpp"
#include "residual_compensation.hpp"

namespace edgequant::inline EDGEQUANT_ABI {

/// `cut` is what cut_model() made of `original` with `kept`. Sublayer by sublayer from the first
/// one on, the writing matrix takes a least-squares step (see solved_step()) towards the vectors
/// that the original has before the next sublayer that stays: what was removed in between, and what
/// the sublayers before it are off by, is its to make up for. Tokens count by the squared gradient
/// of the loss there, in the original, where `importance` has it, else all the same. Matrices that
/// change are put into `changed`, which must outlive the weights. Writers of experts stay.
///
/// bad_argument for a text without tokens. Memory: the hidden floats of all tokens twice, and for a
/// matrix four of columns x columns and two of hidden x columns doubles.
template <class = void>
void refit(model_weights& cut, const model_weights& original, std::span<const kept_layer> kept,
           const calibration_text& text, const loss_weights* importance, changed_weights& changed,
           unsigned threads = 0, const progress_callback& listener = {});

namespace compression::detail {

template <class T> class refit_job {
public:
  refit_job(model_weights& cut, const model_weights& original, std::span<const kept_layer> kept,
            const calibration_text& text, const loss_weights* importance, unsigned threads)
      : weights_(cut), original_(original), importance_(importance), threads_(threads),
        now_(cut, text.tokens, text.bos, chunk_context(original, text), threads),
        then_(original, text.tokens, text.bos, chunk_context(original, text), threads) {
    for (std::size_t i = 0; i < kept.size(); ++i) {
      if (!kept[i].heads.empty()) places_.push_back(2 * i);
      if (!kept[i].channels.empty()) places_.push_back(2 * i + 1);
    }
    places_.push_back(2 * kept.size());
  }

  void run(changed_weights& changed, const progress_callback& listener) {
    for (std::size_t next = 1; next < places_.size(); ++next) {
      if (listener) listener({"refit", "", next - 1, places_.size() - 1, "sublayers"});
      while (2 * then_.layer() + (then_.part() == sublayer::feed_forward) < places_[next])
        then_.advance();
      while (!has_sublayer()) now_.advance();
      step(changed, places_[next] - 1);
      now_.advance();
    }
    if (listener) listener({"refit", "", places_.size() - 1, places_.size() - 1, "sublayers"});
  }

private:
  [[nodiscard]] bool has_sublayer() const {
    const auto& w = weights_.layers()[now_.layer()];
    const bool is_attention = now_.part() == sublayer::attention;
    return !(is_attention ? w.attention_inputs : w.feed_forward_inputs).empty();
  }
  /// How much each token counts, by the gradient of what the original's sublayer `place` gives.
  [[nodiscard]] std::span<const float> token_weights(std::size_t place) const {
    if (importance_ == nullptr) return {};
    const sublayer_matrices m(original_, place / 2,
                              place % 2 == 0 ? sublayer::attention : sublayer::feed_forward);
    return m.writer == nullptr ? std::span<const float>{} : importance_->of(m.writer->name);
  }
  void step(changed_weights& changed, std::size_t target);

  model_weights& weights_;
  const model_weights& original_;
  const loss_weights* importance_;
  unsigned threads_;
  layer_walk now_, then_;
  std::vector<std::size_t> places_; ///< sublayers of the original that stay, and the end
};

template <class T> void refit_job<T>::step(changed_weights& changed, std::size_t target) {
  const sublayer_matrices m(weights_, now_.layer(), now_.part());
  if (m.writer == nullptr || now_.chunks() < 2) return;
  const auto importance = token_weights(target);
  const float scale = original_.shape().residual_scale;
  struct sums {
    Eigen::MatrixXd gram, rhs;
  } halves[2];
  Eigen::Index begin = 0;
  for (std::size_t chunk = 0; chunk < now_.chunks(); ++chunk) {
    const auto hidden = static_cast<Eigen::Index>(now_.hidden());
    const auto outputs = columns_of(now_.outputs(chunk), hidden);
    const Eigen::Index count = outputs.cols();
    const auto inputs = now_.inputs(chunk, sublayer_end::out);
    Eigen::MatrixXf x = columns_of(inputs, static_cast<Eigen::Index>(inputs.size()) / count);
    Eigen::MatrixXf residual =
        (columns_of(then_.vectors(chunk), hidden) - columns_of(now_.vectors(chunk), hidden)) /
        scale;
    if (m.post_norm->empty()) {
      residual -= outputs;
    } else {
      const Eigen::Map<const Eigen::VectorXf> g(m.post_norm->data(), hidden);
      const float epsilon = original_.shape().rms_epsilon;
      for (Eigen::Index t = 0; t < count; ++t)
        residual.col(t) -=
            outputs.col(t).cwiseProduct(g) /
            std::sqrt(outputs.col(t).squaredNorm() / static_cast<float>(hidden) + epsilon);
      Eigen::MatrixXd directions = residual.template cast<double>();
      const Eigen::VectorXf own =
          turn_into_directions(directions, outputs.template cast<double>(), *m.post_norm)
              .template cast<float>();
      residual = directions.template cast<float>();
      x *= own.asDiagonal();
    }
    Eigen::MatrixXf right = x;
    if (!importance.empty())
      right *= Eigen::Map<const Eigen::VectorXf>(importance.data() + begin, count).asDiagonal();
    sums& s = halves[chunk % 2];
    add_products(s.gram, x, right, true, threads_);
    add_products(s.rhs, residual, right, false, threads_);
    begin += count;
  }
  for (auto& s : halves)
    s.gram.template triangularView<Eigen::StrictlyUpper>() = s.gram.transpose();
  const weight_view view = m.writer->view;
  const std::string name = m.writer->name;
  matrix_f& matrix = changed.matrices[name];
  matrix = solved_step(decode_matrix(view.type, view.data, view.rows, view.columns, threads_),
                       {normal_equations{&halves[0].gram, std::move(halves[0].rhs)},
                        normal_equations{&halves[1].gram, std::move(halves[1].rhs)}},
                       0.01, threads_);
  weights_.replace(name, {format::f32, view.rows, view.columns,
                          reinterpret_cast<const std::byte*>(matrix.data())});
}

} // namespace compression::detail

template <class>
void refit(model_weights& cut, const model_weights& original, std::span<const kept_layer> kept,
           const calibration_text& text, const loss_weights* importance, changed_weights& changed,
           unsigned threads, const progress_callback& listener) {
  compression::detail::refit_job<void>(cut, original, kept, text, importance, threads)
      .run(changed, listener);
}

} // namespace edgequant::inline EDGEQUANT_ABI
