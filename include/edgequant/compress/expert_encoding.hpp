// SPDX-License-Identifier: MIT
/// The matrices of experts in their formats: each expert by GPTQ on the tokens that it sees.
#pragma once

#include "../model/backward.hpp"
#include "weighed_encoding.hpp"

namespace edgequant::inline EDGEQUANT_ABI::compression::detail {

/// The feed-forward network of one layer, whose matrices lie behind each other in three tensors. An
/// expert that no token of the text comes to is rounded as if all columns counted the same.
class expert_encoder {
public:
  expert_encoder(model_weights& weights, std::size_t layer, const named_formats& formats,
                 const layer_method& method, const loss_weights& by_loss, encoded_tensors& encoded)
      : weights_(weights), shape_(weights.shape().layers[layer]), layer_(weights.layers()[layer]),
        formats_(formats), method_(method), by_loss_(by_loss), encoded_(encoded) {}

  /// Whether some of the three are still to be encoded, into formats with blocks.
  [[nodiscard]] bool is_open() const {
    if (shape_.experts == 0 || !method_.gptq) return false;
    const auto list = all();
    return std::any_of(list.begin(), list.end(),
                       [&](const biased_weight* w) { return is_open(*w); });
  }
  /// The walk stands before the network.
  template <class = void> void encode(layer_walk& walk);
  /// Gives the model's weights the encoded values.
  void install() {
    if (shape_.experts == 0) return;
    for (const auto* w : all())
      if (const auto* t = encoded_.find(w->name))
        weights_.replace(w->name, {t->type, w->view.rows, w->view.columns, t->bytes.data()});
  }

private:
  [[nodiscard]] std::vector<const biased_weight*> all() const {
    return {&layer_.feed_forward_inputs[0], &layer_.feed_forward_inputs[1], &layer_.down};
  }
  [[nodiscard]] bool is_open(const biased_weight& w) const {
    const auto found = formats_.find(w.name);
    return found != formats_.end() && is_block_format(found->second) &&
           encoded_.find(w.name) == nullptr;
  }
  [[nodiscard]] std::size_t rows_of(const biased_weight& w) const {
    return w.view.rows / shape_.experts;
  }
  [[nodiscard]] matrix_f values(const biased_weight& w, std::size_t expert) const {
    const auto part = edgequant::rows_of(w.view, expert * rows_of(w), rows_of(w));
    return decode_matrix(part.type, part.data, part.rows, part.columns, method_.options.threads);
  }
  /// Calls body(expert, tokens, token weights) for experts [first, last) of each chunk, tokens as
  /// [count][hidden].
  template <class Body>
  void for_each_expert(layer_walk& walk, std::size_t first, std::size_t last, Body body) const;
  void encode_expert(const biased_weight& w, std::size_t expert, const Eigen::MatrixXd& gram,
                     std::vector<std::byte>& bytes, double& lost) const;
  /// What the down matrix of an expert reads, with its encoded matrices.
  [[nodiscard]] matrix_f middle(const matrix_f& x, std::size_t expert, const matrix_f& gate,
                                const matrix_f& up) const;

  model_weights& weights_;
  const layer_shape& shape_;
  const layer_weights& layer_;
  const named_formats& formats_;
  const layer_method& method_;
  const loss_weights& by_loss_;
  encoded_tensors& encoded_;
};

template <class Body>
void expert_encoder::for_each_expert(layer_walk& walk, std::size_t first, std::size_t last,
                                     Body body) const {
  const std::span<const float> token_weights = by_loss_.of(layer_.down.name);
  const matrix_f router = decode_matrix(layer_.router.view.type, layer_.router.view.data,
                                        shape_.experts, layer_.router.view.columns);
  std::vector<expert_route> routes;
  std::vector<std::size_t> order;
  std::size_t token = 0; // of the text
  for (std::size_t chunk = 0; chunk < walk.chunks(); ++chunk) {
    const auto inputs = walk.inputs(chunk, sublayer_end::in);
    const auto hidden = static_cast<Eigen::Index>(walk.hidden());
    const Eigen::Map<const matrix_f> n(inputs.data(),
                                       static_cast<Eigen::Index>(inputs.size()) / hidden, hidden);
    matrix_f logits = n * router.transpose();
    if (const auto& bias = layer_.router.bias; !bias.empty())
      logits.rowwise() += Eigen::Map<const Eigen::RowVectorXf>(bias.data(), logits.cols());
    route_tokens(logits.data(), static_cast<std::size_t>(n.rows()), shape_.experts,
                 shape_.experts_used, routes, order);
    for (std::size_t begin = 0, end = 0; begin < routes.size(); begin = end) {
      const std::size_t expert = routes[begin].expert;
      while (end < routes.size() && routes[end].expert == expert) ++end;
      if (expert < first || expert >= last) continue;
      matrix_f x(static_cast<Eigen::Index>(end - begin), hidden);
      Eigen::VectorXf weights = Eigen::VectorXf::Ones(x.rows());
      for (std::size_t i = begin; i < end; ++i) {
        const auto row = static_cast<Eigen::Index>(i - begin);
        x.row(row) = n.row(static_cast<Eigen::Index>(routes[i].token));
        if (!token_weights.empty()) weights[row] = token_weights[token + routes[i].token];
        weights[row] *= routes[i].weight * routes[i].weight; // as its error counts
      }
      body(expert, x, weights);
    }
    token += static_cast<std::size_t>(n.rows());
  }
}

inline matrix_f expert_encoder::middle(const matrix_f& x, std::size_t expert, const matrix_f& gate,
                                       const matrix_f& up) const {
  matrix_f y = x * gate.transpose(), u = x * up.transpose();
  const auto add_bias = [&](const biased_weight& w, matrix_f& outputs) {
    const auto bias = model::detail::bias_of(w, expert, rows_of(w));
    if (!bias.empty())
      outputs.rowwise() += Eigen::Map<const Eigen::RowVectorXf>(bias.data(), outputs.cols());
  };
  add_bias(layer_.feed_forward_inputs[0], y);
  add_bias(layer_.feed_forward_inputs[1], u);
  const auto activation = weights_.shape().architecture->activation;
  for (Eigen::Index i = 0; i < y.size(); ++i)
    y.data()[i] = model::detail::gate_derivatives(activation, y.data()[i], u.data()[i]).value;
  return y;
}

inline void expert_encoder::encode_expert(const biased_weight& w, std::size_t expert,
                                          const Eigen::MatrixXd& gram,
                                          std::vector<std::byte>& bytes, double& lost) const {
  const auto columns = static_cast<Eigen::Index>(w.view.columns);
  const Eigen::MatrixXd sums =
      gram.size() != 0 ? gram : Eigen::MatrixXd(Eigen::MatrixXd::Zero(columns, columns));
  const gptq_columns by_column(sums, method_.options.damping);
  const auto t =
      encode_weighed(formats_.at(w.name), values(w, expert), sums, &by_column, method_, w.name);
  bytes.resize(t.bytes.size() * shape_.experts);
  std::copy(t.bytes.begin(), t.bytes.end(),
            bytes.begin() + static_cast<std::ptrdiff_t>(expert * t.bytes.size()));
  lost += t.output_error.value_or(0) / static_cast<double>(shape_.experts);
}

template <class> void expert_encoder::encode(layer_walk& walk) {
  const auto list = all();
  std::vector<std::byte> bytes[3];
  double lost[3] = {};
  // As many experts at once as a GiB of Gram matrices allows; each group reads the text again.
  const std::size_t columns = std::max(list[0]->view.columns, list[2]->view.columns);
  const std::size_t together =
      std::max<std::size_t>(1, (std::size_t{1} << 27) / (columns * columns));
  // As the network will have them: encoded now, by an earlier run, or as they are.
  const auto final_values = [&](std::size_t i, std::size_t expert) {
    const auto* before = encoded_.find(list[i]->name);
    if (before == nullptr && !is_open(*list[i])) return values(*list[i], expert);
    const auto& of_all = before != nullptr ? before->bytes : bytes[i];
    const format type = before != nullptr ? before->type : formats_.at(list[i]->name);
    return decode_matrix(type, of_all.data() + expert * (of_all.size() / shape_.experts),
                         rows_of(*list[i]), list[i]->view.columns, method_.options.threads);
  };
  for (std::size_t first = 0; first < shape_.experts; first += together) {
    const std::size_t last = std::min(shape_.experts, first + together);
    std::vector<Eigen::MatrixXd> grams(last - first);
    const auto add = [&](std::size_t expert, const matrix_f& x, const Eigen::VectorXf& weights) {
      add_to_gram(grams[expert - first],
                  x.transpose().cast<double>() * weights.cast<double>().cwiseSqrt().asDiagonal());
    };
    const auto encode_open = [&](std::size_t i) {
      for (std::size_t e = first; is_open(*list[i]) && e < last; ++e)
        encode_expert(*list[i], e, grams[e - first], bytes[i], lost[i]);
    };
    if (is_open(*list[0]) || is_open(*list[1])) for_each_expert(walk, first, last, add);
    encode_open(0), encode_open(1);
    if (!is_open(*list[2])) continue;
    grams.assign(last - first, {});
    for_each_expert(walk, first, last, [&](std::size_t expert, const matrix_f& x, const auto& w) {
      add(expert, middle(x, expert, final_values(0, expert), final_values(1, expert)), w);
    });
    encode_open(2);
  }
  for (std::size_t i = 0; i < 3; ++i)
    if (is_open(*list[i]))
      encoded_.put(list[i]->name, {formats_.at(list[i]->name), std::move(bytes[i]), lost[i]});
}

} // namespace edgequant::inline EDGEQUANT_ABI::compression::detail
