// SPDX-License-Identifier: MIT
#include "io/support.hpp"

#include <edgequant/io/split_gguf.hpp>
#include <edgequant/model/task.hpp>

#include <fstream>

namespace {
using namespace io_test;
namespace fs = std::filesystem;

class tasks : public testing::Test {
protected:
  temporary_folder folder;
  const fs::path file = fs::path(EDGEQUANT_SOURCE_DIR) / "examples/data/stories-2m-f16.gguf";
  const eq::model_weights weights{eq::read_model_gguf(file)};
  const eq::tokenizer words{weights.file().metadata};
  eq::transformer model{weights, 1};

  std::vector<eq::task_item> read(const std::string& text) {
    std::ofstream(folder / "task.jsonl") << text;
    return eq::read_task(folder / "task.jsonl");
  }
  /// Log probability of the tokens behind the first `from`, the whole sequence run at once.
  double log_probability_behind(const std::vector<std::int32_t>& tokens, std::size_t from) {
    auto pool = model.make_pool(eq::kv_format::f32, tokens.size());
    eq::kv_sequence sequence(pool);
    double sum = 0;
    model.run(tokens, sequence, [&](std::size_t i, std::span<const float> logits) {
      if (i + 1 >= from && i + 1 < tokens.size())
        sum += eq::log_probability(logits, static_cast<std::size_t>(tokens[i + 1]));
    });
    return sum;
  }
};

TEST_F(tasks, a_choice_is_what_the_model_finds_most_likely) {
  const std::string question = "Once upon a time there was a little girl";
  const std::vector<std::string> choices{"named Lily.", "of the of the of.", "who liked to play.",
                                         "named Lily. She was sad."};
  const auto items = read(R"({"id": "a", "question": ")" + question +
                          R"(", "choices": ["named Lily.", "of the of the of.", )"
                          R"("who liked to play.", "named Lily. She was sad."], "answer": 0})");
  ASSERT_EQ(items.size(), 1u);
  std::vector<double> sums;
  std::vector<std::size_t> lengths;
  const auto alone = words.encode(question);
  for (const auto& choice : choices) {
    std::vector<std::int32_t> all{*words.bos()};
    for (const auto t : words.encode(question + " " + choice)) all.push_back(t);
    sums.push_back(log_probability_behind(all, 1 + alone.size()));
    lengths.push_back(all.size() - 1 - alone.size());
  }
  const auto best = [&](auto score) {
    std::size_t at = 0;
    for (std::size_t i = 1; i < choices.size(); ++i)
      if (score(i) > score(at)) at = i;
    return at;
  };
  const auto chosen = [&](eq::choice_score score) {
    return eq::evaluate_task(model, words, items, {.score = score}).answers[0].chosen;
  };
  EXPECT_EQ(chosen(eq::choice_score::sum), best([&](std::size_t i) { return sums[i]; }));
  EXPECT_EQ(chosen(eq::choice_score::per_token),
            best([&](std::size_t i) { return sums[i] / double(lengths[i]); }));
  EXPECT_EQ(chosen(eq::choice_score::per_byte),
            best([&](std::size_t i) { return sums[i] / double(choices[i].size()); }));
  const auto result = eq::evaluate_task(model, words, items, {.score = eq::choice_score::sum});
  EXPECT_EQ(result.score.tokens, lengths[0]);
  EXPECT_NEAR(std::log(result.score.perplexity), -sums[0] / double(lengths[0]), 1e-5);
}

TEST_F(tasks, a_written_answer_is_what_greedy_decoding_gives) {
  const std::string question = "Once upon a time, there was a little girl named";
  std::vector<std::int32_t> tokens{*words.bos()};
  for (const auto t : words.encode(question)) tokens.push_back(t);
  auto pool = model.make_pool(eq::kv_format::f32, tokens.size() + 8);
  eq::kv_sequence sequence(pool);
  auto token = static_cast<std::int32_t>(eq::top_token(model.run(tokens, sequence)));
  std::string text;
  for (int i = 0; i < 6; ++i) {
    text += words.bytes_of(token);
    token = static_cast<std::int32_t>(eq::top_token(model.run({&token, 1}, sequence)));
  }
  text = eq::model::detail::trimmed(text);
  ASSERT_EQ(text.find('\n'), text.npos);
  const auto items = read("\n{\"question\": \"" + question + "\", \"answer\": [\"No\", \" " + text +
                          "\"]}\n\n{\"question\": \"" + question + "\", \"answer\": \"Nobody\"}\n");
  const auto result = eq::evaluate_task(model, words, items, {.most_tokens = 6});
  EXPECT_EQ(result.answers[0].text, text);
  EXPECT_TRUE(result.answers[0].is_right);
  EXPECT_FALSE(result.answers[1].is_right);
  EXPECT_EQ(result.right, 1u);
}

TEST_F(tasks, a_model_beside_itself_loses_nothing) {
  const auto items =
      read(R"({"question": "The sun is", "choices": ["hot.", "a car."], "answer": 1})"
           "\n"
           R"({"question": "Tom said:", "answer": "Hello"})");
  eq::transformer other(weights, 1);
  const auto result = eq::evaluate_task(model, words, items, {}, &other);
  ASSERT_TRUE(result.pair);
  EXPECT_EQ(result.pair->count, 2u);
  EXPECT_EQ(result.pair->first_alone + result.pair->second_alone, 0u);
  EXPECT_EQ(result.reference_right, result.right);
  EXPECT_EQ(result.score.from_reference->kl_mean, 0);
  EXPECT_EQ(result.score.from_reference->top1, 1);
}

TEST_F(tasks, bad_files_and_items_are_refused_with_their_line) {
  const auto refusal = [&](const std::string& text) {
    const auto message = message_of([&] { (void)read(text); });
    return message.substr(std::min(message.size(), message.find("task.jsonl") + 10));
  };
  const std::string good = R"({"question": "a", "answer": "b"})";
  EXPECT_EQ(refusal("\n \n"), ": no questions");
  EXPECT_NE(refusal(good + "\n{").find(":2"), std::string::npos);
  EXPECT_EQ(refusal(good + "\n\n" + R"({"answer": "b"})"), ":3: question: the field is missing");
  EXPECT_EQ(refusal(R"({"question": "a"})"), ":1: answer: the field is missing");
  EXPECT_NE(refusal(R"({"question": "a", "choices": ["b"], "answer": 0})").find("choices"),
            std::string::npos);
  EXPECT_NE(refusal(R"({"question": "a", "choices": ["b", "c"], "answer": 2})").find("answer"),
            std::string::npos);
  EXPECT_NE(refusal(R"({"question": "a", "choices": ["b", ""], "answer": 0})").find("not empty"),
            std::string::npos);
  EXPECT_NE(refusal(R"({"question": "a", "answer": "b", "hint": "c"})").find("hint"),
            std::string::npos);
  const auto asked = [&](const std::string& text) {
    return message_of([&] { (void)eq::evaluate_task(model, words, read(text)); });
  };
  std::string longer;
  for (int i = 0; i < 3000; ++i) longer += "so ";
  EXPECT_NE(
      asked(good + "\n" + R"({"question": ")" + longer + R"(", "answer": "b"})").find("item 2: "),
      std::string::npos);
  EXPECT_EQ(message_of([&] { (void)eq::evaluate_task(model, words, {}); }), "task: no items");
}

} // namespace
