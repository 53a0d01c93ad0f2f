// SPDX-License-Identifier: MIT
// Measures the machine's limits, then runs the benchmarks.
#include "machine_limits.hpp"

#include <edgequant/simd/simd.hpp>

#include <benchmark/benchmark.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

namespace {

/// Median seconds of nine runs.
template <class Run> double median_seconds(Run run) {
  using clock = std::chrono::steady_clock;
  std::vector<double> seconds;
  for (int i = 0; i < 9; ++i) {
    const auto start = clock::now();
    run();
    seconds.push_back(std::chrono::duration<double>(clock::now() - start).count());
  }
  std::nth_element(seconds.begin(), seconds.begin() + 4, seconds.end());
  return seconds[4];
}

bench::machine_limits measure_limits() {
  using S = edgequant::simd::native;
  constexpr std::size_t count = std::size_t{64} << 20;
  constexpr double gigabytes = count * sizeof(float) / 1e9;
  const std::unique_ptr<float[]> memory(new float[count]);
  std::memset(memory.get(), 1, count * sizeof(float)); // so that its pages are there
  int round = 0;
  const double write =
      median_seconds([&] { std::memset(memory.get(), ++round, count * sizeof(float)); });
  const double read = median_seconds([&] {
    typename S::f32 most[4];
    for (auto& m : most) m = S::broadcast(0.0f);
    for (std::size_t i = 0; i < count; i += 64)
      for (std::size_t k = 0; k < 4; ++k)
        most[k] = S::max(most[k], S::load(memory.get() + i + 16 * k));
    float lanes[16];
    S::store(lanes, S::max(S::max(most[0], most[1]), S::max(most[2], most[3])));
    benchmark::DoNotOptimize(lanes[0]);
  });
  return {gigabytes / read, gigabytes / write};
}

std::string gb_per_second(double rate) {
  char text[32];
  std::snprintf(text, sizeof text, "%.1f GB/s", rate);
  return text;
}

} // namespace

const bench::machine_limits& bench::limits() {
  static const machine_limits measured = measure_limits();
  return measured;
}

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  benchmark::AddCustomContext("memory read, one core", gb_per_second(bench::limits().read));
  benchmark::AddCustomContext("memory write, one core", gb_per_second(bench::limits().write));
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
}
