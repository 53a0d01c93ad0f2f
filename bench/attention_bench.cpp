// SPDX-License-Identifier: MIT
// One token's attention over what came before, and activations turned to int8, on one thread.
//   attention/FORMAT/TOKENS  the 8 heads of keys of Llama 3.2 1B, 4 queries of 64 elements each
//     cache  GB/s of keys and values
//   activations/CODING       4,096 values a vector
//     floats GB/s of floats
#include <edgequant/gemm/activations.hpp>
#include <edgequant/gemm/attention.hpp>
#include <edgequant/model/kv_cache.hpp>

#include <benchmark/benchmark.h>

#include <random>

namespace eq = edgequant;

namespace {

std::vector<float> normal_values(std::size_t count) {
  std::mt19937 random(1);
  std::normal_distribution<float> normal;
  std::vector<float> values(count);
  for (float& v : values) v = normal(random);
  return values;
}

void attention(benchmark::State& state, eq::kv_format type) {
  constexpr std::size_t size = 64, heads = 8, queries = 4, tile = eq::gemm::attention_tile_tokens;
  const auto tokens = static_cast<std::size_t>(state.range(0));
  eq::kv_pool pool({{heads}, size}, type, tokens / eq::kv_block_tokens + 1);
  eq::kv_sequence sequence(pool);
  sequence.extend(tokens);
  const auto x = normal_values(size + queries * size);
  for (std::size_t t = 0; t < tokens; ++t)
    for (std::size_t h = 0; h < heads; ++h) {
      sequence.set_key(0, t, h, x.data() + t % size);
      sequence.set_value(0, t, h, x.data() + t % size);
    }
  std::vector<float> keys(tile * size), values(tile * size), out(queries * size);
  for (auto _ : state)
    for (std::size_t h = 0; h < heads; ++h) {
      eq::gemm::softmax_state states[queries];
      std::fill(out.begin(), out.end(), 0.0f);
      for (std::size_t t = 0; t < tokens; t += tile) {
        const std::size_t count = std::min(tile, tokens - t);
        const eq::gemm::token_range all{0, count}, seen[queries] = {all, all, all, all};
        sequence.read_keys(0, h, t, count, keys.data(), tile);
        sequence.read_values(0, h, t, count, values.data());
        eq::gemm::attend_tile<queries>({keys.data(), values.data(), size}, x.data() + size, seen, 0,
                                       states, out.data());
      }
      benchmark::DoNotOptimize(out.data());
    }
  const double bytes = static_cast<double>(2 * tokens * heads * eq::kv_head_bytes(type, size));
  using counter = benchmark::Counter;
  state.counters["cache"] =
      counter(bytes * static_cast<double>(state.iterations()), counter::kIsRate, counter::kIs1000);
}
BENCHMARK_CAPTURE(attention, f16, eq::kv_format::f16)->Arg(512)->Arg(4096);
BENCHMARK_CAPTURE(attention, int8, eq::kv_format::int8)->Arg(512)->Arg(4096);

void activations(benchmark::State& state, eq::activation_coding coding) {
  constexpr std::size_t length = 4096, count = 64;
  const auto x = normal_values(length * count);
  eq::activations inputs;
  for (auto _ : state) {
    inputs.assign(x.data(), count, length);
    inputs.encode(coding, 1);
    benchmark::ClobberMemory();
  }
  using counter = benchmark::Counter;
  state.counters["floats"] = counter(static_cast<double>(x.size() * sizeof(float)) *
                                         static_cast<double>(state.iterations()),
                                     counter::kIsRate, counter::kIs1000);
}
BENCHMARK_CAPTURE(activations, groups, eq::activation_coding::per_group);
BENCHMARK_CAPTURE(activations, whole, eq::activation_coding::per_token);

} // namespace
