// SPDX-License-Identifier: MIT
/// The keys of a GGUF model's architecture: which the engine honours, and which it must refuse
/// because it would compute something else.
#pragma once

#include "../core/number_text.hpp"
#include "model_shape.hpp"

#include <initializer_list>

namespace edgequant::inline EDGEQUANT_ABI {

/// What the engine makes of a key.
enum class key_use {
  honoured, ///< read_model_shape() reads it
  inert,    ///< it describes; no value of it changes what is computed
  neutral,  ///< one value of it changes nothing, every other is refused
  judged,   ///< refused by what other keys say
};

/// A row a key that may follow the architecture's name and a dot.
struct architecture_key_row {
  std::string_view name;
  key_use use;
  double neutral = 0; ///< of key_use::neutral; a bool counts as 0 or 1
};

/// Source: ggml docs/gguf.md and the keys that llama.cpp reads.
inline constexpr architecture_key_row architecture_key_table[] = {
    {"embedding_length", key_use::honoured},
    {"feed_forward_length", key_use::honoured},
    {"block_count", key_use::honoured},
    {"context_length", key_use::honoured},
    {"attention.head_count", key_use::honoured},
    {"attention.head_count_kv", key_use::honoured},
    {"attention.key_length", key_use::honoured},
    {"attention.value_length", key_use::honoured},
    {"attention.layer_norm_rms_epsilon", key_use::honoured},
    {"rope.dimension_count", key_use::honoured},
    {"rope.freq_base", key_use::honoured},
    {"rope.scaling.type", key_use::honoured},
    {"vocab_size", key_use::inert}, // the embedding has the rows that it has
    {"rope.freq_base_swa", key_use::honoured},
    {"rope.scaling.finetuned", key_use::inert}, // but of granite
    {"rope.scaling.original_context_length", key_use::honoured},
    {"rope.scaling.yarn_beta_fast", key_use::honoured},
    {"rope.scaling.yarn_beta_slow", key_use::honoured},
    {"rope.scaling.yarn_ext_factor", key_use::judged},
    {"rope.scaling.yarn_attn_factor", key_use::judged},
    {"rope.scaling.yarn_log_multiplier", key_use::honoured},
    {"rope.scaling.attn_factor", key_use::honoured},
    {"rope.scaling.alpha", key_use::neutral, 0},
    {"rope.scale_linear", key_use::neutral, 1},
    {"expert_count", key_use::judged},
    {"expert_used_count", key_use::judged},
    {"expert_feed_forward_length", key_use::judged},
    {"expert_shared_count", key_use::neutral, 0},
    {"expert_weights_scale", key_use::neutral, 1},
    {"expert_weights_norm", key_use::neutral, 1},
    {"expert_gating_func", key_use::judged},
    {"nextn_predict_layers", key_use::neutral, 0},
    {"leading_dense_block_count", key_use::neutral, 0},
    {"use_parallel_residual", key_use::neutral, 0},
    {"pooling_type", key_use::neutral, 0},
    {"logit_scale", key_use::judged},
    {"residual_scale", key_use::judged},
    {"embedding_scale", key_use::judged},
    {"attn_logit_softcapping", key_use::honoured},
    {"final_logit_softcapping", key_use::honoured},
    {"attention.causal", key_use::neutral, 1},
    {"attention.clamp_kqv", key_use::neutral, 0},
    {"attention.max_alibi_bias", key_use::neutral, 0},
    {"attention.output_scale", key_use::neutral, 1},
    {"attention.value_scale", key_use::neutral, 1},
    {"attention.shared_kv_layers", key_use::neutral, 0},
    {"attention.scale", key_use::honoured},
    {"attention.sliding_window", key_use::honoured},
    {"attention.sliding_window_pattern", key_use::honoured},
    {"rope.scaling.factor", key_use::judged},
    {"hidden_activation", key_use::judged},
    {"tensor_data_layout", key_use::judged},
};

/// bad_file, naming the first key of the architecture (`llama.*` for a llama) that says something
/// else than the engine computes, or that it does not know; and for a general.type that is no
/// model's. Other keys are not looked at.
void refuse_unknown_keys(const gguf_metadata& metadata, const model_shape& shape);

namespace model::detail {

/// The keys of one architecture, judged one by one.
class key_judge {
public:
  key_judge(const gguf_metadata& metadata, const model_shape& shape)
      : metadata_(metadata), shape_(shape), prefix_(std::string(shape.architecture->name) + ".") {}

  void judge(const gguf_metadata::entry& item) const {
    if (!item.key.starts_with(prefix_)) return;
    const auto name = std::string_view(item.key).substr(prefix_.size());
    for (const auto& row : architecture_key_table)
      if (row.name == name) return judge(item, row);
    refuse(item, "the engine does not know this key and what it changes");
  }

private:
  [[noreturn]] void refuse(const gguf_metadata::entry& item, const std::string& problem) const {
    fail(error_code::bad_file, place_of(metadata_.place(), "key", item.key), problem);
  }
  [[nodiscard]] double number(const gguf_metadata::entry& item) const {
    if (item.type == gguf_type::boolean) return *metadata_.get_bool(item.key) ? 1 : 0;
    return *metadata_.get_float(item.key);
  }
  /// Without an exponent or zeros at the end where it is short.
  [[nodiscard]] static std::string text_of(double value) { return general_text(value, 6); }
  void require(const gguf_metadata::entry& item, bool holds, const std::string& expected) const {
    if (!holds) refuse(item, text_of(number(item)) + " cannot be run; " + expected + " can");
  }
  void require_text(const gguf_metadata::entry& item,
                    std::initializer_list<std::string_view> known) const {
    const auto text = *metadata_.get_string(item.key);
    std::string list;
    for (const auto value : known) {
      if (text == value) return;
      list += (list.empty() ? "'" : " and '") + std::string(value) + "'";
    }
    refuse(item, "'" + escaped(text) + "' cannot be run; " + list + " can");
  }

  void judge(const gguf_metadata::entry& item, const architecture_key_row& row) const {
    if (row.use == key_use::neutral)
      require(item, number(item) == row.neutral, text_of(row.neutral));
    if (row.use == key_use::judged) judge_value(item, row.name);
  }
  void judge_value(const gguf_metadata::entry& item, std::string_view name) const {
    if (name == "hidden_activation")
      return shape_.architecture->activation == gate_activation::silu
                 ? require_text(item, {"silu"})
                 : require_text(item, {"gelu", "gelu_pytorch_tanh", "gelu_tanh"});
    if (name == "tensor_data_layout") return require_layout(item);
    if (name == "rope.scaling.factor") {
      const auto type = metadata_.get_string(prefix_ + "rope.scaling.type").value_or("");
      if (type != "linear" && type != "yarn")
        require(item, number(item) == 1, "1, or rope.scaling.type 'linear' with it,");
    } else if (name == "rope.scaling.yarn_ext_factor") { // read where it counts
      if (!shape_.rope.yarn) require(item, number(item) == 0, "0");
    } else if (name == "rope.scaling.yarn_attn_factor") { // llama.cpp computes yarn's anew
      if (!shape_.rope.yarn) require(item, number(item) == 1, "1");
    } else if (name == "expert_gating_func") { // softmax, of all or of those chosen
      if (shape_.architecture->experts)
        require(item, number(item) == 1 || number(item) == 3, "1 or 3");
      else
        require(item, number(item) == 0, "0");
    } else if (name.starts_with("expert_")) {
      if (!shape_.architecture->experts) require(item, number(item) == 0, "0");
    } else if (!shape_.architecture->multipliers) {
      require(item, number(item) == 1, "1");
    }
  }
  /// Both names stand for the order of q and k rows that llama's rope_order is made for.
  void require_layout(const gguf_metadata::entry& item) const {
    if (shape_.architecture->rope == rope_order::pairs)
      require_text(item, {"reference", "Meta AI original pth"});
    else
      require_text(item, {"reference"});
  }

  const gguf_metadata& metadata_;
  const model_shape& shape_;
  std::string prefix_;
};

} // namespace model::detail

inline void refuse_unknown_keys(const gguf_metadata& metadata, const model_shape& shape) {
  const auto type = metadata.get_string("general.type").value_or("model");
  if (type != "model")
    fail(error_code::bad_file, place_of(metadata.place(), "key", "general.type"),
         "'" + escaped(type) + "' cannot be run; 'model' can");
  const model::detail::key_judge judge(metadata, shape);
  for (const auto& item : metadata) judge.judge(item);
}

} // namespace edgequant::inline EDGEQUANT_ABI
