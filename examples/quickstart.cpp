// SPDX-License-Identifier: MIT
// A matrix in, INT8 and INT4 out: how large, and how wrong?
#include <edgequant/quantize.hpp>

#include <iostream>

namespace eq = edgequant;

int main() {
  const eq::matrix_f weights = 0.02f * eq::matrix_f::Random(512, 1024); // rows = output channels

  const auto w8 = eq::quantize<eq::q8_0>(weights);
  const auto w4 = eq::quantize<eq::q4_0>(weights, {.scale = eq::scale_rule::mse});

  std::cout << "float: " << weights.size() * 4 << " bytes\n"
            << "INT8:  " << w8.bytes() << " bytes, " << eq::measure_error(weights, w8).sqnr_db
            << " dB\n"
            << "INT4:  " << w4.bytes() << " bytes, " << eq::measure_error(weights, w4).sqnr_db
            << " dB\n";
}
