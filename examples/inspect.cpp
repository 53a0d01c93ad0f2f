// SPDX-License-Identifier: MIT
// What a model file holds, and in what it differs from another.
#include "command_line.hpp"

#include <edgequant/model/open_model.hpp>
#include <edgequant/report/inspection_text.hpp>

#include <optional>

#include <unistd.h>

namespace eq = edgequant;

namespace {

struct arguments {
  std::string model, other;
  unsigned threads = 0;
  bool json = false, arrays = false;
};

void describe(CLI::App& app, arguments& a) {
  app.description("Shows the metadata, tensors, formats and bits per weight of a model; with a "
                  "second one,\n"
                  "what differs: keys, formats, and how far the second one's values are from the "
                  "first's.");
  app.footer("Examples:\n"
             "  inspect model-q4_k_m.gguf\n"
             "  inspect model-f16.gguf model-q4_0.gguf\n"
             "  inspect model.gguf --json | jq '.metadata[\"general.architecture\"]'\n\n"
             "Exit status: 0, or 1 with one line on stderr.");
  app.add_option("MODEL", a.model, "GGUF (any part of a split one), safetensors file, or folder")
      ->required();
  app.add_option("OTHER", a.other, "a model to compare with it, usually made from it");
  app.add_option("--threads", a.threads, "threads to use; 0: all")
      ->capture_default_str()
      ->check(CLI::Range(0, 1024));
  app.add_flag("--json", a.json, "print one JSON object with `metadata`, `tensors` and more");
  app.add_flag("--arrays", a.arrays, "with --json: long arrays of metadata with all their values");
}

void run(const arguments& a) {
  if (a.arrays && !a.json) eq::fail(eq::error_code::bad_argument, "--arrays", "needs --json");
  const auto source = eq::open_model(a.model);
  const auto model = eq::inspect_model(source);
  std::optional<eq::model_source> other;
  std::optional<eq::model_difference> difference;
  if (!a.other.empty()) {
    other = eq::open_model(a.other);
    eq::progress_bar bar(stderr, isatty(STDERR_FILENO) != 0);
    difference = eq::compare_models(source, *other, a.threads, std::ref(bar));
    bar.clear();
  }
  if (a.json) {
    auto json = eq::to_json(model, a.arrays);
    if (difference) json["difference"] = eq::to_json(*difference);
    std::cout << json.dump(2) << '\n';
  } else if (difference) {
    eq::print_difference(std::cout, *difference);
  } else {
    eq::print_inspection(std::cout, model);
  }
}

} // namespace

int main(int argc, char** argv) { return run_command("inspect", describe, run, argc, argv); }
