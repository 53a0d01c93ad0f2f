// SPDX-License-Identifier: MIT
/// The codes of a quantized matrix in training: one moves to its neighbour when the gradients of
/// many steps agree.
#pragma once

#include "../core/matrix.hpp"
#include "../format/block_packing.hpp"
#include "../system/parallel_for.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <span>
#include <vector>

namespace edgequant::inline EDGEQUANT_ABI {

/// A code that may move to its neighbour, and how much a loss falls by that, to first order.
struct code_move {
  std::size_t row = 0, column = 0;
  float decrease = 0;
};

/// The codes of a matrix, each with an offset from its value in units of a step to the next code.
/// Gradients, divided by their usual size, push the offsets; a code whose offset has passed half a
/// step may move by one, and its offset begins anew at 0. What is usual for an element is the root
/// of (mean square of its row) * (mean square of its column) / (mean square of the matrix), as in
/// Adafactor (Shazeer and Stern 2018), averaged over steps. Memory: a float a weight.
class code_moves {
public:
  /// An encodable format; the bytes, whole rows one after the other, are changed by move() and must
  /// outlive it.
  code_moves(format type, std::span<std::byte> bytes, std::size_t columns)
      : type_(type), bytes_(bytes), columns_(columns), row_bytes_(row_bytes(type, columns)) {}

  /// Pushes against the gradient of a loss for the values, [rows][columns]; a gradient of usual
  /// size moves an offset by `rate`. Appends the codes that may move.
  void push(const matrix_f& gradient, float rate, std::vector<code_move>& ready,
            unsigned threads = 0);
  /// Moves a code that push() has named.
  void move(const code_move& m);

private:
  static constexpr float averaging = 0.1f; ///< of squares: what a step counts, once there are ten
  static constexpr std::size_t rows_together = 16;
  void average_squares(const matrix_f& gradient);
  template <encodable_format F>
  void push_row(std::size_t row, const float* gradient, float rate, std::vector<code_move>& ready);

  format type_;
  std::span<std::byte> bytes_;
  std::size_t columns_, row_bytes_;
  std::size_t steps_ = 0;
  std::vector<float> offsets_;
  Eigen::VectorXf row_squares_, column_squares_;
};

namespace train::detail {
/// The neighbour of a code, or itself where there is none.
template <class Codes> [[nodiscard]] std::int8_t next_code(std::int8_t code, bool up) noexcept {
  if constexpr (requires { Codes::ascending; }) {
    const auto& all = Codes::ascending;
    const auto at = std::lower_bound(all.begin(), all.end(), code);
    if (up) return at + 1 == all.end() ? code : *(at + 1);
    return at == all.begin() ? code : *(at - 1);
  } else {
    return static_cast<std::int8_t>(
        std::clamp(code + (up ? 1 : -1), Codes::lowest, Codes::highest));
  }
}
} // namespace train::detail

inline void code_moves::average_squares(const matrix_f& gradient) {
  const auto rows = static_cast<float>(gradient.rows()), columns = static_cast<float>(columns_);
  if (steps_ == 0) {
    offsets_.resize(static_cast<std::size_t>(gradient.rows()) * columns_);
    row_squares_ = Eigen::VectorXf::Zero(gradient.rows());
    column_squares_ = Eigen::VectorXf::Zero(gradient.cols());
  }
  const float share = std::max(averaging, 1 / static_cast<float>(++steps_));
  row_squares_ += share * (gradient.rowwise().squaredNorm() / columns - row_squares_);
  column_squares_ +=
      share * (gradient.colwise().squaredNorm().transpose() / rows - column_squares_);
}

template <encodable_format F>
void code_moves::push_row(std::size_t row, const float* gradient, float rate,
                          std::vector<code_move>& ready) {
  typename F::block block;
  block_groups<F> groups;
  const float row_square = row_squares_[static_cast<Eigen::Index>(row)] / row_squares_.mean();
  const std::byte* at = bytes_.data() + row * row_bytes_;
  for (std::size_t first = 0; first < columns_; first += F::block_length, at += sizeof block) {
    std::memcpy(&block, at, sizeof block);
    unpack(block, groups);
    for (std::size_t i = 0; i < F::block_length; ++i) {
      const std::size_t column = first + i;
      const float scale = groups.scales[i / F::group_length];
      const float usual =
          std::sqrt(row_square * column_squares_[static_cast<Eigen::Index>(column)]);
      if (!(usual > 0)) continue;
      const float push = rate * gradient[column] / usual;
      float& offset = offsets_[row * columns_ + column];
      offset += scale < 0 ? push : -push;
      if (std::fabs(offset) <= 0.5f) continue;
      const auto next = train::detail::next_code<typename F::codes>(groups.codes[i], offset > 0);
      const float change = static_cast<float>(next - groups.codes[i]) * scale;
      // It waits where the last gradient says otherwise, and has no more to say at the end.
      if (change == 0)
        offset = 0;
      else if (change * gradient[column] < 0)
        ready.push_back({row, column, -change * gradient[column]});
    }
  }
}

inline void code_moves::push(const matrix_f& gradient, float rate, std::vector<code_move>& ready,
                             unsigned threads) {
  average_squares(gradient);
  if (!(row_squares_.mean() > 0)) return;
  const auto rows = static_cast<std::size_t>(gradient.rows());
  std::vector<std::vector<code_move>> parts((rows + rows_together - 1) / rows_together);
  visit_encodable_format(type_, [&]<class F>(F) {
    parallel_for(parts.size(), threads, [&](std::size_t part) {
      const std::size_t end = std::min(rows, (part + 1) * rows_together);
      for (std::size_t row = part * rows_together; row < end; ++row)
        push_row<F>(row, gradient.row(static_cast<Eigen::Index>(row)).data(), rate, parts[part]);
    });
  });
  for (const auto& part : parts) ready.insert(ready.end(), part.begin(), part.end());
}

inline void code_moves::move(const code_move& m) {
  float& offset = offsets_[m.row * columns_ + m.column];
  visit_encodable_format(type_, [&]<class F>(F) {
    typename F::block block;
    std::byte* at = bytes_.data() + m.row * row_bytes_ + m.column / F::block_length * sizeof block;
    std::memcpy(&block, at, sizeof block);
    encoded_block changed;
    unpack_codes(block, changed.codes);
    unpack_scales(block, changed);
    std::int8_t& code = changed.codes[m.column % F::block_length];
    code = train::detail::next_code<typename F::codes>(code, offset > 0);
    pack(changed, block);
    std::memcpy(at, &block, sizeof block);
  });
  offset = 0;
}

} // namespace edgequant::inline EDGEQUANT_ABI
