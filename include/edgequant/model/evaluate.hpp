// SPDX-License-Identifier: MIT
/// Perplexity of a model on a text, and how far it is from another model.
#pragma once

#include "../core/nearest_rank.hpp"
#include "../core/progress.hpp"
#include "../metric/logits.hpp"
#include "text_chunks.hpp"

#include <optional>

namespace edgequant::inline EDGEQUANT_ABI {

/// How far a model's predictions are from a reference's, over the tokens scored.
struct divergence {
  double kl_mean = 0, kl_p90 = 0, kl_p99 = 0, kl_max = 0; ///< of softmax, in nats
  double top1 = 0; ///< share of tokens before which both find the same word most likely
};

struct text_score {
  std::size_t tokens = 0; ///< scored
  double perplexity = 0;  ///< exp of the mean negative log probability
  std::optional<divergence> from_reference;
};

/// A shorter chunk, BOS counted, is not scored.
inline constexpr std::size_t fewest_chunk_tokens = 8;

struct evaluation_options {
  std::size_t context = 0; ///< tokens of a chunk, BOS included; 0: the model's, at most 512
  std::int32_t bos = 0;    ///< stands before each chunk
  kv_format cache = kv_format::f32;
  progress_callback on_progress = {}; ///< in tokens
};

/// Cuts the text into chunks of context - 1 tokens, runs each behind a BOS from an empty cache, and
/// scores every token after the BOS; a last chunk of fewer than 8 tokens, BOS counted, is dropped.
/// The reference, if there is one, has the same vocabulary. bad_argument for a context below 8 or
/// above either model's, vocabularies of different sizes, and a text too short for one chunk.
[[nodiscard]] text_score score_text(transformer& model, std::span<const std::int32_t> text,
                                    const evaluation_options& options,
                                    transformer* reference = nullptr);

namespace model::detail {

/// Collects what score_text() returns.
class score_collector {
public:
  void add(std::span<const float> logits, std::size_t token) {
    negative_log_ -= log_probability(logits, token);
    ++tokens_;
  }
  void compare(std::span<const float> reference, std::span<const float> logits) {
    divergences_.push_back(kl_divergence(reference, logits));
    same_ += top_token(reference) == top_token(logits);
  }
  [[nodiscard]] text_score result() {
    const auto n = static_cast<double>(tokens_);
    text_score score{tokens_, std::exp(negative_log_ / n), std::nullopt};
    if (divergences_.empty()) return score;
    double sum = 0;
    for (const double d : divergences_) sum += d;
    std::sort(divergences_.begin(), divergences_.end());
    score.from_reference =
        divergence{sum / n, nearest_rank(divergences_, 90), nearest_rank(divergences_, 99),
                   divergences_.back(), static_cast<double>(same_) / n};
    return score;
  }

private:
  std::size_t tokens_ = 0, same_ = 0;
  double negative_log_ = 0;
  std::vector<double> divergences_;
};

/// Runs a chunk and scores its tokens. With a reference both go on sixteen tokens at a time: the
/// logits of so many are kept.
inline void score_chunk(std::span<const std::int32_t> chunk, chunk_runner& model,
                        chunk_runner* reference, std::size_t vocabulary,
                        score_collector& collector) {
  const std::size_t piece = reference != nullptr ? 16 : chunk.size();
  std::vector<float> expected(reference != nullptr ? piece * vocabulary : 0);
  model.clear();
  if (reference != nullptr) reference->clear();
  // The last token predicts nothing that is scored.
  for (std::size_t at = 0; at + 1 < chunk.size(); at += piece) {
    const auto tokens = chunk.subspan(at, std::min(piece, chunk.size() - 1 - at));
    if (reference != nullptr)
      reference->run(tokens, [&](std::size_t i, std::span<const float> logits) {
        std::copy(logits.begin(), logits.end(),
                  expected.begin() + static_cast<std::ptrdiff_t>(i * vocabulary));
      });
    model.run(tokens, [&](std::size_t i, std::span<const float> logits) {
      collector.add(logits, static_cast<std::size_t>(chunk[at + i + 1]));
      if (reference != nullptr)
        collector.compare(std::span(expected).subspan(i * vocabulary, vocabulary), logits);
    });
  }
}

/// The tokens of a chunk, checked against both models.
inline std::size_t chunk_size(const transformer& model, const transformer* reference,
                              std::size_t asked) {
  const auto context_of = [](const transformer& t) { return t.weights().shape().context; };
  const auto refuse = [](const transformer& t, const std::string& problem) {
    fail(error_code::bad_argument, t.weights().file().metadata.place(), problem);
  };
  const std::size_t context = asked != 0 ? asked : std::min<std::size_t>(512, context_of(model));
  if (context < 8) refuse(model, "a context of " + std::to_string(context) + ", at least 8 count");
  for (const auto* t : {&model, reference})
    if (t != nullptr && context > context_of(*t))
      refuse(*t, "a context of " + std::to_string(context) + ", the model's is " +
                     std::to_string(context_of(*t)));
  if (reference != nullptr && reference->weights().vocabulary() != model.weights().vocabulary())
    refuse(*reference, "a vocabulary of " + std::to_string(reference->weights().vocabulary()) +
                           " tokens beside one of " + std::to_string(model.weights().vocabulary()));
  return context;
}

} // namespace model::detail

inline text_score score_text(transformer& model, std::span<const std::int32_t> text,
                             const evaluation_options& options, transformer* reference) {
  const std::size_t context = model::detail::chunk_size(model, reference, options.context);
  chunk_runner runner(model, context, options.cache);
  std::optional<chunk_runner> other;
  if (reference != nullptr) other.emplace(*reference, context, options.cache);
  model::detail::score_collector collector;
  for_each_chunk(text, context, options.bos, [&](auto chunk, std::size_t begin) {
    if (chunk.size() < fewest_chunk_tokens) return;
    if (options.on_progress) options.on_progress({"score", "", begin, text.size(), "tokens"});
    model::detail::score_chunk(chunk, runner, other ? &*other : nullptr,
                               model.weights().vocabulary(), collector);
  });
  if (text.size() < 7)
    fail(error_code::bad_argument, "text",
         counted(text.size(), "token") + ", at least 7 are scored");
  return collector.result();
}

} // namespace edgequant::inline EDGEQUANT_ABI
