// SPDX-License-Identifier: MIT
// What a test program takes from the heap. The operators below replace the library's, so that one
// file of a program may include this.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdlib>
#include <new>

#include <malloc.h>

/// Counters of the heap of this program.
struct heap_counter {
  static inline std::atomic<std::size_t> allocations = 0;
  static inline std::atomic<std::size_t> live = 0, peak = 0; ///< bytes
  static inline std::atomic<bool> refused = false;           ///< as where memory has run out

  static void* take(std::size_t bytes, std::size_t alignment) {
    ++allocations;
    void* p = nullptr;
    if (refused || ::posix_memalign(&p, alignment, bytes) != 0) return nullptr;
    const std::size_t now = live += ::malloc_usable_size(p);
    for (std::size_t old = peak; old < now && !peak.compare_exchange_weak(old, now);) {
    }
    return p;
  }
  static void* take_or_throw(std::size_t bytes, std::size_t alignment) {
    void* p = take(bytes, alignment);
    if (p == nullptr) throw std::bad_alloc();
    return p;
  }
  static void give(void* p) {
    if (p != nullptr) live -= ::malloc_usable_size(p);
    std::free(p);
  }
  static constexpr std::size_t usual = alignof(std::max_align_t);
};

[[gnu::noinline]] void* operator new(std::size_t n) {
  return heap_counter::take_or_throw(n, heap_counter::usual);
}
[[gnu::noinline]] void* operator new[](std::size_t n) {
  return heap_counter::take_or_throw(n, heap_counter::usual);
}
[[gnu::noinline]] void* operator new(std::size_t n, const std::nothrow_t&) noexcept {
  return heap_counter::take(n, heap_counter::usual);
}
[[gnu::noinline]] void* operator new[](std::size_t n, const std::nothrow_t&) noexcept {
  return heap_counter::take(n, heap_counter::usual);
}
[[gnu::noinline]] void* operator new(std::size_t n, std::align_val_t a) {
  return heap_counter::take_or_throw(n, static_cast<std::size_t>(a));
}
[[gnu::noinline]] void* operator new[](std::size_t n, std::align_val_t a) {
  return heap_counter::take_or_throw(n, static_cast<std::size_t>(a));
}
[[gnu::noinline]] void* operator new(std::size_t n, std::align_val_t a,
                                     const std::nothrow_t&) noexcept {
  return heap_counter::take(n, static_cast<std::size_t>(a));
}
[[gnu::noinline]] void* operator new[](std::size_t n, std::align_val_t a,
                                       const std::nothrow_t&) noexcept {
  return heap_counter::take(n, static_cast<std::size_t>(a));
}
[[gnu::noinline]] void operator delete(void* p) noexcept { heap_counter::give(p); }
[[gnu::noinline]] void operator delete[](void* p) noexcept { heap_counter::give(p); }
[[gnu::noinline]] void operator delete(void* p, std::size_t) noexcept { heap_counter::give(p); }
[[gnu::noinline]] void operator delete[](void* p, std::size_t) noexcept { heap_counter::give(p); }
[[gnu::noinline]] void operator delete(void* p, std::align_val_t) noexcept {
  heap_counter::give(p);
}
[[gnu::noinline]] void operator delete[](void* p, std::align_val_t) noexcept {
  heap_counter::give(p);
}
[[gnu::noinline]] void operator delete(void* p, std::size_t, std::align_val_t) noexcept {
  heap_counter::give(p);
}
[[gnu::noinline]] void operator delete[](void* p, std::size_t, std::align_val_t) noexcept {
  heap_counter::give(p);
}
