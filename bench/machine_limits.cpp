// SPDX-License-Identifier: MIT
#include "machine_limits.hpp"

#include <edgequant/advise/read_bandwidth.hpp>
#include <edgequant/gemm/matrix_tile.hpp>
#include <edgequant/system/parallel_for.hpp>

#include <benchmark/benchmark.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <memory>
#include <vector>

namespace {

namespace eq = edgequant;
using S = eq::simd::native;
using clock_type = std::chrono::steady_clock;

template <class Work> double seconds_of(Work work) {
  const auto start = clock_type::now();
  work();
  return std::chrono::duration<double>(clock_type::now() - start).count();
}

/// Median of nine passes of memset, in GB/s.
double write_rate() {
  constexpr std::size_t bytes = std::size_t{256} << 20;
  const std::unique_ptr<std::byte[]> memory(new std::byte[bytes]);
  benchmark::DoNotOptimize(memory.get());
  std::memset(memory.get(), 1, bytes); // so that its pages are there
  std::vector<double> seconds;
  for (int round = 0; round < 9; ++round)
    seconds.push_back(seconds_of([&] {
      std::memset(memory.get(), round, bytes);
      benchmark::ClobberMemory();
    }));
  std::nth_element(seconds.begin(), seconds.begin() + 4, seconds.end());
  return static_cast<double>(bytes) / 1e9 / seconds[4];
}

/// The compiler must take a register for changed, and so may neither hoist nor share what is
/// computed from it. Scalar vectors are arrays: they pass memory.
template <class V> inline void touch(V& v) {
#if defined(EDGEQUANT_HAS_AVX2) || defined(EDGEQUANT_HAS_AVX512)
  if constexpr (requires { v.b; })
    asm volatile("" : "+v"(v.a), "+v"(v.b));
  else if constexpr (requires { v.v; })
    asm volatile("" : "+v"(v.v));
  else
    asm volatile("" : "+v"(v));
#elif defined(EDGEQUANT_HAS_NEON)
  asm volatile("" : "+w"(v.v[0]), "+w"(v.v[1]), "+w"(v.v[2]), "+w"(v.v[3]));
#else
  benchmark::DoNotOptimize(v);
#endif
}

constexpr int chains = S::registers >= 32 ? 12 : 4; // they hide the latency and fit in registers
constexpr int rounds = 8;                           // that sums of dot products may take

template <int Bits> void run_dots(std::size_t times) {
  alignas(64) std::int8_t codes[64] = {};
  auto w = S::load_codes(codes), x = S::load_codes(codes);
  touch(w); // or products with zeros are known
  for (std::size_t i = 0; i < times; ++i) {
    decltype(S::template begin_dots<Bits>(0)) sums[chains];
    EDGEQUANT_UNROLL
    for (auto& sum : sums) sum = S::template begin_dots<Bits>(0);
    EDGEQUANT_UNROLL
    for (int k = 0; k < rounds; ++k) {
      EDGEQUANT_UNROLL
      for (auto& sum : sums) {
        touch(x);
        sum = S::template add_dot<Bits>(sum, w, x);
      }
    }
    EDGEQUANT_UNROLL
    for (auto& sum : sums) touch(sum);
  }
}

void run_floats(std::size_t times) {
  auto x = S::broadcast(0.5f), y = S::broadcast(0.25f);
  typename S::f32 sums[chains];
  EDGEQUANT_UNROLL
  for (auto& sum : sums) sum = x;
  for (std::size_t i = 0; i < times; ++i) {
    EDGEQUANT_UNROLL
    for (int k = 0; k < rounds; ++k) {
      EDGEQUANT_UNROLL
      for (auto& sum : sums) {
        touch(x);
        sum = S::multiply_add(x, y, sum);
      }
    }
  }
  EDGEQUANT_UNROLL
  for (auto& sum : sums) touch(sum);
}

/// Four products a time, each of 16 columns x 16 rows x 64 codes.
template <class Unit> void run_tiles(std::size_t times) {
  alignas(64) std::int8_t codes[16][64] = {};
  alignas(64) std::int32_t sums[16][16] = {};
  const typename Unit::template tile_unit<64> unit;
  Unit::template load_tokens<0, 64>(codes[0]);
  Unit::template load_tokens<1, 64>(codes[0]);
  Unit::template load_rows<0>(codes[0]);
  Unit::template load_rows<1>(codes[0]);
  Unit::template load_tile<0>(sums[0]);
  Unit::template load_tile<1>(sums[0]);
  Unit::template load_tile<2>(sums[0]);
  Unit::template load_tile<3>(sums[0]);
  for (std::size_t i = 0; i < times; ++i) {
    Unit::template add_offset_product<0>();
    Unit::template add_offset_product<1>();
    Unit::template add_offset_product<2>();
    Unit::template add_offset_product<3>();
  }
  Unit::template store_tile<0>(sums[0]);
  benchmark::DoNotOptimize(sums);
}

/// 10^9 operations a second of run(times), which does `operations` each time: the best of five.
template <class Run> double rate(double operations, unsigned threads, Run run) {
  std::size_t times = 1000;
  while (seconds_of([&] { run(times); }) < 5e-4) times *= 2;
  const unsigned team = eq::thread_count(threads);
  double best = 0;
  for (int round = 0; round < 5; ++round) {
    const double seconds =
        seconds_of([&] { eq::parallel_for(team, threads, [&](std::size_t) { run(times); }); });
    best = std::max(best, operations * static_cast<double>(times) * team / seconds / 1e9);
  }
  return best;
}

} // namespace

const bench::machine_limits& bench::limits() {
  static const machine_limits measured = {eq::measure_read_bandwidth({.threads = 1}).best_gb_s,
                                          write_rate()};
  return measured;
}

double bench::seconds_to_read(const std::byte* data, std::size_t bytes, unsigned threads) {
  const std::size_t team = eq::thread_count(threads), part = bytes / team / 512 * 512;
  return seconds_of([&] {
    eq::parallel_for(team, threads, [&](std::size_t t) {
      const std::byte* p = data + t * part;
      auto sum = [](int) { return S::bits(S::broadcast(0.0f)); };
      decltype(sum(0)) sums[4] = {sum(0), sum(0), sum(0), sum(0)};
      for (std::size_t i = 0; i + 256 <= part; i += 256)
        for (std::size_t k = 0; k < 4; ++k)
          sums[k] =
              S::max(sums[k], S::bits(S::load(reinterpret_cast<const float*>(p + i + k * 64))));
      benchmark::DoNotOptimize(
          S::reduce_max(S::max(S::max(sums[0], sums[1]), S::max(sums[2], sums[3]))));
    });
  });
}

double bench::dot_peak(int bits, unsigned threads) {
  constexpr double operations = 2.0 * 64 * chains * rounds;
  return bits == 4 ? rate(operations, threads, run_dots<4>)
                   : rate(operations, threads, run_dots<8>);
}

double bench::float_peak(unsigned threads) {
  return rate(2.0 * 16 * chains * rounds, threads, run_floats);
}

double bench::matrix_peak(unsigned threads) {
  if constexpr (eq::simd::tile_backend<S>)
    if (eq::gemm::matrix_unit_ready()) return rate(2.0 * 4 * 16 * 16 * 64, threads, run_tiles<S>);
  return 0;
}
