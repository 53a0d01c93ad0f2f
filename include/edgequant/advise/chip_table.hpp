// SPDX-License-Identifier: MIT
/// Chips by name: the class of their device and the bandwidth of their memory.
#pragma once

#include "device_profile.hpp"
#include "name_match.hpp"

#include <string_view>

namespace edgequant::inline EDGEQUANT_ABI {

/// What a row speaks of: a system whose memory all units share, a CPU, or a card with its own.
enum class chip_part { system, cpu, card };

/// CPU cores by their speed with 4-bit weights.
enum class core_age {
  current,  ///< Cortex-A76 and later, Apple, Oryon, x86 with AVX2
  older,    ///< out of order without int8 dot products: Cortex-A72, A73
  in_order, ///< Cortex-A53, A55, A35, and RISC-V boards without vectors
};

struct chip_row {
  std::string_view name; ///< lower case; see match_name
  device_class kind;
  double memory_bandwidth_gb_s; ///< peak by its maker's specification or transfers x width
  chip_part part = chip_part::system;
  core_age cores = core_age::current;
};

/// Short words for the table.
namespace chips {
constexpr auto phone = device_class::phone, sbc = device_class::sbc, edge = device_class::edge_gpu,
               laptop = device_class::laptop, desktop = device_class::desktop,
               wearable = device_class::wearable;
constexpr auto entire = chip_part::system, cpu_only = chip_part::cpu, card = chip_part::card;
constexpr auto older = core_age::older, in_order = core_age::in_order;
} // namespace chips

/// Apple's M chips are not here: apple_chip.hpp reads them.
inline constexpr chip_row chip_table[] = {
    // phones and watches
    {"a19 pro", chips::phone, 76.8},
    {"iphone 17 pro", chips::phone, 76.8},
    {"iphone 17", chips::phone, 68.2},
    {"a18 pro", chips::phone, 60},
    {"iphone 16", chips::phone, 60},
    {"iphone 16 pro", chips::phone, 60},
    {"a17 pro", chips::phone, 51.2},
    {"iphone 15 pro", chips::phone, 51.2},
    {"iphone 15", chips::phone, 51.2},
    {"iphone 14 pro", chips::phone, 51.2},
    {"iphone 14", chips::phone, 34.1},
    {"iphone 13", chips::phone, 34.1},
    {"iphone 12", chips::phone, 34.1},
    {"snapdragon 8 elite gen 5", chips::phone, 84.8},
    {"sm8850", chips::phone, 84.8},
    {"oneplus 15", chips::phone, 84.8},
    {"snapdragon 8 elite", chips::phone, 84.8},
    {"sm8750", chips::phone, 84.8},
    {"galaxy s25", chips::phone, 84.8},
    {"oneplus 13", chips::phone, 84.8},
    {"snapdragon 8 gen 3", chips::phone, 76.8},
    {"snapdragon 8s gen 3", chips::phone, 67.2},
    {"sm8650", chips::phone, 76.8},
    {"galaxy s24", chips::phone, 76.8},
    {"oneplus 12", chips::phone, 76.8},
    {"snapdragon 8 gen 2", chips::phone, 67.2},
    {"sm8550", chips::phone, 67.2},
    {"galaxy s23", chips::phone, 67.2},
    {"snapdragon 8 gen 1", chips::phone, 51.2},
    {"snapdragon 8 plus gen 1", chips::phone, 51.2},
    {"galaxy s22", chips::phone, 51.2},
    {"snapdragon 888", chips::phone, 51.2},
    {"snapdragon 870", chips::phone, 44},
    {"snapdragon 865", chips::phone, 44},
    {"snapdragon 7", chips::phone, 34.1},
    {"snapdragon 6", chips::phone, 25.6},
    {"tensor g5", chips::phone, 68.2},
    {"pixel 10", chips::phone, 68.2},
    {"tensor g4", chips::phone, 60},
    {"pixel 9", chips::phone, 60},
    {"tensor g3", chips::phone, 51.2},
    {"pixel 8", chips::phone, 51.2},
    {"pixel 7", chips::phone, 51.2},
    {"pixel 6", chips::phone, 51.2},
    {"dimensity 9500", chips::phone, 85.3},
    {"dimensity 9400", chips::phone, 85.3},
    {"dimensity 9300", chips::phone, 76.8},
    {"dimensity 9200", chips::phone, 68.2},
    {"dimensity 9000", chips::phone, 60},
    {"dimensity 8", chips::phone, 51.2},
    {"exynos 2400", chips::phone, 68.2},
    {"snapdragon w5", chips::wearable, 8.5, chips::entire, chips::in_order},
    {"apple watch", chips::wearable, 17},
    // boards
    {"raspberry pi 5", chips::sbc, 17.1},
    {"pi 500", chips::sbc, 17.1},
    {"cm5", chips::sbc, 17.1},
    {"raspberry pi 4", chips::sbc, 12.8, chips::entire, chips::older},
    {"pi 400", chips::sbc, 12.8, chips::entire, chips::older},
    {"cm4", chips::sbc, 12.8, chips::entire, chips::older},
    {"raspberry pi 3", chips::sbc, 3.6, chips::entire, chips::in_order},
    {"raspberry pi zero 2", chips::sbc, 3.6, chips::entire, chips::in_order},
    {"rk3588", chips::sbc, 33.8},
    {"rk3582", chips::sbc, 33.8},
    {"orange pi 5", chips::sbc, 33.8},
    {"rock 5", chips::sbc, 33.8},
    {"nanopi r6", chips::sbc, 33.8},
    {"rk3576", chips::sbc, 17, chips::entire, chips::older},
    {"rk3399", chips::sbc, 12.8, chips::entire, chips::older},
    {"rk3568", chips::sbc, 12.8, chips::entire, chips::in_order},
    {"rk3566", chips::sbc, 12.8, chips::entire, chips::in_order},
    {"orange pi 3b", chips::sbc, 12.8, chips::entire, chips::in_order},
    {"rk3562", chips::sbc, 12.8, chips::entire, chips::in_order},
    {"rv1126", chips::sbc, 12.8, chips::entire, chips::in_order},
    {"allwinner h618", chips::sbc, 6.4, chips::entire, chips::in_order},
    {"i mx 8m", chips::sbc, 12.8, chips::entire, chips::in_order},
    {"i mx 95", chips::sbc, 25.6, chips::entire, chips::in_order},
    {"visionfive 2", chips::sbc, 11.2, chips::entire, chips::in_order},
    {"cix", chips::sbc, 96},
    {"orion o6", chips::sbc, 96},
    {"sc8280xp", chips::sbc, 68.3},
    {"jetson agx thor", chips::edge, 273},
    {"jetson agx orin", chips::edge, 204.8},
    {"orin nx", chips::edge, 102.4},
    {"orin nano super", chips::edge, 102},
    {"orin nano", chips::edge, 68},
    {"xavier nx", chips::edge, 59.7},
    {"agx xavier", chips::edge, 136.5},
    {"jetson nano", chips::edge, 25.6, chips::entire, chips::older},
    {"gb10", chips::desktop, 273},
    {"dgx spark", chips::desktop, 273},
    // systems of laptops and desktops
    {"snapdragon x2", chips::laptop, 152},
    {"snapdragon x", chips::laptop, 135},
    {"x1e", chips::laptop, 135},
    {"core ultra 7 258v", chips::laptop, 136.5},
    {"lunar lake", chips::laptop, 136.5},
    {"core ultra 5 125h", chips::laptop, 119.5},
    {"core ultra 7 155h", chips::laptop, 119.5},
    {"ryzen ai max", chips::desktop, 256},
    {"strix halo", chips::desktop, 256},
    {"ryzen ai 9", chips::laptop, 120},
    {"ryzen ai", chips::laptop, 89.6},
    {"7840u", chips::laptop, 102.4},
    {"8840u", chips::laptop, 102.4},
    {"steam deck", chips::laptop, 88},
    {"rog ally", chips::laptop, 102.4},
    {"n100", chips::desktop, 38.4},
    {"n150", chips::desktop, 38.4},
    {"n95", chips::desktop, 25.6},
    // processors with memory of the buyer's choice: typical values
    {"core i9 14900", chips::desktop, 89.6, chips::cpu_only},
    {"core i9 13900", chips::desktop, 89.6, chips::cpu_only},
    {"core i7 13700", chips::desktop, 89.6, chips::cpu_only},
    {"core i5 13400", chips::desktop, 76.8, chips::cpu_only},
    {"core ultra 9 285k", chips::desktop, 102.4, chips::cpu_only},
    {"core ultra 7 265k", chips::desktop, 102.4, chips::cpu_only},
    {"ryzen 9 9950x", chips::desktop, 89.6, chips::cpu_only},
    {"ryzen 9 7950x", chips::desktop, 83.2, chips::cpu_only},
    {"ryzen 7 7700x", chips::desktop, 83.2, chips::cpu_only},
    {"ryzen 9 5950x", chips::desktop, 51.2, chips::cpu_only},
    {"ryzen 5 5600", chips::desktop, 51.2, chips::cpu_only},
    {"threadripper", chips::desktop, 102.4, chips::cpu_only},
    {"epyc", chips::desktop, 204.8, chips::cpu_only},
    {"xeon", chips::desktop, 140, chips::cpu_only},
    // cards
    {"rtx 5090", chips::desktop, 1792, chips::card},
    {"rtx 5080", chips::desktop, 960, chips::card},
    {"rtx 5070 ti", chips::desktop, 896, chips::card},
    {"rtx 5070", chips::desktop, 672, chips::card},
    {"rtx 5060 ti", chips::desktop, 448, chips::card},
    {"rtx 5060", chips::desktop, 448, chips::card},
    {"rtx 4090", chips::desktop, 1008, chips::card},
    {"rtx 4090 laptop", chips::laptop, 576, chips::card},
    {"rtx 4080 super", chips::desktop, 736, chips::card},
    {"rtx 4080", chips::desktop, 717, chips::card},
    {"rtx 4080 laptop", chips::laptop, 432, chips::card},
    {"rtx 4070 ti super", chips::desktop, 672, chips::card},
    {"rtx 4070 ti", chips::desktop, 504, chips::card},
    {"rtx 4070", chips::desktop, 504, chips::card},
    {"rtx 4070 laptop", chips::laptop, 256, chips::card},
    {"rtx 4060 ti", chips::desktop, 288, chips::card},
    {"rtx 4060", chips::desktop, 272, chips::card},
    {"rtx 4060 laptop", chips::laptop, 256, chips::card},
    {"rtx 4050 laptop", chips::laptop, 192, chips::card},
    {"rtx 3090 ti", chips::desktop, 1008, chips::card},
    {"rtx 3090", chips::desktop, 936, chips::card},
    {"rtx 3080 ti", chips::desktop, 912, chips::card},
    {"rtx 3080", chips::desktop, 760, chips::card},
    {"rtx 3070", chips::desktop, 448, chips::card},
    {"rtx 3060 laptop", chips::laptop, 336, chips::card},
    {"rtx 3060", chips::desktop, 360, chips::card},
    {"rtx 3050", chips::desktop, 224, chips::card},
    {"rtx 3050 laptop", chips::laptop, 192, chips::card},
    {"rtx 2080 ti", chips::desktop, 616, chips::card},
    {"rtx 2070", chips::desktop, 448, chips::card},
    {"rtx 2060", chips::desktop, 336, chips::card},
    {"gtx 1660 ti", chips::desktop, 288, chips::card},
    {"gtx 1650", chips::desktop, 128, chips::card},
    {"gtx 1080 ti", chips::desktop, 484, chips::card},
    {"gtx 1070", chips::desktop, 256, chips::card},
    {"rtx a4000", chips::desktop, 448, chips::card},
    {"rtx a6000", chips::desktop, 768, chips::card},
    {"rtx a2000", chips::desktop, 288, chips::card},
    {"tesla t4", chips::desktop, 320, chips::card},
    {"nvidia l4", chips::desktop, 300, chips::card},
    {"a100", chips::desktop, 1555, chips::card},
    {"h100", chips::desktop, 3350, chips::card},
    {"rx 9070 xt", chips::desktop, 640, chips::card},
    {"r9700", chips::desktop, 640, chips::card},
    {"rx 7900 xtx", chips::desktop, 960, chips::card},
    {"rx 7900 xt", chips::desktop, 800, chips::card},
    {"rx 7600", chips::desktop, 288, chips::card},
    {"rx 6800", chips::desktop, 512, chips::card},
    {"rx 6700 xt", chips::desktop, 384, chips::card},
    {"arc a770", chips::desktop, 560, chips::card},
    {"arc b580", chips::desktop, 456, chips::card},
};

/// Words that tell a class where no chip is known. First match decides.
struct class_word_row {
  std::string_view name; ///< see match_name
  device_class kind;
};

inline constexpr class_word_row class_words[] = {
    {"watch", chips::wearable},
    {"wear", chips::wearable},
    {"jetson", chips::edge},
    {"orin", chips::edge},
    {"xavier", chips::edge},
    {"macbook", chips::laptop},
    {"mac", chips::desktop},
    {"imac", chips::desktop},
    {"laptop", chips::laptop},
    {"notebook", chips::laptop},
    {"thinkpad", chips::laptop},
    {"zenbook", chips::laptop},
    {"surface", chips::laptop},
    {"framework 13", chips::laptop},
    {"core ultra", chips::laptop},
    {"desktop", chips::desktop},
    {"phone", chips::phone},
    {"iphone", chips::phone},
    {"ipad", chips::phone},
    {"galaxy", chips::phone},
    {"pixel", chips::phone},
    {"oneplus", chips::phone},
    {"xiaomi", chips::phone},
    {"redmi", chips::phone},
    {"honor", chips::phone},
    {"oppo", chips::phone},
    {"vivo", chips::phone},
    {"snapdragon", chips::phone},
    {"dimensity", chips::phone},
    {"exynos", chips::phone},
    {"kirin", chips::phone},
    {"helio", chips::phone},
    {"android", chips::phone},
    {"adreno", chips::phone},
    {"raspberry", chips::sbc},
    {"orange pi", chips::sbc},
    {"banana pi", chips::sbc},
    {"rock", chips::sbc},
    {"radxa", chips::sbc},
    {"odroid", chips::sbc},
    {"nanopi", chips::sbc},
    {"rk", chips::sbc},
    {"rv", chips::sbc},
    {"board", chips::sbc},
    {"allwinner", chips::sbc},
    {"amlogic", chips::sbc},
    {"risc v", chips::sbc},
    {"beagle", chips::sbc},
};

} // namespace edgequant::inline EDGEQUANT_ABI
