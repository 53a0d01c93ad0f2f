// SPDX-License-Identifier: MIT
/// What the rules of pre-tokenizers are made of: matchers over the code points of a text.
#pragma once

#include "../core/utf8.hpp"
#include "code_point_class.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

namespace edgequant::inline EDGEQUANT_ABI {
namespace text::detail {

/// Part of a text in code points: from `first` up to `last`.
struct word_range {
  std::size_t first, last;
};

/// A text cut by one rule after the other. A matcher takes a position and the end of its part, and
/// returns the end of the match there, or the position if there is none.
class word_cutter {
public:
  explicit word_cutter(std::string_view text) : text_(text) {
    for (std::size_t at = 0; at < text.size();) {
      const auto point = first_code_point(text.substr(at));
      starts_.push_back(at);
      values_.push_back(point.value);
      classes_.push_back(class_of(point.value));
      at += point.bytes;
    }
    starts_.push_back(text.size());
    if (!values_.empty()) parts_.push_back({0, values_.size()});
  }

  /// Cuts every part into the matches and what lies between them.
  template <class Match> void cut(Match match) {
    std::vector<word_range> cut_parts;
    for (const auto& part : parts_) {
      std::size_t rest = part.first;
      for (std::size_t at = part.first; at < part.last;) {
        const std::size_t end = match(at, part.last);
        if (end == at) {
          ++at;
          continue;
        }
        if (rest < at) cut_parts.push_back({rest, at});
        cut_parts.push_back({at, end});
        at = rest = end;
      }
      if (rest < part.last) cut_parts.push_back({rest, part.last});
    }
    parts_ = std::move(cut_parts);
  }

  [[nodiscard]] std::vector<std::string_view> words() const {
    std::vector<std::string_view> all;
    all.reserve(parts_.size());
    for (const auto& part : parts_)
      all.push_back(text_.substr(starts_[part.first], starts_[part.last] - starts_[part.first]));
    return all;
  }

  /// The GPT-2 expression.
  [[nodiscard]] std::size_t match_gpt2(std::size_t at, std::size_t end) const {
    if (const auto after = contraction(at, end, false); after != at) return after;
    const std::size_t word = at + (values_[at] == ' ');
    if (word < end && !is_space(word)) {
      if (is_letter(word)) return run(word, end, &word_cutter::is_letter);
      if (is_number(word)) return run(word, end, &word_cutter::is_number);
      return run(word, end, &word_cutter::is_symbol);
    }
    return spaces(at, end);
  }

  /// The Llama-3 expression.
  [[nodiscard]] std::size_t match_llama3(std::size_t at, std::size_t end,
                                         std::size_t digits) const {
    if (const auto after = contraction(at, end, true); after != at) return after;
    if (is_letter(at)) return run(at, end, &word_cutter::is_letter);
    if (!is_newline(at) && !is_number(at) && at + 1 < end && is_letter(at + 1))
      return run(at + 1, end, &word_cutter::is_letter);
    if (is_number(at)) return run(at, std::min(end, at + digits), &word_cutter::is_number);
    const std::size_t word = at + (values_[at] == ' ');
    if (word < end && is_symbol(word))
      return run(run(word, end, &word_cutter::is_symbol), end, &word_cutter::is_newline);
    return lines_and_spaces(at, end);
  }

  /// Qwen 3.5's expression.
  [[nodiscard]] std::size_t match_qwen35(std::size_t at, std::size_t end) const {
    if (const auto after = contraction(at, end, true); after != at) return after;
    if (is_letter_or_mark(at)) return run(at, end, &word_cutter::is_letter_or_mark);
    if (!is_newline(at) && !is_number(at) && at + 1 < end && is_letter_or_mark(at + 1))
      return run(at + 1, end, &word_cutter::is_letter_or_mark);
    if (is_number(at)) return at + 1;
    const std::size_t word = at + (values_[at] == ' ');
    if (word < end && is_unmarked_symbol(word))
      return run(run(word, end, &word_cutter::is_unmarked_symbol), end, &word_cutter::is_newline);
    return lines_and_spaces(at, end);
  }

  /// GPT-4o's expression, as llama.cpp adapts it: letters other than a-z count as capitals, those
  /// other than A-Z as small ones.
  [[nodiscard]] std::size_t match_gpt4o(std::size_t at, std::size_t end, std::size_t digits,
                                        bool with_contraction) const {
    const bool skips = !is_letter(at) && !is_newline(at) && !is_number(at);
    if (const std::size_t word = at + skips; word < end && is_letter(word)) {
      const auto after = cased_word(word, end);
      return with_contraction && after < end ? contraction(after, end, true) : after;
    }
    if (is_number(at)) return run(at, std::min(end, at + digits), &word_cutter::is_number);
    const std::size_t word = at + (values_[at] == ' ');
    if (word < end && is_symbol(word))
      return run(run(word, end, &word_cutter::is_symbol), end, &word_cutter::is_newline_or_slash);
    return lines_and_spaces(at, end);
  }

  /// A newline alone.
  [[nodiscard]] std::size_t match_newline(std::size_t at) const { return at + is_newline(at); }
  /// [^\n]+|[\n]+
  [[nodiscard]] std::size_t match_line(std::size_t at, std::size_t end) const {
    const bool newline = values_[at] == '\n';
    while (at < end && (values_[at] == '\n') == newline) ++at;
    return at;
  }
  /// \s?X+ for letters or punctuation, in general or as DeepSeek LLM lists them.
  [[nodiscard]] std::size_t match_spaced_letters(std::size_t at, std::size_t end,
                                                 bool listed) const {
    return spaced_run(at, end, listed ? &word_cutter::is_listed_letter : &word_cutter::is_letter);
  }
  [[nodiscard]] std::size_t match_spaced_punctuation(std::size_t at, std::size_t end,
                                                     bool listed) const {
    return spaced_run(at, end,
                      listed ? &word_cutter::is_listed_punctuation : &word_cutter::is_category_p);
  }
  /// \s+$
  [[nodiscard]] std::size_t match_last_spaces(std::size_t at, std::size_t end) const {
    return run(at, end, &word_cutter::is_space) == end ? end : at;
  }
  /// [\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+
  [[nodiscard]] std::size_t match_cjk(std::size_t at, std::size_t end) const {
    return run(at, end, &word_cutter::is_cjk);
  }

  [[nodiscard]] std::size_t match_number(std::size_t at, std::size_t end) const {
    return run(at, end, &word_cutter::is_number);
  }

  [[nodiscard]] std::size_t match_three_digits(std::size_t at, std::size_t end) const {
    if (end - at < 3) return at;
    for (std::size_t i = at; i < at + 3; ++i)
      if (values_[i] < '0' || values_[i] > '9') return at;
    return at + 3;
  }

  [[nodiscard]] std::size_t match_punctuation(std::size_t at, std::size_t end) const {
    return run(at, end, &word_cutter::is_punctuation);
  }
  /// The same with `.
  [[nodiscard]] std::size_t match_falcon_punctuation(std::size_t at, std::size_t end) const {
    while (at < end && (is_punctuation(at) || values_[at] == '`')) ++at;
    return at;
  }

private:
  [[nodiscard]] bool is(std::size_t at, code_point_class c) const { return classes_[at] == c; }
  [[nodiscard]] bool is_letter(std::size_t at) const { return is(at, code_point_class::letter); }
  [[nodiscard]] bool is_number(std::size_t at) const { return is(at, code_point_class::number); }
  [[nodiscard]] bool is_space(std::size_t at) const { return is(at, code_point_class::space); }
  [[nodiscard]] bool is_newline(std::size_t at) const {
    return values_[at] == '\r' || values_[at] == '\n';
  }
  [[nodiscard]] bool is_newline_or_slash(std::size_t at) const {
    return is_newline(at) || values_[at] == '/';
  }
  [[nodiscard]] bool is_letter_or_mark(std::size_t at) const {
    return is_letter(at) || is(at, code_point_class::mark);
  }
  /// [^\s\p{L}\p{N}], and without \p{M}
  [[nodiscard]] bool is_symbol(std::size_t at) const {
    return is_unmarked_symbol(at) || is(at, code_point_class::mark);
  }
  [[nodiscard]] bool is_unmarked_symbol(std::size_t at) const {
    return is(at, code_point_class::other) || is(at, code_point_class::punctuation);
  }
  [[nodiscard]] bool is_category_p(std::size_t at) const {
    return is(at, code_point_class::punctuation);
  }
  [[nodiscard]] bool is_capital(std::size_t at) const { // or of a script that is not ASCII
    return is_letter(at) && !(values_[at] >= 'a' && values_[at] <= 'z');
  }
  [[nodiscard]] bool is_small(std::size_t at) const {
    return is_letter(at) && !(values_[at] >= 'A' && values_[at] <= 'Z');
  }
  [[nodiscard]] bool is_listed_letter(std::size_t at) const {
    const char32_t c = values_[at];
    return c < 0x80 ? is_letter(at) : is_in(deepseek_letter_ranges, c);
  }
  /// [!-/:-~], the same in full width, quotation marks and ideographic stops; the ideographic
  /// space, which the list has too, is a space to llama.cpp
  [[nodiscard]] bool is_listed_punctuation(std::size_t at) const {
    const char32_t c = values_[at];
    return (c >= '!' && c <= '/') || (c >= ':' && c <= '~') || (c >= 0xff01 && c <= 0xff0f) ||
           (c >= 0xff1a && c <= 0xff5e) || (c >= 0x2018 && c <= 0x201f) || c == 0x3001 ||
           c == 0x3002;
  }
  [[nodiscard]] bool is_cjk(std::size_t at) const {
    const char32_t c = values_[at];
    return (c >= 0x0800 && c <= 0x9fa5) || (c >= 0xac00 && c <= 0xd7ff);
  }
  /// [\p{P}\$\+<=>\^~\|]
  [[nodiscard]] bool is_punctuation(std::size_t at) const {
    constexpr std::string_view more = "$+<=>^~|";
    return is(at, code_point_class::punctuation) ||
           (values_[at] < 0x80 && more.find(static_cast<char>(values_[at])) != more.npos);
  }

  /// The end of the code points from `at` on that are of a kind.
  std::size_t run(std::size_t at, std::size_t end,
                  bool (word_cutter::*kind)(std::size_t) const) const {
    while (at < end && (this->*kind)(at)) ++at;
    return at;
  }

  /// \s?X+ for a kind X
  std::size_t spaced_run(std::size_t at, std::size_t end,
                         bool (word_cutter::*kind)(std::size_t) const) const {
    const std::size_t first = at + (is_space(at) && at + 1 < end && (this->*kind)(at + 1));
    return (this->*kind)(first) ? run(first, end, kind) : at;
  }

  /// C*S+|C+S* for capitals C and small letters S, with the backtracking of a regular expression:
  /// if nothing small follows the capitals, the last of them that is small too ends the word.
  [[nodiscard]] std::size_t cased_word(std::size_t at, std::size_t end) const {
    const auto capitals = run(at, end, &word_cutter::is_capital);
    const auto smalls = run(capitals, end, &word_cutter::is_small);
    if (smalls > capitals) return smalls;
    for (auto last = capitals; last > at; --last)
      if (is_small(last - 1)) return last;
    return capitals;
  }

  /// \s*[\r\n]+|\s+(?!\S)|\s+
  [[nodiscard]] std::size_t lines_and_spaces(std::size_t at, std::size_t end) const {
    for (auto line = run(at, end, &word_cutter::is_space); line > at; --line)
      if (is_newline(line - 1)) return line;
    return spaces(at, end);
  }

  /// \s+(?!\S)|\s+
  [[nodiscard]] std::size_t spaces(std::size_t at, std::size_t end) const {
    const std::size_t last = run(at, end, &word_cutter::is_space);
    return last == end || last - at < 2 ? last : last - 1;
  }

  /// 's|'t|'re|'ve|'m|'ll|'d
  [[nodiscard]] std::size_t contraction(std::size_t at, std::size_t end, bool any_case) const {
    const auto letter = [&](std::size_t i) -> char32_t {
      if (i >= end) return 0;
      return any_case && values_[i] >= 'A' && values_[i] <= 'Z' ? values_[i] | 0x20 : values_[i];
    };
    if (values_[at] != '\'') return at;
    const auto first = letter(at + 1), second = letter(at + 2);
    if (first == 's' || first == 't' || first == 'm' || first == 'd') return at + 2;
    const bool pair =
        ((first == 'r' || first == 'v') && second == 'e') || (first == 'l' && second == 'l');
    return pair ? at + 3 : at;
  }

  std::string_view text_;
  std::vector<std::size_t> starts_; // of each code point, in bytes; then the text's end
  std::vector<char32_t> values_;
  std::vector<code_point_class> classes_;
  std::vector<word_range> parts_;
};

} // namespace text::detail

} // namespace edgequant::inline EDGEQUANT_ABI
