// SPDX-License-Identifier: MIT
// GPTQ of n x n matrices on one thread, and how it grows with n. All others without it:
// --benchmark_filter=-gptq
//   factorise  seconds for the columns' order and factor, which matrices with the same inputs share
//   encode     seconds for the matrix itself
#include <edgequant/quantizer/gptq.hpp>

#include <benchmark/benchmark.h>

#include <chrono>
#include <random>
#include <string>

namespace eq = edgequant;

namespace {

constexpr std::int64_t small = 1024; ///< up to here once takes too little time to be sure of it

eq::matrix_f random_matrix(Eigen::Index rows, Eigen::Index columns, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  return eq::matrix_f::NullaryExpr(rows, columns, [&] { return normal(random); });
}

/// Lower triangle of X^T X of 1.5 n inputs whose columns depend on each other, as activations do.
Eigen::MatrixXd correlated_gram(Eigen::Index n) {
  const Eigen::Index samples = n + n / 2, hidden = n / 4;
  eq::matrix_f x = 0.3f * random_matrix(samples, n, 1);
  x.noalias() += random_matrix(samples, hidden, 2) * random_matrix(hidden, n, 3);
  Eigen::MatrixXd gram = Eigen::MatrixXd::Zero(n, n);
  gram.selfadjointView<Eigen::Lower>().rankUpdate(x.cast<double>().transpose());
  return gram;
}

void gptq(benchmark::State& state, eq::format type) {
  using clock = std::chrono::steady_clock;
  using seconds = std::chrono::duration<double>;
  const eq::serial_products one_thread;
  const auto n = static_cast<Eigen::Index>(state.range(0));
  const auto rows = static_cast<std::size_t>(n);
  const Eigen::MatrixXd gram = correlated_gram(n);
  const eq::matrix_f weights = random_matrix(n, n, 4);
  std::vector<std::byte> bytes(rows * eq::row_bytes(type, rows));
  seconds factorise{}, encode{};
  for (auto _ : state) {
    const auto start = clock::now();
    const eq::gptq_columns columns(gram);
    const auto ready = clock::now();
    (void)eq::gptq_encode(type, weights.data(), rows, columns, {.threads = 1}, "bench",
                          bytes.data());
    encode += clock::now() - ready;
    factorise += ready - start;
  }
  const auto each = benchmark::Counter::kAvgIterations;
  state.counters["factorise"] = benchmark::Counter(factorise.count(), each);
  state.counters["encode"] = benchmark::Counter(encode.count(), each);
}

const bool registered = [] {
  for (const auto type : {eq::format::q4_0, eq::format::q4_k, eq::format::iq4_xs})
    for (const std::int64_t n : {512, 1024, 2048, 4096}) {
      const std::string name = "gptq/" + std::string(eq::name_of(type));
      auto* run = benchmark::RegisterBenchmark(name.c_str(), gptq, type)->Arg(n);
      run->Unit(benchmark::kSecond)->UseRealTime();
      if (n > small) run->Iterations(1);
    }
  return true;
}();

} // namespace
