// SPDX-License-Identifier: MIT
/// Perplexity of a model on a text, and how far it is from another model.
#pragma once

#include "../core/progress.hpp"
#include "../io/logit_file.hpp"
#include "../metric/text_score.hpp"
#include "text_chunks.hpp"

#include <optional>

namespace edgequant::inline EDGEQUANT_ABI {

/// Which tokens of a text are scored.
enum class scored_tokens {
  /// As llama-perplexity scores them: chunks of `context` tokens of the text, of which BOS stands
  /// in
  /// place of the first where the model wants one, and the second half of each chunk. What is left
  /// behind the last whole chunk is dropped.
  second_half,
  /// Every token: chunks of context - 1 tokens, each behind a BOS. A last chunk of fewer than 8
  /// tokens, BOS counted, is dropped.
  all,
};

/// A shorter chunk, BOS counted, is not scored.
inline constexpr std::size_t fewest_chunk_tokens = 8;

struct evaluation_options {
  std::size_t context = 0; ///< tokens of a chunk, BOS included; 0: the model's, at most 512
  std::optional<std::int32_t> bos = 0; ///< nothing: the model wants none
  kv_format cache = kv_format::f32;    ///< of the model; a reference's is f32
  progress_callback on_progress = {};  ///< in tokens
  scored_tokens scored = scored_tokens::all;
};

/// Runs the chunks of a text, each from an empty cache. The reference, if there is one, has the
/// same vocabulary. Memory: the logits of sixteen tokens. bad_argument for a context below 8 or
/// above either model's, vocabularies of different sizes, a text too short for one chunk, and
/// scored_tokens::all without a BOS.
[[nodiscard]] text_score score_text(transformer& model, std::span<const std::int32_t> text,
                                    const evaluation_options& options,
                                    transformer* reference = nullptr);

/// The same as scored_tokens::second_half with the text, context and log probabilities of a file.
[[nodiscard]] text_score score_text(transformer& model, logit_file& reference,
                                    const evaluation_options& options);

/// The same as scored_tokens::second_half, and writes the file for the model's log probabilities.
text_score write_logit_file(transformer& model, std::span<const std::int32_t> text,
                            const evaluation_options& options, const std::filesystem::path& path);

namespace model::detail {

/// A chunk, and the first of its tokens whose logits are scored: by the token that follows.
struct scored_chunk {
  std::vector<std::int32_t> tokens;
  std::size_t first = 0;
};

/// The tokens of a chunk, checked against both models.
inline std::size_t chunk_size(const transformer& model, const transformer* reference,
                              std::size_t asked) {
  const auto context_of = [](const transformer& t) { return t.weights().shape().context; };
  const auto refuse = [](const transformer& t, const std::string& problem) {
    fail(error_code::bad_argument, t.weights().file().metadata.place(), problem);
  };
  const std::size_t context = asked != 0 ? asked : std::min<std::size_t>(512, context_of(model));
  if (context < fewest_chunk_tokens)
    refuse(model, "a context of " + std::to_string(context) + ", at least 8 count");
  for (const auto* t : {&model, reference})
    if (t != nullptr && context > context_of(*t))
      refuse(*t, "a context of " + std::to_string(context) + ", the model's is " +
                     std::to_string(context_of(*t)));
  if (reference != nullptr && reference->weights().vocabulary() != model.weights().vocabulary())
    refuse(*reference, "a vocabulary of " + std::to_string(reference->weights().vocabulary()) +
                           " tokens beside one of " + std::to_string(model.weights().vocabulary()));
  return context;
}

/// The text with BOS before it, cut into whole chunks.
[[nodiscard]] inline logit_file_header whole_chunks(std::span<const std::int32_t> text,
                                                    std::size_t context, std::size_t vocabulary,
                                                    std::optional<std::int32_t> bos) {
  logit_file_header header{
      static_cast<std::uint32_t>(context), static_cast<std::uint32_t>(vocabulary), {}};
  if (bos) header.tokens.push_back(*bos);
  header.tokens.insert(header.tokens.end(), text.begin(), text.end());
  header.tokens.resize(header.tokens.size() / context * context);
  if (header.tokens.empty())
    fail(error_code::bad_argument, "text",
         counted(text.size() + (bos ? 1 : 0), "token") + ", fewer than a chunk of " +
             std::to_string(context) + " has");
  return header;
}

[[nodiscard]] inline std::vector<scored_chunk> second_halves(const logit_file_header& header,
                                                             std::optional<std::int32_t> bos) {
  std::vector<scored_chunk> chunks;
  for (std::size_t at = 0; at < header.tokens.size(); at += header.context) {
    const auto from = header.tokens.begin() + static_cast<std::ptrdiff_t>(at);
    chunks.push_back({{from, from + header.context}, header.context / 2});
    if (bos) chunks.back().tokens.front() = *bos;
  }
  return chunks;
}

[[nodiscard]] inline std::vector<scored_chunk> all_tokens(std::span<const std::int32_t> text,
                                                          std::size_t context,
                                                          std::optional<std::int32_t> bos) {
  if (!bos) fail(error_code::bad_argument, "text", "no BOS to stand before the chunks");
  std::vector<scored_chunk> chunks;
  for_each_chunk(text, context, *bos, [&](auto chunk, std::size_t) {
    if (chunk.size() >= fewest_chunk_tokens) chunks.push_back({{chunk.begin(), chunk.end()}, 0});
  });
  if (chunks.empty())
    fail(error_code::bad_argument, "text",
         counted(text.size(), "token") + ", at least 7 are scored");
  return chunks;
}

/// Tokens whose logits are kept at a time, where another model's are needed beside them.
inline constexpr std::size_t piece_tokens = 16;

/// Runs chunks: before(tokens, scored) before a piece of them is run, each(index, logits, next)
/// with the logits of each scored token, `index` counted from the first of the piece.
template <class Before, class Each>
void run_chunks(transformer& model, std::span<const scored_chunk> chunks,
                const evaluation_options& options, std::size_t piece_length, Before before,
                Each each) {
  std::size_t total = 0, done = 0, longest = 0;
  for (const auto& chunk : chunks)
    total += chunk.tokens.size(), longest = std::max(longest, chunk.tokens.size());
  chunk_runner runner(model, longest, options.cache);
  for (const auto& chunk : chunks) {
    const std::span<const std::int32_t> tokens(chunk.tokens);
    runner.clear();
    if (chunk.first != 0) {
      before(tokens.first(chunk.first), false);
      runner.feed(tokens.first(chunk.first));
    }
    // The last token predicts nothing that is scored.
    for (std::size_t at = chunk.first; at + 1 < tokens.size(); at += piece_length) {
      if (options.on_progress) options.on_progress({"score", "", done + at, total, "tokens"});
      const auto piece = tokens.subspan(at, std::min(piece_length, tokens.size() - 1 - at));
      before(piece, true);
      runner.run(piece, [&](std::size_t i, std::span<const float> logits) {
        each(i, logits, static_cast<std::size_t>(tokens[at + i + 1]));
      });
    }
    done += tokens.size();
  }
}

} // namespace model::detail

inline text_score score_text(transformer& model, std::span<const std::int32_t> text,
                             const evaluation_options& options, transformer* reference) {
  const std::size_t context = model::detail::chunk_size(model, reference, options.context);
  const std::size_t vocabulary = model.weights().vocabulary();
  const auto chunks =
      options.scored == scored_tokens::all
          ? model::detail::all_tokens(text, context, options.bos)
          : model::detail::second_halves(
                model::detail::whole_chunks(text, context, vocabulary, options.bos), options.bos);
  score_collector collector;
  if (reference == nullptr) {
    model::detail::run_chunks(
        model, chunks, options, context, [](auto, bool) {},
        [&](std::size_t, auto logits, std::size_t next) { collector.add(logits, next); });
    return collector.result();
  }
  chunk_runner other(*reference, context, kv_format::f32);
  std::vector<float> expected(model::detail::piece_tokens * vocabulary);
  std::size_t left = 0, index = 0; // tokens of the chunk that are to come; chunks begun
  const auto before = [&](std::span<const std::int32_t> tokens, bool scored) {
    if (left == 0) {
      other.clear();
      left = chunks[index++].tokens.size() - 1;
    }
    left -= tokens.size();
    if (!scored) return other.feed(tokens);
    other.run(tokens, [&](std::size_t i, std::span<const float> logits) {
      std::copy(logits.begin(), logits.end(),
                expected.begin() + static_cast<std::ptrdiff_t>(i * vocabulary));
    });
  };
  model::detail::run_chunks(model, chunks, options, model::detail::piece_tokens, before,
                            [&](std::size_t i, auto logits, std::size_t next) {
                              const auto row =
                                  std::span(expected).subspan(i * vocabulary, vocabulary);
                              collector.add({row, log_sum_exp(row)}, logits, next);
                            });
  return collector.result();
}

inline text_score score_text(transformer& model, logit_file& reference,
                             const evaluation_options& options) {
  const auto& header = reference.header();
  (void)model::detail::chunk_size(model, nullptr, header.context);
  if (header.vocabulary != model.weights().vocabulary())
    fail(error_code::bad_argument, reference.place(),
         "a vocabulary of " + std::to_string(header.vocabulary) + " tokens beside one of " +
             std::to_string(model.weights().vocabulary()));
  score_collector collector;
  std::size_t row = 0;
  model::detail::run_chunks(
      model, model::detail::second_halves(header, options.bos), options, header.context,
      [](auto, bool) {},
      [&](std::size_t, auto logits, std::size_t next) {
        collector.add(reference.row(row++), logits, next);
      });
  return collector.result();
}

inline text_score write_logit_file(transformer& model, std::span<const std::int32_t> text,
                                   const evaluation_options& options,
                                   const std::filesystem::path& path) {
  const std::size_t context = model::detail::chunk_size(model, nullptr, options.context);
  const auto header =
      model::detail::whole_chunks(text, context, model.weights().vocabulary(), options.bos);
  logit_file_writer writer(path, header);
  score_collector collector;
  model::detail::run_chunks(
      model, model::detail::second_halves(header, options.bos), options, context, [](auto, bool) {},
      [&](std::size_t, auto logits, std::size_t next) {
        collector.add(logits, next);
        writer.write(logits);
      });
  writer.finish();
  return collector.result();
}

} // namespace edgequant::inline EDGEQUANT_ABI
