// SPDX-License-Identifier: MIT
// An engine and a rule of one's own beside those of the library: which engine for this board?
#include <edgequant/advise/engine_selector.hpp>
#include <edgequant/advise/selection_json.hpp>

#include <iostream>

namespace eq = edgequant;

int main() {
  eq::engine_selector selector; // today's engines and rules

  eq::engine_profile mine;
  mine.name = "My engine";
  mine.platforms = {eq::platform::gnu_linux};
  mine.precisions = {eq::precision::int8, eq::precision::int4};
  mine.cpu_isas = {"neon", "dotprod"};
  mine.features = {"sparse weights"};
  selector.add(mine);
  selector.add({"sparse weights", 12, [](const eq::scoring_case& c) {
                  for (const auto& feature : c.engine.features)
                    if (feature == "sparse weights") return eq::in_favour("skips weights of 0");
                  return eq::rule_result{};
                }});

  eq::device_profile board;
  board.name = "Raspberry Pi 5";
  board.platforms = {eq::platform::gnu_linux};
  board.ram_mib = 8192;
  board.isa = {"neon", "dotprod"};
  eq::print_selection(std::cout, selector.select(board));
}
