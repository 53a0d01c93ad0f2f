// SPDX-License-Identifier: MIT
/// What weight matrices see while a model reads a text: sums over their inputs, in constant memory.
#pragma once

#include "text_chunks.hpp"

#include <Eigen/Core>

#include <map>
#include <string>

namespace edgequant::inline EDGEQUANT_ABI {

/// Sums over the inputs x of one weight matrix, one entry a column of the weights.
struct input_statistics {
  input_statistics() = default;
  /// Of no vectors yet, of `length` floats.
  explicit input_statistics(std::size_t length, bool with_gram = false);
  /// Counts `vectors` more, which follow each other.
  void add(const float* x, std::size_t vectors);

  std::size_t count = 0;   ///< vectors seen
  Eigen::VectorXd squares; ///< sum of x^2; over count: the mean
  Eigen::VectorXf largest; ///< largest |x|
  Eigen::MatrixXd gram;    ///< sum of x x^T, lower triangle; empty if not asked for

  /// Mean of x^2 a column: the `importance` of the mse rule.
  [[nodiscard]] std::vector<float> mean_squares() const;
};

/// An observer that keeps statistics by the name of the weights. Memory: columns^2 doubles a matrix
/// with Gram matrices, 12 bytes a column without; it does not grow with the text.
class calibration {
public:
  /// `with_gram` chooses the matrices that get a Gram matrix; none by default.
  explicit calibration(std::function<bool(std::string_view weight)> with_gram = {})
      : with_gram_(std::move(with_gram)) {}

  void operator()(std::string_view weight, const float* x, std::size_t count, std::size_t length);
  [[nodiscard]] const std::map<std::string, input_statistics, std::less<>>& all() const noexcept {
    return all_;
  }

private:
  std::function<bool(std::string_view)> with_gram_;
  std::map<std::string, input_statistics, std::less<>> all_;
};

/// Hands the inputs of a model's weights to statistics for as long as it lives.
class observing {
public:
  observing(transformer& model, calibration& statistics) : model_(model) {
    model_.observe(std::ref(statistics));
  }
  ~observing() { model_.observe({}); }
  observing(const observing&) = delete;
  observing& operator=(const observing&) = delete;

private:
  transformer& model_;
};

/// bad_argument for chunks of fewer than 2 tokens or more than the model's context.
inline void require_context(const model_weights& weights, std::size_t context) {
  const std::size_t most = weights.shape().context;
  if (context < 2 || context > most)
    fail(error_code::bad_argument, weights.file().metadata.place(),
         "a context of " + std::to_string(context) + " where 2 to " + std::to_string(most) +
             " are possible");
}

/// Runs a text through the model in chunks of `context` tokens behind `bos`, each from an empty
/// cache, and returns the statistics of every weight matrix.
[[nodiscard]] calibration calibrate(transformer& model, std::span<const std::int32_t> text,
                                    std::int32_t bos, std::size_t context,
                                    calibration statistics = calibration());

inline std::vector<float> input_statistics::mean_squares() const {
  std::vector<float> means(static_cast<std::size_t>(squares.size()));
  for (std::size_t i = 0; i < means.size(); ++i)
    means[i] = static_cast<float>(squares[static_cast<Eigen::Index>(i)] /
                                  static_cast<double>(std::max<std::size_t>(count, 1)));
  return means;
}

inline input_statistics::input_statistics(std::size_t length, bool with_gram)
    : squares(Eigen::VectorXd::Zero(static_cast<Eigen::Index>(length))),
      largest(Eigen::VectorXf::Zero(static_cast<Eigen::Index>(length))) {
  if (with_gram) gram = Eigen::MatrixXd::Zero(squares.size(), squares.size());
}

inline void input_statistics::add(const float* x, std::size_t vectors) {
  count += vectors;
  const Eigen::Map<const Eigen::MatrixXf> inputs(x, squares.size(),
                                                 static_cast<Eigen::Index>(vectors));
  largest = largest.cwiseMax(inputs.cwiseAbs().rowwise().maxCoeff());
  const Eigen::MatrixXd exact = inputs.cast<double>();
  squares += exact.rowwise().squaredNorm();
  if (gram.size() != 0) gram.selfadjointView<Eigen::Lower>().rankUpdate(exact);
}

inline void calibration::operator()(std::string_view weight, const float* x, std::size_t count,
                                    std::size_t length) {
  auto found = all_.find(weight);
  if (found == all_.end())
    found = all_.emplace(std::string(weight),
                         input_statistics(length, with_gram_ && with_gram_(weight)))
                .first;
  found->second.add(x, count);
}

inline calibration calibrate(transformer& model, std::span<const std::int32_t> text,
                             std::int32_t bos, std::size_t context, calibration statistics) {
  require_context(model.weights(), context);
  chunk_runner runner(model, context, kv_format::f32);
  const observing watch(model, statistics);
  for_each_chunk(text, context, bos, [&](auto chunk, std::size_t) {
    runner.clear();
    runner.run(chunk);
  });
  return statistics;
}

} // namespace edgequant::inline EDGEQUANT_ABI
