// SPDX-License-Identifier: MIT
// Quantize, dequantize and measure, in GB/s of floats, on one thread. Compiled once for the native
// backend and once for scalar, so that both stand side by side in one table.
#include <edgequant/edgequant.hpp>

#include <benchmark/benchmark.h>

#include <random>

namespace eq = edgequant;

namespace {

constexpr std::size_t rows = 1024, cols = 4096; // 16 MiB of floats: beyond L2

const eq::matrix_f& weights() {
  static const eq::matrix_f w = [] {
    std::mt19937 random(1);
    std::normal_distribution<float> normal(0.0f, 0.02f);
    eq::matrix_f m(rows, cols);
    for (Eigen::Index i = 0; i < m.size(); ++i) m.data()[i] = normal(random);
    return m;
  }();
  return w;
}

/// Bytes of float input or output a second, in powers of ten: "floats=12.3G/s" is 12.3 GB/s.
void count(benchmark::State& state) {
  const auto bytes = static_cast<double>(state.iterations()) * static_cast<double>(rows * cols * 4);
  state.counters["floats"] =
      benchmark::Counter(bytes, benchmark::Counter::kIsRate, benchmark::Counter::kIs1000);
}

void add(const std::string& name, void (*run)(benchmark::State&, eq::format, eq::scale_choice),
         eq::format type, eq::scale_choice rule) {
  const std::string full = name + "/" + std::string(eq::name_of(type)) +
                           (name == "quantize" ? "/" + eq::to_string(rule) : "") + "/" +
                           std::string(eq::simd::native::name);
  benchmark::RegisterBenchmark(full.c_str(), [=](benchmark::State& s) {
    run(s, type, rule);
  })->Unit(benchmark::kMillisecond);
}

void quantize(benchmark::State& state, eq::format type, eq::scale_choice rule) {
  const std::uint64_t bytes_per_row = eq::row_bytes(type, cols);
  std::vector<std::byte> out(rows * bytes_per_row);
  eq::row_encoder encode(type, rule, "bench");
  for (auto _ : state) {
    for (std::size_t r = 0; r < rows; ++r)
      encode({weights().data() + r * cols, cols}, {}, r * cols, out.data() + r * bytes_per_row);
    benchmark::DoNotOptimize(out.data());
    benchmark::ClobberMemory();
  }
  count(state);
}

void dequantize(benchmark::State& state, eq::format type, eq::scale_choice rule) {
  const std::uint64_t bytes_per_row = eq::row_bytes(type, cols);
  std::vector<std::byte> in(rows * bytes_per_row);
  eq::row_encoder encode(type, rule, "bench");
  for (std::size_t r = 0; r < rows; ++r)
    encode({weights().data() + r * cols, cols}, {}, 0, in.data() + r * bytes_per_row);
  std::vector<float> out(rows * cols);
  for (auto _ : state) {
    for (std::size_t r = 0; r < rows; ++r)
      eq::decode_row(type, in.data() + r * bytes_per_row, {out.data() + r * cols, cols});
    benchmark::DoNotOptimize(out.data());
    benchmark::ClobberMemory();
  }
  count(state);
}

void measure(benchmark::State& state, eq::format, eq::scale_choice) {
  const std::vector<float> other(cols, 0.01f);
  for (auto _ : state) {
    eq::error_accumulator sums;
    for (std::size_t r = 0; r < rows; ++r) sums.add({weights().data() + r * cols, cols}, other);
    benchmark::DoNotOptimize(sums.sums().noise);
  }
  count(state);
}

const bool registered = [] {
  for (const auto type : {eq::format::q8_0, eq::format::q4_0})
    for (const auto rule : {eq::scale_rule::absmax, eq::scale_rule::signed_max,
                            eq::scale_rule::ggml, eq::scale_rule::percentile, eq::scale_rule::mse})
      add("quantize", quantize, type, rule);
  for (const auto& row : eq::format_table) {
    if (row.use != eq::format_use::writable) continue;
    if (row.code_bits == 0) add("quantize", quantize, row.id, {});
    add("dequantize", dequantize, row.id, {});
  }
  add("measure_error", measure, eq::format::f32, {});
  return true;
}();

} // namespace
