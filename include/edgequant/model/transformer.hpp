// SPDX-License-Identifier: MIT
/// The forward pass of a Llama-like network: tokens in, logits out. Source: Touvron et al. 2023
/// (LLaMA), with grouped-query attention (Ainslie et al. 2023) and RoPE (Su et al. 2021).
#pragma once

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

/// The halves of a layer. Each normalises the vectors, and adds to them what it makes of that.
enum class sublayer { attention, feed_forward };

/// Where matrices stand in a sublayer.
enum class sublayer_end {
  in, ///< they read the normalised vectors: q, k and v, or gate and up
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

  /// What the output matrix reads when such vectors come out of the last layer; valid until the
  /// next run.
  std::span<const float> output_inputs(const std::vector<float>& x) {
    normalize(x.data(), x.size() / shape_.hidden, weights_->output_norm());
    return normal_;
  }

  /// Sets or, with nothing, removes the observer.
  void observe(activation_observer observer) { observer_ = std::move(observer); }
  [[nodiscard]] const model_weights& weights() const noexcept { return *weights_; }
  /// A pool of blocks for `tokens` tokens of this model.
  [[nodiscard]] kv_pool make_pool(kv_format type, std::size_t tokens) const {
    return {{shape_.layers, shape_.kv_heads, shape_.head_size},
            type,
            (tokens + kv_block_tokens - 1) / kv_block_tokens};
  }

private:
  void check(std::span<const std::int32_t> tokens, const kv_sequence& sequence) const;
  enum class logits_of { none, last, each };
  void run_chunks(std::span<const std::int32_t> tokens, kv_sequence& sequence, logits_of wanted,
                  const logits_sink* sink);
  void run_layers(std::span<const std::int32_t> tokens, std::size_t position, kv_sequence& cache);
  void embed(std::span<const std::int32_t> tokens);
  void prepare_rope(std::size_t position, std::size_t count);
  void attention(std::size_t layer, std::size_t position, std::size_t count, kv_sequence& cache);
  void mix_values(std::size_t layer, std::size_t position, std::size_t count, kv_sequence& cache);
  void place_token(std::size_t layer, std::size_t position, std::size_t t,
                   kv_sequence& cache) noexcept;
  void feed_forward(const layer_weights& w, std::size_t count);
  void activate(const layer_weights& w, std::size_t count);
  void rotate(float* head, const float* angles) const noexcept;
  void normalize(const float* x, std::size_t count, const std::vector<float>& weight);
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
  void products(std::initializer_list<output> outputs);
  void emit(std::size_t first, std::size_t count, const logits_sink* sink, std::size_t index);
  void require_finite_logits() const;

  const model_weights* weights_;
  model_shape shape_;
  unsigned threads_;
  activation_observer observer_;
  activations activations_;
  std::vector<float> x_, normal_, q_, k_, v_, mixed_, gate_, up_, change_, logits_, angles_;
  std::vector<head_attention> attention_; ///< one a task
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
  prepare_rope(position, tokens.size());
  for (std::size_t layer = 0; layer < shape_.layers; ++layer) {
    attention(layer, position, tokens.size(), cache);
    feed_forward(weights_->layers()[layer], tokens.size());
  }
}

inline void transformer::embed(std::span<const std::int32_t> tokens) {
  const weight_view& e = weights_->embedding().view;
  const std::uint64_t bytes = row_bytes(e.type, e.columns);
  resize_exactly(x_, tokens.size() * e.columns);
  for (std::size_t i = 0; i < tokens.size(); ++i)
    decode_row(e.type, e.data + static_cast<std::size_t>(tokens[i]) * bytes,
               std::span(x_).subspan(i * e.columns, e.columns));
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
    prepare_rope(0, count);
    attention(layer, 0, count, sequence);
  } else {
    feed_forward(weights_->layers()[layer], count);
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
    activate(w, count);
    return gate_;
  }
  prepare_rope(0, count);
  mix_values(layer, 0, count, sequence);
  return mixed_;
}

/// cos and sin of each token's angles: position / base^(2i / rope_size) / divisor.
inline void transformer::prepare_rope(std::size_t position, std::size_t count) {
  const std::size_t pairs = shape_.rope_size / 2;
  const auto& divisors = weights_->rope_divisors();
  resize_exactly(angles_, count * pairs * 2);
  for (std::size_t i = 0; i < pairs; ++i) {
    const double exponent = 2.0 * static_cast<double>(i) / static_cast<double>(shape_.rope_size);
    double frequency = std::pow(shape_.rope_base, -exponent) / shape_.rope_scale;
    if (!divisors.empty()) frequency /= divisors[i];
    for (std::size_t t = 0; t < count; ++t) {
      const double angle = static_cast<double>(position + t) * frequency;
      angles_[(t * pairs + i) * 2] = static_cast<float>(std::cos(angle));
      angles_[(t * pairs + i) * 2 + 1] = static_cast<float>(std::sin(angle));
    }
  }
}

inline void transformer::rotate(float* head, const float* angles) const noexcept {
  const std::size_t pairs = shape_.rope_size / 2;
  const bool adjacent = shape_.architecture->rope == rope_order::pairs;
  for (std::size_t i = 0; i < pairs; ++i) {
    float& a = head[adjacent ? 2 * i : i];
    float& b = head[adjacent ? 2 * i + 1 : i + pairs];
    const float cosine = angles[2 * i], sine = angles[2 * i + 1], x = a, y = b;
    a = x * cosine - y * sine;
    b = x * sine + y * cosine;
  }
}

/// normal_ = x / sqrt(mean of x^2 + epsilon) * weight, vector by vector.
inline void transformer::normalize(const float* x, std::size_t count,
                                   const std::vector<float>& weight) {
  const std::size_t n = shape_.hidden;
  resize_exactly(normal_, count * n);
  for (std::size_t t = 0; t < count; ++t) {
    const float* from = x + t * n;
    const float mean = kernel::dot(from, from, n) / static_cast<float>(n);
    // A sum that overflows would make zeros of all, which no later check sees.
    const float factor = is_finite(mean) ? 1.0f / std::sqrt(mean + shape_.rms_epsilon)
                                         : std::numeric_limits<float>::quiet_NaN();
    for (std::size_t i = 0; i < n; ++i) normal_[t * n + i] = from[i] * factor * weight[i];
  }
}

namespace model::detail {
inline void add_bias(std::vector<float>& y, std::span<const float> bias) {
  for (std::size_t i = 0; !bias.empty() && i < y.size(); i += bias.size())
    for (std::size_t k = 0; k < bias.size(); ++k) y[i + k] += bias[k];
}
} // namespace model::detail

inline void transformer::products(std::initializer_list<output> outputs) {
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

inline void transformer::attention(std::size_t layer, std::size_t position, std::size_t count,
                                   kv_sequence& cache) {
  const auto& w = weights_->layers()[layer];
  normalize(x_.data(), count, w.attention_norm);
  mix_values(layer, position, count, cache);
  input(mixed_, count, shape_.heads * shape_.head_size);
  products({{&w.attention_output, &change_, w.attention_output_bias}});
  kernel::add_scaled(1.0f, change_.data(), x_.data(), x_.size());
}

/// mixed_ = values mixed by attention, for what is in normal_.
inline void transformer::mix_values(std::size_t layer, std::size_t position, std::size_t count,
                                    kv_sequence& cache) {
  const auto& w = weights_->layers()[layer];
  const std::size_t d = shape_.head_size;
  input(normal_, count, shape_.hidden);
  products({{&w.q, &q_, w.q_bias}, {&w.k, &k_, w.k_bias}, {&w.v, &v_, w.v_bias}});
  constexpr std::size_t together = 16;
  parallel_for((count + together - 1) / together, threads_, [&](std::size_t task) {
    for (std::size_t t = task * together; t < std::min(count, (task + 1) * together); ++t)
      place_token(layer, position, t, cache);
  });
  // A task is a part of the tokens and one head of keys, which it reads once.
  constexpr std::size_t part = attention_part_tokens;
  const std::size_t parts = (count + part - 1) / part, tasks = parts * shape_.kv_heads;
  resize_exactly(mixed_, count * shape_.heads * d);
  if (attention_.size() < tasks) resize_exactly(attention_, tasks);
  const attention_heads heads{q_.data(), mixed_.data(), shape_.heads, shape_.kv_heads, d};
  parallel_for(tasks, threads_, [&](std::size_t task) {
    const std::size_t first = task / shape_.kv_heads * part;
    attention_[task].run(heads, {layer, position, first, std::min(part, count - first)},
                         task % shape_.kv_heads, cache);
  });
}

/// Turns queries and keys of token t of the chunk to its place, and stores keys and values.
inline void transformer::place_token(std::size_t layer, std::size_t position, std::size_t t,
                                     kv_sequence& cache) noexcept {
  const std::size_t d = shape_.head_size;
  const float* angles = angles_.data() + t * (shape_.rope_size / 2) * 2;
  for (std::size_t h = 0; h < shape_.heads; ++h)
    rotate(q_.data() + (t * shape_.heads + h) * d, angles);
  for (std::size_t h = 0; h < shape_.kv_heads; ++h) {
    float* key = k_.data() + (t * shape_.kv_heads + h) * d;
    rotate(key, angles);
    cache.set_key(layer, position + t, h, key);
    cache.set_value(layer, position + t, h, v_.data() + (t * shape_.kv_heads + h) * d);
  }
}

inline void transformer::feed_forward(const layer_weights& w, std::size_t count) {
  normalize(x_.data(), count, w.feed_forward_norm);
  activate(w, count);
  input(gate_, count, shape_.feed_forward);
  products({{&w.down, &change_, w.down_bias}});
  kernel::add_scaled(1.0f, change_.data(), x_.data(), x_.size());
}

/// gate_ = silu(gate) * up, for what is in normal_.
inline void transformer::activate(const layer_weights& w, std::size_t count) {
  input(normal_, count, shape_.hidden);
  products({{&w.gate, &gate_, w.gate_bias}, {&w.up, &up_, w.up_bias}});
  parallel_for(count, threads_, [&](std::size_t t) {
    const std::size_t at = t * shape_.feed_forward;
    kernel::multiply_silu(gate_.data() + at, up_.data() + at, shape_.feed_forward);
  });
}

/// Logits of tokens first .. first + count of the chunk that begins at `index`.
inline void transformer::emit(std::size_t first, std::size_t count, const logits_sink* sink,
                              std::size_t index) {
  normalize(x_.data() + first * shape_.hidden, count, weights_->output_norm());
  input(normal_, count, shape_.hidden);
  products({{&weights_->output(), &logits_, {}}});
  require_finite_logits();
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
