// SPDX-License-Identifier: MIT
/// The attention of a transformer: RoPE, norms of heads, the cache, and the mixing of values.
#pragma once

#include "../kernel/hadamard.hpp"
#include "transformer.hpp"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace edgequant::inline EDGEQUANT_ABI {

inline void transformer::prepare_rope(std::size_t position, std::size_t count,
                                      const kv_sequence& cache) {
  const auto& divisors = weights_->rope_divisors(cache.capacity());
  set_angles(shape_.rope, position, count, divisors, angles_);
  if (shape_.most(&layer_shape::window) != 0)
    set_angles(shape_.local_rope, position, count, divisors, local_angles_);
}

namespace model::detail {

/// How much of a frequency YaRN keeps, for each pair of a head: 1 all, 0 what is left of it once it
/// is stretched. Source: Peng et al. 2023, with the bounds rounded as in transformers and ggml.
[[nodiscard]] inline double kept_by_yarn(const rope_shape& rope, std::size_t pair,
                                         std::size_t pairs) noexcept {
  const auto pair_of = [&](double turns) {
    return static_cast<double>(pairs) *
           std::log(rope.yarn->original_context / (turns * 2 * std::numbers::pi)) /
           std::log(rope.base);
  };
  const double low = std::max(0.0, std::floor(pair_of(rope.yarn->beta_fast)));
  const double high =
      std::min(2.0 * static_cast<double>(pairs) - 1, std::ceil(pair_of(rope.yarn->beta_slow)));
  const double ramp = (static_cast<double>(pair) - low) / std::max(0.001, high - low);
  return 1 - std::clamp(ramp, 0.0, 1.0);
}

} // namespace model::detail

/// cos and sin of each token's angles: position / base^(2i / rope_size) / divisor.
inline void transformer::set_angles(const rope_shape& rope, std::size_t position, std::size_t count,
                                    const std::vector<float>& divisors,
                                    std::vector<float>& angles) const {
  const std::size_t pairs = shape_.rope_size / 2;
  resize_exactly(angles, count * pairs * 2);
  for (std::size_t i = 0; i < pairs; ++i) {
    const double exponent = 2.0 * static_cast<double>(i) / static_cast<double>(shape_.rope_size);
    double frequency = std::pow(rope.base, -exponent) / rope.scale;
    if (!divisors.empty()) frequency /= divisors[i];
    if (rope.yarn) {
      const double kept = model::detail::kept_by_yarn(rope, i, pairs);
      frequency *= kept + (1 - kept) / rope.yarn->factor;
    }
    for (std::size_t t = 0; t < count; ++t) {
      const double angle = static_cast<double>(position + t) * frequency;
      angles[(t * pairs + i) * 2] = static_cast<float>(std::cos(angle) * rope.magnitude);
      angles[(t * pairs + i) * 2 + 1] = static_cast<float>(std::sin(angle) * rope.magnitude);
    }
  }
}

inline void transformer::rotate(float* head, const float* angles) const noexcept {
  const std::size_t pairs = shape_.rope_size / 2;
  const bool adjacent = shape_.architecture->rope == rope_order::pairs;
  for (std::size_t i = 0; i < pairs; ++i) {
    float& a = head[adjacent ? 2 * i : i];
    float& b = head[adjacent ? 2 * i + 1 : i + pairs];
    const float cosine = angles[2 * i], sine = angles[2 * i + 1], x = a, y = b;
    a = x * cosine - y * sine;
    b = x * sine + y * cosine;
  }
}

inline void transformer::attention(std::size_t layer, std::size_t position, std::size_t count,
                                   kv_sequence& cache) {
  const auto& w = weights_->layers()[layer];
  if (w.attention_inputs.empty()) return;
  normalize(x_.data(), count, w.attention_norm);
  mix_values(layer, position, count, cache);
  write_change(w.attention_output, mixed_);
  add_change(count, w.post_attention_norm);
}

/// mixed_ = values mixed by attention, for what is in normal_.
inline void transformer::mix_values(std::size_t layer, std::size_t position, std::size_t count,
                                    kv_sequence& cache) {
  const layer_shape& shape = shape_.layers[layer];
  const std::size_t d = shape_.head_size;
  input(normal_, count, shape_.hidden);
  products(weights_->layers()[layer].attention_inputs,
           {{&q_, shape.heads * d}, {&k_, shape.kv_heads * d}, {&v_, shape.kv_heads * d}});
  constexpr std::size_t together = 16;
  parallel_for((count + together - 1) / together, threads_, [&](std::size_t task) {
    for (std::size_t t = task * together; t < std::min(count, (task + 1) * together); ++t)
      place_token(layer, position, t, cache);
  });
  // A task is a part of the tokens and one head of keys, which it reads once.
  constexpr std::size_t part = attention_part_tokens;
  const std::size_t parts = (count + part - 1) / part, tasks = parts * shape.kv_heads;
  resize_exactly(mixed_, count * shape.heads * d);
  if (attention_.size() < tasks) resize_exactly(attention_, tasks);
  const auto& sinks = weights_->layers()[layer].sinks;
  const attention_heads heads{q_.data(),
                              mixed_.data(),
                              shape.heads,
                              shape.kv_heads,
                              d,
                              shape_.attention_scale,
                              shape_.attention_softcap,
                              shape.window,
                              sinks.empty() ? nullptr : sinks.data()};
  parallel_for(tasks, threads_, [&](std::size_t task) {
    const std::size_t first = task / shape.kv_heads * part;
    attention_[task].run(heads, {layer, position, first, std::min(part, count - first)},
                         task % shape.kv_heads, cache);
  });
}

/// Normalises the `count` heads of a token, and turns them to its place.
inline void transformer::place_heads(float* heads, std::size_t count,
                                     const std::vector<float>& norm,
                                     const float* angles) const noexcept {
  const std::size_t d = shape_.head_size;
  if (norm.size() > d) normalize_vector(heads, count * d, norm.data(), heads);
  for (std::size_t h = 0; h < count; ++h) {
    if (norm.size() == d) normalize_vector(heads + h * d, d, norm.data(), heads + h * d);
    if (angles != nullptr) rotate(heads + h * d, angles);
  }
}

/// Turns queries and keys of token t of the chunk to its place, and stores keys and values.
inline void transformer::place_token(std::size_t layer, std::size_t position, std::size_t t,
                                     kv_sequence& cache) noexcept {
  const layer_shape& shape = shape_.layers[layer];
  const auto& w = weights_->layers()[layer];
  const std::size_t d = shape_.head_size;
  const auto& table = shape.window != 0 ? local_angles_ : angles_;
  const float* angles = shape.has_rope ? table.data() + t * (shape_.rope_size / 2) * 2 : nullptr;
  float* keys = k_.data() + t * shape.kv_heads * d;
  float* queries = q_.data() + t * shape.heads * d;
  place_heads(queries, shape.heads, w.q_norm, angles);
  place_heads(keys, shape.kv_heads, w.k_norm, angles);
  if (turns_keys(cache.type())) {
    for (std::size_t h = 0; h < shape.heads; ++h) kernel::turn_by_hadamard(queries + h * d, d);
    for (std::size_t h = 0; h < shape.kv_heads; ++h) kernel::turn_by_hadamard(keys + h * d, d);
  }
  for (std::size_t h = 0; h < shape.kv_heads; ++h) {
    cache.set_key(layer, position + t, h, keys + h * d);
    cache.set_value(layer, position + t, h, v_.data() + (t * shape.kv_heads + h) * d);
  }
}

} // namespace edgequant::inline EDGEQUANT_ABI
