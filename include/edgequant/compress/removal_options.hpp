// SPDX-License-Identifier: MIT
/// What every layer could spare of its heads and channels, and what that costs, from one backward
/// pass.
#pragma once

#include "../model/cut.hpp"
#include "../model/gradient_walk.hpp"
#include "../model/sublayer_matrices.hpp"
#include "column_removal.hpp"
#include "residual_compensation.hpp"

#include <map>

namespace edgequant::inline EDGEQUANT_ABI {

struct removal_measure {
  std::size_t sequences = 16; ///< of the text's beginning
  std::size_t tokens = 256;   ///< of a sequence
  std::size_t samples = 2;    ///< of labels, a sequence
  /// Channels go in multiples of it: what formats and kernels like.
  std::size_t channels_together = 32;
  bool skipping_alone = false; ///< whether no options are wanted, but changes
  unsigned threads = 0;
};

/// A sublayer's part of a layer that may stay.
struct removal_option {
  kept_layer kept; ///< its heads or its channels
  double loss = 0; ///< nats a token
};

/// Of a sublayer.
struct sublayer_removals {
  /// The whole first and nothing last, one where the layer does not have it; none for experts.
  std::vector<removal_option> options;
  /// What the log probability of a sequence's labels loses to first order when the sublayer is
  /// skipped, over the root of its tokens: half the mean square is nats a token, of several
  /// sublayers together that of their sum. [sequences * samples]
  std::vector<double> changes;
};

struct layer_removals {
  sublayer_removals attention, feed_forward;

  [[nodiscard]] const sublayer_removals& of(sublayer part) const noexcept {
    return part == sublayer::attention ? attention : feed_forward;
  }
};

/// Losses are KL divergences to second order, once the columns that stay in the writing matrix are
/// solved anew. With g the gradient of log p at a token's output, for labels that the model draws
/// itself, and x what the writing matrix reads, a change D of it costs half the mean of (g D x)^2.
/// The mean of (g g^T) (x) (x x^T) is taken as one product of two matrices, the second with tokens
/// weighed by the square of g; so errors of several tokens, and of several layers, do not meet.
///
/// Heads of keys and values go with their queries, the least missed first; queries go one of each
/// group, so that the groups stay even. Channels go one after the other as column_losses::remove()
/// says. Where norms stand behind sublayers there is one sample a sequence. Errors of
/// walk_gradients(); bad_argument for a text without tokens. Memory: for a sublayer four columns x
/// columns matrices of doubles, and what walk_gradients() says.
template <class = void>
[[nodiscard]] std::vector<layer_removals>
measure_removals(const model_weights& weights, const calibration_text& text,
                 const removal_measure& options, const progress_callback& listener = {});

namespace compression::detail {

template <class = void> class removal_visitor final : public gradient_visitor {
public:
  /// `lengths`: tokens of each sequence.
  removal_visitor(const model_weights& weights, const removal_measure& options,
                  std::vector<std::size_t> lengths)
      : weights_(weights), options_(options), lengths_(std::move(lengths)),
        result_(weights.layers().size()) {
    for (std::size_t layer = 0; layer < result_.size(); ++layer) {
      const layer_weights& w = weights.layers()[layer];
      // Of a sublayer that is not there nothing is all that can stay.
      if (w.attention_inputs.empty())
        result_[layer].attention.options.push_back({});
      else
        add_writer(w.attention_output, layer, sublayer::attention);
      if (w.feed_forward_inputs.empty())
        result_[layer].feed_forward.options.push_back({});
      else
        add_writer(w.down, layer, sublayer::feed_forward);
    }
  }
  void begin(std::span<const named_weight* const>) override {
    gram_.resize(0, 0), fisher_.resize(0, 0), values_.resize(0, 0);
    writer_ = nullptr;
  }
  void matrix(std::size_t sequence, const matrix_gradient& g) override;
  void end() override;
  [[nodiscard]] bool takes_vectors() const override { return has_norms_behind(); }
  void vector(std::size_t sequence, const std::string& name,
              std::span<const double> gradient) override;
  [[nodiscard]] std::vector<layer_removals> take() { return std::move(result_); }

private:
  struct place {
    std::size_t layer = 0;
    sublayer part = sublayer::attention;
    bool is_of_experts = false;
    const biased_weight* writer = nullptr;
  };
  [[nodiscard]] bool has_norms_behind() const {
    return weights_.shape().architecture->norms != norm_place::before;
  }
  void add_writer(const biased_weight& writer, std::size_t layer, sublayer part) {
    const bool is_of_experts =
        part == sublayer::feed_forward && weights_.shape().layers[layer].experts != 0;
    writers_[writer.name] = {layer, part, is_of_experts, &writer};
    if (!has_norms_behind()) return;
    const sublayer_matrices m(weights_, layer, part);
    norms_[m.post_norm_name] = {layer, part};
  }
  [[nodiscard]] sublayer_removals& at(const place& p) {
    return p.part == sublayer::attention ? result_[p.layer].attention
                                         : result_[p.layer].feed_forward;
  }
  /// Adds to what skipping a sublayer changes.
  void add_change(const place& p, std::size_t sequence, std::size_t sample, double change,
                  std::size_t tokens) {
    auto& changes = at(p).changes;
    const std::size_t samples = has_norms_behind() ? 1 : options_.samples;
    changes.resize(std::max(changes.size(), (sequence + 1) * samples));
    changes[sequence * samples + sample] += change / std::sqrt(static_cast<double>(tokens));
  }
  void set_attention(const column_losses<>& losses, std::size_t layer);
  void set_feed_forward(column_losses<> losses, std::size_t layer);

  const model_weights& weights_;
  const removal_measure& options_;
  std::vector<std::size_t> lengths_; ///< of sequences
  std::map<std::string, place, std::less<>> writers_, norms_;
  std::vector<layer_removals> result_;
  const place* writer_ = nullptr; ///< whose gradients come
  Eigen::MatrixXd gram_, fisher_; ///< lower triangles
  matrix_f values_;               ///< of the writer
  double squares_ = 0;            ///< of gradients
  std::size_t count_ = 0;         ///< of gradients
};

template <class T> void removal_visitor<T>::matrix(std::size_t sequence, const matrix_gradient& g) {
  const auto found = writers_.find(g.name);
  if (found == writers_.end()) return;
  const place& p = found->second;
  const weight_view& view = weights_.find_matrix(g.name);
  const auto width = static_cast<std::size_t>(g.gradients.cols());
  if (values_.size() == 0 || p.is_of_experts) {
    const weight_view own = rows_of(view, g.first_row, width);
    values_ = decode_matrix(own.type, own.data, own.rows, own.columns, options_.threads);
  }
  const Eigen::Index tokens = g.inputs.rows();
  if (!has_norms_behind()) {
    matrix_f outputs(tokens, values_.rows());
    parallel_for_parts(static_cast<std::size_t>(tokens), 64, options_.threads,
                       [&](std::size_t first, std::size_t count) {
                         const auto begin = static_cast<Eigen::Index>(first);
                         const auto rows = static_cast<Eigen::Index>(count);
                         outputs.middleRows(begin, rows).noalias() =
                             g.inputs.middleRows(begin, rows) * values_.transpose();
                       });
    if (const auto& bias = p.writer->bias; !bias.empty())
      outputs.rowwise() +=
          Eigen::Map<const Eigen::RowVectorXf>(bias.data() + g.first_row, outputs.cols());
    for (Eigen::Index i = 0; i < g.gradients.rows(); ++i)
      add_change(p, sequence, static_cast<std::size_t>(i / tokens),
                 double{g.gradients.row(i).dot(outputs.row(i % tokens))}, lengths_[sequence]);
  }
  if (p.is_of_experts || options_.skipping_alone) return;
  if (writer_ == nullptr) squares_ = 0, count_ = 0;
  writer_ = &p;
  Eigen::VectorXd counts = Eigen::VectorXd::Zero(tokens);
  for (Eigen::Index i = 0; i < g.gradients.rows(); ++i)
    counts[i % tokens] += double{g.gradients.row(i).squaredNorm()};
  squares_ += counts.sum();
  count_ += static_cast<std::size_t>(g.gradients.rows());
  const Eigen::MatrixXf weighted =
      g.inputs.transpose() * counts.cwiseSqrt().template cast<float>().asDiagonal();
  add_products(gram_, weighted, weighted, true, options_.threads);
  const Eigen::MatrixXf gradients = g.gradients.transpose();
  add_products(fisher_, gradients, gradients, true, options_.threads);
}

/// A norm behind a sublayer gives w * n: what it gives, times its gradient, is the sum over w of
/// w times the gradient of w.
template <class T>
void removal_visitor<T>::vector(std::size_t sequence, const std::string& name,
                                std::span<const double> gradient) {
  const auto found = norms_.find(name);
  if (found == norms_.end()) return;
  const place& p = found->second;
  const layer_weights& w = weights_.layers()[p.layer];
  const auto& norm =
      p.part == sublayer::attention ? w.post_attention_norm : w.post_feed_forward_norm;
  double change = 0;
  for (std::size_t i = 0; i < norm.size(); ++i) change += double{norm[i]} * gradient[i];
  add_change(p, sequence, 0, change, lengths_[sequence]);
}

template <class T> void removal_visitor<T>::end() {
  if (writer_ == nullptr) return;
  const std::size_t layer = writer_->layer;
  const Eigen::MatrixXd w = values_.template cast<double>();
  gram_.template triangularView<Eigen::StrictlyUpper>() = gram_.transpose();
  // Half the mean square, in nats a token: F H / squares_ is the sum over gradients.
  const double scale = squares_ > 0 ? 0.5 / (squares_ * static_cast<double>(count_)) : 0;
  Eigen::MatrixXd weighted(w.cols(), w.cols());
  fisher_.template triangularView<Eigen::StrictlyUpper>() = fisher_.transpose();
  parallel_for_parts(static_cast<std::size_t>(w.cols()), 128, options_.threads,
                     [&](std::size_t first, std::size_t count) {
                       const auto begin = static_cast<Eigen::Index>(first);
                       const auto columns = static_cast<Eigen::Index>(count);
                       const Eigen::MatrixXd weighed =
                           scale * (fisher_ * w.middleCols(begin, columns));
                       weighted.middleCols(begin, columns).noalias() = w.transpose() * weighed;
                     });
  column_losses<> losses(std::move(weighted), std::move(gram_), 0.01, options_.threads);
  if (writer_->part == sublayer::attention)
    set_attention(losses, layer);
  else
    set_feed_forward(std::move(losses), layer);
}

/// The columns that heads of queries feed, ascending.
[[nodiscard]] inline std::vector<std::size_t> columns_of_heads(std::span<const std::size_t> heads,
                                                               std::size_t head_size) {
  std::vector<std::size_t> columns;
  for (const std::size_t h : heads)
    for (std::size_t i = 0; i < head_size; ++i) columns.push_back(h * head_size + i);
  return columns;
}

template <class T>
void removal_visitor<T>::set_attention(const column_losses<>& losses, std::size_t layer) {
  const layer_shape& shape = weights_.shape().layers[layer];
  const std::size_t group = shape.heads / shape.kv_heads;
  const kept_layer whole{whole_layer(shape).kv_heads, whole_layer(shape).heads, {}};
  auto& options = result_[layer].attention.options;
  const auto columns_of = [&](const std::vector<std::size_t>& heads) {
    return columns_of_heads(heads, weights_.shape().head_size);
  };
  const auto erase = [](std::vector<std::size_t>& from, const std::vector<std::size_t>& gone) {
    std::erase_if(
        from, [&](std::size_t i) { return std::find(gone.begin(), gone.end(), i) != gone.end(); });
  };
  // Takes the one of some sets of heads that is missed least; returns its number.
  const auto take_least = [&](column_losses<>& left,
                              const std::vector<std::vector<std::size_t>>& sets, double& loss) {
    std::size_t best = 0;
    double least = std::numeric_limits<double>::infinity();
    for (std::size_t i = 0; i < sets.size(); ++i)
      if (const double own = left.of(columns_of(sets[i])); own < least) least = own, best = i;
    loss += left.take(columns_of(sets[best]));
    return best;
  };
  options.push_back({whole, 0});
  const double all = losses.of(columns_of(whole.heads));
  if (!heads_can_be_cut(*weights_.shape().architecture)) { // they go together
    options.push_back({{}, all});
    return;
  }
  // Groups with their keys: after each, the one that is missed least.
  column_losses<> left = losses;
  kept_layer kept = whole;
  double loss = 0;
  while (kept.kv_heads.size() > 1) {
    std::vector<std::vector<std::size_t>> groups;
    for (const std::size_t k : kept.kv_heads) {
      groups.emplace_back();
      for (std::size_t q = k * group; q < (k + 1) * group; ++q) groups.back().push_back(q);
    }
    const std::size_t best = take_least(left, groups, loss);
    erase(kept.heads, groups[best]);
    kept.kv_heads.erase(kept.kv_heads.begin() + static_cast<std::ptrdiff_t>(best));
    options.push_back({kept, loss});
  }
  // One query of each group, group by group.
  left = losses, kept = whole, loss = 0;
  for (std::size_t round = 1; round < group; ++round) {
    for (std::size_t k = 0; k < shape.kv_heads; ++k) {
      std::vector<std::vector<std::size_t>> queries;
      for (const std::size_t q : kept.heads)
        if (q / group == k) queries.push_back({q});
      erase(kept.heads, queries[take_least(left, queries, loss)]);
    }
    options.push_back({kept, loss});
  }
  options.push_back({{}, all});
}

template <class T>
void removal_visitor<T>::set_feed_forward(column_losses<> losses, std::size_t layer) {
  const std::size_t inner = weights_.shape().layers[layer].feed_forward;
  const std::size_t step = options_.channels_together;
  const kept_layer whole{{}, {}, whole_layer(weights_.shape().layers[layer]).channels};
  auto& options = result_[layer].feed_forward.options;
  options.push_back({whole, 0});
  const double all = losses.of(whole.channels);
  const column_removal removal = std::move(losses).remove(std::min(step, inner));
  // What stays is a multiple of the step; the first to go may be fewer.
  for (std::size_t left = (inner - 1) / step * step; left >= step; left -= step) {
    std::vector<std::size_t> kept = whole.channels;
    std::vector<bool> is_gone(inner);
    for (std::size_t i = 0; i < inner - left; ++i) is_gone[removal.order[i]] = true;
    std::erase_if(kept, [&](std::size_t c) { return is_gone[c]; });
    options.push_back({{{}, {}, std::move(kept)}, removal.losses[inner - left - 1]});
  }
  options.push_back({{}, all});
}

} // namespace compression::detail

template <class>
std::vector<layer_removals>
measure_removals(const model_weights& weights, const calibration_text& text,
                 const removal_measure& options, const progress_callback& listener) {
  if (options.channels_together == 0 || options.samples == 0 || options.sequences == 0)
    fail(error_code::bad_argument, "removal",
         "expected at least one sequence, sample and channel at a time");
  const auto sequences = gradient_sequences(text, options.sequences,
                                            std::min(options.tokens, weights.shape().context));
  if (sequences.empty()) fail(error_code::bad_argument, "calibration text", "no tokens");
  std::vector<std::size_t> lengths;
  for (const auto& tokens : sequences) lengths.push_back(tokens.size());
  compression::detail::removal_visitor<> visitor(weights, options, std::move(lengths));
  const bool once = weights.shape().architecture->norms != norm_place::before;
  walk_gradients(weights, sequences,
                 {.samples = once ? 1 : options.samples, .threads = options.threads}, visitor,
                 listener);
  return visitor.take();
}

} // namespace edgequant::inline EDGEQUANT_ABI
