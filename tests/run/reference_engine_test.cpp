// SPDX-License-Identifier: MIT
#include "model/toy_model.hpp"
#include "text/words.hpp"

#include <edgequant/run/pipeline.hpp>
#include <edgequant/run/reference_engine.hpp>
#include <edgequant/system/system_memory.hpp>

namespace {
using namespace model_test;

const fs::path stories = fs::path(EDGEQUANT_SOURCE_DIR) / "examples/data/stories-2m-f16.gguf";

/// A toy with a vocabulary of the 256 bytes, `<s>` and `</s>`.
fs::path speaking_toy(const fs::path& path, std::uint32_t rows) {
  auto vocabulary = byte_level({});
  const auto begin = vocabulary.add("<s>", eq::token_type::control);
  const auto end = vocabulary.add("</s>", eq::token_type::control);
  toy_options o;
  o.words = rows, o.hidden = 64, o.feed_forward = 96, o.type = eq::format::q8_0;
  o.change_keys = [&](eq::gguf_metadata& keys) {
    for (const auto& item : vocabulary.keys()) keys.set_entry(item);
    keys.set("tokenizer.ggml.bos_token_id", static_cast<std::uint32_t>(begin));
    keys.set("tokenizer.ggml.eos_token_id", static_cast<std::uint32_t>(end));
    keys.set("tokenizer.ggml.add_bos_token", true);
  };
  write_toy(path, o);
  return path;
}

TEST(reference_engine, says_what_it_loaded) {
  eq::reference_engine engine({.threads = 1, .context = 100});
  const auto facts = engine.load(stories);
  EXPECT_EQ(facts.quantization, "F16");
  EXPECT_EQ(facts.context, 100u);
  EXPECT_EQ(facts.device, "CPU (" + std::string(eq::simd::native::name) + "), 1 thread");
  std::uint64_t bytes = 0;
  for (const auto& t : eq::read_gguf(stories).tensors) bytes += t.data.size();
  EXPECT_EQ(facts.bytes, bytes);
  EXPECT_EQ(engine.cache_bytes(), 0u); // grows with the tokens
  (void)engine.prefill(engine.tokenize("Once"));
  const auto little = engine.cache_bytes();
  EXPECT_GT(little, 0u);
  for (int i = 0; i < 40; ++i) (void)engine.decode(300);
  EXPECT_GT(engine.cache_bytes(), little);
}

/// The words that stock llama.cpp continues with, on the same file and without chance.
TEST(reference_engine, tells_the_story_that_llama_cpp_tells) {
  eq::inference_pipeline pipeline(eq::reference_engine({.cache = eq::kv_format::f32}),
                                  {.model = stories});
  const auto report = pipeline.infer("Once upon a time", 24);
  EXPECT_EQ(report.text, ", there was a little boy named Tim. Tim loved to play with his toys. One "
                         "day, Tim saw a big");
}

/// Packed or mapped, with one thread or three: the same text.
TEST(reference_engine, layout_and_threads_do_not_change_the_text) {
  temporary_folder folder;
  const auto path = speaking_toy(folder / "toy.gguf", 258);
  std::vector<std::vector<std::int32_t>> texts;
  for (const unsigned threads : {1u, 3u})
    for (const bool mapped : {false, true}) {
      eq::inference_pipeline pipeline(eq::reference_engine({.threads = threads, .mapped = mapped}),
                                      {.model = path, .threads = threads});
      texts.push_back(pipeline.infer("abc", 20).tokens);
    }
  EXPECT_FALSE(texts[0].empty());
  for (const auto& text : texts) EXPECT_EQ(text, texts[0]);
}

TEST(reference_engine, refuses_what_it_cannot_do) {
  temporary_folder folder;
  eq::reference_engine engine;
  EXPECT_EQ(message_of([&] { (void)engine.tokenize("a"); }),
            "reference_engine: no model is loaded");
  EXPECT_EQ(message_of([&] { (void)engine.decode(1); }), "reference_engine: no model is loaded");
  const auto path = speaking_toy(folder / "toy.gguf", 260);
  EXPECT_EQ(message_of([&] { (void)engine.load(path); }),
            path.string() + ": key 'tokenizer.ggml.tokens': 258 tokens where the embedding has 260 "
                            "rows");
  eq::reference_engine wide({.context = 65});
  EXPECT_EQ(message_of([&] { (void)wide.load(speaking_toy(path, 258)); }),
            path.string() + ": a context of 65, the model's is 64");
  EXPECT_NO_THROW((void)engine.load(path)); // works after a failure
  EXPECT_EQ(message_of([&] { (void)engine.prefill({}); }), path.string() + ": no tokens to run");
}

TEST(system_memory, is_some) { EXPECT_GT(eq::available_memory(), std::uint64_t{1} << 20); }

} // namespace
