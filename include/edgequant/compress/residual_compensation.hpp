// SPDX-License-Identifier: MIT
/// How far an encoded model has diverged from the original before a matrix, and the weights that
/// lead back to the original's outputs. Source: after the asymmetric targets of Li et al. 2025
/// (GPTAQ); the residual stream and the measured strength are our additions.
#pragma once

#include "../core/matrix.hpp"
#include "../model/layer_walk.hpp"
#include "../model/sublayer_matrices.hpp"

#include <Eigen/Cholesky>

#include <array>
#include <optional>

namespace edgequant::inline EDGEQUANT_ABI {

/// Sums over tokens: x are the inputs of a matrix in the encoded model, y those in the original.
/// [columns][columns], the residual [hidden][columns].
struct compensation_sums {
  Eigen::MatrixXd gram;     ///< x x^T, both triangles
  Eigen::MatrixXd cross;    ///< y x^T
  Eigen::MatrixXd residual; ///< (what the original's output is added to - what ours is) x^T; empty
                            ///< where nothing is added
};

/// The sums of every other chunk, so that what one half says can be tried on the other.
using compensation = std::array<compensation_sums, 2>;

/// The Gram matrix of all tokens.
[[nodiscard]] inline Eigen::MatrixXd gram_of(const compensation& sums) {
  return sums[1].gram.size() == 0 ? sums[0].gram : Eigen::MatrixXd(sums[0].gram + sums[1].gram);
}

/// Where the writer's output y passes a norm before it is added, the residual r = (what the
/// original's output is added to - what ours is) can only be made up for by its direction. With
/// weights g and n = y / rms(y), a change d of y changes g n by g d / rms(y), less what it has
/// along n. So tokens count by 1 / rms(y)^2, and the residual is the part of r / g that is at right
/// angles to n, times rms(y).
///
/// `token_weights`: for each result a number a token of the text, how much it counts; an empty span
/// counts all the same. Requires that both walks are at the input of the same sublayer, or behind
/// the last layer, where the output matrix reads. The sums do not depend on the number of threads.
/// Memory, for each result: four columns x columns matrices of doubles, and two of hidden x
/// columns.
template <class = void>
[[nodiscard]] std::vector<compensation>
measure_compensation(layer_walk& encoded, layer_walk& original, sublayer_end end,
                     std::span<const std::span<const float>> token_weights, unsigned threads = 0);

/// A least-squares problem for a matrix of weights, over some tokens: what it reads, x, and what
/// its outputs should change by, r.
struct normal_equations {
  const Eigen::MatrixXd* gram = nullptr; ///< sum of x x^T, both triangles
  Eigen::MatrixXd rhs;                   ///< sum of r x^T, [rows][columns]
};

/// Returns current + a D, where D solves both halves of the tokens together, and a, 0 to 1, is
/// fitted by trying what one half says on the other. `current` itself where that does not help or a
/// factorisation fails. `damping`: share of the mean diagonal that is added to the Gram matrix.
template <class = void>
[[nodiscard]] matrix_f solved_step(const matrix_f& current,
                                   const std::array<normal_equations, 2>& halves,
                                   double damping = 0.01, unsigned threads = 0);

/// solved_step() towards the outputs of the original. `current`: weights as they would be encoded;
/// `target`: those of the original, rows in the same units.
template <class = void>
[[nodiscard]] matrix_f compensated(const matrix_f& current, const matrix_f& target,
                                   const compensation& d, double damping = 0.01,
                                   unsigned threads = 0);

namespace compression::detail {

/// Columns of a sum that are added together.
inline constexpr Eigen::Index compensation_columns = 64;

template <class = void>
[[nodiscard]] Eigen::MatrixXf columns_of(std::span<const float> x, Eigen::Index length) {
  return Eigen::Map<const Eigen::MatrixXf>(x.data(), length,
                                           static_cast<Eigen::Index>(x.size()) / length);
}

/// For a writer whose outputs are normalised: `residual`, a column a token, becomes what its
/// outputs would have to change by, over their root mean square; returns one over that.
template <class = void>
[[nodiscard]] Eigen::VectorXd turn_into_directions(Eigen::MatrixXd& residual,
                                                   const Eigen::MatrixXd& outputs,
                                                   const std::vector<float>& norm) {
  const Eigen::VectorXd g =
      Eigen::Map<const Eigen::VectorXf>(norm.data(), static_cast<Eigen::Index>(norm.size()))
          .template cast<double>();
  // 1 / g, but nothing where a weight is next to nothing: no change shows there.
  const double floor = 1e-4 * g.squaredNorm() / static_cast<double>(g.size());
  const Eigen::VectorXd inverse = g.array() / (g.array().square() + floor);
  Eigen::VectorXd weights(residual.cols());
  for (Eigen::Index t = 0; t < residual.cols(); ++t) {
    const double square = outputs.col(t).squaredNorm();
    const double rms = std::sqrt(square / static_cast<double>(outputs.rows()));
    weights[t] = rms > 0 ? 1 / rms : 0;
    Eigen::VectorXd change = residual.col(t).cwiseProduct(inverse);
    if (square > 0) change -= outputs.col(t) * (outputs.col(t).dot(change) / square);
    residual.col(t) = change;
  }
  return weights;
}

/// Solves D (gram + damping) = rhs for rows D; false where the factorisation fails.
template <class = void> class damped_gram {
public:
  damped_gram(Eigen::MatrixXd gram, double damping) : gram_(std::move(gram)) {
    gram_.diagonal().array() += damping * gram_.diagonal().mean();
    const serial_products one;
    factor_.emplace(gram_);
  }
  explicit operator bool() const { return factor_->info() == Eigen::Success; }
  [[nodiscard]] Eigen::MatrixXd solve(const Eigen::MatrixXd& rhs) const {
    return factor_->solve(rhs.transpose()).transpose();
  }

private:
  Eigen::MatrixXd gram_;
  std::optional<Eigen::LLT<Eigen::Ref<Eigen::MatrixXd>>> factor_;
};

/// What the outputs of some rows are off by, times the inputs.
template <class = void>
[[nodiscard]] Eigen::MatrixXd output_residual(const Eigen::MatrixXd& now,
                                              const Eigen::MatrixXd& wanted,
                                              const compensation_sums& s, Eigen::Index first) {
  Eigen::MatrixXd sum = wanted * s.cross - now * s.gram;
  if (s.residual.rows() != 0) sum += s.residual.middleRows(first, now.rows());
  return sum;
}

} // namespace compression::detail

namespace compression::detail {

/// sum += left right^T, where the product of some tokens is in float: 512 of them leave a relative
/// error of 2^-24 times a few tens. Of a symmetric sum the lower triangle alone, in parts of
/// columns.
template <class = void>
void add_products(Eigen::MatrixXd& sum, const Eigen::MatrixXf& left, const Eigen::MatrixXf& right,
                  bool is_symmetric, unsigned threads) {
  const Eigen::Index length = right.rows(), tokens = right.cols();
  if (sum.size() == 0) sum = Eigen::MatrixXd::Zero(left.rows(), length);
  constexpr Eigen::Index together = 512;
  const auto parts =
      static_cast<std::size_t>((length + compensation_columns - 1) / compensation_columns);
  parallel_for(parts, threads, [&](std::size_t p) {
    const serial_products one;
    const Eigen::Index first = static_cast<Eigen::Index>(p) * compensation_columns;
    const Eigen::Index some = std::min(compensation_columns, length - first);
    const Eigen::Index top = is_symmetric ? first : 0;
    for (Eigen::Index t = 0; t < tokens; t += together) {
      const Eigen::Index count = std::min(together, tokens - t);
      const Eigen::MatrixXf product = left.block(top, t, left.rows() - top, count) *
                                      right.block(first, t, some, count).transpose();
      sum.block(top, first, product.rows(), some) += product.cast<double>();
    }
  });
}

} // namespace compression::detail

template <class>
std::vector<compensation>
measure_compensation(layer_walk& encoded, layer_walk& original, sublayer_end end,
                     std::span<const std::span<const float>> token_weights, unsigned threads) {
  namespace detail = compression::detail;
  std::vector<compensation> results(token_weights.size());
  const bool is_output = encoded.is_behind();
  const std::vector<float> no_norm;
  const std::vector<float>& post_norm =
      is_output
          ? no_norm
          : *sublayer_matrices(original.weights(), original.layer(), original.part()).post_norm;
  Eigen::Index begin = 0; // tokens of earlier chunks
  for (std::size_t chunk = 0; chunk < encoded.chunks(); ++chunk) {
    const auto tokens = encoded.inputs(chunk, end);
    const auto& before = encoded.vectors(chunk);
    const auto hidden = static_cast<Eigen::Index>(encoded.hidden());
    const auto count = static_cast<Eigen::Index>(before.size()) / hidden;
    const Eigen::Index length = static_cast<Eigen::Index>(tokens.size()) / count;
    Eigen::MatrixXf x = detail::columns_of(tokens, length);
    Eigen::MatrixXf y = detail::columns_of(original.inputs(chunk, end), length);
    Eigen::MatrixXf apart(0, count);
    if (end == sublayer_end::out)
      apart = (detail::columns_of(original.vectors(chunk), hidden) -
               detail::columns_of(before, hidden)) /
              original.weights().shape().residual_scale;
    if (apart.rows() != 0 && !post_norm.empty()) {
      Eigen::MatrixXd residual = apart.cast<double>();
      const Eigen::VectorXf weights =
          detail::turn_into_directions(
              residual, detail::columns_of(original.outputs(chunk), hidden).cast<double>(),
              post_norm)
              .cast<float>();
      apart = residual.cast<float>();
      x *= weights.asDiagonal();
      y *= weights.asDiagonal();
    }
    for (std::size_t i = 0; i < results.size(); ++i) {
      compensation_sums& s = results[i][chunk % 2];
      const auto& w = token_weights[i];
      Eigen::MatrixXf right = x; // each token as often as it counts
      if (!w.empty())
        right *= Eigen::Map<const Eigen::VectorXf>(w.data() + begin, count).asDiagonal();
      detail::add_products(s.gram, x, right, true, threads);
      detail::add_products(s.cross, y, right, false, threads);
      if (apart.rows() != 0) detail::add_products(s.residual, apart, right, false, threads);
    }
    begin += count;
  }
  for (auto& result : results)
    for (auto& s : result)
      s.gram.template triangularView<Eigen::StrictlyUpper>() = s.gram.transpose();
  return results;
}

template <class>
matrix_f solved_step(const matrix_f& current, const std::array<normal_equations, 2>& halves,
                     double damping, unsigned threads) {
  constexpr Eigen::Index height = 64;
  struct part_sums {
    double slope = 0, curvature = 0;
  };
  std::vector<part_sums> parts(static_cast<std::size_t>((current.rows() + height - 1) / height));
  const auto for_each_part = [&](auto body) {
    parallel_for(parts.size(), threads, [&](std::size_t i) {
      const serial_products one;
      const Eigen::Index first = static_cast<Eigen::Index>(i) * height;
      body(parts[i], first, std::min(height, current.rows() - first));
    });
  };
  // The squared difference on the other half is a parabola in the strength.
  for (std::size_t h = 0; h < 2; ++h) {
    const compression::detail::damped_gram here(*halves[h].gram, damping);
    if (!here) return current;
    for_each_part([&](part_sums& p, Eigen::Index first, Eigen::Index rows) {
      const Eigen::MatrixXd step = here.solve(halves[h].rhs.middleRows(first, rows));
      p.slope += step.cwiseProduct(halves[1 - h].rhs.middleRows(first, rows)).sum();
      p.curvature += (step * *halves[1 - h].gram).cwiseProduct(step).sum();
    });
  }
  double slope = 0, curvature = 0;
  for (const auto& p : parts) slope += p.slope, curvature += p.curvature;
  const compression::detail::damped_gram both(*halves[0].gram + *halves[1].gram, damping);
  if (!both || !(slope > 0) || !(curvature > 0)) return current;
  const double strength = std::min(1.0, slope / curvature);
  matrix_f result = current;
  for_each_part([&](part_sums&, Eigen::Index first, Eigen::Index rows) {
    result.middleRows(first, rows) += (strength * both.solve(halves[0].rhs.middleRows(first, rows) +
                                                             halves[1].rhs.middleRows(first, rows)))
                                          .template cast<float>();
  });
  return result.allFinite() ? result : current;
}

template <class>
matrix_f compensated(const matrix_f& current, const matrix_f& target, const compensation& d,
                     double damping, unsigned threads) {
  if (d[1].gram.size() == 0) return current; // one chunk: nothing to try it on
  std::array<normal_equations, 2> halves;
  constexpr Eigen::Index height = 64;
  for (std::size_t h = 0; h < 2; ++h) {
    halves[h] = {&d[h].gram, Eigen::MatrixXd(current.rows(), current.cols())};
    parallel_for(static_cast<std::size_t>((current.rows() + height - 1) / height), threads,
                 [&](std::size_t i) {
                   const serial_products one;
                   const Eigen::Index first = static_cast<Eigen::Index>(i) * height;
                   const Eigen::Index rows = std::min(height, current.rows() - first);
                   halves[h].rhs.middleRows(first, rows) = compression::detail::output_residual(
                       Eigen::MatrixXd(current.middleRows(first, rows).template cast<double>()),
                       Eigen::MatrixXd(target.middleRows(first, rows).template cast<double>()),
                       d[h], first);
                 });
  }
  return solved_step(current, halves, damping, threads);
}

} // namespace edgequant::inline EDGEQUANT_ABI
