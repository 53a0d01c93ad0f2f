// SPDX-License-Identifier: MIT
/// Rows of values to groups of codes: the one place where a scale meets its codes.
#pragma once

#include "../format/group_format.hpp"
#include "../kernel/nibbles.hpp"
#include "scale.hpp"

#include <string>

namespace edgequant::inline EDGEQUANT_ABI {

/// `NaN`, `infinity` or `-infinity`, for messages.
[[nodiscard]] inline const char* describe_non_finite(float x) noexcept {
  return abs_bits(x) > infinity_bits ? "NaN" : x < 0 ? "-infinity" : "infinity";
}

/// Throws bad_value with the tensor's name and the index if a value is NaN or infinite.
/// `first` is the index of values[0] in the tensor.
inline void require_finite(std::span<const float> values, std::string_view name,
                           std::uint64_t first = 0) {
  if (const auto at = kernel::find_non_finite(values))
    fail(error_code::bad_value, std::string(name),
         "value at index " + std::to_string(first + *at) + " is " +
             describe_non_finite(values[*at]));
}

/// Encodes rows of one tensor. An object is scratch memory for one thread.
template <group_format F> class group_encoder {
public:
  static constexpr int bits = F::bits;
  using scale = typename F::scale;

  /// `name` is for messages and must outlive the encoder.
  group_encoder(const scale_choice& choice, std::string_view name)
      : choice_(choice), chooser_(choice), name_(name) {}

  /// Chooses the scale of one group; bad_value if the stored type cannot hold it. `first` is the
  /// index of values[0] in the tensor.
  template <class Importance>
  [[nodiscard]] group_scale choose(std::span<const float> values, Importance importance,
                                   std::uint64_t first);

  /// Codes of one group at a scale that choose() returned.
  void encode(std::span<const float> values, group_scale s, std::int8_t* codes) const noexcept;

  /// Encodes a row into blocks. A last block that the row does not fill holds codes of 0 behind
  /// its values; its scale follows from the values alone.
  template <class Importance, class Block>
  void encode_row(std::span<const float> row, Importance importance, std::uint64_t first,
                  Block* blocks);

private:
  [[noreturn]] void refuse_scale(std::uint64_t first) const;
  template <class Block> void encode_batch(const float* values, std::uint64_t first, Block* blocks);
  template <class Block>
  void encode_block(const float* values, float inverse, Block& block) const noexcept;

  scale_choice choice_;
  scale_chooser<bits, scale, longest_group(F::group_length)> chooser_;
  std::string_view name_;
};

template <group_format F>
template <class Importance>
group_scale group_encoder<F>::choose(std::span<const float> values, Importance importance,
                                     std::uint64_t first) {
  const group_scale s = chooser_(values, importance);
  if (!is_finite(s.stored)) refuse_scale(first);
  return s;
}

template <group_format F> void group_encoder<F>::refuse_scale(std::uint64_t first) const {
  fail(error_code::bad_value, std::string(name_),
       "the scale of the group at index " + std::to_string(first) +
           " is above 65504, the largest f16 (" + to_string(choice_) + " rule)");
}

template <group_format F>
void group_encoder<F>::encode(std::span<const float> values, group_scale s,
                              std::int8_t* codes) const noexcept {
  if (choice_.rule == scale_rule::ggml)
    kernel::quantize<bits, kernel::rounding::ggml>(values, s.inverse, codes);
  else
    kernel::quantize<bits>(values, s.inverse, codes);
}

template <group_format F>
template <class Importance, class Block>
void group_encoder<F>::encode_row(std::span<const float> row, Importance importance,
                                  std::uint64_t first, Block* blocks) {
  constexpr std::size_t length = F::group_length, batch = 16 * length;
  std::size_t begin = 0;
  if (follows_from_largest(choice_.rule))
    for (; begin + batch <= row.size(); begin += batch, blocks += 16)
      encode_batch(row.data() + begin, first + begin, blocks);
  for (; begin < row.size(); begin += length, ++blocks) {
    const auto values = row.subspan(begin, std::min(length, row.size() - begin));
    const group_scale s = choose(values, part_of(importance, begin, values.size()), first + begin);
    blocks->scale = static_cast<scale>(s.stored);
    if (values.size() == length) {
      encode_block(values.data(), s.inverse, *blocks);
    } else {
      float padded[length]{};
      std::copy(values.begin(), values.end(), padded);
      encode_block(padded, s.inverse, *blocks);
    }
  }
}

/// Sixteen full groups: their scales cost one pass of vector arithmetic.
template <group_format F>
template <class Block>
void group_encoder<F>::encode_batch(const float* values, std::uint64_t first, Block* blocks) {
  constexpr std::size_t length = F::group_length;
  const half_scales scales =
      signless<bits>(choice_.rule)
          ? scales_from_largest<bits>(choice_.rule, kernel::absmax_of_16(values, length))
          : scales_from_largest<bits>(choice_.rule, kernel::largest_of_16(values, length));
  if (scales.too_large != 0)
    refuse_scale(first + static_cast<unsigned>(std::countr_zero(scales.too_large)) * length);
  for (std::size_t g = 0; g < 16; ++g) {
    const float* group = values + g * length;
    for (std::size_t i = 0; i < length; i += 16) kernel::prefetch_next_page(group + i);
    blocks[g].scale = Eigen::numext::bit_cast<half>(scales.stored[g]);
    encode_block(group, scales.inverse[g], blocks[g]);
  }
}

template <group_format F>
template <class Block>
void group_encoder<F>::encode_block(const float* values, float inverse,
                                    Block& block) const noexcept {
  if (choice_.rule == scale_rule::ggml)
    kernel::quantize_block<kernel::rounding::ggml>(values, inverse, block);
  else
    kernel::quantize_block(values, inverse, block);
}

} // namespace edgequant::inline EDGEQUANT_ABI
