// SPDX-License-Identifier: MIT
/// Texts through the network and their gradients back, one part of the network after the other:
/// what is prepared for a part serves all texts.
#pragma once

#include "../core/progress.hpp"
#include "backward.hpp"
#include "label_loss.hpp"
#include "text_chunks.hpp"

namespace edgequant::inline EDGEQUANT_ABI {

/// Receives gradients of the loss summed over the tokens of a sequence. Parts come in the order of
/// the backward pass: the output, the sublayers from the last one on, the embedding.
class gradient_visitor {
public:
  virtual ~gradient_visitor() = default;
  /// Matrices whose gradients follow, for all sequences.
  virtual void begin(std::span<const named_weight* const> matrices) { (void)matrices; }
  virtual void matrix(std::size_t sequence, const matrix_gradient& gradient) = 0;
  virtual void lookup(std::size_t sequence, const lookup_gradient& gradient) {
    (void)sequence, (void)gradient;
  }
  virtual void end() {}
  /// Whether vector() is wanted: gradients of norms and biases, by their whole names, summed over
  /// samples and tokens. Those of the output norm come with the output.
  [[nodiscard]] virtual bool takes_vectors() const { return false; }
  virtual void vector(std::size_t sequence, const std::string& name,
                      std::span<const double> gradient) {
    (void)sequence, (void)name, (void)gradient;
  }
};

/// Tells the visitor the gradients of all sequences, each of at least one token and at most the
/// model's context. Of the output matrix those of the rows that the loss names are told.
/// bad_argument for tokens beyond the vocabulary. Memory: the hidden floats of all tokens at each
/// layer, what backward_pass says, and logits of some tokens: 256 MiB, and for each sample as much
/// again where the loss names all rows.
template <class = void>
void walk_gradients(const model_weights& weights,
                    std::span<const std::vector<std::int32_t>> sequences, logit_loss& loss,
                    gradient_visitor& visitor, unsigned threads = 0,
                    const progress_callback& listener = {});

/// The same for log p(label): see label_loss. bad_argument also for a number of samples that the
/// labels do not allow.
template <class = void>
void walk_gradients(const model_weights& weights,
                    std::span<const std::vector<std::int32_t>> sequences,
                    const gradient_options& options, gradient_visitor& visitor,
                    const progress_callback& listener = {});

/// bad_argument for tokens beyond the vocabulary.
inline void require_known_tokens(const model_weights& weights,
                                 std::span<const std::vector<std::int32_t>> sequences) {
  for (const auto& tokens : sequences)
    for (const std::int32_t token : tokens)
      if (token < 0 || static_cast<std::size_t>(token) >= weights.vocabulary())
        fail(error_code::bad_argument, "text",
             "token " + std::to_string(token) + " of a vocabulary of " +
                 std::to_string(weights.vocabulary()));
}

/// The first `count` sequences of a text, BOS and tokens - 1 of it each, those that are whole; the
/// whole text as one where it is shorter. bad_argument for fewer than 2 tokens.
[[nodiscard]] inline std::vector<std::vector<std::int32_t>>
gradient_sequences(const calibration_text& text, std::size_t count, std::size_t tokens) {
  if (tokens < 2) fail(error_code::bad_argument, "text", "sequences of fewer than 2 tokens");
  std::vector<std::vector<std::int32_t>> list;
  for_each_chunk(text.tokens, tokens, text.bos, [&](auto chunk, std::size_t) {
    if (list.size() < count && (chunk.size() == tokens || list.empty()))
      list.emplace_back(chunk.begin(), chunk.end());
  });
  return list;
}

namespace model::detail {

/// Tokens whose logits are in memory together: up to 256 MiB of them.
[[nodiscard]] inline Eigen::Index gradient_output_tokens(std::size_t vocabulary) noexcept {
  return static_cast<Eigen::Index>(std::clamp<std::size_t>((1 << 26) / vocabulary, 16, 256));
}

template <class T> class gradient_walk {
public:
  gradient_walk(const model_weights& weights, std::span<const std::vector<std::int32_t>> sequences,
                logit_loss& loss, gradient_visitor& visitor, unsigned threads,
                const progress_callback& listener)
      : weights_(weights), sequences_(sequences), loss_(loss), visitor_(visitor),
        listener_(listener), forward_(weights, threads), back_(weights, threads) {}

  void run() {
    const std::size_t layers = weights_.layers().size();
    for (std::size_t layer = 0; layer < layers; ++layer) total_ += (1 + way_back) * cost_of(layer);
    total_ += sequences_.size() * output_cost();
    run_forward();
    run_output();
    for (std::size_t layer = layers; layer-- > 0;) run_layer(layer);
    run_embedding();
    tell("", 0);
  }

private:
  static constexpr std::size_t way_back = 4; ///< what a layer's way back costs of its way forth
  /// Weights that are multiplied.
  [[nodiscard]] std::size_t cost_of(std::size_t layer) const {
    std::size_t sum = 0;
    layer_weights::for_each_matrix(weights_.layers()[layer], [&](const named_weight& w) {
      sum += sequences_.size() * w.view.rows * w.view.columns;
    });
    return sum;
  }
  /// For one sequence; of its way back few rows are left.
  [[nodiscard]] std::size_t output_cost() const {
    return 2 * weights_.output().view.rows * weights_.output().view.columns;
  }
  void tell(const std::string& item, std::size_t cost) {
    constexpr std::size_t million = 1000000;
    if (listener_)
      listener_({"gradients", item, done_ / million, std::max<std::size_t>(1, total_ / million),
                 "million weights"});
    done_ += cost;
  }
  [[nodiscard]] gradient_taps taps(std::size_t sequence) {
    gradient_taps list{
        [this, sequence](const matrix_gradient& g) { visitor_.matrix(sequence, g); },
        [this, sequence](const lookup_gradient& g) { visitor_.lookup(sequence, g); }};
    if (visitor_.takes_vectors())
      list.vector = [this, sequence](const std::string& name, std::span<const double> gradient) {
        visitor_.vector(sequence, name, gradient);
      };
    return list;
  }
  [[nodiscard]] matrix_f as_matrix(const std::vector<float>& x) const {
    const auto hidden = static_cast<Eigen::Index>(weights_.shape().hidden);
    return Eigen::Map<const matrix_f>(x.data(), static_cast<Eigen::Index>(x.size()) / hidden,
                                      hidden);
  }
  void run_forward();
  void run_output();
  void run_layer(std::size_t layer);
  void run_embedding();

  const model_weights& weights_;
  std::span<const std::vector<std::int32_t>> sequences_;
  logit_loss& loss_;
  gradient_visitor& visitor_;
  const progress_callback& listener_;
  transformer forward_;
  backward_pass<> back_;
  std::size_t done_ = 0, total_ = 0;                    ///< weights that are multiplied
  std::vector<std::vector<std::vector<float>>> before_; ///< [layers][sequences][tokens][hidden]
  std::vector<std::vector<float>> last_;                ///< [sequences]: behind the last layer
  std::vector<matrix_f> gradients_;                     ///< [sequences][samples * tokens][hidden]
};

template <class T> void gradient_walk<T>::run_forward() {
  std::size_t longest = 1;
  for (const auto& tokens : sequences_) {
    longest = std::max(longest, tokens.size());
    last_.push_back(forward_.embedded(tokens));
  }
  kv_pool pool = forward_.make_pool(kv_format::f32, longest);
  kv_sequence cache(pool);
  cache.extend(longest);
  for (std::size_t layer = 0; layer < weights_.layers().size(); ++layer) {
    tell("layer " + std::to_string(layer), cost_of(layer));
    before_.push_back(last_);
    for (auto& x : last_)
      for (const auto part : {sublayer::attention, sublayer::feed_forward})
        forward_.run_sublayer(layer, part, x, cache);
  }
}

template <class T> void gradient_walk<T>::run_output() {
  const named_weight* output = &weights_.output();
  visitor_.begin({&output, 1});
  const auto samples = static_cast<Eigen::Index>(loss_.samples());
  for (std::size_t i = 0; i < sequences_.size(); ++i) {
    tell(weights_.output().name, output_cost());
    const matrix_f x = as_matrix(last_[i]);
    matrix_f& gradient = gradients_.emplace_back(samples * x.rows(), x.cols());
    const Eigen::Index together = gradient_output_tokens(weights_.vocabulary());
    for (Eigen::Index first = 0; first < x.rows(); first += together) {
      const Eigen::Index count = std::min(together, x.rows() - first);
      const matrix_f part = x.middleRows(first, count), logits = back_.logits(part);
      matrix_f logit_gradient;
      const auto rows =
          loss_.set_gradients(i, static_cast<std::size_t>(first), logits, logit_gradient);
      const matrix_f g = back_.run_output(part, logits, rows, logit_gradient, taps(i));
      for (Eigen::Index s = 0; s < samples; ++s)
        gradient.middleRows(s * x.rows() + first, count) = g.middleRows(s * count, count);
    }
  }
  visitor_.end();
}

template <class T> void gradient_walk<T>::run_layer(std::size_t layer) {
  tell("layer " + std::to_string(layer), way_back * cost_of(layer));
  std::size_t longest = 1;
  for (const auto& text : sequences_) longest = std::max(longest, text.size());
  kv_pool pool = forward_.make_pool(kv_format::f32, longest);
  kv_sequence cache(pool);
  cache.extend(longest);
  for (const auto part : {sublayer::feed_forward, sublayer::attention}) {
    const layer_weights& w = weights_.layers()[layer];
    const bool is_attention = part == sublayer::attention;
    std::vector<const named_weight*> matrices;
    for (const auto& m : is_attention ? w.attention_inputs : w.feed_forward_inputs)
      matrices.push_back(&m);
    if (matrices.empty()) continue;
    matrices.push_back(is_attention ? &w.attention_output : &w.down);
    if (!is_attention && !w.router.name.empty()) matrices.push_back(&w.router);
    visitor_.begin(matrices);
    for (std::size_t i = 0; i < sequences_.size(); ++i) {
      std::vector<float> x = before_[layer][i];
      if (!is_attention) forward_.run_sublayer(layer, sublayer::attention, x, cache);
      back_.run_sublayer(layer, part, as_matrix(x), gradients_[i], taps(i));
    }
    visitor_.end();
  }
  before_.pop_back();
}

template <class T> void gradient_walk<T>::run_embedding() {
  tell(weights_.embedding().name, 0);
  const named_weight* embedding = &weights_.embedding();
  visitor_.begin({&embedding, 1});
  for (std::size_t i = 0; i < sequences_.size(); ++i)
    back_.run_embedding(sequences_[i], gradients_[i], taps(i));
  visitor_.end();
}

} // namespace model::detail

template <class>
void walk_gradients(const model_weights& weights,
                    std::span<const std::vector<std::int32_t>> sequences, logit_loss& loss,
                    gradient_visitor& visitor, unsigned threads,
                    const progress_callback& listener) {
  require_known_tokens(weights, sequences);
  model::detail::gradient_walk<void>(weights, sequences, loss, visitor, threads, listener).run();
}

template <class>
void walk_gradients(const model_weights& weights,
                    std::span<const std::vector<std::int32_t>> sequences,
                    const gradient_options& options, gradient_visitor& visitor,
                    const progress_callback& listener) {
  if (options.samples == 0 || (options.labels == gradient_labels::text && options.samples != 1))
    fail(error_code::bad_argument, "samples",
         "expected at least one, and one where the labels are the text's own");
  label_loss<> loss(sequences, options);
  walk_gradients(weights, sequences, loss, visitor, options.threads, listener);
}

} // namespace edgequant::inline EDGEQUANT_ABI
