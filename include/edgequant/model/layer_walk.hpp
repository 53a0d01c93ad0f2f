// SPDX-License-Identifier: MIT
/// A text read layer by layer, so that a layer can be changed between its inputs and its outputs.
#pragma once

#include "calibration.hpp"

namespace edgequant::inline EDGEQUANT_ABI {

/// All tokens of a text, in chunks, as far as one layer has brought them. Memory: hidden floats a
/// token. The weights must outlive the object; their layers may be replaced meanwhile.
class layer_walk {
public:
  /// Chunks of `context` tokens behind `bos`, as calibrate() makes them. bad_argument for a context
  /// that the model does not have, and for no text.
  layer_walk(const model_weights& weights, std::span<const std::int32_t> text, std::int32_t bos,
             std::size_t context, unsigned threads = 0);

  /// The layer before which the tokens stand.
  [[nodiscard]] std::size_t layer() const noexcept { return layer_; }
  /// What the matrices of this layer see; the tokens stay before it. `with_gram` chooses those that
  /// get a Gram matrix.
  [[nodiscard]] calibration observe(std::function<bool(std::string_view)> with_gram);
  /// Takes the tokens through this layer, with the weights that it has now.
  void advance();

private:
  void run(std::vector<float>& x) { model_.run_layer(layer_, x, sequence_); }

  transformer model_;
  kv_pool pool_;
  kv_sequence sequence_;
  std::size_t layer_ = 0;
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

inline calibration layer_walk::observe(std::function<bool(std::string_view)> with_gram) {
  calibration statistics(std::move(with_gram));
  const observing watch(model_, statistics);
  std::vector<float> x;
  for (const auto& chunk : chunks_) {
    x = chunk;
    run(x);
  }
  return statistics;
}

inline void layer_walk::advance() {
  for (auto& chunk : chunks_) run(chunk);
  ++layer_;
}

} // namespace edgequant::inline EDGEQUANT_ABI
