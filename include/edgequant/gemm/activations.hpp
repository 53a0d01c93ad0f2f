// SPDX-License-Identifier: MIT
/// Activations, quantized to int8 once for all matrices that they are multiplied with.
#pragma once

#include "../core/resize_exactly.hpp"
#include "../system/parallel_for.hpp"
#include "float_tile.hpp"
#include "matrix_tile.hpp"

#include <cstddef>
#include <vector>

namespace edgequant::inline EDGEQUANT_ABI {

/// How activations are quantized for products with quantized weights: int8, scale = largest
/// magnitude / 127.
enum class activation_coding : std::uint8_t {
  none,
  per_group, ///< a float scale for each 32 values: for weights in blocks
  per_token  ///< one for the vector: for weights with a scale a row
};

/// Activations of `count` tokens, [count][length] floats. The first product with a quantized matrix
/// quantizes them; those that follow use the same codes.
class activations {
public:
  /// Takes a view of x[count][length], which must live until the last product.
  void assign(const float* x, std::size_t count, std::size_t length) noexcept {
    values_ = x;
    count_ = count;
    length_ = length;
    in_matrix_tiles_ = false;
    interleaved_valid_ = false;
    coding_ = activation_coding::none;
  }
  [[nodiscard]] const float* values() const noexcept { return values_; }
  [[nodiscard]] std::size_t count() const noexcept { return count_; }
  [[nodiscard]] std::size_t length() const noexcept { return length_; }
  /// Whether the codes lie in tiles of gemm::matrix_tile_tokens tokens, for a matrix unit; the last
  /// tile is padded with tokens of zeros.
  [[nodiscard]] bool in_matrix_tiles() const noexcept { return in_matrix_tiles_; }

  /// Quantizes, if that is not done yet. `length` is 1 or more; per_group: a multiple of 32.
  template <simd::backend S = simd::native> void encode(activation_coding coding, unsigned threads);
  /// Groups of the tile of tokens first .. first + N - 1, [ceil(length / 32)]: one of
  /// for_each_tile(), or a tile for a matrix unit.
  template <std::size_t N>
  [[nodiscard]] const gemm::activation_group<N>* tile(std::size_t first) const {
    return reinterpret_cast<const gemm::activation_group<N>*>(place(first));
  }
  /// The same tile for a matrix unit, quantized per token.
  [[nodiscard]] const gemm::per_token_tile& per_token_tile_at(std::size_t first) const {
    return *reinterpret_cast<const gemm::per_token_tile*>(place(first));
  }
  /// Copies the floats into panels of sixteen tokens, [ceil(count / 16)][length][16], for products
  /// in float.
  template <simd::backend S = simd::native> void interleave(unsigned threads);
  /// The panel of tokens first .. first + 15, `first` a multiple of 16: [length][16], padded with
  /// zeros.
  [[nodiscard]] const float* interleaved(std::size_t first) const noexcept {
    return interleaved_.data() + first * length_;
  }
  /// Cuts tokens [begin, end) into tiles, where `begin` is a multiple of widest_tile: calls
  /// body(first, std::integral_constant<std::size_t, N>) for each.
  template <class Body> static void for_each_tile(std::size_t begin, std::size_t end, Body body);
  static constexpr std::size_t widest_tile = gemm::tile_tokens<simd::native>;

private:
  /// With fewer tokens most of a matrix unit's tile is padding. Measured.
  static constexpr std::size_t min_amx_tokens_per_group_scale = 12,
                               min_amx_tokens_per_token_scale = 8;

  struct alignas(64) cache_line {
    std::byte bytes[64];
  };
  /// Bytes before a token that begins a tile.
  [[nodiscard]] std::size_t offset(std::size_t token, bool per_token_tiles) const noexcept {
    if (per_token_tiles)
      return token / gemm::matrix_tile_tokens * gemm::per_token_tile::bytes(length_);
    return token * ((length_ + 31) / 32) * sizeof(gemm::activation_group<1>);
  }
  [[nodiscard]] std::byte* place(std::size_t token) noexcept {
    return codes_.data()->bytes +
           offset(token, in_matrix_tiles_ && coding_ == activation_coding::per_token);
  }
  [[nodiscard]] const std::byte* place(std::size_t token) const noexcept {
    return const_cast<activations*>(this)->place(token);
  }
  template <std::size_t N> void encode_tile(std::size_t first, std::size_t tokens) noexcept;
  template <simd::backend S>
  void encode_per_token_tile(std::size_t first, std::size_t tokens) noexcept;

  const float* values_ = nullptr;
  std::size_t count_ = 0, length_ = 0;
  bool in_matrix_tiles_ = false, interleaved_valid_ = false;
  activation_coding coding_ = activation_coding::none;
  /// [count padded to a tile][ceil(length / 32)] activation_group, or with one scale a token for a
  /// matrix unit [ceil(count / 16)] per_token_tile.
  std::vector<cache_line> codes_;
  std::vector<float> interleaved_; ///< [ceil(count / 16)][length][16]
};

template <class Body>
void activations::for_each_tile(std::size_t begin, std::size_t end, Body body) {
  const auto tiles_of = [&](auto width) {
    for (; begin + width() <= end; begin += width()) body(begin, width);
  };
  if constexpr (widest_tile == 6) tiles_of(std::integral_constant<std::size_t, 6>{});
  if constexpr (widest_tile >= 4) tiles_of(std::integral_constant<std::size_t, 4>{});
  tiles_of(std::integral_constant<std::size_t, 2>{});
  tiles_of(std::integral_constant<std::size_t, 1>{});
}

template <simd::backend S> void activations::encode(activation_coding coding, unsigned threads) {
  if (coding_ == coding) return;
  const bool per_token = coding == activation_coding::per_token;
  const bool matrix_tiles =
      count_ >= (per_token ? min_amx_tokens_per_token_scale : min_amx_tokens_per_group_scale) &&
      gemm::matrix_unit_ready<S>();
  const std::size_t width = matrix_tiles ? gemm::matrix_tile_tokens : widest_tile;
  const std::size_t tiles = (count_ + width - 1) / width;
  const std::size_t bytes =
      offset(matrix_tiles ? tiles * width : count_, matrix_tiles && per_token);
  resize_exactly(codes_, (bytes + sizeof(cache_line) - 1) / sizeof(cache_line));
  coding_ = coding; // behind the allocation: where it throws, nothing is encoded
  in_matrix_tiles_ = matrix_tiles;
  // A few tokens are quantized sooner than threads are woken.
  parallel_for(tiles, count_ < 8 ? 1 : threads, [&](std::size_t t) {
    const std::size_t begin = t * width, end = std::min(count_, begin + width);
    if (matrix_tiles && per_token)
      encode_per_token_tile<S>(begin, end - begin);
    else if (matrix_tiles)
      encode_tile<gemm::matrix_tile_tokens>(begin, end - begin);
    else
      for_each_tile(begin, end, [&](std::size_t first, auto tokens) {
        encode_tile<tokens()>(first, tokens());
      });
  });
}

template <simd::backend S> void activations::interleave(unsigned threads) {
  if (interleaved_valid_) return;
  const std::size_t panels = (count_ + 15) / 16;
  resize_exactly(interleaved_, panels * 16 * length_);
  interleaved_valid_ = true;
  parallel_for(panels, threads, [&](std::size_t p) {
    const std::size_t first = p * 16;
    gemm::interleave_tokens(values_ + first * length_, std::min<std::size_t>(16, count_ - first),
                            length_, interleaved_.data() + first * length_);
  });
}

template <std::size_t N>
void activations::encode_tile(std::size_t first, std::size_t tokens) noexcept {
  static_assert(sizeof(gemm::activation_group<N>) == N * sizeof(gemm::activation_group<1>));
  const std::size_t groups = (length_ + 31) / 32;
  auto* to = reinterpret_cast<gemm::activation_group<N>*>(place(first));
  if (tokens < N) std::memset(to, 0, groups * sizeof *to);
  for (std::size_t c = 0; c < tokens; ++c) {
    const float* x = values_ + (first + c) * length_;
    if (coding_ == activation_coding::per_group)
      gemm::quantize_token(x, groups, to, c);
    else
      gemm::quantize_per_token(x, length_, to, c);
  }
}

template <simd::backend S>
void activations::encode_per_token_tile(std::size_t first, std::size_t tokens) noexcept {
  auto* to = reinterpret_cast<gemm::per_token_tile*>(place(first));
  if (tokens < gemm::matrix_tile_tokens)
    std::memset(to, 0, gemm::per_token_tile::bytes(length_));
  else if (length_ % 64 != 0)
    std::memset(to->chunks() + length_ / 64, 0, sizeof(gemm::per_token_tile::chunk));
  for (std::size_t c = 0; c < tokens; ++c)
    gemm::quantize_per_token<S>(values_ + (first + c) * length_, length_, *to, c);
}

} // namespace edgequant::inline EDGEQUANT_ABI
