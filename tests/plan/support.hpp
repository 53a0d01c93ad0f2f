// SPDX-License-Identifier: MIT
/// A model that runs and a text for it, for the tests of plans.
#pragma once

#include "model/toy_model.hpp"
#include "text/words.hpp"

#include <edgequant/compress/calibrated_model.hpp>
#include <edgequant/model/open_model.hpp>

namespace plan_test {
using namespace model_test;
using eq::format;

/// Candidates that fit the toy's rows, from small to large.
inline constexpr format three[] = {format::q4_0, format::q5_0, format::q8_0};

/// A toy whose words are the 256 bytes, `<s>` and `</s>`; its rows fit formats of blocks of 32.
inline toy_options speaking(toy_options o) {
  auto vocabulary = byte_level({});
  const auto begin = vocabulary.add("<s>", eq::token_type::control);
  const auto end = vocabulary.add("</s>", eq::token_type::control);
  eq::gguf_metadata words = vocabulary.keys();
  words.set("tokenizer.ggml.bos_token_id", static_cast<std::uint32_t>(begin));
  words.set("tokenizer.ggml.eos_token_id", static_cast<std::uint32_t>(end));
  o.words = 258, o.hidden = 64, o.feed_forward = 96;
  o.change_keys = [words](eq::gguf_metadata& keys) {
    for (const auto& item : words) keys.set_entry(item);
  };
  return o;
}

inline fs::path write_speaker(const fs::path& path, format type = format::f32) {
  toy_options o;
  o.type = type;
  write_toy(path, speaking(o));
  return path;
}

inline std::string some_text(std::size_t length) {
  std::mt19937 random(3);
  std::string text;
  while (text.size() < length) text += static_cast<char>('a' + random() % 26);
  return text;
}

class plans : public testing::Test {
protected:
  temporary_folder folder;
  fs::path model = write_speaker(folder / "model.gguf"), text = folder / "text.txt";
  eq::model_source source = eq::open_model(model);

  plans() { std::ofstream(text) << some_text(600); }
  eq::calibrated_model open(std::size_t tokens = 500) const {
    return eq::open_calibrated(source, model, folder / "out.gguf", {text, tokens}, 1);
  }
};

} // namespace plan_test
