// SPDX-License-Identifier: MIT
/// Small vocabularies made by hand.
#pragma once

#include "model/support.hpp"

#include <edgequant/text/tokenizer.hpp>

namespace model_test {

using ids = std::vector<std::int32_t>;
inline constexpr const char* mark = "\xe2\x96\x81"; // stands for a space

/// A vocabulary in the making.
struct words {
  std::string model;
  std::vector<std::string> texts, merges;
  std::vector<std::int32_t> types;
  std::vector<float> scores;

  std::int32_t add(const std::string& text, eq::token_type kind = eq::token_type::normal,
                   float score = 0) {
    texts.push_back(text);
    types.push_back(static_cast<std::int32_t>(kind));
    scores.push_back(score);
    return static_cast<std::int32_t>(texts.size()) - 1;
  }
  eq::gguf_metadata keys(std::string_view pre = "gpt-2") const {
    eq::gguf_metadata keys("m.gguf");
    keys.set("tokenizer.ggml.model", model);
    keys.set_array("tokenizer.ggml.tokens", texts);
    keys.set_array("tokenizer.ggml.token_type", types);
    if (model == "llama") keys.set_array("tokenizer.ggml.scores", scores);
    if (model == "gpt2") keys.set("tokenizer.ggml.pre", pre);
    if (model == "gpt2") keys.set_array("tokenizer.ggml.merges", merges);
    return keys;
  }
};

/// Tokens 0 to 2 are special, 3 to 258 bytes.
inline words pieces() {
  words w{"llama", {}, {}, {}, {}};
  w.add("<unk>", eq::token_type::unknown);
  w.add("<s>", eq::token_type::control);
  w.add("</s>", eq::token_type::control);
  for (int byte = 0; byte < 256; ++byte) {
    constexpr std::string_view hex = "0123456789ABCDEF";
    const auto at = static_cast<std::size_t>(byte);
    w.add(std::string("<0x") + hex[at / 16] + hex[at % 16] + '>', eq::token_type::byte);
  }
  return w;
}
constexpr std::int32_t byte_token(unsigned char byte) { return 3 + byte; }

/// Tokens 0 to 255 are bytes; a merge's token follows it.
inline words byte_level(const std::vector<std::string>& merges) {
  words w{"gpt2", {}, merges, {}, {}};
  for (const auto point : eq::text::detail::byte_spelling) {
    std::string text;
    eq::append_utf8(text, point);
    w.add(text);
  }
  for (auto merge : merges) w.add(merge.erase(merge.find(' ', 1), 1));
  return w;
}

} // namespace model_test
