// SPDX-License-Identifier: MIT
/// What gradients say of the candidates of each matrix, part by part of the network.
#pragma once

#include "../quantizer/gptq_columns.hpp"
#include "fisher.hpp"
#include "shrinkage.hpp"

#include <cstring>

namespace edgequant::inline EDGEQUANT_ABI {

namespace plan::detail {

/// Rows that are handled together.
inline constexpr std::size_t fisher_rows = 64;

template <class T> class fisher_visitor final : public gradient_visitor {
public:
  fisher_visitor(const model_weights& weights, std::span<const std::vector<std::int32_t>> sequences,
                 std::span<const format> candidates, const fisher_options& options)
      : weights_(weights), sequences_(sequences), candidates_(candidates), options_(options) {}

  void begin(std::span<const named_weight* const> matrices) override {
    for (const auto* w : matrices) open(*w);
  }
  void matrix(std::size_t sequence, const matrix_gradient& g) override;
  void lookup(std::size_t sequence, const lookup_gradient& g) override;
  void end() override {
    for (auto* m : now_) {
      measure(*m);
      m->coded = {};
      // A tied embedding is still to be looked up.
      if (m->w.name != weights_.embedding().name) set_share(*m);
    }
    now_.clear();
  }
  /// In the order of the file.
  [[nodiscard]] std::vector<layer_sensitivity> result(fisher_estimate* products);

private:
  /// Rows that have gradients, in the candidates: only as long as gradients come.
  struct coded_rows {
    std::vector<std::size_t> rows;             ///< of the tensor, as they came
    std::vector<std::size_t> places;           ///< of each row of the tensor, from 1 on; 0: none
    std::vector<std::vector<std::byte>> bytes; ///< of each candidate
  };
  struct weighed_matrix {
    named_weight w;
    std::vector<format> types;
    coded_rows coded;
    std::vector<fisher_estimate::changes> changes; ///< of each type
    std::vector<double> input_squares;             ///< [columns], summed over tokens
    std::vector<double> gradient_squares;          ///< [rows], likewise
    std::size_t seen = 0;                          ///< tokens
    Eigen::MatrixXd gram; ///< of inputs, tokens weighed by their gradients; lower triangle
    double share = 1;     ///< of the error that is left
    layer_sensitivity layer;
    std::vector<double> expected; ///< of each type: what its error is about proportional to
  };

  void open(const named_weight& w);
  template <class RowOf> void encode_rows(weighed_matrix& m, std::size_t all, RowOf row_of) const;
  void set_share(weighed_matrix& m) const;
  void measure(weighed_matrix& m);
  void set_divergences(weighed_matrix& m) const;
  [[nodiscard]] std::size_t samples() const { return sequences_.size() * options_.samples; }
  [[nodiscard]] double per_token(std::size_t sequence) const {
    return 1 / std::sqrt(static_cast<double>(sequences_[sequence].size()));
  }
  /// Row i of `values` is row row_of(i) of the encoded ones.
  template <class RowOf>
  static void decode_rows(format type, const std::byte* data, RowOf row_of, matrix_f& values) {
    const auto columns = static_cast<std::size_t>(values.cols());
    const std::size_t bytes = row_bytes(type, columns);
    for (std::size_t r = 0; r < static_cast<std::size_t>(values.rows()); ++r)
      decode_row(type, data + row_of(r) * bytes, {values.data() + r * columns, columns});
  }

  const model_weights& weights_;
  std::span<const std::vector<std::int32_t>> sequences_;
  std::span<const format> candidates_;
  fisher_options options_;
  std::map<std::string, weighed_matrix, std::less<>> all_;
  std::vector<weighed_matrix*> now_; ///< whose candidates are in memory
};

template <class T> void fisher_visitor<T>::set_share(weighed_matrix& m) const {
  if (m.gram.size() == 0) return;
  const gptq_columns columns(m.gram);
  m.share = columns.factor().diagonal().cast<double>().squaredNorm() /
            columns.gram().diagonal().cast<double>().sum();
  m.gram.resize(0, 0);
}

template <class T> void fisher_visitor<T>::open(const named_weight& w) {
  const auto [found, is_new] = all_.try_emplace(w.name);
  auto& m = found->second;
  if (!is_new) return; // a tied embedding, as the output matrix before: lookups encode their rows
  now_.push_back(&m);
  m.w = w;
  const auto& view = w.view;
  const matrix_f values =
      decode_matrix(view.type, view.data, view.rows, view.columns, options_.threads);
  for (std::size_t r = 0; r < view.rows; ++r)
    require_finite(row_of(values, static_cast<Eigen::Index>(r)), w.name, r * view.columns);
  m.layer = {w.name, view.rows, view.columns, kurtosis_of(values), 0, {}};
  for (const format type : candidates_) {
    if (view.columns % info_of(type).block_length != 0) continue;
    m.types.push_back(type);
    m.changes.emplace_back(samples());
    m.layer.candidates.push_back(
        {type, view.rows * row_bytes(type, view.columns), 0, 0, 0, std::nullopt});
  }
  m.input_squares.resize(view.columns);
  m.gradient_squares.resize(view.rows);
}

/// Encodes those of rows row_of(0) to row_of(all - 1) that are not yet: of an output matrix of
/// 262,144 rows a text uses a few.
template <class T>
template <class RowOf>
void fisher_visitor<T>::encode_rows(weighed_matrix& m, std::size_t all, RowOf row_of) const {
  const std::size_t before = m.coded.rows.size(), columns = m.w.view.columns;
  m.coded.places.resize(m.w.view.rows), m.coded.bytes.resize(m.types.size());
  for (std::size_t i = 0; i < all; ++i)
    if (auto& place = m.coded.places[row_of(i)]; place == 0) {
      m.coded.rows.push_back(row_of(i));
      place = m.coded.rows.size();
    }
  const std::size_t count = m.coded.rows.size() - before;
  for (std::size_t f = 0; f < m.types.size(); ++f)
    m.coded.bytes[f].resize(m.coded.rows.size() * row_bytes(m.types[f], columns));
  const std::size_t parts = (count + fisher_rows - 1) / fisher_rows;
  parallel_for(parts * m.types.size(), options_.threads, [&](std::size_t task) {
    const std::size_t f = task / parts, first = before + task % parts * fisher_rows;
    const std::size_t size = row_bytes(m.types[f], columns);
    row_encoder encode(m.types[f], scale_rule::mse, m.w.name);
    std::vector<float> values(columns);
    for (std::size_t i = first; i < std::min(first + fisher_rows, m.coded.rows.size()); ++i) {
      const auto view = rows_of(m.w.view, m.coded.rows[i], 1);
      if (options_.keeps_codes && m.types[f] == view.type) {
        std::memcpy(m.coded.bytes[f].data() + i * size, view.data, size);
        continue;
      }
      decode_row(view.type, view.data, values);
      encode(values, {}, m.coded.rows[i] * columns, m.coded.bytes[f].data() + i * size);
    }
  });
}

template <class T> void fisher_visitor<T>::matrix(std::size_t sequence, const matrix_gradient& g) {
  auto& m = all_.find(g.name)->second;
  encode_rows(m, static_cast<std::size_t>(g.gradients.cols()),
              [&](std::size_t i) { return g.row(i); });
  const auto rows = static_cast<std::size_t>(g.gradients.cols());
  const std::size_t parts = (rows + fisher_rows - 1) / fisher_rows, types = m.types.size();
  const Eigen::Index tokens = g.inputs.rows(), columns = g.inputs.cols();
  const auto count = static_cast<Eigen::Index>(options_.samples);
  std::vector<double> sums(parts * types * options_.samples);
  parallel_for(parts, options_.threads, [&](std::size_t part) {
    const serial_products one;
    const std::size_t first = part * fisher_rows, height = std::min(fisher_rows, rows - first);
    const auto h = static_cast<Eigen::Index>(height), at = static_cast<Eigen::Index>(first);
    matrix_f gradients(count * h, columns);
    for (Eigen::Index s = 0; s < count; ++s)
      gradients.middleRows(s * h, h).noalias() =
          g.gradients.block(s * tokens, at, tokens, h).transpose() * g.inputs;
    matrix_f exact(h, columns), error(h, columns);
    const auto row_of = [&](std::size_t r) { return g.row(first + r); };
    decode_rows(m.w.view.type, m.w.view.data, row_of, exact);
    for (std::size_t f = 0; f < types; ++f) {
      decode_rows(
          m.types[f], m.coded.bytes[f].data(),
          [&](std::size_t r) { return m.coded.places[row_of(r)] - 1; }, error);
      error -= exact;
      for (Eigen::Index s = 0; s < count; ++s)
        sums[(part * types + f) * options_.samples + static_cast<std::size_t>(s)] =
            double{error.cwiseProduct(gradients.middleRows(s * h, h)).sum()};
    }
    for (Eigen::Index r = 0; r < h; ++r)
      m.gradient_squares[row_of(static_cast<std::size_t>(r))] +=
          double{g.gradients.col(at + r).squaredNorm()};
  });
  for (std::size_t part = 0; part < parts; ++part)
    for (std::size_t f = 0; f < types; ++f)
      for (std::size_t s = 0; s < options_.samples; ++s)
        m.changes[f][sequence * options_.samples + s] +=
            per_token(sequence) * sums[(part * types + f) * options_.samples + s];
  Eigen::VectorXd token_weights = Eigen::VectorXd::Zero(tokens);
  for (Eigen::Index i = 0; i < g.gradients.rows(); ++i)
    token_weights[i % tokens] += double{g.gradients.row(i).squaredNorm()};
  if (options_.adapted)
    add_to_gram(m.gram, g.inputs.transpose().template cast<double>() *
                            token_weights.cwiseSqrt().asDiagonal());
  for (Eigen::Index c = 0; c < columns; ++c)
    m.input_squares[static_cast<std::size_t>(c)] += double{g.inputs.col(c).squaredNorm()};
  m.seen += static_cast<std::size_t>(tokens);
}

template <class T> void fisher_visitor<T>::lookup(std::size_t sequence, const lookup_gradient& g) {
  auto& m = all_.find(g.name)->second;
  const std::size_t columns = m.w.view.columns, tokens = g.tokens.size();
  std::vector<double> sums(tokens * m.types.size() * options_.samples);
  const auto row_of = [&](std::size_t t) { return static_cast<std::size_t>(g.tokens[t]); };
  encode_rows(m, tokens, row_of);
  parallel_for(tokens, options_.threads, [&](std::size_t t) {
    std::vector<float> exact(columns), rounded(columns);
    const auto view = rows_of(m.w.view, row_of(t), 1);
    decode_row(view.type, view.data, exact);
    for (std::size_t f = 0; f < m.types.size(); ++f) {
      const std::size_t place = m.coded.places[row_of(t)] - 1;
      decode_row(m.types[f], m.coded.bytes[f].data() + place * row_bytes(m.types[f], columns),
                 rounded);
      for (std::size_t s = 0; s < options_.samples; ++s) {
        const float* gradient = g.gradients.row(static_cast<Eigen::Index>(s * tokens + t)).data();
        double sum = 0;
        for (std::size_t c = 0; c < columns; ++c)
          sum += double{rounded[c] - exact[c]} * double{gradient[c]};
        sums[(t * m.types.size() + f) * options_.samples + s] = sum;
      }
    }
  });
  if (options_.adapted) add_to_gram(m.gram, g.gradients.transpose().template cast<double>());
  for (std::size_t t = 0; t < tokens; ++t)
    for (std::size_t f = 0; f < m.types.size(); ++f)
      for (std::size_t s = 0; s < options_.samples; ++s)
        m.changes[f][sequence * options_.samples + s] +=
            per_token(sequence) * sums[(t * m.types.size() + f) * options_.samples + s];
}

/// Errors of the candidates in the rows that have gradients: of the weights, and with columns and
/// rows weighed.
template <class T> void fisher_visitor<T>::measure(weighed_matrix& m) {
  const std::size_t rows = m.coded.rows.size(), columns = m.w.view.columns;
  const std::size_t parts = (rows + fisher_rows - 1) / fisher_rows, types = m.types.size();
  const auto width = static_cast<Eigen::Index>(columns);
  const Eigen::Map<const Eigen::RowVectorXd> squares(m.input_squares.data(), width);
  struct sums {
    double weight = 0, column = 0, both = 0;
  };
  std::vector<sums> all(parts * (types + 1)); // the last is of the weights themselves
  parallel_for(parts, options_.threads, [&](std::size_t part) {
    const std::size_t first = part * fisher_rows, height = std::min(fisher_rows, rows - first);
    matrix_f exact(static_cast<Eigen::Index>(height), width), error(exact);
    decode_rows(
        m.w.view.type, m.w.view.data, [&](std::size_t r) { return m.coded.rows[first + r]; },
        exact);
    for (std::size_t f = 0; f <= types; ++f) {
      if (f < types) {
        decode_rows(
            m.types[f], m.coded.bytes[f].data(), [&](std::size_t r) { return first + r; }, error);
        error -= exact;
      }
      sums& s = all[part * (types + 1) + f];
      for (std::size_t r = 0; r < height; ++r) {
        const auto row = (f < types ? error : exact).row(static_cast<Eigen::Index>(r));
        const Eigen::RowVectorXd square = row.template cast<double>().array().square();
        const double column = square.dot(squares);
        s.weight += square.sum(), s.column += column;
        s.both += column * m.gradient_squares[m.coded.rows[first + r]];
      }
    }
  });
  std::vector<sums> total(types + 1);
  for (std::size_t i = 0; i < all.size(); ++i) {
    sums& t = total[i % (types + 1)];
    t.weight += all[i].weight, t.column += all[i].column, t.both += all[i].both;
  }
  m.expected.clear();
  const bool has_inputs = total[types].column > 0; // rows that are looked up have none
  for (std::size_t f = 0; f < types; ++f) {
    auto& c = m.layer.candidates[f];
    c.weight_error = error_ratio(total[f].weight, total[types].weight);
    c.column_error = c.output_error =
        has_inputs ? error_ratio(total[f].column, total[types].column) : c.weight_error;
    m.expected.push_back(total[f].both > 0 ? total[f].both : total[f].weight);
  }
  if (types != 0) m.layer.sensitivity = m.layer.measured().output_error;
}

template <class T> void fisher_visitor<T>::set_divergences(weighed_matrix& m) const {
  std::vector<double> own;
  for (const auto& c : m.changes) own.push_back(fisher_estimate::of(c).value);
  draw_together(own, m.expected, samples());
  for (std::size_t f = 0; f < own.size(); ++f) m.layer.candidates[f].kl = own[f];
}

template <class T>
std::vector<layer_sensitivity> fisher_visitor<T>::result(fisher_estimate* products) {
  std::vector<layer_sensitivity> layers;
  const auto take = [&](const named_weight& w) {
    const auto found = all_.find(w.name);
    if (found == all_.end()) return;
    auto& m = found->second;
    set_share(m); // where nothing looked it up
    for (auto& of_format : m.changes)
      for (double& c : of_format) c *= std::sqrt(m.share);
    for (double& e : m.expected) e *= m.share;
    set_divergences(m);
    layers.push_back(std::move(m.layer));
    for (std::size_t f = 0; products != nullptr && f < m.types.size(); ++f)
      products->put(w.name, m.types[f], std::move(m.changes[f]));
  };
  if (weights_.output().name != weights_.embedding().name) take(weights_.embedding());
  for (const auto& layer : weights_.layers()) layer_weights::for_each_matrix(layer, take);
  take(weights_.output());
  return layers;
}

} // namespace plan::detail

template <class>
std::vector<layer_sensitivity>
analyze_by_gradients(const model_weights& weights, const calibration_text& text,
                     std::span<const format> candidates, const fisher_options& options,
                     fisher_estimate* products, const progress_callback& listener) {
  if (text.tokens.empty()) fail(error_code::bad_argument, "calibration text", "no tokens");
  const auto sequences = gradient_sequences(text, options.sequences,
                                            std::min(options.tokens, weights.shape().context));
  plan::detail::fisher_visitor<void> visitor(weights, sequences, candidates, options);
  walk_gradients(weights, sequences, {.samples = options.samples, .threads = options.threads},
                 visitor, listener);
  return visitor.result(products);
}

} // namespace edgequant::inline EDGEQUANT_ABI
