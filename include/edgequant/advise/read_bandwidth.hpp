// SPDX-License-Identifier: MIT
/// How fast the machine reads its memory, measured.
#pragma once

#include "../core/checked.hpp"
#include "../system/parallel_for.hpp"
#include "../system/system_memory.hpp"

#include <algorithm>
#include <array>
#include <atomic>
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
  double seconds = 0.2;  ///< of reading
  std::size_t bytes = 0; ///< of the buffer; 0: enough_bytes()
};

/// In 10^9 bytes a second.
struct bandwidth_figures {
  double best_gb_s = 0, median_gb_s = 0;
  unsigned threads = 0;
};

/// Reads a buffer from begin to end, again and again, all threads in pieces of 256 KiB. Each 64 MiB
/// give a rate: `best` is the machine's, `median` is what is left while other programs run. Threads
/// do not wait for each other, so that one without a core does not slow the others down. All
/// figures are 0 if the buffer cannot be allocated.
[[nodiscard]] bandwidth_figures measure_read_bandwidth(const bandwidth_options& options = {});

/// The larger of 256 MiB and four times the last-level cache, but at most a quarter of the free
/// memory: a buffer that is read in order is then never found in the cache.
[[nodiscard]] std::size_t enough_bytes();

namespace advisor::detail {

inline constexpr std::size_t words_per_piece = std::size_t{1} << 15; ///< 256 KiB
inline constexpr std::size_t pieces_per_rate = 256;                  ///< 64 MiB

/// Eight sums, so that no load waits for an addition: that is enough for memory without vectors.
[[nodiscard]] inline std::uint64_t sum_of(const std::uint64_t* words) noexcept {
  std::array<std::uint64_t, 8> sums = {};
  for (std::size_t i = 0; i < words_per_piece; i += sums.size())
    for (std::size_t k = 0; k < sums.size(); ++k) sums[k] += words[i + k];
  std::uint64_t sum = 0;
  for (const auto s : sums) sum += s;
  return sum;
}

/// The seconds at which pieces were finished, in order.
[[nodiscard]] inline std::vector<double>
read_for(double seconds, std::span<const std::uint64_t> words, unsigned threads) {
  using clock = std::chrono::steady_clock;
  const std::size_t pieces = words.size() / words_per_piece;
  std::atomic<std::size_t> next = 0;
  std::atomic<std::uint64_t> used = 0; // else nothing needs to be read
  std::vector<std::vector<double>> finished(thread_count(threads));
  const auto start = clock::now();
  parallel_for(finished.size(), threads, [&](std::size_t thread) {
    std::vector<double> own;
    do {
      const std::size_t piece = next.fetch_add(1, std::memory_order_relaxed) % pieces;
      used.fetch_add(sum_of(words.data() + piece * words_per_piece), std::memory_order_relaxed);
      own.push_back(std::chrono::duration<double>(clock::now() - start).count());
    } while (own.back() < seconds);
    finished[thread] = std::move(own);
  });
  std::vector<double> all;
  for (const auto& own : finished) all.insert(all.end(), own.begin(), own.end());
  std::sort(all.begin(), all.end());
  return all;
}

/// Of each run of pieces that follow each other, in GB/s; from small to large.
[[nodiscard]] inline std::vector<double> rates_of(std::span<const double> finished) {
  const std::size_t run = std::min(pieces_per_rate, finished.size() / 2);
  const double gigabytes = static_cast<double>(run * words_per_piece * sizeof(std::uint64_t)) / 1e9;
  std::vector<double> rates;
  for (std::size_t i = 0; run != 0 && i + run < finished.size(); ++i)
    if (const double seconds = finished[i + run] - finished[i]; seconds > 0)
      rates.push_back(gigabytes / seconds);
  std::sort(rates.begin(), rates.end());
  return rates;
}

} // namespace advisor::detail

inline std::size_t enough_bytes() {
  // sysconf() tells some machines ten times their cache.
  std::uint64_t cache_kib = 0;
  for (int level = 0; level < 8; ++level) {
    std::ifstream in("/sys/devices/system/cpu/cpu0/cache/index" + std::to_string(level) + "/size");
    if (std::uint64_t kib = 0; in >> kib) cache_kib = std::max(cache_kib, kib);
  }
  const auto bytes = std::max(std::uint64_t{256} << 20, 4 * 1024 * cache_kib);
  return static_cast<std::size_t>(std::min(bytes, available_memory() / 4));
}

inline bandwidth_figures measure_read_bandwidth(const bandwidth_options& options) {
  const std::size_t bytes = options.bytes != 0 ? options.bytes : enough_bytes();
  const std::size_t pieces =
      ceil_divide(bytes, advisor::detail::words_per_piece * sizeof(std::uint64_t));
  const std::size_t count = pieces * advisor::detail::words_per_piece;
  const std::unique_ptr<std::uint64_t[]> words(new (std::nothrow) std::uint64_t[count]);
  if (words == nullptr || count == 0) return {};
  // Pages exist when they are written, near the core that writes them.
  parallel_for(pieces, options.threads, [&](std::size_t i) {
    std::fill_n(words.get() + i * advisor::detail::words_per_piece,
                advisor::detail::words_per_piece, i);
  });
  const auto rates = advisor::detail::rates_of(
      advisor::detail::read_for(options.seconds, {words.get(), count}, options.threads));
  if (rates.empty()) return {};
  return {rates.back(), rates[rates.size() / 2], thread_count(options.threads)};
}

} // namespace edgequant::inline EDGEQUANT_ABI
