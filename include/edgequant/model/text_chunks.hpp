// SPDX-License-Identifier: MIT
/// A text that is longer than the context, chunk by chunk.
#pragma once

#include "transformer.hpp"

#include <algorithm>
#include <span>
#include <vector>

namespace edgequant::inline EDGEQUANT_ABI {

/// The text that calibrates, in tokens.
struct calibration_text {
  std::vector<std::int32_t> tokens;
  std::int32_t bos = 0;
  std::size_t context = 0; ///< tokens of a chunk, BOS included; 0: the model's, at most 512
};

/// The tokens of a chunk that `text` stands for.
[[nodiscard]] inline std::size_t chunk_context(const model_weights& weights,
                                               const calibration_text& text) {
  return text.context != 0 ? text.context : std::min<std::size_t>(512, weights.shape().context);
}

/// Calls body(chunk, begin) for chunks of up to `context` tokens that cover the text: `bos`, and
/// behind it the context - 1 tokens from text[begin] on.
template <class Body>
void for_each_chunk(std::span<const std::int32_t> text, std::size_t context, std::int32_t bos,
                    Body body) {
  std::vector<std::int32_t> chunk;
  for (std::size_t begin = 0; begin < text.size(); begin += context - 1) {
    const auto tokens = text.subspan(begin, std::min(context - 1, text.size() - begin));
    chunk.assign(1, bos);
    chunk.insert(chunk.end(), tokens.begin(), tokens.end());
    body(std::span<const std::int32_t>(chunk), begin);
  }
}

/// A model with a cache of its own, for chunks of up to `context` tokens.
class chunk_runner {
public:
  chunk_runner(transformer& model, std::size_t context, kv_format type)
      : model_(model), pool_(model.make_pool(type, context)), sequence_(pool_) {}
  /// Begins with an empty cache.
  void clear() noexcept { sequence_.truncate(0); }
  /// Runs tokens behind those of before.
  void run(std::span<const std::int32_t> tokens, const logits_sink& sink) {
    model_.run(tokens, sequence_, sink);
  }
  /// The same for who wants the logits of the last one to be made, or none.
  void run(std::span<const std::int32_t> tokens) { (void)model_.run(tokens, sequence_); }
  void feed(std::span<const std::int32_t> tokens) { model_.feed(tokens, sequence_); }

private:
  transformer& model_;
  kv_pool pool_;
  kv_sequence sequence_;
};

} // namespace edgequant::inline EDGEQUANT_ABI
