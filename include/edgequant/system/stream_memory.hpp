// SPDX-License-Identifier: MIT
/// Memory for weights that every token reads from end to end.
#pragma once

#include "../config.hpp"

#include <cstddef>
#include <memory>
#include <new>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace edgequant::inline EDGEQUANT_ABI {

namespace system::detail {
struct free_aligned {
  std::size_t alignment = 64;
  void operator()(std::byte* p) const noexcept {
    ::operator delete[](p, std::align_val_t{alignment});
  }
};
} // namespace system::detail

using stream_memory = std::unique_ptr<std::byte[], system::detail::free_aligned>;

/// `bytes` bytes, aligned to 64 at least, or null where they cannot be had. On Linux from 2 MiB on
/// in large pages if the system gives them on request: a core reads a fifth more a second where
/// addresses are translated twice, as in virtual machines.
[[nodiscard]] inline stream_memory allocate_stream(std::size_t bytes) noexcept {
  constexpr std::size_t large_page = std::size_t{2} << 20;
  const std::size_t alignment = bytes >= large_page ? large_page : 64;
  stream_memory memory(
      static_cast<std::byte*>(::operator new[](bytes, std::align_val_t{alignment}, std::nothrow)),
      {alignment});
#if defined(__linux__) && defined(MADV_HUGEPAGE)
  // Only whole large pages: what is behind them may be somebody else's. A refusal costs nothing.
  if (memory != nullptr && bytes >= large_page)
    (void)::madvise(memory.get(), bytes / large_page * large_page, MADV_HUGEPAGE);
#endif
  return memory;
}

} // namespace edgequant::inline EDGEQUANT_ABI
