// SPDX-License-Identifier: MIT
/// Small checkpoints made by hand, for the tests of the model and plan rooms.
#pragma once

#include "io/support.hpp"

#include <edgequant/io/tensor.hpp>

#include <nlohmann/json.hpp>

#include <cstring>
#include <span>

namespace model_test {
using namespace io_test;
namespace fs = std::filesystem;

/// A tensor of a safetensors file; the shape as Python prints it.
struct raw_tensor {
  std::string name, dtype;
  std::vector<std::uint64_t> shape;
  bytes data;
};

template <class T> bytes bytes_from(const std::vector<T>& values) {
  const auto raw = std::as_bytes(std::span(values));
  return {raw.begin(), raw.end()};
}

inline raw_tensor f32_tensor(std::string name, std::vector<std::uint64_t> shape,
                             const std::vector<float>& values) {
  return {std::move(name), "F32", std::move(shape), bytes_from(values)};
}

/// Value r + c / 1024 at row r, column c: exact, and it tells where it comes from.
inline raw_tensor numbered(std::string name, std::vector<std::uint64_t> shape) {
  const std::uint64_t columns = shape.size() == 1 ? 1 : shape.back();
  std::uint64_t count = 1;
  for (const auto axis : shape) count *= axis;
  std::vector<float> values;
  for (std::uint64_t i = 0; i < count; ++i)
    values.push_back(static_cast<float>(i / columns) + static_cast<float>(i % columns) / 1024);
  return f32_tensor(std::move(name), std::move(shape), values);
}

inline void write_safetensors(const fs::path& path, const std::vector<raw_tensor>& tensors) {
  nlohmann::json header = nlohmann::json::object();
  bytes data;
  for (const auto& t : tensors) {
    header[t.name] = {{"dtype", t.dtype},
                      {"shape", t.shape},
                      {"data_offsets", {data.size(), data.size() + t.data.size()}}};
    data.insert(data.end(), t.data.begin(), t.data.end());
  }
  const std::string text = header.dump();
  bytes file;
  eq::append_number(file, std::uint64_t{text.size()});
  eq::append_text(file, text);
  file.insert(file.end(), data.begin(), data.end());
  write_all(path, eq::as_text(file));
}

/// 4 heads and 2 KV heads of 16 rows, 2 layers.
inline nlohmann::json tiny_config() {
  return {{"model_type", "llama"},   {"hidden_size", 64},        {"intermediate_size", 96},
          {"num_hidden_layers", 2},  {"num_attention_heads", 4}, {"num_key_value_heads", 2},
          {"vocab_size", 40},        {"bos_token_id", 1},        {"eos_token_id", 2},
          {"rms_norm_eps", 0.03125}, {"rope_theta", 5000.0}};
}

inline std::vector<raw_tensor> tiny_layer(int layer) {
  const std::string at = "model.layers." + std::to_string(layer) + ".";
  return {numbered(at + "mlp.down_proj.weight", {64, 96}),
          numbered(at + "mlp.up_proj.weight", {96, 64}),
          numbered(at + "mlp.gate_proj.weight", {96, 64}),
          numbered(at + "post_attention_layernorm.weight", {64}),
          numbered(at + "self_attn.o_proj.weight", {64, 64}),
          numbered(at + "self_attn.v_proj.weight", {32, 64}),
          numbered(at + "self_attn.k_proj.weight", {32, 64}),
          numbered(at + "self_attn.q_proj.weight", {64, 64}),
          numbered(at + "input_layernorm.weight", {64})};
}

/// All tensors of tiny_config(), in no useful order.
inline std::vector<raw_tensor> tiny_tensors() {
  std::vector<raw_tensor> all = {numbered("lm_head.weight", {40, 64}),
                                 numbered("model.norm.weight", {64})};
  for (const int layer : {1, 0})
    for (auto& tensor : tiny_layer(layer)) all.push_back(std::move(tensor));
  all.push_back(numbered("model.embed_tokens.weight", {40, 64}));
  return all;
}

inline void write_checkpoint(const fs::path& folder, const std::vector<raw_tensor>& tensors,
                             const nlohmann::json& config) {
  write_safetensors(folder / "model.safetensors", tensors);
  write_all(folder / "config.json", config.dump());
}

/// A tokenizer.model of pieces without scores and types; each shorter than 100 bytes.
inline std::string tokenizer_of(const std::vector<std::string>& pieces) {
  std::string out;
  for (const auto& piece : pieces)
    out += std::string("\x0a") + static_cast<char>(piece.size() + 2) + "\x0a" +
           static_cast<char>(piece.size()) + piece;
  return out;
}

/// The values of an f32 tensor.
inline std::vector<float> floats_of(std::span<const std::byte> data) {
  std::vector<float> values(data.size() / sizeof(float));
  std::memcpy(values.data(), data.data(), values.size() * sizeof(float));
  return values;
}

inline eq::stored_tensor stored(std::string name, std::vector<std::uint64_t> dims,
                                eq::format type = eq::format::f32) {
  const auto size = eq::tensor_bytes(type, dims, eq::error_code::bad_argument, name);
  return eq::make_tensor(std::move(name), std::move(dims), type,
                         bytes(static_cast<std::size_t>(size)));
}

} // namespace model_test
