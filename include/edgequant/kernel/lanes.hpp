// SPDX-License-Identifier: MIT
/// Sixteen elements at a time, with the tail handled in this one place.
#pragma once

#include "../simd/simd.hpp"

#include <cstdint>
#include <cstring>
#include <span>

namespace edgequant::inline EDGEQUANT_ABI::kernel {

/// Sixteen elements that are all there: ops work on the caller's memory.
struct full_lanes {
  template <class T, class Load> auto load(const T* p, Load op) const noexcept { return op(p); }
  template <class T, class Store> void store(T* p, Store op) const noexcept { op(p); }
};

/// The last 1 to 15 elements: loads see zeros behind them, stores do not go past them.
struct tail_lanes {
  std::size_t count;

  template <class T, class Load> auto load(const T* p, Load op) const noexcept {
    // The zeros are written last: clang 14 shortens a memset in front of a memcpy without end where
    // `count` turns out to be constant.
    T buffer[32];
    std::memcpy(buffer, p, count * sizeof(T));
    std::memset(buffer + count, 0, 16 * sizeof(T));
    return op(static_cast<const T*>(buffer));
  }
  template <class T, class Store> void store(T* p, Store op) const noexcept {
    T buffer[16];
    op(static_cast<T*>(buffer));
    std::memcpy(p, buffer, count * sizeof(T));
  }
};

/// Calls body(i, lanes) for i = 0, 16, 32, ... below n. The body reads with lanes.load(p + i, op)
/// and writes with lanes.store(p + i, op), where op takes a pointer to 16 elements.
template <class Body> inline void for_each_16(std::size_t n, Body&& body) noexcept {
  std::size_t i = 0;
  for (; i + 16 <= n; i += 16) body(i, full_lanes{});
  if (i < n) body(i, tail_lanes{n - i});
}

/// Brings what is 4 KiB behind p near, for a loop that goes through memory once. The processor's
/// own prefetching ends with each page; the quantizers gain a tenth from memory, and lose nothing
/// else.
inline void prefetch_next_page(const void* p) noexcept {
  __builtin_prefetch(reinterpret_cast<const void*>(reinterpret_cast<std::uintptr_t>(p) + 4096));
}

/// Brings `Bytes` bytes that lie 4 KiB behind p into the second level cache, for a loop that does
/// much with each byte of a long stream. What a processor fetches by itself ends too near for it:
/// products of one token gain a third from memory on Intel's servers, where 2 KiB, or the first
/// level, are less.
template <std::size_t Bytes> inline void prefetch_stream(const void* p) noexcept {
  const auto first = reinterpret_cast<std::uintptr_t>(p) + 4096;
  EDGEQUANT_UNROLL
  for (std::size_t i = 0; i < Bytes; i += 64)
    __builtin_prefetch(reinterpret_cast<const void*>(first + i), 0, 2);
}

/// lanes.load(p, S::load) for floats, the case that every kernel has.
template <class S, class Lanes> auto load_floats(Lanes lanes, const float* p) noexcept {
  return lanes.load(p, [](const float* q) { return S::load(q); });
}

} // namespace edgequant::inline EDGEQUANT_ABI::kernel
