// SPDX-License-Identifier: MIT
#include "io/support.hpp"

#include <edgequant/advise/device_catalogue.hpp>
#include <edgequant/advise/memory_fit.hpp>
#include <edgequant/advise/model_catalogue.hpp>
#include <edgequant/model/kv_cache.hpp>

namespace {
using namespace io_test;
using eq::format;

constexpr std::uint64_t mib = 1 << 20;

/// Two layers of 64 columns, but feed-forward rows of 100, which no block divides.
eq::model_profile toy() {
  eq::model_profile m;
  m.name = "toy", m.layers = 2, m.hidden_size = 64, m.heads = 4, m.kv_heads = 2, m.head_size = 16;
  m.feed_forward_size = 100, m.vocabulary = 40, m.context_tokens = 4096;
  m.parameters = eq::parameter_count(m);
  return m;
}

TEST(memory_need, weights_as_they_are_written) {
  const auto m = toy();
  // q and o 64 x 64, k and v 32 x 64, gate and up 100 x 64; down 64 x 100 is f16 with blocks.
  const std::uint64_t layer = 2 * 64 * 64 + 2 * 32 * 64 + 2 * 100 * 64, down = 64 * 100;
  const std::uint64_t ends = 2 * 40 * 64, norms = 5 * 64;
  EXPECT_EQ(eq::tensor_data_bytes(m, format::f32), 4 * m.parameters);
  EXPECT_EQ(eq::tensor_data_bytes(m, format::f16), 2 * m.parameters + 2 * norms);
  EXPECT_EQ(eq::tensor_data_bytes(m, format::q8_0),
            2 * (layer / 32 * 34 + 2 * down) + ends / 32 * 34 + 4 * norms);
  EXPECT_EQ(eq::tensor_data_bytes(m, format::q4_0),
            2 * (layer / 32 * 18 + 2 * down) + ends / 32 * 34 + 4 * norms);
  const eq::named_formats plan = {{"blk.1.attn_q.weight", format::f16},
                                  {"token_embd.weight", format::q4_0}};
  EXPECT_EQ(eq::tensor_data_bytes(m, format::q4_0, plan), eq::tensor_data_bytes(m, format::q4_0) +
                                                              64 * 64 / 32 * (64 - 18) -
                                                              ends / 2 / 32 * (34 - 18));
  EXPECT_EQ(message_of([&] {
              (void)eq::tensor_data_bytes(m, format::q4_0, {{"blk.2.attn_q.weight", format::f16}});
            }),
            "model 'toy': the plan names 1 tensors that the model has not");
}

// The sizes of the files that llama.cpp's users know, within what metadata and vocabulary take.
TEST(memory_need, weights_of_a_known_model) {
  const auto& m = eq::models::llama_2_7b();
  EXPECT_EQ(eq::tensor_data_bytes(m, format::f16), 2 * (m.parameters + 65 * 4096));
  EXPECT_NEAR(static_cast<double>(eq::tensor_data_bytes(m, format::q8_0)), 7161857966.0, 2e6);
}

TEST(memory_need, the_cache_is_the_engines) {
  auto m = toy();
  for (const auto type : {eq::kv_format::f32, eq::kv_format::f16, eq::kv_format::int8})
    for (const std::size_t head : {16u, 18u})
      for (const std::size_t tokens : {1u, 16u, 17u, 4096u}) {
        m.head_size = head;
        const std::size_t blocks = (tokens + 15) / 16;
        const eq::kv_pool pool({{2, 2}, head}, type, blocks);
        EXPECT_EQ(eq::kv_cache_bytes(m, tokens, type), blocks * pool.block_bytes());
      }
}

TEST(memory_need, the_cache_of_layers_that_differ) {
  auto m = toy();
  m.layer_caches = {{0, 0}, {1, 0}}; // of two layers with two heads
  EXPECT_EQ(eq::kv_cache_bytes(m, 4096), 2u * 1 * 16 * 2 * 4096);
  m.layer_caches = {{2, 0}, {2, 100}};
  const std::uint64_t token = 2 * 2 * 16 * 2; // keys and values of a layer
  EXPECT_EQ(eq::kv_cache_bytes(m, 600), 2 * token * 608);
  EXPECT_EQ(eq::kv_cache_bytes(m, 4096), token * (4096 + 624)); // 100 + 512, in blocks of 16
  EXPECT_EQ(eq::kv_cache_bytes(m, 4096, eq::kv_format::f16, eq::window_cache::all),
            2 * token * 4096);
  const auto bytes = [&](const char* name, std::uint64_t tokens) {
    return eq::kv_cache_bytes(eq::find_model(name), tokens);
  };
  // Gemma-3-1B: 4 of 26 layers attend to everything; 1 KV head of 256, keys and values in f16.
  EXPECT_EQ(bytes("Gemma-3-1B", 32768) - bytes("Gemma-3-1B", 16384), 4u * 16384 * 2 * 256 * 2);
}

eq::device_profile with(std::uint64_t ram_mib, std::optional<double> storage_gib = {}) {
  eq::device_profile d;
  d.name = "box", d.ram_mib = ram_mib, d.storage_gib = storage_gib;
  return d;
}

TEST(memory_fit, the_system_keeps_its_share) {
  EXPECT_EQ(eq::free_ram_bytes(with(1024)), 768 * mib);
  EXPECT_EQ(eq::free_ram_bytes(with(16384)), 14336 * mib);
  EXPECT_EQ(eq::free_ram_bytes(with(0)), std::nullopt);
}

TEST(memory_fit, margins_are_to_the_byte) {
  const auto m = toy();
  eq::fit_options options;
  options.runtime_bytes = 1000;
  const std::uint64_t need = eq::tensor_data_bytes(m, format::q8_0) + eq::kv_cache_bytes(m, 100) +
                             eq::activation_bytes(m, 100) + 1000;
  for (const int spare : {-1, 0, 1}) {
    options.free_ram_bytes = need + static_cast<std::uint64_t>(spare + 1) - 1;
    const auto fit = eq::fits(with(1), m, format::q8_0, 100, options);
    EXPECT_EQ(fit.need.total(), need);
    EXPECT_EQ(fit.ram_margin_bytes, spare);
    EXPECT_EQ(fit.fits, spare >= 0);
    EXPECT_EQ(fit.storage_margin_bytes, std::nullopt);
    EXPECT_EQ(fit.largest_context, spare < 0 ? 99u : 100u); // one token more takes more
  }
}

// The largest context fits and one token more does not, whatever the RAM.
TEST(memory_fit, the_largest_context_is_the_edge) {
  const auto& m = eq::models::llama_3_2_1b();
  std::uint64_t before = 0;
  for (const std::uint64_t ram : {1024u, 2048u, 3072u, 4096u, 8192u, 65536u}) {
    const auto largest = eq::fits(with(ram), m, format::q4_0, 1).largest_context;
    EXPECT_GE(largest, before);
    before = largest;
    if (largest != 0) {
      EXPECT_TRUE(eq::fits(with(ram), m, format::q4_0, largest).fits) << ram;
    }
    EXPECT_FALSE(eq::fits(with(ram), m, format::q4_0, largest + 1).fits) << ram;
  }
  EXPECT_EQ(before, m.context_tokens);
  EXPECT_EQ(eq::fits(with(1024), m, format::q4_0, 1).largest_context, 0u);
}

TEST(memory_fit, says_why_not) {
  const auto& m = eq::models::llama_3_1_8b();
  const auto reason = [&](const eq::device_profile& d, std::uint64_t context) {
    const auto fit = eq::fits(d, m, 4 * 1024 * mib, context);
    EXPECT_TRUE(is_one_line(fit.reason));
    return fit.reason;
  };
  EXPECT_EQ(reason(with(16384, 3.5), 100), "short of storage by 512.0 MiB");
  EXPECT_EQ(eq::fits(with(16384, 3.5), m, 4 * 1024 * mib, 100).largest_context, 0u);
  EXPECT_EQ(reason(with(0), 131073), "the model's context is 131072 tokens");
  EXPECT_TRUE(reason(with(0), 100).ends_with("; the device's RAM is not known"));
  EXPECT_TRUE(eq::fits(with(0), m, 4 * 1024 * mib, 100).fits);
  EXPECT_TRUE(reason(with(4096), 100).starts_with("short of RAM by 1.5 GiB: takes 4.5 GiB of 3.0"));
  EXPECT_TRUE(reason(with(8192), 100).starts_with("takes 4.5 GiB of 6.0 GiB of free RAM"));
  EXPECT_EQ(message_of([&] { (void)eq::fits(with(1), m, format::f16, 0); }),
            "model 'Llama-3.1-8B': a context of no tokens");
  EXPECT_FALSE(eq::fits(with(1), m, ~std::uint64_t{0}, 100).fits);
}

TEST(memory_fit, every_model_on_every_device) {
  for (const auto& d : eq::device_catalogue())
    for (const auto& m : eq::model_catalogue()) {
      const auto fit = eq::fits(d, m, 700 * mib, 512);
      EXPECT_EQ(fit.fits, d.ram_mib == 0 || *fit.ram_margin_bytes >= 0);
      EXPECT_EQ(fit.fits, fit.largest_context >= 512);
    }
}

TEST(best_precision, is_the_highest_quality_that_fits) {
  const auto& m = eq::models::llama_3_2_1b();
  const auto best = [&](std::uint64_t ram, const eq::precision_requirement& requirement = {}) {
    return eq::best_precision(with(ram), m, requirement).best;
  };
  EXPECT_EQ(best(8192), format::f16);
  EXPECT_EQ(best(3072), format::q8_0);
  EXPECT_EQ(best(2048), format::q5_0);
  EXPECT_EQ(best(1900), format::q4_0);
  EXPECT_EQ(best(1024), std::nullopt);

  eq::precision_requirement requirement;
  requirement.max_weight_bytes = 900'000'000;
  EXPECT_EQ(best(8192, requirement), format::q4_0);
  requirement.max_weight_bytes.reset();
  std::vector<format> asked;
  requirement.meets = [&](const eq::precision_candidate& c) {
    asked.push_back(c.type);
    return c.type == format::q5_0;
  };
  const auto choice = eq::best_precision(with(3072), m, requirement);
  EXPECT_EQ(choice.best, format::q5_0);
  ASSERT_EQ(choice.candidates.size(), 4u);
  EXPECT_TRUE(choice.candidates[0].against.starts_with("short of RAM by"));
  EXPECT_EQ(choice.candidates[1].against, "does not meet the requirement");
  EXPECT_EQ(choice.candidates[2].against, "");
  EXPECT_EQ(asked, (std::vector{format::q8_0, format::q5_0, format::q4_0})); // f16 does not fit
  requirement = {};
  requirement.formats = {format::q4_0, format::f16};
  EXPECT_EQ(best(8192, requirement), format::q4_0);
}

} // namespace
