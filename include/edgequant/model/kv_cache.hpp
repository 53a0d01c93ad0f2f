// SPDX-License-Identifier: MIT
/// Keys and values of past tokens, in blocks of one pool that several sequences share: memory
/// follows the tokens that are there, not the longest context.
#pragma once

#include "../core/exception.hpp"
#include "../io/bytes.hpp"
#include "../system/stream_memory.hpp"
#include "kv_head.hpp"

#include <string>
#include <vector>

namespace edgequant::inline EDGEQUANT_ABI {

struct kv_shape {
  std::vector<std::size_t> kv_heads; ///< of each layer
  std::size_t head_size = 0;
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
  /// Of all blocks together.
  [[nodiscard]] std::size_t tokens() const noexcept { return most_blocks_ * block_tokens_; }
  [[nodiscard]] std::size_t blocks_in_use() const noexcept {
    return block_addresses_.size() - free_blocks_.size();
  }
  [[nodiscard]] std::size_t blocks_left() const noexcept { return most_blocks_ - blocks_in_use(); }
  /// Of one block: the keys and values of all layers.
  [[nodiscard]] std::size_t block_bytes() const noexcept { return block_bytes_; }
  /// Of all blocks that were made, in use or not.
  [[nodiscard]] std::size_t bytes() const noexcept {
    return block_addresses_.size() * block_bytes_;
  }

private:
  friend class kv_sequence;
  /// Makes blocks until so many are free; not more than are left.
  void make_free(std::size_t count);
  [[nodiscard]] std::size_t take() noexcept {
    const std::size_t block = free_blocks_.back();
    free_blocks_.pop_back();
    return block;
  }
  void give_back(std::size_t block) noexcept { free_blocks_.push_back(block); }
  /// Where a head's keys (part 0) or values (1) begin. Both begin with the scales of the tokens,
  /// group by group, where the format has scales. Then values lie token by token, and keys element
  /// by element, all tokens of the block for each: so products with many keys are made many at a
  /// time.
  [[nodiscard]] std::byte* at(std::size_t block, std::size_t layer, int part,
                              std::size_t head) const noexcept {
    const std::size_t row =
        first_rows_[layer] + static_cast<std::size_t>(part) * shape_.kv_heads[layer] + head;
    return block_addresses_[block] + row * block_tokens_ * token_head_bytes_;
  }

  kv_shape shape_;
  kv_format type_;
  std::size_t most_blocks_, block_tokens_;
  std::vector<std::size_t> first_rows_; ///< of a layer; a row is the keys or values of a head
  std::size_t token_head_bytes_ = 0;    ///< of a head's keys or values, a token
  std::size_t block_bytes_ = 0;
  std::vector<stream_memory> slabs_; ///< of some blocks each: large pages hold more than one
  std::vector<std::byte*> block_addresses_;
  std::vector<std::size_t> free_blocks_;
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
  [[nodiscard]] kv_format type() const noexcept { return pool_->type(); }
  /// Tokens that the pool has room for.
  [[nodiscard]] std::size_t capacity() const noexcept { return pool_->tokens(); }
  /// Makes room for `count` more tokens, whose keys and values are then set. error_code::exhausted
  /// if the pool has too few blocks left; the sequence stays as it was.
  void extend(std::size_t count);
  /// Keeps the first `size` tokens; blocks that are not needed go back to the pool.
  void truncate(std::size_t size) noexcept;

  /// Stores head_size floats. What is not finite reads back as not finite; with int8 and int4 all
  /// of its group is NaN then.
  void set_key(std::size_t layer, std::size_t token, std::size_t head, const float* x) noexcept;
  void set_value(std::size_t layer, std::size_t token, std::size_t head, const float* x) noexcept;
  /// Reads tokens [first, first + count) of a head's keys, element by element: element i of token
  /// first + t goes to to[i * stride + t].
  void read_keys(std::size_t layer, std::size_t head, std::size_t first, std::size_t count,
                 float* to, std::size_t stride) const noexcept;
  /// The same of its values, token by token: to[t * head_size + i].
  void read_values(std::size_t layer, std::size_t head, std::size_t first, std::size_t count,
                   float* to) const noexcept;

  /// Brings what read_keys() and read_values() will read near.
  void prefetch(std::size_t layer, std::size_t head, std::size_t first,
                std::size_t count) const noexcept;

private:
  /// Where the keys (part 0) or values (1) of the block begin that holds a token.
  [[nodiscard]] std::byte* locate(std::size_t layer, int part, std::size_t head,
                                  std::size_t token) const noexcept {
    return pool_->at(blocks_[token / pool_->block_tokens()], layer, part, head);
  }

  kv_pool* pool_;
  std::vector<std::size_t> blocks_;
  std::size_t size_ = 0;
};

inline kv_pool::kv_pool(kv_shape shape, kv_format type, std::size_t most_blocks,
                        std::size_t block_tokens)
    : shape_(std::move(shape)), type_(type), most_blocks_(most_blocks),
      block_tokens_(block_tokens) {
  std::size_t rows = 0;
  for (const auto heads : shape_.kv_heads) {
    first_rows_.push_back(rows);
    rows += 2 * heads;
  }
  if (block_tokens == 0 || rows == 0 || shape_.head_size == 0)
    fail(error_code::bad_argument, "KV cache", "an empty shape");
  token_head_bytes_ = static_cast<std::size_t>(kv_head_bytes(type, shape_.head_size));
  block_bytes_ = rows * block_tokens * token_head_bytes_;
}

inline void kv_pool::make_free(std::size_t count) {
  constexpr std::size_t slab_bytes = std::size_t{4} << 20;
  const std::size_t together = std::max<std::size_t>(1, slab_bytes / block_bytes_);
  while (free_blocks_.size() < count) {
    if (block_addresses_.size() % together == 0) {
      auto slab = allocate_stream(std::min(together, most_blocks_ - block_addresses_.size()) *
                                  block_bytes_);
      if (slab == nullptr)
        fail(error_code::exhausted, "KV cache",
             "no memory for a block of " + std::to_string(block_bytes_) + " bytes");
      slabs_.push_back(std::move(slab));
    }
    free_blocks_.reserve(block_addresses_.size() + 1); // so that give_back() does not throw
    block_addresses_.push_back(slabs_.back().get() +
                               block_addresses_.size() % together * block_bytes_);
    free_blocks_.push_back(block_addresses_.size() - 1);
  }
}

inline void kv_sequence::extend(std::size_t count) {
  const std::size_t n = pool_->block_tokens();
  const std::size_t needed = (size_ + count + n - 1) / n - blocks_.size();
  if (needed > pool_->blocks_left())
    fail(error_code::exhausted, "KV cache",
         counted(count, "token") + " more need " + counted(needed, "block") + " of " +
             std::to_string(n) + ", " + std::to_string(pool_->blocks_left()) + " are left");
  pool_->make_free(needed);
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

namespace model::detail {

/// Encodes a head of token t of a block, group by group: its scales at their place, and
/// store(first, elements) for what each part of it becomes, from element `first` on.
template <class Head, class Store>
void encode_head(std::span<const float> x, head_block<Head> block, std::size_t tokens,
                 std::size_t t, Store store) noexcept {
  constexpr std::size_t part = 64; // values
  typename Head::element elements[part];
  const std::size_t group = Head::group_values != 0 ? Head::group_values : x.size();
  for (std::size_t begin = 0; begin < x.size(); begin += group) {
    const auto values = x.subspan(begin, std::min(group, x.size() - begin));
    const float inverse = Head::choose_scale(values, block.scales + begin / group * tokens + t);
    for (std::size_t i = 0; i < values.size(); i += part) {
      const auto some = values.subspan(i, std::min(part, values.size() - i));
      Head::encode(some, inverse, elements);
      store(Head::elements(begin + i), std::span(elements, Head::elements(some.size())));
    }
  }
}

} // namespace model::detail

inline void kv_sequence::set_key(std::size_t layer, std::size_t token, std::size_t head,
                                 const float* x) noexcept {
  const std::size_t d = pool_->shape().head_size, n = pool_->block_tokens(), t = token % n;
  model::detail::visit_head_format(pool_->type(), [&]<class Head>(Head) {
    const model::detail::head_block<Head> block(locate(layer, 0, head, token), d, n);
    model::detail::encode_head<Head>({x, d}, block, n, t, [&](std::size_t first, auto elements) {
      for (std::size_t i = 0; i < elements.size(); ++i)
        block.elements[(first + i) * n + t] = elements[i];
    });
  });
}

inline void kv_sequence::set_value(std::size_t layer, std::size_t token, std::size_t head,
                                   const float* x) noexcept {
  const std::size_t d = pool_->shape().head_size, n = pool_->block_tokens(), t = token % n;
  model::detail::visit_head_format(pool_->type(), [&]<class Head>(Head) {
    const model::detail::head_block<Head> block(locate(layer, 1, head, token), d, n);
    auto* to = block.elements + t * Head::elements(d);
    model::detail::encode_head<Head>({x, d}, block, n, t, [&](std::size_t first, auto elements) {
      std::copy(elements.begin(), elements.end(), to + first);
    });
  });
}

inline void kv_sequence::read_keys(std::size_t layer, std::size_t head, std::size_t first,
                                   std::size_t count, float* to,
                                   std::size_t stride) const noexcept {
  const std::size_t d = pool_->shape().head_size, n = pool_->block_tokens();
  model::detail::visit_head_format(pool_->type(), [&]<class Head>(Head) {
    for (std::size_t t = 0; t < count;) {
      const std::size_t at = (first + t) % n, part = std::min(n - at, count - t);
      const model::detail::head_block<Head> block(locate(layer, 0, head, first + t), d, n);
      Head::decode_keys(block, n, at, part, d, to + t, stride);
      t += part;
    }
  });
}

inline void kv_sequence::read_values(std::size_t layer, std::size_t head, std::size_t first,
                                     std::size_t count, float* to) const noexcept {
  const std::size_t d = pool_->shape().head_size, n = pool_->block_tokens();
  model::detail::visit_head_format(pool_->type(), [&]<class Head>(Head) {
    for (std::size_t t = 0; t < count;) {
      const std::size_t at = (first + t) % n, part = std::min(n - at, count - t);
      const model::detail::head_block<Head> block(locate(layer, 1, head, first + t), d, n);
      Head::decode_values(block, n, at, part, d, to + t * d);
      t += part;
    }
  });
}

inline void kv_sequence::prefetch(std::size_t layer, std::size_t head, std::size_t first,
                                  std::size_t count) const noexcept {
  const std::size_t n = pool_->block_tokens(), bytes = pool_->token_head_bytes_ * n;
  for (std::size_t token = first / n * n; token < first + count; token += n)
    for (const int part : {0, 1}) {
      const std::byte* at = locate(layer, part, head, token);
      for (std::size_t i = 0; i < bytes; i += 64) __builtin_prefetch(at + i, 0, 2);
    }
}

} // namespace edgequant::inline EDGEQUANT_ABI
