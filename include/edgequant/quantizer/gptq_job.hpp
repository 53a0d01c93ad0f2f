// SPDX-License-Identifier: MIT
/// GPTQ of some rows, whose products with the Gram matrix and its factor are taken together.
#pragma once

#include "../gemm/float_tile.hpp"
#include "gptq_descent.hpp"

namespace edgequant::inline EDGEQUANT_ABI {

struct gptq_options {
  double damping = 0.01; ///< share of the mean of the Gram matrix's diagonal that is added to it
  unsigned passes = 2;   ///< over all columns after the sweep; 0: plain GPTQ, without any descent
  unsigned threads = 0;  ///< 0: all
};

namespace quantizer::detail {

/// What a row comes to does not depend on those that are encoded with it.
template <class = void> class gptq_job {
public:
  gptq_job(const gptq_setting<>& setting, const gptq_options& options)
      : setting_(setting), options_(options), chooser_(setting.type, setting.f) {}

  /// Encodes `weights`, [rows][columns]; errors[rows]: the squared output error of each.
  void run(const float* weights, std::size_t rows, std::byte* bytes, double* errors);

private:
  static constexpr std::size_t lanes = gptq_panel<>::lanes;
  using panels = std::vector<gptq_panel<>>;

  [[nodiscard]] panels make_panels(const float* weights, std::size_t rows);
  template <class Body>
  void for_each_batch(const matrix_f& m, bool whole_rows, const panels& of, Body body);

  const gptq_setting<>& setting_;
  const gptq_options& options_;
  block_scales<> chooser_;
  gptq_scratch scratch_{setting_.batch};
  std::vector<float> residuals_; // [panels][columns][16]
  std::vector<float> sums_;      // [batch][panels][16]
  std::vector<float> floats_;
};

template <class T> auto gptq_job<T>::make_panels(const float* weights, std::size_t rows) -> panels {
  panels of;
  residuals_.assign(ceil_divide(rows, lanes) * setting_.columns * lanes, 0.0f);
  for (std::size_t r = 0; r < rows; r += lanes)
    of.emplace_back(setting_, scratch_, weights + r * setting_.columns, std::min(lanes, rows - r),
                    residuals_.data() + r * setting_.columns);
  return of;
}

/// Calls body(panel, begin, end, sums) for some columns at a time: sums[i * panels * 16] is row
/// begin + i of the matrix times the residuals of the panel's rows, of all columns or of those
/// before `begin`. False from all panels ends it.
template <class T>
template <class Body>
void gptq_job<T>::for_each_batch(const matrix_f& m, bool whole_rows, const panels& of, Body body) {
  const std::size_t stride = of.size() * lanes, height = gemm::whole_float_tiles(setting_.batch);
  sums_.resize(height * stride), floats_.resize(height * gemm::float_tile_depth);
  for (std::size_t begin = 0; begin < setting_.columns; begin += setting_.batch) {
    const std::size_t end = std::min(setting_.columns, begin + setting_.batch);
    const std::size_t depth = whole_rows ? setting_.columns : begin;
    if (depth == 0) std::fill(sums_.begin(), sums_.end(), 0.0f);
    gemm::multiply_float_rows(m.data() + begin * setting_.columns, setting_.columns, end - begin,
                              depth, residuals_.data(), setting_.columns * lanes, stride,
                              floats_.data(), sums_.data(), stride);
    bool more = false;
    for (std::size_t p = 0; p < of.size(); ++p)
      more |= body(p, begin, end, sums_.data() + p * lanes);
    if (!more) return;
  }
}

template <class T>
void gptq_job<T>::run(const float* weights, std::size_t rows, std::byte* bytes, double* errors) {
  panels swept = make_panels(weights, rows);
  const std::size_t stride = swept.size() * lanes;
  for_each_batch(setting_.inputs.factor(), false, swept,
                 [&](auto p, auto begin, auto end, float* sums) {
                   swept[p].sweep(chooser_, begin, end, sums, stride);
                   return true;
                 });
  bool moved = true;
  for (unsigned pass = 0; pass < options_.passes && moved; ++pass) {
    moved = false;
    for_each_batch(setting_.inputs.gram(), true, swept,
                   [&](auto p, auto begin, auto end, float* sums) {
                     moved |= swept[p].descend(begin, end, sums, stride);
                     return true;
                   });
  }
  // Rounding, with the scales of the untouched weights, is followed until it is worse in each row.
  panels rounded = make_panels(weights, rows);
  const auto is_better = [&](std::size_t p, std::size_t r) { // also than what is not a number
    return !(swept[p].error(r) <= rounded[p].error(r));
  };
  for_each_batch(setting_.inputs.factor(), false, rounded,
                 [&](auto p, auto begin, auto end, float* sums) {
                   rounded[p].round_plainly(chooser_, begin, end, sums, stride);
                   bool open = false;
                   for (std::size_t r = 0; r < rounded[p].rows(); ++r) open |= is_better(p, r);
                   return open;
                 });
  for (std::size_t p = 0, row = 0; p < rounded.size(); ++p)
    for (std::size_t r = 0; r < rounded[p].rows(); ++r, ++row) {
      const auto& better = is_better(p, r) ? rounded[p] : swept[p];
      errors[row] = better.error(r);
      better.store(r, bytes + row * row_bytes(setting_.type, setting_.columns));
    }
}

} // namespace quantizer::detail

} // namespace edgequant::inline EDGEQUANT_ABI
