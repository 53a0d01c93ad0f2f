// SPDX-License-Identifier: MIT
/// The rules that cut a text into words before byte-level BPE, as matchers over code points.
/// Source: the regular expressions that the models' authors published.
#pragma once

#include "word_cutter.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

namespace edgequant::inline EDGEQUANT_ABI {

enum class pre_tokenizer : std::uint8_t {
  gpt2,          ///< 's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
  llama3,        ///< (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|
                 ///< ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+
  qwen2,         ///< llama3 with single digits
  single_digits, ///< first \p{N}, then gpt2 on what lies between
  qwen35,        ///< qwen2, with marks (\p{M}) among the letters
  gpt4o,  ///< a word is a run of letters without a-z, then one without A-Z, of which one may be
          ///< empty, behind [^\r\n\p{L}\p{N}]?, with a contraction at its end; else llama3
          ///< with / among the newlines behind symbols
  tekken, ///< gpt4o without contractions, with single digits
  falcon, ///< [\p{P}\$\+<=>\^~\|`]+, gpt2, [0-9][0-9][0-9]
  deepseek_coder, ///< [\r\n], \s?\p{L}+, \s?\p{P}+, CJK, \p{N}
  deepseek_llm,   ///< the same with the letters and the punctuation that it lists, \s+$ and \p{N}+
  lines,          ///< [^\n]+|[\n]+
  fallback,       ///< llama.cpp's where a file names none: [\p{P}\$\+<=>\^~\|]+, gpt2, \p{N}+,
                  ///< [0-9][0-9][0-9], each inside of what the ones before it have cut
};

/// What a name in tokenizer.ggml.pre stands for.
struct pre_tokenizer_info {
  std::string_view name;
  pre_tokenizer rule = pre_tokenizer::fallback;
  bool entire_words = false; ///< a word that is a token is not built from merges
  bool adds_bos = false;     ///< where tokenizer.ggml.add_bos_token is missing
};

/// Nothing for an unknown name.
[[nodiscard]] std::optional<pre_tokenizer_info> find_pre_tokenizer(std::string_view name) noexcept;

/// The words of a text: in order, none empty, together the text.
[[nodiscard]] std::vector<std::string_view> split_words(std::string_view text, pre_tokenizer rule);

namespace text::detail {

inline constexpr auto pre_tokenizers = std::to_array<pre_tokenizer_info>({
    {"default", pre_tokenizer::fallback},
    {"gpt-2", pre_tokenizer::gpt2},
    {"mpt", pre_tokenizer::gpt2},
    {"phi-2", pre_tokenizer::gpt2},
    {"olmo", pre_tokenizer::gpt2},
    {"exaone4", pre_tokenizer::gpt2},
    {"mellum", pre_tokenizer::gpt2},
    {"granite-docling", pre_tokenizer::gpt2},
    {"llama3", pre_tokenizer::llama3, true, true},
    {"llama-v3", pre_tokenizer::llama3, true, true},
    {"llama-bpe", pre_tokenizer::llama3, true, true},
    {"falcon3", pre_tokenizer::llama3, true, true},
    {"falcon-h1", pre_tokenizer::llama3, true, true},
    {"pixtral", pre_tokenizer::llama3, true, true},
    {"midm-2.0", pre_tokenizer::llama3, true, true},
    {"lfm2", pre_tokenizer::llama3, true, true},
    {"dbrx", pre_tokenizer::llama3},
    {"smaug-bpe", pre_tokenizer::llama3},
    {"glm4", pre_tokenizer::llama3},
    {"qwen2", pre_tokenizer::qwen2},
    {"stablelm2", pre_tokenizer::qwen2},
    {"deepseek-r1-qwen", pre_tokenizer::qwen2},
    {"megrez", pre_tokenizer::qwen2},
    {"kormo", pre_tokenizer::qwen2},
    {"hunyuan", pre_tokenizer::qwen2},
    {"solar-open", pre_tokenizer::qwen2},
    {"qwen35", pre_tokenizer::qwen35},
    {"gpt-4o", pre_tokenizer::gpt4o},
    {"llama4", pre_tokenizer::gpt4o},
    {"kanana2", pre_tokenizer::gpt4o},
    {"tekken", pre_tokenizer::tekken, true, true},
    {"falcon", pre_tokenizer::falcon},
    {"deepseek-coder", pre_tokenizer::deepseek_coder},
    {"deepseek-llm", pre_tokenizer::deepseek_llm},
    {"smollm", pre_tokenizer::single_digits},
    {"starcoder", pre_tokenizer::single_digits},
    {"codeshell", pre_tokenizer::single_digits},
    {"exaone", pre_tokenizer::single_digits},
    {"minerva-7b", pre_tokenizer::single_digits},
    {"refact", pre_tokenizer::single_digits},
    {"command-r", pre_tokenizer::single_digits},
});

} // namespace text::detail

inline std::optional<pre_tokenizer_info> find_pre_tokenizer(std::string_view name) noexcept {
  for (const auto& info : text::detail::pre_tokenizers)
    if (info.name == name) return info;
  return std::nullopt;
}

inline std::vector<std::string_view> split_words(std::string_view text, pre_tokenizer rule) {
  text::detail::word_cutter cutter(text);
  const auto gpt2 = [&](auto at, auto end) { return cutter.match_gpt2(at, end); };
  switch (rule) {
  case pre_tokenizer::gpt2:
    cutter.cut(gpt2);
    break;
  case pre_tokenizer::llama3:
    cutter.cut([&](auto at, auto end) { return cutter.match_llama3(at, end, 3); });
    break;
  case pre_tokenizer::qwen2:
    cutter.cut([&](auto at, auto end) { return cutter.match_llama3(at, end, 1); });
    break;
  case pre_tokenizer::single_digits:
    cutter.cut([&](auto at, auto) { return cutter.match_number(at, at + 1); });
    cutter.cut(gpt2);
    break;
  case pre_tokenizer::qwen35:
    cutter.cut([&](auto at, auto end) { return cutter.match_qwen35(at, end); });
    break;
  case pre_tokenizer::gpt4o:
    cutter.cut([&](auto at, auto end) { return cutter.match_gpt4o(at, end, 3, true); });
    break;
  case pre_tokenizer::tekken:
    cutter.cut([&](auto at, auto end) { return cutter.match_gpt4o(at, end, 1, false); });
    break;
  case pre_tokenizer::falcon:
    cutter.cut([&](auto at, auto end) { return cutter.match_falcon_punctuation(at, end); });
    cutter.cut(gpt2);
    cutter.cut([&](auto at, auto end) { return cutter.match_three_digits(at, end); });
    break;
  case pre_tokenizer::deepseek_coder:
  case pre_tokenizer::deepseek_llm: {
    const bool listed = rule == pre_tokenizer::deepseek_llm;
    cutter.cut([&](auto at, auto) { return cutter.match_newline(at); });
    cutter.cut([&](auto at, auto end) { return cutter.match_spaced_letters(at, end, listed); });
    cutter.cut([&](auto at, auto end) { return cutter.match_spaced_punctuation(at, end, listed); });
    if (listed) cutter.cut([&](auto at, auto end) { return cutter.match_last_spaces(at, end); });
    cutter.cut([&](auto at, auto end) { return cutter.match_cjk(at, end); });
    cutter.cut([&](auto at, auto end) { return cutter.match_number(at, listed ? end : at + 1); });
    break;
  }
  case pre_tokenizer::lines:
    cutter.cut([&](auto at, auto end) { return cutter.match_line(at, end); });
    break;
  case pre_tokenizer::fallback:
    cutter.cut([&](auto at, auto end) { return cutter.match_punctuation(at, end); });
    cutter.cut(gpt2);
    cutter.cut([&](auto at, auto end) { return cutter.match_number(at, end); });
    cutter.cut([&](auto at, auto end) { return cutter.match_three_digits(at, end); });
    break;
  }
  return cutter.words();
}

} // namespace edgequant::inline EDGEQUANT_ABI
