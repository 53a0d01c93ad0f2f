// SPDX-License-Identifier: MIT
// Measures the machine's limits, then runs the benchmarks. `--help` tells the library's options;
// --benchmark_out=FILE.json keeps the result for plot.py.
#include "machine_limits.hpp"

#include <edgequant/advise/read_bandwidth.hpp>
#include <edgequant/simd/simd.hpp>

#include <benchmark/benchmark.h>

#include <cstdio>
#include <string>
#include <vector>

namespace {

void add(const std::string& name, double value, const char* unit) {
  char text[32];
  std::snprintf(text, sizeof text, "%.1f %s", value, unit);
  benchmark::AddCustomContext(name, text);
}

/// GB/s at which one core reads what fits in `kib` KiB, after it has been there once.
double cached_read(std::size_t kib) {
  const std::vector<std::byte> data(kib * 1024, std::byte{1});
  double best = 0;
  for (int round = 0; round < 200; ++round)
    best = std::max(best, static_cast<double>(data.size()) / 1e9 /
                              bench::seconds_to_read(data.data(), data.size(), 1));
  return best;
}

} // namespace

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  benchmark::AddCustomContext("instruction set", std::string(edgequant::simd::native::name));
  add("read, 256 KiB, one core", cached_read(256), "GB/s");
  add("read, 4 MiB, one core", cached_read(4096), "GB/s");
  add("memory read, one core", bench::limits().read, "GB/s");
  add("memory read, all cores", edgequant::measure_read_bandwidth().best_gb_s, "GB/s");
  add("memory write, one core", bench::limits().write, "GB/s");
  for (const unsigned threads : {1u, 0u}) {
    const std::string cores = threads == 1 ? ", one core" : ", all cores";
    add("dot products of 8 bits" + cores, bench::dot_peak(8, threads), "GOP/s");
    add("dot products of 4 bits" + cores, bench::dot_peak(4, threads), "GOP/s");
    add("float" + cores, bench::float_peak(threads), "GOP/s");
    if (const double peak = bench::matrix_peak(threads); peak > 0)
      add("products of matrices" + cores, peak, "GOP/s");
  }
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
}
