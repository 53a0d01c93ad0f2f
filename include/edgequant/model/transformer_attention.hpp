// SPDX-License-Identifier: MIT
/// The attention of a transformer: RoPE, norms of heads, the cache, and the mixing of values.
#pragma once

#include "../kernel/hadamard.hpp"
#include "rope.hpp"
#include "transformer.hpp"

#include <algorithm>

namespace edgequant::inline EDGEQUANT_ABI {

inline void transformer::prepare_rope(std::size_t position, std::size_t count,
                                      const kv_sequence& cache) {
  const auto& divisors = weights_->rope_divisors(cache.capacity());
  rope_angles(shape_.rope, shape_.rope_size, position, count, divisors, angles_);
  if (shape_.most(&layer_shape::window) != 0)
    rope_angles(shape_.local_rope, shape_.rope_size, position, count, divisors, local_angles_);
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
  if (!turns_heads(cache.type())) return;
  parallel_for(count, threads_, [&](std::size_t token) {
    turn_heads(mixed_.data() + token * shape.heads * d, shape.heads);
  });
}

inline void transformer::turn_heads(float* heads, std::size_t count) const noexcept {
  for (std::size_t h = 0; h < count; ++h)
    kernel::turn_by_hadamard(heads + h * shape_.head_size, shape_.head_size);
}

/// Normalises the `count` heads of a token, and turns them to its place.
inline void transformer::place_heads(float* heads, std::size_t count,
                                     const std::vector<float>& norm,
                                     const float* angles) const noexcept {
  const std::size_t d = shape_.head_size;
  if (norm.size() > d) normalize_vector(heads, count * d, norm.data(), heads);
  for (std::size_t h = 0; h < count; ++h) {
    if (norm.size() == d) normalize_vector(heads + h * d, d, norm.data(), heads + h * d);
    if (angles != nullptr)
      turn_by_rope(heads + h * d, shape_.architecture->rope, shape_.rope_size / 2, angles);
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
  float* values = v_.data() + t * shape.kv_heads * d;
  if (turns_heads(cache.type())) {
    turn_heads(queries, shape.heads);
    turn_heads(keys, shape.kv_heads);
    turn_heads(values, shape.kv_heads);
  }
  for (std::size_t h = 0; h < shape.kv_heads; ++h) {
    cache.set_key(layer, position + t, h, keys + h * d);
    cache.set_value(layer, position + t, h, values + h * d);
  }
}

} // namespace edgequant::inline EDGEQUANT_ABI
