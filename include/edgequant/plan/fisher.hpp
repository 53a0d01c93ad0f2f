// SPDX-License-Identifier: MIT
/// The divergence of a model with quantized matrices, to second order, from one backward pass.
/// KL(original || changed) of a sequence is about half the mean of <dW, G>^2, where G is the
/// gradient of log p(labels) for labels drawn from the original: the mean of G G^T is its Fisher
/// information. The inner product is taken over the whole sequence before it is squared: what the
/// errors of two tokens have in common counts. Source: Amari 1998, section 2; Kunstner et al. 2019,
/// for the labels.
#pragma once

#include "../metric/text_score.hpp"
#include "../model/gradient_walk.hpp"
#include "sensitivity.hpp"

#include <map>

namespace edgequant::inline EDGEQUANT_ABI {

struct fisher_options {
  std::size_t sequences = 16; ///< of the text's beginning
  std::size_t tokens = 256;   ///< of a sequence
  std::size_t samples = 3;    ///< of labels, a sequence
  /// Matrices will be encoded by GPTQ with loss_weights: each is charged with the share of the
  /// error that this leaves, by the ratio of what each column adds once all later ones have adapted
  /// to it to what it adds when they do not.
  bool adapted = false;
  /// A matrix stays as it is in the format that it has; false: it is rounded again, as AWQ does.
  bool keeps_codes = true;
  unsigned threads = 0;
};

/// What quantizing costs, by tensor and format, and together.
class fisher_estimate {
public:
  /// <W - Q, G> of a sequence and its labels, over the root of its tokens: half the mean square is
  /// nats a token. [samples]
  using changes = std::vector<double>;

  /// bad_argument for a tensor or format that was not estimated.
  [[nodiscard]] const changes& of(const std::string& name, format type) const;
  /// Of the model with some tensors in these formats, the interactions of their errors included.
  /// Tensors that were not estimated count as exact.
  [[nodiscard]] estimate of(const std::map<std::string, format, std::less<>>& formats) const;
  /// In nats a token, with its standard error.
  [[nodiscard]] static estimate of(const changes& c);
  [[nodiscard]] bool is_empty() const noexcept { return all_.empty(); }

  void put(const std::string& name, format type, changes c) { all_[name][type] = std::move(c); }

private:
  std::map<std::string, std::map<format, changes>, std::less<>> all_;
};

/// Sensitivities of the matrices of all layers, of the embedding and of the output matrix, with the
/// divergence of every candidate; matrices are rounded by the mse rule. A tied embedding pays for
/// both of its uses. Rows without gradients (words that are neither likely nor in the text, experts
/// that no token comes to) are not rounded: weight errors are of the others. The divergence of a
/// candidate is drawn towards what the tensor's other candidates say of it, as far as their
/// differences are within the noise of the samples. `products`, if not null, receives the inner
/// products. Errors of analyze_sensitivity(); bad_argument for a text without tokens. Memory: the
/// candidates of one sublayer, and what walk_gradients() says.
template <class = void>
[[nodiscard]] std::vector<layer_sensitivity>
analyze_by_gradients(const model_weights& weights, const calibration_text& text,
                     std::span<const format> candidates, const fisher_options& options,
                     fisher_estimate* products = nullptr, const progress_callback& listener = {});

inline const fisher_estimate::changes& fisher_estimate::of(const std::string& name,
                                                           format type) const {
  const auto found = all_.find(name);
  if (found != all_.end())
    if (const auto c = found->second.find(type); c != found->second.end()) return c->second;
  fail(error_code::bad_argument, name,
       "its divergence in " + std::string(name_of(type)) + " was not estimated");
}

inline estimate fisher_estimate::of(const changes& c) {
  const double count = static_cast<double>(std::max<std::size_t>(1, c.size()));
  double mean = 0, square = 0;
  for (const double x : c) mean += x * x / 2 / count;
  for (const double x : c) square += (x * x / 2 - mean) * (x * x / 2 - mean) / count;
  return {mean, std::sqrt(square / std::max(1.0, count - 1))};
}

inline estimate
fisher_estimate::of(const std::map<std::string, format, std::less<>>& formats) const {
  changes sum;
  for (const auto& [name, type] : formats) {
    const auto found = all_.find(name);
    if (found == all_.end()) continue;
    const auto c = found->second.find(type);
    if (c == found->second.end()) continue;
    sum.resize(c->second.size());
    for (std::size_t i = 0; i < sum.size(); ++i) sum[i] += c->second[i];
  }
  return of(sum);
}

} // namespace edgequant::inline EDGEQUANT_ABI

// The body of the analysis.
#include "fisher_visitor.hpp"
