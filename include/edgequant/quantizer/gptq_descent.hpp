// SPDX-License-Identifier: MIT
/// Coordinate descent in GPTQ: one code, integer scale or f16 scale at a time changes where that
/// lowers the output error.
#pragma once

#include "gptq_panel.hpp"

namespace edgequant::inline EDGEQUANT_ABI::quantizer::detail {

/// The columns of one block of a panel. A step that takes `x` off the residual of column i changes
/// the error by x (x gram(i, i) - 2 slope(i)).
template <class T> struct gptq_panel<T>::block_of_gram {
  std::size_t first, length;
  const float* gram; ///< [length][gram_stride]
  std::size_t gram_stride;
  float* slopes; ///< [length][stride]: the Gram matrix times the residuals
  std::size_t stride;
  float* residuals; ///< [length][16]
  double* errors;   ///< [16]
  bool moved = false;

  [[nodiscard]] float at(std::size_t i, std::size_t k) const { return gram[i * gram_stride + k]; }
  [[nodiscard]] f32 slope(std::size_t i) const { return S::load(slopes + i * stride); }
  void shift(std::size_t i, f32 x) {
    float* own = residuals + i * lanes;
    S::store(own, S::sub(S::load(own), x));
    add_multiples(gram + i * gram_stride, S::sub(S::broadcast(0.0f), x), length, slopes, stride);
  }
  /// Of the rows, each along a direction that has `count` columns, place(k), with value(k): asks
  /// step(row, curvature, slope) how far to go, and goes.
  template <class Place, class Value, class Step>
  void move_along(std::size_t rows, std::size_t count, Place place, Value value, Step step) {
    f32 curvature = S::broadcast(0.0f), descent = curvature;
    for (std::size_t k = 0; k < count; ++k) {
      const float* row = gram + place(k) * gram_stride;
      f32 others = S::broadcast(0.0f);
      for (std::size_t m = 0; m < k; ++m)
        others = S::multiply_add(S::broadcast(row[place(m)]), value(m), others);
      const f32 own = S::mul(S::broadcast(row[place(k)]), value(k));
      curvature = S::multiply_add(value(k), S::add(own, S::add(others, others)), curvature);
      descent = S::multiply_add(value(k), slope(place(k)), descent);
    }
    float curvatures[lanes], descents[lanes], steps[lanes] = {};
    S::store(curvatures, curvature), S::store(descents, descent);
    bool any = false;
    for (std::size_t r = 0; r < rows; ++r) {
      if (!(curvatures[r] > 0)) continue;
      const double c = curvatures[r], d = descents[r], x = step(r, c, d);
      if (x == 0) continue;
      steps[r] = static_cast<float>(x);
      errors[r] += x * (x * c - 2 * d);
      any = moved = true;
    }
    if (!any) return;
    for (std::size_t k = 0; k < count; ++k) shift(place(k), S::mul(S::load(steps), value(k)));
  }
};

template <class T>
bool gptq_panel<T>::descend(std::size_t begin, std::size_t end, float* slopes, std::size_t stride) {
  return descend(begin, end, setting_.gram(begin) + begin, setting_.columns, slopes, stride,
                 errors_);
}

/// The same for columns that have just been rounded, with the error that they have when all later
/// ones adapt to them.
template <class T> void gptq_panel<T>::descend_on_adapted(std::size_t begin, std::size_t end) {
  float* entries = scratch_.adapted.data(); // of R^T times the residuals
  std::copy(scratch_.sums.begin(), scratch_.sums.end(), entries);
  for (std::size_t i = begin; i < end; ++i)
    add_multiples(setting_.factor(i) + i, residual(i), end - i, entries + (i - begin) * lanes,
                  lanes);
  std::fill(scratch_.slopes.begin(), scratch_.slopes.end(), 0.0f);
  for (std::size_t i = begin; i < end; ++i)
    add_multiples(setting_.factor(i) + begin, load(scratch_.adapted, i - begin), i - begin + 1,
                  scratch_.slopes.data(), lanes);
  double changes[lanes] = {}; // the errors are summed up from the residuals as they become
  (void)descend(begin, end, setting_.batch_gram(begin), setting_.batch, scratch_.slopes.data(),
                lanes, changes);
}

/// gram[i * gram_stride + k]: of columns begin + i and begin + k.
template <class T>
bool gptq_panel<T>::descend(std::size_t begin, std::size_t end, const float* gram,
                            std::size_t gram_stride, float* slopes, std::size_t stride,
                            double* errors) {
  constexpr int rounds = 2; // cheap beside the product that the slopes come from
  bool moved = false, more = true;
  for (int round = 0; round < rounds && more; ++round) {
    more = false;
    for (std::size_t first = begin; first < end; first += setting_.length) {
      const std::size_t at_first = first - begin, next = at_first + setting_.length;
      std::copy_n(residuals_ + first * lanes, setting_.length * lanes, scratch_.adapted.data());
      block_of_gram block{first,
                          setting_.length,
                          gram + at_first * gram_stride + at_first,
                          gram_stride,
                          slopes + at_first * stride,
                          stride,
                          residuals_ + first * lanes,
                          errors};
      if (!move_all(block, round == 0)) continue;
      more = moved = true;
      for (std::size_t i = at_first; i < next; ++i) { // the slopes of the other blocks
        const f32 change = S::sub(residual(begin + i), load(scratch_.adapted, i - at_first));
        const float* row = gram + i * gram_stride;
        add_multiples(row, change, at_first, slopes, stride);
        add_multiples(row + next, change, end - begin - next, slopes + next * stride, stride);
      }
    }
  }
  return moved;
}

template <class T> bool gptq_panel<T>::move_all(block_of_gram& block, bool halves) {
  if (halves) move_halves(block); // costs as much as all else; a second time gains next to nothing
  for (std::size_t g = block.first / setting_.group;
       g < (block.first + setting_.length) / setting_.group; ++g) {
    move_scales(block, g);
    move_minimums(block, g);
    move_codes(block, g);
  }
  return block.moved;
}

template <class T> void gptq_panel<T>::move_codes(block_of_gram& block, std::size_t g) {
  const f32 scale = load(scales_, g), inverse = load(inverses_, g), zero = S::broadcast(0.0f);
  auto changes = S::broadcast(0.0); // in double: squares of bf16-sized weights overflow a float
  bool any = false;
  for (std::size_t k = 0; k < setting_.group; ++k) {
    const std::size_t i = setting_.place[g * setting_.group + k], own = i - block.first;
    // The error is a parabola in the code, with its vertex here; codes between it and the present
    // one are better too.
    const f32 slope = block.slope(own), code = load(codes_, i);
    const float curvature = block.at(own, own);
    const f32 away = S::mul(S::mul(slope, S::broadcast(1 / curvature)), inverse);
    const f32 best = setting_.nearest_code(S::add(code, away));
    const f32 x = S::mul(S::sub(best, code), scale);
    if (S::less(zero, S::abs(x)) == 0) continue;
    const f32 half_change = S::sub(S::mul(x, S::broadcast(0.5f * curvature)), slope);
    changes = S::add(changes, S::mul(S::widen(S::add(x, x)), S::widen(half_change)));
    S::store(at(codes_, i), best);
    block.shift(own, x);
    any = true;
  }
  if (!any) return;
  block.moved = true;
  double sums[lanes];
  S::store(sums, changes);
  for (std::size_t r = 0; r < rows_; ++r) block.errors[r] += sums[r];
}

/// The step whose scale is nearest, where steps are the numbers of a table or multiples of a half.
template <class T> int gptq_panel<T>::nearest_step(double scale, int from) const {
  const block_layout& f = setting_.f;
  const auto off = [&](int step) {
    return std::fabs(static_cast<double>(step_value(f.unit, step)) - scale);
  };
  if (setting_.has_half)
    return static_cast<int>(
        std::clamp<double>(std::nearbyint(scale), f.lowest_step, f.highest_step));
  while (from < f.highest_step && off(from + 1) < off(from)) ++from;
  while (from > f.lowest_step && off(from - 1) < off(from)) --from;
  return from;
}

/// Whether a change lowers a parabola in it that begins at 0 with minus twice the slope.
[[nodiscard]] inline bool gains(double change, double curvature, double slope) noexcept {
  return change * (change * curvature - 2 * slope) < 0;
}

/// The best scale for the codes as they are, if what stores it is another one and better: how much
/// more it is.
template <class T>
double gptq_panel<T>::move_scale(std::size_t row, std::size_t g, double curvature, double slope) {
  const std::size_t groups = setting_.f.groups(), b = g / groups;
  stored_scales& block = block_of(row, b);
  const stored_scales before = block;
  const double from = scales_[g * lanes + row], wanted = from + slope / curvature;
  if (!setting_.f.has_steps()) {
    const auto stored =
        store_scale<half>(static_cast<float>(wanted), static_cast<float>(-setting_.f.lowest_code));
    if (stored.inverse == 0 || !is_finite(stored.stored)) return 0;
    block.scale = static_cast<half>(stored.stored);
  } else {
    const double unit =
        setting_.has_half ? static_cast<double>(static_cast<float>(block.scale)) : 1.0;
    if (unit == 0 || !std::isfinite(wanted)) return 0;
    auto& step = block.scale_steps[g % groups];
    step = static_cast<std::int16_t>(nearest_step(wanted / unit, step));
  }
  take_scales(row, b);
  const double change = double{scales_[g * lanes + row]} - from;
  if (gains(change, curvature, slope)) return change;
  block = before;
  take_scales(row, b);
  return 0;
}

template <class T> void gptq_panel<T>::move_scales(block_of_gram& block, std::size_t g) {
  const std::size_t* places = setting_.place.data() + g * setting_.group;
  block.move_along(
      rows_, setting_.group, [&](std::size_t k) { return places[k] - block.first; },
      [&](std::size_t k) { return load(codes_, places[k]); },
      [&](std::size_t row, double curvature, double slope) {
        return move_scale(row, g, curvature, slope);
      });
}

/// The same for the minimum, which all values of the group are less by: how much less it is.
template <class T>
double gptq_panel<T>::move_minimum(std::size_t row, std::size_t g, double curvature, double slope) {
  const std::size_t groups = setting_.f.groups(), b = g / groups;
  stored_scales& block = block_of(row, b);
  const stored_scales before = block;
  const double from = minimums_[g * lanes + row], wanted = from - slope / curvature;
  if (!setting_.f.has_steps()) {
    block.minimum = static_cast<half>(static_cast<float>(wanted));
    if (!is_finite(static_cast<float>(block.minimum))) block.minimum = before.minimum;
  } else {
    const double unit = static_cast<float>(block.minimum);
    if (unit == 0 || !std::isfinite(wanted)) return 0;
    block.minimum_steps[g % groups] = static_cast<std::uint8_t>(std::clamp<double>(
        std::nearbyint(wanted / unit), setting_.f.lowest_minimum, setting_.f.highest_minimum));
  }
  take_scales(row, b);
  const double change = from - double{minimums_[g * lanes + row]};
  if (gains(change, curvature, slope)) return change;
  block = before;
  take_scales(row, b);
  return 0;
}

template <class T> void gptq_panel<T>::move_minimums(block_of_gram& block, std::size_t g) {
  if (!setting_.f.has_minimum()) return;
  const std::size_t* places = setting_.place.data() + g * setting_.group;
  block.move_along(
      rows_, setting_.group, [&](std::size_t k) { return places[k] - block.first; },
      [](std::size_t) { return S::broadcast(1.0f); },
      [&](std::size_t row, double curvature, double slope) {
        return move_minimum(row, g, curvature, slope);
      });
}

template <class T>
double gptq_panel<T>::move_half(std::size_t row, std::size_t b, half stored_scales::*member,
                                double curvature, double slope) {
  stored_scales& block = block_of(row, b);
  const double from = static_cast<float>(block.*member);
  const auto moved = static_cast<half>(static_cast<float>(from + slope / curvature));
  const double change = static_cast<double>(static_cast<float>(moved)) - from;
  if (!is_finite(static_cast<float>(moved)) || !gains(change, curvature, slope)) return 0;
  block.*member = moved;
  take_scales(row, b);
  return change;
}

/// The halves that all groups of a block share, each for the codes and steps as they are. What they
/// move along is the values per unit of the half.
template <class T> void gptq_panel<T>::move_halves(block_of_gram& block) {
  if (!setting_.has_half || !setting_.f.has_steps()) return;
  const std::size_t groups = setting_.f.groups(), b = block.first / setting_.length;
  float steps[stored_scales::most_groups][lanes] = {};
  for (half stored_scales::*member : {&stored_scales::scale, &stored_scales::minimum}) {
    const bool is_scale = member == &stored_scales::scale;
    if (!is_scale && !setting_.f.has_minimum()) continue;
    for (std::size_t r = 0; r < rows_; ++r)
      for (std::size_t g = 0; g < groups; ++g)
        steps[g][r] = is_scale ? static_cast<float>(block_of(r, b).scale_steps[g])
                               : -static_cast<float>(block_of(r, b).minimum_steps[g]);
    for (std::size_t i = 0; i < setting_.length; ++i) {
      const f32 step = S::load(steps[setting_.group_of(block.first + i) - b * groups]);
      S::store(at(scratch_.direction, i),
               is_scale ? S::mul(load(codes_, block.first + i), step) : step);
    }
    block.move_along(
        rows_, setting_.length, [](std::size_t k) { return k; },
        [&](std::size_t k) { return load(scratch_.direction, k); },
        [&](std::size_t row, double curvature, double slope) {
          return move_half(row, b, member, curvature, slope);
        });
  }
}

} // namespace edgequant::inline EDGEQUANT_ABI::quantizer::detail
