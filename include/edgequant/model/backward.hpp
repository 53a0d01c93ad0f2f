// SPDX-License-Identifier: MIT
/// The backward pass: gradients of a loss on the logits, sublayer by sublayer. What the forward
/// pass computed is computed once more, so that memory is one sublayer of one text.
#pragma once

#include "../core/matrix.hpp"
#include "../gemm/product.hpp"
#include "../quantizer/matrix_codec.hpp"
#include "gradient_formulas.hpp"
#include "rope.hpp"
#include "transformer.hpp"

#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace edgequant::inline EDGEQUANT_ABI {

/// What a matrix read, and the gradient of what it gave: that of the matrix is the sum of
/// gradient * input^T over tokens.
struct matrix_gradient {
  std::string_view name;
  std::size_t first_row = 0; ///< of the tensor: where an expert's own matrix begins
  const matrix_f& inputs;    ///< [tokens][columns]
  const matrix_f& gradients; ///< [samples * tokens][rows]: all tokens of a sample, then the next's
  /// Of the text; empty: tokens 0, 1, ... of what is run. Experts see some of them.
  std::span<const std::size_t> tokens = {};
  /// Of the tensor, ascending: those whose gradients are told, all others' are zero. Empty:
  /// first_row and those behind it.
  std::span<const std::size_t> rows = {};

  /// The row of the tensor that column `i` of the gradients belongs to.
  [[nodiscard]] std::size_t row(std::size_t i) const noexcept {
    return rows.empty() ? first_row + i : rows[i];
  }
};

/// Rows of the embedding that were looked up, and the gradients of what they gave.
struct lookup_gradient {
  std::string_view name;
  std::span<const std::int32_t> tokens;
  const matrix_f& gradients; ///< [samples * tokens][hidden], of the rows as they are stored
};

/// Who wants to know. Each may be empty.
struct gradient_taps {
  std::function<void(const matrix_gradient&)> matrix = {};
  std::function<void(const lookup_gradient&)> lookup = {};
  /// The gradient of a norm or a bias, by its whole name, summed over tokens and samples.
  std::function<void(const std::string& name, std::span<const double> gradient)> vector = {};
};

/// Gradients of several samples of a loss at once, which share the forward pass: matrices of
/// [samples * tokens][n]. All products are in float, on the weights' values. The weights must
/// outlive it. Memory: the values of the sublayer's matrices, or of one expert's, in float, and
/// heads x tokens^2 floats.
template <class = void> class backward_pass {
public:
  explicit backward_pass(const model_weights& weights, unsigned threads = 0)
      : weights_(&weights), shape_(&weights.shape()), threads_(threads) {}

  /// Vectors x, [tokens][hidden], of tokens 0, 1, ... of a text went through a sublayer;
  /// `gradient`, of what came out, becomes that of x.
  void run_sublayer(std::size_t layer, sublayer part, const matrix_f& x, matrix_f& gradient,
                    const gradient_taps& taps);
  /// The logits of vectors that came out of the last layer, [tokens][vocabulary].
  [[nodiscard]] matrix_f logits(const matrix_f& x);
  /// Returns the gradient of such vectors for that of the logits of `rows`, ascending, where those
  /// of all others are zero; it is used up. `logits` are those of logits(x).
  [[nodiscard]] matrix_f run_output(const matrix_f& x, const matrix_f& logits,
                                    std::span<const std::size_t> rows, matrix_f& logit_gradient,
                                    const gradient_taps& taps);

  /// Of what came out of the embedding.
  void run_embedding(std::span<const std::int32_t> tokens, matrix_f& gradient,
                     const gradient_taps& taps) const {
    gradient *= shape_->embedding_scale;
    if (taps.lookup) taps.lookup({weights_->embedding().name, tokens, gradient});
  }

private:
  struct attention_state; ///< what attention computed, for each head

  void attention(std::size_t layer, const matrix_f& x, matrix_f& gradient,
                 const gradient_taps& taps);
  void feed_forward(std::size_t layer, const matrix_f& x, matrix_f& gradient,
                    const gradient_taps& taps);
  /// gradient, of activation(gate) * up, becomes that of gate; up's is returned.
  [[nodiscard]] matrix_f gate_backwards(const matrix_f& gate, const matrix_f& up,
                                        matrix_f& gradient) const;
  [[nodiscard]] matrix_f gated(const matrix_f& gate, const matrix_f& up) const;
  void experts(std::size_t layer, const matrix_f& n, matrix_f& change, matrix_f& change_gradient,
               matrix_f* input_gradient, const gradient_taps& taps);

  // Norms: an empty one copies, and gives its gradient on.
  [[nodiscard]] matrix_f normalized(const matrix_f& x, const std::vector<float>& weight) const;
  void norm_backwards(const matrix_f& x, const std::vector<float>& weight, const std::string& name,
                      matrix_f& gradient, const gradient_taps& taps) const;

  /// The values of `rows` rows of a matrix; those of whole matrices are kept for the next text.
  const matrix_f& values(const named_weight& w);
  [[nodiscard]] matrix_f values(const named_weight& w, std::size_t first, std::size_t rows) const;
  /// y = x w^T + bias.
  [[nodiscard]] matrix_f product(const matrix_f& x, const matrix_f& w,
                                 std::span<const float> bias) const;
  /// gradient += y_gradient w.
  void add_product(const matrix_f& y_gradient, const matrix_f& w, matrix_f& gradient) const;
  void tap(const biased_weight& w, const matrix_f& inputs, const matrix_f& gradients,
           const gradient_taps& taps) const;
  [[nodiscard]] std::string layer_name(std::size_t layer, const char* ending) const {
    return "blk." + std::to_string(layer) + "." + ending;
  }

  const model_weights* weights_;
  const model_shape* shape_;
  unsigned threads_;
  std::map<std::string, matrix_f, std::less<>> values_;
  std::optional<std::pair<std::size_t, sublayer>> values_of_; ///< the sublayer whose they are
};

namespace model::detail {
/// Rows that are handled together: sums do not depend on the number of threads.
inline constexpr Eigen::Index backward_rows = 128;

/// Calls body(first, count) for parts of `rows` rows.
template <class Body> void for_each_row_part(Eigen::Index rows, unsigned threads, Body body) {
  const auto parts = static_cast<std::size_t>((rows + backward_rows - 1) / backward_rows);
  parallel_for(parts, threads, [&](std::size_t p) {
    const serial_products one;
    const Eigen::Index first = static_cast<Eigen::Index>(p) * backward_rows;
    body(first, std::min(backward_rows, rows - first));
  });
}
} // namespace model::detail

template <class T>
void backward_pass<T>::run_sublayer(std::size_t layer, sublayer part, const matrix_f& x,
                                    matrix_f& gradient, const gradient_taps& taps) {
  const std::pair which(layer, part);
  if (values_of_ != which) values_.clear();
  values_of_ = which;
  const auto& w = weights_->layers()[layer];
  const bool is_attention = part == sublayer::attention;
  if ((is_attention ? w.attention_inputs : w.feed_forward_inputs).empty()) return;
  is_attention ? attention(layer, x, gradient, taps) : feed_forward(layer, x, gradient, taps);
}

template <class T> const matrix_f& backward_pass<T>::values(const named_weight& w) {
  auto found = values_.find(w.name);
  if (found == values_.end()) found = values_.emplace(w.name, values(w, 0, w.view.rows)).first;
  return found->second;
}

template <class T>
matrix_f backward_pass<T>::values(const named_weight& w, std::size_t first,
                                  std::size_t rows) const {
  const weight_view view = rows_of(w.view, first, rows);
  return decode_matrix(view.type, view.data, rows, view.columns, threads_);
}

template <class T>
matrix_f backward_pass<T>::product(const matrix_f& x, const matrix_f& w,
                                   std::span<const float> bias) const {
  matrix_f y(x.rows(), w.rows());
  activations inputs;
  inputs.assign(x.data(), static_cast<std::size_t>(x.rows()), static_cast<std::size_t>(x.cols()));
  multiply(weight_view{format::f32, static_cast<std::size_t>(w.rows()),
                       static_cast<std::size_t>(w.cols()),
                       reinterpret_cast<const std::byte*>(w.data())},
           inputs, y.data(), threads_);
  if (!bias.empty()) y.rowwise() += Eigen::Map<const Eigen::RowVectorXf>(bias.data(), y.cols());
  return y;
}

template <class T>
void backward_pass<T>::add_product(const matrix_f& y_gradient, const matrix_f& w,
                                   matrix_f& gradient) const {
  matrix_f transposed(w.cols(), w.rows());
  model::detail::for_each_row_part(w.cols(), threads_, [&](Eigen::Index first, Eigen::Index rows) {
    transposed.middleRows(first, rows) = w.middleCols(first, rows).transpose();
  });
  gradient += product(y_gradient, transposed, {});
}

template <class T>
void backward_pass<T>::tap(const biased_weight& w, const matrix_f& inputs,
                           const matrix_f& gradients, const gradient_taps& taps) const {
  if (taps.matrix) taps.matrix({w.name, 0, inputs, gradients});
  if (!taps.vector || w.bias.empty()) return;
  const Eigen::VectorXd sum = gradients.cast<double>().colwise().sum();
  taps.vector(w.bias_name(), {sum.data(), static_cast<std::size_t>(sum.size())});
}

template <class T>
matrix_f backward_pass<T>::normalized(const matrix_f& x, const std::vector<float>& weight) const {
  if (weight.empty()) return x;
  matrix_f y(x.rows(), x.cols());
  const Eigen::Map<const Eigen::RowVectorXf> w(weight.data(), x.cols());
  parallel_for(static_cast<std::size_t>(x.rows()), threads_, [&](std::size_t i) {
    const auto t = static_cast<Eigen::Index>(i);
    const float mean = x.row(t).squaredNorm() / static_cast<float>(x.cols());
    y.row(t) = x.row(t).cwiseProduct(w) / std::sqrt(mean + shape_->rms_epsilon);
  });
  return y;
}

template <class T>
void backward_pass<T>::norm_backwards(const matrix_f& x, const std::vector<float>& weight,
                                      const std::string& name, matrix_f& gradient,
                                      const gradient_taps& taps) const {
  if (weight.empty()) return;
  const auto n = static_cast<std::size_t>(x.cols());
  std::vector<double> sum(taps.vector ? n : 0);
  // A sum over tokens has one order: who wants it waits for one thread.
  parallel_for(static_cast<std::size_t>(gradient.rows()), taps.vector ? 1 : threads_,
               [&](std::size_t row) {
                 const auto i = static_cast<Eigen::Index>(row);
                 model::detail::normalize_backwards(x.row(i % x.rows()).data(), n, weight.data(),
                                                    shape_->rms_epsilon, gradient.row(i).data(),
                                                    taps.vector ? sum.data() : nullptr);
               });
  if (taps.vector) taps.vector(name, sum);
}

/// Rows of the output matrix that are decoded together: all of them would take more memory than the
/// rest.
inline constexpr std::size_t backward_output_rows = 8192;

template <class T> matrix_f backward_pass<T>::logits(const matrix_f& x) {
  const matrix_f n = normalized(x, weights_->output_norm());
  const named_weight& w = weights_->output();
  matrix_f all(x.rows(), static_cast<Eigen::Index>(w.view.rows));
  for (std::size_t first = 0; first < w.view.rows; first += backward_output_rows) {
    const std::size_t rows = std::min(backward_output_rows, w.view.rows - first);
    all.middleCols(static_cast<Eigen::Index>(first), static_cast<Eigen::Index>(rows)) =
        product(n, values(w, first, rows), {});
  }
  if (shape_->logit_divisor != 1) all /= shape_->logit_divisor;
  if (const float cap = shape_->logit_softcap; cap != 0) all = cap * (all.array() / cap).tanh();
  return all;
}

template <class T>
matrix_f backward_pass<T>::run_output(const matrix_f& x, const matrix_f& logits,
                                      std::span<const std::size_t> rows, matrix_f& logit_gradient,
                                      const gradient_taps& taps) {
  if (const float cap = shape_->logit_softcap; cap != 0)
    for (Eigen::Index i = 0; i < logit_gradient.rows(); ++i)
      for (Eigen::Index k = 0; k < logit_gradient.cols(); ++k) {
        const auto row = static_cast<Eigen::Index>(rows[static_cast<std::size_t>(k)]);
        const float share = logits(i % logits.rows(), row) / cap;
        logit_gradient(i, k) *= 1 - share * share;
      }
  if (shape_->logit_divisor != 1) logit_gradient /= shape_->logit_divisor;
  const matrix_f n = normalized(x, weights_->output_norm());
  const named_weight& w = weights_->output();
  if (taps.matrix) taps.matrix({w.name, 0, n, logit_gradient, {}, rows});
  matrix_f gradient = matrix_f::Zero(logit_gradient.rows(), x.cols());
  for (std::size_t first = 0; first < rows.size(); first += backward_output_rows) {
    const auto part = rows.subspan(first, std::min(backward_output_rows, rows.size() - first));
    const auto begin = static_cast<Eigen::Index>(first);
    const auto count = static_cast<Eigen::Index>(part.size());
    matrix_f own(count, x.cols());
    parallel_for(part.size(), threads_, [&](std::size_t i) {
      const auto view = rows_of(w.view, part[i], 1);
      decode_row(view.type, view.data,
                 {own.row(static_cast<Eigen::Index>(i)).data(), view.columns});
    });
    add_product(logit_gradient.middleCols(begin, count), own, gradient);
  }
  norm_backwards(x, weights_->output_norm(), "output_norm.weight", gradient, taps);
  return gradient;
}

} // namespace edgequant::inline EDGEQUANT_ABI

// The bodies of the two halves of a layer.
#include "backward_attention.hpp"
#include "backward_feed_forward.hpp"
