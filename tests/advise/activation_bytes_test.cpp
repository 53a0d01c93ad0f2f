// SPDX-License-Identifier: MIT
// Holds the estimates of memory against what the engine takes from the heap.
#include "heap_counter.hpp"
#include "model/support.hpp"

#include <edgequant/advise/memory_need.hpp>
#include <edgequant/io/gguf_writer.hpp>
#include <edgequant/model/transformer.hpp>

namespace {
using namespace model_test;

constexpr std::uint64_t long_context = 32768;

/// A model of zeros in a GGUF of one format.
class model_of_zeros {
public:
  model_of_zeros(const eq::model_profile& m, eq::format type) : path_(folder_ / "m.gguf") {
    eq::gguf_metadata keys;
    const auto set = [&](const char* name, std::uint64_t value) {
      keys.set(m.architecture + "." + name, static_cast<std::uint32_t>(value));
    };
    keys.set("general.architecture", m.architecture);
    if (m.experts != 0) {
      set("expert_count", m.experts);
      set("expert_used_count", 2);
      set("expert_feed_forward_length", m.feed_forward_size);
    }
    if (m.architecture == "gemma3") set("attention.sliding_window", 16);
    set("block_count", m.layers);
    set("embedding_length", m.hidden_size);
    set("feed_forward_length", m.feed_forward_size);
    set("context_length", m.context_tokens);
    set("attention.head_count", m.heads);
    set("attention.head_count_kv", m.kv_heads);
    set("attention.key_length", m.head_size);
    set("attention.value_length", m.head_size);
    keys.set(m.architecture + ".attention.layer_norm_rms_epsilon", 1e-5f);
    std::vector<eq::tensor_info> infos;
    std::uint64_t size = 0;
    for (auto& t : eq::tensors_of(m)) {
      const auto format = t.dims.size() > 1 ? type : eq::format::f32;
      std::uint64_t rows = 1;
      for (std::size_t i = 1; i < t.dims.size(); ++i) rows *= t.dims[i];
      size += eq::row_bytes(format, t.dims[0]) * rows;
      infos.push_back({std::move(t.name), std::move(t.dims), format});
    }
    eq::gguf_writer writer(path_, keys, infos);
    writer.write(bytes(size));
    writer.finish();
  }
  [[nodiscard]] eq::gguf_file read() const { return eq::read_gguf(path_); }

private:
  temporary_folder folder_;
  fs::path path_;
};

eq::model_profile model_of(std::uint64_t hidden, std::uint64_t feed_forward, std::uint64_t heads,
                           std::uint64_t kv_heads, std::uint64_t head_size) {
  eq::model_profile m;
  m.name = "zeros", m.architecture = "llama", m.layers = 1, m.hidden_size = hidden,
  m.feed_forward_size = feed_forward;
  m.heads = heads, m.kv_heads = kv_heads, m.head_size = head_size;
  m.vocabulary = 64, m.context_tokens = long_context;
  return m;
}

/// Bytes that a run of `tokens` tokens has at its peak beside weights and KV cache. All but the
/// last `fed` tokens are in the cache already, as zeros: they cost the same memory and no time.
std::size_t peak_of_run(const eq::model_weights& weights, std::size_t tokens, std::size_t fed) {
  eq::transformer network(weights, 1);
  auto pool = network.make_pool(eq::kv_format::f16, tokens);
  eq::kv_sequence sequence(pool);
  const std::vector<std::int32_t> text(fed, 1);
  sequence.extend(tokens);
  const std::vector<float> zeros(pool.shape().head_size);
  for (std::size_t t = 0; t < tokens; ++t)
    for (std::size_t h = 0; h < pool.shape().kv_heads[0]; ++h) {
      sequence.set_key(0, t, h, zeros.data());
      sequence.set_value(0, t, h, zeros.data());
    }
  sequence.truncate(tokens - fed);
  const std::size_t before = heap_counter::live;
  heap_counter::peak = before;
  network.feed(std::span(text).first(7), sequence); // buffers that grow afterwards
  sequence.truncate(tokens - fed);
  network.run(text, sequence, [](std::size_t, auto) {});
  return heap_counter::peak - before;
}

std::size_t counted(const eq::model_weights& weights, std::size_t tokens, std::size_t fed) {
  (void)peak_of_run(weights, fed, fed); // work memory of the thread is no part of the network's
  return peak_of_run(weights, tokens, fed);
}

void expect_close(const eq::model_profile& m, eq::format type, std::size_t tokens,
                  std::size_t fed) {
  const model_of_zeros file(m, type);
  const eq::model_weights weights(file.read());
  const auto need = eq::activation_bytes(m, tokens);
  const auto found = counted(weights, tokens, fed);
  EXPECT_GE(need, found) << eq::name_of(type) << ", " << tokens << " tokens, " << m.heads;
  EXPECT_LE(static_cast<double>(need), 1.5 * static_cast<double>(found))
      << eq::name_of(type) << ", " << tokens << " tokens, " << m.heads;
}

TEST(activation_bytes, are_what_the_engine_takes_at_most) {
  for (const auto type : {eq::format::q8_0, eq::format::q4_0, eq::format::f16, eq::format::f32}) {
    expect_close(model_of(128, 352, 8, 8, 16), type, 1000, 260);
    expect_close(model_of(256, 512, 4, 1, 64), type, 256, 256);
    expect_close(model_of(64, 512, 2, 2, 64), type, 40, 40);
  }
}

TEST(activation_bytes, of_other_architectures) {
  for (const char* architecture : {"phi3", "gemma3", "olmo2", "qwen3", "qwen3moe"}) {
    auto m = model_of(128, 352, 8, 4, 16);
    m.architecture = architecture;
    if (eq::find_architecture(architecture)->experts) m.experts = 4;
    expect_close(m, eq::format::q8_0, 1000, 260);
  }
}

TEST(activation_bytes, are_the_same_in_a_long_context) {
  expect_close(model_of(128, 352, 2, 1, 32), eq::format::q8_0, long_context, 260);
}

TEST(activation_bytes, of_a_long_prompt_that_is_fed_from_its_beginning) {
  expect_close(model_of(64, 96, 1, 1, 32), eq::format::q8_0, 4096, 4096);
}

TEST(activation_bytes, do_not_grow_with_the_context) {
  const auto m = model_of(256, 512, 8, 8, 32);
  EXPECT_EQ(eq::activation_bytes(m, 256), eq::activation_bytes(m, 131072));
  EXPECT_LT(eq::activation_bytes(m, 1), eq::activation_bytes(m, 256));
}

TEST(kv_cache_bytes, are_those_of_the_pool_in_a_long_context) {
  const auto m = model_of(64, 96, 4, 2, 18);
  const model_of_zeros file(m, eq::format::f16);
  const eq::model_weights weights(file.read());
  const eq::transformer network(weights, 1);
  for (const auto type : {eq::kv_format::f32, eq::kv_format::f16, eq::kv_format::int8})
    for (const std::size_t tokens : {std::size_t{1}, std::size_t{1000}, std::size_t{32768}}) {
      auto pool = network.make_pool(type, tokens);
      eq::kv_sequence sequence(pool);
      const std::size_t before = heap_counter::live;
      sequence.extend(tokens);
      const auto need = eq::kv_cache_bytes(m, tokens, type);
      EXPECT_EQ(pool.bytes(), need);
      EXPECT_GE(heap_counter::live - before, need);
      EXPECT_LE(heap_counter::live - before,
                need + (std::size_t{2} << 20) + 16384); // it comes in slabs
    }
}

} // namespace
