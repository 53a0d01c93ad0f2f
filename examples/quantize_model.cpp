// SPDX-License-Identifier: MIT
// The main job: a model file or checkpoint in, a smaller GGUF out.
#include "command_line.hpp"

#include <edgequant/compress/calibrated_model.hpp>
#include <edgequant/model/open_model.hpp>
#include <edgequant/report/html_report.hpp>
#include <edgequant/report/plan_json.hpp>

#include <optional>
#include <span>

#include <unistd.h>

namespace eq = edgequant;

namespace {

struct arguments {
  std::string input, output, format = "q4_0", scale = "mse", report;
  std::string method = "rtn", calibration, resume;
  std::string budget, candidates = "q4_0,q5_0,q8_0", sensitivity = "output", plan, plan_out;
  std::size_t calibration_tokens = 16384;
  std::vector<std::string> keep;
  unsigned threads = 0;
  bool json = false, dry_run = false;
};

void describe(CLI::App& app, arguments& a) {
  app.description(
      "Quantizes a model to INT8, INT5 or INT4 and writes a GGUF that llama.cpp opens.\n"
      "IN is a GGUF, a safetensors file, or a folder with safetensors (sharded too). With a\n"
      "Llama config.json beside it, safetensors become a complete llama model with its\n"
      "vocabulary from tokenizer.model; otherwise tensors keep their names.\n");
  app.footer(
      "Norms and other 1-D tensors stay f32; with q4_0 and q5_0 the embedding and output matrices\n"
      "become q8_0; a matrix whose rows are no multiple of 32 becomes f16. --keep changes that.\n\n"
      "Examples:\n"
      "  quantize_model Llama-3.2-1B/ small.gguf\n"
      "  quantize_model model-f16.gguf model-q8.gguf --format q8_0\n"
      "  quantize_model model-f16.gguf best.gguf --calibration text.txt --method gptq --budget "
      "5.0bpw\n"
      "  quantize_model model-f16.gguf mixed.gguf --keep 'ffn_down=q8_0' --keep "
      "'blk\\.0\\.=f16'\n\n"
      "Exit status: 0, or 1 with one line on stderr and no output file.");
  const CLI::Validator given( // an empty variable of a script is a mistake, not a requirement
      [](const std::string& text) { return std::string(text.empty() ? "is empty" : ""); }, "");
  app.add_option("IN", a.input, "GGUF, safetensors file, or folder")->required();
  app.add_option("OUT", a.output, "the GGUF to write; replaced only when the new one is complete")
      ->required();
  app.add_option("--format", a.format, "format of the matrices: q4_0, q5_0, q8_0, f16, bf16, f32")
      ->capture_default_str();
  app.add_option("--scale", a.scale,
                 "how a group's scale is chosen: mse (least squared error), absmax,\n"
                 "signed_max, ggml (llama.cpp's bytes), percentile[:P]")
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
  app.add_option("--calibration", a.calibration, "a text like those the model will see")
      ->check(given);
  app.add_option("--calibration-tokens", a.calibration_tokens, "tokens of it, from its beginning")
      ->capture_default_str()
      ->check(CLI::Range(1, 1 << 26));
  auto* budget =
      app.add_option(
             "--budget", a.budget,
             "the best formats for a file of at most this size, such as 3.2MiB, or these bits\n"
             "a weight, such as 5.0bpw; --keep pins what it names")
          ->check(given);
  app.add_option("--candidates", a.candidates, "the formats that a budget chooses from")
      ->capture_default_str();
  app.add_option("--sensitivity", a.sensitivity,
                 "what a budget minimises: output (error of the matrices' outputs on the text),\n"
                 "weight (error of the weights; needs no text), or kld (divergence of the whole\n"
                 "model, measured tensor by tensor)")
      ->capture_default_str()
      ->check(CLI::IsMember({"output", "weight", "kld"}));
  app.add_option("--plan-out", a.plan_out, "write the plan as JSON: formats, candidates, errors")
      ->needs(budget)
      ->check(given);
  app.add_option("--plan", a.plan, "take the formats from such a file")
      ->excludes(budget)
      ->check(given);
  app.add_option("--resume", a.resume,
                 "a folder for finished tensors and measured divergences: an interrupted run goes\n"
                 "on from there (rtn, which measures nothing, begins again)")
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

/// How formats were chosen; empty without a budget.
struct choice_of_formats {
  std::optional<eq::budget_plan> plan;
  std::vector<eq::layer_sensitivity> layers;
};

/// Chooses formats for the budget and says so in options.
choice_of_formats plan(const arguments& a, const eq::model_source& source,
                       eq::calibrated_model& model, eq::compress_options& options,
                       const eq::progress_callback& listener) {
  auto layers = eq::analyze_model(model.weights, model.text, candidates_of(a.candidates), a.threads,
                                  listener);
  eq::budget_options budget{eq::parse_budget(a.budget), eq::parse_measure(a.sensitivity)};
  if (eq::parse_method(a.method).gptq) budget.layer_factor = eq::gptq_leaves;
  if (budget.measure == eq::loss_measure::kld) {
    eq::encoded_tensors kept;
    if (!a.resume.empty())
      kept = {std::filesystem::path(a.resume) / "divergence",
              eq::job_key(source, model.text, {}, "divergence " + a.candidates)};
    eq::measure_divergence(model.weights, model.text, 2048, layers, a.threads, listener,
                           eq::divergences_in(kept));
  }
  auto plan = eq::plan_for_budget(source, options, layers, budget);
  options.exact = plan.formats;
  options.type = plan.main;
  if (!a.plan_out.empty()) {
    eq::output_file file(a.plan_out);
    const std::string json = eq::to_json(plan, layers).dump(2) + "\n";
    file.write(std::as_bytes(std::span(json)));
    file.commit();
  }
  return {std::move(plan), std::move(layers)};
}

/// What needs the model to run: a plan for a budget, and tensors that are encoded with a text.
choice_of_formats prepare(const arguments& a, const eq::model_source& source,
                          eq::compress_options& options, eq::encoded_tensors& encoded,
                          const eq::progress_callback& listener) {
  if (!a.plan.empty()) options.exact = eq::read_plan(a.plan);
  choice_of_formats chosen;
  if (a.method == "rtn" && a.budget.empty()) return chosen;
  const bool by_weights = a.method == "rtn" && a.sensitivity == "weight";
  if (a.calibration.empty() && !by_weights)
    eq::fail(eq::error_code::bad_argument, a.method != "rtn" ? "--method " + a.method : "--budget",
             "needs --calibration TEXT");
  const eq::calibration_options text{a.calibration, a.calibration_tokens};
  auto model = eq::open_calibrated(source, a.input, a.output, text, a.threads, listener);
  if (!a.budget.empty()) chosen = plan(a, source, model, options, listener);
  if (a.method == "rtn" || options.dry_run) return chosen;
  const auto formats = eq::planned_formats(source, options);
  if (!a.resume.empty()) encoded = {a.resume, eq::job_key(source, model.text, formats, a.method)};
  auto method = eq::parse_method(a.method);
  method.options.threads = a.threads;
  eq::encode_layers(model.weights, model.text, formats, method, encoded, listener);
  options.encoded = &encoded;
  return chosen;
}

/// What --report writes.
std::string report_text(const arguments& a, const eq::compress_report& report,
                        const choice_of_formats& chosen) {
  if (std::filesystem::path(a.report).extension() != ".html")
    return eq::to_json(report).dump(2) + "\n";
  eq::html_report_details details{.layers = chosen.layers, .method = a.method};
  if (chosen.plan) details.plan = &*chosen.plan;
  details.measure = eq::parse_measure(a.sensitivity);
  return eq::html_report(report, details);
}

bool same_file(const std::string& a, const std::string& b) {
  const auto whole = [](const std::filesystem::path& path) {
    std::error_code error; // a path that leads nowhere is none
    return std::filesystem::weakly_canonical(std::filesystem::absolute(path, error), error);
  };
  return !a.empty() && whole(a) == whole(b);
}

void run(const arguments& a) {
  eq::compress_options options;
  options.type = eq::parse_format(a.format);
  options.scale = eq::parse_scale(a.scale);
  for (const auto& rule : a.keep) options.keep.push_back(eq::parse_keep(rule));
  options.threads = a.threads;
  options.dry_run = a.dry_run;

  for (const auto& own : {a.report, a.plan_out})
    if (same_file(own, a.output) || same_file(own, a.input))
      eq::fail(eq::error_code::bad_argument, eq::place_of(own), "needs a file of its own");
  if (same_file(a.report, a.plan_out))
    eq::fail(eq::error_code::bad_argument, eq::place_of(a.report), "needs a file of its own");
  std::optional<eq::output_file> report_file; // opened first: a wrong path costs no work
  if (!a.report.empty()) report_file.emplace(a.report);
  eq::progress_bar bar(stderr, isatty(STDERR_FILENO) != 0);
  const auto source = eq::open_model(a.input);
  eq::encoded_tensors encoded;
  const auto chosen = prepare(a, source, options, encoded, std::ref(bar));
  const auto report = eq::compress(source, a.output, options, std::ref(bar));
  bar.clear();
  if (report_file) {
    const std::string text = report_text(a, report, chosen);
    report_file->write(std::as_bytes(std::span(text)));
    report_file->commit();
  }
  if (a.json)
    std::cout << eq::to_json(report).dump(2) << '\n';
  else
    eq::print_table(std::cout, report);
}

} // namespace

int main(int argc, char** argv) { return run_command("quantize_model", describe, run, argc, argv); }
