// SPDX-License-Identifier: MIT
/// The tensors of Llama-like networks as data: names in checkpoints and GGUF, shapes, what is
/// optional.
#pragma once

#include "architecture.hpp"

#include <cstdint>
#include <string_view>

namespace edgequant::inline EDGEQUANT_ABI {

/// What a size in the table below stands for.
enum class network_size : std::uint8_t {
  one,
  hidden,
  feed_forward,
  gate_and_up, ///< both in one matrix
  queries,
  keys,
  queries_keys_values, ///< all three in one matrix
  head,
  vocabulary,
  experts
};

/// The matrices that a flag of config.json gives biases: attention_bias those of q, k, v and o (in
/// Qwen2 of q, k and v), mlp_bias those of gate, up and down.
enum class bias_of : std::uint8_t { none, inputs, attention_output, feed_forward };

/// Which architectures have a tensor.
enum class tensor_part : std::uint8_t {
  always,
  separate,     ///< not fused: of attention
  one_network,  ///< neither fused nor of experts: of feed-forward
  no_experts,   ///< architectures without experts
  experts,      ///< architectures with experts
  each_expert,  ///< with experts: a matrix each, in GGUF behind each other
  fused,        ///< see architecture_row
  norm_before,  ///< norm_place::before alone
  norm_around,  ///< norm_place::before and both
  norms_both,   ///< norm_place::both alone
  norms_behind, ///< norm_place::after and both
  head_norms,   ///< qk_norm::head
  all_norms,    ///< qk_norm::all
};

/// One kind of tensor: its names in both worlds and its shape.
struct tensor_row {
  std::string_view checkpoint, gguf;
  network_size rows, columns; ///< a bias, and a norm's weight, has `rows` values
  bool in_layer;              ///< one a layer: model.layers.N. and blk.N.
  bool rotated;               ///< RoPE turns its rows, so their order differs
  bias_of bias = bias_of::none;
  tensor_part part = tensor_part::always;
};

/// In the order of the GGUF file. `#` stands for the number of an expert.
// clang-format off
inline constexpr tensor_row tensor_table[] = {
    {"embed_tokens", "token_embd", network_size::vocabulary, network_size::hidden, false, false},
    {"input_layernorm", "attn_norm", network_size::hidden, network_size::one, true, false, bias_of::none, tensor_part::norm_around},
    {"self_attn.q_proj", "attn_q", network_size::queries, network_size::hidden, true, true, bias_of::inputs, tensor_part::separate},
    {"self_attn.k_proj", "attn_k", network_size::keys, network_size::hidden, true, true, bias_of::inputs, tensor_part::separate},
    {"self_attn.v_proj", "attn_v", network_size::keys, network_size::hidden, true, false, bias_of::inputs, tensor_part::separate},
    {"self_attn.qkv_proj", "attn_qkv", network_size::queries_keys_values, network_size::hidden, true, false, bias_of::inputs, tensor_part::fused},
    {"self_attn.o_proj", "attn_output", network_size::hidden, network_size::queries, true, false, bias_of::attention_output},
    {"post_attention_layernorm", "ffn_norm", network_size::hidden, network_size::one, true, false, bias_of::none, tensor_part::norm_before},
    {"pre_feedforward_layernorm", "ffn_norm", network_size::hidden, network_size::one, true, false, bias_of::none, tensor_part::norms_both},
    {"mlp.gate_proj", "ffn_gate", network_size::feed_forward, network_size::hidden, true, false, bias_of::feed_forward, tensor_part::one_network},
    {"mlp.up_proj", "ffn_up", network_size::feed_forward, network_size::hidden, true, false, bias_of::feed_forward, tensor_part::one_network},
    {"mlp.gate_up_proj", "ffn_up", network_size::gate_and_up, network_size::hidden, true, false, bias_of::none, tensor_part::fused},
    {"mlp.down_proj", "ffn_down", network_size::hidden, network_size::feed_forward, true, false, bias_of::feed_forward, tensor_part::no_experts},
    {"mlp.gate", "ffn_gate_inp", network_size::experts, network_size::hidden, true, false, bias_of::none, tensor_part::experts},
    {"mlp.experts.#.gate_proj", "ffn_gate_exps", network_size::feed_forward, network_size::hidden, true, false, bias_of::none, tensor_part::each_expert},
    {"mlp.experts.#.up_proj", "ffn_up_exps", network_size::feed_forward, network_size::hidden, true, false, bias_of::none, tensor_part::each_expert},
    {"mlp.experts.#.down_proj", "ffn_down_exps", network_size::hidden, network_size::feed_forward, true, false, bias_of::none, tensor_part::each_expert},
    {"norm", "output_norm", network_size::hidden, network_size::one, false, false},
    {"lm_head", "output", network_size::vocabulary, network_size::hidden, false, false},
    {"self_attn.q_norm", "attn_q_norm", network_size::head, network_size::one, true, false, bias_of::none, tensor_part::head_norms},
    {"self_attn.k_norm", "attn_k_norm", network_size::head, network_size::one, true, false, bias_of::none, tensor_part::head_norms},
    {"self_attn.q_norm", "attn_q_norm", network_size::queries, network_size::one, true, false, bias_of::none, tensor_part::all_norms},
    {"self_attn.k_norm", "attn_k_norm", network_size::keys, network_size::one, true, false, bias_of::none, tensor_part::all_norms},
    {"post_attention_layernorm", "post_attention_norm", network_size::hidden, network_size::one, true, false, bias_of::none, tensor_part::norms_behind},
    {"post_feedforward_layernorm", "post_ffw_norm", network_size::hidden, network_size::one, true, false, bias_of::none, tensor_part::norms_behind},
};
// clang-format on

/// Whether networks of an architecture have this tensor.
[[nodiscard]] constexpr bool has_tensor(const architecture_row& family,
                                        const tensor_row& tensor) noexcept {
  switch (tensor.part) {
  case tensor_part::always:
    return true;
  case tensor_part::separate:
    return !family.fused;
  case tensor_part::one_network:
    return !family.fused && !family.experts;
  case tensor_part::no_experts:
    return !family.experts;
  case tensor_part::experts:
  case tensor_part::each_expert:
    return family.experts;
  case tensor_part::fused:
    return family.fused;
  case tensor_part::norm_before:
    return family.norms == norm_place::before;
  case tensor_part::norm_around:
    return family.norms != norm_place::after;
  case tensor_part::norms_both:
    return family.norms == norm_place::both;
  case tensor_part::norms_behind:
    return family.norms != norm_place::before;
  case tensor_part::head_norms:
    return family.qk_norms == qk_norm::head;
  case tensor_part::all_norms:
    break;
  }
  return family.qk_norms == qk_norm::all;
}

/// The value of a size in a network that has the members of checkpoint_config or model_profile.
template <class Sizes>
[[nodiscard]] constexpr std::uint64_t value_of(network_size size, const Sizes& model) noexcept {
  switch (size) {
  case network_size::one:
    return 1;
  case network_size::hidden:
    return model.hidden_size;
  case network_size::feed_forward:
    return model.feed_forward_size;
  case network_size::gate_and_up:
    return 2 * model.feed_forward_size;
  case network_size::queries:
    return model.heads * model.head_size;
  case network_size::keys:
    return model.kv_heads * model.head_size;
  case network_size::queries_keys_values:
    return (model.heads + 2 * model.kv_heads) * model.head_size;
  case network_size::head:
    return model.head_size;
  case network_size::experts:
    return model.experts;
  case network_size::vocabulary:
    break;
  }
  return model.vocabulary;
}

} // namespace edgequant::inline EDGEQUANT_ABI
