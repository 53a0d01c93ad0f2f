// SPDX-License-Identifier: MIT
/// The fields of a config.json that have no place in checkpoint_config: which may be passed over,
/// and which change what the network computes.
#pragma once

#include "../core/number_parse.hpp"
#include "../io/json_object.hpp"

#include <string>
#include <string_view>
#include <vector>

namespace edgequant::inline EDGEQUANT_ABI {

/// A field that changes the network, and the values with which it does not, separated by spaces.
/// null is always one of them, and so is an empty list or object.
struct neutral_field {
  std::string_view name, neutral;
};

/// An architecture that does not read these has no place for them. Names as in the configurations
/// of Hugging Face transformers, MiniCPM, Granite, Cohere, Gemma, GPT-NeoX, Falcon and their
/// relatives.
// clang-format off
inline constexpr neutral_field neutral_fields[] = {
    // activation
    {"hidden_act", "silu swish"}, {"hidden_activation", "silu swish"},
    {"activation", "silu swish swiglu"}, {"activation_function", "silu swish swiglu"},
    {"activation_type", "silu swish swiglu"}, {"act_fn", "silu swish"},
    {"mlp_hidden_act", "silu swish"}, {"ffn_act", "silu swish"}, {"use_gated_mlp", "true"},
    {"gated_mlp", "true"}, {"use_swiglu", "true"},
    // which keys a query sees
    {"layer_types", "full_attention"}, {"attention_types", "global full full_attention"},
    {"attention_layers", "global full full_attention"}, {"attention_type", "full full_attention"},
    {"attention_chunk_size", "0"}, {"attention_window_size", "0"}, {"window_size", "0 -1"},
    {"local_window_size", "0 -1"}, {"local_attention", "0 -1 false"},
    {"sliding_window_pattern", "0 1"}, {"sliding_window_size", "0 -1"},
    {"global_attn_every_n_layers", "0 1"}, {"is_causal", "true"}, {"bidirectional", "false"},
    {"use_bidirectional_attention", "false"}, {"use_prefix_lm", "false"}, {"prefix_lm", "false"},
    {"add_cross_attention", "false"}, {"cross_attention_layers", ""},
    {"is_encoder_decoder", "false"}, {"pruned_heads", ""}, {"use_attention_sinks", "false"},
    {"attention_sinks", "0 false"}, {"num_sink_tokens", "0"}, {"num_meta_tokens", "0"},
    {"num_memory_tokens", "0"},
    // positions
    {"partial_rotary_factor", "1"}, {"rotary_pct", "1"}, {"rotary_percent", "1"},
    {"rotary_percentage", "1"}, {"rope_percentage", "1"}, {"rope_pct", "1"}, {"rope_ratio", "1"},
    {"rope_scale", "1"}, {"rope_factor", "1"}, {"rope_scaling_factor", "1"},
    {"rope_scaling_type", "none default"}, {"rope_type", "default"}, {"rotary_emb_fraction", "1"},
    {"rotary_emb_scale_base", "0"}, {"rope_interleaved", "false"}, {"rope_interleave", "false"},
    {"interleaved_rope", "false"}, {"rotary_emb_interleaved", "false"},
    {"rotary_interleaved", "false"}, {"rope_local_base_freq", ""}, {"local_rope_theta", ""},
    {"global_rope_theta", ""}, {"use_rope", "true"}, {"use_rotary", "true"},
    {"use_rotary_embedding", "true"}, {"use_rotary_embeddings", "true"},
    {"use_rotary_pos_emb", "true"}, {"rotary", "true"}, {"use_mrope", "false"},
    {"use_ntk", "false"}, {"use_dynamic_ntk", "false"}, {"use_logn_attn", "false"},
    {"no_rope_layers", "1"}, {"no_rope_layer_interval", "0"}, {"nope_layer_interval", "0"},
    {"position_embedding_type", "rope rotary"}, {"pos_embedding_type", "rope rotary"},
    {"position_encoding_type", "rope rotary"}, {"alibi", "false"}, {"use_alibi", "false"},
    {"alibi_bias_max", "0"}, {"learned_pos_emb", "false"}, {"use_position_embeddings", "false"},
    {"use_absolute_position_embeddings", "false"},
    // scales of activations and logits
    {"attn_logit_softcapping", "0"}, {"attn_logit_softcap", "0"}, {"attention_logit_cap", "0"},
    {"attention_logit_softcapping", "0"}, {"final_logit_softcapping", "0"},
    {"final_logit_softcap", "0"}, {"logits_soft_cap", "0"}, {"logit_softcapping", "0"},
    {"output_logit_softcap", "0"}, {"logit_scale", "1"}, {"logits_scale", "1"},
    {"logits_scaling", "1"}, {"output_multiplier", "1"}, {"output_multiplier_scale", "1"},
    {"lm_head_multiplier", "1"}, {"residual_multiplier", "1"}, {"residual_scale", "1"},
    {"embedding_multiplier", "1"}, {"embedding_multiplier_scale", "1"}, {"embedding_scale", "1"},
    {"embedding_scaling", "1"}, {"emb_scale", "1"}, {"scale_emb", "1"},
    {"scale_embedding", "false 1"}, {"scale_embeddings", "false 1"},
    {"embedding_dropout_scale", "1"}, {"scale_depth", ""}, {"dim_model_base", ""},
    {"mup_scale_factor", "1"}, {"mup_width_scale", "1"}, {"mup_width_multiplier", "1"},
    {"mup_attn_multiplier", "1"}, {"mup_embeddings_scale", "1"}, {"mup_output_alpha", "1"},
    {"use_mup", "false"}, {"width_scale", "1"}, {"key_multiplier", "1"}, {"mlp_multipliers", "1"},
    {"attention_in_multiplier", "1"}, {"attention_out_multiplier", "1"},
    {"attn_temperature_tuning", "false 0"}, {"scale_attn_by_inverse_layer_idx", "false"},
    {"scale_attn_weights", "true"}, {"mscale", "1"}, {"clip_qkv", "0"},
    // norms and the order of sublayers
    {"qk_norm", "false"}, {"use_qk_norm", "false"}, {"qk_layernorm", "false"},
    {"qk_layer_norm", "false"}, {"use_qk_layernorm", "false"}, {"query_key_norm", "false"},
    {"attention_norm", "false"}, {"rms_norm_offset", "false 0"},
    {"rms_norm_add_unit_offset", "false"}, {"rms_norm_unit_offset", "false"},
    {"add_unit_offset", "false"}, {"norm_offset", "false 0"}, {"norm_bias", "false"},
    {"swiglu_limit", "0"}, {"swiglu_alpha", ""}, {"swiglu_limits", "0"},
    {"norm_type", "rmsnorm rms_norm rms RMSNorm LlamaRMSNorm"},
    {"normalization", "rmsnorm rms_norm rms RMSNorm LlamaRMSNorm"},
    {"normalization_type", "rmsnorm rms_norm rms RMSNorm LlamaRMSNorm"},
    {"norm_class", "rmsnorm rms_norm rms RMSNorm LlamaRMSNorm"},
    {"layer_norm_type", "rmsnorm rms_norm rms RMSNorm LlamaRMSNorm"}, {"use_rms_norm", "true"},
    {"use_rmsnorm", "true"}, {"post_norm", "false"}, {"post_norms", "false"},
    {"use_post_norm", "false"}, {"use_post_norms", "false"}, {"use_post_attention_norm", "false"},
    {"sandwich_norm", "false"}, {"norm_after", "false"}, {"norm_reorder", "false"},
    {"normalize_embedding", "false"}, {"normalize_embeddings", "false"},
    {"embedding_norm", "false"}, {"apply_residual_connection_post_layernorm", "false"},
    {"use_parallel_residual", "false"}, {"parallel_residual", "false"},
    {"use_parallel_block", "false"}, {"parallel_attn", "false"}, {"parallel_block", "false"},
    {"shared_layernorm", "false"}, {"attn_output_gate", "false"}, {"use_output_gate", "false"},
    // biases under other names
    {"bias", "false"}, {"use_bias", "false"}, {"add_bias", "false"}, {"add_bias_linear", "false"},
    {"add_qkv_bias", "false"}, {"qkv_bias", "false"}, {"use_qkv_bias", "false"},
    {"attn_bias", "false"}, {"attention_qkv_bias", "false"}, {"attention_out_bias", "false"},
    {"attention_output_bias", "false"}, {"o_bias", "false"}, {"lm_head_bias", "false"},
    // other networks
    {"num_local_experts", "0 1"}, {"num_experts", "0 1"}, {"n_routed_experts", "0 1"},
    {"n_shared_experts", "0"}, {"num_shared_experts", "0"}, {"moe_num_experts", "0 1"},
    {"num_experts_per_tok", "0 1"}, {"num_experts_per_token", "0 1"},
    {"moe_intermediate_size", "0"}, {"shared_expert_intermediate_size", "0"}, {"moe_layers", ""},
    {"mlp_only_layers", ""}, {"interleave_moe_layer_step", "0"}, {"kv_lora_rank", "0"},
    {"q_lora_rank", "0"}, {"qk_rope_head_dim", "0"}, {"qk_nope_head_dim", "0"},
    {"num_kv_shared_layers", "0"}, {"cla_share_factor", "1"}, {"use_cla", "false"},
    {"num_nextn_predict_layers", "0"}, {"mtp_num_layers", "0"}, {"num_loops", "1"},
    {"num_recurrent_steps", "1"}, {"layer_repeats", "1"}, {"mamba_d_state", "0"},
    {"mamba_config", ""}, {"layers_block_type", "attention"}, {"block_configs", ""},
    {"block_types", "attention"}, {"attn_config", ""}, {"ffn_config", ""},
    {"hidden_size_per_layer_input", "0"}, {"vocab_size_per_layer_input", "0"}, {"laurel_rank", "0"},
    {"altup_num_inputs", "0 1"}, {"activation_sparsity_pattern", "0"}, {"text_config", ""},
    {"vision_config", ""}, {"audio_config", ""}, {"adapter_layers", "0"}, {"adapter_len", "0"},
    {"lora_rank", "0"}, {"peft_type", ""},
    // weights that are quantized already
    {"quantization_config", ""}, {"quantization", ""}, {"compression_config", ""},
    {"weight_bits", ""},
};
// clang-format on

/// Fields that no value of which changes logits: of training, generation, files and frameworks.
// clang-format off
inline constexpr std::string_view harmless_fields[] = {
    "_attn_implementation", "_attn_implementation_autoset", "_attn_implementation_internal",
    "_commit_hash", "_flash_attn_2_enabled", "_from_model_config", "_name_or_path", "architectures",
    "attention_dropout", "attention_probs_dropout_prob", "attn_dropout", "attn_implementation",
    "attn_pdrop", "auto_map", "bad_words_ids", "begin_suppress_tokens", "chunk_size_feed_forward",
    "classifier_dropout", "cross_attention_hidden_size", "debug", "decoder_start_token_id",
    "diversity_penalty", "do_sample", "dropout", "dtype", "early_stopping", "embd_pdrop",
    "embedding_dropout", "encoder_no_repeat_ngram_size", "exponential_decay_length_penalty",
    "ffn_dropout", "finetuning_task", "flash_attention", "forced_bos_token_id",
    "forced_eos_token_id", "fused_rms_norm", "gradient_checkpointing", "hidden_dropout",
    "hidden_dropout_prob", "id2label", "init_device", "init_std", "initializer_factor",
    "initializer_range", "is_decoder", "label2id", "layerdrop", "length_penalty", "max_length",
    "max_sequence_length", "max_window_layers", "min_length", "mlp_dropout", "model_max_length",
    "name_or_path", "no_repeat_ngram_size", "num_beam_groups", "num_beams", "num_labels",
    "num_return_sequences", "output_attentions", "output_hidden_states", "output_router_logits",
    "output_scores", "prefix", "pretraining_tp", "problem_type", "remove_invalid_values",
    "repetition_penalty", "resid_dropout", "resid_pdrop", "residual_dropout", "return_dict",
    "return_dict_in_generate", "router_aux_loss_coef", "router_jitter_noise", "sep_token_id",
    "suppress_tokens", "task_specific_params", "temperature", "tensor_parallel_degree",
    "tf_legacy_loss", "tie_encoder_decoder", "tokenizer_class", "top_k", "top_p", "torch_dtype",
    "torchscript", "transformers.js_config", "transformers_version", "typical_p", "unk_token_id",
    "unsloth_fixed", "unsloth_version", "use_bfloat16", "use_cache", "use_flash_attention",
    "use_flash_attention_2", "use_flash_attn", "use_fused_rms_norm",
    "use_memory_efficient_attention", "use_return_dict", "z_loss",
};
// clang-format on

/// Whether a value of a neutral_field leaves the network as it is. A list does if each entry does.
[[nodiscard]] bool is_neutral(const nlohmann::json& value, std::string_view neutral);

/// Takes every field of neutral_fields that nobody has asked for yet, and of harmless_fields, and
/// returns a note for each field that is left: call it last. bad_file, naming field and value, for
/// one that is not neutral.
[[nodiscard]] std::vector<std::string> check_other_fields(json_object& fields,
                                                          const std::string& file);

namespace model::detail {

[[nodiscard]] inline bool is_word(const nlohmann::json& value, const std::string& word) {
  if (value.is_string()) return value.get_ref<const std::string&>() == word;
  if (value.is_boolean()) return word == (value.get<bool>() ? "true" : "false");
  if (!value.is_number()) return false;
  const auto number = read_number(word);
  return number && value.get<double>() == *number;
}

} // namespace model::detail

inline bool is_neutral(const nlohmann::json& value, std::string_view neutral) {
  if (value.is_null()) return true;
  if (value.is_object()) return value.empty();
  if (value.is_array()) {
    for (const auto& entry : value)
      if (!is_neutral(entry, neutral)) return false;
    return true;
  }
  for (std::size_t begin = 0; begin < neutral.size();) {
    const std::size_t end = std::min(neutral.find(' ', begin), neutral.size());
    if (model::detail::is_word(value, std::string(neutral.substr(begin, end - begin)))) return true;
    begin = end + 1;
  }
  return false;
}

inline std::vector<std::string> check_other_fields(json_object& fields, const std::string& file) {
  for (const auto& row : neutral_fields) {
    if (fields.was_asked_for(row.name)) continue;
    const auto* value = fields.find(row.name);
    if (value == nullptr || is_neutral(*value, row.neutral)) continue;
    std::string list(row.neutral);
    for (std::size_t at = 0; (at = list.find(' ', at)) != list.npos; at += 4)
      list.replace(at, 1, " or ");
    fields.refuse(row.name, (list.empty() ? "no value" : list) +
                                ", as its architecture has no place in GGUF for another network");
  }
  for (const auto name : harmless_fields) (void)fields.find(name);
  std::vector<std::string> notes;
  for (const auto& name : fields.others())
    notes.push_back(file + " has a field '" + escaped(name) + "' that this program does not know");
  return notes;
}

} // namespace edgequant::inline EDGEQUANT_ABI
