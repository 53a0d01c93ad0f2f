// SPDX-License-Identifier: MIT
/// GPTQ of some rows: the sweep over columns. gptq_descent.hpp has what follows it.
#pragma once

#include "block_scales.hpp"
#include "gptq_columns.hpp"
#include "row_codec.hpp"

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

namespace quantizer::detail {

/// Rows that are encoded together: a number that does not depend on threads.
inline constexpr Eigen::Index gptq_rows = 32;

/// GPTQ of a few rows into one format.
template <class = void> class gptq_job {
public:
  gptq_job(format type, const gptq_columns& inputs, const gptq_options& options,
           std::string_view name)
      : type_(type), f_(*find_layout(type)), inputs_(inputs), options_(options), name_(name),
        chooser_(type, f_), importance_(static_cast<std::size_t>(inputs.size())) {
    for (Eigen::Index i = 0; i < inputs.size(); ++i) {
      // The error that rounding a column leaves behind, all later ones adapted to it.
      const double u = inputs.factor()(i, i);
      const auto column = inputs.order()[static_cast<std::size_t>(i)];
      importance_[static_cast<std::size_t>(column)] = static_cast<float>(1 / (u * u));
    }
  }

  /// `first`: index of the first value in the tensor.
  gptq_report run(const float* weights, Eigen::Index rows, std::uint64_t first, std::byte* bytes);

private:
  using matrix = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic>;

  [[nodiscard]] encoded_block& block_of(Eigen::Index row, Eigen::Index b) {
    return blocks_[static_cast<std::size_t>(row * (inputs_.size() / length_) + b)];
  }
  [[nodiscard]] double nearest_code(double x) const;
  void choose_block(const matrix& w, Eigen::Index row, Eigen::Index b);
  void refit_groups(const matrix& w, Eigen::Index row, Eigen::Index first, Eigen::Index count);
  void take_scales(Eigen::Index row, Eigen::Index b);
  void require_scales(const float* weights, Eigen::Index rows, std::uint64_t first);
  void round_plainly();
  void settle();
  void sweep();
  void descend();
  void move_codes(Eigen::Index row, Eigen::Index g);
  void move_scale(Eigen::Index row, Eigen::Index g);
  void move_minimum(Eigen::Index row, Eigen::Index g);
  void move_halves(Eigen::Index row, Eigen::Index b);
  [[nodiscard]] int nearest_step(double scale, int from) const;
  void shift(Eigen::Index row, Eigen::Index column, double step);
  void apply_updates(Eigen::Index b, Eigen::Index begin, Eigen::Index end);
  void store(Eigen::Index row, std::byte* bytes);
  [[nodiscard]] double error_of(Eigen::Index row) const {
    return residual_.col(row).dot(gram_residual_.col(row));
  }

  format type_;
  block_layout f_;
  Eigen::Index group_ = static_cast<Eigen::Index>(f_.group_length);
  Eigen::Index length_ = static_cast<Eigen::Index>(f_.block_length);
  Eigen::Index groups_ = length_ / group_; ///< of a block
  bool has_half_ = f_.unit == scale_unit::half_of_block;
  const gptq_columns& inputs_;
  const gptq_options& options_;
  std::string_view name_;
  block_scales<> chooser_;
  std::vector<float> importance_; ///< [columns]
  matrix weights_; ///< [columns][rows] from here on: a row of the tensor is contiguous
  matrix codes_;
  matrix scales_, inverses_, minimums_; ///< [groups][rows], as the blocks have them
  matrix residual_, gram_residual_;     ///< W - Q, and gram times it
  std::vector<encoded_block> blocks_;   ///< [rows][blocks]; their codes are set in the end
  struct shifted {
    Eigen::Index column; ///< in its block
    double step;
  };
  std::vector<std::vector<shifted>> shifts_; ///< of each row, in the present block
  std::vector<float> values_;                ///< of a block
};

template <class T>
gptq_report gptq_job<T>::run(const float* weights, Eigen::Index rows, std::uint64_t first,
                             std::byte* bytes) {
  const Eigen::Index n = inputs_.size();
  weights_ = Eigen::Map<const Eigen::MatrixXf>(weights, n, rows).template cast<double>();
  codes_.setZero(n, rows);
  for (auto* m : {&scales_, &inverses_, &minimums_}) m->setZero(n / group_, rows);
  blocks_.assign(static_cast<std::size_t>(rows * (n / length_)), {});
  require_scales(weights, rows, first);
  round_plainly();
  settle();
  std::vector<double> rounded(static_cast<std::size_t>(rows));
  for (Eigen::Index r = 0; r < rows; ++r) rounded[static_cast<std::size_t>(r)] = error_of(r);
  const matrix plain_codes = codes_;
  const auto plain_blocks = blocks_;
  sweep();
  settle();
  descend();
  gptq_report report;
  const auto row_bytes =
      static_cast<Eigen::Index>(edgequant::row_bytes(type_, static_cast<std::uint64_t>(n)));
  for (Eigen::Index r = 0; r < rows; ++r) {
    double error = error_of(r);
    const double plain = rounded[static_cast<std::size_t>(r)];
    if (!(error <= plain)) { // also what is not a number
      codes_.col(r) = plain_codes.col(r);
      const auto begin = r * (n / length_), end = begin + n / length_;
      std::copy(plain_blocks.begin() + begin, plain_blocks.begin() + end, blocks_.begin() + begin);
      error = plain;
    }
    report.error += error;
    report.rounded_error += plain;
    store(r, bytes + r * row_bytes);
  }
  return report;
}

/// Plain rounding at the scales of the untouched weights, to compare with.
template <class T> void gptq_job<T>::round_plainly() {
  for (Eigen::Index r = 0; r < weights_.cols(); ++r) {
    for (Eigen::Index b = 0; b < inputs_.size() / length_; ++b) choose_block(weights_, r, b);
    for (Eigen::Index c = 0; c < inputs_.size(); ++c)
      codes_(c, r) =
          nearest_code((weights_(c, r) + minimums_(c / group_, r)) * inverses_(c / group_, r));
  }
}

template <class T> void gptq_job<T>::settle() {
  residual_ = weights_;
  for (Eigen::Index r = 0; r < weights_.cols(); ++r)
    for (Eigen::Index c = 0; c < inputs_.size(); ++c)
      residual_(c, r) -= codes_(c, r) * scales_(c / group_, r) - minimums_(c / group_, r);
  gram_residual_.noalias() = inputs_.gram() * residual_;
}

/// bad_value where a group of the weights themselves has no scale that can be stored.
template <class T>
void gptq_job<T>::require_scales(const float* weights, Eigen::Index rows, std::uint64_t first) {
  const auto values = static_cast<std::size_t>(rows * inputs_.size());
  const bool exact = visit_block_format(type_, [&]<class F>(F) {
    group_encoder<F> rounding(scale_rule::absmax, name_);
    for (std::size_t i = 0; i < values; i += F::group_length)
      (void)rounding.choose({weights + i, F::group_length}, no_importance{}, first + i);
  });
  if (exact) return;
  row_encoder rounding(type_, scale_rule::mse, name_);
  const auto columns = static_cast<std::size_t>(inputs_.size());
  std::vector<std::byte> bytes(edgequant::row_bytes(type_, columns));
  for (std::size_t i = 0; i < values; i += columns)
    rounding({weights + i, columns}, {}, first + i, bytes.data());
}

template <class T> double gptq_job<T>::nearest_code(double x) const {
  if (f_.codebook.empty())
    return std::clamp<double>(std::nearbyint(x), f_.lowest_code, f_.highest_code);
  const auto above = std::lower_bound(f_.codebook.begin(), f_.codebook.end(), x);
  if (above == f_.codebook.begin()) return *above;
  if (above == f_.codebook.end() || x - above[-1] <= *above - x) return above[-1];
  return *above;
}

/// Of what weights have become: a scale that cannot be stored is then no reason to fail.
template <class T>
void gptq_job<T>::choose_block(const matrix& w, Eigen::Index row, Eigen::Index b) {
  const auto first = static_cast<std::size_t>(b * length_);
  values_.resize(f_.block_length);
  for (std::size_t i = 0; i < values_.size(); ++i)
    values_[i] = static_cast<float>(w(static_cast<Eigen::Index>(first + i), row));
  if (kernel::find_non_finite(std::span<const float>(values_))) return;
  const auto importance = std::span<const float>(importance_).subspan(first, f_.block_length);
  if (chooser_.choose(values_, importance, block_of(row, b))) take_scales(row, b);
}

/// Steps of the groups that hold columns first .. first + count of a block that has its halves.
template <class T>
void gptq_job<T>::refit_groups(const matrix& w, Eigen::Index row, Eigen::Index first,
                               Eigen::Index count) {
  if (!f_.has_steps() || group_ > count) return;
  const Eigen::Index b = first / length_;
  values_.assign(f_.block_length, 0);
  for (Eigen::Index i = first; i < first + count; ++i)
    values_[static_cast<std::size_t>(i - b * length_)] = static_cast<float>(w(i, row));
  if (kernel::find_non_finite(std::span<const float>(values_))) return;
  const auto importance = std::span<const float>(importance_)
                              .subspan(static_cast<std::size_t>(b * length_), f_.block_length);
  for (Eigen::Index g = first / group_; g < (first + count) / group_; ++g)
    chooser_.refit(values_, importance, static_cast<std::size_t>(g - b * groups_),
                   block_of(row, b));
  take_scales(row, b);
}

template <class T> void gptq_job<T>::take_scales(Eigen::Index row, Eigen::Index b) {
  const encoded_block& block = block_of(row, b);
  const double unit = has_half_ ? static_cast<double>(static_cast<float>(block.scale)) : 1.0;
  const double minimum = static_cast<float>(block.minimum);
  for (Eigen::Index g = 0; g < groups_; ++g) {
    const auto i = static_cast<std::size_t>(g);
    const double scale = unit * static_cast<double>(step_value(f_.unit, block.scale_steps[i]));
    scales_(b * groups_ + g, row) = scale;
    inverses_(b * groups_ + g, row) = scale == 0 ? 0 : 1 / scale;
    minimums_(b * groups_ + g, row) = minimum * block.minimum_steps[i];
  }
}

/// Column after column: its rounding error moves to the columns that are still to come. Some
/// columns, whole blocks, at once; what concerns those beyond them follows in one product.
template <class T> void gptq_job<T>::sweep() {
  constexpr Eigen::Index unit = 32; // the order of columns changes within so many
  const Eigen::Index n = inputs_.size(), rows = weights_.cols();
  const Eigen::Index step = std::max<Eigen::Index>(4 * unit, length_);
  const auto& order = inputs_.order();
  const auto& u = inputs_.factor();
  matrix w(n, rows), errors(step, rows); // w: in the order of the sweep
  for (Eigen::Index i = 0; i < n; ++i) w.row(i) = weights_.row(order[static_cast<std::size_t>(i)]);
  matrix natural(n, rows);
  for (Eigen::Index begin = 0; begin < n; begin += step) {
    const Eigen::Index end = std::min(n, begin + step);
    for (Eigen::Index i = begin; i < end; ++i) {
      if (i % unit == 0) { // the scales of what the columns have become
        const Eigen::Index count = i % length_ == 0 ? std::max(unit, length_) : unit;
        for (Eigen::Index k = i; k < i + count; ++k)
          natural.row(order[static_cast<std::size_t>(k)]) = w.row(k);
        for (Eigen::Index r = 0; r < rows; ++r)
          if (i % length_ == 0)
            choose_block(natural, r, i / length_);
          else
            refit_groups(natural, r, i, unit);
      }
      const Eigen::Index column = order[static_cast<std::size_t>(i)];
      const Eigen::Index g = column / group_;
      for (Eigen::Index r = 0; r < rows; ++r) {
        const double minimum = minimums_(g, r);
        const double code = nearest_code((w(i, r) + minimum) * inverses_(g, r));
        codes_(column, r) = code;
        const double error = (w(i, r) - (code * scales_(g, r) - minimum)) / u(i, i);
        errors(i - begin, r) = error;
        for (Eigen::Index k = i + 1; k < end; ++k) w(k, r) -= error * u(i, k);
      }
    }
    w.bottomRows(n - end).noalias() -=
        u.block(begin, end, end - begin, n - end).transpose() * errors.topRows(end - begin);
  }
}

template <class T> void gptq_job<T>::store(Eigen::Index row, std::byte* bytes) {
  for (Eigen::Index b = 0; b < inputs_.size() / length_; ++b) {
    encoded_block& block = block_of(row, b);
    for (Eigen::Index i = 0; i < length_; ++i)
      block.codes[i] = static_cast<std::int8_t>(codes_(b * length_ + i, row));
    pack_block(type_, block, bytes);
    bytes += info_of(type_).block_bytes;
  }
}

} // namespace quantizer::detail

} // namespace edgequant::inline EDGEQUANT_ABI
