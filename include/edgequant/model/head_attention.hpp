// SPDX-License-Identifier: MIT
/// Attention of a chunk's tokens over one head of the KV cache, tile by tile.
#pragma once

#include "../core/resize_exactly.hpp"
#include "../gemm/attention.hpp"
#include "kv_cache.hpp"
#include "scratch_sizes.hpp"

#include <vector>

namespace edgequant::inline EDGEQUANT_ABI {

/// Queries of a chunk of tokens, each turned to its place, and where what they attend to goes: for
/// each token `queries` heads of `size` floats, of which queries / keys share a head of keys.
struct attention_heads {
  const float* from;
  float* to;
  std::size_t queries, keys, size;
  float scale;        ///< what queries are multiplied by
  float softcap;      ///< of scores; 0: none
  std::size_t window; ///< tokens that a query sees, its own among them; 0: all before it
  const float* sinks; ///< a logit a head of queries that takes part in the softmax; null: none
};

/// `count` tokens of a chunk from its token `first` on; the chunk begins at `position` of a text.
struct chunk_part {
  std::size_t layer, position, first, count;
};

/// Scratch memory of one task, used again by the next.
class head_attention {
public:
  /// Softmax attention for the heads that share head `key` of the cache, which holds the chunk's
  /// own keys and values.
  void run(const attention_heads& heads, const chunk_part& part, std::size_t key,
           const kv_sequence& cache);

private:
  std::vector<float> keys_, values_, queries_, out_;
  std::vector<gemm::softmax_state> states_;
  std::vector<gemm::token_range> seen_;
};
static_assert(sizeof(head_attention) <= model::detail::head_attention_bytes);

inline void head_attention::run(const attention_heads& heads, const chunk_part& part,
                                std::size_t key, const kv_sequence& cache) {
  constexpr std::size_t tile = gemm::attention_tile_tokens;
  const std::size_t d = heads.size, group = heads.queries / heads.keys;
  const std::size_t rows = part.count * group; // row r: token r / group of the part, head r % group
  resize_exactly(keys_, tile * d);
  resize_exactly(values_, tile * d);
  resize_exactly(queries_, rows * d);
  out_.assign(rows * d, 0.0f);
  states_.assign(rows, {});
  for (std::size_t r = 0; heads.sinks != nullptr && r < rows; ++r)
    states_[r] = {heads.sinks[key * group + r % group], 1.0f};
  resize_exactly(seen_, rows);
  const auto place_of = [&](std::size_t r) {
    return ((part.first + r / group) * heads.queries + key * group + r % group) * d;
  };
  for (std::size_t r = 0; r < rows; ++r)
    for (std::size_t i = 0; i < d; ++i)
      queries_[r * d + i] = heads.from[place_of(r) + i] * heads.scale;

  const std::size_t start = part.position + part.first, end = start + part.count;
  const auto first_seen = [&](std::size_t position) {
    return heads.window != 0 && position >= heads.window ? position + 1 - heads.window : 0;
  };
  for (std::size_t begin = first_seen(start) / tile * tile; begin < end; begin += tile) {
    const std::size_t tokens = std::min(tile, end - begin), next = begin + tokens;
    // Its parts are short: the processor would look ahead no further than one of them.
    if (next < end) cache.prefetch(part.layer, key, next, std::min(tile, end - next));
    cache.read_keys(part.layer, key, begin, tokens, keys_.data(), tile);
    cache.read_values(part.layer, key, begin, tokens, values_.data());
    for (std::size_t r = 0; r < rows; ++r) {
      const std::size_t position = start + r / group, first = first_seen(position);
      seen_[r] = {first > begin ? std::min(tile, first - begin) : 0,
                  position + 1 > begin ? std::min(tile, position + 1 - begin) : 0};
    }
    const gemm::attention_tile keys_and_values{keys_.data(), values_.data(), d};
    const auto attend = [&](std::size_t r, auto together) {
      gemm::attend_tile<together()>(keys_and_values, queries_.data() + r * d, seen_.data() + r,
                                    heads.softcap, states_.data() + r, out_.data() + r * d);
    };
    // Rows see ever more tokens: those that see none of the tile come first.
    std::size_t r = begin < start + 1 ? 0 : (begin - start) * group;
    for (; r + 4 <= rows; r += 4) attend(r, std::integral_constant<std::size_t, 4>{});
    for (; r < rows; ++r) attend(r, std::integral_constant<std::size_t, 1>{});
  }
  for (std::size_t r = 0; r < rows; ++r) {
    const float inverse_sum = 1.0f / states_[r].sum;
    for (std::size_t i = 0; i < d; ++i) heads.to[place_of(r) + i] = out_[r * d + i] * inverse_sum;
  }
}

} // namespace edgequant::inline EDGEQUANT_ABI
