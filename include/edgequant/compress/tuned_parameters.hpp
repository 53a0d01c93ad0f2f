// SPDX-License-Identifier: MIT
/// What learns of a quantized model.
#pragma once

#include "../model/gradient_walk.hpp"
#include "../plan/format_plan.hpp"
#include "../train/adam.hpp"
#include "../train/clip_weights.hpp"
#include "../train/code_moves.hpp"
#include "../train/stored_factors.hpp"
#include "encoded_tensors.hpp"

#include <algorithm>

namespace edgequant::inline EDGEQUANT_ABI {

namespace compression::detail {

/// Factors exp(u) of stored halves, norms and biases, whose u lie behind each other, and codes. As
/// a visitor it takes the gradients of a step. What one sequence says of a layer's matrix, norm or
/// bias counts at most twice as much as what the median sequence says, and what one token says of
/// its row of the embedding likewise: where an early token decides what all later ones attend to,
/// gradients are ten times as large as elsewhere, and bend too fast for any step.
template <class = void> class tuned_parameters final : public gradient_visitor {
public:
  /// Matrices of `encoded`; norms and biases that have a format. All must outlive it.
  tuned_parameters(model_weights& weights, const named_formats& formats, encoded_tensors& encoded,
                   unsigned threads);

  [[nodiscard]] std::size_t size() const noexcept { return values_.size(); }
  [[nodiscard]] std::uint64_t moves() const noexcept { return moves_; }

  /// `code_rate`: see code_moves.
  void begin_step(float code_rate) {
    code_rate_ = code_rate;
    output_is_done_ = false;
    std::fill(gradients_.begin(), gradients_.end(), 0.0f);
  }
  void begin(std::span<const named_weight* const> matrices) override;
  void matrix(std::size_t sequence, const matrix_gradient& g) override;
  void lookup(std::size_t sequence, const lookup_gradient& g) override;
  void end() override;
  [[nodiscard]] bool takes_vectors() const override { return !vectors_.empty(); }
  void vector(std::size_t sequence, const std::string& name,
              std::span<const double> gradient) override;
  /// `loss`: the mean of the step's tokens. To first order, factors and codes make it fall by at
  /// most a tenth each.
  void end_step(adam& optimizer, double loss, std::size_t tokens, double rate);

  struct snapshot {
    std::vector<float> values;
    std::vector<std::vector<std::byte>> bytes; ///< of the matrices in the order of their names
  };
  [[nodiscard]] snapshot take_snapshot() const;
  void restore(const snapshot& s);
  /// Puts norms and biases among the encoded tensors.
  void encode_vectors();

private:
  static constexpr std::size_t rows_together = 64;
  static constexpr double most_decrease = 0.1; ///< of a step, as a share of the loss
  static constexpr double most_by_one = 0.01;  ///< of that, by one code: others are too steep
  struct tuned_matrix {
    std::span<std::byte> bytes;
    std::optional<stored_factors> factors;
    code_moves codes;
    std::size_t first;      ///< parameter
    matrix_f gradient = {}; ///< of the step, while it comes
  };
  struct tuned_vector {
    format type;
    std::vector<float> original, now; ///< `now` as it will be stored
    std::size_t first;                ///< parameter
  };
  /// What sequences gave of a matrix or of an expert's, until all have.
  struct held_gradients {
    std::vector<matrix_f> inputs, gradients;
    std::vector<double> lengths;
  };
  [[nodiscard]] std::span<float> gradients_of(const tuned_matrix& m) {
    return std::span(gradients_).subspan(m.first, m.factors->size());
  }
  void add(tuned_matrix& m, const matrix_gradient& g, float weight);
  void add_row(tuned_matrix& m, std::size_t row, const Eigen::RowVectorXf& gradient) {
    if (m.factors) m.factors->add_gradients(row, gradient.data(), gradients_of(m));
    m.gradient.row(static_cast<Eigen::Index>(row)) += gradient;
  }
  void add_held();
  [[nodiscard]] std::vector<std::byte> stored(const std::string& name, const tuned_vector& v) const;
  /// Gives the network its values.
  void install();

  model_weights& weights_;
  encoded_tensors& encoded_;
  unsigned threads_;
  float code_rate_ = 0;
  std::uint64_t moves_ = 0;
  std::vector<float> values_, gradients_;
  std::map<std::string, tuned_matrix, std::less<>> matrices_;
  std::map<std::string, tuned_vector, std::less<>> vectors_;
  std::vector<std::string> now_; ///< matrices whose gradients come
  std::map<std::pair<std::string, std::size_t>, held_gradients> held_; ///< by name and first row
  std::map<std::string, std::vector<Eigen::VectorXd>> held_vectors_;   ///< of each sequence
  bool output_is_done_ = false;
  std::vector<std::pair<tuned_matrix*, code_move>> ready_;
};

template <class T>
tuned_parameters<T>::tuned_parameters(model_weights& weights, const named_formats& formats,
                                      encoded_tensors& encoded, unsigned threads)
    : weights_(weights), encoded_(encoded), threads_(threads) {
  std::size_t count = 0;
  encoded.for_each([&](const std::string& name, encoded_tensors::tensor& t) {
    if (!weights.has_matrix(name) || !find_layout(t.type)) return;
    const std::size_t columns = weights.find_matrix(name).columns;
    tuned_matrix m{t.bytes, {}, code_moves(t.type, t.bytes, columns), count};
    if (has_stored_halves(t.type)) count += m.factors.emplace(t.type, t.bytes, columns).size();
    matrices_.emplace(name, std::move(m));
  });
  weights.for_each_vector([&](const std::string& name, const std::vector<float>& values) {
    const auto found = formats.find(name);
    if (found == formats.end()) return;
    vectors_.emplace(name, tuned_vector{found->second, values, values, count});
    count += values.size();
  });
  if (matrices_.empty())
    fail(error_code::bad_argument, "tuning", "no matrix is in a block format that can be written");
  values_.resize(count), gradients_.resize(count);
}

template <class T> void tuned_parameters<T>::begin(std::span<const named_weight* const> matrices) {
  for (const auto* w : matrices) {
    const auto found = matrices_.find(w->name);
    if (found == matrices_.end()) continue;
    now_.push_back(w->name);
    auto& g = found->second.gradient;
    if (g.size() == 0) // a tied embedding has that of the output matrix
      g = matrix_f::Zero(static_cast<Eigen::Index>(w->view.rows),
                         static_cast<Eigen::Index>(w->view.columns));
  }
}

/// The output matrix's are of some tokens and of many rows: they are not kept.
template <class T> void tuned_parameters<T>::matrix(std::size_t, const matrix_gradient& g) {
  const auto found = matrices_.find(g.name);
  if (found == matrices_.end()) return;
  if (g.name == weights_.output().name) return add(found->second, g, 1);
  auto& held = held_[{found->first, g.first_row}];
  held.inputs.push_back(g.inputs), held.gradients.push_back(g.gradients);
  held.lengths.push_back(double{g.gradients.norm()});
}

template <class T> void tuned_parameters<T>::add_held() {
  for (const auto& [key, held] : held_) {
    const auto weights = clip_weights(held.lengths);
    for (std::size_t i = 0; i < weights.size(); ++i)
      add(matrices_.find(key.first)->second,
          {key.first, key.second, held.inputs[i], held.gradients[i]}, weights[i]);
  }
  held_.clear();
  for (const auto& [name, gradients] : held_vectors_) {
    std::vector<double> lengths;
    for (const auto& g : gradients) lengths.push_back(g.norm());
    const auto weights = clip_weights(lengths);
    const tuned_vector& v = vectors_.find(name)->second;
    for (std::size_t s = 0; s < weights.size(); ++s)
      for (std::size_t i = 0; i < v.now.size(); ++i)
        gradients_[v.first + i] +=
            weights[s] * v.now[i] * static_cast<float>(gradients[s][static_cast<Eigen::Index>(i)]);
  }
  held_vectors_.clear();
}

template <class T>
void tuned_parameters<T>::add(tuned_matrix& m, const matrix_gradient& g, float weight) {
  const auto rows = static_cast<std::size_t>(g.gradients.cols());
  parallel_for((rows + rows_together - 1) / rows_together, threads_, [&](std::size_t part) {
    const serial_products one;
    const std::size_t first = part * rows_together, height = std::min(rows_together, rows - first);
    const matrix_f gradient =
        weight *
        (g.gradients.middleCols(static_cast<Eigen::Index>(first), static_cast<Eigen::Index>(height))
             .transpose() *
         g.inputs);
    for (std::size_t r = 0; r < height; ++r)
      add_row(m, g.row(first + r), gradient.row(static_cast<Eigen::Index>(r)));
  });
}

template <class T> void tuned_parameters<T>::lookup(std::size_t, const lookup_gradient& g) {
  const auto found = matrices_.find(g.name);
  if (found == matrices_.end()) return;
  std::vector<double> lengths;
  for (Eigen::Index t = 0; t < g.gradients.rows(); ++t)
    lengths.push_back(double{g.gradients.row(t).norm()});
  const auto weights = clip_weights(lengths);
  for (std::size_t t = 0; t < weights.size(); ++t)
    add_row(found->second, static_cast<std::size_t>(g.tokens[t]),
            weights[t] * g.gradients.row(static_cast<Eigen::Index>(t)));
}

template <class T> void tuned_parameters<T>::end() {
  add_held();
  for (const auto& name : now_) {
    // A tied embedding is still to be looked up.
    if (name == weights_.embedding().name && name == weights_.output().name && !output_is_done_) {
      output_is_done_ = true;
      continue;
    }
    auto& m = matrices_.find(name)->second;
    std::vector<code_move> ready;
    m.codes.push(m.gradient, code_rate_, ready, threads_);
    for (const auto& move : ready) ready_.emplace_back(&m, move);
    m.gradient.resize(0, 0);
  }
  now_.clear();
}

/// The codes that lower the loss most go first; who waits may move in a later step.
template <class T>
void tuned_parameters<T>::end_step(adam& optimizer, double loss, std::size_t tokens, double rate) {
  for (float& g : gradients_) g /= static_cast<float>(tokens);
  optimizer.step(values_, gradients_, rate, most_decrease * loss);
  std::stable_sort(ready_.begin(), ready_.end(), [](const auto& a, const auto& b) {
    return a.second.decrease > b.second.decrease;
  });
  const double all = most_decrease * loss * static_cast<double>(tokens);
  double left = all;
  for (const auto& [m, move] : ready_) {
    const double own = double{move.decrease};
    if (own > left || own > most_by_one * all) continue;
    left -= own;
    m->codes.move(move);
    ++moves_;
  }
  ready_.clear();
  install();
}

template <class T>
void tuned_parameters<T>::vector(std::size_t, const std::string& name,
                                 std::span<const double> gradient) {
  if (vectors_.find(name) == vectors_.end()) return;
  held_vectors_[name].push_back(Eigen::Map<const Eigen::VectorXd>(
      gradient.data(), static_cast<Eigen::Index>(gradient.size())));
}

template <class T>
std::vector<std::byte> tuned_parameters<T>::stored(const std::string& name,
                                                   const tuned_vector& v) const {
  std::vector<std::byte> bytes(row_bytes(v.type, v.now.size()));
  row_encoder(v.type, scale_rule::absmax, name)(v.now, {}, 0, bytes.data());
  return bytes;
}

template <class T> void tuned_parameters<T>::install() {
  const std::span all(values_);
  for (auto& [name, m] : matrices_)
    if (m.factors) m.factors->store(all.subspan(m.first, m.factors->size()));
  for (auto& [name, v] : vectors_) {
    for (std::size_t i = 0; i < v.now.size(); ++i)
      v.now[i] = v.original[i] * std::exp(all[v.first + i]);
    decode_row(v.type, stored(name, v).data(), v.now);
    weights_.replace_vector(name, v.now);
  }
}

template <class T> auto tuned_parameters<T>::take_snapshot() const -> snapshot {
  snapshot s{values_, {}};
  for (const auto& [name, m] : matrices_) s.bytes.emplace_back(m.bytes.begin(), m.bytes.end());
  return s;
}

template <class T> void tuned_parameters<T>::restore(const snapshot& s) {
  values_ = s.values;
  std::size_t i = 0;
  for (auto& [name, m] : matrices_) {
    std::copy(s.bytes[i].begin(), s.bytes[i].end(), m.bytes.begin());
    ++i;
  }
  install();
}

template <class T> void tuned_parameters<T>::encode_vectors() {
  for (const auto& [name, v] : vectors_) encoded_.put(name, {v.type, stored(name, v), {}});
}

} // namespace compression::detail

} // namespace edgequant::inline EDGEQUANT_ABI
