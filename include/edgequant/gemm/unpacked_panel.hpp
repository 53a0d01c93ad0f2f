// SPDX-License-Identifier: MIT
/// Blocks of any coded format unpacked for the micro-kernel of products.
#pragma once

#include "../format/block_groups.hpp"
#include "coded_source.hpp"

namespace edgequant::inline EDGEQUANT_ABI::gemm {

template <coded_format F, simd::backend S>
using unpacked_panel_of =
    unpacked_panel<F::group_length == 16 ? 2 : 1, F::has_minimum, S::code_offset, 8>;

/// Unpacks from[rows][stride], 1 to 16 rows, `blocks` of each, into to[blocks * F::block_length /
/// 32]; missing rows are zeros.
template <coded_format F, simd::backend S = simd::native>
void unpack_panels(const typename F::block* from, std::size_t rows, std::size_t stride,
                   std::size_t blocks, unpacked_panel_of<F, S>* to) noexcept {
  using panel = unpacked_panel_of<F, S>;
  constexpr std::size_t count = F::block_length / 32;
  constexpr std::uint32_t flip = S::code_offset * 0x01010101u;
  if (rows < 16) std::memset(static_cast<void*>(to), 0, blocks * count * sizeof(panel));
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

} // namespace edgequant::inline EDGEQUANT_ABI::gemm
