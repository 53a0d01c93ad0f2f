// SPDX-License-Identifier: MIT
// How many questions of a task a model gets right, and whether another one does better.
#include "command_line.hpp"

#include <edgequant/model/task.hpp>

#include <unistd.h>

namespace eq = edgequant;

namespace {

struct arguments {
  std::string model, task, reference, score = "byte";
  std::size_t most_tokens = 64;
  unsigned threads = 0;
  bool json = false, answers = false;
};

void describe(CLI::App& app, arguments& a) {
  app.description(
      "Asks a model the questions of a task and counts the right answers, with a 95 % interval.\n"
      "With --reference both models answer: the percentage points lost, with an interval, whether\n"
      "that is more than chance (McNemar's exact test), and the KL divergence on right answers.\n");
  app.footer(
      "A task is a file of JSON lines. To choose: {\"question\": \"...\", \"choices\": [\"...\", "
      "\"...\"], \"answer\": 0},\n"
      "where the answer is the number of the right choice; each choice is scored as the "
      "continuation\n"
      "of the question. To write: {\"question\": \"...\", \"answer\": \"...\"}, or a list of right "
      "texts;\n"
      "the model continues the question to the end of its line. \"id\" is free.\n\n"
      "Examples:\n"
      "  evaluate model.gguf examples/data/intents.jsonl\n"
      "  evaluate small-q4.gguf examples/data/endings.jsonl --reference model-f16.gguf\n\n"
      "Exit status: 0, or 1 with one line on stderr.");
  app.add_option("MODEL", a.model, "a GGUF")->required();
  app.add_option("TASK", a.task, "a file of JSON lines")->required();
  app.add_option("--reference", a.reference, "the GGUF that MODEL was made from");
  app.add_option(
         "--score", a.score,
         "how a choice is scored: by the log probability of its text (sum), a token of it,\n"
         "or a byte of it")
      ->capture_default_str()
      ->check(CLI::IsMember({"sum", "token", "byte"}));
  app.add_option("--most-tokens", a.most_tokens, "of a written answer")
      ->capture_default_str()
      ->check(CLI::Range(1, 1 << 16));
  app.add_flag("--answers", a.answers, "print each question's answer, too");
  app.add_option("--threads", a.threads, "threads to use; 0: all")
      ->capture_default_str()
      ->check(CLI::Range(0, 1024));
  app.add_flag("--json", a.json, "print one JSON object");
}

nlohmann::json to_json(const eq::task_result& r, std::span<const eq::task_item> items) {
  const auto i = r.share_interval();
  nlohmann::json result{{"questions", r.answers.size()},
                        {"right", r.right},
                        {"share", r.share()},
                        {"share_95", {i.low, i.high}},
                        {"answer_perplexity", r.score.perplexity}};
  nlohmann::json answers = nlohmann::json::array();
  for (std::size_t k = 0; k < items.size(); ++k)
    answers.push_back(
        items[k].choices.empty()
            ? nlohmann::json{{"text", r.answers[k].text}, {"right", r.answers[k].is_right}}
            : nlohmann::json{{"chosen", r.answers[k].chosen}, {"right", r.answers[k].is_right}});
  result["answers"] = std::move(answers);
  if (r.pair) {
    const auto lost = eq::paired_interval(*r.pair);
    result["reference"] = {
        {"right", r.reference_right},
        {"reference_alone_right", r.pair->first_alone},
        {"model_alone_right", r.pair->second_alone},
        {"points_lost",
         100 * (static_cast<double>(r.reference_right) - static_cast<double>(r.right)) /
             static_cast<double>(r.answers.size())},
        {"points_lost_95", {100 * lost.low, 100 * lost.high}},
        {"mcnemar_p", eq::mcnemar_test(*r.pair)},
        {"perplexity", r.score.from_reference->perplexity},
        {"kl_mean", r.score.from_reference->kl_mean},
        {"kl_error", r.score.from_reference->kl_error},
        {"top1", r.score.from_reference->top1}};
  }
  return result;
}

std::string percent(double share) { return eq::fixed_text(100 * share, 1); }

void print(const eq::task_result& r, std::span<const eq::task_item> items, bool with_answers) {
  for (std::size_t k = 0; with_answers && k < items.size(); ++k)
    std::cout << (r.answers[k].is_right ? "right " : "wrong ") << k + 1 << ": "
              << eq::escaped(items[k].choices.empty() ? r.answers[k].text
                                                      : items[k].choices[r.answers[k].chosen])
              << '\n';
  const auto i = r.share_interval();
  std::cout << "right: " << r.right << " of " << r.answers.size() << ", " << percent(r.share())
            << " % (95 %: " << percent(i.low) << " to " << percent(i.high) << ")\n"
            << "perplexity of right answers: " << eq::general_text(r.score.perplexity, 5) << " on "
            << eq::counted(r.score.tokens, "token") << '\n';
  if (!r.pair) return;
  const auto lost = eq::paired_interval(*r.pair);
  const double points = 100 *
                        (static_cast<double>(r.reference_right) - static_cast<double>(r.right)) /
                        static_cast<double>(r.answers.size());
  const double p = eq::mcnemar_test(*r.pair);
  const auto& d = *r.score.from_reference;
  std::cout << "reference: " << r.reference_right << " right; lost " << eq::fixed_text(points, 1)
            << " percentage points (95 %: " << percent(lost.low) << " to " << percent(lost.high)
            << ")\n"
            << "the reference alone was right on " << r.pair->first_alone
            << " questions, the model alone on " << r.pair->second_alone
            << ": p = " << eq::general_text(p, 3) << ", "
            << (p < 0.05 ? "more than chance" : "no more than chance may do") << '\n'
            << "on right answers: KL divergence " << eq::general_text(d.kl_mean, 4) << " +- "
            << eq::general_text(d.kl_error, 2) << " nats, the reference's perplexity "
            << eq::general_text(d.perplexity, 5) << ", same most likely token " << percent(d.top1)
            << " %\n";
}

void run(const arguments& a) {
  const auto items = eq::read_task(a.task);
  const eq::model_weights weights(eq::read_model_gguf(a.model));
  const eq::tokenizer words(weights.file().metadata);
  eq::transformer model(weights, a.threads);
  std::optional<eq::model_weights> reference_weights;
  std::optional<eq::transformer> reference;
  if (!a.reference.empty()) {
    reference_weights.emplace(eq::read_model_gguf(a.reference));
    reference.emplace(*reference_weights, a.threads);
  }
  eq::progress_bar bar(stderr, isatty(STDERR_FILENO) != 0);
  eq::task_options options;
  options.score = a.score == "sum"     ? eq::choice_score::sum
                  : a.score == "token" ? eq::choice_score::per_token
                                       : eq::choice_score::per_byte;
  options.most_tokens = a.most_tokens;
  options.on_progress = std::ref(bar);
  const auto result =
      eq::evaluate_task(model, words, items, options, reference ? &*reference : nullptr);
  bar.clear();
  if (a.json)
    std::cout << to_json(result, items).dump(2) << '\n';
  else
    print(result, items, a.answers);
}

} // namespace

int main(int argc, char** argv) { return run_command("evaluate", describe, run, argc, argv); }
