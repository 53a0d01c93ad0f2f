// SPDX-License-Identifier: MIT
// A user's program: an Eigen matrix in, JSON out. The first two lines say what this build made of
// the library; the rest is the same in every build.
#include <edgequant/config.hpp>
#include <edgequant/io/json.hpp>
#include <edgequant/metric/error.hpp>

#include <cstdio>

namespace eq = edgequant;

#define TEXT_(x) #x
#define TEXT(x) TEXT_(x)

int main() {
  std::printf("version %d.%d.%d\n", EDGEQUANT_VERSION_MAJOR, EDGEQUANT_VERSION_MINOR,
              EDGEQUANT_VERSION_PATCH);
  std::printf("build %s\n", TEXT(EDGEQUANT_ABI));

  eq::matrix_f weights(33, 96);
  for (Eigen::Index i = 0; i < weights.size(); ++i)
    weights.data()[i] = static_cast<float>(i * 37 % 101 - 50) / 1000;
  const auto w4 = eq::quantize<eq::q4_0>(weights);
  std::printf("q4_0: %zu bytes, mse %a\n", w4.bytes(), eq::measure_error(weights, w4).mse);
  try {
    (void)eq::parse_json("{\"layers\": [1, 2", "config.json");
  } catch (const eq::exception& error) {
    std::printf("refused: %s\n", error.what());
    return error.code() == eq::error_code::bad_file ? 0 : 1;
  }
  return 1;
}
