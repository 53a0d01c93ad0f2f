// SPDX-License-Identifier: MIT
/// What GPTQ knows of a matrix before it encodes a row: format, columns, and what they count.
#pragma once

#include "../format/block_groups.hpp"
#include "../simd/simd.hpp"
#include "gptq_columns.hpp"

namespace edgequant::inline EDGEQUANT_ABI::quantizer::detail {

/// What all rows of a matrix share. Column i is the one that is rounded as number i; those of a
/// block follow one another.
template <class = void> struct gptq_setting {
  /// `descends`: a batch is improved in the sweep, before the next one begins.
  gptq_setting(format type, const gptq_columns& columns, bool descends);

  /// Rows i .. of the Gram matrix, and of its factor, as gptq_columns has them.
  [[nodiscard]] const float* gram(std::size_t i) const { return row(inputs.gram(), i); }
  [[nodiscard]] const float* factor(std::size_t i) const { return row(inputs.factor(), i); }
  /// Gram matrix of the columns of the batch that begins at `begin` when all later columns adapt to
  /// them: [batch][batch].
  [[nodiscard]] const float* batch_gram(std::size_t begin) const {
    return batch_grams.data() + begin * batch;
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
  /// Columns whose products are taken together: the paper's lazy batch updates.
  std::size_t batch = std::max<std::size_t>(256, length);
  bool has_half = f.unit == scale_unit::half_of_block;
  std::vector<std::size_t> place; ///< of each column of the tensor in the order of rounding
  std::vector<float> importance;  ///< of each column of the tensor
  std::vector<float> batch_grams;
  std::vector<float> midpoints; ///< between neighbours in the codebook

private:
  [[nodiscard]] const float* row(const matrix_f& m, std::size_t i) const {
    return m.data() + i * columns;
  }
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
    midpoints.push_back(0.5f * static_cast<float>(f.codebook[i - 1] + f.codebook[i]));
  if (!descends) return;
  batch_grams.resize(columns * batch);
  for (std::size_t begin = 0; begin < columns; begin += batch) {
    const auto i = static_cast<Eigen::Index>(begin);
    const auto n = static_cast<Eigen::Index>(std::min(batch, columns - begin));
    const matrix_f r = inputs.factor().block(i, i, n, n).template triangularView<Eigen::Upper>();
    const serial_products one;
    Eigen::Map<matrix_f, 0, Eigen::OuterStride<>>(
        batch_grams.data() + begin * batch, n, n,
        Eigen::OuterStride<>(static_cast<Eigen::Index>(batch)))
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
  for (std::size_t i = 0; i < midpoints.size(); ++i)
    code = S::choose(S::less(S::broadcast(midpoints[i]), x),
                     S::broadcast(static_cast<float>(f.codebook[i + 1])), code);
  return code;
}

} // namespace edgequant::inline EDGEQUANT_ABI::quantizer::detail
