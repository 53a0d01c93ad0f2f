// SPDX-License-Identifier: MIT
/// How fast the machine reads its memory, measured.
#pragma once

#include "../core/checked.hpp"
#include "../core/parallel_for.hpp"
#include "../core/system_memory.hpp"

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <fstream>
#include <memory>
#include <new>
#include <span>
#include <string>
#include <vector>

namespace edgequant::inline EDGEQUANT_ABI {

struct bandwidth_options {
  unsigned threads = 0;  ///< 0: all that the machine offers
  double seconds = 0.2;  ///< no pass begins later, but for the first three
  unsigned passes = 100; ///< at most
  std::size_t bytes = 0; ///< of the buffer; 0: enough_bytes()
};

/// In 10^9 bytes a second.
struct bandwidth_figures {
  double best_gb_s = 0, median_gb_s = 0;
  unsigned passes = 0, threads = 0;
};

/// Reads a buffer from end to end, time and again. `best` is the machine's; `median` what it gives
/// on average while others use it too. All figures are 0 if there is no memory for the buffer.
[[nodiscard]] bandwidth_figures measure_read_bandwidth(const bandwidth_options& options = {});

/// 128 MiB or four times the last-level cache, whatever is more, as far as a quarter of the free
/// memory reaches: of what is read in order, a cache of that size holds nothing that comes next.
[[nodiscard]] std::size_t enough_bytes();

namespace detail {

inline constexpr std::size_t words_per_piece = std::size_t{1} << 17; ///< 1 MiB

/// Eight sums, so that no load waits for an addition: that is enough for memory without vectors.
[[nodiscard]] inline std::uint64_t sum_of(const std::uint64_t* words) noexcept {
  std::array<std::uint64_t, 8> sums = {};
  for (std::size_t i = 0; i < words_per_piece; i += sums.size())
    for (std::size_t k = 0; k < sums.size(); ++k) sums[k] += words[i + k];
  std::uint64_t sum = 0;
  for (const auto s : sums) sum += s;
  return sum;
}

/// Seconds of one pass.
[[nodiscard]] inline double read_pass(std::span<const std::uint64_t> words, unsigned threads) {
  using clock = std::chrono::steady_clock;
  std::vector<std::uint64_t> sums(words.size() / words_per_piece);
  const auto start = clock::now();
  parallel_for(sums.size(), threads,
               [&](std::size_t i) { sums[i] = sum_of(words.data() + i * words_per_piece); });
  const std::chrono::duration<double> seconds = clock::now() - start;
  volatile std::uint64_t used = 0; // else nothing needs to be read
  for (const auto s : sums) used = used + s;
  return seconds.count();
}

} // namespace detail

inline std::size_t enough_bytes() {
  // sysconf() tells some machines ten times their cache.
  std::uint64_t cache_kib = 0;
  for (int level = 0; level < 8; ++level) {
    std::ifstream in("/sys/devices/system/cpu/cpu0/cache/index" + std::to_string(level) + "/size");
    if (std::uint64_t kib = 0; in >> kib) cache_kib = std::max(cache_kib, kib);
  }
  const auto bytes = std::max(std::uint64_t{128} << 20, 4 * 1024 * cache_kib);
  return static_cast<std::size_t>(std::min(bytes, available_memory() / 4));
}

inline bandwidth_figures measure_read_bandwidth(const bandwidth_options& options) {
  using clock = std::chrono::steady_clock;
  const std::size_t bytes = options.bytes != 0 ? options.bytes : enough_bytes();
  const std::size_t pieces = ceil_divide(bytes, detail::words_per_piece * sizeof(std::uint64_t));
  const std::size_t count = pieces * detail::words_per_piece;
  const std::unique_ptr<std::uint64_t[]> words(new (std::nothrow) std::uint64_t[count]);
  if (words == nullptr || count == 0) return {};
  // Pages exist when they are written, near the core that writes them.
  parallel_for(pieces, options.threads, [&](std::size_t i) {
    std::fill_n(words.get() + i * detail::words_per_piece, detail::words_per_piece, i);
  });
  std::vector<double> rates;
  const auto start = clock::now();
  while (rates.size() < options.passes) {
    const std::chrono::duration<double> past = clock::now() - start;
    if (rates.size() >= 3 && past.count() > options.seconds) break;
    const double seconds = detail::read_pass({words.get(), count}, options.threads);
    rates.push_back(static_cast<double>(count * sizeof(std::uint64_t)) / 1e9 / seconds);
  }
  if (rates.empty()) return {};
  std::sort(rates.begin(), rates.end());
  return {rates.back(), rates[rates.size() / 2], static_cast<unsigned>(rates.size()),
          thread_count(options.threads)};
}

} // namespace edgequant::inline EDGEQUANT_ABI
