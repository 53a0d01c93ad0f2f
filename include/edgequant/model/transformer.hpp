// SPDX-License-Identifier: MIT
/// The forward pass of a Llama-like network: tokens in, logits out. Source: Touvron et al. 2023
/// (LLaMA), with grouped-query attention (Ainslie et al. 2023) and RoPE (Su et al. 2021); how the
/// architectures differ stands in architecture_table.
#pragma once

#include "expert_routes.hpp"
#include "head_attention.hpp"
#include "weights.hpp"

#include <cmath>
#include <functional>
#include <initializer_list>
#include <span>
#include <vector>

namespace edgequant::inline EDGEQUANT_ABI {

/// Sees the inputs of each weight matrix before the product: its name, and `count` vectors of
/// `length` floats that follow each other.
using activation_observer = std::function<void(std::string_view weight, const float* x,
                                               std::size_t count, std::size_t length)>;

/// Receives the logits behind token `index` of a run, one float a word of the vocabulary.
using logits_sink = std::function<void(std::size_t index, std::span<const float> logits)>;

/// The halves of a layer. Each adds to the vectors what it makes of them; norms stand before,
/// behind or both.
enum class sublayer { attention, feed_forward };

/// Where matrices stand in a sublayer.
enum class sublayer_end {
  in, ///< they read the vectors: q, k and v, or gate and up
  out ///< it writes what is added: attention output or down
};

/// The network with its scratch memory, for one run at a time. The weights must outlive it.
class transformer {
public:
  /// `threads`: 0 means all that the machine offers. The result does not depend on it.
  explicit transformer(const model_weights& weights, unsigned threads = 0)
      : weights_(&weights), shape_(weights.shape()), threads_(threads) {}

  /// Runs tokens behind those of the sequence and appends them to it. Returns the logits behind the
  /// last one, valid until the next run. bad_argument for no tokens, a token outside the vocabulary
  /// and more tokens than the context holds; error_code::exhausted if the sequence's pool is;
  /// bad_value if the logits are not finite, naming the tensor with the weight that is not. The
  /// sequence is then as it was.
  std::span<const float> run(std::span<const std::int32_t> tokens, kv_sequence& sequence);
  /// The same for the logits behind each token.
  void run(std::span<const std::int32_t> tokens, kv_sequence& sequence, const logits_sink& sink);
  /// The same without logits, for tokens whose successors are known: the output matrix, a third of
  /// the bytes of a small model, is not read. Values that are not finite show in a later run.
  void feed(std::span<const std::int32_t> tokens, kv_sequence& sequence);

  /// For who goes layer by layer: the vectors of tokens before the first layer, hidden floats each.
  [[nodiscard]] std::vector<float> embedded(std::span<const std::int32_t> tokens);
  /// Takes such vectors, of tokens 0, 1, ... of a text, through one sublayer. The sequence holds at
  /// least as many tokens; their keys and values of this layer are set.
  void run_sublayer(std::size_t layer, sublayer part, std::vector<float>& x, kv_sequence& sequence);
  /// What the matrices at one end of it read when such vectors come in; valid until the next run.
  std::span<const float> sublayer_inputs(std::size_t layer, sublayer part, sublayer_end end,
                                         const std::vector<float>& x, kv_sequence& sequence);

  /// What the writing matrix of a sublayer gives then, before any norm behind it; valid until the
  /// next run. The layer has the sublayer.
  std::span<const float> sublayer_outputs(std::size_t layer, sublayer part,
                                          const std::vector<float>& x, kv_sequence& sequence);

  /// What the output matrix reads when such vectors come out of the last layer; valid until the
  /// next run.
  std::span<const float> output_inputs(const std::vector<float>& x) {
    normalize(x.data(), x.size() / shape_.hidden, weights_->output_norm());
    return normal_;
  }

  /// Calls sink(first, logits) for the logits of such vectors, those of some tokens at a time.
  template <class Sink> void run_output(std::vector<float>& x, Sink sink);

  /// Sets or, with nothing, removes the observer.
  void observe(activation_observer observer) { observer_ = std::move(observer); }
  [[nodiscard]] const model_weights& weights() const noexcept { return *weights_; }
  /// A pool of blocks for `tokens` tokens of this model.
  [[nodiscard]] kv_pool make_pool(kv_format type, std::size_t tokens) const {
    kv_shape shape{{}, shape_.head_size};
    for (const auto& layer : shape_.layers) shape.kv_heads.push_back(layer.kv_heads);
    return {std::move(shape), type, (tokens + kv_block_tokens - 1) / kv_block_tokens};
  }

private:
  void check(std::span<const std::int32_t> tokens, const kv_sequence& sequence) const;
  enum class logits_of { none, last, each };
  void run_chunks(std::span<const std::int32_t> tokens, kv_sequence& sequence, logits_of wanted,
                  const logits_sink* sink);
  void run_layers(std::span<const std::int32_t> tokens, std::size_t position, kv_sequence& cache);
  void embed(std::span<const std::int32_t> tokens);
  void prepare_rope(std::size_t position, std::size_t count, const kv_sequence& cache);
  void attention(std::size_t layer, std::size_t position, std::size_t count, kv_sequence& cache);
  void mix_values(std::size_t layer, std::size_t position, std::size_t count, kv_sequence& cache);
  void place_token(std::size_t layer, std::size_t position, std::size_t t,
                   kv_sequence& cache) noexcept;
  void place_heads(float* heads, std::size_t count, const std::vector<float>& norm,
                   const float* angles) const noexcept;
  void feed_forward(std::size_t layer, std::size_t count);
  void activate(std::size_t layer, std::size_t count);
  void write_change(const biased_weight& w, const std::vector<float>& inputs);
  void add_change(std::size_t count, const std::vector<float>& norm);
  void gate_tokens(std::size_t count, std::size_t inner);
  void route(std::size_t layer, std::size_t count);
  void run_experts(std::size_t layer, std::size_t count);
  void turn_heads(float* heads, std::size_t count) const noexcept;
  void normalize(const float* x, std::size_t count, const std::vector<float>& weight);
  void normalize_vector(const float* from, std::size_t n, const float* weight,
                        float* to) const noexcept;
  /// Sets the input of the products that follow.
  void input(const std::vector<float>& x, std::size_t count, std::size_t length) {
    activations_.assign(x.data(), count, length);
  }
  /// Products of the same input: y = w x + bias for each; an empty bias adds nothing.
  struct output {
    const named_weight* w;
    std::vector<float>* y;
    std::span<const float> bias;
  };
  void products(std::span<const output> outputs);
  /// The same for matrices whose outputs may be one: rows of a token for each vector.
  struct output_part {
    std::vector<float>* y;
    std::size_t rows;
  };
  void products(const std::vector<biased_weight>& inputs, std::initializer_list<output_part> parts);
  void emit(std::size_t first, std::size_t count, const logits_sink* sink, std::size_t index);
  void require_finite_logits() const;

  const model_weights* weights_;
  model_shape shape_;
  unsigned threads_;
  activation_observer observer_;
  activations activations_;
  std::vector<float> x_, normal_, q_, k_, v_, mixed_, gate_, up_, change_, logits_;
  std::vector<expert_route> routes_;
  std::vector<std::size_t> expert_order_;
  std::vector<float> fused_;                 ///< outputs of a matrix that stands for several
  std::vector<float> angles_, local_angles_; ///< [tokens][rope_size / 2][cos, sin]
  std::vector<head_attention> attention_;    ///< one a task
};

inline std::span<const float> transformer::run(std::span<const std::int32_t> tokens,
                                               kv_sequence& sequence) {
  run_chunks(tokens, sequence, logits_of::last, nullptr);
  return {logits_.data(), weights_->vocabulary()};
}

inline void transformer::run(std::span<const std::int32_t> tokens, kv_sequence& sequence,
                             const logits_sink& sink) {
  run_chunks(tokens, sequence, logits_of::each, &sink);
}

inline void transformer::feed(std::span<const std::int32_t> tokens, kv_sequence& sequence) {
  run_chunks(tokens, sequence, logits_of::none, nullptr);
}

inline void transformer::check(std::span<const std::int32_t> tokens,
                               const kv_sequence& sequence) const {
  const auto place = [this] { return weights_->file().metadata.place(); };
  if (tokens.empty()) fail(error_code::bad_argument, place(), "no tokens to run");
  if (tokens.size() > shape_.context || sequence.size() > shape_.context - tokens.size())
    fail(error_code::bad_argument, place(),
         counted(sequence.size() + tokens.size(), "token") + ", the context holds " +
             std::to_string(shape_.context));
  for (const auto token : tokens)
    if (token < 0 || static_cast<std::size_t>(token) >= weights_->vocabulary())
      fail(error_code::bad_argument, place(),
           "token " + std::to_string(token) + " is outside the vocabulary of " +
               std::to_string(weights_->vocabulary()));
}

inline void transformer::run_chunks(std::span<const std::int32_t> tokens, kv_sequence& sequence,
                                    logits_of wanted, const logits_sink* sink) {
  check(tokens, sequence);
  const std::size_t start = sequence.size();
  sequence.extend(tokens.size());
  struct rollback { // a run that fails leaves no tokens behind
    kv_sequence& sequence;
    std::size_t size;
    ~rollback() { sequence.truncate(size); }
  } undo{sequence, start};
  for (std::size_t i = 0; i < tokens.size(); i += chunk_tokens) {
    const std::size_t count = std::min(chunk_tokens, tokens.size() - i);
    run_layers(tokens.subspan(i, count), start + i, sequence);
    // The logits of a chunk would fill the memory: a few tokens at a time.
    if (wanted == logits_of::each)
      for (std::size_t k = 0; k < count; k += logits_tokens)
        emit(k, std::min(logits_tokens, count - k), sink, i);
    else if (wanted == logits_of::last && i + count == tokens.size())
      emit(count - 1, 1, nullptr, i);
  }
  undo.size = start + tokens.size();
}

inline void transformer::run_layers(std::span<const std::int32_t> tokens, std::size_t position,
                                    kv_sequence& cache) {
  embed(tokens);
  prepare_rope(position, tokens.size(), cache);
  for (std::size_t layer = 0; layer < shape_.layers.size(); ++layer) {
    attention(layer, position, tokens.size(), cache);
    feed_forward(layer, tokens.size());
  }
}

inline void transformer::embed(std::span<const std::int32_t> tokens) {
  const weight_view& e = weights_->embedding().view;
  const std::uint64_t bytes = row_bytes(e.type, e.columns);
  resize_exactly(x_, tokens.size() * e.columns);
  for (std::size_t i = 0; i < tokens.size(); ++i)
    decode_row(e.type, e.data + static_cast<std::size_t>(tokens[i]) * bytes,
               std::span(x_).subspan(i * e.columns, e.columns));
  if (shape_.embedding_scale != 1)
    for (float& x : x_) x *= shape_.embedding_scale;
}

inline std::vector<float> transformer::embedded(std::span<const std::int32_t> tokens) {
  embed(tokens);
  return x_;
}

inline void transformer::run_sublayer(std::size_t layer, sublayer part, std::vector<float>& x,
                                      kv_sequence& sequence) {
  const std::size_t count = x.size() / shape_.hidden;
  x_.swap(x);
  if (part == sublayer::attention) {
    prepare_rope(0, count, sequence);
    attention(layer, 0, count, sequence);
  } else {
    feed_forward(layer, count);
  }
  x_.swap(x);
}

template <class Sink> void transformer::run_output(std::vector<float>& x, Sink sink) {
  const std::size_t count = x.size() / shape_.hidden;
  x_.swap(x);
  for (std::size_t k = 0; k < count; k += logits_tokens) {
    emit(k, std::min(logits_tokens, count - k), nullptr, 0);
    sink(k, std::span<const float>(logits_));
  }
  x_.swap(x);
}

inline std::span<const float> transformer::sublayer_inputs(std::size_t layer, sublayer part,
                                                           sublayer_end end,
                                                           const std::vector<float>& x,
                                                           kv_sequence& sequence) {
  const auto& w = weights_->layers()[layer];
  const bool is_attention = part == sublayer::attention;
  const std::size_t count = x.size() / shape_.hidden;
  normalize(x.data(), count, is_attention ? w.attention_norm : w.feed_forward_norm);
  if (end == sublayer_end::in) return normal_;
  if (!is_attention) {
    activate(layer, count);
    return gate_;
  }
  prepare_rope(0, count, sequence);
  mix_values(layer, 0, count, sequence);
  return mixed_;
}

inline std::span<const float> transformer::sublayer_outputs(std::size_t layer, sublayer part,
                                                            const std::vector<float>& x,
                                                            kv_sequence& sequence) {
  const auto& w = weights_->layers()[layer];
  const bool is_attention = part == sublayer::attention;
  (void)sublayer_inputs(layer, part, sublayer_end::out, x, sequence);
  write_change(is_attention ? w.attention_output : w.down, is_attention ? mixed_ : gate_);
  return change_;
}

/// change_ = what a sublayer's writing matrix makes of its inputs.
inline void transformer::write_change(const biased_weight& w, const std::vector<float>& inputs) {
  input(inputs, inputs.size() / w.view.columns, w.view.columns);
  const output out{&w, &change_, w.bias};
  products({&out, 1});
}

/// to = from / sqrt(mean of from^2 + epsilon) * weight; they may be the same.
inline void transformer::normalize_vector(const float* from, std::size_t n, const float* weight,
                                          float* to) const noexcept {
  const float mean = kernel::dot(from, from, n) / static_cast<float>(n);
  // A sum that overflows would make zeros of all, which no later check sees.
  const float factor = is_finite(mean) ? 1.0f / std::sqrt(mean + shape_.rms_epsilon)
                                       : std::numeric_limits<float>::quiet_NaN();
  for (std::size_t i = 0; i < n; ++i) to[i] = from[i] * factor * weight[i];
}

/// normal_ = x, normalised vector by vector unless there are no weights.
inline void transformer::normalize(const float* x, std::size_t count,
                                   const std::vector<float>& weight) {
  const std::size_t n = shape_.hidden;
  resize_exactly(normal_, count * n);
  if (weight.empty()) {
    std::copy_n(x, count * n, normal_.begin());
    return;
  }
  for (std::size_t t = 0; t < count; ++t)
    normalize_vector(x + t * n, n, weight.data(), normal_.data() + t * n);
}

namespace model::detail {
inline void add_bias(std::vector<float>& y, std::span<const float> bias) {
  for (std::size_t i = 0; !bias.empty() && i < y.size(); i += bias.size())
    for (std::size_t k = 0; k < bias.size(); ++k) y[i + k] += bias[k];
}
} // namespace model::detail

inline void transformer::products(std::span<const output> outputs) {
  weight_product list[3];
  std::size_t count = 0;
  for (const auto& [w, y, bias] : outputs) {
    if (observer_) observer_(w->name, activations_.values(), activations_.count(), w->view.columns);
    resize_exactly(*y, activations_.count() * w->view.rows);
    list[count++] = {w->view, y->data()};
  }
  multiply({list, count}, activations_, threads_);
  for (const auto& [w, y, bias] : outputs) model::detail::add_bias(*y, bias);
}

inline void transformer::products(const std::vector<biased_weight>& inputs,
                                  std::initializer_list<output_part> parts) {
  output list[3];
  if (inputs.size() == parts.size()) {
    for (std::size_t i = 0; i < parts.size(); ++i)
      list[i] = {&inputs[i], parts.begin()[i].y, inputs[i].bias};
    return products({list, parts.size()});
  }
  list[0] = {&inputs[0], &fused_, inputs[0].bias};
  products({list, 1});
  const std::size_t count = activations_.count(), rows = inputs[0].view.rows;
  std::size_t first = 0;
  for (const auto& part : parts) {
    resize_exactly(*part.y, count * part.rows);
    for (std::size_t t = 0; t < count; ++t)
      std::copy_n(fused_.data() + t * rows + first, part.rows, part.y->data() + t * part.rows);
    first += part.rows;
  }
}

/// Adds what a sublayer makes, normalised where there is a norm behind it, to the residual stream.
inline void transformer::add_change(std::size_t count, const std::vector<float>& norm) {
  const std::size_t n = shape_.hidden;
  for (std::size_t t = 0; !norm.empty() && t < count; ++t)
    normalize_vector(change_.data() + t * n, n, norm.data(), change_.data() + t * n);
  kernel::add_scaled(shape_.residual_scale, change_.data(), x_.data(), x_.size());
}

/// Logits of tokens first .. first + count of the chunk that begins at `index`.
inline void transformer::emit(std::size_t first, std::size_t count, const logits_sink* sink,
                              std::size_t index) {
  normalize(x_.data() + first * shape_.hidden, count, weights_->output_norm());
  input(normal_, count, shape_.hidden);
  const output out{&weights_->output(), &logits_, {}};
  products({&out, 1});
  require_finite_logits();
  if (shape_.logit_divisor != 1)
    for (float& x : logits_) x /= shape_.logit_divisor;
  if (shape_.logit_softcap != 0)
    kernel::soft_cap(logits_.data(), logits_.size(), shape_.logit_softcap);
  for (std::size_t t = 0; sink != nullptr && t < count; ++t)
    (*sink)(index + first + t,
            std::span(logits_).subspan(t * weights_->vocabulary(), weights_->vocabulary()));
}

inline void transformer::require_finite_logits() const {
  if (!kernel::find_non_finite(logits_)) return;
  weights_->require_finite_weights();
  fail(error_code::bad_value, weights_->file().metadata.place(),
       "the logits are not finite: activations overflow");
}

} // namespace edgequant::inline EDGEQUANT_ABI

// The bodies of the two halves of a layer.
#include "transformer_attention.hpp"
#include "transformer_experts.hpp"
