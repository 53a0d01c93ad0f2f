// SPDX-License-Identifier: MIT
/// The merges of a BPE vocabulary, in the order of their list.
#pragma once

#include "pair_merge.hpp"
#include "token_table.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <unordered_map>

namespace edgequant::inline EDGEQUANT_ABI::text::detail {

class merge_table {
public:
  merge_table() = default;
  /// Reads tokenizer.ggml.merges. bad_file, naming the merge, for one that is no pair of tokens.
  merge_table(const token_table& table, const gguf_metadata& metadata) {
    constexpr std::string_view key = "tokenizer.ggml.merges";
    const auto merges = metadata.get_strings(key);
    if (!merges) refuse_key(metadata, key, "the key is missing");
    merges_.reserve(merges->size());
    for (std::size_t i = 0; i < merges->size(); ++i) {
      const std::string& merge = (*merges)[i];
      const auto refuse = [&](const std::string& problem) {
        refuse_key(metadata, key,
                   "merge " + std::to_string(i) + ", '" + escaped(merge) + "', " + problem);
      };
      const auto space = merge.find(' ', 1);
      if (space == merge.npos || space + 1 == merge.size()) refuse("is no pair of tokens");
      const auto token = [&](const std::string& text) {
        const auto id = table.find(text);
        if (!id) refuse("is of an unknown token, '" + escaped(text) + "'");
        return *id;
      };
      const auto left = token(merge.substr(0, space)), right = token(merge.substr(space + 1));
      const auto merged = token(merge.substr(0, space) + merge.substr(space + 1));
      merges_.try_emplace(pair_of(left, right), symbol_merge{static_cast<double>(i), merged});
    }
  }

  /// What two neighbours become, or nothing.
  [[nodiscard]] std::optional<symbol_merge> find(std::int32_t left,
                                                 std::int32_t right) const noexcept {
    const auto found = merges_.find(pair_of(left, right));
    return found == merges_.end() ? std::nullopt : std::optional(found->second);
  }

private:
  [[nodiscard]] static std::uint64_t pair_of(std::int32_t left, std::int32_t right) noexcept {
    return std::uint64_t{static_cast<std::uint32_t>(left)} << 32 |
           static_cast<std::uint32_t>(right);
  }
  std::unordered_map<std::uint64_t, symbol_merge> merges_;
};

} // namespace edgequant::inline EDGEQUANT_ABI::text::detail
