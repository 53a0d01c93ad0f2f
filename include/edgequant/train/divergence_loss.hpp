// SPDX-License-Identifier: MIT
/// What a model is to predict, and how far another one is from it.
#pragma once

#include "../model/gradient_walk.hpp"

namespace edgequant::inline EDGEQUANT_ABI {

/// What a model predicts of sequences. The vectors behind its last layer are kept from the first
/// time that a sequence is asked for, and logits made of them. Memory: hidden floats a token.
template <class = void> class kept_predictions {
public:
  /// The weights and the sequences must outlive it; the tokens are of the vocabulary.
  kept_predictions(const model_weights& weights,
                   std::span<const std::vector<std::int32_t>> sequences, unsigned threads = 0)
      : sequences_(sequences), model_(weights, threads), output_(weights, threads),
        hidden_(sequences.size()) {}

  /// [count][vocabulary], of tokens first, first + 1, ... of a sequence.
  [[nodiscard]] matrix_f logits(std::size_t sequence, std::size_t first, std::size_t count);

private:
  std::span<const std::vector<std::int32_t>> sequences_;
  transformer model_;
  backward_pass<> output_;
  std::vector<std::vector<float>> hidden_; ///< [sequences][tokens][hidden]
};

template <class T>
matrix_f kept_predictions<T>::logits(std::size_t sequence, std::size_t first, std::size_t count) {
  auto& all = hidden_[sequence];
  const auto& weights = model_.weights();
  const std::size_t width = weights.shape().hidden;
  if (all.empty()) {
    const auto& tokens = sequences_[sequence];
    kv_pool pool = model_.make_pool(kv_format::f32, tokens.size());
    kv_sequence cache(pool);
    cache.extend(tokens.size());
    all = model_.embedded(tokens);
    for (std::size_t layer = 0; layer < weights.layers().size(); ++layer)
      for (const auto part : {sublayer::attention, sublayer::feed_forward})
        model_.run_sublayer(layer, part, all, cache);
  }
  return output_.logits(Eigen::Map<const matrix_f>(all.data() + first * width,
                                                   static_cast<Eigen::Index>(count),
                                                   static_cast<Eigen::Index>(width)));
}

/// The Kullback-Leibler divergence of a model from kept predictions, in nats, summed over tokens.
/// Gradients are of rows of the vocabulary that one of the two finds likely.
template <class = void> class divergence_loss final : public logit_loss {
public:
  /// Sequence 0 is number `first` of those whose predictions are kept.
  divergence_loss(kept_predictions<>& reference, std::size_t first, unsigned threads = 0)
      : reference_(reference), first_(first), threads_(threads) {}

  [[nodiscard]] std::vector<std::size_t> set_gradients(std::size_t sequence, std::size_t first,
                                                       const matrix_f& logits,
                                                       matrix_f& gradient) override;
  /// Of the tokens whose gradients were asked for.
  [[nodiscard]] double sum() const noexcept { return sum_; }
  [[nodiscard]] std::size_t tokens() const noexcept { return tokens_; }

private:
  kept_predictions<>& reference_;
  std::size_t first_;
  unsigned threads_;
  double sum_ = 0;
  std::size_t tokens_ = 0;
};

template <class T>
std::vector<std::size_t> divergence_loss<T>::set_gradients(std::size_t sequence, std::size_t first,
                                                           const matrix_f& logits,
                                                           matrix_f& gradient) {
  struct token_divergence {
    model::detail::token_softmax reference, own;
    std::vector<std::size_t> rows;
    double divergence = 0;
  };
  const auto count = static_cast<std::size_t>(logits.rows());
  const matrix_f wanted = reference_.logits(first_ + sequence, first, count);
  std::vector<token_divergence> tokens(count);
  parallel_for(count, threads_, [&](std::size_t i) {
    token_divergence& t = tokens[i];
    const auto row = static_cast<Eigen::Index>(i);
    Eigen::VectorXd p, q;
    t.reference = model::detail::token_softmax(wanted.row(row), &p);
    t.own = model::detail::token_softmax(logits.row(row), &q);
    model::detail::add_likely_rows(p, t.rows);
    model::detail::add_likely_rows(q, t.rows);
    // log p - log q; p itself may be too small for its logarithm.
    const Eigen::VectorXd difference =
        (wanted.row(row) - logits.row(row)).transpose().template cast<double>();
    t.divergence = p.dot(difference) - t.reference.log_sum() + t.own.log_sum();
  });
  // Rounding may leave a little less than nothing; what is no number stays none.
  for (const auto& t : tokens) sum_ += t.divergence < 0 ? 0 : t.divergence;
  tokens_ += count;
  const auto words = static_cast<std::size_t>(logits.cols());
  std::vector<std::size_t> rows = model::detail::rows_of_tokens(words, tokens);
  gradient.resize(logits.rows(), static_cast<Eigen::Index>(rows.size()));
  parallel_for(count, threads_, [&](std::size_t i) {
    const auto token = static_cast<Eigen::Index>(i);
    gradient.row(token) = (tokens[i].own.of(logits.row(token), rows) -
                           tokens[i].reference.of(wanted.row(token), rows))
                              .matrix()
                              .transpose()
                              .template cast<float>();
  });
  return rows;
}

/// The mean divergence of a model on sequences whose predictions are kept, from number `first` on,
/// in nats a token.
template <class = void>
[[nodiscard]] double mean_divergence(const model_weights& weights, kept_predictions<>& reference,
                                     std::span<const std::vector<std::int32_t>> sequences,
                                     std::size_t first, unsigned threads = 0) {
  kept_predictions<> own(weights, sequences, threads);
  divergence_loss<> loss(reference, first, threads);
  matrix_f unused;
  for (std::size_t i = 0; i < sequences.size(); ++i)
    for (std::size_t t = 0; t < sequences[i].size(); t += 128) {
      const std::size_t count = std::min<std::size_t>(128, sequences[i].size() - t);
      (void)loss.set_gradients(i, t, own.logits(i, t, count), unused);
    }
  return loss.sum() / static_cast<double>(loss.tokens());
}

} // namespace edgequant::inline EDGEQUANT_ABI
