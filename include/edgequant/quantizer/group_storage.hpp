// SPDX-License-Identifier: MIT
/// Where a matrix in a group format keeps its codes and scales.
#pragma once

#include "group_encoder.hpp"

#include <type_traits>

namespace edgequant::inline EDGEQUANT_ABI {

/// Scales and codes together, block by block.
template <block_format F> struct block_storage {
  using block = typename F::block;
  std::size_t blocks_per_row = 0;
  std::vector<block> blocks; ///< rows one after another

  void resize(std::size_t rows, std::size_t cols);
  template <class Importance>
  void encode_row(group_encoder<F>& encoder, std::span<const float> row, Importance importance,
                  std::size_t index);
  void decode_row(std::size_t index, std::span<float> row) const noexcept;
  [[nodiscard]] std::size_t bytes() const noexcept { return blocks.size() * sizeof(block); }
};

/// Codes in one place, scales in another.
template <int Bits, std::size_t GroupLength, class Scale> struct split_storage {
  using F = symmetric<Bits, GroupLength, Scale>;
  using code = std::conditional_t<Bits == 8, std::int8_t, std::uint8_t>;
  std::size_t group_length = 0;   ///< values that share a scale, at most a row
  std::size_t groups_per_row = 0; ///< 0: one scale for all rows
  std::size_t code_bytes_per_row = 0;
  std::vector<code> codes;
  std::vector<Scale> scales;

  void resize(std::size_t rows, std::size_t cols);
  template <class Importance>
  void encode_row(group_encoder<F>& encoder, std::span<const float> row, Importance importance,
                  std::size_t index);
  void decode_row(std::size_t index, std::span<float> row) const noexcept;
  [[nodiscard]] std::size_t bytes() const noexcept {
    return codes.size() + scales.size() * sizeof(Scale);
  }
  void set_tensor_scale(group_scale s) {
    tensor_scale = s;
    scales[0] = static_cast<Scale>(s.stored);
  }
  group_scale tensor_scale{}; ///< per-tensor formats: set before rows are encoded
};

template <class F> struct storage_of { using type = block_storage<F>; };
template <int Bits, std::size_t GroupLength, class Scale>
struct storage_of<symmetric<Bits, GroupLength, Scale>> {
  using type = split_storage<Bits, GroupLength, Scale>;
};
/// Where a format keeps its data. Each kind gives a row back as values.
template <group_format F> using group_storage = typename storage_of<F>::type;

template <block_format F> void block_storage<F>::resize(std::size_t rows, std::size_t cols) {
  blocks_per_row = ceil_divide(cols, F::group_length);
  blocks.resize(rows * blocks_per_row);
}

template <block_format F>
template <class Importance>
void block_storage<F>::encode_row(group_encoder<F>& encoder, std::span<const float> row,
                                  Importance importance, std::size_t index) {
  encoder.encode_row(row, importance, index * row.size(), blocks.data() + index * blocks_per_row);
}

template <block_format F>
void block_storage<F>::decode_row(std::size_t index, std::span<float> row) const noexcept {
  const block* b = blocks.data() + index * blocks_per_row;
  std::size_t i = 0;
  for (; i + F::group_length <= row.size(); i += F::group_length, ++b)
    kernel::dequantize_block(*b, row.data() + i);
  if (i == row.size()) return;
  float last[F::group_length];
  kernel::dequantize_block(*b, last);
  std::copy(last, last + (row.size() - i), row.begin() + static_cast<std::ptrdiff_t>(i));
}

template <int Bits, std::size_t GroupLength, class Scale>
void split_storage<Bits, GroupLength, Scale>::resize(std::size_t rows, std::size_t cols) {
  constexpr bool row_long = GroupLength == per_channel || GroupLength == per_tensor;
  group_length = row_long ? cols : std::min(GroupLength, cols);
  groups_per_row = GroupLength == per_tensor || cols == 0 ? 0 : ceil_divide(cols, group_length);
  code_bytes_per_row = Bits == 8 ? cols : kernel::packed_bytes(cols);
  codes.resize(rows * code_bytes_per_row);
  scales.resize(GroupLength == per_tensor ? 1 : rows * groups_per_row);
}

template <int Bits, std::size_t GroupLength, class Scale>
template <class Importance>
void split_storage<Bits, GroupLength, Scale>::encode_row(group_encoder<F>& encoder,
                                                         std::span<const float> row,
                                                         Importance importance, std::size_t index) {
  std::vector<std::int8_t> unpacked;
  std::int8_t* out = nullptr;
  if constexpr (Bits == 8)
    out = codes.data() + index * code_bytes_per_row;
  else
    unpacked.resize(row.size()), out = unpacked.data();
  for (std::size_t begin = 0, g = 0; begin < row.size(); begin += group_length, ++g) {
    const auto values = row.subspan(begin, std::min(group_length, row.size() - begin));
    group_scale s = tensor_scale;
    if constexpr (GroupLength != per_tensor) {
      s = encoder.choose(values, part_of(importance, begin, values.size()),
                         index * row.size() + begin);
      scales[index * groups_per_row + g] = static_cast<Scale>(s.stored);
    }
    encoder.encode(values, s, out + begin);
  }
  if constexpr (Bits == 4)
    kernel::pack_nibbles(unpacked, nibble_order::interleaved,
                         codes.data() + index * code_bytes_per_row);
}

template <int Bits, std::size_t GroupLength, class Scale>
void split_storage<Bits, GroupLength, Scale>::decode_row(std::size_t index,
                                                         std::span<float> row) const noexcept {
  const code* in = codes.data() + index * code_bytes_per_row;
  for (std::size_t begin = 0, g = 0; begin < row.size(); begin += group_length, ++g) {
    const std::size_t length = std::min(group_length, row.size() - begin);
    const Scale s = groups_per_row == 0 ? scales[0] : scales[index * groups_per_row + g];
    const auto scale = static_cast<float>(s);
    if constexpr (Bits == 8) {
      kernel::dequantize({in + begin, length}, scale, row.data() + begin);
    } else {
      for (std::size_t i = begin; i < begin + length; ++i) {
        const std::uint8_t byte = in[i / 2];
        const std::int8_t q = i % 2 == 0 ? kernel::low_nibble(byte) : kernel::high_nibble(byte);
        row[i] = static_cast<float>(q) * scale;
      }
    }
  }
}

} // namespace edgequant::inline EDGEQUANT_ABI
