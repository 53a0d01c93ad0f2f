// SPDX-License-Identifier: MIT
/// GPTQ: codes that make up for each other's rounding errors on given inputs. Source: Frantar et
/// al. 2022, with the order of columns inside groups by activation, and a descent over codes and
/// scales.
#pragma once

#include "../core/checked.hpp"
#include "../system/parallel_for.hpp"
#include "gptq_columns.hpp"
#include "row_codec.hpp"

#include <utility>

namespace edgequant::inline EDGEQUANT_ABI {

struct gptq_options {
  double damping = 0.01; ///< share of the mean of the Gram matrix's diagonal that is added to it
  unsigned passes = 3;   ///< of the descent after the sweep; 0: plain GPTQ
  unsigned threads = 0;  ///< 0: all
};

/// What GPTQ did to a matrix. Errors are sums of squares of X (W - Q)^T in units of the damped Gram
/// matrix over its mean diagonal.
struct gptq_report {
  double error = 0;         ///< of the result
  double rounded_error = 0; ///< of the same scales and plain rounding
};

/// Encodes `rows` rows of inputs.size() floats into a block format, rows one after the other, like
/// row_encoder. Scales follow the mse rule, weighted by the columns' own error, then the descent. A
/// row for which that comes out worse than plain rounding by the mse rule is rounded plainly. The
/// bytes do not depend on the number of threads. `name` is for messages; bad_argument for a format
/// without groups and rows that are no multiple of 32; bad_value as in row_encoder.
///
/// Here and below `template <class = void>` stands where only programs that call a function shall
/// compile it.
template <class = void>
gptq_report gptq_encode(format type, const float* weights, std::size_t rows,
                        const gptq_columns& inputs, const gptq_options& options,
                        std::string_view name, std::byte* bytes);

/// The same for a whole matrix, to bytes of its own.
template <class = void>
[[nodiscard]] std::vector<std::byte>
gptq_matrix(format type, const matrix_f& weights, const gptq_columns& inputs,
            const gptq_options& options, std::string_view name) {
  const auto rows = static_cast<std::size_t>(weights.rows());
  std::vector<std::byte> bytes(rows * row_bytes(type, static_cast<std::uint64_t>(weights.cols())));
  (void)gptq_encode(type, weights.data(), rows, inputs, options, name, bytes.data());
  return bytes;
}

namespace quantizer::detail {

/// Rows that are encoded together: a number that does not depend on threads.
inline constexpr Eigen::Index gptq_rows = 32;

/// GPTQ of a few rows into format F.
template <class F> class gptq_job {
public:
  gptq_job(const gptq_columns& inputs, const gptq_options& options, std::string_view name)
      : inputs_(inputs), options_(options), name_(name), chooser_(scale_rule::mse) {
    const auto n = inputs.size();
    for (Eigen::Index i = 0; i < n; ++i) {
      const auto column = static_cast<std::size_t>(inputs.order()[static_cast<std::size_t>(i)]);
      importance_.resize(static_cast<std::size_t>(n));
      // The error that rounding a column leaves behind, all later ones adapted to it.
      const double u = inputs.factor()(i, i);
      importance_[column] = static_cast<float>(1 / (u * u));
    }
  }

  /// `first`: index of the first value in the tensor.
  gptq_report run(const float* weights, Eigen::Index rows, std::uint64_t first,
                  typename F::block* blocks);

private:
  using matrix = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic>;
  using range = kernel::code_range<F::bits>;
  static constexpr auto group = static_cast<Eigen::Index>(F::group_length);

  /// Of what weights have become: a scale that cannot be stored is then no reason to fail.
  void choose_scales(const matrix& w, Eigen::Index g);
  void require_scales(const float* weights, Eigen::Index rows, std::uint64_t first);
  void sweep();
  void descend();
  void move_codes(Eigen::Index row, Eigen::Index g);
  void move_scale(Eigen::Index row, Eigen::Index g);
  void shift(Eigen::Index row, Eigen::Index g, Eigen::Index i, double step);
  void spread(Eigen::Index g, Eigen::Index begin, Eigen::Index end);
  void store(Eigen::Index row, typename F::block* blocks) const;
  [[nodiscard]] double error_of(Eigen::Index row) const {
    return residual_.col(row).dot(gradient_.col(row));
  }

  const gptq_columns& inputs_;
  const gptq_options& options_;
  std::string_view name_;
  scale_chooser<F::bits, typename F::scale, F::group_length> chooser_;
  std::vector<float> importance_;
  matrix weights_; ///< columns x rows from here on: a row of the tensor is contiguous
  matrix codes_, scales_, inverses_;
  matrix residual_, gradient_; ///< W - Q, and gram times it
  struct shifted {
    Eigen::Index column; ///< in its group
    double step;
  };
  std::vector<std::vector<shifted>> shifts_; ///< of each row, in the present group
};

template <class F>
gptq_report gptq_job<F>::run(const float* weights, Eigen::Index rows, std::uint64_t first,
                             typename F::block* blocks) {
  const Eigen::Index n = inputs_.size();
  weights_ = Eigen::Map<const Eigen::MatrixXf>(weights, n, rows).template cast<double>();
  codes_.setZero(n, rows);
  scales_.setZero(n / group, rows);
  inverses_.setZero(n / group, rows);
  gptq_report report;
  // Plain rounding at the scales of the untouched weights, to compare with.
  require_scales(weights, rows, first);
  for (Eigen::Index g = 0; g < n / group; ++g) choose_scales(weights_, g);
  for (Eigen::Index r = 0; r < rows; ++r)
    for (Eigen::Index c = 0; c < n; ++c)
      codes_(c, r) = std::clamp<double>(std::nearbyint(weights_(c, r) * inverses_(c / group, r)),
                                        range::lowest, range::highest);
  const auto settle = [&] {
    residual_ = weights_;
    for (Eigen::Index r = 0; r < rows; ++r)
      for (Eigen::Index c = 0; c < n; ++c) residual_(c, r) -= codes_(c, r) * scales_(c / group, r);
    gradient_.noalias() = inputs_.gram() * residual_;
  };
  settle();
  std::vector<double> rounded(static_cast<std::size_t>(rows));
  for (Eigen::Index r = 0; r < rows; ++r) rounded[static_cast<std::size_t>(r)] = error_of(r);
  const matrix plain_codes = codes_, plain_scales = scales_;
  sweep();
  settle();
  descend();
  for (Eigen::Index r = 0; r < rows; ++r) {
    double error = error_of(r);
    const double plain = rounded[static_cast<std::size_t>(r)];
    if (!(error <= plain)) { // also what is not a number
      codes_.col(r) = plain_codes.col(r);
      scales_.col(r) = plain_scales.col(r);
      error = plain;
    }
    report.error += error;
    report.rounded_error += plain;
    store(r, blocks + r * (n / group));
  }
  return report;
}

/// bad_value where a group of the weights themselves has no scale that can be stored.
template <class F>
void gptq_job<F>::require_scales(const float* weights, Eigen::Index rows, std::uint64_t first) {
  group_encoder<F> rounding(scale_rule::absmax, name_);
  const auto values = static_cast<std::size_t>(rows * inputs_.size());
  for (std::size_t i = 0; i < values; i += F::group_length)
    (void)rounding.choose({weights + i, F::group_length}, no_importance{}, first + i);
}

template <class F> void gptq_job<F>::choose_scales(const matrix& w, Eigen::Index g) {
  for (Eigen::Index r = 0; r < w.cols(); ++r) {
    float values[F::group_length];
    for (Eigen::Index i = 0; i < group; ++i) values[i] = static_cast<float>(w(g * group + i, r));
    if (kernel::find_non_finite(std::span<const float>(values))) continue;
    const auto s = chooser_(
        values, part_of(importance_, static_cast<std::size_t>(g * group), F::group_length));
    if (!is_finite(s.stored)) continue;
    scales_(g, r) = double{s.stored};
    inverses_(g, r) = s.inverse == 0 ? 0 : 1 / double{s.stored};
  }
}

/// Column after column: its rounding error moves to the columns that are still to come. Columns of
/// a block of four groups at once; what concerns those beyond it follows in one product.
template <class F> void gptq_job<F>::sweep() {
  const Eigen::Index n = inputs_.size(), rows = weights_.cols(), step = 4 * group;
  const auto& order = inputs_.order();
  const auto& u = inputs_.factor();
  matrix w(n, rows), errors(step, rows); // w: in the order of the sweep
  for (Eigen::Index i = 0; i < n; ++i) w.row(i) = weights_.row(order[static_cast<std::size_t>(i)]);
  matrix natural(n, rows);
  for (Eigen::Index begin = 0; begin < n; begin += step) {
    const Eigen::Index end = std::min(n, begin + step);
    for (Eigen::Index i = begin; i < end; ++i) {
      if (i % group == 0) { // the scale of what the group has become
        for (Eigen::Index k = i; k < i + group; ++k)
          natural.row(order[static_cast<std::size_t>(k)]) = w.row(k);
        choose_scales(natural, i / group);
      }
      const Eigen::Index column = order[static_cast<std::size_t>(i)];
      for (Eigen::Index r = 0; r < rows; ++r) {
        const double code = std::clamp<double>(std::nearbyint(w(i, r) * inverses_(i / group, r)),
                                               range::lowest, range::highest);
        codes_(column, r) = code;
        const double error = (w(i, r) - code * scales_(i / group, r)) / u(i, i);
        errors(i - begin, r) = error;
        for (Eigen::Index k = i + 1; k < end; ++k) w(k, r) -= error * u(i, k);
      }
    }
    w.bottomRows(n - end).noalias() -=
        u.block(begin, end, end - begin, n - end).transpose() * errors.topRows(end - begin);
  }
}

/// Moves single codes and scales as long as that lowers the error of their row.
template <class F> void gptq_job<F>::descend() {
  shifts_.resize(static_cast<std::size_t>(weights_.cols()));
  std::vector<char> moved(shifts_.size(), 1);
  for (unsigned pass = 0; pass < options_.passes; ++pass) {
    const std::vector<char> before = std::exchange(moved, std::vector<char>(shifts_.size()));
    for (Eigen::Index g = 0; g < scales_.rows(); ++g) {
      bool any = false;
      for (std::size_t r = 0; r < shifts_.size(); ++r) {
        shifts_[r].clear();
        if (!before[r]) continue;
        move_scale(static_cast<Eigen::Index>(r), g);
        move_codes(static_cast<Eigen::Index>(r), g);
        if (!shifts_[r].empty()) moved[r] = 1, any = true;
      }
      if (!any) continue;
      spread(g, 0, g * group);
      spread(g, (g + 1) * group, inputs_.size());
    }
  }
}

/// A step of value i of group g: value + step. Of the pull, only the group itself follows at once.
template <class F>
void gptq_job<F>::shift(Eigen::Index row, Eigen::Index g, Eigen::Index i, double step) {
  const Eigen::Index first = g * group, column = first + i;
  residual_(column, row) -= step;
  gradient_.col(row).segment(first, group) -=
      step * inputs_.gram().col(column).segment(first, group);
  shifts_[static_cast<std::size_t>(row)].push_back({i, step});
}

/// What the steps in group g mean for the pull on columns begin to end. Each pull sees the steps
/// one by one in their order, so that this gives what single steps would; only the Gram matrix,
/// which no cache holds, is read once for all rows.
template <class F> void gptq_job<F>::spread(Eigen::Index g, Eigen::Index begin, Eigen::Index end) {
  constexpr Eigen::Index most = 64; // a part of a group's Gram columns that the first cache holds
  Eigen::Matrix<double, Eigen::Dynamic, group, Eigen::ColMajor, most, group> gram;
  for (; begin < end; begin += most) {
    const Eigen::Index count = std::min(most, end - begin);
    gram = inputs_.gram().block(begin, g * group, count, group);
    for (std::size_t r = 0; r < shifts_.size(); ++r) {
      auto pull = gradient_.col(static_cast<Eigen::Index>(r)).segment(begin, count);
      const auto& s = shifts_[r];
      const auto column = [&](std::size_t k) { return gram.col(s[k].column); };
      std::size_t k = 0;
      for (; k + 4 <= s.size(); k += 4) // one load and one store of the pull for four steps
        pull = pull - s[k].step * column(k) - s[k + 1].step * column(k + 1) -
               s[k + 2].step * column(k + 2) - s[k + 3].step * column(k + 3);
      for (; k < s.size(); ++k) pull -= s[k].step * column(k);
    }
  }
}

template <class F> void gptq_job<F>::move_codes(Eigen::Index row, Eigen::Index g) {
  const double scale = scales_(g, row);
  if (scale == 0) return;
  for (Eigen::Index c = g * group; c < (g + 1) * group; ++c) {
    // The error is a parabola in the code, with its vertex here; codes between it and the present
    // one are better too.
    const double vertex = codes_(c, row) + gradient_(c, row) / (inputs_.gram()(c, c) * scale);
    const double code = std::clamp<double>(std::nearbyint(vertex), range::lowest, range::highest);
    if (code == codes_(c, row) || !std::isfinite(code)) continue;
    shift(row, g, c - g * group, (code - codes_(c, row)) * scale);
    codes_(c, row) = code;
  }
}

/// The best scale for the codes as they are, if its half is another one and better.
template <class F> void gptq_job<F>::move_scale(Eigen::Index row, Eigen::Index g) {
  const auto codes = codes_.block(g * group, row, group, 1);
  const Eigen::VectorXd bent = inputs_.gram().block(g * group, g * group, group, group) * codes;
  const double curvature = codes.col(0).dot(bent);
  const double slope = codes.col(0).dot(gradient_.block(g * group, row, group, 1).col(0));
  if (!(curvature > 0)) return;
  const float wanted = static_cast<float>(scales_(g, row) + slope / curvature);
  const auto stored = store_scale<typename F::scale>(wanted, -range::lowest);
  const double step = double{stored.stored} - scales_(g, row);
  if (stored.inverse == 0 || !is_finite(stored.stored)) return;
  if (!(step * (step * curvature - 2 * slope) < 0)) return;
  for (Eigen::Index i = 0; i < group; ++i)
    if (codes.coeff(i, 0) != 0) shift(row, g, i, step * codes.coeff(i, 0));
  scales_(g, row) = double{stored.stored};
}

template <class F> void gptq_job<F>::store(Eigen::Index row, typename F::block* blocks) const {
  for (Eigen::Index g = 0; g < scales_.rows(); ++g) {
    float codes[F::group_length];
    for (Eigen::Index i = 0; i < group; ++i)
      codes[i] = static_cast<float>(codes_(g * group + i, row));
    blocks[g].scale = static_cast<typename F::scale>(static_cast<float>(scales_(g, row)));
    kernel::quantize_block(codes, 1.0f, blocks[g]);
  }
}

} // namespace quantizer::detail

template <class>
gptq_report gptq_encode(format type, const float* weights, std::size_t rows,
                        const gptq_columns& inputs, const gptq_options& options,
                        std::string_view name, std::byte* bytes) {
  const auto columns = static_cast<std::size_t>(inputs.size());
  if (columns % 32 != 0)
    fail(error_code::bad_argument, std::string(name),
         "rows of " + std::to_string(columns) + " values are no whole groups of 32");
  require_finite({weights, rows * columns}, name);
  const std::size_t tasks = ceil_divide(rows, std::size_t{quantizer::detail::gptq_rows});
  std::vector<gptq_report> parts(tasks);
  const bool known = visit_block_format(type, [&]<class F>(F) {
    parallel_for(tasks, options.threads, [&](std::size_t task) {
      const serial_products one;
      const std::size_t begin = task * quantizer::detail::gptq_rows;
      const auto count = std::min<std::size_t>(quantizer::detail::gptq_rows, rows - begin);
      quantizer::detail::gptq_job<F> job(inputs, options, name);
      parts[task] = job.run(
          weights + begin * columns, static_cast<Eigen::Index>(count), begin * columns,
          reinterpret_cast<typename F::block*>(bytes) + begin * (columns / F::group_length));
    });
  });
  if (!known)
    fail(error_code::bad_argument, std::string(name),
         "GPTQ needs a format with groups, not " + std::string(name_of(type)));
  gptq_report sum;
  for (const auto& part : parts) sum.error += part.error, sum.rounded_error += part.rounded_error;
  return sum;
}

} // namespace edgequant::inline EDGEQUANT_ABI
