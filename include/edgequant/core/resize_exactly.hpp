// SPDX-License-Identifier: MIT
/// Buffers whose capacity is what was asked for.
#pragma once

#include "../config.hpp"

#include <cstddef>
#include <vector>

namespace edgequant::inline EDGEQUANT_ABI {

/// Makes the buffer hold `size` elements, whose values are unspecified. A capacity that has to grow
/// becomes `size`, where resize() would take up to twice as much, and the old memory is freed
/// first: so the peak is a number that an estimate can name.
template <class T> void resize_exactly(std::vector<T>& values, std::size_t size) {
  if (size > values.capacity()) {
    std::vector<T>().swap(values);
    values.reserve(size);
  }
  values.resize(size);
}

} // namespace edgequant::inline EDGEQUANT_ABI
