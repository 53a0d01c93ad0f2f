// SPDX-License-Identifier: MIT
/// What the pipeline asks of an engine that runs a model.
#pragma once

#include "../config.hpp"

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace edgequant::inline EDGEQUANT_ABI {

struct model_facts {
  std::string quantization; ///< for people: "Q4_0"
  std::uint64_t bytes = 0;  ///< of weights
  std::string device;       ///< for people: "CPU, 4 threads"
  std::size_t context = 0;  ///< tokens that a sequence can hold, prompt included
};

/// Keeps one sequence of tokens. Any call may throw; after that, load() and prefill() work again.
///   load(file)        opens a model, instead of the one before
///   tokenize(text)    the tokens of a prompt, the begin token included if the model wants one
///   prefill(tokens)   clears the sequence, appends these (1 to context); logits after the last
///   decode(token)     appends one token; logits after it
///   detokenize(token) the bytes that the token adds to a text, perhaps a part of a character
///   ends_text(token)  whether the token ends a text
/// Logits are one number a token of the vocabulary, and live until the next call.
template <class E>
concept inference_engine = requires(E& engine, const std::filesystem::path& file,
                                    std::string_view text, std::span<const std::int32_t> tokens,
                                    std::int32_t token) {
  { engine.load(file) } -> std::same_as<model_facts>;
  { engine.tokenize(text) } -> std::same_as<std::vector<std::int32_t>>;
  { engine.prefill(tokens) } -> std::same_as<std::span<const float>>;
  { engine.decode(token) } -> std::same_as<std::span<const float>>;
  { engine.detokenize(token) } -> std::same_as<std::string>;
  { engine.ends_text(token) } -> std::same_as<bool>;
};

} // namespace edgequant::inline EDGEQUANT_ABI
