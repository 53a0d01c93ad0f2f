// SPDX-License-Identifier: MIT
/// From a group of values to its scale, under every rule.
#pragma once

#include "../kernel/absmax.hpp"
#include "scale_rule.hpp"
#include "scale_search.hpp"

#include <array>

namespace edgequant::inline EDGEQUANT_ABI {

/// Chooses the scales of a tensor's groups by one rule. An object is scratch memory for one thread.
template <int Bits, scale_type Scale, std::size_t Longest = per_tensor> class scale_chooser {
public:
  explicit scale_chooser(const scale_choice& choice) : choice_(choice) {}

  /// The scale of one group of finite values. `importance` is used by the mse rule only: one
  /// finite, non-negative number per value, an empty span, or no_importance. A result with an
  /// infinite `stored` says that the scale is beyond the stored type's range.
  template <class Importance>
  [[nodiscard]] group_scale operator()(std::span<const float> values, Importance importance);

private:
  [[nodiscard]] float percentile(std::span<const float> values);
  [[nodiscard]] static float clipping_scale(std::span<const float> values, float scale);

  scale_choice choice_;
  scale_search<Bits, Scale, Longest> search_;
  std::vector<std::uint32_t> magnitudes_;
};

/// The scale of ggml's reference encoders. They divide by the scale before it is rounded to half,
/// and, below 8 bits, store a negative zero for a group of zeros.
template <int Bits, scale_type Scale>
[[nodiscard]] group_scale ggml_scale(std::span<const float> values) noexcept {
  constexpr float top = -kernel::code_range<Bits>::lowest;
  const float exact = Bits == 8 ? std::bit_cast<float>(kernel::absmax_bits(values)) / top
                                : kernel::largest_value(values) / -top;
  const float scale = finite_at(exact, top), inverse = 1.0f / scale;
  if (!is_finite(inverse)) return {std::copysign(0.0f, scale), 0.0f};
  return {static_cast<float>(static_cast<Scale>(scale)), inverse};
}

template <int Bits, scale_type Scale, std::size_t Longest>
template <class Importance>
group_scale scale_chooser<Bits, Scale, Longest>::operator()(std::span<const float> values,
                                                            Importance importance) {
  constexpr float top = kernel::code_range<Bits>::highest;
  constexpr float bottom = kernel::code_range<Bits>::lowest;
  const auto store = [](float scale, float code) { return store_scale<Scale>(scale, code); };
  switch (choice_.rule) {
  case scale_rule::absmax:
    return store(std::bit_cast<float>(kernel::absmax_bits(values)) / top, top);
  case scale_rule::signed_max:
    return store(kernel::largest_value(values) / bottom, bottom);
  case scale_rule::ggml:
    return ggml_scale<Bits, Scale>(values);
  case scale_rule::percentile:
    return store(clipping_scale(values, percentile(values) / top), top);
  case scale_rule::mse:
    break;
  }
  // A group that even the least scale without clipping cannot hold is refused, not clipped. Nor
  // may the largest code overflow float: such a group keeps the scale of its largest value.
  const auto widest = [&] { return store(kernel::largest_value(values) / bottom, bottom); };
  const float most = std::bit_cast<float>(kernel::absmax_bits(values));
  if (!is_finite(store(most / -bottom, bottom).stored)) return widest();
  const float best = search_(values, importance);
  return is_finite(best * bottom) ? store(best, bottom) : widest();
}

/// `scale`, or less where a value that it clips would have the lowest code and overflow with it.
template <int Bits, scale_type Scale, std::size_t Longest>
float scale_chooser<Bits, Scale, Longest>::clipping_scale(std::span<const float> values,
                                                          float scale) {
  constexpr float bottom = kernel::code_range<Bits>::lowest;
  if (is_finite(scale * bottom)) return scale;
  const bool lowest = std::any_of(values.begin(), values.end(),
                                  [&](float x) { return x <= (bottom + 0.5f) * scale; });
  return lowest ? largest_float / -bottom : scale;
}

/// Nearest-rank percentile of the magnitudes. Where it is zero but not all values are, the largest
/// magnitude takes its place: a sparse group is not erased.
template <int Bits, scale_type Scale, std::size_t Longest>
float scale_chooser<Bits, Scale, Longest>::percentile(std::span<const float> values) {
  if (values.empty()) return 0;
  magnitudes_.resize(values.size());
  std::transform(values.begin(), values.end(), magnitudes_.begin(), abs_bits);
  const double exact = choice_.percentile / 100 * static_cast<double>(values.size());
  const auto rank = static_cast<std::size_t>(std::max(1.0, std::ceil(exact)));
  const auto nth =
      magnitudes_.begin() + static_cast<std::ptrdiff_t>(std::min(rank, values.size()) - 1);
  std::nth_element(magnitudes_.begin(), nth, magnitudes_.end());
  return std::bit_cast<float>(*nth != 0 ? *nth : kernel::absmax_bits(values));
}

/// Scales of sixteen groups at once, for the rules that need no more of a group than its value of
/// largest magnitude. The same bits as scale_chooser: each step is one IEEE operation.
struct half_scales {
  std::array<std::uint16_t, 16> stored; ///< bits of the halves
  std::array<float, 16> inverse;
  std::uint32_t too_large; ///< bit i: the half of group i is infinite
};

/// Whether half_scales knows the rule.
[[nodiscard]] constexpr bool follows_from_largest(scale_rule rule) noexcept {
  return rule == scale_rule::absmax || rule == scale_rule::signed_max || rule == scale_rule::ggml;
}

/// Whether the rule's scale follows from the largest magnitude, without its sign.
template <int Bits> [[nodiscard]] constexpr bool signless(scale_rule rule) noexcept {
  return rule == scale_rule::absmax || (rule == scale_rule::ggml && Bits == 8);
}

template <int Bits, simd::backend S = simd::native>
[[nodiscard]] half_scales scales_from_largest(scale_rule rule, typename S::f32 largest) noexcept {
  constexpr float top = kernel::code_range<Bits>::highest;
  constexpr float bottom = kernel::code_range<Bits>::lowest;
  const auto one = S::broadcast(1.0f);
  const auto scale = S::div(largest, S::broadcast(signless<Bits>(rule) ? top : bottom));
  half_scales result;
  S::store_f16(result.stored.data(), scale);
  const auto stored = S::load_f16(result.stored.data());
  const auto inverse = S::div(one, rule == scale_rule::ggml ? scale : stored);
  const auto infinity = S::broadcast(std::bit_cast<float>(infinity_bits));
  S::store(result.inverse.data(), S::where_less(S::abs(inverse), infinity, inverse));
  result.too_large = ~S::less(S::abs(stored), infinity) & 0xffff;
  // ggml stores the sign of a zero scale.
  const std::uint32_t unusable = ~S::less(S::abs(inverse), infinity) & 0xffff;
  if (rule != scale_rule::ggml)
    for (auto rest = unusable; rest != 0; rest &= rest - 1)
      result.stored[static_cast<std::size_t>(std::countr_zero(rest))] = 0;
  return result;
}

} // namespace edgequant::inline EDGEQUANT_ABI
