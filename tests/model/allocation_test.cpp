// SPDX-License-Identifier: MIT
#include "heap_counter.hpp"
#include "model/support.hpp"

#include <edgequant/model/transformer.hpp>

namespace {
using namespace model_test;

/// Of the second of two texts: what the first has taken serves again.
std::size_t allocations_of_decoding(eq::kv_format type, unsigned threads, bool packed) {
  eq::model_weights weights(
      eq::read_gguf(fs::path(EDGEQUANT_SOURCE_DIR) / "examples/data/stories-2m-f16.gguf"));
  if (packed) weights.pack(threads);
  eq::transformer network(weights, threads);
  auto pool = network.make_pool(type, 80);
  eq::kv_sequence sequence(pool);
  const std::int32_t prompt[] = {1, 5, 39, 100, 7};
  std::size_t before = 0;
  for (int text = 0; text < 2; ++text) {
    sequence.truncate(0);
    network.run(prompt, sequence);
    before = heap_counter::allocations;
    for (std::int32_t token = 10; token < 80; ++token) network.run({&token, 1}, sequence);
  }
  return heap_counter::allocations - before;
}

TEST(steady_state, no_allocation_per_decoded_token) {
  for (const auto type : {eq::kv_format::f32, eq::kv_format::f16, eq::kv_format::int8})
    for (const unsigned threads : {1u, 2u})
      EXPECT_EQ(allocations_of_decoding(type, threads, true), 0u) << threads << " threads";
  EXPECT_GT(heap_counter::allocations, 0u); // they are counted
}

/// Whether run() throws bad_alloc where there is no memory.
template <class Run> bool fails_without_memory(Run run) {
  heap_counter::refused = true;
  bool failed = false;
  try {
    run();
  } catch (const std::bad_alloc&) {
    failed = true;
  }
  heap_counter::refused = false;
  return failed;
}

TEST(memory, what_was_not_coded_is_coded_later) {
  const std::vector<float> x(64, 1.0f);
  eq::activations inputs;
  inputs.assign(x.data(), 2, 32);
  const auto encode = [&] { inputs.encode(eq::activation_coding::per_group, 1); };
  EXPECT_TRUE(fails_without_memory(encode));
  encode();
  EXPECT_EQ(inputs.tile<2>(0)->codes[1][31], 127);
}

#if defined(_OPENMP)
TEST(memory, loops_do_without_threads_that_cannot_be_had) {
  std::atomic<int> calls = 0;
  EXPECT_FALSE(
      fails_without_memory([&] { eq::parallel_for(100, 20, [&](std::size_t) { ++calls; }); }));
  EXPECT_EQ(calls, 100);
  EXPECT_TRUE(eq::thread_team::shared().run(0, 1, nullptr, nullptr)); // free for the next
}
#endif

} // namespace
