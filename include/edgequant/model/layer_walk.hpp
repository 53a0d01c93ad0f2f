// SPDX-License-Identifier: MIT
/// A text read sublayer by sublayer, so that weights can be changed between what they read and what
/// comes of it.
#pragma once

#include "calibration.hpp"

namespace edgequant::inline EDGEQUANT_ABI {

/// All tokens of a text, in chunks, as far as one sublayer has brought them. Memory: hidden floats
/// a token. The weights must outlive the object; their layers may be replaced meanwhile.
class layer_walk {
public:
  /// Chunks of `context` tokens behind `bos`, as calibrate() makes them. bad_argument for a context
  /// that the model does not have, and for no text.
  layer_walk(const model_weights& weights, std::span<const std::int32_t> text, std::int32_t bos,
             std::size_t context, unsigned threads = 0);

  /// Where the tokens stand: before this sublayer of this layer.
  [[nodiscard]] std::size_t layer() const noexcept { return layer_; }
  [[nodiscard]] sublayer part() const noexcept { return part_; }

  /// Whether all layers are behind: then the output matrix reads.
  [[nodiscard]] bool is_behind() const noexcept {
    return layer_ == model_.weights().layers().size();
  }

  [[nodiscard]] std::size_t hidden() const noexcept { return model_.weights().shape().hidden; }
  [[nodiscard]] std::size_t chunks() const noexcept { return chunks_.size(); }
  /// The vectors of a chunk, hidden floats a token.
  [[nodiscard]] const std::vector<float>& vectors(std::size_t chunk) const {
    return chunks_[chunk];
  }
  /// What the matrices at one end of this sublayer read of a chunk, or the output matrix where all
  /// layers are behind; valid until the next call.
  [[nodiscard]] std::span<const float> inputs(std::size_t chunk, sublayer_end end) {
    if (is_behind()) return model_.output_inputs(chunks_[chunk]);
    return model_.sublayer_inputs(layer_, part_, end, chunks_[chunk], sequence_);
  }
  /// What this sublayer's writing matrix gives for a chunk, before any norm; likewise.
  [[nodiscard]] std::span<const float> outputs(std::size_t chunk) {
    return model_.sublayer_outputs(layer_, part_, chunks_[chunk], sequence_);
  }
  [[nodiscard]] const model_weights& weights() const noexcept { return model_.weights(); }
  /// Statistics of the inputs over all chunks, with the Gram matrix.
  [[nodiscard]] input_statistics statistics(sublayer_end end);
  /// Statistics of what the output matrix reads, once all layers are behind.
  [[nodiscard]] input_statistics output_statistics();
  /// Takes the tokens through this sublayer, with the weights that it has now.
  void advance();

private:
  transformer model_;
  kv_pool pool_;
  kv_sequence sequence_;
  std::size_t layer_ = 0;
  sublayer part_ = sublayer::attention;
  std::vector<std::vector<float>> chunks_;
};

inline layer_walk::layer_walk(const model_weights& weights, std::span<const std::int32_t> text,
                              std::int32_t bos, std::size_t context, unsigned threads)
    : model_(weights, threads), pool_(model_.make_pool(kv_format::f32, context)), sequence_(pool_) {
  require_context(weights, context);
  if (text.empty()) fail(error_code::bad_argument, "calibration text", "no tokens");
  for_each_chunk(text, context, bos,
                 [&](auto chunk, std::size_t) { chunks_.push_back(model_.embedded(chunk)); });
  sequence_.extend(std::min(context, text.size() + 1));
}

inline input_statistics layer_walk::statistics(sublayer_end end) {
  input_statistics sums;
  for (std::size_t i = 0; i < chunks(); ++i) {
    const std::size_t count = chunks_[i].size() / hidden();
    const auto x = inputs(i, end);
    if (sums.count == 0) sums = input_statistics(x.size() / count, true);
    sums.add(x.data(), count);
  }
  return sums;
}

inline input_statistics layer_walk::output_statistics() {
  input_statistics sums(hidden(), true);
  for (const auto& chunk : chunks_)
    sums.add(model_.output_inputs(chunk).data(), chunk.size() / hidden());
  return sums;
}

inline void layer_walk::advance() {
  for (auto& chunk : chunks_) model_.run_sublayer(layer_, part_, chunk, sequence_);
  if (part_ == sublayer::feed_forward) ++layer_;
  part_ = part_ == sublayer::attention ? sublayer::feed_forward : sublayer::attention;
}

} // namespace edgequant::inline EDGEQUANT_ABI
