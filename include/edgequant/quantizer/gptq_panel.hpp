// SPDX-License-Identifier: MIT
/// GPTQ of sixteen rows, one a lane: the sweep over columns. gptq_descent.hpp has what follows it.
#pragma once

#include "block_scales.hpp"
#include "gptq_columns.hpp"
#include "row_codec.hpp"

namespace edgequant::inline EDGEQUANT_ABI::quantizer::detail {

/// What all rows of a matrix share. Columns are counted in the order in which they are rounded;
/// a block's columns stay together in it.
template <class = void> struct gptq_setting {
  /// `descends`: blocks are improved in the sweep, each before the next begins.
  gptq_setting(format type, const gptq_columns& columns, bool descends);

  /// Rows i .. of the Gram matrix, and of its factor, as gptq_columns has them.
  [[nodiscard]] const float* gram(std::size_t i) const { return row(inputs.gram(), i); }
  [[nodiscard]] const float* factor(std::size_t i) const { return row(inputs.factor(), i); }
  /// Gram matrix of the columns of the step that begins at `begin` when all later columns adapt to
  /// them: [step][step].
  [[nodiscard]] const float* step_gram(std::size_t begin) const {
    return step_grams.data() + begin * step;
  }
  [[nodiscard]] std::size_t group_of(std::size_t i) const {
    return static_cast<std::size_t>(inputs.order()[i]) / group;
  }
  /// The code nearest to x.
  [[nodiscard]] simd::native::f32 nearest_code(simd::native::f32 x) const noexcept;

  format type;
  block_layout f;
  const gptq_columns& inputs;
  bool descends;
  std::size_t columns = static_cast<std::size_t>(inputs.size());
  std::size_t group = f.group_length, length = f.block_length;
  std::size_t step =
      std::max<std::size_t>(256, length); ///< columns whose products are taken together
  bool has_half = f.unit == scale_unit::half_of_block;
  std::vector<std::size_t> place; ///< of each column of the tensor in the order of rounding
  std::vector<float> importance;  ///< of each column of the tensor
  std::vector<float> step_grams;
  std::vector<float> middles; ///< between neighbours in the codebook

private:
  [[nodiscard]] const float* row(const matrix_f& m, std::size_t i) const {
    return m.data() + i * columns;
  }
};

/// to[k * stride] += factors[k] * x, sixteen lanes each.
inline void add_multiples(const float* factors, simd::native::f32 x, std::size_t count, float* to,
                          std::size_t stride) noexcept {
  using S = simd::native;
  for (std::size_t k = 0; k < count; ++k, to += stride)
    S::store(to, S::multiply_add(S::broadcast(factors[k]), x, S::load(to)));
}

/// Rows of which each lane has one. Vectors of sixteen floats belong to one column of all of them.
template <class = void> class gptq_panel {
public:
  static constexpr std::size_t lanes = 16;

  /// `weights`: [rows][columns], 1 to 16 rows. `residuals`: memory, [columns][16], for what is left
  /// of the weights when their values are taken off.
  gptq_panel(const gptq_setting<>& setting, const float* weights, std::size_t rows,
             float* residuals);

  /// Rounds columns `begin` to `end`, whole blocks, one after the other, each to what is best when
  /// all later ones adapt to it. `sums[i * stride]` is what the residuals of the columns before
  /// `begin` give in entry begin + i of R^T times the residuals; it is used up.
  void sweep(block_scales<>& chooser, std::size_t begin, std::size_t end, float* sums,
             std::size_t stride);
  /// Rounds them to what is nearest; `sums` as in sweep().
  void round_plainly(block_scales<>& chooser, std::size_t begin, std::size_t end, float* sums,
                     std::size_t stride);
  /// Moves codes, steps and halves of columns `begin` to `end` as long as each move lowers the
  /// error of its row. `slopes[i * stride]` is entry begin + i of the Gram matrix times the
  /// residuals; it is used up. False where nothing moved.
  bool descend(std::size_t begin, std::size_t end, float* slopes, std::size_t stride);

  /// Sum of squares of R^T times the residuals, of the columns that have been rounded.
  [[nodiscard]] double error(std::size_t row) const noexcept { return errors_[row]; }
  [[nodiscard]] std::size_t rows() const noexcept { return rows_; }
  /// Writes the blocks of a row.
  void store(std::size_t row, std::byte* bytes) const;

private:
  using S = simd::native;
  using f32 = typename S::f32;
  struct block_of_gram; // a block's part of a Gram matrix, and the slopes of its columns

  [[nodiscard]] float* at(std::vector<float>& values, std::size_t i) const noexcept {
    return values.data() + i * lanes;
  }
  [[nodiscard]] f32 load(const std::vector<float>& values, std::size_t i) const noexcept {
    return S::load(values.data() + i * lanes);
  }
  [[nodiscard]] f32 residual(std::size_t i) const noexcept {
    return S::load(residuals_ + i * lanes);
  }
  [[nodiscard]] stored_scales& block_of(std::size_t row, std::size_t b) noexcept {
    return blocks_[row * (of_.columns / of_.length) + b];
  }
  void set_code(std::size_t i, f32 value);
  void add_errors(std::size_t begin, std::size_t end, float* sums, std::size_t stride);
  void sweep_block(block_scales<>& chooser, std::size_t first, float* sums, std::size_t stride);
  void descend_on_adapted(std::size_t begin, std::size_t end);
  bool descend(std::size_t begin, std::size_t end, const float* gram, std::size_t gram_stride,
               float* slopes, std::size_t stride, double* errors);
  void set_scales(block_scales<>& chooser, std::size_t first, std::size_t i, const float* sums,
                  std::size_t stride);
  void choose_block(block_scales<>& chooser, std::size_t first, const float* values);
  void refit_groups(block_scales<>& chooser, std::size_t i, const float* values);
  void take_scales(std::size_t row, std::size_t b);

  void move_halves(block_of_gram& block);
  void move_scales(block_of_gram& block, std::size_t g);
  void move_minimums(block_of_gram& block, std::size_t g);
  void move_codes(block_of_gram& block, std::size_t g);
  bool move_all(block_of_gram& block, bool halves);
  [[nodiscard]] double move_scale(std::size_t row, std::size_t g, double curvature, double slope);
  [[nodiscard]] double move_minimum(std::size_t row, std::size_t g, double curvature, double slope);
  [[nodiscard]] double move_half(std::size_t row, std::size_t b, half stored_scales::*member,
                                 double curvature, double slope);
  [[nodiscard]] int nearest_step(double scale, int from) const;

  const gptq_setting<>& of_;
  std::size_t rows_;
  float* residuals_; // [columns][16], like the next two
  std::vector<float> weights_, codes_;
  std::vector<float> scales_, inverses_, minimums_;        // [groups][16], as the blocks have them
  std::vector<stored_scales> blocks_;                      // [rows][blocks]
  std::vector<float> sums_, adapted_, slopes_, direction_; // [step][16], scratch memory
  double errors_[lanes] = {};
};

template <class T>
gptq_setting<T>::gptq_setting(format id, const gptq_columns& from, bool descend)
    : type(id), f(*find_layout(id)), inputs(from), descends(descend) {
  place.resize(columns), importance.resize(columns);
  for (std::size_t i = 0; i < columns; ++i) {
    const auto column = static_cast<std::size_t>(inputs.order()[i]);
    place[column] = i;
    importance[column] = factor(i)[i] * factor(i)[i];
  }
  for (std::size_t i = 1; i < f.codebook.size(); ++i)
    middles.push_back(0.5f * static_cast<float>(f.codebook[i - 1] + f.codebook[i]));
  if (!descends) return;
  step_grams.resize(columns * step);
  for (std::size_t begin = 0; begin < columns; begin += step) {
    const auto i = static_cast<Eigen::Index>(begin);
    const auto n = static_cast<Eigen::Index>(std::min(step, columns - begin));
    const matrix_f r = inputs.factor().block(i, i, n, n).template triangularView<Eigen::Upper>();
    const serial_products one;
    Eigen::Map<matrix_f, 0, Eigen::OuterStride<>>(
        step_grams.data() + begin * step, n, n,
        Eigen::OuterStride<>(static_cast<Eigen::Index>(step)))
        .noalias() = r * r.transpose();
  }
}

template <class T>
simd::native::f32 gptq_setting<T>::nearest_code(simd::native::f32 x) const noexcept {
  using S = simd::native;
  if (f.codebook.empty())
    return S::round_even(
        S::clamp(x, static_cast<float>(f.lowest_code), static_cast<float>(f.highest_code)));
  auto code = S::broadcast(static_cast<float>(f.codebook[0]));
  for (std::size_t i = 0; i < middles.size(); ++i)
    code = S::choose(S::less(S::broadcast(middles[i]), x),
                     S::broadcast(static_cast<float>(f.codebook[i + 1])), code);
  return code;
}

template <class T>
gptq_panel<T>::gptq_panel(const gptq_setting<>& setting, const float* weights, std::size_t rows,
                          float* residuals)
    : of_(setting), rows_(rows), residuals_(residuals), weights_(setting.columns * lanes),
      codes_(setting.columns * lanes), blocks_(rows * (setting.columns / setting.length)),
      sums_(setting.step * lanes), adapted_(setting.step * lanes), slopes_(setting.step * lanes),
      direction_(setting.length * lanes) {
  for (std::size_t i = 0; i < of_.columns; ++i)
    for (std::size_t r = 0; r < rows; ++r)
      weights_[i * lanes + r] =
          weights[r * of_.columns + static_cast<std::size_t>(of_.inputs.order()[i])];
  for (auto* v : {&scales_, &inverses_, &minimums_}) v->resize(of_.columns / of_.group * lanes);
}

/// The code nearest to `value`, and what it leaves of the weight.
template <class T> void gptq_panel<T>::set_code(std::size_t i, f32 value) {
  const std::size_t g = of_.group_of(i);
  const f32 minimum = load(minimums_, g);
  const f32 code = of_.nearest_code(S::mul(S::add(value, minimum), load(inverses_, g)));
  S::store(at(codes_, i), code);
  const f32 decoded = S::sub(S::mul(code, load(scales_, g)), minimum);
  S::store(residuals_ + i * lanes, S::sub(load(weights_, i), decoded));
}

template <class T>
void gptq_panel<T>::sweep(block_scales<>& chooser, std::size_t begin, std::size_t end, float* sums,
                          std::size_t stride) {
  for (std::size_t i = begin; i < end; ++i)
    S::store(at(sums_, i - begin), S::load(sums + (i - begin) * stride));
  for (std::size_t first = begin; first < end; first += of_.length) {
    const std::size_t behind = first + of_.length;
    sweep_block(chooser, first, sums, stride);
    sums += of_.length * stride;
    for (std::size_t i = first; i < behind; ++i)
      add_multiples(of_.factor(i) + behind, residual(i), end - behind, sums, stride);
  }
  if (of_.descends) descend_on_adapted(begin, end);
  add_errors(begin, end, sums_.data(), lanes);
}

/// A column's entry of R^T times the residuals is R(i, i) times its own residual, plus its sum: the
/// residual wanted is what makes that zero.
template <class T>
void gptq_panel<T>::sweep_block(block_scales<>& chooser, std::size_t first, float* sums,
                                std::size_t stride) {
  constexpr std::size_t unit = 32; // the order of columns changes within so many
  const std::size_t behind = first + of_.length;
  for (std::size_t i = first; i < behind; ++i, sums += stride) {
    if ((i - first) % unit == 0) set_scales(chooser, first, i, sums, stride);
    const float* row = of_.factor(i);
    set_code(i, S::multiply_add(S::load(sums), S::broadcast(1 / row[i]), load(weights_, i)));
    add_multiples(row + i + 1, residual(i), behind - i - 1, sums + stride, stride);
  }
}

/// Adds the columns' own part to `sums`, and the squares of what that gives to the errors.
template <class T>
void gptq_panel<T>::add_errors(std::size_t begin, std::size_t end, float* sums,
                               std::size_t stride) {
  for (std::size_t i = begin; i < end; ++i, sums += stride) {
    add_multiples(of_.factor(i) + i, residual(i), end - i, sums, stride);
    for (std::size_t r = 0; r < rows_; ++r) errors_[r] += double{sums[r]} * double{sums[r]};
  }
}

template <class T>
void gptq_panel<T>::round_plainly(block_scales<>& chooser, std::size_t begin, std::size_t end,
                                  float* sums, std::size_t stride) {
  for (std::size_t first = begin; first < end; first += of_.length) {
    choose_block(chooser, first, at(weights_, first));
    for (std::size_t i = first; i < first + of_.length; ++i) set_code(i, load(weights_, i));
  }
  add_errors(begin, end, sums, stride);
}

/// Scales for what the weights have become when columns i .. adapt to those before them: of a whole
/// block where i is its first column, else of the groups of the next 32 columns.
template <class T>
void gptq_panel<T>::set_scales(block_scales<>& chooser, std::size_t first, std::size_t i,
                               const float* sums, std::size_t stride) {
  const bool whole = i == first;
  if (!whole && (!of_.f.has_steps() || of_.group > 32)) return;
  const std::size_t count = whole ? of_.length : 32;
  for (std::size_t k = 0; k < count; ++k) S::store(at(adapted_, k), S::load(sums + k * stride));
  for (std::size_t k = 0; k < count; ++k) { // a triangular system
    const float* row = of_.factor(i + k) + i;
    const f32 change = S::mul(load(adapted_, k), S::broadcast(1 / row[k]));
    add_multiples(row + k + 1, S::sub(S::broadcast(0.0f), change), count - k - 1,
                  at(adapted_, k) + lanes, lanes);
    S::store(at(adapted_, k), S::add(load(weights_, i + k), change));
  }
  if (whole)
    choose_block(chooser, first, adapted_.data());
  else
    refit_groups(chooser, i, adapted_.data());
}

/// Of what weights have become: a scale that cannot be stored is then no reason to fail.
template <class T>
void gptq_panel<T>::choose_block(block_scales<>& chooser, std::size_t first, const float* values) {
  float row[encoded_block::longest];
  const auto importance = std::span<const float>(of_.importance).subspan(first, of_.length);
  for (std::size_t r = 0; r < rows_; ++r) {
    for (std::size_t k = 0; k < of_.length; ++k)
      row[k] = values[(of_.place[first + k] - first) * lanes + r];
    encoded_block chosen;
    if (kernel::find_non_finite(std::span<const float>(row, of_.length)) ||
        !chooser.choose({row, of_.length}, importance, chosen))
      continue;
    block_of(r, first / of_.length) = chosen;
    take_scales(r, first / of_.length);
  }
}

/// Steps of the groups that hold columns i .. i + 32 of a block that has its halves.
template <class T>
void gptq_panel<T>::refit_groups(block_scales<>& chooser, std::size_t i, const float* values) {
  float row[encoded_block::longest] = {};
  const std::size_t b = i / of_.length, first = b * of_.length;
  const auto importance = std::span<const float>(of_.importance).subspan(first, of_.length);
  for (std::size_t r = 0; r < rows_; ++r) {
    for (std::size_t k = i; k < i + 32; ++k)
      row[k - first] = values[(of_.place[k] - i) * lanes + r];
    if (kernel::find_non_finite(std::span<const float>(row, of_.length))) continue;
    encoded_block chosen;
    static_cast<stored_scales&>(chosen) = block_of(r, b);
    for (std::size_t k = i; k < i + 32; k += of_.group)
      chooser.refit({row, of_.length}, importance, (k - first) / of_.group, chosen);
    block_of(r, b) = chosen;
    take_scales(r, b);
  }
}

template <class T> void gptq_panel<T>::take_scales(std::size_t row, std::size_t b) {
  const stored_scales& block = block_of(row, b);
  const float unit = of_.has_half ? static_cast<float>(block.scale) : 1.0f;
  const float minimum = static_cast<float>(block.minimum);
  for (std::size_t g = 0; g < of_.f.groups(); ++g) {
    const std::size_t to = (b * of_.f.groups() + g) * lanes + row;
    const float scale = unit * step_value(of_.f.unit, block.scale_steps[g]);
    scales_[to] = scale;
    inverses_[to] = scale == 0 || !is_finite(1 / scale) ? 0 : 1 / scale;
    minimums_[to] = minimum * static_cast<float>(block.minimum_steps[g]);
  }
}

template <class T> void gptq_panel<T>::store(std::size_t row, std::byte* bytes) const {
  for (std::size_t first = 0; first < of_.columns; first += of_.length) {
    encoded_block block;
    static_cast<stored_scales&>(block) = blocks_[(row * of_.columns + first) / of_.length];
    for (std::size_t k = 0; k < of_.length; ++k)
      block.codes[k] = static_cast<std::int8_t>(codes_[of_.place[first + k] * lanes + row]);
    pack_block(of_.type, block, bytes);
    bytes += info_of(of_.type).block_bytes;
  }
}

} // namespace edgequant::inline EDGEQUANT_ABI::quantizer::detail
