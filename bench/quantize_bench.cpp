// SPDX-License-Identifier: MIT
// Quantize, dequantize and measure on one thread, from memory and from cache. Compiled once for the
// native backend and once for scalar, so that both stand side by side in one table.
//   floats  GB/s of float input or output
//   share   of what the machine's memory allows for the bytes read and written; from memory only
#include "machine_limits.hpp"

#include <edgequant/metric/error.hpp>
#include <edgequant/quantizer/row_codec.hpp>

#include <benchmark/benchmark.h>

#include <chrono>
#include <random>
#include <span>

namespace eq = edgequant;

namespace {

constexpr std::size_t cols = 4096;

/// Rows of 4,096 weights: 256 MiB of floats, or 256 KiB.
enum class place : std::size_t { memory = 16384, cache = 16 };

const float* weights() {
  static const eq::matrix_f w = [] {
    std::mt19937 random(1);
    std::normal_distribution<float> normal(0.0f, 0.02f);
    eq::matrix_f m(static_cast<Eigen::Index>(place::memory), cols);
    constexpr Eigen::Index distinct = 1 << 20;
    for (Eigen::Index i = 0; i < distinct; ++i) m.data()[i] = normal(random);
    for (Eigen::Index i = distinct; i < m.size(); ++i) m.data()[i] = m.data()[i % distinct];
    return m;
  }();
  return w.data();
}

/// Runs `pass` over all rows as long as the library asks, and counts; a pass reads and writes so
/// many bytes a float.
template <class Pass>
void repeat(benchmark::State& state, place from, double read, double written, Pass pass) {
  using clock = std::chrono::steady_clock;
  const auto rows = static_cast<std::size_t>(from);
  const float* w = weights();
  const auto start = clock::now();
  for (auto _ : state) {
    for (std::size_t r = 0; r < rows; ++r) pass(r, std::span(w + r * cols, cols));
    benchmark::ClobberMemory();
  }
  const double seconds = std::chrono::duration<double>(clock::now() - start).count();
  const double floats = static_cast<double>(rows * cols) * static_cast<double>(state.iterations());
  using counter = benchmark::Counter;
  state.counters["floats"] = counter(floats * 4, counter::kIsRate, counter::kIs1000);
  const auto& limits = bench::limits();
  if (from == place::memory)
    state.counters["share"] =
        floats * (read / limits.read + written / limits.write) / 1e9 / seconds;
}

void quantize(benchmark::State& state, eq::format type, eq::scale_choice rule, place from) {
  const std::uint64_t bytes_per_row = eq::row_bytes(type, cols);
  std::vector<std::byte> out(static_cast<std::size_t>(from) * bytes_per_row);
  eq::row_encoder encode(type, rule, "bench");
  repeat(state, from, 4, static_cast<double>(bytes_per_row) / cols, [&](std::size_t r, auto row) {
    encode(row, {}, r * cols, out.data() + r * bytes_per_row);
  });
}

void dequantize(benchmark::State& state, eq::format type, eq::scale_choice rule, place from) {
  const auto rows = static_cast<std::size_t>(from);
  const std::uint64_t bytes_per_row = eq::row_bytes(type, cols);
  std::vector<std::byte> in(rows * bytes_per_row);
  eq::row_encoder encode(type, rule, "bench");
  for (std::size_t r = 0; r < rows; ++r)
    encode({weights() + r * cols, cols}, {}, 0, in.data() + r * bytes_per_row);
  std::vector<float> out(rows * cols);
  repeat(state, from, static_cast<double>(bytes_per_row) / cols, 4, [&](std::size_t r, auto) {
    eq::decode_row(type, in.data() + r * bytes_per_row, {out.data() + r * cols, cols});
  });
}

void measure(benchmark::State& state, eq::format, eq::scale_choice, place from) {
  const std::vector<float> other(cols, 0.01f);
  eq::error_accumulator sums;
  repeat(state, from, 4, 0, [&](std::size_t, auto row) { sums.add(row, other); });
  benchmark::DoNotOptimize(sums.sums().noise);
}

using body = void (*)(benchmark::State&, eq::format, eq::scale_choice, place);

/// Registers name/format[/rule]/memory|cache/backend.
void add(const std::string& name, body run, eq::format type, std::string_view rule,
         eq::scale_choice choice, place from) {
  const std::string full = name + "/" + std::string(eq::name_of(type)) + std::string(rule) +
                           (from == place::memory ? "/memory/" : "/cache/") +
                           std::string(eq::simd::native::name);
  benchmark::RegisterBenchmark(full.c_str(), [=](benchmark::State& s) {
    run(s, type, choice, from);
  })->Unit(benchmark::kMillisecond);
}

const bool registered = [] {
  for (const auto from : {place::memory, place::cache}) {
    for (const auto type : {eq::format::q8_0, eq::format::q5_0, eq::format::q4_0})
      for (const auto rule :
           {eq::scale_rule::absmax, eq::scale_rule::signed_max, eq::scale_rule::ggml,
            eq::scale_rule::percentile, eq::scale_rule::mse}) {
        const bool searches = rule == eq::scale_rule::percentile || rule == eq::scale_rule::mse;
        if (searches && from == place::memory) continue; // as fast, and far from memory's limit
        add("quantize", quantize, type, "/" + eq::to_string(rule), rule, from);
      }
    for (const auto& row : eq::format_table) {
      if (row.use != eq::format_use::writable) continue;
      if (row.code_bits == 0) add("quantize", quantize, row.id, "", {}, from);
      add("dequantize", dequantize, row.id, "", {}, from);
    }
    add("measure_error", measure, eq::format::f32, "", {}, from);
  }
  return true;
}();

} // namespace
