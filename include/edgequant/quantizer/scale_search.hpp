// SPDX-License-Identifier: MIT
/// The `mse` rule: the scale with the least squared error of a group.
#pragma once

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
template <int Bits, scale_type Scale> class scale_search {
public:
  [[nodiscard]] float operator()(std::span<const float> values, std::span<const float> importance) {
    const weighted_group group(values, importance);
    return values.size() <= longest_exact_group ? exact_(group) : grid_(group);
  }

private:
  std::conditional_t<std::same_as<Scale, half>, half_search<Bits>, real_search<Bits>> exact_;
  grid_search<Bits, Scale> grid_;
};

} // namespace edgequant::inline EDGEQUANT_ABI
