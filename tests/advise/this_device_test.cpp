// SPDX-License-Identifier: MIT
#include <edgequant/advise/this_device.hpp>

#include <gtest/gtest.h>

namespace eq = edgequant;

namespace {

using names = std::vector<std::string>;

TEST(cpu_facts, of_x86) {
  const auto facts =
      eq::parse_cpuinfo("processor\t: 0\n"
                        "model name\t: Intel(R) Core(TM) i5\n"
                        "flags\t\t: fpu avx f16c avx2 fma avx512_vnni avx_vnni_int8\n"
                        "\n"
                        "processor\t: 1\n"
                        "model name\t: Intel(R) Core(TM) i5\n"
                        "flags\t\t: fpu avx f16c avx2 fma avx512_vnni avx_vnni_int8\n");
  EXPECT_EQ(facts.name, "Intel(R) Core(TM) i5");
  EXPECT_EQ(facts.processors, 2u);
  EXPECT_EQ(facts.isa, (names{"avx", "avx2", "f16c", "fma", "avx512_vnni"}));
}

TEST(cpu_facts, of_arm_what_all_cores_have) {
  const auto facts = eq::parse_cpuinfo("processor\t: 0\n"
                                       "Features\t: fp asimd asimdhp asimddp i8mm bf16 sve\n"
                                       "processor\t: 1\n"
                                       "Features\t: fp asimd asimdhp asimddp\n"
                                       "Model\t\t: Raspberry Pi 5 Model B Rev 1.0");
  EXPECT_EQ(facts.name, "Raspberry Pi 5 Model B Rev 1.0");
  EXPECT_EQ(facts.processors, 2u);
  EXPECT_EQ(facts.isa, (names{"neon", "dotprod", "fp16"}));
  EXPECT_TRUE(eq::parse_cpuinfo("").isa.empty());
  EXPECT_TRUE(eq::parse_cpuinfo("no colon\n:\nflags:").isa.empty());
}

// What the compiler was told to use, the machine must have, or this program would not run.
TEST(this_device, has_what_this_program_uses) {
#if defined(__linux__)
  const auto device = eq::this_device({.measure = false});
  const auto has = [&](const char* name) {
    return std::find(device.isa.begin(), device.isa.end(), name) != device.isa.end();
  };
#if defined(__AVX2__)
  EXPECT_TRUE(has("avx2"));
#endif
#if defined(__AVX512VNNI__)
  EXPECT_TRUE(has("avx512_vnni"));
#endif
#if defined(__aarch64__)
  EXPECT_TRUE(has("neon"));
#endif
  EXPECT_FALSE(has("none"));
  EXPECT_EQ(device.platforms, std::vector{eq::platform::gnu_linux});
#endif
}

TEST(this_device, knows_its_sizes) {
  const auto device = eq::this_device({.measure = false});
  EXPECT_FALSE(device.name.empty());
  EXPECT_GT(device.cpu_cores, 0u);
  EXPECT_GT(device.ram_mib, 0u);
  EXPECT_EQ(device.ram_mib, eq::total_memory() >> 20);
  EXPECT_GE(eq::total_memory(), eq::available_memory());
  EXPECT_GT(device.storage_gib.value_or(0), 0);
  EXPECT_EQ(device.memory_bandwidth_gb_s, std::nullopt);
  EXPECT_EQ(eq::this_device({.measure = false, .models = "/no such folder"}).storage_gib,
            std::nullopt);
}

// Pieces of 256 KiB: 0.262144 MB.
TEST(read_bandwidth, rates_are_those_of_pieces_that_follow) {
  std::vector<double> finished;
  for (int i = 0; i <= 256; ++i) finished.push_back(i * 1e-5);           // 26.2144 GB/s
  for (int i = 1; i <= 256; ++i) finished.push_back(2.56e-3 + i * 2e-5); // half of it
  const auto rates = eq::advisor::detail::rates_of(finished);
  ASSERT_EQ(rates.size(), 257u);
  EXPECT_NEAR(rates.front(), 13.1072, 1e-6);
  EXPECT_NEAR(rates.back(), 26.2144, 1e-6);
  EXPECT_EQ(eq::advisor::detail::rates_of(std::vector<double>{1}).size(), 0u);
  EXPECT_NEAR(eq::advisor::detail::rates_of(std::vector<double>{1, 2, 3})[1], 262144e-9, 1e-12);
}

TEST(read_bandwidth, reads_as_long_as_it_is_told) {
  eq::bandwidth_options options;
  options.bytes = std::size_t{3} << 20, options.seconds = 0.02;
  const auto figures = eq::measure_read_bandwidth(options);
  EXPECT_GE(figures.threads, 1u);
  EXPECT_GT(figures.median_gb_s, 0);
  EXPECT_GE(figures.best_gb_s, figures.median_gb_s);
  const std::vector<std::uint64_t> memory(2 * eq::advisor::detail::words_per_piece);
  const auto finished = eq::advisor::detail::read_for(0.01, memory, 1);
  EXPECT_GE(finished.back(), 0.01);
  EXPECT_LT(*(finished.end() - 2), 0.01);
  EXPECT_EQ(eq::advisor::detail::read_for(0, memory, 1).size(), 1u);
  EXPECT_GE(eq::enough_bytes(), std::size_t{1} << 20);
}

// One sum over all words, so that none is left out.
TEST(read_bandwidth, a_piece_is_read_to_its_end) {
  std::vector<std::uint64_t> words(3 * eq::advisor::detail::words_per_piece);
  for (std::size_t i = 0; i < words.size(); ++i) words[i] = i;
  std::uint64_t sum = 0;
  for (std::size_t i = 0; i < 3; ++i)
    sum += eq::advisor::detail::sum_of(words.data() + i * eq::advisor::detail::words_per_piece);
  EXPECT_EQ(sum, words.size() * (words.size() - 1) / 2);
}

TEST(this_device, says_that_the_bandwidth_is_measured) {
  const auto device = eq::this_device();
  ASSERT_TRUE(device.memory_bandwidth_gb_s);
  EXPECT_GT(*device.memory_bandwidth_gb_s, 0);
  EXPECT_NE(device.source.find("bandwidth measured with"), std::string::npos);
}

} // namespace
