// SPDX-License-Identifier: MIT
// Counts what the program takes from the heap: the operators below replace the library's.
#include "model/support.hpp"

#include <edgequant/model/transformer.hpp>

#include <atomic>
#include <cstdlib>
#include <new>

namespace {
std::atomic<std::size_t> allocations = 0;
std::atomic<bool> refused = false; ///< as where memory has run out

void* take(std::size_t bytes, std::size_t alignment) {
  ++allocations;
  if (refused) return nullptr;
  void* p = nullptr;
  return ::posix_memalign(&p, alignment, bytes) == 0 ? p : nullptr;
}
void* take_or_throw(std::size_t bytes, std::size_t alignment) {
  void* p = take(bytes, alignment);
  if (p == nullptr) throw std::bad_alloc();
  return p;
}
constexpr std::size_t usual = alignof(std::max_align_t);
} // namespace

[[gnu::noinline]] void* operator new(std::size_t n) { return take_or_throw(n, usual); }
[[gnu::noinline]] void* operator new[](std::size_t n) { return take_or_throw(n, usual); }
[[gnu::noinline]] void* operator new(std::size_t n, const std::nothrow_t&) noexcept {
  return take(n, usual);
}
[[gnu::noinline]] void* operator new[](std::size_t n, const std::nothrow_t&) noexcept {
  return take(n, usual);
}
[[gnu::noinline]] void* operator new(std::size_t n, std::align_val_t a) {
  return take_or_throw(n, static_cast<std::size_t>(a));
}
[[gnu::noinline]] void* operator new[](std::size_t n, std::align_val_t a) {
  return take_or_throw(n, static_cast<std::size_t>(a));
}
[[gnu::noinline]] void* operator new(std::size_t n, std::align_val_t a,
                                     const std::nothrow_t&) noexcept {
  return take(n, static_cast<std::size_t>(a));
}
[[gnu::noinline]] void* operator new[](std::size_t n, std::align_val_t a,
                                       const std::nothrow_t&) noexcept {
  return take(n, static_cast<std::size_t>(a));
}
[[gnu::noinline]] void operator delete(void* p) noexcept { std::free(p); }
[[gnu::noinline]] void operator delete[](void* p) noexcept { std::free(p); }
[[gnu::noinline]] void operator delete(void* p, std::size_t) noexcept { std::free(p); }
[[gnu::noinline]] void operator delete[](void* p, std::size_t) noexcept { std::free(p); }
[[gnu::noinline]] void operator delete(void* p, std::align_val_t) noexcept { std::free(p); }
[[gnu::noinline]] void operator delete[](void* p, std::align_val_t) noexcept { std::free(p); }
[[gnu::noinline]] void operator delete(void* p, std::size_t, std::align_val_t) noexcept {
  std::free(p);
}
[[gnu::noinline]] void operator delete[](void* p, std::size_t, std::align_val_t) noexcept {
  std::free(p);
}

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
    before = allocations;
    for (std::int32_t token = 10; token < 80; ++token) network.run({&token, 1}, sequence);
  }
  return allocations - before;
}

TEST(steady_state, no_allocation_per_decoded_token) {
  for (const auto type : {eq::kv_format::f32, eq::kv_format::f16, eq::kv_format::int8})
    for (const unsigned threads : {1u, 2u})
      EXPECT_EQ(allocations_of_decoding(type, threads, true), 0u) << threads << " threads";
  EXPECT_GT(allocations, 0u); // they are counted
}

/// Whether run() throws bad_alloc where there is no memory.
template <class Run> bool fails_without_memory(Run run) {
  refused = true;
  bool failed = false;
  try {
    run();
  } catch (const std::bad_alloc&) {
    failed = true;
  }
  refused = false;
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
