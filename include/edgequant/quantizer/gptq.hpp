// SPDX-License-Identifier: MIT
/// GPTQ: codes that make up for each other's rounding errors on given inputs. Source: Frantar et
/// al. 2022, with the order of columns inside groups by activation, and a descent over codes and
/// scales.
#pragma once

#include "../core/checked.hpp"
#include "../system/parallel_for.hpp"
#include "gptq_job.hpp"

#include <numeric>

namespace edgequant::inline EDGEQUANT_ABI {

/// Encodes `rows` rows of inputs.size() floats into a block format, rows one after the other, like
/// row_encoder. Scales follow the mse rule, weighted by the columns' own error, then the descent. A
/// row for which that comes out worse than plain rounding by the mse rule is rounded plainly.
/// Returns the sum of squares of X (W - Q)^T in units of inputs.gram(). The bytes do not depend on
/// the number of threads. `name` is for messages; bad_argument for a format
/// without groups and rows that are no whole blocks; bad_value as in row_encoder.
///
/// Here and below `template <class = void>` stands where only programs that call a function shall
/// compile it.
template <class = void>
double gptq_encode(format type, const float* weights, std::size_t rows, const gptq_columns& inputs,
                   const gptq_options& options, std::string_view name, std::byte* bytes);

/// The same for a whole matrix, to bytes of its own.
template <class = void>
[[nodiscard]] std::vector<std::byte>
gptq_matrix(format type, const matrix_f& weights, const gptq_columns& inputs,
            const gptq_options& options, std::string_view name) {
  const auto rows = static_cast<std::size_t>(weights.rows());
  std::vector<std::byte> bytes(rows * row_bytes(type, static_cast<std::uint64_t>(weights.cols())));
  (void)gptq_encode(type, weights.data(), rows, inputs, options, name, bytes.data());
  return bytes;
}

namespace quantizer::detail {

/// bad_value where a group of the weights themselves has no scale that can be stored.
template <class = void>
void require_scales(format type, const float* weights, std::size_t rows, std::size_t columns,
                    std::string_view name) {
  // Halves hold 32768, and a scale is at most the largest weight; else half of what the largest
  // scale of the table gives the largest code can be stored.
  const auto f = *find_layout(type);
  const float storable =
      f.unit == scale_unit::half_of_block
          ? 32768.0f
          : step_value(f.unit, f.highest_step) * static_cast<float>(f.highest_code) / 2;
  if (kernel::absmax_bits({weights, rows * columns}) < abs_bits(storable)) return;
  const bool has_absmax = visit_block_format(type, [](auto) {});
  const auto rule = has_absmax ? scale_rule::absmax : scale_rule::mse;
  row_encoder rounding(type, rule, name);
  std::vector<std::byte> bytes(row_bytes(type, columns));
  for (std::size_t r = 0; r < rows; ++r)
    rounding({weights + r * columns, columns}, {}, r * columns, bytes.data());
}

} // namespace quantizer::detail

template <class>
double gptq_encode(format type, const float* weights, std::size_t rows, const gptq_columns& inputs,
                   const gptq_options& options, std::string_view name, std::byte* bytes) {
  const auto columns = static_cast<std::size_t>(inputs.size());
  const auto layout = find_layout(type);
  if (!layout)
    fail(error_code::bad_argument, std::string(name),
         "GPTQ needs a format with groups, not " + std::string(name_of(type)));
  if (columns % layout->block_length != 0)
    fail(error_code::bad_argument, std::string(name),
         "rows of " + std::to_string(columns) + " values are no whole blocks of " +
             std::to_string(layout->block_length));
  require_finite({weights, rows * columns}, name);
  quantizer::detail::require_scales(type, weights, rows, columns, name);
  const quantizer::detail::gptq_setting<> setting(type, inputs, options.passes > 0);
  // So many rows that products pay, but tasks for all threads.
  const std::size_t lanes = quantizer::detail::gptq_panel<>::lanes;
  const std::size_t parts = 2 * thread_count(options.threads);
  const std::size_t height =
      std::clamp(ceil_divide(ceil_divide(rows, parts), lanes), std::size_t{1}, std::size_t{8}) *
      lanes;
  std::vector<double> errors(rows);
  parallel_for(ceil_divide(rows, height), options.threads, [&](std::size_t task) {
    const std::size_t begin = task * height;
    quantizer::detail::gptq_job<> job(setting, options);
    job.run(weights + begin * columns, std::min(height, rows - begin),
            bytes + begin * row_bytes(type, columns), errors.data() + begin);
  });
  return std::accumulate(errors.begin(), errors.end(), 0.0);
}

} // namespace edgequant::inline EDGEQUANT_ABI
