// SPDX-License-Identifier: MIT
/// Texts through the network and their gradients back, one part of the network after the other:
/// what is prepared for a part serves all texts.
#pragma once

#include "../core/progress.hpp"
#include "backward.hpp"
#include "text_chunks.hpp"

#include <cmath>
#include <random>

namespace edgequant::inline EDGEQUANT_ABI {

/// What follows each token, as the loss -log p(label) has it.
enum class gradient_labels : std::uint8_t {
  sampled, ///< drawn from what the model itself predicts: gradients of its own distribution
  text     ///< the token that follows in the text; the last has none
};

struct gradient_options {
  gradient_labels labels = gradient_labels::sampled;
  std::size_t samples = 1; ///< of labels, for each sequence; of the text's own there is one
  std::uint64_t seed = 1;
  unsigned threads = 0;
};

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
};

/// Tells the visitor the gradients of all sequences, each of at least one token and at most the
/// model's context. Of the output matrix those of likely rows and of labels are told.
/// bad_argument for tokens beyond the vocabulary, and for a number of samples that the labels do
/// not allow. Memory: the hidden floats of all tokens at each layer, what backward_pass says, and
/// logits of some tokens: 256 MiB, and for each sample as much again where all rows are likely.
template <class = void>
void walk_gradients(const model_weights& weights,
                    std::span<const std::vector<std::int32_t>> sequences,
                    const gradient_options& options, gradient_visitor& visitor,
                    const progress_callback& listener = {});

/// The first `count` sequences of a text, BOS and tokens - 1 of it each, those that are whole; the
/// whole text as one where it is shorter.
[[nodiscard]] inline std::vector<std::vector<std::int32_t>>
gradient_sequences(const calibration_text& text, std::size_t count, std::size_t tokens) {
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

/// A bound for probabilities: those below it are, together, at most `mass`.
template <class = void>
[[nodiscard]] double unlikely_bound(const Eigen::VectorXd& probabilities, double mass) {
  constexpr int lowest = -64; // exponents
  double sums[1 - lowest] = {};
  const auto exponent = [&](double p) { return p > 0 ? std::max(lowest, std::ilogb(p)) : lowest; };
  for (const double p : probabilities) sums[std::min(0, exponent(p)) - lowest] += p;
  int e = lowest;
  for (double sum = sums[0]; sum <= mass && e < 0; sum += sums[e - lowest]) ++e;
  return e == lowest ? 0 : std::ldexp(1.0, e);
}

template <class T> class gradient_walk {
public:
  gradient_walk(const model_weights& weights, std::span<const std::vector<std::int32_t>> sequences,
                const gradient_options& options, gradient_visitor& visitor,
                const progress_callback& listener)
      : weights_(weights), sequences_(sequences), options_(options), visitor_(visitor),
        listener_(listener), forward_(weights, options.threads), back_(weights, options.threads) {}

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
    return {[this, sequence](const matrix_gradient& g) { visitor_.matrix(sequence, g); },
            [this, sequence](const lookup_gradient& g) { visitor_.lookup(sequence, g); }};
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
  struct token_loss; // of one token: its softmax, the likely rows, the labels
  [[nodiscard]] token_loss loss_at(std::size_t sequence, std::size_t token,
                                   Eigen::Ref<const Eigen::RowVectorXf> logits) const;
  [[nodiscard]] std::vector<std::size_t> set_gradients(std::size_t sequence, Eigen::Index first,
                                                       const matrix_f& logits,
                                                       matrix_f& gradient) const;

  const model_weights& weights_;
  std::span<const std::vector<std::int32_t>> sequences_;
  const gradient_options& options_;
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

template <class T> struct gradient_walk<T>::token_loss {
  double largest = 0, sum = 0; ///< p(row) = exp(logit - largest) / sum
  std::vector<std::size_t> likely;
  std::vector<std::size_t> labels; ///< of the samples; none for the last token of a text

  [[nodiscard]] double probability(float logit) const {
    return std::exp(double{logit} - largest) / sum;
  }
};

template <class T>
auto gradient_walk<T>::loss_at(std::size_t sequence, std::size_t token,
                               Eigen::Ref<const Eigen::RowVectorXf> logits) const -> token_loss {
  constexpr double left_out = 0x1p-10;
  token_loss loss;
  loss.largest = double{logits.maxCoeff()};
  Eigen::VectorXd p = (logits.transpose().template cast<double>().array() - loss.largest).exp();
  loss.sum = p.sum();
  p /= loss.sum;
  const double bound = unlikely_bound(p, left_out);
  const auto words = static_cast<std::size_t>(p.size());
  for (std::size_t r = 0; r < words; ++r)
    if (p[static_cast<Eigen::Index>(r)] >= bound) loss.likely.push_back(r);
  if (options_.labels == gradient_labels::text) {
    if (token + 1 < sequences_[sequence].size())
      loss.labels.push_back(static_cast<std::size_t>(sequences_[sequence][token + 1]));
    return loss;
  }
  std::seed_seq seeds{options_.seed, std::uint64_t{sequence}, std::uint64_t{token}};
  std::mt19937_64 random(seeds);
  for (std::size_t s = 0; s < options_.samples; ++s) {
    double left = static_cast<double>(random() >> 11) * 0x1p-53;
    std::size_t label = 0;
    for (; label + 1 < words; ++label) {
      const double own = p[static_cast<Eigen::Index>(label)];
      if (left < own) break;
      left -= own;
    }
    loss.labels.push_back(label);
  }
  return loss;
}

/// Of log p(label), for the tokens from `first` on that the logits belong to, with respect to the
/// logits of the rows that are returned: 1 for the label, less the softmax. Rows that no token
/// gives more than a little are left out, together at most 2^-10 of a token's softmax: what they
/// would add to the gradient of the hidden vector is that share of a mean over many rows.
template <class T>
std::vector<std::size_t> gradient_walk<T>::set_gradients(std::size_t sequence, Eigen::Index first,
                                                         const matrix_f& logits,
                                                         matrix_f& gradient) const {
  const Eigen::Index count = logits.rows();
  std::vector<token_loss> losses(static_cast<std::size_t>(count));
  parallel_for(losses.size(), options_.threads, [&](std::size_t i) {
    losses[i] = loss_at(sequence, static_cast<std::size_t>(first) + i,
                        logits.row(static_cast<Eigen::Index>(i)));
  });
  std::vector<bool> is_told(static_cast<std::size_t>(logits.cols()));
  for (const auto& loss : losses)
    for (const auto* list : {&loss.likely, &loss.labels})
      for (const std::size_t r : *list) is_told[r] = true;
  std::vector<std::size_t> rows;
  for (std::size_t r = 0; r < is_told.size(); ++r)
    if (is_told[r]) rows.push_back(r);
  gradient.resize(static_cast<Eigen::Index>(options_.samples) * count,
                  static_cast<Eigen::Index>(rows.size()));
  parallel_for(losses.size(), options_.threads, [&](std::size_t i) {
    const token_loss& loss = losses[i];
    const auto token = static_cast<Eigen::Index>(i);
    for (std::size_t k = 0; k < rows.size(); ++k) {
      const double p = loss.probability(logits(token, static_cast<Eigen::Index>(rows[k])));
      for (std::size_t s = 0; s < options_.samples; ++s) {
        const double g = loss.labels.empty() ? 0 : (rows[k] == loss.labels[s] ? 1 : 0) - p;
        gradient(static_cast<Eigen::Index>(s) * count + token, static_cast<Eigen::Index>(k)) =
            static_cast<float>(g);
      }
    }
  });
  return rows;
}

template <class T> void gradient_walk<T>::run_output() {
  const named_weight* output = &weights_.output();
  visitor_.begin({&output, 1});
  const auto samples = static_cast<Eigen::Index>(options_.samples);
  for (std::size_t i = 0; i < sequences_.size(); ++i) {
    tell(weights_.output().name, output_cost());
    const matrix_f x = as_matrix(last_[i]);
    matrix_f& gradient = gradients_.emplace_back(samples * x.rows(), x.cols());
    const Eigen::Index together = gradient_output_tokens(weights_.vocabulary());
    for (Eigen::Index first = 0; first < x.rows(); first += together) {
      const Eigen::Index count = std::min(together, x.rows() - first);
      const matrix_f part = x.middleRows(first, count), logits = back_.logits(part);
      matrix_f logit_gradient;
      const auto rows = set_gradients(i, first, logits, logit_gradient);
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
                    std::span<const std::vector<std::int32_t>> sequences,
                    const gradient_options& options, gradient_visitor& visitor,
                    const progress_callback& listener) {
  if (options.samples == 0 || (options.labels == gradient_labels::text && options.samples != 1))
    fail(error_code::bad_argument, "samples",
         "expected at least one, and one where the labels are the text's own");
  for (const auto& tokens : sequences)
    for (const std::int32_t token : tokens)
      if (token < 0 || static_cast<std::size_t>(token) >= weights.vocabulary())
        fail(error_code::bad_argument, "text",
             "token " + std::to_string(token) + " of a vocabulary of " +
                 std::to_string(weights.vocabulary()));
  model::detail::gradient_walk<void>(weights, sequences, options, visitor, listener).run();
}

} // namespace edgequant::inline EDGEQUANT_ABI
