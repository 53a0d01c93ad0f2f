// SPDX-License-Identifier: MIT
/// Losses on logits, as the backward pass wants them: their gradients, token by token.
#pragma once

#include "../core/matrix.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <span>
#include <vector>

namespace edgequant::inline EDGEQUANT_ABI {

/// A sum over the tokens of sequences of something that depends on each token's logits.
class logit_loss {
public:
  virtual ~logit_loss() = default;
  /// Gradients of several losses at once, which share the forward pass.
  [[nodiscard]] virtual std::size_t samples() const noexcept { return 1; }
  /// `logits`, [tokens][vocabulary], are of tokens first, first + 1, ... of a sequence. Sets
  /// `gradient` to [samples * tokens][rows], and returns these rows of the vocabulary, ascending:
  /// all others are taken for zero.
  [[nodiscard]] virtual std::vector<std::size_t> set_gradients(std::size_t sequence,
                                                               std::size_t first,
                                                               const matrix_f& logits,
                                                               matrix_f& gradient) = 0;
};

namespace model::detail {

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

/// What a softmax gives each row, as p(row) = exp(logit - largest) / sum.
struct token_softmax {
  double largest = 0, sum = 0;

  token_softmax() = default;
  /// `probabilities`, if not null, receives those of all rows.
  explicit token_softmax(Eigen::Ref<const Eigen::RowVectorXf> logits,
                         Eigen::VectorXd* probabilities = nullptr)
      : largest(logits.maxCoeff()) {
    // Cast first: Eigen's exponentials are vectors only where nothing else is.
    Eigen::ArrayXd exponentials = logits.transpose().cast<double>().array() - largest;
    exponentials = exponentials.exp();
    sum = exponentials.sum();
    if (probabilities != nullptr) *probabilities = exponentials / sum;
  }
  [[nodiscard]] double log_sum() const { return largest + std::log(sum); }
  [[nodiscard]] double operator()(float logit) const {
    return std::exp(double{logit} - largest) / sum;
  }
  /// Of some rows.
  [[nodiscard]] Eigen::ArrayXd of(Eigen::Ref<const Eigen::RowVectorXf> logits,
                                  std::span<const std::size_t> rows) const {
    Eigen::ArrayXd x(static_cast<Eigen::Index>(rows.size()));
    for (std::size_t k = 0; k < rows.size(); ++k)
      x[static_cast<Eigen::Index>(k)] =
          double{logits[static_cast<Eigen::Index>(rows[k])]} - largest;
    return x.exp() / sum;
  }
};

/// Appends the rows of a softmax without those that get, together, at most 2^-10 of it: what they
/// would add to the gradient of the hidden vector is that share of a mean over many rows.
template <class = void>
void add_likely_rows(const Eigen::VectorXd& probabilities, std::vector<std::size_t>& rows) {
  constexpr double left_out = 0x1p-10;
  const double bound = unlikely_bound(probabilities, left_out);
  for (Eigen::Index r = 0; r < probabilities.size(); ++r)
    if (probabilities[r] >= bound) rows.push_back(static_cast<std::size_t>(r));
}

/// The rows of all tokens, ascending.
template <class Tokens>
[[nodiscard]] std::vector<std::size_t> rows_of_tokens(std::size_t vocabulary,
                                                      const Tokens& tokens) {
  std::vector<bool> is_told(vocabulary);
  for (const auto& token : tokens)
    for (const std::size_t r : token.rows) is_told[r] = true;
  std::vector<std::size_t> rows;
  for (std::size_t r = 0; r < vocabulary; ++r)
    if (is_told[r]) rows.push_back(r);
  return rows;
}

} // namespace model::detail

} // namespace edgequant::inline EDGEQUANT_ABI
