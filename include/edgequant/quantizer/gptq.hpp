// SPDX-License-Identifier: MIT
/// GPTQ: codes that make up for each other's rounding errors on given inputs. Source: Frantar et
/// al. 2022, with the order of columns inside groups by activation, and a descent over codes and
/// scales.
#pragma once

#include "../core/checked.hpp"
#include "../system/parallel_for.hpp"
#include "gptq_descent.hpp"

namespace edgequant::inline EDGEQUANT_ABI {

/// Encodes `rows` rows of inputs.size() floats into a block format, rows one after the other, like
/// row_encoder. Scales follow the mse rule, weighted by the columns' own error, then the descent. A
/// row for which that comes out worse than plain rounding by the mse rule is rounded plainly. The
/// bytes do not depend on the number of threads. `name` is for messages; bad_argument for a format
/// without groups and rows that are no whole blocks; bad_value as in row_encoder.
///
/// Here and below `template <class = void>` stands where only programs that call a function shall
/// compile it.
template <class = void>
gptq_report gptq_encode(format type, const float* weights, std::size_t rows,
                        const gptq_columns& inputs, const gptq_options& options,
                        std::string_view name, std::byte* bytes);

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

template <class>
gptq_report gptq_encode(format type, const float* weights, std::size_t rows,
                        const gptq_columns& inputs, const gptq_options& options,
                        std::string_view name, std::byte* bytes) {
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
  const std::size_t tasks = ceil_divide(rows, std::size_t{quantizer::detail::gptq_rows});
  std::vector<gptq_report> parts(tasks);
  parallel_for(tasks, options.threads, [&](std::size_t task) {
    const serial_products one;
    const std::size_t begin = task * quantizer::detail::gptq_rows;
    const auto count = std::min<std::size_t>(quantizer::detail::gptq_rows, rows - begin);
    quantizer::detail::gptq_job<> job(type, inputs, options, name);
    parts[task] = job.run(weights + begin * columns, static_cast<Eigen::Index>(count),
                          begin * columns, bytes + begin * row_bytes(type, columns));
  });
  gptq_report sum;
  for (const auto& part : parts) sum.error += part.error, sum.rounded_error += part.rounded_error;
  return sum;
}

} // namespace edgequant::inline EDGEQUANT_ABI
