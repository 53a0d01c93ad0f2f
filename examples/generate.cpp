// SPDX-License-Identifier: MIT
// A prompt in, a story and its timings out: the pipeline around the built-in engine.
#include "command_line.hpp"

#include <edgequant/run/pipeline.hpp>
#include <edgequant/run/reference_engine.hpp>

#include <nlohmann/json.hpp>

#include <fstream>
#include <iomanip>

#include <unistd.h>

namespace eq = edgequant;
using nlohmann::json;

namespace {

struct arguments {
  std::string model, prompt, tokenize, cache = "f16";
  std::size_t tokens = 256, budget_ms = 0;
  unsigned threads = 0;
  eq::sampling sampling;
  std::vector<int> cores;
  int priority = 0;
  bool mapped = false, json = false;
};

void describe(CLI::App& app, arguments& a) {
  app.description("Continues a text with a Llama-like GGUF model and measures how fast.");
  app.footer("Examples:\n"
             "  generate model.gguf --prompt \"Once upon a time\" --tokens 100\n"
             "  generate model.gguf --prompt Hello --temperature 0.8 --top-p 0.9 --seed 7 --json\n"
             "  generate model.gguf --tokenize lines.jsonl\n\n"
             "Exit status: 0, or 1 with one line on stderr.");
  app.add_option("MODEL", a.model, "a GGUF file")->required();
  auto* prompt = app.add_option("--prompt", a.prompt, "the text to continue");
  app.add_option("--tokens", a.tokens, "tokens to generate at most")->capture_default_str();
  app.add_option("--temperature", a.sampling.temperature, "0: always the most likely token")
      ->capture_default_str();
  app.add_option("--top-k", a.sampling.top_k, "choose among the k most likely tokens; 0: all")
      ->capture_default_str();
  app.add_option("--top-p", a.sampling.top_p,
                 "choose among the fewest tokens with this probability")
      ->capture_default_str();
  app.add_option("--repetition-penalty", a.sampling.repetition_penalty,
                 "above 1: recent tokens become less likely")
      ->capture_default_str();
  app.add_option("--seed", a.sampling.seed, "of the choice; the same seed gives the same text")
      ->capture_default_str();
  app.add_option("--threads", a.threads, "threads to use; 0: all")
      ->capture_default_str()
      ->check(CLI::Range(0, 1024));
  app.add_option("--kv", a.cache, "how keys and values are kept: f32, f16, int8 or int4")
      ->capture_default_str()
      ->check(CLI::IsMember({"f32", "f16", "int8", "int4"}));
  app.add_option("--budget-ms", a.budget_ms, "stop after so many milliseconds; 0: never")
      ->capture_default_str();
  app.add_option("--cores", a.cores, "run on these CPUs only, e.g. 0,1")->delimiter(',');
  app.add_option("--priority", a.priority,
                 "1 to 20: ahead of others, if the system permits; -19 to -1: behind")
      ->capture_default_str();
  app.add_flag("--mapped", a.mapped,
               "leave the weights in the mapped file: slower, but takes little memory.\n"
               "Done unasked where memory is short");
  app.add_option("--tokenize", a.tokenize,
                 "generate nothing: read one JSON string a line of this file and print a JSON\n"
                 "array of arrays of token ids, without BOS")
      ->excludes(prompt);
  app.add_flag("--json", a.json, "print one JSON object at the end instead of the text");
}

void tokenize(const arguments& a) {
  const eq::tokenizer words(eq::read_model_gguf(a.model).metadata);
  std::ifstream file(a.tokenize);
  if (!file) eq::fail(eq::error_code::io_error, eq::place_of(a.tokenize), "cannot open the file");
  json all = json::array();
  std::string line;
  for (std::size_t number = 1; std::getline(file, line); ++number) {
    const auto text = json::parse(line, nullptr, false);
    if (!text.is_string())
      eq::fail(eq::error_code::bad_file,
               eq::place_of(a.tokenize) + ": line " + std::to_string(number), "no JSON string");
    all.push_back(words.encode(text.get_ref<const std::string&>()));
  }
  std::cout << all.dump() << '\n';
}

json to_json(const eq::inference_report& r, const eq::load_report& model) {
  // What is no UTF-8 becomes U+FFFD: JSON has nothing else for it.
  return json::parse(json{{"model", model.model.string()},
                          {"quantization", r.quantization},
                          {"device", model.device},
                          {"weight_bytes", model.bytes},
                          {"load_ms", model.load_ms},
                          {"prompt_tokens", r.prompt_tokens},
                          {"text", r.text},
                          {"tokens", r.tokens},
                          {"stopped_by", eq::name_of(r.reason)},
                          {"time_to_first_token_ms", r.time_to_first_token_ms},
                          {"prefill_tokens_per_second", r.prefill_tokens_per_second},
                          {"decode_tokens_per_second", r.decode_tokens_per_second},
                          {"latency_ms",
                           {{"p50", r.latency.p50},
                            {"p90", r.latency.p90},
                            {"p99", r.latency.p99},
                            {"mean", r.latency.mean},
                            {"jitter", r.latency.jitter}}}}
                         .dump(-1, ' ', false, json::error_handler_t::replace));
}

void print_measurements(const eq::inference_report& r, const eq::load_report& model,
                        std::size_t cache_bytes) {
  std::cout << "\n\n" << std::fixed << std::setprecision(1);
  std::cout << model.quantization << ", " << eq::format_bytes(model.bytes) << " of weights, "
            << eq::format_bytes(cache_bytes) << " of KV cache, " << model.device << "; loaded in "
            << model.load_ms << " ms\n";
  std::cout << "prefill " << r.prefill_tokens_per_second << " tokens/s (" << r.prompt_tokens
            << " tokens), first token after " << r.time_to_first_token_ms << " ms\n";
  std::cout << "decode " << r.decode_tokens_per_second << " tokens/s (" << r.tokens.size()
            << " tokens, ended by " << eq::name_of(r.reason) << ")\n"
            << std::setprecision(2) << "latency of a token: p50 " << r.latency.p50 << " ms, p90 "
            << r.latency.p90 << " ms, p99 " << r.latency.p99 << " ms, jitter " << r.latency.jitter
            << " ms\n";
  if (!r.scheduling_note.empty()) std::cout << "note: " << r.scheduling_note << '\n';
}

void run(const arguments& a) {
  if (!a.tokenize.empty()) return tokenize(a);
  if (a.prompt.empty()) eq::fail(eq::error_code::bad_argument, "--prompt", "a text is needed");
  eq::pipeline_options options{a.model, a.threads, a.sampling, a.cores, a.priority, {}};
  if (a.budget_ms != 0) options.latency_budget = std::chrono::milliseconds(a.budget_ms);
  eq::progress_bar bar(stderr, isatty(STDERR_FILENO) != 0);
  eq::reference_engine engine({.threads = a.threads,
                               .cache = eq::parse_kv_format(a.cache),
                               .mapped = a.mapped,
                               .on_load = std::ref(bar)});
  eq::inference_pipeline pipeline(std::move(engine), options);
  const auto model = pipeline.load_model();
  bar.clear();
  pipeline.warmup(1);
  if (!a.json) std::cout << a.prompt << std::flush;
  const auto report = pipeline.infer(a.prompt, a.tokens, [&](std::string_view text) {
    if (!a.json) std::cout << text << std::flush;
  });
  if (a.json)
    std::cout << to_json(report, model).dump(2) << '\n';
  else
    print_measurements(report, model, pipeline.engine().cache_bytes());
}

} // namespace

int main(int argc, char** argv) { return run_command("generate", describe, run, argc, argv); }
