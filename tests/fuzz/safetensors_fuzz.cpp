// SPDX-License-Identifier: MIT
// safetensors: tensors that cover the data, and the step from them to GGUF names.
#include "support.hpp"

#include <edgequant/io/safetensors.hpp>
#include <edgequant/model/checkpoint_tensors.hpp>

namespace {
using namespace fuzz;

constexpr std::string_view place = "m.safetensors";

/// A model so small that a seed can hold its tensors.
eq::checkpoint_config tiny_config() {
  eq::checkpoint_config config;
  config.family = eq::find_model_type("llama");
  config.hidden_size = 8, config.feed_forward_size = 4, config.layers = 2;
  config.heads = 2, config.kv_heads = 1, config.head_size = 4, config.vocabulary = 3;
  return config;
}

void walk_mapped(const eq::model_tensor& tensor) {
  const auto bytes = eq::row_bytes(tensor.stored.type, tensor.stored.columns());
  for (std::uint64_t r = 0; r < tensor.stored.rows(); ++r) {
    require(tensor.row(r).size() == bytes, "a row has its size");
    touch(tensor.row(r));
  }
}
} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto bytes = bytes_of(data, size);
  eq::safetensors_model model;
  if (!accepts(place, [&] { model = eq::parse_safetensors(bytes, place); })) return 0;
  std::size_t sum = 0;
  for (const auto& tensor : model.tensors) {
    walk_tensor(tensor);
    require(tensor.data.data() + tensor.data.size() <= bytes.data() + size, "data is in the file");
    sum += tensor.data.size();
  }
  std::uint64_t header = 0;
  std::memcpy(&header, data, sizeof header);
  require(sizeof header + header + sum == size, "header and tensors are the whole file");
  static const auto config = tiny_config();
  accepts(place, [&] {
    std::vector<std::string> notes;
    for (const auto& tensor :
         eq::map_checkpoint_tensors(model.tensors, config, std::string(place), notes))
      walk_mapped(tensor);
  });
  return 0;
}
