// SPDX-License-Identifier: MIT
/// Llama's tensors as data: names in checkpoints and GGUF, and shapes.
#pragma once

#include "../config.hpp"

#include <cstdint>
#include <string_view>

namespace edgequant::inline EDGEQUANT_ABI {

/// What a size in the table below stands for.
enum class llama_size : std::uint8_t { one, hidden, feed_forward, queries, keys, vocabulary };

/// One kind of tensor: its names in both worlds and its shape.
struct llama_tensor_row {
  std::string_view checkpoint, gguf;
  llama_size rows, columns; ///< a bias, and a norm's weight, has `rows` values
  bool in_layer;            ///< one a layer: model.layers.N. and blk.N.
  bool rotated;             ///< RoPE turns its rows, so their order differs
};

/// In the order of the GGUF file.
inline constexpr llama_tensor_row llama_tensor_table[] = {
    {"embed_tokens", "token_embd", llama_size::vocabulary, llama_size::hidden, false, false},
    {"input_layernorm", "attn_norm", llama_size::hidden, llama_size::one, true, false},
    {"self_attn.q_proj", "attn_q", llama_size::queries, llama_size::hidden, true, true},
    {"self_attn.k_proj", "attn_k", llama_size::keys, llama_size::hidden, true, true},
    {"self_attn.v_proj", "attn_v", llama_size::keys, llama_size::hidden, true, false},
    {"self_attn.o_proj", "attn_output", llama_size::hidden, llama_size::queries, true, false},
    {"post_attention_layernorm", "ffn_norm", llama_size::hidden, llama_size::one, true, false},
    {"mlp.gate_proj", "ffn_gate", llama_size::feed_forward, llama_size::hidden, true, false},
    {"mlp.up_proj", "ffn_up", llama_size::feed_forward, llama_size::hidden, true, false},
    {"mlp.down_proj", "ffn_down", llama_size::hidden, llama_size::feed_forward, true, false},
    {"norm", "output_norm", llama_size::hidden, llama_size::one, false, false},
    {"lm_head", "output", llama_size::vocabulary, llama_size::hidden, false, false},
};

} // namespace edgequant::inline EDGEQUANT_ABI
