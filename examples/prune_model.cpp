// SPDX-License-Identifier: MIT
// A smaller network: layers, heads or channels removed, what stays solved anew and healed.
#include "command_line.hpp"

#include <edgequant/compress/prune_model.hpp>
#include <edgequant/model/open_model.hpp>

#include <unistd.h>

namespace eq = edgequant;

namespace {

struct arguments {
  std::string input, output, remove = "20%", what = "all", calibration, format = "f16", heal;
  std::size_t calibration_tokens = 8192, heal_steps = 0;
  double heal_minutes = 10, heal_rate = 2e-4;
  bool uniform = false, no_refit = false, json = false, dry_run = false;
  unsigned threads = 0;
};

void describe(CLI::App& app, arguments& a) {
  app.description(
      "Removes layers, heads and feed-forward channels of a model and writes a smaller GGUF of "
      "the\n"
      "same kind, which is faster in every engine. What to remove is chosen on a text, by what it\n"
      "adds to the KL divergence from the original; the matrices that stay are solved anew by "
      "least\n"
      "squares; with --heal the network is then trained towards the original's predictions.\n");
  app.footer(
      "Layers of a llama that differ in size become architecture deci, which llama.cpp runs; with\n"
      "--uniform, and in other architectures, all layers keep one size.\n\n"
      "Examples:\n"
      "  prune_model model-f16.gguf small.gguf --calibration text.txt\n"
      "  prune_model model-f16.gguf small.gguf --remove 33% --what layers --calibration text.txt "
      "\\\n"
      "    --heal text.txt --heal-minutes 60\n"
      "  quantize_model small.gguf small-q4.gguf --method gptq --calibration text.txt\n\n"
      "Exit status: 0, or 1 with one line on stderr and no output file.");
  app.add_option("IN", a.input, "GGUF, safetensors file, or folder")->required();
  app.add_option("OUT", a.output, "the GGUF to write; replaced only when the new one is complete")
      ->required();
  app.add_option("--remove", a.remove, "share of the weights of all layers' matrices, as 20%")
      ->capture_default_str();
  app.add_option("--what", a.what,
                 "layers (whole ones, or their attention), heads (with their keys and values, or\n"
                 "queries alone), channels (of the feed-forward network), or all: heads, channels\n"
                 "and what is left of layers, by the least sum of estimated losses")
      ->capture_default_str()
      ->check(CLI::IsMember({"layers", "heads", "channels", "all"}));
  app.add_option("--calibration", a.calibration, "a text like those the model will see")
      ->required();
  app.add_option("--calibration-tokens", a.calibration_tokens,
                 "tokens of it, from its beginning; those behind them judge")
      ->capture_default_str()
      ->check(CLI::Range(256, 1 << 26));
  auto* heal = app.add_option("--heal", a.heal,
                              "a text to train on, towards the original's predictions of it; what\n"
                              "was best on its last tokens is kept");
  auto* minutes = app.add_option("--heal-minutes", a.heal_minutes, "train for about so long")
                      ->needs(heal)
                      ->capture_default_str()
                      ->check(CLI::Range(0.1, 1e5));
  app.add_option("--heal-steps", a.heal_steps,
                 "in place of minutes: steps of 1,024 tokens; the same bytes on any machine")
      ->needs(heal)
      ->excludes(minutes)
      ->check(CLI::Range(1, 1 << 20));
  app.add_option("--heal-rate", a.heal_rate, "the largest learning rate")
      ->needs(heal)
      ->capture_default_str()
      ->check(CLI::Range(1e-7, 0.1));
  app.add_flag("--uniform", a.uniform, "all layers keep one size, and the model its architecture");
  app.add_flag("--no-refit", a.no_refit, "cut alone");
  app.add_option("--format", a.format, "format of the matrices, such as f16, bf16 or f32")
      ->capture_default_str();
  app.add_option("--threads", a.threads, "threads to use; 0: all")
      ->capture_default_str()
      ->check(CLI::Range(0, 1024));
  app.add_flag("--json", a.json, "print the result as JSON");
  app.add_flag("--dry-run", a.dry_run, "choose and measure; write nothing");
}

double share_of(std::string text) {
  double unit = 1;
  if (!text.empty() && text.back() == '%') {
    text.pop_back();
    unit = 100;
  }
  const auto value = eq::read_number(text);
  if (!value || !(*value > 0 && *value < unit))
    eq::fail(eq::error_code::bad_argument, "--remove",
             "expected a share above 0% and below 100%, such as 20%");
  return *value / unit;
}

void run(const arguments& a) {
  eq::prune_options o;
  o.remove = share_of(a.remove);
  o.what = eq::parse_prune_target(a.what);
  o.calibration.text = a.calibration;
  o.calibration.tokens = a.calibration_tokens;
  o.heal = a.heal;
  o.healing.steps = a.heal_steps;
  o.healing.minutes = a.heal_steps != 0 ? 0 : a.heal_minutes;
  o.healing.learning_rate = a.heal_rate;
  o.uniform = a.uniform;
  o.refit = !a.no_refit;
  o.type = eq::parse_format(a.format);
  o.threads = a.threads;
  o.dry_run = a.dry_run;
  eq::progress_bar bar(stderr, isatty(STDERR_FILENO) != 0);
  const auto result = eq::prune_model(eq::open_model(a.input), a.output, o, std::ref(bar));
  bar.clear();
  if (a.json)
    std::cout << eq::to_json(result).dump(2) << '\n';
  else
    eq::print_pruning(std::cout, result);
}

} // namespace

int main(int argc, char** argv) { return run_command("prune_model", describe, run, argc, argv); }
