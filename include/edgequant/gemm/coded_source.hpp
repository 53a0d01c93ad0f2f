// SPDX-License-Identifier: MIT
/// The micro-kernel of products with codes, scales and minimums, over any place that they lie in.
#pragma once

#include "activation_group.hpp"

#include <type_traits>
#include <utility>

namespace edgequant::inline EDGEQUANT_ABI::gemm {

/// Calls body(std::integral_constant<int, K>) for K = 0 .. Count - 1.
template <int Count, class Body> inline void for_each_constant(Body body) noexcept {
  [&]<int... K>(std::integer_sequence<int, K...>) { (body(std::integral_constant<int, K>{}), ...); }
  (std::make_integer_sequence<int, Count>{});
}

/// How many dot products the backend adds in one operation.
template <simd::backend S, int Bits> [[nodiscard]] constexpr int dots_together() noexcept {
  if constexpr (requires { S::template dots_together<Bits>; })
    return S::template dots_together<Bits>;
  else
    return 1;
}

/// 32 columns of sixteen rows, a byte a code, a float a scale. `Parts`: 2 where each 16 columns
/// have a scale, else 1. Codes are too large by `Offset` and go to dot products of `DotBits`.
template <std::size_t Parts, bool HasMinimum, int Offset, int DotBits>
struct alignas(64) unpacked_panel {
  static constexpr std::size_t parts = Parts;
  static constexpr bool has_minimum = HasMinimum;
  static constexpr int offset = Offset, dot_bits = DotBits;
  std::int8_t codes[8][16][4]; ///< [k][r]: codes 4k .. 4k + 3 of row r
  float scales[Parts][16];
  float minimums[Parts][16]; ///< not used without HasMinimum
};

/// Such panels, [panels][groups].
template <class Panel, simd::backend S> struct unpacked_source {
  struct unit {
    static constexpr std::size_t parts = Panel::parts;
    static constexpr bool has_minimum = Panel::has_minimum;
    static constexpr int offset = Panel::offset, dot_bits = Panel::dot_bits;
    const Panel* panel;
    template <int K> [[nodiscard]] typename S::i8 codes() const noexcept {
      return S::load_codes(panel->codes[K][0]);
    }
    [[nodiscard]] typename S::f32 scale(std::size_t part) const noexcept {
      return S::load(panel->scales[part]);
    }
    [[nodiscard]] typename S::f32 minimum(std::size_t part) const noexcept {
      return S::load(panel->minimums[part]);
    }
  };
  const Panel* panels;
  std::size_t groups;
  [[nodiscard]] unit at(std::size_t panel, std::size_t group) const noexcept {
    return {panels + panel * groups + group};
  }
  void prefetch(std::size_t, std::size_t) const noexcept {}
};

/// Micro-kernel: out[c * stride + 16 * p + r] = row r of panel p times token c, for groups of 32
/// columns; `more`: added to what is there. A source has at(panel, group), a unit with codes<K>(),
/// scale(part) and minimum(part). The int32 sum of a part is exact. Parts add (sum * scale - sum of
/// the activations' codes * minimum) * scale in float, in their order.
template <std::size_t Panels, std::size_t Tokens, simd::backend S = simd::native, class Source>
void multiply_coded(const Source& source, std::size_t groups, const activation_group<Tokens>* x,
                    bool more, float* out, std::size_t stride) noexcept {
  using unit = typename Source::unit;
  constexpr int bits = unit::dot_bits, steps = 8 / static_cast<int>(unit::parts);
  constexpr int together = dots_together<S, bits>();
  typename S::f32 total[Panels][Tokens];
  EDGEQUANT_UNROLL
  for (std::size_t c = 0; c < Tokens; ++c) {
    EDGEQUANT_UNROLL
    for (std::size_t p = 0; p < Panels; ++p)
      total[p][c] = more ? S::load(out + c * stride + p * 16) : S::broadcast(0.0f);
  }
  for (std::size_t g = 0; g < groups; ++g) {
    for (std::size_t p = 0; p < Panels; ++p) source.prefetch(p, g);
    for_each_constant<static_cast<int>(unit::parts)>([&](auto part) {
      std::int32_t start[Tokens], code_sum[Tokens];
      decltype(S::template begin_dots<bits>(0)) sum[Panels][Tokens];
      EDGEQUANT_UNROLL
      for (std::size_t c = 0; c < Tokens; ++c) {
        code_sum[c] = unit::parts == 2 ? x[g].half_sums[part][c]
                                       : x[g].half_sums[0][c] + x[g].half_sums[1][c];
        start[c] = S::first_sum - unit::offset * code_sum[c];
        EDGEQUANT_UNROLL
        for (std::size_t p = 0; p < Panels; ++p) sum[p][c] = S::template begin_dots<bits>(start[c]);
      }
      for_each_constant<steps / together>([&](auto i) {
        constexpr int k = part * steps + i * together;
        typename S::i8 w[Panels][together];
        EDGEQUANT_UNROLL
        for (std::size_t p = 0; p < Panels; ++p)
          for_each_constant<together>(
              [&](auto j) { w[p][j] = source.at(p, g).template codes<k + j>(); });
        EDGEQUANT_UNROLL
        for (std::size_t c = 0; c < Tokens; ++c) {
          decltype(S::broadcast_codes(x[g].codes[c], k)) codes[together];
          EDGEQUANT_UNROLL
          for (int j = 0; j < together; ++j) codes[j] = S::broadcast_codes(x[g].codes[c], k + j);
          EDGEQUANT_UNROLL
          for (std::size_t p = 0; p < Panels; ++p)
            if constexpr (together > 1)
              sum[p][c] = S::template add_dots<bits>(sum[p][c], w[p], codes);
            else
              sum[p][c] = S::template add_dot<bits>(sum[p][c], w[p][0], codes[0]);
        }
      });
      EDGEQUANT_UNROLL
      for (std::size_t p = 0; p < Panels; ++p) {
        const auto scale = source.at(p, g).scale(part);
        const auto shift = S::shift_of(scale);
        EDGEQUANT_UNROLL
        for (std::size_t c = 0; c < Tokens; ++c) {
          auto value = S::scale_sum(S::template end_dots<bits>(sum[p][c], start[c]), scale, shift);
          if constexpr (unit::has_minimum)
            value = S::multiply_add(source.at(p, g).minimum(part),
                                    S::broadcast(static_cast<float>(-code_sum[c])), value);
          total[p][c] = S::multiply_add(value, S::broadcast(x[g].scales[c]), total[p][c]);
        }
      }
    });
  }
  EDGEQUANT_UNROLL
  for (std::size_t c = 0; c < Tokens; ++c) {
    EDGEQUANT_UNROLL
    for (std::size_t p = 0; p < Panels; ++p) S::store(out + c * stride + p * 16, total[p][c]);
  }
}

} // namespace edgequant::inline EDGEQUANT_ABI::gemm
