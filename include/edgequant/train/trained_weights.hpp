// SPDX-License-Identifier: MIT
/// All weights of a network's layers as parameters of training, in float.
#pragma once

#include "../model/gradient_walk.hpp"
#include "../quantizer/matrix_codec.hpp"
#include "adam.hpp"
#include "clip_weights.hpp"

#include <map>

namespace edgequant::inline EDGEQUANT_ABI {

/// Weights that are not those of a model's file, by name.
struct changed_weights {
  std::map<std::string, matrix_f, std::less<>> matrices;
  std::map<std::string, std::vector<float>, std::less<>> vectors;
};

/// The matrices of all layers, norms and biases, and Adam's two means for each. As a visitor it
/// takes the gradients of a step: a sublayer's matrices step as soon as all sequences have passed
/// it, so that gradients of one sublayer are in memory, norms and biases in end_step(). What one
/// sequence says of a matrix or vector counts at most twice as much as the median sequence, except
/// of experts. The embedding and the output matrix stay, and so do sinks and the biases of experts.
/// Memory: 12 bytes a weight, and for each sequence of a step the gradients of one sublayer's
/// matrices.
template <class = void> class trained_weights final : public gradient_visitor {
public:
  /// Copies the values of `weights`, which then reads the copies; both must outlive each other's
  /// use.
  trained_weights(model_weights& weights, const adam_options& options, unsigned threads = 0);
  trained_weights(const trained_weights&) = delete;
  trained_weights& operator=(const trained_weights&) = delete;

  /// Of `tokens` tokens: the loss is their mean.
  void begin_step(double rate, std::size_t tokens) {
    rate_ = rate, tokens_ = static_cast<double>(tokens);
  }
  void begin(std::span<const named_weight* const> matrices) override;
  void matrix(std::size_t sequence, const matrix_gradient& g) override;
  void end() override;
  [[nodiscard]] bool takes_vectors() const override { return true; }
  void vector(std::size_t sequence, const std::string& name,
              std::span<const double> gradient) override;
  void end_step();

  [[nodiscard]] const changed_weights& values() const noexcept { return values_; }
  /// Takes other values of the same shapes. Adam's means stay.
  void set_values(const changed_weights& values);

private:
  static constexpr std::size_t rows_together = 64;
  struct held_gradient {
    std::vector<matrix_f> parts; ///< of sequences
    std::vector<double> lengths;
  };
  [[nodiscard]] adam& optimizer(const std::string& name, std::size_t size) {
    return optimizers_.try_emplace(name, size, options_).first->second;
  }
  void install(const std::string& name);

  model_weights& weights_;
  adam_options options_;
  unsigned threads_;
  double rate_ = 0, tokens_ = 1;
  changed_weights values_;
  std::map<std::string, adam, std::less<>> optimizers_;
  std::map<std::string, held_gradient, std::less<>> held_;
  std::map<std::string, matrix_f, std::less<>> expert_gradients_;
  std::map<std::string, std::vector<Eigen::VectorXd>, std::less<>> held_vectors_;
};

template <class T>
trained_weights<T>::trained_weights(model_weights& weights, const adam_options& options,
                                    unsigned threads)
    : weights_(weights), options_(options), threads_(threads) {
  for (const auto& layer : weights.layers())
    layer_weights::for_each_matrix(layer, [&](const named_weight& w) {
      values_.matrices[w.name] =
          decode_matrix(w.view.type, w.view.data, w.view.rows, w.view.columns, threads);
    });
  weights.for_each_vector(
      [&](const std::string& name, const std::vector<float>& v) { values_.vectors[name] = v; });
  for (const auto& [name, unused] : values_.matrices) install(name);
}

template <class T> void trained_weights<T>::install(const std::string& name) {
  const matrix_f& m = values_.matrices.find(name)->second;
  weights_.replace(name, {format::f32, static_cast<std::size_t>(m.rows()),
                          static_cast<std::size_t>(m.cols()),
                          reinterpret_cast<const std::byte*>(m.data())});
}

template <class T> void trained_weights<T>::begin(std::span<const named_weight* const> matrices) {
  (void)matrices;
  held_.clear();
  expert_gradients_.clear();
}

template <class T> void trained_weights<T>::matrix(std::size_t, const matrix_gradient& g) {
  const auto found = values_.matrices.find(g.name);
  if (found == values_.matrices.end()) return;
  const matrix_f& own = found->second;
  matrix_f gradient(g.gradients.cols(), own.cols());
  parallel_for_parts(static_cast<std::size_t>(gradient.rows()), rows_together, threads_,
                     [&](std::size_t first, std::size_t count) {
                       const auto begin = static_cast<Eigen::Index>(first);
                       const auto rows = static_cast<Eigen::Index>(count);
                       gradient.middleRows(begin, rows).noalias() =
                           g.gradients.middleCols(begin, rows).transpose() * g.inputs;
                     });
  if (gradient.rows() != own.rows()) { // of an expert
    matrix_f& sum =
        expert_gradients_.try_emplace(found->first, matrix_f::Zero(own.rows(), own.cols()))
            .first->second;
    sum.middleRows(static_cast<Eigen::Index>(g.first_row), gradient.rows()) += gradient;
    return;
  }
  held_gradient& held = held_[found->first];
  held.lengths.push_back(double{gradient.norm()});
  held.parts.push_back(std::move(gradient));
}

template <class T> void trained_weights<T>::end() {
  const auto step = [&](const std::string& name, matrix_f& gradient) {
    gradient *= static_cast<float>(1 / tokens_);
    matrix_f& own = values_.matrices.find(name)->second;
    const auto size = static_cast<std::size_t>(own.size());
    optimizer(name, size)
        .step({own.data(), size}, {gradient.data(), size}, rate_,
              std::numeric_limits<double>::infinity(), threads_);
  };
  for (auto& [name, held] : held_) {
    const auto weights = clip_weights(held.lengths);
    matrix_f& sum = held.parts[0];
    sum *= weights[0];
    for (std::size_t i = 1; i < weights.size(); ++i) sum += weights[i] * held.parts[i];
    step(name, sum);
  }
  for (auto& [name, gradient] : expert_gradients_) step(name, gradient);
  held_.clear();
  expert_gradients_.clear();
}

template <class T>
void trained_weights<T>::vector(std::size_t sequence, const std::string& name,
                                std::span<const double> gradient) {
  auto& held = held_vectors_[name];
  held.resize(std::max(held.size(), sequence + 1));
  const Eigen::Map<const Eigen::VectorXd> own(gradient.data(),
                                              static_cast<Eigen::Index>(gradient.size()));
  // The output norm comes some tokens at a time.
  if (held[sequence].size() == 0)
    held[sequence] = own;
  else
    held[sequence] += own;
}

template <class T> void trained_weights<T>::end_step() {
  for (auto& [name, held] : held_vectors_) {
    const auto found = values_.vectors.find(name);
    if (found == values_.vectors.end()) continue;
    std::erase_if(held, [](const Eigen::VectorXd& v) { return v.size() == 0; });
    std::vector<double> lengths;
    for (const auto& v : held) lengths.push_back(v.norm());
    const auto weights = clip_weights(lengths);
    Eigen::VectorXf sum = Eigen::VectorXf::Zero(held[0].size());
    for (std::size_t i = 0; i < held.size(); ++i)
      sum += weights[i] * (held[i] / tokens_).template cast<float>();
    auto& own = found->second;
    optimizer(name, own.size()).step(own, {sum.data(), own.size()}, rate_);
    weights_.replace_vector(name, own);
  }
  held_vectors_.clear();
}

template <class T> void trained_weights<T>::set_values(const changed_weights& values) {
  for (const auto& [name, matrix] : values.matrices) values_.matrices.at(name) = matrix;
  for (const auto& [name, vector] : values.vectors) {
    values_.vectors.at(name) = vector;
    weights_.replace_vector(name, vector);
  }
  for (const auto& [name, unused] : values_.matrices) install(name);
}

} // namespace edgequant::inline EDGEQUANT_ABI
