// SPDX-License-Identifier: MIT
// Finite values through every format and back, with every rule that computes its scale: native
// equals scalar bit for bit, and nothing that is not finite comes out.
#include "codec_target.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static constexpr unsigned kinds[] = {0, 1, 2, 3, 4, 5, 6, 7, fuzz::decode_kind, 9};
  static constexpr unsigned rules[] = {0, 1, 2, 3}; // scale_rule without mse: search_fuzz.cpp
  fuzz::run_codec_target({kinds, rules, 160}, fuzz::bytes_of(data, size));
  return 0;
}
