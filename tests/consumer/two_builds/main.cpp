// SPDX-License-Identifier: MIT
// One program, the library in two builds: each unit uses its own, and both give the same bits.
#include "unit.hpp"

#include <cstdio>
#include <cstring>
#include <random>
#include <vector>

int main() {
#if defined(__x86_64__)
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma") ||
      !__builtin_cpu_supports("f16c")) {
    std::puts("skipped: this processor has no AVX2");
    return 77;
  }
#endif
  constexpr std::size_t rows = 5, cols = 103; // 103: groups and vectors with tails
  std::mt19937 random(7);
  std::normal_distribution<float> normal(0.0f, 0.02f);
  std::vector<float> matrix(rows * cols + 1);
  for (float& x : matrix) x = normal(random);
  const std::span<const float> weights(matrix.data() + 1, rows * cols); // aligned to nothing

  std::vector<std::byte> vector_bytes(1 << 18), scalar_bytes(1 << 18);
  const unit_report v = vector_unit(weights, cols, vector_bytes);
  const unit_report s = scalar_unit(weights, cols, scalar_bytes);

  int failures = 0;
  const auto expect = [&](bool holds, const char* what) {
    if (!holds) std::printf("FAILED: %s\n", what), ++failures;
  };
  std::printf("vector unit: %s, scalar unit: %s, %zu bytes\n", v.backend, s.backend, v.bytes);
  expect(std::strcmp(v.backend, VECTOR_BACKEND) == 0, "the vector unit uses " VECTOR_BACKEND);
  expect(std::strcmp(s.backend, "scalar") == 0, "the scalar unit uses scalar");
  expect(v.function != s.function, "each unit has its own quantize_int8");
  expect(v.refuses_not_a_number && s.refuses_not_a_number, "each unit catches its own exception");
  expect(v.bytes == s.bytes && v.bytes > 0, "both write as much");
  expect(vector_bytes == scalar_bytes, "both write the same bits");
  return failures == 0 ? 0 : 1;
}
