// SPDX-License-Identifier: MIT
/// The backward pass through attention.
#pragma once

#include "backward.hpp"

#include <cmath>

namespace edgequant::inline EDGEQUANT_ABI {

/// What attention computed: queries, keys and values before and after they were placed, and for
/// each head how much each token attends to each.
template <class T> struct backward_pass<T>::attention_state {
  std::vector<float> angles;            ///< [tokens][rope_size / 2][cos, sin], or empty
  matrix_f q_before, k_before, q, k, v; ///< [tokens][heads * size]
  std::vector<matrix_f> attention;      ///< a head: [tokens][tokens]
  std::vector<matrix_f> slopes;         ///< of capped scores; empty: they are not capped

  explicit attention_state(std::size_t heads) : attention(heads) {}

  /// Normalises and turns the heads of x.
  void place(const model_shape& shape, const std::vector<float>& norm, matrix_f& x) const {
    const std::size_t d = shape.head_size, length = norm.size();
    for (Eigen::Index t = 0; t < x.rows(); ++t) {
      float* heads = x.row(t).data();
      for (std::size_t i = 0; length != 0 && i < static_cast<std::size_t>(x.cols()); i += length) {
        Eigen::Map<Eigen::VectorXf> part(heads + i, static_cast<Eigen::Index>(length));
        const float mean = part.squaredNorm() / static_cast<float>(length);
        part.array() *= Eigen::Map<const Eigen::ArrayXf>(norm.data(), part.size()) /
                        std::sqrt(mean + shape.rms_epsilon);
      }
      turn(shape, heads, static_cast<std::size_t>(x.cols()) / d, t, false);
    }
  }
  /// The other way for gradients of placed heads; x are the heads before.
  void place_backwards(const model_shape& shape, const std::vector<float>& norm, const matrix_f& x,
                       matrix_f& gradient, double* norm_gradient) const {
    const std::size_t d = shape.head_size, length = norm.size();
    const auto columns = static_cast<std::size_t>(x.cols());
    for (Eigen::Index i = 0; i < gradient.rows(); ++i) {
      float* heads = gradient.row(i).data();
      turn(shape, heads, columns / d, i % x.rows(), true);
      for (std::size_t c = 0; length != 0 && c < columns; c += length)
        model::detail::normalize_backwards(x.row(i % x.rows()).data() + c, length, norm.data(),
                                           shape.rms_epsilon, heads + c, norm_gradient);
    }
  }

private:
  void turn(const model_shape& shape, float* heads, std::size_t count, Eigen::Index token,
            bool backwards) const {
    if (angles.empty()) return;
    const std::size_t pairs = shape.rope_size / 2;
    for (std::size_t h = 0; h < count; ++h)
      turn_by_rope(heads + h * shape.head_size, shape.architecture->rope, pairs,
                   angles.data() + static_cast<std::size_t>(token) * pairs * 2, backwards);
  }
};

namespace model::detail {

/// scores, of one head, become how much each token attends to each before it. `sink`: a logit that
/// takes part, or null. `slopes`, where scores are capped: the derivative of the cap.
inline void attend(const model_shape& shape, const layer_shape& layer, const float* sink,
                   matrix_f& scores, matrix_f* slopes) {
  const float cap = shape.attention_softcap;
  if (cap != 0) {
    scores = (scores.array() / cap).tanh();
    *slopes = 1 - scores.array().square();
    scores *= cap;
  }
  for (Eigen::Index t = 0; t < scores.rows(); ++t) {
    const auto window = static_cast<Eigen::Index>(layer.window);
    const Eigen::Index first = window != 0 && t >= window ? t + 1 - window : 0;
    auto seen = scores.row(t).segment(first, t + 1 - first);
    const float most = std::max(seen.maxCoeff(), sink != nullptr ? *sink : seen.maxCoeff());
    seen = (seen.array() - most).exp();
    const float sum = seen.sum() + (sink != nullptr ? std::exp(*sink - most) : 0);
    seen /= sum;
    scores.row(t).head(first).setZero();
    scores.row(t).tail(scores.cols() - t - 1).setZero();
  }
}

} // namespace model::detail

template <class T>
void backward_pass<T>::attention(std::size_t layer, const matrix_f& x, matrix_f& gradient,
                                 const gradient_taps& taps) {
  const layer_shape& shape = shape_->layers[layer];
  const auto& w = weights_->layers()[layer];
  const auto d = static_cast<Eigen::Index>(shape_->head_size);
  const auto heads = static_cast<Eigen::Index>(shape.heads);
  const auto kv_heads = static_cast<Eigen::Index>(shape.kv_heads), group = heads / kv_heads;
  const Eigen::Index tokens = x.rows(), samples = gradient.rows() / tokens;
  const auto& inputs = w.attention_inputs;
  const bool fused = inputs.size() == 1;
  const matrix_f n = normalized(x, w.attention_norm);

  // Forward once more.
  attention_state state(shape.heads);
  if (shape.has_rope)
    rope_angles(shape_->rope_of(shape), shape_->rope_size, 0, static_cast<std::size_t>(tokens),
                weights_->rope_divisors(static_cast<std::size_t>(tokens)), state.angles);
  state.q_before = product(n, values(inputs[0]), inputs[0].bias);
  if (fused) {
    state.k_before = state.q_before.middleCols(heads * d, kv_heads * d);
    state.v = state.q_before.rightCols(kv_heads * d);
    state.q_before = state.q_before.leftCols(heads * d).eval();
  } else {
    state.k_before = product(n, values(inputs[1]), inputs[1].bias);
    state.v = product(n, values(inputs[2]), inputs[2].bias);
  }
  state.q = state.q_before, state.k = state.k_before;
  state.place(*shape_, w.q_norm, state.q);
  state.place(*shape_, w.k_norm, state.k);
  if (shape_->attention_softcap != 0) state.slopes.resize(shape.heads);
  matrix_f mixed(tokens, heads * d);
  parallel_for(shape.heads, threads_, [&](std::size_t head) {
    const serial_products one;
    const auto h = static_cast<Eigen::Index>(head);
    matrix_f& scores = state.attention[head];
    scores.noalias() =
        state.q.middleCols(h * d, d) * state.k.middleCols(h / group * d, d).transpose();
    scores *= shape_->attention_scale;
    model::detail::attend(*shape_, shape, w.sinks.empty() ? nullptr : w.sinks.data() + head, scores,
                          state.slopes.empty() ? nullptr : &state.slopes[head]);
    mixed.middleCols(h * d, d).noalias() = scores * state.v.middleCols(h / group * d, d);
  });

  // Back: the output matrix, the mixing of values, and what feeds it.
  matrix_f change_gradient = shape_->residual_scale * gradient;
  if (!w.post_attention_norm.empty())
    norm_backwards(product(mixed, values(w.attention_output), w.attention_output.bias),
                   w.post_attention_norm, layer_name(layer, "post_attention_norm.weight"),
                   change_gradient, taps);
  tap(w.attention_output, mixed, change_gradient, taps);
  matrix_f mixed_gradient = matrix_f::Zero(gradient.rows(), heads * d);
  add_product(change_gradient, values(w.attention_output), mixed_gradient);
  matrix_f q_gradient(gradient.rows(), heads * d);
  matrix_f k_gradient = matrix_f::Zero(gradient.rows(), kv_heads * d);
  matrix_f v_gradient = matrix_f::Zero(gradient.rows(), kv_heads * d);
  parallel_for(static_cast<std::size_t>(kv_heads * samples), threads_, [&](std::size_t task) {
    const serial_products one;
    const auto kv = static_cast<Eigen::Index>(task) / samples;
    const Eigen::Index first = static_cast<Eigen::Index>(task) % samples * tokens;
    matrix_f score_gradient(tokens, tokens);
    for (Eigen::Index h = kv * group; h < (kv + 1) * group; ++h) {
      const matrix_f& a = state.attention[static_cast<std::size_t>(h)];
      const auto out = mixed_gradient.block(first, h * d, tokens, d);
      v_gradient.block(first, kv * d, tokens, d).noalias() += a.transpose() * out;
      score_gradient.noalias() = out * state.v.middleCols(kv * d, d).transpose();
      for (Eigen::Index t = 0; t < tokens; ++t) {
        const float mean = a.row(t).dot(score_gradient.row(t));
        score_gradient.row(t) =
            a.row(t).array() * (score_gradient.row(t).array() - mean) * shape_->attention_scale;
      }
      if (!state.slopes.empty())
        score_gradient.array() *= state.slopes[static_cast<std::size_t>(h)].array();
      q_gradient.block(first, h * d, tokens, d).noalias() =
          score_gradient * state.k.middleCols(kv * d, d);
      k_gradient.block(first, kv * d, tokens, d).noalias() +=
          score_gradient.transpose() * state.q.middleCols(h * d, d);
    }
  });
  const auto place_back = [&](const std::vector<float>& norm, const char* name,
                              const matrix_f& before, matrix_f& heads_gradient) {
    std::vector<double> sum(taps.vector ? norm.size() : 0);
    state.place_backwards(*shape_, norm, before, heads_gradient,
                          sum.empty() ? nullptr : sum.data());
    if (!sum.empty()) taps.vector(layer_name(layer, name), sum);
  };
  place_back(w.q_norm, "attn_q_norm.weight", state.q_before, q_gradient);
  place_back(w.k_norm, "attn_k_norm.weight", state.k_before, k_gradient);

  matrix_f input_gradient = matrix_f::Zero(gradient.rows(), x.cols());
  const auto back = [&](const biased_weight& matrix, const matrix_f& y_gradient) {
    tap(matrix, n, y_gradient, taps);
    add_product(y_gradient, values(matrix), input_gradient);
  };
  if (fused) {
    matrix_f all(gradient.rows(), (heads + 2 * kv_heads) * d);
    all << q_gradient, k_gradient, v_gradient;
    back(inputs[0], all);
  } else {
    back(inputs[0], q_gradient);
    back(inputs[1], k_gradient);
    back(inputs[2], v_gradient);
  }
  norm_backwards(x, w.attention_norm, layer_name(layer, "attn_norm.weight"), input_gradient, taps);
  gradient += input_gradient;
}

} // namespace edgequant::inline EDGEQUANT_ABI
