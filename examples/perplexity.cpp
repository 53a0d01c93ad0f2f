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
  std::string model, text, reference, base, write_base, cache = "f32";
  std::size_t context = 0, most_tokens = 0;
  unsigned threads = 0;
  bool all_tokens = false, json = false;
};

void describe(CLI::App& app, arguments& a) {
  app.description("Perplexity of a GGUF model on a text file; with a reference also KL divergence, "
                  "the share of tokens\n"
                  "on which both agree, and the change of probabilities. Figures come with their "
                  "standard error.");
  app.footer(
      "Tokens are counted as llama-perplexity counts them: the text is cut into chunks of "
      "--context "
      "tokens,\n"
      "the first of each gives its place to BOS where the model wants one, and the second half of "
      "each is\n"
      "scored. With --all-tokens chunks of context - 1 tokens run behind a BOS, and every token is "
      "scored.\n\n"
      "Examples:\n"
      "  perplexity model-q4_0.gguf wiki.txt --reference model-f16.gguf\n"
      "  perplexity model-f16.gguf wiki.txt --write-base base.kld   # once, then for each file:\n"
      "  perplexity model-q4_0.gguf --base base.kld\n\n"
      "Exit status: 0, or 1 with one line on stderr.");
  app.add_option("MODEL", a.model, "a GGUF file")->required();
  auto* text = app.add_option("TEXT", a.text, "a text file in UTF-8");
  auto* context = app.add_option("--context", a.context,
                                 "tokens of a chunk; 0: the model's context, at most 512")
                      ->capture_default_str();
  auto* most = app.add_option("--max-tokens", a.most_tokens, "take only the first tokens; 0: all")
                   ->capture_default_str();
  auto* reference =
      app.add_option("--reference", a.reference, "the model to compare with, usually f16");
  auto* all = app.add_flag("--all-tokens", a.all_tokens, "score every token behind a BOS");
  auto* base = app.add_option("--base", a.base,
                              "compare with the text and log probabilities of a file that "
                              "--write-base or\nllama-perplexity --kl-divergence-base made");
  app.add_option("--write-base", a.write_base, "write such a file")
      ->excludes(reference)
      ->excludes(all)
      ->excludes(base);
  base->excludes(text)->excludes(context)->excludes(most)->excludes(reference)->excludes(all);
  app.add_option("--kv", a.cache, "how the model keeps keys and values: f32, f16, int8 or int4")
      ->capture_default_str()
      ->check(CLI::IsMember({"f32", "f16", "int8", "int4"}));
  app.add_option("--threads", a.threads, "threads to use; 0: all")
      ->capture_default_str()
      ->check(CLI::Range(0, 1024));
  app.add_flag("--json", a.json, "print one JSON object");
}

nlohmann::json to_json(const eq::text_score& score) {
  nlohmann::json result{{"tokens", score.tokens},
                        {"perplexity", score.perplexity},
                        {"perplexity_error", score.perplexity_error}};
  if (const auto& d = score.from_reference)
    result.update({{"kl_mean", d->kl_mean},
                   {"kl_error", d->kl_error},
                   {"kl_median", d->kl_median},
                   {"kl_p90", d->kl_p90},
                   {"kl_p99", d->kl_p99},
                   {"kl_p999", d->kl_p999},
                   {"kl_max", d->kl_max},
                   {"top1", d->top1},
                   {"top1_error", d->top1_error},
                   {"rms_probability_change", d->rms_probability.value},
                   {"rms_probability_change_error", d->rms_probability.error},
                   {"mean_probability_change", d->mean_probability.value},
                   {"mean_probability_change_error", d->mean_probability.error},
                   {"reference_perplexity", d->perplexity},
                   {"log_perplexity_ratio", d->log_ratio.value},
                   {"log_perplexity_ratio_error", d->log_ratio.error}});
  return result;
}

void print(const eq::text_score& score) {
  std::cout << std::fixed << std::setprecision(5) << "perplexity " << score.perplexity << " +- "
            << score.perplexity_error << " on " << score.tokens << " tokens\n";
  if (const auto& d = score.from_reference)
    std::cout << "KL divergence (nats): mean " << d->kl_mean << " +- " << d->kl_error << ", median "
              << d->kl_median << ", p90 " << d->kl_p90 << ", p99 " << d->kl_p99 << ", p99.9 "
              << d->kl_p999 << ", max " << d->kl_max << '\n'
              << "ln of the ratio of perplexities: " << d->log_ratio.value << " +- "
              << d->log_ratio.error << '\n'
              << std::setprecision(2) << "same most likely token: " << 100 * d->top1 << " +- "
              << 100 * d->top1_error << " %\n"
              << "change of probabilities: RMS " << 100 * d->rms_probability.value << " +- "
              << 100 * d->rms_probability.error << " %, mean " << 100 * d->mean_probability.value
              << " +- " << 100 * d->mean_probability.error << " %\n";
}

/// Runs the models that the arguments name.
eq::text_score score(const arguments& a, const eq::progress_callback& on_progress) {
  const eq::model_weights weights(eq::read_model_gguf(a.model));
  const eq::tokenizer words(weights.file().metadata);
  eq::transformer model(weights, a.threads);
  eq::evaluation_options options;
  options.context = a.context, options.on_progress = on_progress;
  options.scored = a.all_tokens ? eq::scored_tokens::all : eq::scored_tokens::second_half;
  options.cache = eq::parse_kv_format(a.cache);
  options.bos = a.all_tokens || words.add_bos() ? words.bos() : std::nullopt;
  if (!a.base.empty()) {
    eq::logit_file base(a.base);
    return eq::score_text(model, base, options);
  }
  if (a.text.empty()) eq::fail(eq::error_code::bad_argument, "TEXT", "give a text, or --base");
  auto tokens = words.encode(eq::read_text_file(a.text));
  if (a.most_tokens != 0) tokens.resize(std::min(tokens.size(), a.most_tokens));
  if (!a.write_base.empty()) return eq::write_logit_file(model, tokens, options, a.write_base);
  if (a.reference.empty()) return eq::score_text(model, tokens, options);
  const eq::model_weights reference_weights(eq::read_model_gguf(a.reference));
  eq::transformer reference(reference_weights, a.threads);
  return eq::score_text(model, tokens, options, &reference);
}

void run(const arguments& a) {
  eq::progress_bar bar(stderr, isatty(STDERR_FILENO) != 0);
  const auto result = score(a, std::ref(bar));
  bar.clear();
  if (a.json)
    std::cout << to_json(result).dump(2) << '\n';
  else
    print(result);
}

} // namespace

int main(int argc, char** argv) { return run_command("perplexity", describe, run, argc, argv); }
