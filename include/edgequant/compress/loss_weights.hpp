// SPDX-License-Identifier: MIT
/// How much the loss minds an error at each token of the calibration text, from a backward pass.
#pragma once

#include "../model/gradient_walk.hpp"
#include "../quantizer/gptq_columns.hpp"

#include <map>

namespace edgequant::inline EDGEQUANT_ABI {

/// Of a calibration text, by the names of matrices. The loss is -log p of labels drawn from the
/// model itself, so that half the mean of what an error changes, squared, is KL divergence. Source:
/// Kim et al. 2025 (GuidedQuant), with one group of rows a matrix.
class loss_weights {
public:
  /// One number a token of the text, chunk by chunk, BOS included: the mean over rows of the
  /// squared gradient of what the matrix gives. Empty for a matrix without gradients.
  [[nodiscard]] std::span<const float> of(std::string_view name) const {
    const auto found = tokens_.find(name);
    return found == tokens_.end() ? std::span<const float>{}
                                  : std::span<const float>(found->second);
  }
  /// Of the embedding: sum of g g^T over the gradients g of rows that were looked up, and for a
  /// tied one of w x x^T over what the output matrix reads. [hidden][hidden]
  [[nodiscard]] const Eigen::MatrixXd& embedding_gram() const noexcept { return embedding_gram_; }

private:
  template <class> friend class loss_weight_visitor;
  std::map<std::string, std::vector<float>, std::less<>> tokens_;
  Eigen::MatrixXd embedding_gram_;
};

/// Runs the text through the model and back, chunk by chunk as calibrate() does; one label a token.
template <class = void>
[[nodiscard]] loss_weights measure_loss_weights(const model_weights& weights,
                                                const calibration_text& text, unsigned threads = 0,
                                                const progress_callback& listener = {});

template <class T> class loss_weight_visitor final : public gradient_visitor {
public:
  /// `first_tokens`: of the text, where each sequence begins; `total`: tokens of all.
  loss_weight_visitor(const model_weights& weights, loss_weights& result,
                      std::vector<std::size_t> first_tokens, std::size_t total, unsigned threads)
      : weights_(weights), result_(result), first_tokens_(std::move(first_tokens)), total_(total),
        threads_(threads) {}

  void matrix(std::size_t sequence, const matrix_gradient& g) override {
    auto& list = result_.tokens_[std::string(g.name)];
    list.resize(total_);
    const auto count = static_cast<std::size_t>(g.inputs.rows());
    // Logits come some tokens at a time.
    const bool is_output = g.name == weights_.output().name;
    const std::size_t begin = first_tokens_[sequence] + (is_output ? output_done_[sequence] : 0);
    if (is_output) output_done_[sequence] += count;
    std::vector<float> own(count);
    parallel_for(count, threads_, [&](std::size_t t) {
      own[t] = g.gradients.row(static_cast<Eigen::Index>(t)).squaredNorm();
    });
    for (std::size_t t = 0; t < count; ++t)
      list[begin + (g.tokens.empty() ? t : g.tokens[t])] += own[t];
    if (!is_output || weights_.embedding().name != g.name) return;
    const Eigen::Map<const Eigen::VectorXf> w(own.data(), static_cast<Eigen::Index>(count));
    add_to_gram(result_.embedding_gram_,
                g.inputs.transpose().cast<double>() * w.cast<double>().cwiseSqrt().asDiagonal());
  }
  void lookup(std::size_t, const lookup_gradient& g) override {
    add_to_gram(result_.embedding_gram_, g.gradients.transpose().cast<double>());
  }

  /// Once all texts are through: weights of a mean of 1.
  static void set_means(loss_weights& result) {
    for (auto& [name, list] : result.tokens_) {
      double sum = 0;
      for (const float w : list) sum += double{w};
      const double scale = sum > 0 ? static_cast<double>(list.size()) / sum : 0;
      for (float& w : list) w = static_cast<float>(double{w} * scale);
      if (!(sum > 0)) list.clear(); // the loss says nothing
    }
  }

private:
  const model_weights& weights_;
  loss_weights& result_;
  std::vector<std::size_t> first_tokens_;
  std::size_t total_;
  unsigned threads_;
  std::map<std::size_t, std::size_t> output_done_;
};

template <class>
loss_weights measure_loss_weights(const model_weights& weights, const calibration_text& text,
                                  unsigned threads, const progress_callback& listener) {
  constexpr std::size_t together = 8192; // tokens whose hidden states are in memory, about
  std::vector<std::vector<std::int32_t>> chunks;
  std::size_t total = 0;
  for_each_chunk(text.tokens, chunk_context(weights, text), text.bos, [&](auto chunk, std::size_t) {
    chunks.emplace_back(chunk.begin(), chunk.end());
    total += chunk.size();
  });
  const std::size_t parts = std::max<std::size_t>(1, total / together);
  const std::size_t most_tokens = (total + parts - 1) / parts;
  loss_weights result;
  std::size_t done = 0;
  for (std::size_t begin = 0, end = 0; begin < chunks.size(); begin = end) {
    std::vector<std::size_t> first_tokens;
    std::size_t tokens = 0;
    for (; end < chunks.size() && (end == begin || tokens + chunks[end].size() <= most_tokens);
         ++end) {
      first_tokens.push_back(done + tokens);
      tokens += chunks[end].size();
    }
    done += tokens;
    loss_weight_visitor<void> visitor(weights, result, std::move(first_tokens), total, threads);
    walk_gradients(weights, std::span(chunks).subspan(begin, end - begin),
                   {.seed = begin + 1, .threads = threads}, visitor, listener);
  }
  loss_weight_visitor<void>::set_means(result);
  return result;
}

} // namespace edgequant::inline EDGEQUANT_ABI
