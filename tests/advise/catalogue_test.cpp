// SPDX-License-Identifier: MIT
#include "io/support.hpp"

#include <edgequant/advise/device_catalogue.hpp>
#include <edgequant/advise/model_catalogue.hpp>
#include <edgequant/model/kv_format.hpp>

#include <nlohmann/json.hpp>

#include <map>
#include <set>

namespace {
using namespace io_test;

struct published {
  const char* name;
  std::uint64_t parameters, kv_bytes; ///< of one token in f16
};

// As published; the sum over the tensors of the checkpoints.
constexpr published all_published[] = {
    {"SmolLM2-135M", 134515008, 23040},   {"SmolLM2-360M", 361821120, 40960},
    {"Qwen2.5-0.5B", 494032768, 12288},   {"Qwen3-0.6B", 596049920, 114688},
    {"Gemma-3-1B", 999885952, 26624},     {"TinyLlama-1.1B", 1100048384, 22528},
    {"Llama-3.2-1B", 1235814400, 32768},  {"Qwen2.5-1.5B", 1543714304, 28672},
    {"Qwen3-1.7B", 1720574976, 114688},   {"SmolLM-1.7B", 1711376384, 196608},
    {"Gemma-2-2B", 2614341888, 106496},   {"Qwen2.5-3B", 3085938688, 36864},
    {"Llama-3.2-3B", 3212749824, 114688}, {"Phi-3.5-mini", 3821079552, 393216},
    {"Llama-2-7B", 6738415616, 524288},   {"Mistral-7B-v0.1", 7241732096, 131072},
    {"Qwen2.5-7B", 7615616512, 57344},    {"Llama-3.1-8B", 8030261248, 131072},
};

TEST(model_catalogue, parameters_are_the_published_ones) {
  ASSERT_EQ(eq::model_catalogue().size(), std::size(all_published));
  for (const auto& p : all_published) {
    const auto& m = eq::find_model(p.name);
    EXPECT_EQ(eq::parameter_count(m), p.parameters) << p.name;
    EXPECT_EQ(m.parameters, p.parameters) << p.name;
    EXPECT_EQ(2 * m.layers * m.kv_heads * eq::kv_head_bytes(eq::kv_format::f16, m.head_size),
              p.kv_bytes)
        << p.name;
    EXPECT_FALSE(m.source.empty());
  }
}

TEST(model_catalogue, is_found_by_name) {
  EXPECT_EQ(eq::models::llama_3_2_1b().parameters, 1235814400u);
  EXPECT_EQ(&eq::find_model("llama-3.2-1B"), &eq::models::llama_3_2_1b());
  EXPECT_EQ(eq::models::gemma_3_1b().architecture, "gemma3");
  EXPECT_EQ(message_of([] { (void)eq::find_model("llama 3.2 1b"); }),
            "model 'llama 3.2 1b': unknown; did you mean 'Llama-3.2-1B'?");
  for (const auto* m :
       {&eq::models::smollm2_135m(), &eq::models::qwen_2_5_0_5b(), &eq::models::tinyllama_1_1b(),
        &eq::models::llama_3_2_3b(), &eq::models::phi_3_5_mini(), &eq::models::llama_2_7b(),
        &eq::models::llama_3_1_8b()})
    EXPECT_FALSE(m->name.empty());
}

TEST(model_tensors, follow_from_sizes_and_family) {
  eq::model_profile m;
  m.name = "toy", m.layers = 2, m.hidden_size = 64, m.heads = 4, m.kv_heads = 2, m.head_size = 16;
  m.feed_forward_size = 96, m.vocabulary = 40, m.context_tokens = 8;
  const auto names = [&] {
    std::map<std::string, std::vector<std::uint64_t>> all;
    for (auto& t : eq::tensors_of(m)) EXPECT_TRUE(all.emplace(t.name, t.dims).second) << t.name;
    return all;
  };
  auto llama = names();
  EXPECT_EQ(llama.size(), 2 * 9 + 3u);
  EXPECT_EQ(llama.at("blk.1.attn_k.weight"), (std::vector<std::uint64_t>{64, 32}));
  EXPECT_EQ(llama.at("blk.0.ffn_down.weight"), (std::vector<std::uint64_t>{96, 64}));
  EXPECT_EQ(llama.at("token_embd.weight"), (std::vector<std::uint64_t>{64, 40}));
  EXPECT_EQ(llama.at("output_norm.weight"), (std::vector<std::uint64_t>{64}));
  m.tied_embeddings = true;
  EXPECT_EQ(names().count("output.weight"), 0u);
  m.architecture = "qwen2";
  EXPECT_EQ(names().at("blk.1.attn_v.bias"), (std::vector<std::uint64_t>{32}));
  m.architecture = "gemma3";
  EXPECT_EQ(names().at("blk.1.attn_k_norm.weight"), (std::vector<std::uint64_t>{16}));
  EXPECT_EQ(names().at("blk.1.post_ffw_norm.weight"), (std::vector<std::uint64_t>{64}));
  m.architecture = "unheard of";
  EXPECT_EQ(names().size(), llama.size() - 1);
  m.layers = 0;
  EXPECT_EQ(message_of([&] { (void)eq::tensors_of(m); }),
            "model 'toy': layers is 0, expected 1 to 65536");
  m.layers = 65536, m.hidden_size = m.feed_forward_size = 0x7fffffff;
  EXPECT_EQ(message_of([&] { (void)eq::parameter_count(m); }),
            "model 'toy': more than 72057594037927936 parameters follow from its sizes");
}

TEST(device_catalogue, every_entry_is_complete) {
  std::set<std::string> names;
  for (const auto& d : eq::device_catalogue()) {
    EXPECT_TRUE(names.insert(d.name).second) << d.name;
    EXPECT_FALSE(d.source.empty()) << d.name;
    EXPECT_FALSE(d.platforms.empty()) << d.name;
    EXPECT_FALSE(d.isa.empty()) << d.name;
    EXPECT_TRUE(d.confidence == "high" || d.confidence == "medium" || d.confidence == "low");
    EXPECT_GT(d.memory_bandwidth_gb_s.value_or(0), 0) << d.name;
    EXPECT_EQ(&eq::find_device(d.name), &d);
    if (d.npu) {
      EXPECT_FALSE(d.npu->vendor.empty()) << d.name;
    }
  }
}

TEST(device_catalogue, is_found_by_name) {
  const auto& pi = eq::devices::raspberry_pi_5();
  EXPECT_EQ(pi.ram_mib, 2048u);
  EXPECT_EQ(pi.cpu_cores, 4u);
  EXPECT_EQ(pi.memory_bandwidth_gb_s, 17.1);
  EXPECT_EQ(pi.kind, eq::device_class::sbc);
  EXPECT_FALSE(pi.npu);
  const auto& phone = eq::devices::iphone_15_pro();
  EXPECT_EQ(phone.npu->vendor, "apple");
  EXPECT_EQ(phone.npu->tops, 35);
  EXPECT_EQ(phone.cpu_cores, 6u);
  const auto& board = eq::devices::rk3588_board();
  EXPECT_EQ(board.platforms, (std::vector{eq::platform::gnu_linux, eq::platform::android}));
  EXPECT_FALSE(eq::devices::jetson_orin_nano().npu); // its TOPS are the GPU's
  EXPECT_EQ(eq::devices::smart_watch().platforms, std::vector{eq::platform::wear_os});
  for (const auto* d : {&eq::devices::galaxy_s24_ultra(), &eq::devices::pixel_9_pro(),
                        &eq::devices::iphone_16_pro(), &eq::devices::snapdragon_x_elite_laptop(),
                        &eq::devices::apple_m2(), &eq::devices::apple_m4_max()})
    EXPECT_TRUE(d->npu) << d->name;
  EXPECT_EQ(message_of([] { (void)eq::find_device("rasberry pi"); }),
            "device 'rasberry pi': unknown; did you mean 'Raspberry Pi 5'?");
}

// The table against the facts that it was taken from.
TEST(device_catalogue, holds_the_facts) {
  const auto file = shared_data("facts/devices.json");
  SKIP_WITHOUT(file);
  const auto facts = nlohmann::json::parse(read_all(file));
  EXPECT_EQ(facts.size(), eq::device_catalogue().size());
  for (const auto& fact : facts) {
    const auto& d = eq::find_device(fact["name"].get<std::string>());
    EXPECT_EQ(d.memory_bandwidth_gb_s, fact["mem_bw_gbs"].get<double>()) << d.name;
    EXPECT_EQ(d.isa.size(), fact["isa"].size()) << d.name;
    EXPECT_EQ(d.confidence, fact["confidence"]) << d.name;
    std::vector<std::uint64_t> sizes = fact["ram_gb"];
    const std::uint64_t smallest =
        sizes.empty() ? 0 : *std::min_element(sizes.begin(), sizes.end()) * 1024;
    if (d.name != "Jetson AGX Orin 64GB") { // the name says which of the two
      EXPECT_EQ(d.ram_mib, smallest) << d.name;
    }
    if (d.npu) {
      EXPECT_EQ(d.npu->name, fact["npu"]) << d.name;
      EXPECT_EQ(d.npu->tops.has_value(), fact["npu_tops"].is_number()) << d.name;
    }
  }
}

} // namespace
