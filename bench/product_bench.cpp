// SPDX-License-Identifier: MIT
// Products of weight matrices with 1 to 512 vectors, in the shapes of real models, beside what the
// machine allows at the same moment. Weights are packed, as the engine keeps them.
//   product/FORMAT/ROWSxCOLUMNS/VECTORS/threads:N
//   weights  GB/s of weights. With one vector they come from memory: copies that fill no cache
//   ops      multiplications and additions a second
//   share    one vector: of the rate at which a sum reads the same bytes; else of the dot products
//            of that many bits (of float arithmetic for f16), where operands never leave registers;
//            above 1 where a unit for matrices does the work
//   matrix   from 8 vectors on, where there is such a unit: share of its own peak
// The yardsticks of `share` are measured in turn with the product; shares are ratios of medians.
#include "machine_limits.hpp"

#include <edgequant/advise/read_bandwidth.hpp>
#include <edgequant/gemm/product.hpp>
#include <edgequant/quantizer/row_codec.hpp>
#include <edgequant/system/stream_memory.hpp>

#include <benchmark/benchmark.h>

#include <algorithm>
#include <chrono>
#include <random>

namespace eq = edgequant;

namespace {

struct shape {
  std::size_t rows, columns;
};
/// SmolLM 135M, Llama 3.2 1B, Llama 2 7B, Llama 3 8B and 70B: hidden x hidden, feed-forward.
constexpr shape shapes[] = {{576, 576},    {1536, 576},   {2048, 2048},  {8192, 2048}, {4096, 4096},
                            {11008, 4096}, {4096, 11008}, {14336, 4096}, {8192, 8192}};

/// A matrix, as often as it takes to fill no cache.
class matrices {
public:
  matrices(eq::format type, shape s, std::size_t total) {
    std::mt19937 random(1);
    std::normal_distribution<float> normal(0.0f, 0.02f);
    std::vector<float> row(s.columns);
    for (float& x : row) x = normal(random);
    const bool channels = type == eq::format::i8;
    const std::size_t row_size = channels ? s.columns : eq::row_bytes(type, s.columns);
    std::vector<std::byte> rows(s.rows * row_size);
    scales_.assign(s.rows, 0.02f / 40);
    // Searched formats take their time: some rows, again and again.
    const std::size_t distinct = eq::visit_coded_panels(type, [](auto) {}) ? 64 : s.rows;
    for (std::size_t r = 0; r < s.rows; ++r) {
      if (r >= distinct) {
        std::copy_n(rows.data() + r % distinct * row_size, row_size, rows.data() + r * row_size);
        continue;
      }
      for (int i = 0; i < 64; ++i) row[random() % s.columns] = normal(random);
      std::byte* to = rows.data() + r * row_size;
      if (channels)
        eq::kernel::quantize<8>(row, 1 / scales_[r], reinterpret_cast<std::int8_t*>(to));
      else
        eq::row_encoder(type, distinct < s.rows ? eq::scale_rule::mse : eq::scale_rule::absmax,
                        "bench")(row, {}, 0, to);
    }
    const eq::weight_view view{type, s.rows, s.columns, rows.data(), {}, scales_.data()};
    const bool packs = eq::can_pack(type);
    bytes_ = packs ? eq::panel_bytes(view) : rows.size();
    const std::size_t copies = std::max<std::size_t>(1, total / bytes_);
    memory_ = eq::allocate_stream(copies * bytes_);
    for (std::size_t i = 0; i < copies; ++i) {
      std::byte* to = memory_.get() + i * bytes_;
      views_.push_back(view);
      if (packs)
        views_.back() = eq::pack_panels(view, to, 0);
      else
        views_.back().data = std::copy(rows.begin(), rows.end(), to) - bytes_;
    }
  }
  [[nodiscard]] std::span<const eq::weight_view> views() const { return views_; }
  [[nodiscard]] std::size_t bytes() const { return views_.size() * bytes_; }
  [[nodiscard]] const std::byte* data() const { return memory_.get(); }

private:
  std::vector<float> scales_;
  eq::stream_memory memory_;
  std::size_t bytes_ = 0;
  std::vector<eq::weight_view> views_;
};

double median(std::vector<double>& values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

void product(benchmark::State& state, eq::format type, shape s, std::size_t count,
             unsigned threads) {
  const bool streams = count == 1;
  // Twice the largest cache, where that is no more memory than a board has.
  const std::size_t cold = std::min<std::size_t>(eq::enough_bytes() / 2, std::size_t{1} << 30);
  const matrices w(type, s, streams ? cold : 1);
  std::mt19937 random(2);
  std::normal_distribution<float> normal;
  std::vector<float> x(count * s.columns), y(count * s.rows);
  for (float& v : x) v = normal(random);
  eq::activations inputs;
  const auto pass = [&] {
    for (const auto& view : w.views()) {
      inputs.assign(x.data(), count, s.columns); // so that it is encoded anew
      eq::multiply(view, inputs, y.data(), threads);
    }
    benchmark::ClobberMemory();
  };
  const double operations =
      2.0 * static_cast<double>(s.rows * s.columns * count * w.views().size());
  pass();
  std::vector<double> seconds, limits;
  for (auto _ : state) {
    if (streams)
      limits.push_back(bench::seconds_to_read(w.data(), w.bytes(), threads));
    else
      limits.push_back(operations / 1e9 /
                       (type == eq::format::f16
                            ? bench::float_peak(threads)
                            : bench::dot_peak(type == eq::format::q4_0 ? 4 : 8, threads)));
    const auto start = std::chrono::steady_clock::now();
    pass();
    seconds.push_back(
        std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
    state.SetIterationTime(seconds.back());
  }
  const double typical = median(seconds);
  using counter = benchmark::Counter;
  state.counters["weights"] =
      counter(static_cast<double>(w.bytes()) / typical, counter::kDefaults, counter::kIs1000);
  state.counters["ops"] = counter(operations / typical, counter::kDefaults, counter::kIs1000);
  state.counters["share"] = median(limits) / typical;
  // Once, at the end: other units are slower for a while behind it.
  if (inputs.in_matrix_tiles())
    state.counters["matrix"] = operations / 1e9 / bench::matrix_peak(threads) / typical;
}

const bool registered = [] {
  const unsigned all = eq::thread_count(0);
  std::vector<eq::format> types = {eq::format::i8, eq::format::f16};
  for (const auto& row : eq::format_table)
    if (eq::can_pack(row.id) && row.id != eq::format::i8) types.push_back(row.id);
  for (const auto type : types)
    for (const auto s : shapes) {
      if (type != eq::format::i8 && s.columns % eq::info_of(type).block_length != 0) continue;
      for (const std::size_t count : {1u, 8u, 64u, 512u})
        for (const unsigned threads : {1u, all}) {
          const std::string name = "product/" + std::string(eq::name_of(type)) + "/" +
                                   std::to_string(s.rows) + "x" + std::to_string(s.columns) + "/" +
                                   std::to_string(count) + "/threads:" + std::to_string(threads);
          benchmark::RegisterBenchmark(
              name.c_str(),
              [=](benchmark::State& state) { product(state, type, s, count, threads); })
              ->UseManualTime()
              ->Unit(benchmark::kMillisecond);
          if (all == 1) break;
        }
    }
  return true;
}();

} // namespace
