// SPDX-License-Identifier: MIT
/// The log probability of labels: of the tokens of a text, or of tokens that the model itself
/// draws.
#pragma once

#include "../system/parallel_for.hpp"
#include "logit_loss.hpp"

#include <cstdint>
#include <random>
#include <span>

namespace edgequant::inline EDGEQUANT_ABI {

/// What follows each token, as log p(label) has it.
enum class gradient_labels : std::uint8_t {
  sampled, ///< drawn from what the model itself predicts: gradients of its own distribution
  text     ///< the token that follows in the text; the last has none
};

struct gradient_options {
  gradient_labels labels = gradient_labels::sampled;
  std::size_t samples = 1; ///< of labels, for each sequence; of the text's own there is one
  std::uint64_t seed = 1;
  unsigned threads = 0;
};

/// log p(label) of every token. Of the vocabulary, likely rows and labels have gradients.
template <class = void> class label_loss final : public logit_loss {
public:
  /// The sequences must outlive it.
  label_loss(std::span<const std::vector<std::int32_t>> sequences, const gradient_options& options)
      : sequences_(sequences), options_(options) {}

  [[nodiscard]] std::size_t samples() const noexcept override { return options_.samples; }
  [[nodiscard]] std::vector<std::size_t> set_gradients(std::size_t sequence, std::size_t first,
                                                       const matrix_f& logits,
                                                       matrix_f& gradient) override;

private:
  /// Of the samples; none for the last token of a text.
  [[nodiscard]] std::vector<std::size_t> labels_of(std::size_t sequence, std::size_t token,
                                                   const Eigen::VectorXd& p) const;

  std::span<const std::vector<std::int32_t>> sequences_;
  gradient_options options_;
};

template <class T>
std::vector<std::size_t> label_loss<T>::labels_of(std::size_t sequence, std::size_t token,
                                                  const Eigen::VectorXd& p) const {
  if (options_.labels == gradient_labels::text) {
    const auto& text = sequences_[sequence];
    if (token + 1 == text.size()) return {};
    return {static_cast<std::size_t>(text[token + 1])};
  }
  const auto words = static_cast<std::size_t>(p.size());
  std::vector<std::size_t> labels;
  std::seed_seq seeds{options_.seed, std::uint64_t{sequence}, std::uint64_t{token}};
  std::mt19937_64 random(seeds);
  for (std::size_t s = 0; s < options_.samples; ++s) {
    double left = static_cast<double>(random() >> 11) * 0x1p-53;
    std::size_t label = 0;
    for (; label + 1 < words; ++label) {
      const double own = p[static_cast<Eigen::Index>(label)];
      if (left < own) break;
      left -= own;
    }
    labels.push_back(label);
  }
  return labels;
}

/// With respect to a logit: 1 for the label, less the softmax.
template <class T>
std::vector<std::size_t> label_loss<T>::set_gradients(std::size_t sequence, std::size_t first,
                                                      const matrix_f& logits, matrix_f& gradient) {
  struct token_labels {
    model::detail::token_softmax softmax;
    std::vector<std::size_t> labels, rows;
  };
  const auto count = static_cast<std::size_t>(logits.rows());
  std::vector<token_labels> tokens(count);
  parallel_for(count, options_.threads, [&](std::size_t i) {
    const auto row = logits.row(static_cast<Eigen::Index>(i));
    Eigen::VectorXd p;
    tokens[i].softmax = model::detail::token_softmax(row, &p);
    tokens[i].labels = tokens[i].rows = labels_of(sequence, first + i, p);
    model::detail::add_likely_rows(p, tokens[i].rows);
  });
  const auto words = static_cast<std::size_t>(logits.cols());
  std::vector<std::size_t> rows = model::detail::rows_of_tokens(words, tokens);
  gradient.resize(static_cast<Eigen::Index>(options_.samples * count),
                  static_cast<Eigen::Index>(rows.size()));
  parallel_for(count, options_.threads, [&](std::size_t i) {
    const Eigen::ArrayXd probabilities =
        tokens[i].softmax.of(logits.row(static_cast<Eigen::Index>(i)), rows);
    const auto& labels = tokens[i].labels;
    for (std::size_t k = 0; k < rows.size(); ++k) {
      const double p = probabilities[static_cast<Eigen::Index>(k)];
      for (std::size_t s = 0; s < options_.samples; ++s) {
        const double g = labels.empty() ? 0 : (rows[k] == labels[s] ? 1 : 0) - p;
        gradient(static_cast<Eigen::Index>(s * count + i), static_cast<Eigen::Index>(k)) =
            static_cast<float>(g);
      }
    }
  });
  return rows;
}

} // namespace edgequant::inline EDGEQUANT_ABI
