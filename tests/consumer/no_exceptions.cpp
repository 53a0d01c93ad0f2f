// SPDX-License-Identifier: MIT
// Rooms core to metric in a program without exceptions: good input gives figures, bad input calls
// the handler and aborts. The script passes all of these rooms' headers with -include, and those of
// deploy that choose an engine.
//   no_exceptions          good input; exit status 0
//   no_exceptions default  NaN, with the handler that the library brings
//   no_exceptions own      NaN, with a handler that returns: abort() follows all the same
#include <limits>

namespace eq = edgequant;

#if defined(__cpp_exceptions)
#error "this program is for -fno-exceptions"
#endif

/// A rule whose points are NaN is reported, and the baseline's ranking stays.
static bool selects() {
  eq::device_profile board;
  board.platforms = {eq::platform::gnu_linux};
  board.ram_mib = 4096;
  auto selector = eq::engine_selector::baseline();
  selector.add({"nan", 1, [](const eq::scoring_case&) {
                  return eq::in_favour("", std::numeric_limits<double>::quiet_NaN());
                }});
  selector.add(eq::rule_of(eq::requirement_for_offline()));
  const auto answer = selector.select(board);
  return answer.ranked.size() == 4 && answer.ranked[0].score == 65 && answer.problems.size() == 4;
}

int main(int argc, char** argv) {
  eq::matrix_f weights(4, 64);
  for (Eigen::Index i = 0; i < weights.size(); ++i)
    weights.data()[i] = static_cast<float>(i % 17 - 8) / 100;
  const bool good =
      selects() && eq::measure_error(weights, eq::quantize<eq::q8_0>(weights)).sqnr_db > 40 &&
      eq::measure_error(weights, eq::quantize<eq::symmetric<4, 32>>(weights)).sqnr_db > 15;
  if (argc < 2) return good ? 0 : 1;

  if (argv[1] == std::string_view("own"))
    eq::on_failure = [](eq::error_code code, const char* message) {
      std::fprintf(stderr, "own handler, code %d: %s\n", static_cast<int>(code), message);
    };
  weights(2, 5) = std::numeric_limits<float>::quiet_NaN();
  (void)eq::quantize<eq::q4_0>(weights, {.name = "bad.weight"});
  return 0; // not reached
}
