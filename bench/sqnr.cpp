// SPDX-License-Identifier: MIT
// What a code can hold: SQNR of every rule in several formats on Gaussian weights, as a Markdown
// table. 4096 x 4096 values, standard deviation 0.02.
#include <edgequant/edgequant.hpp>

#include <cstdio>
#include <random>

namespace eq = edgequant;

namespace {

const eq::scale_rule rules[] = {eq::scale_rule::absmax, eq::scale_rule::signed_max,
                                eq::scale_rule::ggml, eq::scale_rule::mse};

template <eq::group_format F> void print_row(const char* name, const eq::matrix_f& weights) {
  std::printf("| %s |", name);
  double bits = 0;
  for (const auto rule : rules) {
    const auto q = eq::quantize<F>(weights, {.scale = rule});
    bits = q.bits_per_weight();
    std::printf(" %.2f |", eq::measure_error(weights, q).sqnr_db);
    std::fflush(stdout);
  }
  std::printf(" %.3f |\n", bits);
}

/// Formats that have the rule mse alone.
void print_searched(const eq::format_row& row, const eq::matrix_f& weights) {
  const auto rows = static_cast<std::size_t>(weights.rows());
  const auto columns = static_cast<std::size_t>(weights.cols());
  const auto bytes = eq::encode_matrix(row.id, eq::scale_rule::mse, weights, "weights");
  const eq::matrix_f q = eq::decode_matrix(row.id, bytes.data(), rows, columns);
  std::printf(
      "| %s | | | | %.2f | %.3f |\n", std::string(row.name).c_str(),
      eq::measure_error({weights.data(), rows * columns}, {q.data(), rows * columns}).sqnr_db,
      8.0 * row.block_bytes / row.block_length);
  std::fflush(stdout);
}

} // namespace

int main() {
  std::mt19937 random(1);
  std::normal_distribution<float> normal(0.0f, 0.02f);
  eq::matrix_f weights(4096, 4096);
  for (Eigen::Index i = 0; i < weights.size(); ++i) weights.data()[i] = normal(random);
  std::printf(
      "| format | absmax | signed_max | ggml | mse | bits/weight |\n|---|---|---|---|---|---|\n");
  print_row<eq::q8_0>("q8_0", weights);
  print_row<eq::q5_0>("q5_0", weights);
  print_row<eq::q4_0>("q4_0", weights);
  print_row<eq::symmetric<4, 128, eq::half>>("INT4, groups of 128, f16 scale", weights);
  print_row<eq::symmetric<8, eq::per_channel>>("INT8 per channel", weights);
  print_row<eq::symmetric<4, eq::per_channel>>("INT4 per channel", weights);
  for (const auto& row : eq::format_table)
    if (eq::find_layout(row.id) && !eq::visit_block_format(row.id, [](auto) {}))
      print_searched(row, weights);
}
