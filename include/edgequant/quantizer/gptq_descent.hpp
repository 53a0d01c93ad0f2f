// SPDX-License-Identifier: MIT
/// Coordinate descent after GPTQ: one code, integer scale or f16 scale at a time changes, as long
/// as that lowers the output error.
#pragma once

#include "gptq_job.hpp"

#include <utility>

namespace edgequant::inline EDGEQUANT_ABI {

namespace quantizer::detail {

/// Moves single codes, steps and halves as long as that lowers the error of their row.
template <class T> void gptq_job<T>::descend() {
  shifts_.resize(static_cast<std::size_t>(weights_.cols()));
  std::vector<char> moved(shifts_.size(), 1);
  for (unsigned pass = 0; pass < options_.passes; ++pass) {
    const std::vector<char> before = std::exchange(moved, std::vector<char>(shifts_.size()));
    for (Eigen::Index b = 0; b < inputs_.size() / length_; ++b) {
      bool any = false;
      for (std::size_t r = 0; r < shifts_.size(); ++r) {
        shifts_[r].clear();
        if (!before[r]) continue;
        const auto row = static_cast<Eigen::Index>(r);
        move_halves(row, b);
        for (Eigen::Index g = b * groups_; g < (b + 1) * groups_; ++g) {
          move_scale(row, g);
          move_minimum(row, g);
          move_codes(row, g);
        }
        if (!shifts_[r].empty()) moved[r] = 1, any = true;
      }
      if (!any) continue;
      apply_updates(b, 0, b * length_);
      apply_updates(b, (b + 1) * length_, inputs_.size());
    }
  }
}

/// Adds `step` to one value. Of gram_residual_ only the rows of its block follow at once; the
/// others do in apply_updates().
template <class T> void gptq_job<T>::shift(Eigen::Index row, Eigen::Index column, double step) {
  const Eigen::Index first = column / length_ * length_;
  residual_(column, row) -= step;
  gram_residual_.col(row).segment(first, length_) -=
      step * inputs_.gram().col(column).segment(first, length_);
  shifts_[static_cast<std::size_t>(row)].push_back({column - first, step});
}

/// Subtracts the steps of block b, times their Gram columns, from gram_residual_ of columns begin
/// to end: lazy batched updates, as GPTQ has them. Each entry takes the steps in their order, so
/// that this gives what single updates would; the Gram matrix, which no cache holds, is read once
/// for all rows.
template <class T>
void gptq_job<T>::apply_updates(Eigen::Index b, Eigen::Index begin, Eigen::Index end) {
  constexpr Eigen::Index most = 64; // a part of a block's Gram columns that L1 or L2 holds
  Eigen::MatrixXd gram;
  for (; begin < end; begin += most) {
    const Eigen::Index count = std::min(most, end - begin);
    gram = inputs_.gram().block(begin, b * length_, count, length_);
    for (std::size_t r = 0; r < shifts_.size(); ++r) {
      auto to = gram_residual_.col(static_cast<Eigen::Index>(r)).segment(begin, count);
      const auto& s = shifts_[r];
      const auto column = [&](std::size_t k) { return gram.col(s[k].column); };
      std::size_t k = 0;
      for (; k + 4 <= s.size(); k += 4) // one load and one store for four steps
        to = to - s[k].step * column(k) - s[k + 1].step * column(k + 1) -
             s[k + 2].step * column(k + 2) - s[k + 3].step * column(k + 3);
      for (; k < s.size(); ++k) to -= s[k].step * column(k);
    }
  }
}

template <class T> void gptq_job<T>::move_codes(Eigen::Index row, Eigen::Index g) {
  const double scale = scales_(g, row);
  if (scale == 0) return;
  for (Eigen::Index c = g * group_; c < (g + 1) * group_; ++c) {
    // The error is a parabola in the code, with its vertex here; codes between it and the present
    // one are better too.
    const double vertex = codes_(c, row) + gram_residual_(c, row) / (inputs_.gram()(c, c) * scale);
    const double code = nearest_code(vertex);
    if (code == codes_(c, row) || !std::isfinite(vertex)) continue;
    shift(row, c, (code - codes_(c, row)) * scale);
    codes_(c, row) = code;
  }
}

/// The step whose scale is nearest, where steps are the numbers of a table or multiples of a half.
template <class T> int gptq_job<T>::nearest_step(double scale, int from) const {
  const auto off = [&](int step) {
    return std::fabs(static_cast<double>(step_value(f_.unit, step)) - scale);
  };
  if (has_half_)
    return static_cast<int>(
        std::clamp<double>(std::nearbyint(scale), f_.lowest_step, f_.highest_step));
  while (from < f_.highest_step && off(from + 1) < off(from)) ++from;
  while (from > f_.lowest_step && off(from - 1) < off(from)) --from;
  return from;
}

/// Whether a change lowers a parabola in it that begins at 0 with minus twice the slope.
[[nodiscard]] inline bool gains(double change, double curvature, double descent_slope) noexcept {
  return change * (change * curvature - 2 * descent_slope) < 0;
}

/// The best scale for the codes as they are, if what stores it is another one and better.
template <class T> void gptq_job<T>::move_scale(Eigen::Index row, Eigen::Index g) {
  const Eigen::VectorXd codes = codes_.col(row).segment(g * group_, group_);
  const double curvature =
      codes.dot(inputs_.gram().block(g * group_, g * group_, group_, group_) * codes);
  const double descent_slope = codes.dot(gram_residual_.col(row).segment(g * group_, group_));
  if (!(curvature > 0)) return;
  const double wanted = scales_(g, row) + descent_slope / curvature;
  encoded_block& block = block_of(row, g / groups_);
  const stored_scales before = block;
  if (!f_.has_steps()) {
    const auto stored =
        store_scale<half>(static_cast<float>(wanted), static_cast<float>(-f_.lowest_code));
    if (stored.inverse == 0 || !is_finite(stored.stored)) return;
    block.scale = static_cast<half>(stored.stored);
  } else {
    const double unit = has_half_ ? static_cast<double>(static_cast<float>(block.scale)) : 1.0;
    if (unit == 0 || !std::isfinite(wanted)) return;
    auto& step = block.scale_steps[g % groups_];
    step = static_cast<std::int16_t>(nearest_step(wanted / unit, step));
  }
  const double from = scales_(g, row);
  take_scales(row, g / groups_);
  const double change = scales_(g, row) - from;
  if (!gains(change, curvature, descent_slope)) {
    static_cast<stored_scales&>(block) = before;
    return take_scales(row, g / groups_);
  }
  for (Eigen::Index i = 0; i < group_; ++i)
    if (codes(i) != 0) shift(row, g * group_ + i, change * codes(i));
}

/// The same for the minimum, which all values of the group are less by.
template <class T> void gptq_job<T>::move_minimum(Eigen::Index row, Eigen::Index g) {
  if (!f_.has_minimum()) return;
  const double curvature = inputs_.gram().block(g * group_, g * group_, group_, group_).sum();
  const double descent_slope = -gram_residual_.col(row).segment(g * group_, group_).sum();
  if (!(curvature > 0)) return;
  const double wanted = minimums_(g, row) + descent_slope / curvature;
  encoded_block& block = block_of(row, g / groups_);
  const stored_scales before = block;
  if (!f_.has_steps()) {
    block.minimum = static_cast<half>(static_cast<float>(wanted));
    if (!is_finite(static_cast<float>(block.minimum))) block.minimum = before.minimum;
  } else {
    const double unit = static_cast<float>(block.minimum);
    if (unit == 0 || !std::isfinite(wanted)) return;
    block.minimum_steps[g % groups_] = static_cast<std::uint8_t>(
        std::clamp<double>(std::nearbyint(wanted / unit), f_.lowest_minimum, f_.highest_minimum));
  }
  const double from = minimums_(g, row);
  take_scales(row, g / groups_);
  const double change = minimums_(g, row) - from;
  if (!gains(change, curvature, descent_slope)) {
    static_cast<stored_scales&>(block) = before;
    return take_scales(row, g / groups_);
  }
  for (Eigen::Index i = 0; i < group_; ++i) shift(row, g * group_ + i, -change);
}

/// The halves that all groups of a block share, each for the codes and steps as they are.
template <class T> void gptq_job<T>::move_halves(Eigen::Index row, Eigen::Index b) {
  if (!has_half_ || !f_.has_steps()) return;
  const Eigen::Index first = b * length_;
  const auto gram = inputs_.gram().block(first, first, length_, length_);
  for (half encoded_block::*member : {&encoded_block::scale, &encoded_block::minimum}) {
    const bool is_scale = member == &encoded_block::scale;
    if (!is_scale && !f_.has_minimum()) continue;
    encoded_block& block = block_of(row, b);
    Eigen::VectorXd direction(length_); // values per unit of the half
    for (Eigen::Index i = 0; i < length_; ++i) {
      const auto g = static_cast<std::size_t>(i / group_);
      direction(i) = is_scale ? codes_(first + i, row) * block.scale_steps[g]
                              : -static_cast<double>(block.minimum_steps[g]);
    }
    const double curvature = direction.dot(gram * direction);
    const double descent_slope = direction.dot(gram_residual_.col(row).segment(first, length_));
    if (!(curvature > 0)) continue;
    const double from = static_cast<float>(block.*member);
    const auto moved = static_cast<half>(static_cast<float>(from + descent_slope / curvature));
    const double step = static_cast<double>(static_cast<float>(moved)) - from;
    if (!is_finite(static_cast<float>(moved)) || !gains(step, curvature, descent_slope)) continue;
    block.*member = moved;
    take_scales(row, b);
    for (Eigen::Index i = 0; i < length_; ++i)
      if (direction(i) != 0) shift(row, first + i, step * direction(i));
  }
}

} // namespace quantizer::detail

} // namespace edgequant::inline EDGEQUANT_ABI
