// SPDX-License-Identifier: MIT
/// The feed-forward network of a transformer: one for all tokens, or experts that see some each.
#pragma once

#include "transformer.hpp"

#include <algorithm>

namespace edgequant::inline EDGEQUANT_ABI {

inline void transformer::feed_forward(std::size_t layer, std::size_t count) {
  const auto& w = weights_->layers()[layer];
  if (w.feed_forward_inputs.empty()) return;
  normalize(x_.data(), count, w.feed_forward_norm);
  if (shape_.layers[layer].experts != 0) {
    run_experts(layer, count);
  } else {
    activate(layer, count);
    write_change(w.down, gate_);
  }
  add_change(count, w.post_feed_forward_norm);
}

/// gate_ = activation(gate) * up, for what is in normal_.
inline void transformer::activate(std::size_t layer, std::size_t count) {
  const std::size_t inner = shape_.layers[layer].feed_forward;
  input(normal_, count, shape_.hidden);
  products(weights_->layers()[layer].feed_forward_inputs, {{&gate_, inner}, {&up_, inner}});
  gate_tokens(count, inner);
}

/// gate_ = activation(gate_) * up_, `inner` floats a token.
inline void transformer::gate_tokens(std::size_t count, std::size_t inner) {
  const auto activation = shape_.architecture->activation;
  parallel_for(count, threads_, [&](std::size_t t) {
    float* gate = gate_.data() + t * inner;
    const float* up = up_.data() + t * inner;
    if (activation == gate_activation::gelu)
      kernel::multiply_gelu(gate, up, inner);
    else if (activation == gate_activation::clamped_silu)
      kernel::multiply_clamped_silu(gate, up, inner);
    else
      kernel::multiply_silu(gate, up, inner);
  });
}

namespace model::detail {
/// Rows of a matrix, under its name.
[[nodiscard]] inline named_weight rows_of(const named_weight& w, std::size_t first,
                                          std::size_t count) {
  return {w.name, rows_of(w.view, first, count)};
}
/// The bias of one of the matrices that lie behind each other, of `rows` rows each.
[[nodiscard]] inline std::span<const float> bias_of(const biased_weight& w, std::size_t index,
                                                    std::size_t rows) noexcept {
  return w.bias.empty() ? std::span<const float>{} : std::span(w.bias).subspan(index * rows, rows);
}
} // namespace model::detail

/// routes_ = the experts of each token of normal_, with their weights, by expert.
inline void transformer::route(std::size_t layer, std::size_t count) {
  const layer_shape& shape = shape_.layers[layer];
  const auto& router = weights_->layers()[layer].router;
  input(normal_, count, shape_.hidden);
  const output out{&router, &up_, router.bias};
  products({&out, 1});
  route_tokens(up_.data(), count, shape.experts, shape.experts_used, routes_, expert_order_);
}

/// change_ = the experts' outputs for what is in normal_, expert by expert.
inline void transformer::run_experts(std::size_t layer, std::size_t count) {
  const layer_shape& shape = shape_.layers[layer];
  const auto& w = weights_->layers()[layer];
  const std::size_t hidden = shape_.hidden, inner = shape.feed_forward;
  route(layer, count);
  mixed_.assign(count * hidden, 0.0f);
  for (std::size_t begin = 0, end = 0; begin < routes_.size(); begin = end) {
    const std::size_t expert = routes_[begin].expert;
    while (end < routes_.size() && routes_[end].expert == expert) ++end;
    resize_exactly(fused_, (end - begin) * hidden);
    for (std::size_t i = begin; i < end; ++i)
      std::copy_n(normal_.data() + routes_[i].token * hidden, hidden,
                  fused_.data() + (i - begin) * hidden);
    input(fused_, end - begin, hidden);
    const named_weight gate =
        model::detail::rows_of(w.feed_forward_inputs[0], expert * inner, inner);
    const named_weight up = model::detail::rows_of(w.feed_forward_inputs[1], expert * inner, inner);
    const output inputs[2] = {
        {&gate, &gate_, model::detail::bias_of(w.feed_forward_inputs[0], expert, inner)},
        {&up, &up_, model::detail::bias_of(w.feed_forward_inputs[1], expert, inner)}};
    products(inputs);
    gate_tokens(end - begin, inner);
    input(gate_, end - begin, inner);
    const named_weight down = model::detail::rows_of(w.down, expert * hidden, hidden);
    const output out{&down, &change_, model::detail::bias_of(w.down, expert, hidden)};
    products({&out, 1});
    for (std::size_t i = begin; i < end; ++i)
      kernel::add_scaled(routes_[i].weight, change_.data() + (i - begin) * hidden,
                         mixed_.data() + routes_[i].token * hidden, hidden);
  }
  change_.swap(mixed_);
}

} // namespace edgequant::inline EDGEQUANT_ABI
