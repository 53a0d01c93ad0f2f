// SPDX-License-Identifier: MIT
/// GPTQ of sixteen rows, one a lane: the sweep over columns. gptq_descent.hpp has the descent.
#pragma once

#include "block_scales.hpp"
#include "gptq_setting.hpp"
#include "row_codec.hpp"

namespace edgequant::inline EDGEQUANT_ABI::quantizer::detail {

/// to[k * stride] += factors[k] * x, sixteen lanes each.
inline void add_multiples(const float* factors, simd::native::f32 x, std::size_t count, float* to,
                          std::size_t stride) noexcept {
  using S = simd::native;
  for (std::size_t k = 0; k < count; ++k, to += stride)
    S::store(to, S::multiply_add(S::broadcast(factors[k]), x, S::load(to)));
}

/// Memory for the columns of a batch, [batch][16] each, that panels use in turn.
struct gptq_scratch {
  explicit gptq_scratch(std::size_t batch)
      : sums(batch * 16), adapted(batch * 16), slopes(batch * 16), direction(batch * 16) {}
  std::vector<float> sums, adapted, slopes, direction;
};

/// Rows of which each lane has one. Vectors of sixteen floats belong to one column of all of them.
template <class = void> class gptq_panel {
public:
  static constexpr std::size_t lanes = 16;

  /// `weights`: [rows][columns], 1 to 16 rows. `residuals`: memory, [columns][16], for the weights
  /// less the values of their codes.
  gptq_panel(const gptq_setting<>& setting, gptq_scratch& scratch, const float* weights,
             std::size_t rows, float* residuals);

  /// Rounds columns `begin` to `end`, whole blocks, one after the other, each to what is best when
  /// all later ones adapt to it. `sums[i * stride]` is what the residuals of the columns before
  /// `begin` give in entry begin + i of R^T times the residuals; it is used up.
  void sweep(block_scales<>& chooser, std::size_t begin, std::size_t end, float* sums,
             std::size_t stride);
  /// Rounds them to what is nearest; `sums` as in sweep().
  void round_plainly(block_scales<>& chooser, std::size_t begin, std::size_t end, float* sums,
                     std::size_t stride);
  /// Moves codes, steps and halves of columns `begin` to `end`, each where that lowers the error of
  /// its row, in two rounds at most. `slopes[i * stride]` is entry begin + i of the Gram matrix
  /// times the residuals; it is used up. False where nothing moved.
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
    return blocks_[row * (setting_.columns / setting_.length) + b];
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

  const gptq_setting<>& setting_;
  gptq_scratch& scratch_;
  std::size_t rows_;
  float* residuals_; // [columns][16], like the next two
  std::vector<float> weights_, codes_;
  std::vector<float> scales_, inverses_, minimums_; // [groups][16], as the blocks have them
  std::vector<stored_scales> blocks_;               // [rows][blocks]
  double errors_[lanes] = {};
};

template <class T>
gptq_panel<T>::gptq_panel(const gptq_setting<>& setting, gptq_scratch& scratch,
                          const float* weights, std::size_t rows, float* residuals)
    : setting_(setting), scratch_(scratch), rows_(rows), residuals_(residuals),
      weights_(setting.columns * lanes), codes_(setting.columns * lanes),
      blocks_(rows * (setting.columns / setting.length)) {
  for (std::size_t i = 0; i < setting_.columns; ++i)
    for (std::size_t r = 0; r < rows; ++r)
      weights_[i * lanes + r] =
          weights[r * setting_.columns + static_cast<std::size_t>(setting_.inputs.order()[i])];
  for (auto* v : {&scales_, &inverses_, &minimums_})
    v->resize(setting_.columns / setting_.group * lanes);
}

/// The code nearest to `value`, and what it leaves of the weight.
template <class T> void gptq_panel<T>::set_code(std::size_t i, f32 value) {
  const std::size_t g = setting_.group_of(i);
  const f32 minimum = load(minimums_, g);
  const f32 code = setting_.nearest_code(S::mul(S::add(value, minimum), load(inverses_, g)));
  S::store(at(codes_, i), code);
  const f32 decoded = S::sub(S::mul(code, load(scales_, g)), minimum);
  S::store(residuals_ + i * lanes, S::sub(load(weights_, i), decoded));
}

template <class T>
void gptq_panel<T>::sweep(block_scales<>& chooser, std::size_t begin, std::size_t end, float* sums,
                          std::size_t stride) {
  for (std::size_t i = begin; i < end; ++i)
    S::store(at(scratch_.sums, i - begin), S::load(sums + (i - begin) * stride));
  for (std::size_t first = begin; first < end; first += setting_.length) {
    const std::size_t next = first + setting_.length;
    sweep_block(chooser, first, sums, stride);
    sums += setting_.length * stride;
    for (std::size_t i = first; i < next; ++i)
      add_multiples(setting_.factor(i) + next, residual(i), end - next, sums, stride);
  }
  if (setting_.descends) descend_on_adapted(begin, end);
  add_errors(begin, end, scratch_.sums.data(), lanes);
}

/// A column's entry of R^T times the residuals is R(i, i) times its own residual, plus its sum: the
/// residual wanted is what makes that zero.
template <class T>
void gptq_panel<T>::sweep_block(block_scales<>& chooser, std::size_t first, float* sums,
                                std::size_t stride) {
  const std::size_t next = first + setting_.length;
  for (std::size_t i = first; i < next; ++i, sums += stride) {
    if ((i - first) % gptq_sorted_columns == 0) set_scales(chooser, first, i, sums, stride);
    const float* row = setting_.factor(i);
    set_code(i, S::multiply_add(S::load(sums), S::broadcast(1 / row[i]), load(weights_, i)));
    add_multiples(row + i + 1, residual(i), next - i - 1, sums + stride, stride);
  }
}

/// Adds the columns' own part to `sums`, and the squares of what that gives to the errors.
template <class T>
void gptq_panel<T>::add_errors(std::size_t begin, std::size_t end, float* sums,
                               std::size_t stride) {
  for (std::size_t i = begin; i < end; ++i, sums += stride) {
    add_multiples(setting_.factor(i) + i, residual(i), end - i, sums, stride);
    for (std::size_t r = 0; r < rows_; ++r) errors_[r] += double{sums[r]} * double{sums[r]};
  }
}

template <class T>
void gptq_panel<T>::round_plainly(block_scales<>& chooser, std::size_t begin, std::size_t end,
                                  float* sums, std::size_t stride) {
  for (std::size_t first = begin; first < end; first += setting_.length) {
    choose_block(chooser, first, at(weights_, first));
    for (std::size_t i = first; i < first + setting_.length; ++i) set_code(i, load(weights_, i));
  }
  add_errors(begin, end, sums, stride);
}

/// Scales for what the weights have become when columns i .. adapt to those before them: of a whole
/// block where i is its first column, else of the groups of the columns that are sorted with it.
template <class T>
void gptq_panel<T>::set_scales(block_scales<>& chooser, std::size_t first, std::size_t i,
                               const float* sums, std::size_t stride) {
  const bool whole = i == first;
  if (!whole && (!setting_.f.has_steps() || setting_.group > gptq_sorted_columns)) return;
  const std::size_t count = whole ? setting_.length : gptq_sorted_columns;
  for (std::size_t k = 0; k < count; ++k)
    S::store(at(scratch_.adapted, k), S::load(sums + k * stride));
  for (std::size_t k = 0; k < count; ++k) { // a triangular system
    const float* row = setting_.factor(i + k) + i;
    const f32 change = S::mul(load(scratch_.adapted, k), S::broadcast(1 / row[k]));
    add_multiples(row + k + 1, S::sub(S::broadcast(0.0f), change), count - k - 1,
                  at(scratch_.adapted, k) + lanes, lanes);
    S::store(at(scratch_.adapted, k), S::add(load(weights_, i + k), change));
  }
  if (whole)
    choose_block(chooser, first, scratch_.adapted.data());
  else
    refit_groups(chooser, i, scratch_.adapted.data());
}

/// Of what weights have become: a scale that cannot be stored is then no reason to fail.
template <class T>
void gptq_panel<T>::choose_block(block_scales<>& chooser, std::size_t first, const float* values) {
  float row[encoded_block::longest];
  const auto importance =
      std::span<const float>(setting_.importance).subspan(first, setting_.length);
  for (std::size_t r = 0; r < rows_; ++r) {
    for (std::size_t k = 0; k < setting_.length; ++k)
      row[k] = values[(setting_.place[first + k] - first) * lanes + r];
    encoded_block chosen;
    if (kernel::find_non_finite(std::span<const float>(row, setting_.length)) ||
        !chooser.choose({row, setting_.length}, importance, chosen))
      continue;
    block_of(r, first / setting_.length) = chosen;
    take_scales(r, first / setting_.length);
  }
}

/// Steps of the groups of columns i .. that are sorted together, of a block that has its halves.
template <class T>
void gptq_panel<T>::refit_groups(block_scales<>& chooser, std::size_t i, const float* values) {
  float row[encoded_block::longest] = {};
  const std::size_t b = i / setting_.length, first = b * setting_.length;
  const auto importance =
      std::span<const float>(setting_.importance).subspan(first, setting_.length);
  for (std::size_t r = 0; r < rows_; ++r) {
    for (std::size_t k = i; k < i + gptq_sorted_columns; ++k)
      row[k - first] = values[(setting_.place[k] - i) * lanes + r];
    if (kernel::find_non_finite(std::span<const float>(row, setting_.length))) continue;
    encoded_block chosen;
    static_cast<stored_scales&>(chosen) = block_of(r, b);
    for (std::size_t k = i; k < i + gptq_sorted_columns; k += setting_.group)
      chooser.refit({row, setting_.length}, importance, (k - first) / setting_.group, chosen);
    block_of(r, b) = chosen;
    take_scales(r, b);
  }
}

template <class T> void gptq_panel<T>::take_scales(std::size_t row, std::size_t b) {
  const stored_scales& block = block_of(row, b);
  const float unit = setting_.has_half ? static_cast<float>(block.scale) : 1.0f;
  const float minimum = static_cast<float>(block.minimum);
  for (std::size_t g = 0; g < setting_.f.groups(); ++g) {
    const std::size_t to = (b * setting_.f.groups() + g) * lanes + row;
    const float scale = unit * step_value(setting_.f.unit, block.scale_steps[g]);
    scales_[to] = scale;
    inverses_[to] = scale == 0 || !is_finite(1 / scale) ? 0 : 1 / scale;
    minimums_[to] = minimum * static_cast<float>(block.minimum_steps[g]);
  }
}

template <class T> void gptq_panel<T>::store(std::size_t row, std::byte* bytes) const {
  for (std::size_t first = 0; first < setting_.columns; first += setting_.length) {
    encoded_block block;
    static_cast<stored_scales&>(block) =
        blocks_[(row * setting_.columns + first) / setting_.length];
    for (std::size_t k = 0; k < setting_.length; ++k)
      block.codes[k] = static_cast<std::int8_t>(codes_[setting_.place[first + k] * lanes + row]);
    pack_block(setting_.type, block, bytes);
    bytes += info_of(setting_.type).block_bytes;
  }
}

} // namespace edgequant::inline EDGEQUANT_ABI::quantizer::detail
