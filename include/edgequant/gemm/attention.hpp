// SPDX-License-Identifier: MIT
/// Softmax attention of some queries over one head of keys and values, a tile of tokens at a time:
/// no more than a tile of scores is ever there. Source: Milakov and Gimelshein 2018 (online
/// softmax), Dao et al. 2022 (FlashAttention, algorithm 1).
#pragma once

#include "../kernel/exponential.hpp"
#include "scratch_sizes.hpp"

#include <cmath>
#include <limits>

namespace edgequant::inline EDGEQUANT_ABI::gemm {

/// Keys and values of up to attention_tile_tokens tokens.
struct attention_tile {
  const float* keys;   ///< [size][attention_tile_tokens]
  const float* values; ///< [tokens][size]
  std::size_t size;    ///< of a head, a multiple of 16 or not
};

/// Running maximum and sum of a query's softmax over the tokens so far.
struct softmax_state {
  float most = -std::numeric_limits<float>::infinity(); ///< largest score
  float sum = 0;                                        ///< of e^(score - most)
};
static_assert(sizeof(softmax_state) == softmax_state_bytes);

/// Tokens of a tile.
struct token_range {
  std::size_t begin = 0, end = 0;
};
static_assert(sizeof(token_range) == token_range_bytes);

namespace detail {

/// scores[Queries][attention_tile_tokens] = queries[Queries][size] times the keys.
template <std::size_t Queries, simd::backend S>
void score_tile(const attention_tile& tile, const float* queries, float* scores) noexcept {
  constexpr std::size_t vectors = attention_tile_tokens / 16;
  typename S::f32 sum[Queries][vectors];
  EDGEQUANT_UNROLL
  for (auto& row : sum) {
    EDGEQUANT_UNROLL
    for (auto& s : row) s = S::broadcast(0.0f);
  }
  for (std::size_t i = 0; i < tile.size; ++i) {
    typename S::f32 key[vectors];
    EDGEQUANT_UNROLL
    for (std::size_t v = 0; v < vectors; ++v)
      key[v] = S::load(tile.keys + i * attention_tile_tokens + v * 16);
    EDGEQUANT_UNROLL
    for (std::size_t q = 0; q < Queries; ++q) {
      const auto x = S::broadcast(queries[q * tile.size + i]);
      EDGEQUANT_UNROLL
      for (std::size_t v = 0; v < vectors; ++v) sum[q][v] = S::multiply_add(x, key[v], sum[q][v]);
    }
  }
  EDGEQUANT_UNROLL
  for (std::size_t q = 0; q < Queries; ++q) {
    EDGEQUANT_UNROLL
    for (std::size_t v = 0; v < vectors; ++v)
      S::store(scores + q * attention_tile_tokens + v * 16, sum[q][v]);
  }
}

/// Turns a query's scores[attention_tile_tokens] into weights e^(score - most), 0 for tokens that
/// are not seen, and updates `state`. Returns the factor by which older sums must be multiplied.
template <simd::backend S>
[[nodiscard]] float weigh_tile(float* scores, token_range seen, softmax_state& state) noexcept {
  const auto lowest = S::broadcast(-std::numeric_limits<float>::max()), zero = S::broadcast(0.0f);
  const auto below = [](std::size_t end, std::size_t i) {
    return end >= i + 16 ? 0xffffu : end <= i ? 0u : (1u << (end - i)) - 1;
  };
  const auto visible = [&](std::size_t i) { return below(seen.end, i) & ~below(seen.begin, i); };
  typename S::f32 x[attention_tile_tokens / 16];
  float lanes[16];
  auto most = S::broadcast(state.most);
  for (std::size_t i = 0; i < attention_tile_tokens; i += 16) {
    x[i / 16] = S::choose(visible(i), S::load(scores + i), lowest);
    most = S::max(x[i / 16], most);
  }
  S::store(lanes, most);
  float highest = lanes[0];
  for (const float lane : lanes) highest = lane > highest ? lane : highest;
  const float factor = std::exp(state.most - highest); // 0 for the first tile
  auto sum = zero;
  for (std::size_t i = 0; i < attention_tile_tokens; i += 16) {
    const auto e = kernel::exponential<S>(S::sub(x[i / 16], S::broadcast(highest)));
    const auto weight = S::choose(visible(i), e, zero);
    sum = S::add(sum, weight);
    S::store(scores + i, weight);
  }
  state.most = highest;
  state.sum = state.sum * factor + S::reduce_add(sum);
  return factor;
}

/// out[q][i] = factors[q] * out[q][i] + sum over tokens t of weights[q][t] * values[t][i], for the
/// 16 * Vectors elements from i = first on; `lanes` handles the tail of a head. Shapes:
/// out[Queries] [size], weights[Queries][attention_tile_tokens].
template <std::size_t Queries, std::size_t Vectors, simd::backend S, class Lanes>
void mix_tile(const attention_tile& tile, std::size_t first, std::size_t tokens,
              const float* weights, const float* factors, float* out, Lanes lanes) noexcept {
  typename S::f32 sum[Queries][Vectors];
  EDGEQUANT_UNROLL
  for (std::size_t q = 0; q < Queries; ++q) {
    EDGEQUANT_UNROLL
    for (std::size_t v = 0; v < Vectors; ++v)
      sum[q][v] = S::mul(S::broadcast(factors[q]),
                         kernel::load_floats<S>(lanes, out + q * tile.size + first + v * 16));
  }
  for (std::size_t t = 0; t < tokens; ++t) {
    typename S::f32 value[Vectors];
    EDGEQUANT_UNROLL
    for (std::size_t v = 0; v < Vectors; ++v)
      value[v] = kernel::load_floats<S>(lanes, tile.values + t * tile.size + first + v * 16);
    EDGEQUANT_UNROLL
    for (std::size_t q = 0; q < Queries; ++q) {
      const auto weight = S::broadcast(weights[q * attention_tile_tokens + t]);
      EDGEQUANT_UNROLL
      for (std::size_t v = 0; v < Vectors; ++v)
        sum[q][v] = S::multiply_add(weight, value[v], sum[q][v]);
    }
  }
  EDGEQUANT_UNROLL
  for (std::size_t q = 0; q < Queries; ++q) {
    EDGEQUANT_UNROLL
    for (std::size_t v = 0; v < Vectors; ++v)
      lanes.store(out + q * tile.size + first + v * 16, [&](float* p) { S::store(p, sum[q][v]); });
  }
}

} // namespace detail

/// Adds a tile to the attention of queries[Queries][size], already scaled: query q sees the tokens
/// seen[q] of the tile. `cap`, unless 0, is the soft cap of scores. out[Queries][size] holds the
/// sums so far, not yet divided by states[q].sum.
template <std::size_t Queries, simd::backend S = simd::native>
void attend_tile(const attention_tile& tile, const float* queries, const token_range* seen,
                 float cap, softmax_state* states, float* out) noexcept {
  float scores[Queries * attention_tile_tokens], factors[Queries];
  detail::score_tile<Queries, S>(tile, queries, scores);
  if (cap != 0) kernel::soft_cap<S>(scores, Queries * attention_tile_tokens, cap);
  std::size_t tokens = 0;
  for (std::size_t q = 0; q < Queries; ++q) {
    factors[q] = detail::weigh_tile<S>(scores + q * attention_tile_tokens, seen[q], states[q]);
    tokens = std::max(tokens, seen[q].end);
  }
  constexpr std::size_t vectors = 4;
  std::size_t i = 0;
  for (; i + 16 * vectors <= tile.size; i += 16 * vectors)
    detail::mix_tile<Queries, vectors, S>(tile, i, tokens, scores, factors, out,
                                          kernel::full_lanes{});
  for (; i + 16 <= tile.size; i += 16)
    detail::mix_tile<Queries, 1, S>(tile, i, tokens, scores, factors, out, kernel::full_lanes{});
  if (i < tile.size)
    detail::mix_tile<Queries, 1, S>(tile, i, tokens, scores, factors, out,
                                    kernel::tail_lanes{tile.size - i});
}

} // namespace edgequant::inline EDGEQUANT_ABI::gemm
