// SPDX-License-Identifier: MIT
/// The `mse` rule: the scale with the least squared error of a group.
#pragma once

#include "../format/group_format.hpp"
#include "grid_search.hpp"
#include "half_search.hpp"
#include "real_search.hpp"

#include <type_traits>

namespace edgequant::inline EDGEQUANT_ABI {

/// Finds the best scale of a group. An object is scratch memory for one thread; its answers do not
/// depend on earlier ones.
///
/// Up to longest_exact_group values: the stored scale, of either sign, with the least squared error
/// over all finite values of its type (half), or the real optimum rounded to float (float). Ties go
/// to the smaller magnitude, then to the positive. Longer groups: grid_search, with its bound.
///
/// Importance c: finite, not negative, one per value or none at all; all zeros count as none.
///
/// `Longest`: no group has more values. Formats of short groups do without grid_search.
template <int Bits, scale_type Scale, std::size_t Longest = per_tensor> class scale_search {
public:
  [[nodiscard]] float operator()(std::span<const float> values, no_importance none) {
    const weighted_group group(values, none);
    if constexpr (has_long_groups)
      if (values.size() > longest_exact_group) return grid_(group);
    return exact_.template find<false>(group);
  }
  [[nodiscard]] float operator()(std::span<const float> values, std::span<const float> importance) {
    const weighted_group group(values, importance);
    if (group.importance.empty()) return (*this)(values, no_importance{});
    if constexpr (has_long_groups)
      if (values.size() > longest_exact_group) return grid_(group);
    return exact_.template find<true>(group);
  }

private:
  static constexpr bool has_long_groups = Longest > longest_exact_group;
  struct nothing {};
  std::conditional_t<std::same_as<Scale, half>, half_search<Bits>, real_search<Bits>> exact_;
  [[no_unique_address]] std::conditional_t<has_long_groups, grid_search<Bits, Scale>, nothing>
      grid_;
};

/// The longest group of a format: a row or a tensor may have any length.
[[nodiscard]] constexpr std::size_t longest_group(std::size_t group_length) noexcept {
  return group_length == per_channel ? per_tensor : group_length;
}

} // namespace edgequant::inline EDGEQUANT_ABI
