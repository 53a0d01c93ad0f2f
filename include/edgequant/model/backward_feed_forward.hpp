// SPDX-License-Identifier: MIT
/// The backward pass through a feed-forward network: one for all tokens, or experts.
#pragma once

#include "backward.hpp"
#include "expert_routes.hpp"

namespace edgequant::inline EDGEQUANT_ABI {

template <class T>
matrix_f backward_pass<T>::gated(const matrix_f& gate, const matrix_f& up) const {
  const auto activation = shape_->architecture->activation;
  matrix_f y(gate.rows(), gate.cols());
  model::detail::for_each_row_part(y.rows(), threads_, [&](Eigen::Index first, Eigen::Index rows) {
    for (Eigen::Index i = first * y.cols(); i < (first + rows) * y.cols(); ++i)
      y.data()[i] = model::detail::gate_derivatives(activation, gate.data()[i], up.data()[i]).value;
  });
  return y;
}

template <class T>
matrix_f backward_pass<T>::gate_backwards(const matrix_f& gate, const matrix_f& up,
                                          matrix_f& gradient) const {
  const auto activation = shape_->architecture->activation;
  matrix_f up_gradient(gradient.rows(), gradient.cols());
  model::detail::for_each_row_part(
      gate.rows(), threads_, [&](Eigen::Index first, Eigen::Index rows) {
        for (Eigen::Index i = first * gate.cols(); i < (first + rows) * gate.cols(); ++i) {
          const auto by = model::detail::gate_derivatives(activation, gate.data()[i], up.data()[i]);
          for (Eigen::Index k = i; k < gradient.size(); k += gate.size()) {
            up_gradient.data()[k] = gradient.data()[k] * by.by_up;
            gradient.data()[k] *= by.by_gate;
          }
        }
      });
  return up_gradient;
}

template <class T>
void backward_pass<T>::feed_forward(std::size_t layer, const matrix_f& x, matrix_f& gradient,
                                    const gradient_taps& taps) {
  const auto& w = weights_->layers()[layer];
  const matrix_f n = normalized(x, w.feed_forward_norm);
  matrix_f change_gradient = shape_->residual_scale * gradient;
  matrix_f input_gradient = matrix_f::Zero(gradient.rows(), x.cols());
  const std::string post_norm = layer_name(layer, "post_ffw_norm.weight");
  if (shape_->layers[layer].experts != 0) {
    matrix_f change;
    if (!w.post_feed_forward_norm.empty()) { // the norm behind needs what the experts give
      experts(layer, n, change, change_gradient, nullptr, {});
      norm_backwards(change, w.post_feed_forward_norm, post_norm, change_gradient, taps);
    }
    experts(layer, n, change, change_gradient, &input_gradient, taps);
  } else {
    const auto inner = static_cast<Eigen::Index>(shape_->layers[layer].feed_forward);
    const auto& inputs = w.feed_forward_inputs;
    const bool fused = inputs.size() == 1;
    matrix_f gate = product(n, values(inputs[0]), inputs[0].bias), up;
    if (fused) {
      up = gate.rightCols(inner);
      gate = gate.leftCols(inner).eval();
    } else {
      up = product(n, values(inputs[1]), inputs[1].bias);
    }
    const matrix_f middle = gated(gate, up);
    if (!w.post_feed_forward_norm.empty())
      norm_backwards(product(middle, values(w.down), w.down.bias), w.post_feed_forward_norm,
                     post_norm, change_gradient, taps);
    tap(w.down, middle, change_gradient, taps);
    matrix_f gate_gradient = matrix_f::Zero(gradient.rows(), inner);
    add_product(change_gradient, values(w.down), gate_gradient);
    matrix_f up_gradient = gate_backwards(gate, up, gate_gradient);
    if (fused) {
      matrix_f both(gradient.rows(), 2 * inner);
      both << gate_gradient, up_gradient;
      gate_gradient = std::move(both);
    } else {
      tap(inputs[1], n, up_gradient, taps);
      add_product(up_gradient, values(inputs[1]), input_gradient);
    }
    tap(inputs[0], n, gate_gradient, taps);
    add_product(gate_gradient, values(inputs[0]), input_gradient);
  }
  norm_backwards(x, w.feed_forward_norm,
                 layer_name(layer, shape_->architecture->renamed_norm ? "post_attention_norm.weight"
                                                                      : "ffn_norm.weight"),
                 input_gradient, taps);
  gradient += input_gradient;
}

/// change = what the experts give for n, [tokens][hidden]. Where input_gradient is not null, adds
/// to it what the gradient of that says of n. The choice of experts has no gradient.
template <class T>
void backward_pass<T>::experts(std::size_t layer, const matrix_f& n, matrix_f& change,
                               matrix_f& change_gradient, matrix_f* input_gradient,
                               const gradient_taps& taps) {
  const layer_shape& shape = shape_->layers[layer];
  const auto& w = weights_->layers()[layer];
  const Eigen::Index tokens = n.rows(), samples = change_gradient.rows() / tokens;
  const matrix_f logits = product(n, values(w.router), w.router.bias);
  std::vector<expert_route> routes;
  std::vector<std::size_t> order;
  route_tokens(logits.data(), static_cast<std::size_t>(tokens), shape.experts, shape.experts_used,
               routes, order);
  change = matrix_f::Zero(tokens, n.cols());
  // [samples * tokens][experts]: of the weights of experts, and then of the router's logits.
  matrix_f weight_gradient =
      matrix_f::Zero(change_gradient.rows(), static_cast<Eigen::Index>(shape.experts));
  matrix_f weights = matrix_f::Zero(tokens, weight_gradient.cols());
  for (std::size_t begin = 0, end = 0; begin < routes.size(); begin = end) {
    const std::size_t expert = routes[begin].expert;
    while (end < routes.size() && routes[end].expert == expert) ++end;
    const auto count = static_cast<Eigen::Index>(end - begin);
    const auto column = static_cast<Eigen::Index>(expert);
    std::vector<std::size_t> seen;
    matrix_f x(count, n.cols());
    for (Eigen::Index i = 0; i < count; ++i) {
      const auto& route = routes[begin + static_cast<std::size_t>(i)];
      seen.push_back(route.token);
      x.row(i) = n.row(static_cast<Eigen::Index>(route.token));
      weights(static_cast<Eigen::Index>(route.token), column) = route.weight;
    }
    struct part {
      const biased_weight& w;
      std::size_t rows, first;
      matrix_f values;
      std::span<const float> bias;
    };
    const auto part_of = [&](const biased_weight& matrix, std::size_t height) {
      return part{matrix, height, expert * height, values(matrix, expert * height, height),
                  model::detail::bias_of(matrix, expert, height)};
    };
    const part gate_part = part_of(w.feed_forward_inputs[0], shape.feed_forward);
    const part up_part = part_of(w.feed_forward_inputs[1], shape.feed_forward);
    const part down_part = part_of(w.down, shape_->hidden);
    const matrix_f gate = product(x, gate_part.values, gate_part.bias);
    const matrix_f up = product(x, up_part.values, up_part.bias);
    const matrix_f middle = gated(gate, up);
    const matrix_f out = product(middle, down_part.values, down_part.bias);
    for (Eigen::Index i = 0; i < count; ++i) {
      const auto t = static_cast<Eigen::Index>(seen[static_cast<std::size_t>(i)]);
      change.row(t) += weights(t, column) * out.row(i);
    }
    if (input_gradient == nullptr) continue;
    matrix_f out_gradient(samples * count, n.cols());
    for (Eigen::Index s = 0; s < samples; ++s)
      for (Eigen::Index i = 0; i < count; ++i) {
        const auto t = static_cast<Eigen::Index>(seen[static_cast<std::size_t>(i)]);
        out_gradient.row(s * count + i) = weights(t, column) * change_gradient.row(s * tokens + t);
        weight_gradient(s * tokens + t, column) =
            change_gradient.row(s * tokens + t).dot(out.row(i));
      }
    const auto tell = [&](const part& p, const matrix_f& inputs, const matrix_f& gradients) {
      if (taps.matrix) taps.matrix({p.w.name, p.first, inputs, gradients, seen});
    };
    tell(down_part, middle, out_gradient);
    matrix_f gate_gradient = matrix_f::Zero(out_gradient.rows(), gate.cols());
    add_product(out_gradient, down_part.values, gate_gradient);
    const matrix_f up_gradient = gate_backwards(gate, up, gate_gradient);
    tell(up_part, x, up_gradient);
    tell(gate_part, x, gate_gradient);
    matrix_f x_gradient = matrix_f::Zero(out_gradient.rows(), n.cols());
    add_product(up_gradient, up_part.values, x_gradient);
    add_product(gate_gradient, gate_part.values, x_gradient);
    for (Eigen::Index s = 0; s < samples; ++s)
      for (Eigen::Index i = 0; i < count; ++i)
        input_gradient->row(s * tokens +
                            static_cast<Eigen::Index>(seen[static_cast<std::size_t>(i)])) +=
            x_gradient.row(s * count + i);
  }
  if (input_gradient == nullptr) return;
  // The softmax over a token's experts: dl_e = w_e (dw_e - sum of w dw).
  for (Eigen::Index i = 0; i < weight_gradient.rows(); ++i) {
    const auto own = weights.row(i % tokens);
    const float mean = own.dot(weight_gradient.row(i));
    weight_gradient.row(i) = own.array() * (weight_gradient.row(i).array() - mean);
  }
  tap(w.router, n, weight_gradient, taps);
  add_product(weight_gradient, values(w.router), *input_gradient);
}

} // namespace edgequant::inline EDGEQUANT_ABI
