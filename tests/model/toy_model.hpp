// SPDX-License-Identifier: MIT
/// Small random models in memory, for the tests of the network.
#pragma once

#include "inputs.hpp"
#include "model/support.hpp"

#include <edgequant/io/gguf_writer.hpp>
#include <edgequant/model/architecture.hpp>
#include <edgequant/quantizer/row_codec.hpp>

#include <functional>

namespace model_test {

/// What a toy model is made of; the defaults exercise grouped queries and odd sizes.
struct toy_options {
  std::string architecture = "llama";
  std::uint32_t hidden = 32, feed_forward = 44, layers = 2, heads = 4, kv_heads = 2, words = 40;
  std::uint32_t context = 64;
  bool biases = false, divisors = false, own_output = false; ///< biases of q, k and v
  std::vector<std::string> other_biases = {}; ///< of these matrices of a layer: "ffn_up" ...
  eq::format type = eq::format::f32;          ///< of matrices
  float linear_factor = 0;                    ///< 0: none
  std::uint32_t window = 0;                   ///< 0: no key
  std::uint32_t experts = 0, experts_used = 2;
  std::vector<std::pair<std::string, std::vector<std::uint64_t>>> more = {}; ///< vectors around 3
  std::function<void(eq::gguf_metadata&)> change_keys = {}; ///< before it is written
  std::function<bool(eq::tensor_info&, std::vector<float>&)> change_tensor = {}; ///< false drops it
};

/// A toy of an architecture, with layers of every kind: with windows and without, with RoPE and
/// without.
inline toy_options toy_of(const eq::architecture_row& row) {
  toy_options o;
  o.architecture = row.name;
  o.layers = std::max(2u, std::max(row.window_period, row.no_rope_period) + 1);
  o.biases = row.qkv_bias, o.experts = row.experts ? 5 : 0;
  if (row.expert_biases) o.other_biases = {"attn_output"};
  if (row.window_period != 0) o.window = 7;
  return o;
}

/// Its keys.
inline eq::gguf_metadata toy_keys(const toy_options& o) {
  eq::gguf_metadata keys;
  const std::string at = o.architecture + ".";
  keys.set("general.architecture", o.architecture);
  keys.set(at + "embedding_length", o.hidden);
  keys.set(at + "feed_forward_length", o.feed_forward);
  keys.set(at + "block_count", o.layers);
  keys.set(at + "context_length", o.context);
  keys.set(at + "attention.head_count", o.heads);
  keys.set(at + "attention.head_count_kv", o.kv_heads);
  keys.set(at + "attention.layer_norm_rms_epsilon", 1e-5f);
  keys.set(at + "rope.freq_base", 500.0f);
  if (o.linear_factor != 0) {
    keys.set(at + "rope.scaling.type", "linear");
    keys.set(at + "rope.scaling.factor", o.linear_factor);
  }
  if (o.window != 0) keys.set(at + "attention.sliding_window", o.window);
  if (o.experts != 0) {
    keys.set(at + "expert_count", o.experts);
    keys.set(at + "expert_used_count", o.experts_used);
    keys.set(at + "expert_feed_forward_length", o.feed_forward);
  }
  if (eq::find_architecture(o.architecture)->multipliers) {
    keys.set(at + "embedding_scale", 3.0f);
    keys.set(at + "residual_scale", 0.4f);
    keys.set(at + "logit_scale", 2.0f);
    keys.set(at + "attention.scale", 0.2f);
  }
  if (o.change_keys) o.change_keys(keys);
  return keys;
}

/// Writes the model.
inline void write_toy(const fs::path& path, const toy_options& o) {
  struct tensor {
    eq::tensor_info info;
    std::vector<float> values;
  };
  std::vector<tensor> tensors;
  const auto add = [&](std::string name, std::vector<std::uint64_t> dims, float spread,
                       float middle = 0) {
    std::size_t count = 1;
    for (const auto d : dims) count *= d;
    auto values = inputs::make(inputs::gaussian, count, static_cast<unsigned>(tensors.size()) + 50);
    for (float& x : values) x = middle + x * spread * 50; // the inputs have a deviation of 0.02
    const bool is_matrix = dims.size() > 1 && name.ends_with(".weight");
    const auto type = is_matrix ? o.type : eq::format::f32;
    tensor t{{std::move(name), std::move(dims), type}, std::move(values)};
    if (!o.change_tensor || o.change_tensor(t.info, t.values)) tensors.push_back(std::move(t));
  };
  const std::uint64_t d = o.hidden / o.heads, kv = o.kv_heads * d, h = o.hidden;
  add("token_embd.weight", {h, o.words}, 1);
  const auto& row = *eq::find_architecture(o.architecture);
  const bool before = row.norms != eq::norm_place::after,
             behind = row.norms != eq::norm_place::before;
  for (std::uint32_t i = 0; i < o.layers; ++i) {
    const std::string at = "blk." + std::to_string(i) + ".";
    if (before) add(at + "attn_norm.weight", {h}, 0.2f, 1);
    if (row.fused) {
      add(at + "attn_qkv.weight", {h, h + 2 * kv}, 0.4f);
      if (o.biases) add(at + "attn_qkv.bias", {h + 2 * kv}, 0.5f);
    } else {
      add(at + "attn_q.weight", {h, h}, 0.4f);
      add(at + "attn_k.weight", {h, kv}, 0.4f);
      add(at + "attn_v.weight", {h, kv}, 0.3f);
    }
    if (o.biases && !row.fused) {
      add(at + "attn_q.bias", {h}, 0.5f);
      add(at + "attn_k.bias", {kv}, 0.5f);
      add(at + "attn_v.bias", {kv}, 0.5f);
    }
    if (row.qk_norms != eq::qk_norm::none) {
      const bool all = row.qk_norms == eq::qk_norm::all;
      add(at + "attn_q_norm.weight", {all ? h : d}, 0.2f, 1);
      add(at + "attn_k_norm.weight", {all ? kv : d}, 0.2f, 1);
    }
    if (row.attention_sinks) add(at + "attn_sinks.weight", {o.heads}, 1);
    add(at + "attn_output.weight", {h, h}, 0.3f);
    if (behind || row.renamed_norm) add(at + "post_attention_norm.weight", {h}, 0.2f, 1);
    if (before && !row.renamed_norm) add(at + "ffn_norm.weight", {h}, 0.2f, 1);
    if (o.experts != 0) {
      add(at + "ffn_gate_inp.weight", {h, o.experts}, 0.5f);
      add(at + "ffn_gate_exps.weight", {h, o.feed_forward, o.experts}, 0.3f);
      add(at + "ffn_up_exps.weight", {h, o.feed_forward, o.experts}, 0.3f);
      add(at + "ffn_down_exps.weight", {o.feed_forward, h, o.experts}, 0.3f);
      if (row.expert_biases) {
        add(at + "ffn_gate_inp.bias", {o.experts}, 0.5f);
        add(at + "ffn_gate_exps.bias", {o.feed_forward, o.experts}, 0.5f);
        add(at + "ffn_up_exps.bias", {o.feed_forward, o.experts}, 0.5f);
        add(at + "ffn_down_exps.bias", {h, o.experts}, 0.5f);
      }
    } else {
      if (!row.fused) add(at + "ffn_gate.weight", {h, o.feed_forward}, 0.3f);
      add(at + "ffn_up.weight", {h, (row.fused ? 2 : 1) * o.feed_forward}, 0.3f);
      add(at + "ffn_down.weight", {o.feed_forward, h}, 0.3f);
    }
    if (behind) add(at + "post_ffw_norm.weight", {h}, 0.2f, 1);
    for (const auto& name : o.other_biases)
      add(at + name + ".bias", {name == "ffn_gate" || name == "ffn_up" ? o.feed_forward : h}, 0.5f);
  }
  add("output_norm.weight", {h}, 0.2f, 1);
  if (o.own_output) add("output.weight", {h, o.words}, 0.3f);
  if (o.divisors) add("rope_freqs.weight", {d / 2}, 0.5f, 3);
  for (const auto& [name, dims] : o.more) add(name, dims, 0.5f, 3);
  std::vector<eq::tensor_info> infos;
  for (const auto& t : tensors) infos.push_back(t.info);
  eq::gguf_writer writer(path, toy_keys(o), infos);
  for (const auto& t : tensors) {
    const auto columns = static_cast<std::size_t>(t.info.dims[0]);
    std::vector<std::byte> row(eq::row_bytes(t.info.type, columns));
    // Formats of super-blocks know the rule mse alone.
    const bool has_absmax =
        !eq::find_layout(t.info.type) || eq::visit_block_format(t.info.type, [](auto) {});
    eq::row_encoder encode(t.info.type, has_absmax ? eq::scale_rule::absmax : eq::scale_rule::mse,
                           "toy");
    for (std::size_t at = 0; at < t.values.size(); at += columns) {
      encode(std::span(t.values).subspan(at, columns), {}, at, row.data());
      writer.write(row);
    }
  }
  writer.finish();
}

} // namespace model_test
