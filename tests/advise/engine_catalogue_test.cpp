// SPDX-License-Identifier: MIT
#include "profiles.hpp"

#include <edgequant/advise/engine_selector.hpp>

#include <nlohmann/json.hpp>

#include <filesystem>
#include <fstream>
#include <set>

namespace {
using namespace deploy_test;

const eq::engine_profile& engine(std::string_view name) {
  static const auto all = eq::current_engines();
  for (const auto& one : all)
    if (one.name == name) return one;
  throw std::runtime_error("no engine " + std::string(name));
}

TEST(engine_catalogue, every_row_says_where_it_is_from) {
  std::set<std::string> names;
  for (const auto& one : eq::current_engines()) {
    EXPECT_TRUE(names.insert(one.name).second) << one.name;
    EXPECT_FALSE(one.platforms.empty()) << one.name;
    EXPECT_FALSE(one.precisions.empty()) << one.name;
    EXPECT_FALSE(one.source.empty()) << one.name;
    EXPECT_FALSE(one.licence.empty()) << one.name;
    EXPECT_TRUE(one.confidence == "high" || one.confidence == "medium" || one.confidence == "low");
  }
  EXPECT_EQ(names.count("EdgeQuant"), 1u);
}

TEST(engine_catalogue, the_table_is_the_facts) {
  const auto file =
      std::filesystem::path(EDGEQUANT_SOURCE_DIR) / "../shared/data/facts/engines.json";
  if (!std::filesystem::exists(file)) GTEST_SKIP() << "no shared data here";
  std::ifstream in(file);
  const auto facts = nlohmann::json::parse(in);
  const auto all = eq::current_engines();
  ASSERT_EQ(all.size(), facts.size() + 1); // EdgeQuant's own
  for (std::size_t i = 0; i < facts.size(); ++i) {
    const auto& fact = facts[i];
    EXPECT_EQ(all[i].name, fact["name"]);
    EXPECT_EQ(all[i].weight_formats, fact["weight_formats"]) << all[i].name;
    EXPECT_EQ(all[i].quantization_types, fact["quant_types"]) << all[i].name;
    EXPECT_EQ(all[i].ram_note, fact["min_ram"]) << all[i].name;
    EXPECT_EQ(all[i].licence, fact["licence"]) << all[i].name;
    EXPECT_EQ(all[i].languages, fact["languages"]) << all[i].name;
    EXPECT_EQ(all[i].confidence, fact["confidence"]) << all[i].name;
    EXPECT_EQ(all[i].status == eq::engine_status::active && all[i].status_note.empty(),
              fact["status"] == "active")
        << all[i].name;
    for (const auto& row : eq::platform_table) // others are noted as features
      if (row.id != eq::platform::wear_os && row.id != eq::platform::web &&
          row.id != eq::platform::embedded) {
        const auto named = [&](const nlohmann::json& text) {
          return text.get<std::string>().starts_with(row.name);
        };
        EXPECT_EQ(eq::runs_on(all[i], row.id),
                  std::any_of(fact["platforms"].begin(), fact["platforms"].end(), named))
            << all[i].name << " on " << row.name;
      }
  }
}

TEST(engine_catalogue, accelerators_are_taken_apart) {
  const auto& rkllm = engine("RKLLM");
  ASSERT_EQ(rkllm.npus.size(), 1u);
  EXPECT_EQ(rkllm.npus[0].vendor, "rockchip");
  EXPECT_EQ(rkllm.npus[0].chips,
            (std::vector<std::string>{"RK3588", "RK3576", "RK3562", "RV1126B"}));
  EXPECT_EQ(rkllm.npus[0].note, "RKNPU");
  const auto& mlc = engine("MLC-LLM");
  ASSERT_EQ(mlc.gpus.size(), 6u);
  EXPECT_EQ(mlc.gpus[4], (eq::gpu_support{"opencl", {"adreno", "mali"}, ""}));
  EXPECT_EQ(engine("neural-speed / BesTLA").status, eq::engine_status::archived);
  EXPECT_EQ(engine("neural-speed / BesTLA").gpus[0].note, "partial");
  EXPECT_EQ(engine("Qualcomm Genie / GenieX (QNN)").status, eq::engine_status::deprecated);
}

TEST(accelerator_match, words_begin_where_words_do) {
  EXPECT_TRUE(eq::names_word("Arc 140V Xe2", "arc"));
  EXPECT_TRUE(eq::names_word("Intel(R) Arc", "ARC"));
  EXPECT_FALSE(eq::names_word("Search unit", "arc"));
  EXPECT_TRUE(eq::names_word("Search arc", "arc"));
  EXPECT_FALSE(eq::names_word("Arc", ""));
  EXPECT_FALSE(eq::names_word("", "arc"));
}

TEST(accelerator_match, gpus_by_family_interface_and_system) {
  using enum eq::platform;
  auto device = phone();
  const auto api = [&](const char* name, eq::platform os) -> std::string {
    const auto* way = eq::way_to_gpu(engine(name), device, os);
    return way == nullptr ? "" : way->api;
  };
  EXPECT_EQ(api("llama.cpp (ggml)", android), "vulkan");
  EXPECT_EQ(api("ONNX Runtime + GenAI", android), "");
  EXPECT_EQ(api("ONNX Runtime + GenAI", windows), "directml");
  EXPECT_EQ(api("Qualcomm Genie / GenieX (QNN)", android), "opencl");
  EXPECT_EQ(api("llama.cpp (ggml)", web), "webgpu");
  device.gpu = "Mali-G715 MC7";
  EXPECT_EQ(api("Qualcomm Genie / GenieX (QNN)", android), ""); // OpenCL, but of Adreno only
  device.gpu = "Ampere 1024 CUDA / 32 tensor";
  EXPECT_EQ(api("llama.cpp (ggml)", gnu_linux), "cuda");
  device.gpu = "Apple 6-core";
  EXPECT_EQ(api("llama.cpp (ggml)", ios), "metal");
  EXPECT_EQ(api("ncnn", ios), "");
  device.gpu = "none";
  EXPECT_EQ(api("llama.cpp (ggml)", gnu_linux), "");
}

TEST(current_rules, the_vendor_of_the_npu_counts) {
  auto device = phone();
  const auto points = [&](const char* name) {
    const auto answer = eq::engine_selector().select(device);
    for (const auto& r : answer.ranked)
      if (r.engine.name == name)
        for (const auto& p : r.points)
          if (p.rule == "npu") return p.points;
    return -1.0;
  };
  EXPECT_EQ(points("llama.cpp (ggml)"), 25);
  EXPECT_EQ(points("ncnn"), 0);
  EXPECT_EQ(points("RKLLM"), -1); // made for other chips: out
  device.npu = eq::npu_profile{.name = "NPU 890", .vendor = "mediatek"};
  EXPECT_EQ(points("llama.cpp (ggml)"), 0);
  EXPECT_EQ(points("ExecuTorch"), 25);
  device.npu.reset();
  EXPECT_EQ(points("ExecuTorch"), 0);
}

TEST(current_rules, only_what_a_chip_can_run_is_ranked) {
  auto device = board();
  device.chip = "Rockchip RK3588";
  device.npu = eq::npu_profile{.name = "RKNPU2 3-core", .vendor = "rockchip"};
  auto answer = eq::engine_selector().select(device);
  EXPECT_EQ(answer.ranked[0].engine.name, "RKLLM"); // 30 + 20 + 25 + 15
  EXPECT_EQ(answer.ranked[0].score, 90);

  device.chip = "Broadcom BCM2712";
  device.npu.reset();
  answer = eq::engine_selector().select(device);
  const auto why = [&](const char* name) {
    for (const auto& e : answer.excluded)
      if (e.engine.name == name) return e.why;
    return std::vector<std::string>{"is ranked"};
  };
  EXPECT_TRUE(says(why("RKLLM"), "made for other chips"));
  EXPECT_TRUE(says(why("MLX / mlx-lm"), "made for other chips"));
  EXPECT_TRUE(says(why("neural-speed / BesTLA"), "none of the device's processors"));
  EXPECT_TRUE(says(why("Core ML"), "does not run on linux"));
  EXPECT_TRUE(says(why("EdgeQuant"), "is ranked"));
}

TEST(current_rules, engines_that_nobody_keeps_lose_points) {
  auto device = board();
  device.isa = {"avx2"};
  const auto answer = eq::engine_selector().select(device);
  ASSERT_EQ(answer.ranked.back().engine.name, "neural-speed / BesTLA");
  EXPECT_EQ(answer.ranked.back().score, 30 + 20 + 15 - 30);
  EXPECT_TRUE(says(answer.ranked.back().against, "archived (ARCHIVED 2024-08-30)"));

  for (const auto& r : answer.ranked) // no GPU, and its CPU path is not meant for this
    if (r.engine.name == "MLC-LLM") {
      EXPECT_EQ(r.score, 30 + 20 + 15 - 20);
      EXPECT_TRUE(says(r.against, "names no processor of the device"));
    }

  auto old = small_engine("old");
  old.status = eq::engine_status::deprecated;
  EXPECT_EQ(eq::engine_selector({old}, eq::current_rules()).select(board()).ranked[0].score, 50);
}

} // namespace
