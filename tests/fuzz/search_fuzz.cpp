// SPDX-License-Identifier: MIT
// codec_fuzz.cpp for the mse rule, which searches for its scale and so takes a hundred times
// longer.
#include "codec_target.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static constexpr unsigned kinds[] = {0, 1, 4, 5, 6, 7, 9}; // those with a scale
  static constexpr unsigned rules[] = {static_cast<unsigned>(fuzz::eq::scale_rule::mse)};
  fuzz::run_codec_target({kinds, rules, 40}, fuzz::bytes_of(data, size)); // a group and a rest
  return 0;
}
