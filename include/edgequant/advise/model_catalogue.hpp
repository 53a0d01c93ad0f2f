// SPDX-License-Identifier: MIT
/// The models that the library knows by name.
#pragma once

#include "../core/nearest_name.hpp"
#include "layer_caches.hpp"
#include "model_tensors.hpp"

#include <string>
#include <string_view>
#include <vector>

namespace edgequant::inline EDGEQUANT_ABI {

/// The models of the table, by size. Parameters are computed, see parameter_count().
[[nodiscard]] const std::vector<model_profile>& model_catalogue();

/// The model of that name; upper and lower case are the same. bad_argument for an unknown name,
/// with the nearest known one.
[[nodiscard]] const model_profile& find_model(std::string_view name);

namespace advisor::detail {

struct model_row {
  std::string_view name, architecture;
  std::uint64_t layers, hidden_size, heads, kv_heads, head_size, feed_forward_size, vocabulary;
  bool tied_embeddings;
  std::uint64_t context_tokens;
  std::uint64_t window = 0; ///< of the layers that window_pattern_table names
};

/// All of them from the configurations of the Hugging Face repositories, as copied in
/// mlc-ai/mlc-llm, python/mlc_llm/model/model_preset.py.
inline constexpr std::string_view model_rows_source =
    "config.json of the model's repository, as in mlc-ai/mlc-llm model_preset.py";

inline constexpr model_row model_rows[] = {
    {"SmolLM2-135M", "llama", 30, 576, 9, 3, 64, 1536, 49152, true, 8192},
    {"SmolLM2-360M", "llama", 32, 960, 15, 5, 64, 2560, 49152, true, 8192},
    {"Qwen2.5-0.5B", "qwen2", 24, 896, 14, 2, 64, 4864, 151936, true, 32768},
    {"Qwen3-0.6B", "qwen3", 28, 1024, 16, 8, 128, 3072, 151936, true, 40960},
    {"Gemma-3-1B", "gemma3", 26, 1152, 4, 1, 256, 6912, 262144, true, 32768, 512},
    {"TinyLlama-1.1B", "llama", 22, 2048, 32, 4, 64, 5632, 32000, false, 2048},
    {"Llama-3.2-1B", "llama", 16, 2048, 32, 8, 64, 8192, 128256, true, 131072},
    {"Qwen2.5-1.5B", "qwen2", 28, 1536, 12, 2, 128, 8960, 151936, true, 32768},
    {"Qwen3-1.7B", "qwen3", 28, 2048, 16, 8, 128, 6144, 151936, true, 40960},
    {"SmolLM-1.7B", "llama", 24, 2048, 32, 32, 64, 8192, 49152, true, 2048},
    {"Gemma-2-2B", "gemma2", 26, 2304, 8, 4, 256, 9216, 256000, true, 8192, 4096},
    {"Qwen2.5-3B", "qwen2", 36, 2048, 16, 2, 128, 11008, 151936, true, 32768},
    {"Llama-3.2-3B", "llama", 28, 3072, 24, 8, 128, 8192, 128256, true, 131072},
    {"Phi-3.5-mini", "phi3", 32, 3072, 32, 32, 96, 8192, 32064, false, 131072},
    {"Llama-2-7B", "llama", 32, 4096, 32, 32, 128, 11008, 32000, false, 4096},
    {"Mistral-7B-v0.1", "llama", 32, 4096, 32, 8, 128, 14336, 32000, false, 32768},
    {"Qwen2.5-7B", "qwen2", 28, 3584, 28, 4, 128, 18944, 152064, false, 32768},
    {"Llama-3.1-8B", "llama", 32, 4096, 32, 8, 128, 14336, 128256, false, 131072},
};

[[nodiscard]] inline model_profile to_profile(const model_row& row) {
  model_profile model;
  model.name = row.name;
  model.layers = row.layers;
  model.hidden_size = row.hidden_size;
  model.heads = row.heads;
  model.kv_heads = row.kv_heads;
  model.head_size = row.head_size;
  model.feed_forward_size = row.feed_forward_size;
  model.vocabulary = row.vocabulary;
  model.tied_embeddings = row.tied_embeddings;
  model.context_tokens = row.context_tokens;
  model.source = model_rows_source;
  model.architecture = row.architecture;
  std::vector<layer_cache> layers(row.layers, {row.kv_heads, 0});
  set_windows(layers, row.window, window_period_of(row.architecture));
  model.layer_caches = unless_alike(std::move(layers));
  model.parameters = parameter_count(model);
  return model;
}

} // namespace advisor::detail

inline const std::vector<model_profile>& model_catalogue() {
  static const auto all = [] {
    std::vector<model_profile> models;
    for (const auto& row : advisor::detail::model_rows)
      models.push_back(advisor::detail::to_profile(row));
    return models;
  }();
  return all;
}

inline const model_profile& find_model(std::string_view name) {
  return find_by_name<model_profile>(model_catalogue(), name, "model");
}

/// Some of the catalogue by name: models::llama_3_2_1b().
namespace models {
[[nodiscard]] inline const model_profile& smollm2_135m() { return find_model("SmolLM2-135M"); }
[[nodiscard]] inline const model_profile& qwen_2_5_0_5b() { return find_model("Qwen2.5-0.5B"); }
[[nodiscard]] inline const model_profile& gemma_3_1b() { return find_model("Gemma-3-1B"); }
[[nodiscard]] inline const model_profile& tinyllama_1_1b() { return find_model("TinyLlama-1.1B"); }
[[nodiscard]] inline const model_profile& llama_3_2_1b() { return find_model("Llama-3.2-1B"); }
[[nodiscard]] inline const model_profile& llama_3_2_3b() { return find_model("Llama-3.2-3B"); }
[[nodiscard]] inline const model_profile& phi_3_5_mini() { return find_model("Phi-3.5-mini"); }
[[nodiscard]] inline const model_profile& llama_2_7b() { return find_model("Llama-2-7B"); }
[[nodiscard]] inline const model_profile& llama_3_1_8b() { return find_model("Llama-3.1-8B"); }
} // namespace models

} // namespace edgequant::inline EDGEQUANT_ABI
