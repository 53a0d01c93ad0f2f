// SPDX-License-Identifier: MIT
/// The loss of a matrix in nats: the divergence of the model with some of its matrices quantized.
#pragma once

#include "../model/evaluate.hpp"
#include "sensitivity.hpp"

#include <functional>

namespace edgequant::inline EDGEQUANT_ABI {

/// Divergences of an earlier run, by tensor. Both functions may be empty.
struct known_divergences {
  std::function<std::optional<double>(const std::string&)> find = {};
  std::function<void(const std::string&, double)> put = {};
};

/// Sets kl of every candidate: that of layer_sensitivity::measured() is measured, on the first
/// `tokens` of the text, by running the model with this tensor alone quantized; the others follow
/// by their squared output errors, which a small divergence is proportional to. The weights are
/// afterwards as they were. A divergence that `known` has is not measured again; what is measured
/// is given to it.
void measure_divergence(model_weights& weights, const calibration_text& text, std::size_t tokens,
                        std::vector<layer_sensitivity>& layers, unsigned threads = 0,
                        const progress_callback& listener = {}, known_divergences known = {});

namespace plan::detail {

/// A model of which some matrices can be quantized for a moment, and what the original predicts.
class divergence_meter {
public:
  /// Runs the original once. Its logits stay in memory: tokens x vocabulary floats.
  divergence_meter(model_weights& weights, const calibration_text& text, std::size_t tokens,
                   unsigned threads);

  /// Nats a token with these matrices in their measured candidate; the weights are then as before.
  [[nodiscard]] double operator()(std::span<const layer_sensitivity* const> group);

private:
  /// Calls sink(index, logits) for every token but each chunk's last, as score_text() scores them.
  template <class Sink> void run(Sink sink);

  model_weights& weights_;
  transformer model_;
  std::span<const std::int32_t> tokens_;
  std::int32_t bos_;
  std::size_t context_;
  unsigned threads_;
  std::vector<float> reference_logits_; // [scored tokens][vocabulary]
};

inline divergence_meter::divergence_meter(model_weights& weights, const calibration_text& text,
                                          std::size_t tokens, unsigned threads)
    : weights_(weights), model_(weights, threads),
      tokens_(std::span(text.tokens).first(std::min(tokens, text.tokens.size()))), bos_(text.bos),
      context_(chunk_context(weights, text)), threads_(threads) {
  run([&](std::size_t, std::span<const float> logits) {
    reference_logits_.insert(reference_logits_.end(), logits.begin(), logits.end());
  });
  if (reference_logits_.empty())
    fail(error_code::bad_argument, "calibration text",
         counted(tokens_.size(), "token") + "; a chunk of text needs at least 8");
}

template <class Sink> void divergence_meter::run(Sink sink) {
  chunk_runner runner(model_, context_, kv_format::f32);
  std::size_t index = 0;
  for_each_chunk(tokens_, context_, bos_, [&](auto chunk, std::size_t) {
    if (chunk.size() < fewest_chunk_tokens) return;
    runner.clear();
    runner.run(chunk.first(chunk.size() - 1),
               [&](std::size_t, std::span<const float> logits) { sink(index++, logits); });
  });
}

inline double divergence_meter::operator()(std::span<const layer_sensitivity* const> group) {
  struct replaced {
    std::string name;
    weight_view before;
    std::vector<std::byte> bytes;
  };
  struct restorer { // whatever the run does
    model_weights& weights;
    std::vector<replaced> matrices = {};
    ~restorer() {
      for (const auto& m : matrices) weights.replace(m.name, m.before);
    }
  } restore{weights_};
  restore.matrices.reserve(group.size());
  for (const auto* layer : group) {
    const weight_view w = weights_.find_matrix(layer->name);
    const format type = layer->measured().type;
    auto bytes = encode_matrix(type, scale_rule::mse,
                               decode_matrix(w.type, w.data, w.rows, w.columns, threads_),
                               layer->name, threads_);
    restore.matrices.push_back({layer->name, w, std::move(bytes)});
    weights_.replace(layer->name, {type, w.rows, w.columns, restore.matrices.back().bytes.data()});
  }
  const std::size_t vocabulary = weights_.vocabulary();
  double sum = 0;
  run([&](std::size_t i, std::span<const float> logits) {
    sum += kl_divergence(std::span(reference_logits_).subspan(i * vocabulary, vocabulary), logits);
  });
  return sum * static_cast<double>(vocabulary) / static_cast<double>(reference_logits_.size());
}

/// The divergence of the measured candidate; the others follow by their squared output errors,
/// which a small divergence is proportional to.
inline void set_divergence(layer_sensitivity& layer, double divergence) {
  const double first = layer.measured().output_error;
  for (auto& c : layer.candidates)
    c.kl = first > 0 ? divergence * (c.output_error / first) * (c.output_error / first) : 0;
}

} // namespace plan::detail

inline void measure_divergence(model_weights& weights, const calibration_text& text,
                               std::size_t tokens, std::vector<layer_sensitivity>& layers,
                               unsigned threads, const progress_callback& listener,
                               known_divergences known) {
  plan::detail::divergence_meter measure(weights, text, tokens, threads);
  for (std::size_t i = 0; i < layers.size(); ++i) {
    auto& layer = layers[i];
    if (layer.candidates.empty()) continue;
    auto divergence = known.find ? known.find(layer.name) : std::nullopt;
    if (!divergence) {
      if (listener) listener({"divergence", layer.name, i, layers.size(), "tensors"});
      const layer_sensitivity* one = &layer;
      divergence = measure({&one, 1});
      if (known.put) known.put(layer.name, *divergence);
    }
    plan::detail::set_divergence(layer, *divergence);
  }
  if (listener) listener({"divergence", "", layers.size(), layers.size(), "tensors"});
}

} // namespace edgequant::inline EDGEQUANT_ABI
