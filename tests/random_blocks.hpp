// SPDX-License-Identifier: MIT
// Blocks of any format with random codes and scales of a reasonable size.
#pragma once

#include <edgequant/format/block_groups.hpp>

#include <cstdint>
#include <cstring>
#include <vector>

namespace random_blocks {

namespace eq = edgequant;

/// Uniform 64-bit numbers (splitmix64): the same on every machine.
struct generator {
  std::uint64_t state;
  std::uint64_t operator()() {
    std::uint64_t z = state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
  }
};

/// A half within 2^-9 and 2^-6 of either sign.
inline eq::half random_scale(generator& random) {
  const float magnitude = 0x1p-9f + static_cast<float>(random() % 1000) * 0x1p-16f;
  return eq::half(random() % 2 == 0 ? magnitude : -magnitude);
}

template <eq::coded_format F>
std::vector<typename F::block> make(std::size_t count, std::uint64_t seed) {
  generator random{seed};
  std::vector<typename F::block> blocks(count);
  for (auto& b : blocks) {
    unsigned char bytes[sizeof b];
    for (auto& byte : bytes) byte = static_cast<unsigned char>(random());
    std::memcpy(static_cast<void*>(&b), bytes, sizeof b);
    if constexpr (requires { b.scale; }) b.scale = random_scale(random);
    if constexpr (requires { b.minimum; }) b.minimum = random_scale(random);
    if constexpr (requires { b.exponent; })
      b.exponent = static_cast<std::uint8_t>(118 + random() % 4);
    if constexpr (F::id == eq::format::nvfp4)
      for (auto& scale : b.scales) scale &= 31;
    if constexpr (F::id == eq::format::iq1_m) { // the upper nibbles are a half below 2^-5
      b.scales[3][1] = static_cast<std::uint8_t>((b.scales[3][1] & 15) | 0x20);
    }
  }
  return blocks;
}

} // namespace random_blocks
