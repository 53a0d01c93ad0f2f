// SPDX-License-Identifier: MIT
// Measures the machine's limits, then runs the benchmarks.
#include "machine_limits.hpp"

#include <edgequant/deploy/read_bandwidth.hpp>

#include <benchmark/benchmark.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdio>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

namespace {

constexpr std::size_t buffer_bytes = std::size_t{256} << 20;

/// Median of nine passes of memset, in GB/s.
double write_rate() {
  using clock = std::chrono::steady_clock;
  const std::unique_ptr<std::byte[]> memory(new std::byte[buffer_bytes]);
  benchmark::DoNotOptimize(memory.get());
  std::memset(memory.get(), 1, buffer_bytes); // so that its pages are there
  std::vector<double> seconds;
  for (int round = 0; round < 9; ++round) {
    const auto start = clock::now();
    std::memset(memory.get(), round, buffer_bytes);
    benchmark::ClobberMemory();
    seconds.push_back(std::chrono::duration<double>(clock::now() - start).count());
  }
  std::nth_element(seconds.begin(), seconds.begin() + 4, seconds.end());
  return buffer_bytes / 1e9 / seconds[4];
}

std::string gb_per_second(double rate) {
  char text[32];
  std::snprintf(text, sizeof text, "%.1f GB/s", rate);
  return text;
}

} // namespace

const bench::machine_limits& bench::limits() {
  static const machine_limits measured = {
      edgequant::measure_read_bandwidth({.threads = 1}).best_gb_s, write_rate()};
  return measured;
}

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  benchmark::AddCustomContext("memory read, one core", gb_per_second(bench::limits().read));
  benchmark::AddCustomContext("memory read, all cores",
                              gb_per_second(edgequant::measure_read_bandwidth().best_gb_s));
  benchmark::AddCustomContext("memory write, one core", gb_per_second(bench::limits().write));
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
}
