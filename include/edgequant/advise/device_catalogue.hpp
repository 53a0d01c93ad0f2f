// SPDX-License-Identifier: MIT
/// The devices that the library knows by name.
#pragma once

#include "../core/nearest_name.hpp"
#include "device_profile.hpp"

#include <string>
#include <string_view>
#include <vector>

namespace edgequant::inline EDGEQUANT_ABI {

/// The devices of the table, each with the source of its figures and the confidence in them.
[[nodiscard]] const std::vector<device_profile>& device_catalogue();

/// The device of that name; upper and lower case are the same. bad_argument for an unknown name,
/// with the nearest known one.
[[nodiscard]] const device_profile& find_device(std::string_view name);

namespace advisor::detail {

/// A device_profile of literals. Lists are words, separated by spaces; 0 and "" mean not known, or
/// none.
struct device_row {
  std::string_view name, chip, kind, platforms;
  std::uint64_t ram_mib;
  double memory_bandwidth_gb_s;
  unsigned cpu_cores;
  std::string_view isa, gpu, npu, npu_vendor;
  double npu_tops;
  std::string_view confidence, source;
};

inline constexpr std::string_view arm_2017 = "neon dotprod fp16",
                                  arm_2021 = "neon dotprod i8mm fp16 bf16",
                                  arm_sme = "neon dotprod i8mm fp16 bf16 sme",
                                  x86_2021 = "avx2 avx_vnni fma";
/// Peak bandwidths by chip, as published.
inline constexpr std::string_view apple_source = "ggml-org/llama.cpp discussion #4167";

inline constexpr device_row device_rows[] = {
    {"Raspberry Pi 5", "Broadcom BCM2712", "sbc", "linux", 2048, 17.1, 4, arm_2017,
     "VideoCore VII (Vulkan)", "", "", 0, "medium",
     "emergentmind.com/topics/raspberry-pi-model-5 (4xA76, LPDDR4X-4267); bandwidth computed "
     "4.267*4 B for the 32-bit bus; pages quoting 34 GB/s assume 64-bit; measured decode implies "
     "~10.5 GB/s effective, consistent only with 17.1 peak"},
    {"Jetson Orin Nano 8GB", "NVIDIA Orin", "edge-gpu", "linux", 8192, 68, 6, arm_2017,
     "Ampere 1024 CUDA / 32 tensor", "", "", 0, "high",
     "ericxliu.me/posts/benchmarking-llms-on-jetson-orin-nano; ~5.2 GB usable after OS"},
    {"Jetson Orin Nano Super 8GB", "NVIDIA Orin", "edge-gpu", "linux", 8192, 102, 6, arm_2017,
     "Ampere 1024 CUDA / 32 tensor", "", "", 0, "medium",
     "smolhub.com/posts/jetson-nano-super-benchmark-non-reasoning (modes); 102 GB/s/67 TOPS = "
     "NVIDIA Super mode figure (unverified)"},
    {"Jetson AGX Orin 64GB", "NVIDIA Orin", "edge-gpu", "linux", 65536, 204.8, 12, arm_2017,
     "Ampere 2048 CUDA", "", "", 0, "medium",
     "NVIDIA datasheet figure, unverified; tps from nvidia-holoscan/holohub#170; 275 TOPS are "
     "of GPU and DLA together, so no NPU is listed"},
    {"Snapdragon 8 Gen 3 phone (Galaxy S24 Ultra, OnePlus 12)", "SM8650", "phone", "android", 8192,
     76.8, 8, arm_2021, "Adreno 750", "Hexagon HTP v75", "qualcomm", 0, "high",
     "digitpatrox.com/snapdragon-8-elite-vs-8-gen-3 (CPU, LPDDR5X 4.8GHz); bandwidth computed "
     "9.6*8"},
    {"Snapdragon 8 Elite phone (Galaxy S25 Ultra)", "SM8750", "phone", "android", 12288, 84.8, 8,
     arm_2021, "Adreno 830", "Hexagon HTP v79", "qualcomm", 0, "high",
     "geektopia.es Snapdragon 8 Elite (84.8 GB/s stated)"},
    {"Snapdragon 8 Elite Gen 5 phone (OnePlus 15)", "SM8850", "phone", "android", 12288, 84.8, 8,
     arm_sme, "Adreno 840", "Hexagon HTP v81", "qualcomm", 0, "low",
     "ggml-org/llama.cpp#27677 (HTP v81, Adreno 840); bandwidth assumed >= 8 Elite"},
    {"Pixel 9 Pro", "Google Tensor G4", "phone", "android", 12288, 60, 8, arm_2021, "Mali-G715 MC7",
     "Google TPU gen3", "google", 0, "low",
     "technewsmix.com Tensor G4 explained (CPU/GPU/TPU); runlocalai.co google-tensor-g4 (60 GB/s, "
     "third-party)"},
    {"iPhone 15 Pro", "Apple A17 Pro", "phone", "ios", 8192, 51.2, 6, arm_2021, "Apple 6-core",
     "Apple Neural Engine 16-core", "apple", 35, "medium",
     "derived: A16 51.2 GB/s (topcpu.net); A18 Pro = +17% over A17 Pro (gadgets360, "
     "punto-informatico)"},
    {"iPhone 16 Pro", "Apple A18 Pro", "phone", "ios", 8192, 60, 6, arm_sme, "Apple 6-core",
     "Apple Neural Engine 16-core", "apple", 35, "medium",
     "gadgets360.com iPhone 16 (35 TOPS, +17% bandwidth) -> 51.2*1.17=59.9"},
    {"Dimensity 9400 phone", "MediaTek MT6991", "phone", "android", 12288, 85.3, 8,
     "neon dotprod i8mm fp16 bf16 sve2", "Immortalis-G925", "MediaTek NPU 890", "mediatek", 0,
     "low", "computed from LPDDR5X-10667 x 64 bit; part data unverified"},
    {"RK3588 board", "Rockchip RK3588", "sbc", "linux android", 4096, 33.8, 8, arm_2017,
     "Mali-G610 MP4", "RKNPU2 3-core", "rockchip", 6, "medium",
     "airockchip/rknn-llm README/benchmark.md (platform); bandwidth from memory spec, "
     "unverified"},
    {"RK3576 board", "Rockchip RK3576", "sbc", "linux android", 4096, 17, 8, "neon", "Mali-G52",
     "RKNPU", "rockchip", 6, "low",
     "airockchip/rknn-llm benchmark.md; bandwidth assumed 32-bit LPDDR4X-4266"},
    {"RK3566 board (Orange Pi 3B)", "Rockchip RK3566", "sbc", "linux", 2048, 12.8, 4, arm_2017,
     "Mali-G52", "RKNPU", "rockchip", 1, "low", "ggml-org/llama.cpp#34; bandwidth nominal"},
    {"Intel Core Ultra 7 258V laptop", "Lunar Lake", "laptop", "windows linux", 16384, 136.5, 8,
     x86_2021, "Arc 140V Xe2 (64 INT8 TOPS XMX)", "Intel NPU4", "intel", 48, "high",
     "reddit LocalLLaMA Lunar Lake post (136.5 theoretical, ~80 GB/s measured by Chips&Cheese); "
     "runlocalai.co intel-lunar-lake-258v"},
    {"Intel Core Ultra 7 155H laptop", "Meteor Lake", "laptop", "windows linux", 16384, 119.5, 16,
     x86_2021, "Arc Xe-LPG", "Intel NPU3", "intel", 11, "low", "computed 7.467*16; unverified"},
    {"Snapdragon X Elite laptop", "X1E", "laptop", "windows", 16384, 135, 12, arm_2021,
     "Adreno X1-85", "Hexagon", "qualcomm", 45, "high",
     "faceofit.com qualcomm-x-elite-vs-intel-lunar-lake"},
    {"Apple M1 (8 GPU)", "Apple M1", "laptop", "macos", 0, 68, 0, arm_2017, "Apple GPU 8 cores",
     "Apple Neural Engine", "apple", 0, "high", apple_source},
    {"Apple M1 Pro (16)", "Apple M1 Pro", "laptop", "macos", 0, 200, 0, arm_2017,
     "Apple GPU 16 cores", "Apple Neural Engine", "apple", 0, "high", apple_source},
    {"Apple M1 Max (32)", "Apple M1 Max", "laptop", "macos", 0, 400, 0, arm_2017,
     "Apple GPU 32 cores", "Apple Neural Engine", "apple", 0, "high", apple_source},
    {"Apple M2 (10)", "Apple M2", "laptop", "macos", 0, 100, 0, arm_2021, "Apple GPU 10 cores",
     "Apple Neural Engine", "apple", 0, "high", apple_source},
    {"Apple M2 Pro (19)", "Apple M2 Pro", "laptop", "macos", 0, 200, 0, arm_2021,
     "Apple GPU 19 cores", "Apple Neural Engine", "apple", 0, "high", apple_source},
    {"Apple M2 Max (38)", "Apple M2 Max", "laptop", "macos", 0, 400, 0, arm_2021,
     "Apple GPU 38 cores", "Apple Neural Engine", "apple", 0, "high", apple_source},
    {"Apple M2 Ultra (76)", "Apple M2 Ultra", "desktop", "macos", 0, 800, 0, arm_2021,
     "Apple GPU 76 cores", "Apple Neural Engine", "apple", 0, "high", apple_source},
    {"Apple M3 (10)", "Apple M3", "laptop", "macos", 0, 100, 0, arm_2021, "Apple GPU 10 cores",
     "Apple Neural Engine", "apple", 0, "high", apple_source},
    {"Apple M3 Pro (18)", "Apple M3 Pro", "laptop", "macos", 0, 150, 0, arm_2021,
     "Apple GPU 18 cores", "Apple Neural Engine", "apple", 0, "high", apple_source},
    {"Apple M3 Max (40)", "Apple M3 Max", "laptop", "macos", 0, 400, 0, arm_2021,
     "Apple GPU 40 cores", "Apple Neural Engine", "apple", 0, "high", apple_source},
    {"Apple M4 (10)", "Apple M4", "laptop", "macos", 0, 120, 0, arm_sme, "Apple GPU 10 cores",
     "Apple Neural Engine", "apple", 0, "high", apple_source},
    {"Apple M4 Pro (20)", "Apple M4 Pro", "laptop", "macos", 0, 273, 0, arm_sme,
     "Apple GPU 20 cores", "Apple Neural Engine", "apple", 0, "high", apple_source},
    {"Apple M4 Max (40)", "Apple M4 Max", "laptop", "macos", 0, 546, 0, arm_sme,
     "Apple GPU 40 cores", "Apple Neural Engine", "apple", 0, "high", apple_source},
    {"Apple M5 Pro (20)", "Apple M5 Pro", "laptop", "macos", 0, 307, 0, arm_sme,
     "Apple GPU 20 cores", "Apple Neural Engine", "apple", 0, "high", apple_source},
    {"Smart watch (Snapdragon W5+ Gen 1)", "SW5100", "wearable", "wearos", 1024, 8.5, 4, "neon",
     "Adreno 702 1GHz", "Ethos-U55", "arm", 0, "medium",
     "haimian.biz/beebom W5+ Gen 1 (4xA53, U55, LPDDR4 2133MHz); bandwidth computed 4.266*2"},
    {"Desktop DDR5 x86 (Core i5-13400F)", "Raptor Lake", "desktop", "linux windows", 65536, 76.8,
     10, x86_2021, "", "", "", 0, "low", "ggml-org/llama.cpp#34; bandwidth assumes DDR5-4800 x2"},
};

[[nodiscard]] inline std::vector<std::string> split_words(std::string_view text) {
  std::vector<std::string> words;
  while (!text.empty()) {
    const auto end = std::min(text.find(' '), text.size());
    words.emplace_back(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return words;
}

[[nodiscard]] inline device_profile to_profile(const device_row& row) {
  device_profile device;
  device.name = row.name;
  device.chip = row.chip;
  device.kind = *find_device_class(row.kind);
  for (const auto& name : split_words(row.platforms))
    device.platforms.push_back(*find_platform(name));
  device.ram_mib = row.ram_mib;
  if (row.memory_bandwidth_gb_s != 0) device.memory_bandwidth_gb_s = row.memory_bandwidth_gb_s;
  device.cpu_cores = row.cpu_cores;
  device.isa = split_words(row.isa);
  device.gpu = row.gpu;
  if (!row.npu.empty()) {
    device.npu = npu_profile{std::string(row.npu), std::string(row.npu_vendor)};
    if (row.npu_tops != 0) device.npu->tops = row.npu_tops;
  }
  device.source = row.source;
  device.confidence = row.confidence;
  return device;
}

} // namespace advisor::detail

inline const std::vector<device_profile>& device_catalogue() {
  static const auto all = [] {
    std::vector<device_profile> devices;
    for (const auto& row : advisor::detail::device_rows)
      devices.push_back(advisor::detail::to_profile(row));
    return devices;
  }();
  return all;
}

inline const device_profile& find_device(std::string_view name) {
  return find_by_name<device_profile>(device_catalogue(), name, "device");
}

/// Some of the catalogue by name: devices::raspberry_pi_5().
namespace devices {
[[nodiscard]] inline const device_profile& raspberry_pi_5() {
  return find_device("Raspberry Pi 5");
}
[[nodiscard]] inline const device_profile& jetson_orin_nano() {
  return find_device("Jetson Orin Nano 8GB");
}
[[nodiscard]] inline const device_profile& galaxy_s24_ultra() {
  return find_device("Snapdragon 8 Gen 3 phone (Galaxy S24 Ultra, OnePlus 12)");
}
[[nodiscard]] inline const device_profile& pixel_9_pro() { return find_device("Pixel 9 Pro"); }
[[nodiscard]] inline const device_profile& iphone_15_pro() { return find_device("iPhone 15 Pro"); }
[[nodiscard]] inline const device_profile& iphone_16_pro() { return find_device("iPhone 16 Pro"); }
[[nodiscard]] inline const device_profile& rk3588_board() { return find_device("RK3588 board"); }
[[nodiscard]] inline const device_profile& snapdragon_x_elite_laptop() {
  return find_device("Snapdragon X Elite laptop");
}
[[nodiscard]] inline const device_profile& apple_m2() { return find_device("Apple M2 (10)"); }
[[nodiscard]] inline const device_profile& apple_m4_max() {
  return find_device("Apple M4 Max (40)");
}
[[nodiscard]] inline const device_profile& smart_watch() {
  return find_device("Smart watch (Snapdragon W5+ Gen 1)");
}
} // namespace devices

} // namespace edgequant::inline EDGEQUANT_ABI
