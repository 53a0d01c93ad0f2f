// SPDX-License-Identifier: MIT
/// Weights of scalar formats (all but the lattice ones, IQ1 to IQ3) in panels of sixteen rows, with
/// as many bytes as in the file.
#pragma once

#include "../format/block_packing.hpp"
#include "coded_source.hpp"

namespace edgequant::inline EDGEQUANT_ABI::gemm {

/// How a panel of format F lies in memory: blocks of sixteen rows one after another, 32 columns a
/// unit. Each part of a block holds sixteen rows side by side, and begins at a constant offset:
///
///     scales    half [16], where the format has one
///     minimums  half [16], where it has them
///     steps     int8 [units][parts][16], integer scales of groups; of q2_K both in a byte, as in
///               the file
///     minimum steps  uint8 [units][parts][16]
///     nibbles   [units][4][16][4]
///     pairs     [units][2][16][4]
///     singles   [units][16][4]
///
/// Word w of a row, 0 to 7, holds codes 4 w to 4 w + 3, one a byte. Nibbles have four bits of word
/// w in [w % 4], low for w < 4, high for the others; pairs have two bits of it at bits 2 (w % 4) of
/// [w / 4]; singles have one bit of it at bit w. Codes of 6 bits: bits 4 and 5 in pairs, the others
/// in nibbles. Of 5: bit 4 in singles, the others in nibbles. Of 3: bit 2 in singles, the others in
/// pairs.
template <encodable_format F> struct panel_block {
  using codes = typename F::codes;
  using steps = typename F::steps;
  static constexpr bool is_codebook =
      std::same_as<codes, iq4_codes> || std::same_as<codes, fp4_codes>;
  static constexpr int count = std::same_as<codes, sign_codes> ? 2
                               : is_codebook                   ? 16
                                                               : codes::highest - codes::lowest + 1;
  static constexpr int bits = count <= 2    ? 1
                              : count <= 4  ? 2
                              : count <= 8  ? 3
                              : count <= 16 ? 4
                              : count <= 32 ? 5
                                            : 6;
  static_assert(count <= 64);
  static constexpr bool has_half = steps::unit == scale_unit::half_of_block;
  static constexpr bool has_steps = steps::lowest != steps::highest;
  static constexpr bool steps_share_a_byte = has_steps && steps::highest_minimum == 15;

  static constexpr std::size_t units = F::block_length / 32;
  static constexpr std::size_t parts = F::group_length == 16 ? 2 : 1; ///< groups of a unit
  static constexpr std::size_t step_bytes = has_steps ? units * parts * 16 : 0;
  static constexpr std::size_t scales_at = 0;
  static constexpr std::size_t minimums_at = scales_at + (has_half ? 32 : 0);
  static constexpr std::size_t steps_at = minimums_at + (F::has_minimum ? 32 : 0);
  static constexpr std::size_t minimum_steps_at = steps_at + step_bytes;
  static constexpr std::size_t nibbles_at =
      minimum_steps_at + (F::has_minimum && !steps_share_a_byte ? step_bytes : 0);
  static constexpr std::size_t pairs_at = nibbles_at + (bits >= 4 ? units * 256 : 0);
  static constexpr std::size_t singles_at =
      pairs_at + (bits == 2 || bits == 3 || bits == 6 ? units * 128 : 0);
  static constexpr std::size_t bytes = singles_at + (bits % 2 != 0 ? units * 64 : 0);
  // tq1_0 alone is denser in the file.
  static_assert(bytes <= 16 * sizeof(typename F::block) * 11 / 10 || F::id == format::tq1_0);
};

/// One unit of a panel_block, read as dot products take it.
template <encodable_format F, simd::backend S> struct coded_unit {
  using layout = panel_block<F>;
  static constexpr std::size_t parts = layout::parts;
  static constexpr bool has_minimum = F::has_minimum;
  /// Codes come as stored_code(), a bit alone as 0 or 2, those of a codebook with S::code_offset.
  static constexpr int offset = layout::is_codebook ? S::code_offset
                                : layout::bits == 1 ? 1
                                                    : -F::codes::lowest;
  static constexpr int dot_bits = layout::is_codebook ? 8 : std::max(4, layout::bits);

  const std::byte* block;
  std::size_t unit;

  template <int K> [[nodiscard]] typename S::i8 codes() const noexcept {
    if constexpr (layout::bits == 1) {
      return S::template shift_up<1>(single<K>());
    } else if constexpr (layout::bits == 2) {
      return pair<K>();
    } else if constexpr (layout::bits == 3) {
      return S::merge(pair<K>(), S::template shift_up<2>(single<K>()));
    } else if constexpr (layout::is_codebook) {
      alignas(16) static constexpr auto levels = table();
      return S::look_up(levels.data(), nibble<K>());
    } else if constexpr (layout::bits == 4) {
      return nibble<K>();
    } else if constexpr (layout::bits == 5) {
      return S::merge(nibble<K>(), S::template shift_up<4>(single<K>()));
    } else {
      return S::merge(nibble<K>(), S::template shift_up<4>(pair<K>()));
    }
  }
  [[nodiscard]] typename S::f32 scale(std::size_t part) const noexcept {
    if constexpr (!layout::has_half) {
      const auto* step = reinterpret_cast<const std::uint8_t*>(block + layout::steps_at +
                                                               (unit * parts + part) * 16);
      float values[16];
      for (int r = 0; r < 16; ++r) values[r] = step_value(F::steps::unit, step[r]);
      return S::load(values);
    } else if constexpr (!layout::has_steps) {
      return halves(layout::scales_at);
    } else if constexpr (layout::steps_share_a_byte) {
      const auto step = S::to_f32(S::load_low_nibbles(step_pairs(part), 0x88));
      return S::mul(halves(layout::scales_at), S::add(step, S::broadcast(8.0f)));
    } else {
      return S::mul(halves(layout::scales_at),
                    S::to_f32(S::load_i8(steps(layout::steps_at, part))));
    }
  }
  [[nodiscard]] typename S::f32 minimum(std::size_t part) const noexcept {
    if constexpr (!layout::has_steps) {
      return halves(layout::minimums_at);
    } else if constexpr (layout::steps_share_a_byte) {
      const auto step = S::to_f32(S::load_high_nibbles(step_pairs(part), 0x88));
      return S::mul(halves(layout::minimums_at), S::add(step, S::broadcast(8.0f)));
    } else {
      return S::mul(halves(layout::minimums_at),
                    S::to_f32(S::load_i8(steps(layout::minimum_steps_at, part))));
    }
  }

private:
  [[nodiscard]] static constexpr std::array<std::int8_t, 16> table() noexcept {
    std::array<std::int8_t, 16> levels{};
    for (std::size_t i = 0; i < 16; ++i) {
      const int level = std::same_as<typename F::codes, iq4_codes> ? iq4_levels[i] : fp4_levels[i];
      levels[i] = static_cast<std::int8_t>(static_cast<std::uint8_t>(level + S::code_offset));
    }
    return levels;
  }
  [[nodiscard]] typename S::f32 halves(std::size_t at) const noexcept {
    return S::load_f16(reinterpret_cast<const std::uint16_t*>(block + at));
  }
  [[nodiscard]] const std::int8_t* steps(std::size_t at, std::size_t part) const noexcept {
    return reinterpret_cast<const std::int8_t*>(block + at) + (unit * parts + part) * 16;
  }
  [[nodiscard]] const std::uint8_t* step_pairs(std::size_t part) const noexcept {
    return reinterpret_cast<const std::uint8_t*>(steps(layout::steps_at, part));
  }
  template <int K> [[nodiscard]] typename S::i8 nibble() const noexcept {
    const auto* p = reinterpret_cast<const std::uint8_t*>(block + layout::nibbles_at) + unit * 256 +
                    64 * (K % 4);
    return K < 4 ? S::load_low_codes(p) : S::load_high_codes(p);
  }
  template <int K> [[nodiscard]] typename S::i8 pair() const noexcept {
    return S::template field<2 * (K % 4), 2>(
        S::load_codes(reinterpret_cast<const std::int8_t*>(block + layout::pairs_at) + unit * 128 +
                      64 * (K / 4)));
  }
  template <int K> [[nodiscard]] typename S::i8 single() const noexcept {
    return S::template field<K, 1>(S::load_codes(
        reinterpret_cast<const std::int8_t*>(block + layout::singles_at) + unit * 64));
  }
};

/// Panels one after another, [panels][blocks] of panel_block.
template <encodable_format F, simd::backend S> struct coded_source {
  using unit = coded_unit<F, S>;
  using layout = panel_block<F>;
  const std::byte* panels;
  std::size_t blocks; ///< of a panel

  [[nodiscard]] unit at(std::size_t panel, std::size_t group) const noexcept {
    return {panels + (panel * blocks + group / layout::units) * layout::bytes,
            group % layout::units};
  }
  /// Prefetches into the second level cache what lies 4 KiB ahead of a unit.
  void prefetch(std::size_t panel, std::size_t group) const noexcept {
    constexpr std::size_t piece = (layout::bytes / layout::units + 63) / 64 * 64;
    kernel::prefetch_stream<piece>(panels +
                                   (panel * blocks + group / layout::units) * layout::bytes +
                                   group % layout::units * (layout::bytes / layout::units));
  }
};

namespace detail {

/// The stored numbers of four codes in a word.
template <class Codes>
[[nodiscard]] inline std::uint32_t stored_codes(const std::int8_t* codes) noexcept {
  std::uint32_t word = 0;
  for (int j = 0; j < 4; ++j)
    word |= static_cast<std::uint32_t>(formats::stored_code<Codes>(codes[j])) << 8 * j;
  return word;
}

} // namespace detail

/// Packs from[rows][blocks], 1 to 16 rows, into blocks of a panel at `to`; missing rows are zeros.
template <encodable_format F>
void pack_coded_panel(const typename F::block* from, std::size_t rows, std::size_t blocks,
                      std::byte* to) noexcept {
  using layout = panel_block<F>;
  for (std::size_t b = 0; b < blocks; ++b, to += layout::bytes) {
    std::memset(to, 0, layout::bytes);
    for (std::size_t r = 0; r < rows; ++r) {
      const auto& block = from[r * blocks + b];
      alignas(64) std::int8_t codes[F::block_length];
      unpack_codes(block, codes);
      stored_scales s;
      unpack_scales(block, s);
      const half minimum = s.minimum;
      if constexpr (layout::has_half) std::memcpy(to + layout::scales_at + 2 * r, &s.scale, 2);
      if constexpr (F::has_minimum) std::memcpy(to + layout::minimums_at + 2 * r, &minimum, 2);
      for (std::size_t g = 0; layout::has_steps && g < layout::units * layout::parts; ++g) {
        unsigned step = static_cast<std::uint8_t>(s.scale_steps[g]);
        if (layout::steps_share_a_byte) step |= unsigned{s.minimum_steps[g]} << 4;
        to[layout::steps_at + 16 * g + r] = static_cast<std::byte>(step);
        if constexpr (F::has_minimum && !layout::steps_share_a_byte)
          to[layout::minimum_steps_at + 16 * g + r] = static_cast<std::byte>(s.minimum_steps[g]);
      }
      for (std::size_t u = 0; u < layout::units; ++u) {
        std::uint32_t words[8];
        for (std::size_t k = 0; k < 8; ++k)
          words[k] = detail::stored_codes<typename F::codes>(codes + 32 * u + 4 * k);
        const auto put = [&](std::size_t at, std::uint32_t word) {
          std::memcpy(to + at + 4 * r, &word, 4);
        };
        if constexpr (layout::bits >= 4)
          for (std::size_t k = 0; k < 4; ++k)
            put(layout::nibbles_at + 256 * u + 64 * k,
                (words[k] & 0x0f0f0f0f) | (words[k + 4] & 0x0f0f0f0f) << 4);
        if constexpr (layout::bits == 2 || layout::bits == 3 || layout::bits == 6) {
          constexpr int from_bit = layout::bits == 6 ? 4 : 0;
          for (std::size_t j = 0; j < 2; ++j) {
            std::uint32_t word = 0;
            for (std::size_t f = 0; f < 4; ++f)
              word |= (words[4 * j + f] >> from_bit & 0x03030303) << 2 * f;
            put(layout::pairs_at + 128 * u + 64 * j, word);
          }
        }
        if constexpr (layout::bits % 2 != 0) {
          constexpr int from_bit = layout::bits - 1;
          std::uint32_t word = 0;
          for (std::size_t k = 0; k < 8; ++k) word |= (words[k] >> from_bit & 0x01010101) << k;
          put(layout::singles_at + 64 * u, word);
        }
      }
    }
  }
}

/// Expands units first .. first + groups - 1 of a panel for products with many tokens.
template <simd::backend S, class Source, class Panel>
void expand_units(const Source& from, std::size_t panel, std::size_t first, std::size_t groups,
                  Panel* to) noexcept {
  for (std::size_t g = 0; g < groups; ++g) {
    const auto unit = from.at(panel, first + g);
    for_each_constant<8>(
        [&](auto k) { S::store_codes(to[g].codes[k][0], unit.template codes<k>()); });
    for (std::size_t p = 0; p < Panel::parts; ++p) {
      S::store(to[g].scales[p], unit.scale(p));
      if constexpr (Panel::has_minimum) S::store(to[g].minimums[p], unit.minimum(p));
    }
  }
}

} // namespace edgequant::inline EDGEQUANT_ABI::gemm
