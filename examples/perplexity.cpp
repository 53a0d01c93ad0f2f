// SPDX-License-Identifier: MIT
// How well a model predicts a text, and how far quantization moved it from its reference.
#include "command_line.hpp"

#include <edgequant/io/text_file.hpp>
#include <edgequant/model/evaluate.hpp>
#include <edgequant/text/tokenizer.hpp>

#include <nlohmann/json.hpp>

#include <iomanip>
#include <optional>

#include <unistd.h>

namespace eq = edgequant;

namespace {

struct arguments {
  std::string model, text, reference;
  std::size_t context = 0, most_tokens = 0;
  unsigned threads = 0;
  bool json = false;
};

void describe(CLI::App& app, arguments& a) {
  app.description("Perplexity of a GGUF model on a text file; with a reference also KL divergence "
                  "and the share\n"
                  "of tokens on which both agree.");
  app.footer(
      "The text is tokenized once without BOS and cut into chunks of context - 1 tokens; each "
      "runs\n"
      "behind a BOS from an empty cache, and every token after the BOS is scored. A last chunk of\n"
      "fewer than 8 tokens, BOS counted, is dropped.\n\n"
      "Example:\n"
      "  perplexity model-q4_0.gguf story.txt --reference model-f16.gguf\n\n"
      "Exit status: 0, or 1 with one line on stderr.");
  app.add_option("MODEL", a.model, "a GGUF file of architecture llama or qwen2")->required();
  app.add_option("TEXT", a.text, "a text file in UTF-8")->required();
  app.add_option("--context", a.context, "tokens of a chunk; 0: the model's context, at most 512")
      ->capture_default_str();
  app.add_option("--max-tokens", a.most_tokens, "score only the first tokens; 0: all")
      ->capture_default_str();
  app.add_option("--reference", a.reference, "the model to compare with, usually f16");
  app.add_option("--threads", a.threads, "threads to use; 0: all")
      ->capture_default_str()
      ->check(CLI::Range(0, 1024));
  app.add_flag("--json", a.json, "print one JSON object");
}

nlohmann::json to_json(const eq::text_score& score) {
  nlohmann::json result{{"tokens", score.tokens}, {"perplexity", score.perplexity}};
  if (const auto& d = score.from_reference)
    result.update({{"kl_mean", d->kl_mean},
                   {"kl_p90", d->kl_p90},
                   {"kl_p99", d->kl_p99},
                   {"kl_max", d->kl_max},
                   {"top1", d->top1}});
  return result;
}

void print(const eq::text_score& score) {
  std::cout << std::fixed << std::setprecision(5) << "perplexity " << score.perplexity << " on "
            << score.tokens << " tokens\n";
  if (const auto& d = score.from_reference)
    std::cout << "KL divergence (nats): mean " << d->kl_mean << ", p90 " << d->kl_p90 << ", p99 "
              << d->kl_p99 << ", max " << d->kl_max << '\n'
              << std::setprecision(2) << "same most likely token: " << 100 * d->top1 << " %\n";
}

void run(const arguments& a) {
  const eq::model_weights weights(eq::read_model_gguf(a.model));
  const eq::tokenizer words(weights.file().metadata);
  if (!words.bos())
    eq::fail(eq::error_code::bad_file, eq::place_of(a.model), "the vocabulary has no BOS token");
  auto tokens = words.encode(eq::read_text_file(a.text));
  if (a.most_tokens != 0) tokens.resize(std::min(tokens.size(), a.most_tokens));

  eq::transformer model(weights, a.threads);
  std::optional<eq::model_weights> reference_weights;
  std::optional<eq::transformer> reference;
  if (!a.reference.empty()) {
    reference_weights.emplace(eq::read_model_gguf(a.reference));
    reference.emplace(*reference_weights, a.threads);
  }
  eq::progress_bar bar(stderr, isatty(STDERR_FILENO) != 0);
  eq::evaluation_options options{a.context, *words.bos(), eq::kv_format::f32, std::ref(bar)};
  const auto score = eq::score_text(model, tokens, options, reference ? &*reference : nullptr);
  bar.clear();
  if (a.json)
    std::cout << to_json(score).dump(2) << '\n';
  else
    print(score);
}

} // namespace

int main(int argc, char** argv) { return run_command("perplexity", describe, run, argc, argv); }
