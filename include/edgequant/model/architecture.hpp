// SPDX-License-Identifier: MIT
/// Architectures as data: a row says how a network differs from Llama.
#pragma once

#include "../config.hpp"

#include <cstdint>
#include <string_view>

namespace edgequant::inline EDGEQUANT_ABI {

/// Which values of a head RoPE turns together.
enum class rope_order : std::uint8_t {
  pairs,  ///< 2i and 2i + 1
  halves, ///< i and i + size / 2
};

/// What the gate of a feed-forward network passes through.
enum class gate_activation : std::uint8_t {
  silu,
  gelu,         ///< its approximation by tanh
  clamped_silu, ///< gpt-oss's: x sigmoid(1.702 x), both halves clamped, one added to the other
};

/// Where a sublayer has its norms: of what it reads, and of what it adds to the residual stream.
enum class norm_place : std::uint8_t { before, after, both };

/// Norms of queries and keys before RoPE turns them.
enum class qk_norm : std::uint8_t {
  none,
  head, ///< each head by itself, all with the same weights
  all,  ///< all heads of a token together
};

/// A row an architecture. Source: the modeling files of Hugging Face transformers, the keys that
/// llama.cpp reads; the counts of parameters that follow equal the published ones.
struct architecture_row {
  std::string_view name;       ///< general.architecture, and the prefix of its keys
  std::string_view model_type; ///< of config.json
  rope_order rope = rope_order::halves;
  gate_activation activation = gate_activation::silu;
  norm_place norms = norm_place::before;
  qk_norm qk_norms = qk_norm::none;
  bool qkv_bias = false;        ///< q, k and v have biases; where not, they may
  bool fused = false;           ///< q, k and v are one matrix, and so are gate and up
  bool tied_embeddings = false; ///< where config.json does not say
  std::uint64_t head_size = 0;  ///< likewise; 0: hidden_size / heads
  double rms_epsilon = 1e-6, rope_base = 10000; ///< likewise
  bool rope_factors = false;                    ///< files may hold divisors of RoPE's frequencies
  bool partial_rope = false;                    ///< RoPE may turn a part of a head

  bool scaled_embedding = false; ///< embeddings are multiplied by sqrt(hidden_size)
  bool unit_norms = false;       ///< checkpoints hold the weights of norms less 1
  bool multipliers = false;      ///< keys embedding_scale, residual_scale and logit_scale count

  /// Layers see a window of tokens, but each window_period-th sees all; 1: no layer sees all; 0: a
  /// window has no meaning.
  std::uint32_t window_period = 0;
  std::uint32_t window = 0;            ///< tokens, where a GGUF does not say; 0: none
  std::uint32_t checkpoint_window = 0; ///< the same of a config.json
  bool window_switch = false;       ///< config.json has a window where use_sliding_window is true
  double local_rope_base = 0;       ///< of layers with a window; 0: as the others
  bool local_rope_scaled = true;    ///< rope.scaling counts for layers with a window too
  bool rope_in_windows = false;     ///< where some layers have windows, the others have no RoPE
  std::uint32_t no_rope_period = 0; ///< each so manieth layer has no RoPE; 0: all have

  /// The feed-forward network is one of experts, of which each token takes some: those with the
  /// largest logits, weighed by the softmax of these.
  bool experts = false;
  bool attention_sinks = false; ///< a logit a head that takes part in its softmax
  bool expert_biases = false;   ///< the router and the experts have biases
  /// The norm before feed-forward is called post_attention_norm.
  bool renamed_norm = false;
  /// llama.cpp loads it with heads * head size = hidden size alone.
  bool heads_fill_hidden = false;

  float attention_softcap = 0, logit_softcap = 0; ///< where the file does not say; 0: none
  /// With so many layers queries are divided by sqrt(hidden_size / heads), not sqrt(head size).
  std::uint32_t mean_head_layers = 0;
};

namespace model::detail {

[[nodiscard]] constexpr architecture_row llama_row(std::string_view name,
                                                   std::string_view model_type) {
  architecture_row row{name, model_type};
  row.rope = rope_order::pairs;
  row.window_period = 1; // Mistral's
  row.checkpoint_window = model_type == "llama" ? 0 : 4096;
  row.rope_factors = true;
  return row;
}
[[nodiscard]] constexpr architecture_row qwen_row(std::string_view name, bool qk_norms) {
  architecture_row row{name, name};
  row.qkv_bias = !qk_norms;
  row.qk_norms = qk_norms ? qk_norm::head : qk_norm::none;
  row.head_size = qk_norms ? 128 : 0;
  row.window_switch = true;
  row.heads_fill_hidden = !qk_norms;
  return row;
}
[[nodiscard]] constexpr architecture_row scaled_row(std::string_view name) {
  architecture_row row = llama_row(name, name);
  row.multipliers = true;
  row.window_period = 0;
  return row;
}
[[nodiscard]] constexpr architecture_row smollm3_row() {
  architecture_row row = llama_row("smollm3", "smollm3");
  row.no_rope_period = 4;
  row.window_period = 0;
  row.rope_base = 2e6;
  row.rope_factors = false;
  row.tied_embeddings = row.window_switch = true;
  return row;
}
[[nodiscard]] constexpr architecture_row deci_row() {
  architecture_row row = llama_row("deci", "nemotron-nas");
  row.window_period = 0;
  return row;
}
[[nodiscard]] constexpr architecture_row phi3_row() {
  architecture_row row{"phi3", "phi3"};
  row.fused = row.rope_factors = row.partial_rope = row.heads_fill_hidden = true;
  row.rms_epsilon = 1e-5;
  row.window_period = 1;
  return row;
}
[[nodiscard]] constexpr architecture_row gemma_row(std::string_view name,
                                                   std::string_view model_type) {
  architecture_row row{name, model_type};
  row.activation = gate_activation::gelu;
  row.tied_embeddings = row.scaled_embedding = row.unit_norms = true;
  row.head_size = 256;
  return row;
}
[[nodiscard]] constexpr architecture_row gemma2_row() {
  architecture_row row = gemma_row("gemma2", "gemma2");
  row.norms = norm_place::both;
  row.window_period = 2, row.window = row.checkpoint_window = 4096;
  row.attention_softcap = 50, row.logit_softcap = 30;
  row.mean_head_layers = 46;
  return row;
}
[[nodiscard]] constexpr architecture_row gemma3_row(std::string_view model_type) {
  architecture_row row = gemma_row("gemma3", model_type);
  row.norms = norm_place::both;
  row.qk_norms = qk_norm::head;
  row.window_period = 6, row.checkpoint_window = 4096;
  row.rope_base = 1e6;
  row.local_rope_base = 10000, row.local_rope_scaled = false;
  row.mean_head_layers = 62;
  return row;
}
[[nodiscard]] constexpr architecture_row olmo2_row(std::string_view model_type) {
  architecture_row row{"olmo2", model_type};
  row.heads_fill_hidden = true;
  row.norms = norm_place::after;
  row.qk_norms = qk_norm::all;
  const bool has_windows = model_type == "olmo3";
  row.window_period = has_windows ? 4 : 0, row.checkpoint_window = has_windows ? 4096 : 0;
  row.rms_epsilon = 1e-5, row.rope_base = has_windows ? 5e5 : 1e4;
  row.local_rope_scaled = false;
  return row;
}
[[nodiscard]] constexpr architecture_row exaone4_row() {
  architecture_row row{"exaone4", "exaone4"};
  row.norms = norm_place::after;
  row.qk_norms = qk_norm::head;
  row.window_period = 4, row.checkpoint_window = 4096;
  row.rms_epsilon = 1e-5;
  row.rope_in_windows = row.rope_factors = row.heads_fill_hidden = true;
  return row;
}

[[nodiscard]] constexpr architecture_row qwen3moe_row() {
  architecture_row row = qwen_row("qwen3moe", true);
  row.model_type = "qwen3_moe";
  row.head_size = 0;
  row.experts = true;
  return row;
}
[[nodiscard]] constexpr architecture_row gpt_oss_row() {
  architecture_row row{"gpt-oss", "gpt_oss"};
  row.activation = gate_activation::clamped_silu;
  row.experts = row.qkv_bias = row.attention_sinks = row.expert_biases = row.renamed_norm = true;
  row.head_size = 64;
  row.rms_epsilon = 1e-5, row.rope_base = 150000;
  row.window_period = 2;
  return row;
}

} // namespace model::detail

/// The first row of a name stands for it where no model_type is known.
inline constexpr architecture_row architecture_table[] = {
    model::detail::llama_row("llama", "llama"),
    model::detail::llama_row("llama", "mistral"),
    model::detail::llama_row("llama", "ministral"),
    model::detail::qwen_row("qwen2", false),
    model::detail::qwen_row("qwen3", true),
    model::detail::smollm3_row(),
    model::detail::scaled_row("minicpm"),
    model::detail::scaled_row("granite"),
    model::detail::deci_row(),
    model::detail::phi3_row(),
    model::detail::gemma_row("gemma", "gemma"),
    model::detail::gemma2_row(),
    model::detail::gemma3_row("gemma3_text"),
    model::detail::gemma3_row("gemma3"),
    model::detail::olmo2_row("olmo3"),
    model::detail::olmo2_row("olmo2"),
    model::detail::exaone4_row(),
    model::detail::qwen3moe_row(),
    model::detail::gpt_oss_row(),
};

/// The first row of a general.architecture, or null.
[[nodiscard]] constexpr const architecture_row* find_architecture(std::string_view name) noexcept {
  for (const auto& row : architecture_table)
    if (row.name == name) return &row;
  return nullptr;
}

} // namespace edgequant::inline EDGEQUANT_ABI
