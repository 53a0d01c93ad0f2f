// SPDX-License-Identifier: MIT
// config.json: JSON, the fields of a Llama model, and the GGUF keys that follow.
#include "support.hpp"

#include <edgequant/model/checkpoint_keys.hpp>

namespace {
using namespace fuzz;

const std::string place = "config.json";

bool is_positive_float(double x) { return x > 0 && eq::is_finite(static_cast<float>(x)); }

void require_sizes(const eq::checkpoint_config& c) {
  for (const auto size : {c.hidden_size, c.feed_forward_size, c.layers, c.heads, c.kv_heads,
                          c.head_size, c.vocabulary, c.context})
    require(size >= 1 && size <= 0x7fffffff, "llama.cpp can count every size");
  require(c.head_size % 2 == 0 && c.heads % c.kv_heads == 0, "heads can be rotated and shared");
}

void require_keys(const eq::checkpoint_config& c) {
  eq::gguf_metadata keys(place);
  eq::set_network_keys(keys, c);
  const std::string at = std::string(c.family->name) + ".";
  const auto holds = [&](const char* key, std::uint64_t value) {
    return keys.get_uint(at + key) == value;
  };
  require(holds("vocab_size", c.vocabulary) && holds("context_length", c.context) &&
              holds("embedding_length", c.hidden_size) && holds("block_count", c.layers) &&
              holds("rope.dimension_count", c.rope_size()),
          "a key holds its size");
  if (c.sizes.empty())
    require(holds(c.experts != 0 ? "expert_feed_forward_length" : "feed_forward_length",
                  c.feed_forward_size) &&
                holds("attention.head_count", c.heads) &&
                holds("attention.head_count_kv", c.kv_heads),
            "a key holds the size of each layer");
  for (const char* key : {"attention.layer_norm_rms_epsilon", "rope.freq_base"})
    require(is_positive_float(*keys.get_float(at + key)), "a key holds a positive number");
}
} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  accepts(place, [&] {
    const auto json = eq::parse_json(eq::as_text(bytes_of(data, size)), place);
    (void)eq::model_type_of(json);
    const auto config = eq::parse_checkpoint_config(json, place);
    require_sizes(config);
    require_keys(config);
    if (config.head_size > 512) return; // more of the same
    for (const float divisor : eq::rope_divisors(config))
      require(is_positive_float(divisor), "a divisor of the frequencies divides");
  });
  return 0;
}
