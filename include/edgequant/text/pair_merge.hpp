// SPDX-License-Identifier: MIT
/// The merging of neighbours that both kinds of BPE share.
#pragma once

#include "../config.hpp"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <queue>
#include <vector>

namespace edgequant::inline EDGEQUANT_ABI {

/// A part of a text on its way to a token.
struct text_symbol {
  std::int32_t token = -1;          ///< -1: no token is this part
  std::size_t first = 0, bytes = 0; ///< where it lies; 0 bytes: it went into its left neighbour
};

/// What two neighbours become.
struct symbol_merge {
  double order = 0; ///< the smallest goes first; not NaN
  std::int32_t token = -1;
};

/// Merges neighbours until none can: the smallest order first, of equals the leftmost. `find(left,
/// right)` says what two of them become, or nothing. n log n steps and calls for n symbols.
template <class Find> void merge_pairs(std::vector<text_symbol>& symbols, Find find);

namespace text::detail {

struct merge_candidate {
  symbol_merge merge;
  std::size_t left, right, bytes; // bytes: of both, when it was found
  friend bool operator<(const merge_candidate& a, const merge_candidate& b) noexcept {
    if (a.merge.order != b.merge.order) return a.merge.order > b.merge.order;
    return a.left > b.left;
  }
};

} // namespace text::detail

template <class Find> void merge_pairs(std::vector<text_symbol>& symbols, Find find) {
  const std::size_t count = symbols.size();
  std::vector<std::size_t> previous(count),
      next(count); // previous of 0 and next of the last: count
  std::priority_queue<text::detail::merge_candidate> queue;
  const auto consider = [&](std::size_t left, std::size_t right) {
    if (left == count || right == count) return;
    if (const std::optional<symbol_merge> merge = find(symbols[left], symbols[right]))
      queue.push({*merge, left, right, symbols[left].bytes + symbols[right].bytes});
  };
  for (std::size_t i = 0; i < count; ++i) {
    previous[i] = i == 0 ? count : i - 1;
    next[i] = i + 1;
  }
  for (std::size_t i = 1; i < count; ++i) consider(i - 1, i);
  while (!queue.empty()) {
    const auto best = queue.top();
    queue.pop();
    auto &left = symbols[best.left], &right = symbols[best.right];
    // Symbols only grow: the same sum of bytes means that neither has changed.
    if (left.bytes == 0 || right.bytes == 0 || left.bytes + right.bytes != best.bytes) continue;
    left = {best.merge.token, left.first, best.bytes};
    right.bytes = 0;
    next[best.left] = next[best.right];
    if (next[best.left] != count) previous[next[best.left]] = best.left;
    consider(previous[best.left], best.left);
    consider(best.left, next[best.left]);
  }
}

} // namespace edgequant::inline EDGEQUANT_ABI
