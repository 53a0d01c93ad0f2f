// SPDX-License-Identifier: MIT
/// Dot products of weight rows, as they are stored, with columns of activations.
#pragma once

#include "../format/block.hpp"
#include "lanes.hpp"

#include <cstddef>

namespace edgequant::inline EDGEQUANT_ABI::kernel {

/// Columns of activations in groups of 32 codes, two groups a step: column c begins at
/// codes + c * 64 * steps, and its scales at scales + c * 16 * steps, each eight times. An odd last
/// group is followed by one of zeros.
struct coded_columns {
  const std::int8_t* codes;
  const float* scales;
  std::size_t steps;
};

/// Two blocks of a row as 64 codes.
template <simd::backend S>
[[nodiscard]] inline typename S::i8 load_codes(const block_q8_0& a, const block_q8_0& b) noexcept {
  return S::load_groups(a.codes, b.codes);
}
template <simd::backend S>
[[nodiscard]] inline typename S::i8 load_codes(const block_q4_0& a, const block_q4_0& b) noexcept {
  return S::load_nibble_groups(a.nibbles, b.nibbles);
}

/// out[c * stride + r] = row r times column first + c, for a tile of Rows x Columns; rows have
/// `blocks` blocks and begin `blocks` apart. The sums inside a group are exact; those of groups are
/// float sums in sixteen lanes, each group's parts in eight of them, so that the rounding error is
/// at most blocks * 2^-24 times the sum of the magnitudes of its terms, plus 2^-22 of each.
template <int Rows, int Columns, class Block, simd::backend S = simd::native>
inline void dot_tile(const Block* rows, std::size_t blocks, const coded_columns& x,
                     std::size_t first, float* out, std::size_t stride) noexcept {
  // A block of zeros, in bytes: where half is a type of the processor's, blocks are not constexpr.
  alignas(Block) static constexpr std::byte zeros[sizeof(Block)]{};
  const auto* nothing = reinterpret_cast<const Block*>(zeros);
  typename S::f32 sums[Rows][Columns];
  for (auto& row : sums)
    for (auto& sum : row) sum = S::broadcast(0.0f);
  const std::int8_t* codes = x.codes + first * x.steps * 64;
  const float* scales = x.scales + first * x.steps * 16;
  for (std::size_t step = 0; step < x.steps; ++step) {
    typename S::i8 w[Rows];
    typename S::f32 scale[Rows];
    for (std::size_t r = 0; r < Rows; ++r) {
      const Block* a = rows + r * blocks + 2 * step;
      const Block* b = 2 * step + 1 < blocks ? a + 1 : nothing;
      w[r] = load_codes<S>(*a, *b);
      scale[r] = S::half_pair(Eigen::numext::bit_cast<std::uint16_t>(a->scale),
                              Eigen::numext::bit_cast<std::uint16_t>(b->scale));
      prefetch_next_page(a);
    }
    for (std::size_t c = 0; c < Columns; ++c) {
      const std::int8_t* column = codes + (c * x.steps + step) * 64;
      const auto a = S::load_groups(column, column + 32);
      const auto column_scale = S::load(scales + (c * x.steps + step) * 16);
      for (std::size_t r = 0; r < Rows; ++r)
        sums[r][c] =
            S::multiply_add(S::to_f32(S::dot(w[r], a)), S::mul(scale[r], column_scale), sums[r][c]);
    }
  }
  for (std::size_t r = 0; r < Rows; ++r)
    for (std::size_t c = 0; c < Columns; ++c) out[c * stride + r] = S::reduce_add(sums[r][c]);
}

/// Rows of plain numbers: how sixteen of them are loaded.
template <simd::backend S> [[nodiscard]] inline auto load_values(const float* p) noexcept {
  return S::load(p);
}
struct f16_bits {
  std::uint16_t bits;
};
struct bf16_bits {
  std::uint16_t bits;
};
template <simd::backend S> [[nodiscard]] inline auto load_values(const f16_bits* p) noexcept {
  return S::load_f16(reinterpret_cast<const std::uint16_t*>(p));
}
template <simd::backend S> [[nodiscard]] inline auto load_values(const bf16_bits* p) noexcept {
  return S::load_bf16(reinterpret_cast<const std::uint16_t*>(p));
}

/// The same for rows and columns of `length` numbers; column c begins at columns + c * length. The
/// rounding error is at most (length / 16 + 6) * 2^-24 times the sum of magnitudes of the terms.
template <int Rows, int Columns, class Value, simd::backend S = simd::native>
inline void dot_tile(const Value* rows, std::size_t length, const float* columns, float* out,
                     std::size_t stride) noexcept {
  typename S::f32 sums[Rows][Columns];
  for (auto& row : sums)
    for (auto& sum : row) sum = S::broadcast(0.0f);
  for_each_16(length, [&](std::size_t i, auto lanes) {
    typename S::f32 w[Rows];
    for (std::size_t r = 0; r < Rows; ++r)
      w[r] = lanes.load(rows + r * length + i, [](const Value* p) { return load_values<S>(p); });
    for (std::size_t c = 0; c < Columns; ++c) {
      const auto x = load_floats<S>(lanes, columns + c * length + i);
      for (std::size_t r = 0; r < Rows; ++r) sums[r][c] = S::multiply_add(w[r], x, sums[r][c]);
    }
  });
  for (std::size_t r = 0; r < Rows; ++r)
    for (std::size_t c = 0; c < Columns; ++c) out[c * stride + r] = S::reduce_add(sums[r][c]);
}

/// Sum of a[i] * b[i].
template <simd::backend S = simd::native>
[[nodiscard]] inline float dot(const float* a, const float* b, std::size_t n) noexcept {
  float sum = 0;
  dot_tile<1, 1, float, S>(a, n, b, &sum, 1);
  return sum;
}

/// y[i] += factor * x[i].
template <simd::backend S = simd::native>
inline void add_scaled(float factor, const float* x, float* y, std::size_t n) noexcept {
  const auto f = S::broadcast(factor);
  for_each_16(n, [&](std::size_t i, auto lanes) {
    const auto sum = S::multiply_add(f, load_floats<S>(lanes, x + i), load_floats<S>(lanes, y + i));
    lanes.store(y + i, [&](float* p) { S::store(p, sum); });
  });
}

} // namespace edgequant::inline EDGEQUANT_ABI::kernel
