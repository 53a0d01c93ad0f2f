// SPDX-License-Identifier: MIT
/// The tensors of Llama-like networks as data: names in checkpoints and GGUF, shapes, what is
/// optional.
#pragma once

#include "../config.hpp"

#include <cstdint>
#include <string_view>

namespace edgequant::inline EDGEQUANT_ABI {

/// What a size in the table below stands for.
enum class llama_size : std::uint8_t { one, hidden, feed_forward, queries, keys, head, vocabulary };

/// The matrices that a flag of config.json gives biases: attention_bias those of q, k, v and o (in
/// Qwen2 of q, k and v), mlp_bias those of gate, up and down.
enum class bias_of : std::uint8_t { none, inputs, attention_output, feed_forward };

/// Which architectures have a tensor.
enum class tensor_part : std::uint8_t { always, qk_norms, post_norms };

/// One kind of tensor: its names in both worlds and its shape.
struct tensor_row {
  std::string_view checkpoint, gguf;
  llama_size rows, columns; ///< a bias, and a norm's weight, has `rows` values
  bool in_layer;            ///< one a layer: model.layers.N. and blk.N.
  bool rotated;             ///< RoPE turns its rows, so their order differs
  bias_of bias = bias_of::none;
  tensor_part part = tensor_part::always;
};

/// In the order of the GGUF file. Where there are post_norms (Gemma), the norm before feed-forward
/// is called pre_feedforward_layernorm in checkpoints.
inline constexpr tensor_row tensor_table[] = {
    {"embed_tokens", "token_embd", llama_size::vocabulary, llama_size::hidden, false, false},
    {"input_layernorm", "attn_norm", llama_size::hidden, llama_size::one, true, false},
    {"self_attn.q_proj", "attn_q", llama_size::queries, llama_size::hidden, true, true,
     bias_of::inputs},
    {"self_attn.k_proj", "attn_k", llama_size::keys, llama_size::hidden, true, true,
     bias_of::inputs},
    {"self_attn.v_proj", "attn_v", llama_size::keys, llama_size::hidden, true, false,
     bias_of::inputs},
    {"self_attn.o_proj", "attn_output", llama_size::hidden, llama_size::queries, true, false,
     bias_of::attention_output},
    {"post_attention_layernorm", "ffn_norm", llama_size::hidden, llama_size::one, true, false},
    {"mlp.gate_proj", "ffn_gate", llama_size::feed_forward, llama_size::hidden, true, false,
     bias_of::feed_forward},
    {"mlp.up_proj", "ffn_up", llama_size::feed_forward, llama_size::hidden, true, false,
     bias_of::feed_forward},
    {"mlp.down_proj", "ffn_down", llama_size::hidden, llama_size::feed_forward, true, false,
     bias_of::feed_forward},
    {"norm", "output_norm", llama_size::hidden, llama_size::one, false, false},
    {"lm_head", "output", llama_size::vocabulary, llama_size::hidden, false, false},
    {"self_attn.q_norm", "attn_q_norm", llama_size::head, llama_size::one, true, false,
     bias_of::none, tensor_part::qk_norms},
    {"self_attn.k_norm", "attn_k_norm", llama_size::head, llama_size::one, true, false,
     bias_of::none, tensor_part::qk_norms},
    {"post_attention_layernorm", "post_attention_norm", llama_size::hidden, llama_size::one, true,
     false, bias_of::none, tensor_part::post_norms},
    {"post_feedforward_layernorm", "post_ffw_norm", llama_size::hidden, llama_size::one, true,
     false, bias_of::none, tensor_part::post_norms},
};

/// The value of a size in a network that has the members of llama_config or model_profile.
template <class Sizes>
[[nodiscard]] constexpr std::uint64_t value_of(llama_size size, const Sizes& model) noexcept {
  switch (size) {
  case llama_size::one:
    return 1;
  case llama_size::hidden:
    return model.hidden_size;
  case llama_size::feed_forward:
    return model.feed_forward_size;
  case llama_size::queries:
    return model.heads * model.head_size;
  case llama_size::keys:
    return model.kv_heads * model.head_size;
  case llama_size::head:
    return model.head_size;
  case llama_size::vocabulary:
    break;
  }
  return model.vocabulary;
}

} // namespace edgequant::inline EDGEQUANT_ABI
