// SPDX-License-Identifier: MIT
// Built twice, as vector_unit and as scalar_unit: UNIT is the name.
#include "unit.hpp"

#include <edgequant/metric/error.hpp>
#include <edgequant/quantizer/plain.hpp>
#include <edgequant/quantizer/row_codec.hpp>

#include <cstring>

namespace eq = edgequant;

namespace {

/// Writes plain data one after another.
class writer {
public:
  explicit writer(std::span<std::byte> output) : output_(output) {}
  template <class T> void operator()(std::span<const T> values) {
    if (values.size_bytes() > output_.size() - used_) std::abort();
    std::memcpy(output_.data() + used_, values.data(), values.size_bytes());
    used_ += values.size_bytes();
  }
  template <class T> void operator()(const T& value) { (*this)(std::span<const T>(&value, 1)); }
  [[nodiscard]] std::size_t used() const { return used_; }

private:
  std::span<std::byte> output_;
  std::size_t used_ = 0;
};

template <class F>
void write_matrix(writer& write, const eq::matrix_view& weights, eq::scale_choice rule) {
  const auto quantized = eq::quantize<F>(weights, {.scale = rule});
  std::vector<float> row(quantized.cols());
  for (std::size_t r = 0; r < quantized.rows(); ++r) {
    quantized.dequantize_row(r, row);
    write(std::span<const float>(row));
  }
  write(eq::measure_error(weights, quantized));
}

} // namespace

unit_report UNIT(std::span<const float> matrix, std::size_t cols, std::span<std::byte> output) {
  writer write(output);
  for (const auto rule : {eq::scale_rule::absmax, eq::scale_rule::signed_max, eq::scale_rule::ggml,
                          eq::scale_rule::percentile, eq::scale_rule::mse}) {
    const auto q = eq::quantize_int8(matrix.first(cols), rule);
    write(q.scale);
    write(std::span<const std::int8_t>(q.codes));
    write(eq::measure_error(matrix.first(cols), q.codes, q.scale));
    const auto nibbles = eq::pack_int4(eq::quantize_int4(matrix.first(cols), rule).codes);
    write(std::span<const std::uint8_t>(nibbles));

    const auto rows = static_cast<Eigen::Index>(matrix.size() / cols);
    const Eigen::Map<const eq::matrix_f> weights(matrix.data(), rows,
                                                 static_cast<Eigen::Index>(cols));
    write_matrix<eq::q8_0>(write, weights, rule);
    write_matrix<eq::q4_0>(write, weights, rule);
    write_matrix<eq::symmetric<4, 32>>(write, weights, rule);
    write_matrix<eq::symmetric<8, eq::per_channel, eq::half>>(write, weights, rule);
    write_matrix<eq::symmetric<8, eq::per_tensor>>(write, weights, rule);
  }
  for (const auto type : {eq::format::f16, eq::format::bf16}) {
    std::vector<std::byte> bytes(eq::row_bytes(type, matrix.size()));
    eq::row_encoder(type, {}, "matrix")(matrix, {}, 0, bytes.data());
    write(std::span<const std::byte>(bytes));
  }

  bool refused = false;
  const float bad[] = {0, std::numeric_limits<float>::quiet_NaN()};
  try {
    (void)eq::quantize_int8(bad);
  } catch (const eq::exception& error) {
    refused = error.code() == eq::error_code::bad_value;
  }

  unit_report report{{}, reinterpret_cast<const void*>(&eq::quantize_int8<>), write.used(), refused};
  eq::simd::native::name.copy(report.backend, sizeof report.backend - 1);
  return report;
}
