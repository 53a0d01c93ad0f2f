// SPDX-License-Identifier: MIT
/// Questions with right answers, and how many of them a model gets right.
#pragma once

#include "../core/progress.hpp"
#include "../io/json_object.hpp"
#include "../io/text_file.hpp"
#include "../metric/proportion.hpp"
#include "../metric/text_score.hpp"
#include "../text/tokenizer.hpp"
#include "transformer.hpp"

#include <filesystem>
#include <optional>

namespace edgequant::inline EDGEQUANT_ABI {

/// A question of a task: one to choose an answer, or one to write it.
struct task_item {
  std::string question;
  std::vector<std::string> choices; ///< empty: the answer is written
  std::size_t answer = 0;           ///< of the choices
  std::vector<std::string> answers; ///< texts of which each is right, where there are no choices
};

/// Reads a file of JSON lines, an item each: `{"question": text, "choices": [texts], "answer":
/// number of the right choice, from 0}`, or `{"question": text, "answer": text or [texts]}`; "id",
/// a text, may stand with it. Empty lines are skipped. bad_file, with the line, for anything else;
/// io_error.
[[nodiscard]] std::vector<task_item> read_task(const std::filesystem::path& path);

/// How the log probabilities of a choice's tokens become its score.
enum class choice_score : std::uint8_t { sum, per_token, per_byte };

struct task_options {
  choice_score score = choice_score::per_byte;
  std::size_t most_tokens = 64; ///< of a written answer, which also ends with its line
  progress_callback on_progress = {};
};

struct task_answer {
  std::size_t chosen = 0; ///< the choice with the best score, the first of several
  std::string text;       ///< what was written
  bool is_right = false;
};

struct task_result {
  std::vector<task_answer> answers; ///< one an item
  std::size_t right = 0;
  /// Of the tokens of the right answers, behind their questions; with a reference also the KL
  /// divergence from it there, and the agreement on the most likely token.
  text_score score;
  std::optional<paired_answers> pair = std::nullopt; ///< the reference first
  std::size_t reference_right = 0;

  [[nodiscard]] double share() const noexcept {
    return answers.empty() ? 0 : static_cast<double>(right) / static_cast<double>(answers.size());
  }
  [[nodiscard]] interval share_interval() const noexcept {
    return wilson_interval(right, answers.size());
  }
};

/// Asks a model all questions, each behind a BOS where the model wants one. A choice follows its
/// question after a space, unless one of them has white space there. A written answer is what the
/// model finds most likely, up to the end of its line, without spaces around it, and must be equal
/// to one of the right ones. `reference`, if not null, has the same vocabulary and answers, too.
/// bad_argument for no items, an item that the context does not hold (by its number, from 1), an
/// answer without tokens and vocabularies of different sizes.
[[nodiscard]] task_result evaluate_task(transformer& model, const tokenizer& words,
                                        std::span<const task_item> items,
                                        const task_options& options = {},
                                        transformer* reference = nullptr);

namespace model::detail {

[[nodiscard]] inline task_item read_task_item(const std::string& line, const std::string& place) {
  const auto json = parse_json(line, place);
  json_object fields(json, place);
  (void)fields.text("id");
  task_item item;
  item.question = fields.require("question", fields.text("question"));
  const bool has_choices = fields.find("choices") != nullptr;
  if (has_choices) {
    item.choices = fields.texts("choices");
    if (item.choices.size() < 2) fields.refuse("choices", "at least two texts");
    for (const auto& c : item.choices)
      if (c.empty()) fields.refuse("choices", "texts that are not empty");
    item.answer = static_cast<std::size_t>(
        fields.require("answer", fields.integer("answer", 0, item.choices.size() - 1)));
  } else if (const auto* answer = fields.find("answer"); answer != nullptr && answer->is_array()) {
    item.answers = fields.texts("answer");
  } else {
    item.answers = {fields.require("answer", fields.text("answer"))};
  }
  if (!has_choices) {
    if (item.answers.empty()) fields.refuse("answer", "at least one text");
    for (const auto& a : item.answers)
      if (a.empty()) fields.refuse("answer", "texts that are not empty");
  }
  fields.require_no_others();
  return item;
}

[[nodiscard]] inline bool is_white(char c) noexcept {
  return c == ' ' || c == '\n' || c == '\t' || c == '\r';
}

[[nodiscard]] inline std::string trimmed(std::string text) {
  while (!text.empty() && is_white(text.back())) text.pop_back();
  std::size_t first = 0;
  while (first < text.size() && is_white(text[first])) ++first;
  return text.substr(first);
}

/// One model that reads questions and answers.
class task_reader {
public:
  task_reader(transformer& model, std::size_t longest)
      : model_(model), pool_(model.make_pool(kv_format::f32, longest)), sequence_(pool_) {}

  /// The logits before each of tokens first .. end, the tokens up to `shared` being those of the
  /// call before.
  void run(std::span<const std::int32_t> tokens, std::size_t shared, std::size_t first,
           std::vector<std::vector<float>>& logits) {
    const std::size_t begin = std::min({shared, sequence_.size(), first - 1});
    sequence_.truncate(begin);
    logits.clear();
    model_.run(tokens.subspan(begin, tokens.size() - 1 - begin), sequence_,
               [&](std::size_t i, std::span<const float> row) {
                 if (begin + i + 1 >= first) logits.emplace_back(row.begin(), row.end());
               });
  }
  /// What the model finds most likely behind these tokens, up to the end of the line.
  [[nodiscard]] std::string write(std::span<const std::int32_t> prompt, const tokenizer& words,
                                  std::size_t most) {
    sequence_.truncate(0);
    auto token = static_cast<std::int32_t>(top_token(model_.run(prompt, sequence_)));
    stream_decoder decoder(words);
    std::string text;
    for (std::size_t i = 0; i < most && !words.ends_text(token); ++i) {
      text += decoder.push(token);
      // White space before the answer is none of it.
      const auto begin = text.find_first_not_of(" \n\t\r");
      if (begin != text.npos && text.find('\n', begin) != text.npos) break;
      if (sequence_.size() == model_.weights().shape().context || i + 1 == most) break;
      token = static_cast<std::int32_t>(top_token(model_.run({&token, 1}, sequence_)));
    }
    text += decoder.finish();
    const auto begin = text.find_first_not_of(" \n\t\r");
    if (begin == text.npos) return {};
    return trimmed(text.substr(begin, text.find('\n', begin) - begin));
  }

private:
  transformer& model_;
  kv_pool pool_;
  kv_sequence sequence_;
};

/// A question with one of its answers, in tokens.
struct task_tokens {
  std::vector<std::int32_t> tokens;
  std::size_t first = 0; ///< of the answer
};

class task_job {
public:
  task_job(transformer& model, const tokenizer& words, std::span<const task_item> items,
           const task_options& options, transformer* reference)
      : model_(model), words_(words), items_(items), options_(options), reference_(reference) {
    for (std::size_t i = 0; i < items.size(); ++i) {
      const task_item& item = items[i];
      const auto& answers = item.choices.empty() ? item.answers : item.choices;
      const bool is_empty = std::any_of(answers.begin(), answers.end(),
                                        [](const std::string& a) { return a.empty(); });
      if (answers.empty() || is_empty || (!item.choices.empty() && item.answer >= answers.size()))
        fail(error_code::bad_argument, "item " + std::to_string(i + 1),
             "no answer, an empty one, or no choice of the right one's number");
      for (const auto& answer : answers) {
        const auto t = tokens_of(item.question, answer);
        longest_ =
            std::max(longest_, t.tokens.size() + (item.choices.empty() ? options.most_tokens : 0));
      }
    }
    longest_ = std::min(longest_, model.weights().shape().context);
  }

  task_result run();

private:
  [[nodiscard]] task_tokens tokens_of(const std::string& question,
                                      const std::string& answer) const {
    const bool is_apart = question.empty() || is_white(question.back()) || is_white(answer.front());
    const auto with = words_.encode(question + (is_apart ? "" : " ") + answer);
    const auto alone = words_.encode(question);
    task_tokens t;
    if (words_.add_bos() && words_.bos()) t.tokens.push_back(*words_.bos());
    const auto common = std::mismatch(alone.begin(), alone.end(), with.begin(), with.end()).first;
    t.first = t.tokens.size() + static_cast<std::size_t>(common - alone.begin());
    t.tokens.insert(t.tokens.end(), with.begin(), with.end());
    return t;
  }
  void require_fits(const task_tokens& t, std::size_t item) const {
    const std::string place = "item " + std::to_string(item + 1);
    std::size_t context = model_.weights().shape().context;
    if (reference_ != nullptr) context = std::min(context, reference_->weights().shape().context);
    if (t.tokens.size() > context)
      fail(error_code::bad_argument, place,
           counted(t.tokens.size(), "token") + ", the context holds " + std::to_string(context));
    if (t.first == 0 || t.first >= t.tokens.size())
      fail(error_code::bad_argument, place, "an answer without tokens, or nothing before it");
  }
  [[nodiscard]] double score_of(double sum, std::size_t tokens, std::size_t bytes) const {
    if (options_.score == choice_score::sum) return sum;
    return sum / static_cast<double>(options_.score == choice_score::per_token ? tokens : bytes);
  }
  task_answer choose(task_reader& reader, std::size_t index,
                     std::vector<std::vector<float>>& right_logits, task_tokens& right) const;
  task_answer write(task_reader& reader, std::size_t index,
                    std::vector<std::vector<float>>& right_logits, task_tokens& right) const;

  transformer& model_;
  const tokenizer& words_;
  std::span<const task_item> items_;
  const task_options& options_;
  transformer* reference_;
  std::size_t longest_ = 2;
};

inline task_answer task_job::choose(task_reader& reader, std::size_t index,
                                    std::vector<std::vector<float>>& right_logits,
                                    task_tokens& right) const {
  const task_item& item = items_[index];
  task_answer answer;
  double best = 0;
  std::size_t shared = 0; // tokens that all choices begin with
  std::vector<std::int32_t> before;
  for (std::size_t c = 0; c < item.choices.size(); ++c) {
    const task_tokens t = tokens_of(item.question, item.choices[c]);
    require_fits(t, index);
    shared = static_cast<std::size_t>(
        std::mismatch(before.begin(), before.end(), t.tokens.begin(), t.tokens.end()).first -
        before.begin());
    std::vector<std::vector<float>> logits;
    reader.run(t.tokens, shared, t.first, logits);
    double sum = 0;
    for (std::size_t i = 0; i < logits.size(); ++i)
      sum += log_probability(logits[i], static_cast<std::size_t>(t.tokens[t.first + i]));
    const double score = score_of(sum, logits.size(), item.choices[c].size());
    if (c == 0 || score > best) best = score, answer.chosen = c;
    if (c == item.answer) right_logits = std::move(logits), right = t;
    before = t.tokens;
  }
  answer.is_right = answer.chosen == item.answer;
  return answer;
}

inline task_answer task_job::write(task_reader& reader, std::size_t index,
                                   std::vector<std::vector<float>>& right_logits,
                                   task_tokens& right) const {
  const task_item& item = items_[index];
  task_answer answer;
  right = tokens_of(item.question, item.answers[0]);
  require_fits(right, index);
  std::vector<std::int32_t> prompt;
  if (words_.add_bos() && words_.bos()) prompt.push_back(*words_.bos());
  const auto question = words_.encode(item.question);
  prompt.insert(prompt.end(), question.begin(), question.end());
  if (prompt.empty())
    fail(error_code::bad_argument, "item " + std::to_string(index + 1), "an empty question");
  answer.text = reader.write(prompt, words_, options_.most_tokens);
  for (const auto& a : item.answers) answer.is_right = answer.is_right || answer.text == trimmed(a);
  reader.run(right.tokens, 0, right.first, right_logits);
  return answer;
}

inline task_result task_job::run() {
  const std::size_t vocabulary = model_.weights().vocabulary();
  if (items_.empty()) fail(error_code::bad_argument, "task", "no items");
  if (reference_ != nullptr && reference_->weights().vocabulary() != vocabulary)
    fail(error_code::bad_argument, reference_->weights().file().metadata.place(),
         "a vocabulary of " + std::to_string(reference_->weights().vocabulary()) +
             " tokens beside one of " + std::to_string(vocabulary));
  task_reader own(model_, longest_);
  std::optional<task_reader> other;
  if (reference_ != nullptr) other.emplace(*reference_, longest_);
  task_result result;
  if (other) result.pair.emplace();
  score_collector scores;
  for (std::size_t i = 0; i < items_.size(); ++i) {
    if (options_.on_progress) options_.on_progress({"ask", "", i, items_.size(), "questions"});
    const auto ask = [&](task_reader& reader, auto& logits, task_tokens& right) {
      return items_[i].choices.empty() ? write(reader, i, logits, right)
                                       : choose(reader, i, logits, right);
    };
    std::vector<std::vector<float>> logits, reference_logits_of;
    task_tokens right;
    result.answers.push_back(ask(own, logits, right));
    const bool is_right = result.answers.back().is_right;
    result.right += is_right;
    if (other) {
      const bool reference_is_right = ask(*other, reference_logits_of, right).is_right;
      result.reference_right += reference_is_right;
      ++result.pair->count;
      result.pair->first_alone += reference_is_right && !is_right;
      result.pair->second_alone += is_right && !reference_is_right;
    }
    for (std::size_t k = 0; k < logits.size(); ++k) {
      const auto token = static_cast<std::size_t>(right.tokens[right.first + k]);
      if (!other) {
        scores.add(logits[k], token);
        continue;
      }
      const std::span<const float> row(reference_logits_of[k]);
      scores.add({row, log_sum_exp(row)}, logits[k], token);
    }
  }
  if (options_.on_progress)
    options_.on_progress({"ask", "", items_.size(), items_.size(), "questions"});
  result.score = scores.result();
  return result;
}

} // namespace model::detail

inline std::vector<task_item> read_task(const std::filesystem::path& path) {
  const std::string text = read_text_file(path);
  std::vector<task_item> items;
  std::size_t line = 0;
  for (std::size_t begin = 0; begin < text.size();) {
    const auto end = std::min(text.find('\n', begin), text.size());
    std::string own = text.substr(begin, end - begin);
    ++line;
    if (!model::detail::trimmed(own).empty())
      items.push_back(
          model::detail::read_task_item(own, place_of(path) + ":" + std::to_string(line)));
    begin = end + 1;
  }
  if (items.empty()) fail(error_code::bad_file, place_of(path), "no questions");
  return items;
}

inline task_result evaluate_task(transformer& model, const tokenizer& words,
                                 std::span<const task_item> items, const task_options& options,
                                 transformer* reference) {
  return model::detail::task_job(model, words, items, options, reference).run();
}

} // namespace edgequant::inline EDGEQUANT_ABI
