// SPDX-License-Identifier: MIT
/// Tokens that llama.cpp knows by name.
#pragma once

#include "../config.hpp"

#include <array>
#include <string_view>

namespace edgequant::inline EDGEQUANT_ABI {

/// A text, or a turn of a conversation, ends with these. They are control tokens whatever type the
/// file gives them.
inline constexpr auto end_token_names = std::to_array<std::string_view>({
    "</s>",
    "<eos>",
    "[EOS]",
    "<|eot_id|>",
    "<|eom_id|>",
    "<|im_end|>",
    "<|end|>",
    "<|return|>",
    "<|call|>",
    "<|calls|>",
    "<|flush|>",
    "<end_of_turn>",
    "<turn|>",
    "<|tool_response>",
    "<|endoftext|>",
    "<|end_of_text|>",
    "<end_of_utterance>",
    "<EOT>",
    "_<EOT>",
    "[EOT]",
    "[e~[",
    "<\xef\xbd\x9c"
    "end\xe2\x96\x81of\xe2\x96\x81sentence\xef\xbd\x9c>",
    "<|fim_pad|>",
    "<fim-pad>",
    "<fim_pad>",
    "<PAD>",
    "[PAD]",
    "<|repo_name|>",
    "<reponame>",
    "<REPO>",
    "<|file_sep|>",
});

/// Marks of a text with a hole in it, control tokens in the same way.
inline constexpr auto fill_token_names = std::to_array<std::string_view>({
    "<|fim_prefix|>",
    "<fim-prefix>",
    "<fim_prefix>",
    "<PRE>",
    "\xe2\x96\x81<PRE>",
    "<|code_prefix|>",
    "<\xef\xbd\x9c"
    "fim\xe2\x96\x81"
    "begin\xef\xbd\x9c>",
    "<|fim_suffix|>",
    "<fim_suffix>",
    "<SUF>",
    "<\xef\xbd\x9c"
    "fim\xe2\x96\x81hole\xef\xbd\x9c>",
    "<|fim_middle|>",
    "<fim_middle>",
    "<MID>",
    "<\xef\xbd\x9c"
    "fim\xe2\x96\x81"
    "end\xef\xbd\x9c>",
});

} // namespace edgequant::inline EDGEQUANT_ABI
