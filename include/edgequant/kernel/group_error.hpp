// SPDX-License-Identifier: MIT
/// What the nearest codes of a group at one scale and minimum lose, and the sums from which better
/// ones follow.
#pragma once

#include "../format/group_format.hpp"
#include "lanes.hpp"

namespace edgequant::inline EDGEQUANT_ABI::kernel {

/// The codes of a format as a search needs them: every integer from the lowest to the highest, or
/// the entries of a codebook, each `steps` above the one before, which ends at `middles`.
struct code_set {
  explicit code_set(const block_layout& f) noexcept
      : lowest(static_cast<float>(f.lowest_code)), highest(static_cast<float>(f.highest_code)) {
    for (std::size_t k = 0; k + 1 < f.codebook.size(); ++k) {
      const int low = f.codebook[k], high = f.codebook[k + 1];
      middles[gaps] = static_cast<float>(low + high) / 2;
      steps[gaps++] = static_cast<float>(high - low);
    }
  }
  float lowest, highest;
  std::size_t gaps = 0; ///< of a codebook
  float middles[15] = {}, steps[15] = {};
};

/// The codes nearest to x. Between two entries of a codebook the middle goes down.
template <simd::backend S>
[[nodiscard]] inline typename S::f64 nearest_codes(const code_set& set,
                                                   typename S::f64 x) noexcept {
  if (set.gaps == 0) return S::clamp_round(x, double{set.lowest}, double{set.highest});
  const auto near = S::narrow(x);
  auto code = S::broadcast(set.lowest);
  for (std::size_t k = 0; k < set.gaps; ++k)
    code =
        S::add(code, S::where_less(S::broadcast(set.middles[k]), near, S::broadcast(set.steps[k])));
  return S::widen(code);
}

/// Sums over a group with codes q and importance c.
struct group_sums {
  double square = 0; ///< c q^2
  double linear = 0; ///< c q
  double cross = 0;  ///< c x q
};

/// Sum of c (x + minimum - q scale)^2 with q the nearest codes, over `length` values, a multiple
/// of 16. A scale of 0 has the
/// codes that are nearest to 0. With `sums`, what they are at these codes.
template <simd::backend S = simd::native>
[[nodiscard]] double group_error(const code_set& set, std::size_t length, const float* values,
                                 const float* importance, double scale, double minimum,
                                 group_sums* sums = nullptr) noexcept {
  const auto s = S::broadcast(scale), inverse = S::broadcast(scale == 0 ? 0.0 : 1 / scale);
  const auto m = S::broadcast(minimum);
  auto error = S::broadcast(0.0), square = error, linear = error, cross = error;
  for (std::size_t i = 0; i < length; i += 16) {
    const auto x = S::widen(S::load(values + i)), c = S::widen(S::load(importance + i));
    const auto shifted = S::add(x, m);
    const auto q = nearest_codes<S>(set, S::mul(shifted, inverse));
    const auto off = S::sub(shifted, S::mul(q, s)); // the product is exact: 8 + 32 bits
    error = S::add(error, S::rounded(S::mul(S::rounded(S::mul(off, off)), c)));
    if (sums != nullptr) { // exact products but the last
      const auto cq = S::mul(c, q);
      linear = S::add(linear, cq);
      square = S::add(square, S::mul(cq, q));
      cross = S::add(cross, S::rounded(S::mul(cq, x)));
    }
  }
  if (sums != nullptr) *sums = {S::reduce_add(square), S::reduce_add(linear), S::reduce_add(cross)};
  return S::reduce_add(error);
}

/// The codes that group_error() speaks of.
template <simd::backend S = simd::native>
void group_codes(const code_set& set, std::size_t length, const float* values, double scale,
                 double minimum, std::int8_t* codes) noexcept {
  const auto inverse = S::broadcast(scale == 0 ? 0.0 : 1 / scale), m = S::broadcast(minimum);
  for (std::size_t i = 0; i < length; i += 16) {
    const auto x = S::add(S::widen(S::load(values + i)), m);
    const auto q = S::narrow(nearest_codes<S>(set, S::mul(x, inverse)));
    S::store_i8(codes + i, S::clamp_round(q, -128, 127));
  }
}

/// The error of a group at sixteen scales, with a minimum each, in float: to choose candidates by.
/// The same on every machine. Values and importance are at most about 1.
template <simd::backend S = simd::native>
[[nodiscard]] typename S::f32
errors_of_16(const code_set& set, std::size_t length, const float* values, const float* importance,
             typename S::f32 scales, typename S::f32 minimums) noexcept {
  const auto inverse =
      S::where_less(S::broadcast(0.0f), S::abs(scales), S::div(S::broadcast(1.0f), scales));
  auto error = S::broadcast(0.0f);
  for (std::size_t i = 0; i < length; ++i) {
    const auto shifted = S::add(S::broadcast(values[i]), minimums);
    const auto scaled = S::mul(shifted, inverse);
    auto code = S::broadcast(set.lowest);
    if (set.gaps == 0)
      code = S::to_f32(S::clamp_round(scaled, set.lowest, set.highest));
    else
      for (std::size_t k = 0; k < set.gaps; ++k)
        code = S::add(
            code, S::where_less(S::broadcast(set.middles[k]), scaled, S::broadcast(set.steps[k])));
    const auto off = S::sub(shifted, S::rounded(S::mul(code, scales)));
    const auto square = S::rounded(S::mul(off, off));
    error = S::add(error, S::rounded(S::mul(square, S::broadcast(importance[i]))));
  }
  return error;
}

} // namespace edgequant::inline EDGEQUANT_ABI::kernel
