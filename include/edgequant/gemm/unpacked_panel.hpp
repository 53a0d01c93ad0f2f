// SPDX-License-Identifier: MIT
/// Weights of any format of blocks as the micro-kernel of their products takes them: a byte a code,
/// floats for scales and minimums, a row a lane.
#pragma once

#include "../format/block_groups.hpp"
#include "activation_group.hpp"

namespace edgequant::inline EDGEQUANT_ABI::gemm {

/// 32 columns of sixteen rows. `Parts`: 2 where each 16 columns have a scale, else 1.
template <std::size_t Parts, bool HasMinimum> struct alignas(64) unpacked_panel {
  static constexpr std::size_t parts = Parts;
  static constexpr bool has_minimum = HasMinimum;
  std::int8_t codes[8][16][4]; ///< as in panel_q8_0
  float scales[Parts][16];
  float minimums[Parts][16]; ///< not used without HasMinimum
};
template <coded_format F>
using unpacked_panel_of = unpacked_panel<F::group_length == 16 ? 2 : 1, F::has_minimum>;

/// Unpacks from[rows][stride], 1 to 16 rows, `blocks` of each, into to[blocks * F::block_length /
/// 32]; missing rows are zeros.
template <coded_format F, simd::backend S = simd::native>
void unpack_panels(const typename F::block* from, std::size_t rows, std::size_t stride,
                   std::size_t blocks, unpacked_panel_of<F>* to) noexcept {
  using panel = unpacked_panel_of<F>;
  constexpr std::size_t count = F::block_length / 32;
  constexpr std::uint32_t flip = S::code_offset * 0x01010101u;
  if (rows < 16) std::memset(to, 0, blocks * count * sizeof(panel));
  for (std::size_t b = 0; b < blocks; ++b, to += count)
    for (std::size_t r = 0; r < rows; ++r) {
      block_groups<F> groups;
      unpack(from[r * stride + b], groups);
      for (std::size_t u = 0; u < count; ++u) {
        std::uint32_t words[8];
        std::memcpy(words, groups.codes + 32 * u, 32);
        for (std::size_t k = 0; k < 8; ++k) {
          words[k] ^= flip;
          std::memcpy(to[u].codes[k][r], words + k, 4);
        }
        for (std::size_t p = 0; p < panel::parts; ++p) {
          const std::size_t g = (32 * u + 16 * p) / F::group_length;
          to[u].scales[p][r] = groups.scales[g];
          if constexpr (F::has_minimum) to[u].minimums[p][r] = groups.minimums[g];
        }
      }
    }
}

/// Micro-kernel: out[c * stride + 16 * p + r] = row r of panel p times token c, for panels[Panels]
/// [groups] and x[groups]; `more`: added to what is there. The int32 sum of a part is exact. Parts
/// add (sum * scale - sum of the activations' codes * minimum) * scale in float, in their order.
template <std::size_t Panels, std::size_t Tokens, simd::backend S = simd::native, class Panel>
void multiply_unpacked(const Panel* panel, std::size_t groups, const activation_group<Tokens>* x,
                       bool more, float* out, std::size_t stride) noexcept {
  typename S::f32 total[Panels][Tokens];
  for (std::size_t c = 0; c < Tokens; ++c)
    for (std::size_t p = 0; p < Panels; ++p)
      total[p][c] = more ? S::load(out + c * stride + p * 16) : S::broadcast(0.0f);
  constexpr int steps = 8 / static_cast<int>(Panel::parts); // of four columns in a part
  for (std::size_t g = 0; g < groups; ++g)
    for (std::size_t part = 0; part < Panel::parts; ++part) {
      std::int32_t start[Tokens], code_sum[Tokens];
      decltype(S::template begin_dots<8>(0)) sum[Panels][Tokens];
      EDGEQUANT_UNROLL
      for (std::size_t c = 0; c < Tokens; ++c) {
        code_sum[c] = Panel::parts == 2 ? x[g].half_sums[part][c]
                                        : x[g].half_sums[0][c] + x[g].half_sums[1][c];
        start[c] = S::first_sum - S::code_offset * code_sum[c];
        EDGEQUANT_UNROLL
        for (std::size_t p = 0; p < Panels; ++p) sum[p][c] = S::template begin_dots<8>(start[c]);
      }
      EDGEQUANT_UNROLL
      for (int i = 0; i < steps; ++i) {
        const int k = static_cast<int>(part) * steps + i;
        typename S::i8 w[Panels];
        EDGEQUANT_UNROLL
        for (std::size_t p = 0; p < Panels; ++p)
          w[p] = S::load_codes(panel[p * groups + g].codes[k][0]);
        EDGEQUANT_UNROLL
        for (std::size_t c = 0; c < Tokens; ++c) {
          const auto codes = S::broadcast_codes(x[g].codes[c], k);
          EDGEQUANT_UNROLL
          for (std::size_t p = 0; p < Panels; ++p)
            sum[p][c] = S::template add_dot<8>(sum[p][c], w[p], codes);
        }
      }
      EDGEQUANT_UNROLL
      for (std::size_t p = 0; p < Panels; ++p) {
        const auto scale = S::load(panel[p * groups + g].scales[part]);
        const auto shift = S::shift_of(scale);
        EDGEQUANT_UNROLL
        for (std::size_t c = 0; c < Tokens; ++c) {
          auto value = S::scale_sum(S::template end_dots<8>(sum[p][c], start[c]), scale, shift);
          if constexpr (Panel::has_minimum)
            value = S::multiply_add(S::load(panel[p * groups + g].minimums[part]),
                                    S::broadcast(static_cast<float>(-code_sum[c])), value);
          total[p][c] = S::multiply_add(value, S::broadcast(x[g].scales[c]), total[p][c]);
        }
      }
    }
  for (std::size_t c = 0; c < Tokens; ++c)
    for (std::size_t p = 0; p < Panels; ++p) S::store(out + c * stride + p * 16, total[p][c]);
}

} // namespace edgequant::inline EDGEQUANT_ABI::gemm
