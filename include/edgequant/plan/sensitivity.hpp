// SPDX-License-Identifier: MIT
/// What each candidate format does to a matrix, with and without calibration data.
#pragma once

#include "../metric/error.hpp"
#include "../model/layer_walk.hpp"
#include "../model/sublayer_matrices.hpp"
#include "../quantizer/matrix_codec.hpp"
#include "../quantizer/output_error.hpp"

#include <optional>

namespace edgequant::inline EDGEQUANT_ABI {

/// A matrix in one format, rounded by the mse rule. Errors are ratios, 0 for an exact copy.
struct format_loss {
  format type = format::f32;
  std::uint64_t bytes = 0;       ///< of the tensor's data
  double weight_error = 0;       ///< |W - Q| / |W|, Frobenius norms
  double column_error = 0;       ///< the same with columns weighted by the mean square of inputs
  double output_error = 0;       ///< |X (W - Q)^T| / |X W^T|, from X^T X alone
  std::optional<double> kl = {}; ///< divergence of the model with this tensor alone quantized, nats
};

/// How much a matrix minds being quantized.
struct layer_sensitivity {
  std::string name;
  std::uint64_t rows = 0, columns = 0;
  double kurtosis = 0;    ///< of the weights: 3 for Gaussian ones, more with outliers
  double sensitivity = 0; ///< the output error in the measured candidate
  std::vector<format_loss> candidates;

  /// The candidate whose divergence is measured, those of the others follow from it: the first of
  /// at least four bits a weight, where errors are small enough to be proportional, or the last.
  [[nodiscard]] const format_loss& measured() const {
    for (const auto& c : candidates)
      if (2 * info_of(c.type).block_bytes >= info_of(c.type).block_length) return c;
    return candidates.back();
  }
};

/// Formats that sensitivity is asked for unless the caller names others: from small to large, of
/// formats of one size the one of least error. Stock llama.cpp of 2024 opens them all.
inline constexpr format default_candidates[] = {
    format::q2_k, format::q3_k, format::iq4_xs, format::iq4_nl, format::q4_k, format::q4_1,
    format::q5_0, format::q5_k, format::q5_1,   format::q6_k,   format::q8_0};

/// Sensitivity of one matrix. `inputs`: statistics of what it multiplies, with their Gram matrix;
/// without a Gram matrix the output error is the column error, and without inputs the weight error.
/// Cost: columns^2 x rows a candidate, however many inputs there were. bad_value for weights that
/// are not finite, naming the matrix; bad_argument for a candidate that cannot be written, and for
/// inputs of another length. A format whose groups do not fit the rows is left out.
template <class = void>
[[nodiscard]] layer_sensitivity
analyze_sensitivity(std::string name, Eigen::Ref<const matrix_f> weights,
                    const input_statistics& inputs = {},
                    std::span<const format> candidates = default_candidates, unsigned threads = 0);

/// The same with what a calibration has seen under this name; bad_argument if it has not.
template <class = void>
[[nodiscard]] layer_sensitivity
analyze_sensitivity(const std::string& name, Eigen::Ref<const matrix_f> weights,
                    const calibration& seen,
                    std::span<const format> candidates = default_candidates, unsigned threads = 0);

/// The same for the matrices of all layers of a model and for the output matrix, on a text; an
/// embedding that is not the output matrix has no inputs, and a text without tokens says nothing of
/// any matrix. A tied embedding stands for the output matrix. Memory: the Gram matrices of one
/// layer, or that of the output matrix.
template <class = void>
[[nodiscard]] std::vector<layer_sensitivity>
analyze_model(const model_weights& weights, const calibration_text& text,
              std::span<const format> candidates = default_candidates, unsigned threads = 0,
              const progress_callback& listener = {});

namespace plan::detail {

/// Rows that are handled together: what they sum up to does not depend on threads.
inline constexpr Eigen::Index sensitivity_rows = 64;

struct loss_sums {
  double weight = 0, column = 0, output = 0;
  void add(const loss_sums& other) {
    weight += other.weight, column += other.column, output += other.output;
  }
};

/// Squared norms of some rows under the three measures.
template <class = void>
[[nodiscard]] loss_sums measure_rows(const Eigen::MatrixXd& rows, const input_statistics& inputs) {
  loss_sums s;
  s.weight = rows.squaredNorm();
  s.column = s.weight;
  if (inputs.squares.size() != 0) s.column = rows.colwise().squaredNorm().dot(inputs.squares);
  s.output = s.column;
  if (inputs.gram.size() != 0) s.output = output_power(rows, inputs.gram);
  return s;
}

/// sqrt(a / b), and 0 where nothing is lost.
[[nodiscard]] inline double error_ratio(double lost, double total) {
  return lost > 0 ? std::sqrt(lost / total) : 0;
}

/// Sums over all rows, in pieces whose order is fixed.
template <class Rows>
[[nodiscard]] loss_sums sum_over_rows(Eigen::Index rows, const input_statistics& inputs,
                                      unsigned threads, Rows rows_at) {
  const auto pieces = static_cast<std::size_t>((rows + sensitivity_rows - 1) / sensitivity_rows);
  std::vector<loss_sums> parts(pieces);
  parallel_for(pieces, threads, [&](std::size_t p) {
    const auto first = static_cast<Eigen::Index>(p) * sensitivity_rows;
    parts[p] = measure_rows(rows_at(first, std::min(sensitivity_rows, rows - first)), inputs);
  });
  loss_sums sum;
  for (const auto& part : parts) sum.add(part);
  return sum;
}

template <class = void> [[nodiscard]] double kurtosis_of(Eigen::Ref<const matrix_f> weights) {
  const auto values = weights.cast<double>().array();
  const double mean = values.mean(), count = static_cast<double>(weights.size());
  const double square = (values - mean).square().sum() / count;
  return square > 0 ? (values - mean).square().square().sum() / count / (square * square) : 0;
}

} // namespace plan::detail

template <class>
layer_sensitivity analyze_sensitivity(std::string name, Eigen::Ref<const matrix_f> weights,
                                      const input_statistics& inputs,
                                      std::span<const format> candidates, unsigned threads) {
  const auto rows = static_cast<std::size_t>(weights.rows());
  const auto columns = static_cast<std::size_t>(weights.cols());
  if (inputs.squares.size() != 0 && inputs.squares.size() != weights.cols())
    fail(error_code::bad_argument, name,
         "inputs of " + std::to_string(inputs.squares.size()) + " values for rows of " +
             std::to_string(columns));
  for (std::size_t r = 0; r < rows; ++r)
    require_finite({weights.row(static_cast<Eigen::Index>(r)).data(), columns}, name, r * columns);
  layer_sensitivity result{name, rows, columns, plan::detail::kurtosis_of(weights), 0, {}};
  const auto piece = [&](Eigen::Index first, Eigen::Index count) -> Eigen::MatrixXd {
    return weights.middleRows(first, count).cast<double>();
  };
  const auto total = plan::detail::sum_over_rows(weights.rows(), inputs, threads, piece);
  for (const format type : candidates) {
    if (columns % info_of(type).block_length != 0) continue;
    const auto bytes = encode_matrix(type, scale_rule::mse, weights, name, threads);
    const matrix_f q = decode_matrix(type, bytes.data(), rows, columns, threads);
    const auto lost = plan::detail::sum_over_rows(
        weights.rows(), inputs, threads,
        [&](Eigen::Index first, Eigen::Index count) -> Eigen::MatrixXd {
          return (weights.middleRows(first, count) - q.middleRows(first, count)).cast<double>();
        });
    result.candidates.push_back(
        {type, bytes.size(), plan::detail::error_ratio(lost.weight, total.weight),
         plan::detail::error_ratio(lost.column, total.column),
         plan::detail::error_ratio(lost.output, total.output), std::nullopt});
  }
  if (!result.candidates.empty()) result.sensitivity = result.measured().output_error;
  return result;
}

template <class>
layer_sensitivity analyze_sensitivity(const std::string& name, Eigen::Ref<const matrix_f> weights,
                                      const calibration& seen, std::span<const format> candidates,
                                      unsigned threads) {
  const auto found = seen.all().find(name);
  if (found == seen.all().end())
    fail(error_code::bad_argument, name, "the calibration has not seen it");
  return analyze_sensitivity(name, weights, found->second, candidates, threads);
}

template <class>
std::vector<layer_sensitivity> analyze_model(const model_weights& weights,
                                             const calibration_text& text,
                                             std::span<const format> candidates, unsigned threads,
                                             const progress_callback& listener) {
  std::vector<layer_sensitivity> result;
  const auto analyze = [&](const named_weight& w, const input_statistics& inputs) {
    result.push_back(analyze_sensitivity(
        w.name, decode_matrix(w.view.type, w.view.data, w.view.rows, w.view.columns, threads),
        inputs, candidates, threads));
  };
  std::optional<layer_walk> walk;
  if (!text.tokens.empty())
    walk.emplace(weights, text.tokens, text.bos, chunk_context(weights, text), threads);
  if (weights.output().name != weights.embedding().name) analyze(weights.embedding(), {});
  const std::size_t layers = weights.layers().size();
  for (std::size_t i = 0; i < layers; ++i)
    for (const auto which : {sublayer::attention, sublayer::feed_forward}) {
      const sublayer_matrices part(weights, i, which);
      for (const auto end : {sublayer_end::in, sublayer_end::out}) {
        const auto group = part.at(end);
        if (group.empty()) continue;
        if (listener) listener({"sensitivity", group[0]->name, i, layers, "layers"});
        const auto seen = walk ? walk->statistics(end) : input_statistics{};
        for (const auto* w : group) analyze(*w, seen);
      }
      if (walk) walk->advance();
    }
  // A tied embedding is charged with what its error does to the logits.
  if (listener) listener({"sensitivity", weights.output().name, layers, layers, "layers"});
  analyze(weights.output(), walk ? walk->output_statistics() : input_statistics{});
  return result;
}

} // namespace edgequant::inline EDGEQUANT_ABI
