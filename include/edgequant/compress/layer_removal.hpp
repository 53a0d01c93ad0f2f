// SPDX-License-Identifier: MIT
/// Which sublayers a network can spare, measured: those that go are skipped.
#pragma once

#include "../core/progress.hpp"
#include "../metric/logits.hpp"
#include "../model/cut.hpp"
#include "../model/gradient_walk.hpp"

#include "removal_options.hpp"

#include <set>

namespace edgequant::inline EDGEQUANT_ABI {

/// A sublayer of a network: both its layer and its half.
struct sublayer_place {
  std::size_t layer = 0;
  sublayer part = sublayer::attention;
  friend auto operator<=>(const sublayer_place&, const sublayer_place&) = default;
};

/// Sublayers that go together.
using sublayer_set = std::set<sublayer_place>;

/// Measures a network without some of its sublayers, on sequences, each from an empty cache.
/// Vectors before each sublayer that stays are kept, so that a set that begins late costs little.
/// Memory: hidden floats for every token and sublayer, and the likely tokens of every prediction.
template <class = void> class skipping_meter {
public:
  /// Runs the whole network once. Both must outlive it. bad_argument for no sequences.
  skipping_meter(const model_weights& weights, std::span<const std::vector<std::int32_t>> sequences,
                 unsigned threads = 0);

  /// What is skipped from now on.
  void set_skipped(sublayer_set skipped);
  [[nodiscard]] const sublayer_set& skipped() const noexcept { return skipped_; }
  /// The KL divergence from the whole network, in nats a token, where these are skipped, too.
  [[nodiscard]] double without(const sublayer_set& more);

private:
  struct likely_token {
    std::uint32_t token;
    float p, log_p;
  };
  [[nodiscard]] std::size_t places() const { return 2 * weights_.layers().size(); }
  [[nodiscard]] static sublayer_place place(std::size_t index) {
    return {index / 2, index % 2 == 0 ? sublayer::attention : sublayer::feed_forward};
  }
  /// Takes vectors through the sublayers from `first` on that are not in `skip`; where `keep`
  /// holds, what is before each is kept.
  void run(std::size_t sequence, std::size_t first, std::vector<float>& x,
           const std::function<bool(const sublayer_place&)>& skip, bool keep);

  /// Calls body(token, logits) for each vector, several at a time on the threads.
  template <class Body> void for_each_logits(std::vector<float>& x, Body body) {
    const std::size_t words = weights_.vocabulary();
    model_.run_output(x, [&](std::size_t first, std::span<const float> logits) {
      parallel_for(logits.size() / words, threads_,
                   [&](std::size_t i) { body(first + i, logits.subspan(i * words, words)); });
    });
  }

  const model_weights& weights_;
  std::span<const std::vector<std::int32_t>> sequences_;
  unsigned threads_;
  transformer model_;
  std::optional<kv_pool> pool_;
  std::optional<kv_sequence> cache_;
  sublayer_set skipped_;
  std::vector<std::vector<std::vector<float>>> before_; ///< [sequences][places][tokens*hidden]
  std::vector<std::vector<std::vector<likely_token>>> likely_; ///< [sequences][tokens]
};

struct layer_removal_options {
  double remove = 0.2; ///< share of the weights of all layers' matrices
  /// Attention alone may go, where layers may differ; else whole layers.
  bool attention_alone = true;
  std::size_t measured = 6; ///< candidates of each round, those that cost least by the estimate
};

/// A removal, and the divergence of the network without it and all before it.
struct removal_step {
  sublayer_set gone;
  std::uint64_t weights = 0;
  double divergence = 0;
};

/// Removes one layer, or the attention of one, after the other: each time the one with which the
/// divergence grows least for its weights, until the share is reached. The first layer stays where
/// attention may go alone: a network begins with a layer that has it. `removals` are those of
/// measure_removals(): each round measures those candidates that cost least by half the mean square
/// of their changes, together with the changes of what has gone. Returns the steps.
template <class = void>
[[nodiscard]] std::vector<removal_step>
remove_layers(skipping_meter<>& meter, const model_shape& shape,
              std::span<const layer_removals> removals, const layer_removal_options& options,
              const progress_callback& listener = {});

template <class T>
skipping_meter<T>::skipping_meter(const model_weights& weights,
                                  std::span<const std::vector<std::int32_t>> sequences,
                                  unsigned threads)
    : weights_(weights), sequences_(sequences), threads_(threads), model_(weights, threads),
      before_(sequences.size()), likely_(sequences.size()) {
  std::size_t longest = 0;
  for (const auto& tokens : sequences) longest = std::max(longest, tokens.size());
  if (longest == 0) fail(error_code::bad_argument, "calibration text", "no tokens");
  require_known_tokens(weights, sequences);
  pool_.emplace(model_.make_pool(kv_format::f32, longest));
  cache_.emplace(*pool_);
  cache_->extend(longest);
  for (std::size_t i = 0; i < sequences.size(); ++i) {
    before_[i].resize(places());
    std::vector<float> x = model_.embedded(sequences[i]);
    run(i, 0, x, {}, true);
    likely_[i].resize(sequences[i].size());
    for_each_logits(x, [&](std::size_t t, std::span<const float> logits) {
      const Eigen::Map<const Eigen::RowVectorXf> row(logits.data(),
                                                     static_cast<Eigen::Index>(logits.size()));
      Eigen::VectorXd probabilities;
      const model::detail::token_softmax softmax(row, &probabilities);
      std::vector<std::size_t> rows;
      model::detail::add_likely_rows(probabilities, rows);
      for (const std::size_t r : rows)
        likely_[i][t].push_back({static_cast<std::uint32_t>(r),
                                 static_cast<float>(softmax(logits[r])),
                                 static_cast<float>(double{logits[r]} - softmax.log_sum())});
    });
  }
}

template <class T>
void skipping_meter<T>::run(std::size_t sequence, std::size_t first, std::vector<float>& x,
                            const std::function<bool(const sublayer_place&)>& skip, bool keep) {
  for (std::size_t index = first; index < places(); ++index) {
    const auto [layer, part] = place(index);
    if (keep) before_[sequence][index] = x;
    if (!skip || !skip({layer, part})) model_.run_sublayer(layer, part, x, *cache_);
  }
}

template <class T> void skipping_meter<T>::set_skipped(sublayer_set skipped) {
  skipped_ = std::move(skipped);
  for (std::size_t i = 0; i < sequences_.size(); ++i) {
    std::vector<float> x = before_[i][0];
    run(
        i, 0, x, [&](const sublayer_place& p) { return skipped_.contains(p); }, true);
  }
}

template <class T> double skipping_meter<T>::without(const sublayer_set& more) {
  std::size_t first = places(), tokens = 0;
  for (const auto& p : more)
    first = std::min(first, 2 * p.layer + (p.part == sublayer::feed_forward));
  double sum = 0;
  for (std::size_t i = 0; i < sequences_.size(); ++i) {
    if (first == places()) first = places() - 1; // nothing more: the last sublayer again
    std::vector<float> x = before_[i][first];
    run(
        i, first, x,
        [&](const sublayer_place& p) { return skipped_.contains(p) || more.contains(p); }, false);
    std::vector<double> divergences(sequences_[i].size());
    for_each_logits(x, [&](std::size_t t, std::span<const float> logits) {
      const double log_sum = log_sum_exp(logits);
      double mass = 0, divergence = 0;
      for (const auto& l : likely_[i][t]) {
        mass += double{l.p};
        divergence += double{l.p} * (double{l.log_p} - (double{logits[l.token]} - log_sum));
      }
      divergences[t] = divergence / mass; // unlikely tokens are left out, the rest is taken for all
    });
    for (const double d : divergences) sum += d;
    tokens += sequences_[i].size();
  }
  return sum / static_cast<double>(tokens);
}

namespace compression::detail {

struct removal_candidate {
  sublayer_set gone;
  std::uint64_t weights = 0;
  double estimate = 0; ///< what the divergence grows by, for a weight
};

/// Half the mean square of the changes of sublayers together.
[[nodiscard]] inline double estimated(std::span<const layer_removals> removals,
                                      const sublayer_set& set) {
  std::vector<double> sum;
  for (const auto& p : set) {
    const auto& changes = removals[p.layer].of(p.part).changes;
    sum.resize(std::max(sum.size(), changes.size()));
    for (std::size_t i = 0; i < changes.size(); ++i) sum[i] += changes[i];
  }
  double squares = 0;
  for (const double c : sum) squares += c * c / 2;
  return squares / static_cast<double>(std::max<std::size_t>(1, sum.size()));
}

[[nodiscard]] inline std::uint64_t weights_of(const model_shape& shape, const sublayer_set& set) {
  std::uint64_t sum = 0;
  for (const auto& p : set) {
    kept_layer part = whole_layer(shape.layers[p.layer]);
    p.part == sublayer::attention ? part.channels.clear()
                                  : (part.heads.clear(), part.kv_heads.clear());
    sum += kept_weights(shape, shape.layers[p.layer], part);
  }
  return sum;
}

} // namespace compression::detail

template <class>
std::vector<removal_step> remove_layers(skipping_meter<>& meter, const model_shape& shape,
                                        std::span<const layer_removals> removals,
                                        const layer_removal_options& options,
                                        const progress_callback& listener) {
  namespace detail = compression::detail;
  const auto both = [](std::size_t layer) {
    return sublayer_set{{layer, sublayer::attention}, {layer, sublayer::feed_forward}};
  };
  std::uint64_t all = 0, gone_weights = 0;
  std::vector<detail::removal_candidate> candidates;
  for (std::size_t i = 0; i < shape.layers.size(); ++i) {
    all += detail::weights_of(shape, both(i));
    if (i == 0 && options.attention_alone) continue;
    candidates.push_back({both(i)});
    if (options.attention_alone) candidates.push_back({{{i, sublayer::attention}}});
  }
  const auto wanted = static_cast<std::uint64_t>(options.remove * static_cast<double>(all));
  sublayer_set gone = meter.skipped();
  double divergence = 0;
  std::vector<removal_step> steps;
  while (gone_weights < wanted) {
    const double before = detail::estimated(removals, gone);
    std::erase_if(candidates, [&](detail::removal_candidate& c) {
      std::erase_if(c.gone, [&](const sublayer_place& p) { return gone.contains(p); });
      c.weights = detail::weights_of(shape, c.gone);
      if (c.weights == 0) return true;
      sublayer_set with = gone;
      with.insert(c.gone.begin(), c.gone.end());
      c.estimate = (detail::estimated(removals, with) - before) / static_cast<double>(c.weights);
      return false;
    });
    if (candidates.size() <= 1) break; // something stays
    std::stable_sort(candidates.begin(), candidates.end(),
                     [](const auto& a, const auto& b) { return a.estimate < b.estimate; });
    const detail::removal_candidate* best = nullptr;
    double least = 0, least_increase = 0;
    for (std::size_t i = 0; i < std::min(candidates.size(), options.measured); ++i) {
      const auto& c = candidates[i];
      if (listener)
        listener({"remove", "layer " + std::to_string(c.gone.begin()->layer), gone_weights, wanted,
                  "weights"});
      const double value = meter.without(c.gone);
      const double increase = (value - divergence) / static_cast<double>(c.weights);
      if (best == nullptr || increase < least_increase)
        best = &c, least = value, least_increase = increase;
    }
    gone.insert(best->gone.begin(), best->gone.end());
    gone_weights += best->weights;
    divergence = least;
    steps.push_back({best->gone, best->weights, least});
    meter.set_skipped(gone);
  }
  if (listener) listener({"remove", "", wanted, wanted, "weights"});
  return steps;
}

} // namespace edgequant::inline EDGEQUANT_ABI
