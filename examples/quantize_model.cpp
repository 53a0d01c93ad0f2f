// SPDX-License-Identifier: MIT
// The main job: a model file or checkpoint in, a smaller GGUF out.
#include "command_line.hpp"

#include <edgequant/compress/quantize_model.hpp>
#include <edgequant/model/open_model.hpp>

#include <unistd.h>

namespace eq = edgequant;

namespace {

struct arguments {
  std::string input, output, format = "q4_0", scale = "mse", report;
  std::string method = "rtn", calibration, resume;
  std::string budget, candidates, sensitivity = "fisher", plan, plan_out;
  std::size_t calibration_tokens = 16384;
  std::string tune;
  double tune_minutes = 0;
  std::size_t tune_steps = 64;
  std::vector<std::string> keep;
  std::string widen = "auto";
  unsigned threads = 0;
  bool json = false, dry_run = false;
};

void describe(CLI::App& app, arguments& a) {
  app.description(
      "Quantizes a model to 8 bits a weight or fewer and writes a GGUF that llama.cpp opens.\n"
      "IN is a GGUF, a safetensors file, or a folder with safetensors (sharded too). With a\n"
      "Llama config.json beside it, safetensors become a complete llama model with its\n"
      "vocabulary from tokenizer.model; otherwise tensors keep their names.\n");
  app.footer(
      "Norms and other 1-D tensors stay f32. Below 8 bits a weight the embedding and output "
      "matrices\n"
      "become q8_0, or q6_K beside formats of super-blocks. A matrix whose rows do not fit a "
      "format\n"
      "gets one of blocks of 32, or f16, with a note. --keep changes that.\n\n"
      "Examples:\n"
      "  quantize_model Llama-3.2-1B/ small.gguf\n"
      "  quantize_model model-f16.gguf model-q8.gguf --format q8_0\n"
      "  quantize_model model-f16.gguf best.gguf --calibration text.txt --method gptq --budget "
      "5.0bpw\n"
      "  quantize_model model-f16.gguf best.gguf --calibration text.txt --method gptq --budget "
      "4.0bpw \\\n"
      "    --tune text.txt --tune-minutes 20\n"
      "  quantize_model model-f16.gguf mixed.gguf --keep 'ffn_down=q8_0' --keep "
      "'blk\\.0\\.=f16'\n\n"
      "Exit status: 0, or 1 with one line on stderr and no output file.");
  const CLI::Validator given( // an empty variable of a script is a mistake, not a requirement
      [](const std::string& text) { return std::string(text.empty() ? "is empty" : ""); }, "");
  app.add_option("IN", a.input, "GGUF, safetensors file, or folder")->required();
  app.add_option("OUT", a.output, "the GGUF to write; replaced only when the new one is complete")
      ->required();
  app.add_option("--format", a.format,
                 "format of the matrices: " + eq::writable_formats(", ") +
                     "; or one of llama.cpp's mixtures: " + eq::recipe_names(", "))
      ->capture_default_str();
  app.add_option("--scale", a.scale,
                 "how a group's scale is chosen: mse (least squared error), absmax,\n"
                 "signed_max, ggml (llama.cpp's bytes), percentile[:P]. All but mse and ggml make "
                 "zeros of\n"
                 "groups whose scale is below the least f16, and a note says so")
      ->capture_default_str();
  app.add_option("--keep", a.keep,
                 "REGEX=FORMAT: another format for tensors whose name has a match;\n"
                 "may be repeated, the last match wins")
      ->take_all()
      ->allow_extra_args(false);
  app.add_option(
         "--method", a.method,
         "how the layers' matrices are rounded: rtn (each weight to the nearest code), gptq\n"
         "(weights make up for each other's errors on the calibration text), awq (columns\n"
         "with large inputs are scaled up first), or awq+gptq")
      ->capture_default_str()
      ->check(CLI::IsMember({"rtn", "gptq", "awq", "awq+gptq"}));
  app.add_option(
         "--calibration", a.calibration,
         "a text like those the model will see; with rtn it says how much each column counts")
      ->check(given);
  app.add_option("--calibration-tokens", a.calibration_tokens, "tokens of it, from its beginning")
      ->capture_default_str()
      ->check(CLI::Range(1, 1 << 26));
  auto* budget =
      app.add_option(
             "--budget", a.budget,
             "the best formats for a file of at most this size, such as 3.2MiB, or these bits\n"
             "a weight, such as 5.0bpw; --keep pins what it names. The plan is measured beside "
             "the\n"
             "best uniform format of at most its size, and the better one is written")
          ->check(given);
  app.add_option(
         "--candidates", a.candidates,
         "the formats that a budget chooses from, such as q4_0,q5_0,q8_0; without it those\n"
         "of 2 to 8 bits that fit each matrix")
      ->needs(budget);
  app.add_option(
         "--sensitivity", a.sensitivity,
         "what a budget minimises: fisher (divergence of the model to second order, from\n"
         "gradients on the calibration text), kld (divergence measured tensor by tensor: slow),\n"
         "or weight (error of the weights; needs no text)")
      ->needs(budget)
      ->capture_default_str()
      ->check(CLI::IsMember({"fisher", "kld", "weight"}));
  app.add_option(
         "--widen", a.widen,
         "a larger hidden size, by zeros and with the same logits, so that super-blocks of 256\n"
         "fit the rows of models with hidden sizes such as 896 or 960: this size, off, or auto:\n"
         "by up to 15 %, where the file becomes smaller or a budget is below 4.5 bits a weight")
      ->capture_default_str();
  auto* tune =
      app.add_option(
             "--tune", a.tune,
             "a text to tune on after encoding: scales, norms and single codes follow the gradient "
             "of\n"
             "the KL divergence from the original, and the best on the text's last tokens is "
             "kept.\n"
             "A step of 135 million weights takes half a minute on two cores")
          ->check(given);
  auto* minutes = app.add_option("--tune-minutes", a.tune_minutes,
                                 "tune for about so long, in place of a number of steps")
                      ->needs(tune)
                      ->check(CLI::Range(0.1, 1e5));
  app.add_option("--tune-steps", a.tune_steps,
                 "of 2,048 tokens each; the same steps give the same bytes on any machine")
      ->needs(tune)
      ->excludes(minutes)
      ->capture_default_str()
      ->check(CLI::Range(1, 1 << 20));
  app.add_option("--plan-out", a.plan_out, "write the plan as JSON: formats, candidates, errors")
      ->needs(budget)
      ->check(given);
  app.add_option("--plan", a.plan, "take the formats from such a file; --keep is stronger")
      ->excludes(budget)
      ->check(given);
  app.add_option("--resume", a.resume,
                 "a folder for finished tensors and measured divergences: an interrupted run goes\n"
                 "on from there (rtn, which measures nothing, begins again, and so does tuning)")
      ->check(given);
  app.add_option("--threads", a.threads, "threads to use; 0: all")
      ->capture_default_str()
      ->check(CLI::Range(0, 1024));
  app.add_option("--report", a.report,
                 "write the report to this file: a page to look at where it ends in .html, a\n"
                 "single file that opens offline; else JSON")
      ->check(given);
  app.add_flag("--json", a.json, "print the report as JSON instead of a table");
  app.add_flag("--dry-run", a.dry_run,
               "check the input and print what would be done; write nothing");
}

std::vector<eq::format> candidates_of(const std::string& list) {
  std::vector<eq::format> formats;
  for (const auto& name : CLI::detail::split(list, ',')) formats.push_back(eq::parse_format(name));
  return formats;
}

eq::quantize_model_options options_of(const arguments& a) {
  eq::quantize_model_options o;
  o.widen = eq::parse_widening(a.widen);
  o.mixture = eq::find_recipe(a.format);
  if (o.mixture == nullptr) o.type = eq::parse_format(a.format);
  o.scale = eq::parse_scale(a.scale);
  for (const auto& rule : a.keep) o.keep.push_back(eq::parse_keep(rule));
  o.method = eq::parse_method(a.method);
  o.calibration = {a.calibration, a.calibration_tokens};
  if (!a.budget.empty()) o.budget = eq::parse_budget(a.budget);
  if (!a.candidates.empty()) o.candidates = candidates_of(a.candidates);
  o.sensitivity = eq::parse_measure(a.sensitivity);
  o.plan = a.plan;
  o.plan_output = a.plan_out;
  o.tune = a.tune;
  o.tuning.minutes = a.tune_minutes;
  o.tuning.steps = a.tune_minutes > 0 ? 0 : a.tune_steps;
  o.report = a.report;
  o.resume = a.resume;
  o.threads = a.threads;
  o.dry_run = a.dry_run;
  return o;
}

void run(const arguments& a) {
  const auto options = options_of(a);
  eq::progress_bar bar(stderr, isatty(STDERR_FILENO) != 0);
  const auto source = eq::open_model(a.input);
  const auto result = eq::quantize_model(source, a.output, options, std::ref(bar));
  bar.clear();
  if (a.json)
    std::cout << eq::to_json(result.report).dump(2) << '\n';
  else
    eq::print_table(std::cout, result.report);
}

} // namespace

int main(int argc, char** argv) { return run_command("quantize_model", describe, run, argc, argv); }
