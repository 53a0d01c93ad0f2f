// SPDX-License-Identifier: MIT
/// Keys and values of past tokens, in blocks of one pool that several sequences share: memory
/// follows the tokens that are there, not the longest context.
#pragma once

#include "../core/exception.hpp"
#include "../core/float_types.hpp"
#include "../io/bytes.hpp"
#include "../kernel/absmax.hpp"
#include "../kernel/convert.hpp"
#include "../kernel/quantize.hpp"
#include "../quantizer/scale_storage.hpp"
#include "kv_format.hpp"

#include <cstring>
#include <memory>
#include <string>
#include <vector>

namespace edgequant::inline EDGEQUANT_ABI {

struct kv_shape {
  std::size_t layers = 0, kv_heads = 0, head_size = 0;
};

/// Blocks of equal size, made when they are first needed and used again after their release.
class kv_pool {
public:
  /// At most `most_blocks` blocks of `block_tokens` tokens.
  kv_pool(kv_shape shape, kv_format type, std::size_t most_blocks,
          std::size_t block_tokens = kv_block_tokens);

  [[nodiscard]] const kv_shape& shape() const noexcept { return shape_; }
  [[nodiscard]] kv_format type() const noexcept { return type_; }
  [[nodiscard]] std::size_t block_tokens() const noexcept { return block_tokens_; }
  [[nodiscard]] std::size_t blocks_in_use() const noexcept { return made_.size() - free_.size(); }
  [[nodiscard]] std::size_t blocks_left() const noexcept { return most_ - blocks_in_use(); }
  /// Of one block: the keys and values of all layers.
  [[nodiscard]] std::size_t block_bytes() const noexcept { return block_bytes_; }
  /// Of all blocks that were made, in use or not.
  [[nodiscard]] std::size_t bytes() const noexcept { return made_.size() * block_bytes_; }

private:
  friend class kv_sequence;
  [[nodiscard]] std::size_t take();
  void give_back(std::size_t block) noexcept { free_.push_back(block); }
  /// Where a token's key (0) or value (1) begins.
  [[nodiscard]] std::byte* at(std::size_t block, std::size_t layer, int part, std::size_t head,
                              std::size_t token) const noexcept;

  kv_shape shape_;
  kv_format type_;
  std::size_t most_, block_tokens_, head_bytes_ = 0, block_bytes_ = 0;
  std::vector<std::unique_ptr<std::byte[]>> made_;
  std::vector<std::size_t> free_;
};

/// The tokens of one text. The pool must outlive it.
class kv_sequence {
public:
  explicit kv_sequence(kv_pool& pool) noexcept : pool_(&pool) {}
  ~kv_sequence() { truncate(0); }
  kv_sequence(const kv_sequence&) = delete;
  kv_sequence& operator=(const kv_sequence&) = delete;

  /// Tokens.
  [[nodiscard]] std::size_t size() const noexcept { return size_; }
  /// Makes room for `count` more tokens, whose keys and values are then set. error_code::exhausted
  /// if the pool has too few blocks left; the sequence stays as it was.
  void extend(std::size_t count);
  /// Keeps the first `size` tokens; blocks that are not needed go back to the pool.
  void truncate(std::size_t size) noexcept;

  /// Stores head_size floats, all finite.
  void set_key(std::size_t layer, std::size_t token, std::size_t head, const float* x) noexcept {
    store(locate(layer, 0, head, token), x);
  }
  void set_value(std::size_t layer, std::size_t token, std::size_t head, const float* x) noexcept {
    store(locate(layer, 1, head, token), x);
  }
  /// Reads the first `count` tokens of a head, head_size floats each.
  void read(std::size_t layer, std::size_t head, std::size_t count, float* keys,
            float* values) const noexcept;

private:
  [[nodiscard]] std::byte* locate(std::size_t layer, int part, std::size_t head,
                                  std::size_t token) const noexcept {
    const std::size_t n = pool_->block_tokens();
    return pool_->at(blocks_[token / n], layer, part, head, token % n);
  }
  void store(std::byte* to, const float* x) noexcept;
  void load(const std::byte* from, float* x) const noexcept;

  kv_pool* pool_;
  std::vector<std::size_t> blocks_;
  std::size_t size_ = 0;
};

inline kv_pool::kv_pool(kv_shape shape, kv_format type, std::size_t most_blocks,
                        std::size_t block_tokens)
    : shape_(shape), type_(type), most_(most_blocks), block_tokens_(block_tokens) {
  if (block_tokens == 0 || shape.layers == 0 || shape.kv_heads == 0 || shape.head_size == 0)
    fail(error_code::bad_argument, "KV cache", "an empty shape");
  head_bytes_ = static_cast<std::size_t>(kv_head_bytes(type, shape.head_size));
  block_bytes_ = shape.layers * 2 * shape.kv_heads * block_tokens * head_bytes_;
}

inline std::size_t kv_pool::take() {
  if (free_.empty()) {
    made_.push_back(std::make_unique<std::byte[]>(block_bytes_));
    free_.reserve(made_.size()); // give_back() does not throw
    return made_.size() - 1;
  }
  const std::size_t block = free_.back();
  free_.pop_back();
  return block;
}

inline std::byte* kv_pool::at(std::size_t block, std::size_t layer, int part, std::size_t head,
                              std::size_t token) const noexcept {
  const std::size_t row = (layer * 2 + static_cast<std::size_t>(part)) * shape_.kv_heads + head;
  return made_[block].get() + (row * block_tokens_ + token) * head_bytes_;
}

inline void kv_sequence::extend(std::size_t count) {
  const std::size_t n = pool_->block_tokens();
  const std::size_t needed = (size_ + count + n - 1) / n - blocks_.size();
  if (needed > pool_->blocks_left())
    fail(error_code::exhausted, "KV cache",
         counted(count, "token") + " more need " + counted(needed, "block") + " of " +
             std::to_string(n) + ", " + std::to_string(pool_->blocks_left()) + " are left");
  blocks_.reserve(blocks_.size() + needed);
  for (std::size_t i = 0; i < needed; ++i) blocks_.push_back(pool_->take());
  size_ += count;
}

inline void kv_sequence::truncate(std::size_t size) noexcept {
  const std::size_t n = pool_->block_tokens();
  size_ = std::min(size, size_);
  while (blocks_.size() > (size_ + n - 1) / n) {
    pool_->give_back(blocks_.back());
    blocks_.pop_back();
  }
}

inline void kv_sequence::store(std::byte* to, const float* x) noexcept {
  const std::span<const float> values(x, pool_->shape().head_size);
  switch (pool_->type()) {
  case kv_format::f32:
    std::memcpy(to, x, values.size_bytes());
    return;
  case kv_format::f16:
    return kernel::to_f16(values, reinterpret_cast<std::uint16_t*>(to));
  case kv_format::int8:
    break;
  }
  const float largest = std::bit_cast<float>(kernel::absmax_bits(values));
  const auto scale = store_scale<float>(largest / 127.0f, 127.0f);
  std::memcpy(to, &scale.stored, sizeof scale.stored);
  kernel::quantize<8>(values, scale.inverse, reinterpret_cast<std::int8_t*>(to + sizeof(float)));
}

inline void kv_sequence::load(const std::byte* from, float* x) const noexcept {
  const std::size_t d = pool_->shape().head_size;
  switch (pool_->type()) {
  case kv_format::f32:
    std::memcpy(x, from, d * sizeof(float));
    return;
  case kv_format::f16:
    return kernel::from_f16(reinterpret_cast<const std::uint16_t*>(from), {x, d});
  case kv_format::int8:
    break;
  }
  float scale;
  std::memcpy(&scale, from, sizeof scale);
  kernel::dequantize({reinterpret_cast<const std::int8_t*>(from + sizeof scale), d}, scale, x);
}

inline void kv_sequence::read(std::size_t layer, std::size_t head, std::size_t count, float* keys,
                              float* values) const noexcept {
  const std::size_t d = pool_->shape().head_size;
  for (std::size_t token = 0; token < count; ++token) {
    load(locate(layer, 0, head, token), keys + token * d);
    load(locate(layer, 1, head, token), values + token * d);
  }
}

} // namespace edgequant::inline EDGEQUANT_ABI
