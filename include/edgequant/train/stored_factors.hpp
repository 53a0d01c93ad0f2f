// SPDX-License-Identifier: MIT
/// The scales of a quantized matrix as parameters of training: each half that a block stores has a
/// factor, the codes and the integer steps of its groups stay.
#pragma once

#include "../format/block_packing.hpp"

#include <cmath>
#include <cstring>
#include <span>
#include <string>
#include <vector>

namespace edgequant::inline EDGEQUANT_ABI {

/// Whether blocks of a format store halves and can be written.
[[nodiscard]] constexpr bool has_stored_halves(format type) noexcept {
  const auto layout = find_layout(type);
  return layout && layout->unit == scale_unit::half_of_block;
}

/// The halves of the blocks of a matrix, each times a factor exp(u). Of a block these are its scale
/// and, where the format has one, its minimum.
class stored_factors {
public:
  /// bad_argument for a format without halves. The bytes, whole rows one after the other, are
  /// changed by store() and must outlive it.
  stored_factors(format type, std::span<std::byte> bytes, std::size_t columns)
      : type_(type), bytes_(bytes) {
    if (!has_stored_halves(type))
      fail(error_code::bad_argument, std::string(name_of(type)), "its blocks store no halves");
    blocks_per_row_ = columns / info_of(type).block_length;
    for_each_half([&](half& h) { first_.push_back(h); });
  }

  /// Of the whole matrix, block by block, row by row.
  [[nodiscard]] std::size_t size() const noexcept { return first_.size(); }

  /// Adds the gradients for u of the halves of a row: `gradient` is of its values, `sums` is of all
  /// parameters.
  void add_gradients(std::size_t row, const float* gradient, std::span<float> sums) const;

  /// Writes the halves times exp(u), rounded; one that would leave the range of a half stays.
  void store(std::span<const float> u) {
    std::size_t i = 0;
    for_each_half([&](half& h) {
      const half rounded(static_cast<float>(first_[i]) * std::exp(u[i]));
      h = Eigen::numext::isfinite(rounded) ? rounded : first_[i];
      ++i;
    });
  }

private:
  /// Calls use(half&) for each half; what it changes is written.
  template <class Use> void for_each_half(Use use) {
    visit_encodable_format(type_, [&]<class F>(F) {
      if constexpr (requires(typename F::block b) { b.scale; }) {
        typename F::block block;
        for (std::size_t at = 0; at < bytes_.size(); at += sizeof block) {
          std::memcpy(&block, bytes_.data() + at, sizeof block);
          use(block.scale);
          if constexpr (F::has_minimum) use(block.minimum);
          std::memcpy(bytes_.data() + at, &block, sizeof block);
        }
      }
    });
  }

  format type_;
  std::span<std::byte> bytes_;
  std::size_t blocks_per_row_ = 0;
  std::vector<half> first_; ///< as they were
};

/// The gradient for u of a half is the sum, over the values that it scales, of their gradients
/// times the part of them that is a multiple of it.
inline void stored_factors::add_gradients(std::size_t row, const float* gradient,
                                          std::span<float> sums) const {
  visit_encodable_format(type_, [&]<class F>(F) {
    constexpr std::size_t each = F::has_minimum ? 2 : 1;
    typename F::block block;
    block_groups<F> groups;
    for (std::size_t b = row * blocks_per_row_; b < (row + 1) * blocks_per_row_; ++b) {
      std::memcpy(&block, bytes_.data() + b * sizeof block, sizeof block);
      unpack(block, groups);
      float scale = 0, minimum = 0;
      for (std::size_t g = 0; g < groups.count; ++g) {
        float by_codes = 0, alone = 0;
        for (std::size_t i = g * F::group_length; i < (g + 1) * F::group_length; ++i) {
          by_codes += static_cast<float>(groups.codes[i]) * gradient[i];
          alone += gradient[i];
        }
        scale += by_codes * groups.scales[g];
        if constexpr (F::has_minimum) minimum -= alone * groups.minimums[g];
      }
      sums[b * each] += scale;
      if constexpr (F::has_minimum) sums[b * each + 1] += minimum;
      gradient += F::block_length;
    }
  });
}

} // namespace edgequant::inline EDGEQUANT_ABI
