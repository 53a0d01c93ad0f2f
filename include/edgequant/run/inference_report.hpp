// SPDX-License-Identifier: MIT
/// What the pipeline reports.
#pragma once

#include "latency.hpp"

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace edgequant::inline EDGEQUANT_ABI {

struct load_report {
  std::filesystem::path model;
  std::string device, quantization;
  std::uint64_t bytes = 0; ///< of weights, as the engine counts them
  double load_ms = 0;
};

/// Why a text ends where it does.
enum class stop_reason {
  end_token,      ///< the model ended it
  token_limit,    ///< max_tokens are there
  latency_budget, ///< the time is used up
  cancelled,      ///< cancel()
  context_full,   ///< the engine has no room for another token
};

/// `end token`, `token limit` and so on.
[[nodiscard]] constexpr std::string_view name_of(stop_reason reason) noexcept {
  constexpr std::string_view names[] = {"end token", "token limit", "latency budget", "cancelled",
                                        "context full"};
  return names[static_cast<std::size_t>(reason)];
}

struct inference_report {
  std::string prompt;
  std::size_t max_tokens = 0;
  std::string quantization;
  std::string text;                 ///< what was generated, without the prompt
  std::vector<std::int32_t> tokens; ///< what was generated, without an end token
  std::size_t prompt_tokens = 0;
  double time_to_first_token_ms = 0;    ///< tokenizer, prefill and choice; 0 without a token
  double prefill_tokens_per_second = 0; ///< of the prompt
  double decode_tokens_per_second = 0;  ///< of the tokens after the first
  latency_summary latency;              ///< of the tokens after the first: decode and choice
  stop_reason reason = stop_reason::end_token;
  std::string scheduling_note; ///< what of cores and priority was not possible; empty: nothing
};

} // namespace edgequant::inline EDGEQUANT_ABI
