// SPDX-License-Identifier: MIT
#include "profiles.hpp"

#include <edgequant/advise/engine_selector.hpp>

#include <limits>

namespace {
using namespace deploy_test;

/// The baseline as it is written in the problem, apart from the library's tables.
struct baseline_row {
  const char* name;
  std::vector<eq::platform> platforms;
  std::uint64_t ram;
  bool nnapi, int4;
};

const std::vector<baseline_row>& baseline_rows() {
  using enum eq::platform;
  static const std::vector<baseline_row> rows = {
      {"llama.cpp", {android, ios, gnu_linux, macos}, 2048, false, true},
      {"MLC-LLM", {android, ios, gnu_linux}, 4096, false, true},
      {"ONNX Runtime", {android, ios, gnu_linux, windows}, 1024, true, false},
      {"TensorFlow Lite", {android, ios, gnu_linux}, 512, true, false},
  };
  return rows;
}

bool has(const std::vector<eq::platform>& platforms, eq::platform os) {
  return std::find(platforms.begin(), platforms.end(), os) != platforms.end();
}

TEST(engine_selector, baseline_scores_for_every_platform_ram_and_npu) {
  const auto selector = eq::engine_selector::baseline();
  const std::uint64_t sizes[] = {0,    1,    511,  512,  513,  1023, 1024,
                                 1025, 2047, 2048, 2049, 4095, 4096, 4097};
  for (const auto& os : eq::platform_table)
    for (const auto ram : sizes)
      for (const bool npu : {false, true}) {
        auto device = board();
        device.platforms = {os.id};
        device.ram_mib = ram;
        if (npu) device.npu = eq::npu_profile{.name = "any", .vendor = "whoever"};
        std::vector<std::pair<int, std::string>> expected;
        for (const auto& row : baseline_rows()) {
          if (!has(row.platforms, os.id)) continue;
          int points = 30;
          if (ram >= row.ram) points += 20;
          if (npu && row.nnapi) points += 25;
          if (row.int4) points += 15;
          expected.emplace_back(points, row.name);
        }
        std::stable_sort(expected.begin(), expected.end(),
                         [](const auto& a, const auto& b) { return a.first > b.first; });
        const auto answer = selector.select(device);
        ASSERT_EQ(answer.ranked.size(), expected.size()) << os.name;
        EXPECT_EQ(answer.excluded.size(), 4 - expected.size());
        for (std::size_t i = 0; i < expected.size(); ++i) {
          EXPECT_EQ(answer.ranked[i].score, expected[i].first) << os.name << " " << ram << npu;
          EXPECT_EQ(answer.ranked[i].engine.name, expected[i].second) << os.name << " " << ram;
        }
        EXPECT_TRUE(answer.problems.empty());
      }
}

// Rows that differ in one thing each: INT4 or not, NNAPI or not, and all their minima.
TEST(engine_selector, baseline_rules_for_every_row) {
  const std::uint64_t minima[] = {512, 1024, 2048, 4096};
  for (const auto least : minima)
    for (const auto& os : eq::platform_table)
      for (int bits = 0; bits < 16; ++bits)
        for (const std::uint64_t ram : {least - 1, least, least + 1}) {
          const bool runs = bits & 1, nnapi = bits & 2, int4 = bits & 4, npu = bits & 8;
          auto engine = small_engine("row");
          engine.platforms = {runs                         ? os.id
                              : os.id == eq::platform::ios ? eq::platform::macos
                                                           : eq::platform::ios};
          engine.min_ram_mib = least;
          if (nnapi) engine.features = {"CoreML delegate", "NNAPI delegate"};
          if (!int4) engine.precisions = {eq::precision::fp16, eq::precision::int8};
          auto device = board();
          device.platforms = {os.id};
          device.ram_mib = ram;
          if (npu) device.npu = eq::npu_profile{.name = "any", .vendor = "whoever"};
          const auto answer = eq::engine_selector({engine}, eq::baseline_rules()).select(device);
          ASSERT_EQ(answer.ranked.size(), runs ? 1u : 0u);
          if (!runs) continue;
          EXPECT_EQ(answer.ranked[0].score,
                    30 + (ram >= least ? 20 : 0) + (npu && nnapi ? 25 : 0) + (int4 ? 15 : 0));
        }
}

TEST(engine_selector, baseline_table_is_the_problems) {
  const auto engines = eq::baseline_engines();
  ASSERT_EQ(engines.size(), 4u);
  for (std::size_t i = 0; i < 4; ++i) {
    const auto& row = baseline_rows()[i];
    EXPECT_EQ(engines[i].name, row.name);
    EXPECT_EQ(engines[i].platforms, row.platforms);
    EXPECT_EQ(engines[i].min_ram_mib, row.ram);
    EXPECT_EQ(eq::supports(engines[i], eq::precision::int4), row.int4);
    EXPECT_TRUE(eq::supports(engines[i], eq::precision::fp16));
    EXPECT_TRUE(eq::supports(engines[i], eq::precision::int8));
    EXPECT_EQ(eq::names_nnapi(engines[i]), row.nnapi);
  }
  EXPECT_EQ(engines[2].features, (std::vector<std::string>{"NNAPI delegate", "CoreML delegate"}));
}

TEST(engine_selector, an_answer_says_why) {
  auto device = phone();
  device.ram_mib = 3000;
  const auto answer = eq::engine_selector::baseline().select(device);
  ASSERT_EQ(answer.ranked.size(), 4u);
  EXPECT_EQ(answer.ranked[0].engine.name, "ONNX Runtime"); // 75, as TensorFlow Lite behind it
  EXPECT_EQ(answer.ranked[1].engine.name, "TensorFlow Lite");
  const auto& mlc = answer.ranked[3];
  EXPECT_TRUE(says(mlc.reasons, "runs on android"));
  EXPECT_TRUE(says(mlc.against, "3000 MiB of RAM, below its 4096 MiB"));
  EXPECT_TRUE(says(mlc.against, "no NNAPI"));
  ASSERT_EQ(mlc.points.size(), 4u);
  EXPECT_EQ(mlc.points[0].rule, "platform");
  EXPECT_EQ(mlc.points[0].points, 30);
  EXPECT_EQ(mlc.points[1].points, 0);
  EXPECT_FALSE(mlc.weights); // nobody has said anything of precisions

  const auto web = eq::engine_selector::baseline().select(device, {.os = eq::platform::web});
  EXPECT_TRUE(web.ranked.empty());
  ASSERT_EQ(web.excluded.size(), 4u);
  EXPECT_EQ(web.excluded[1].engine.name, "MLC-LLM");
  EXPECT_EQ(web.excluded[1].why, (std::vector<std::string>{"does not run on web"}));
}

TEST(engine_selector, a_users_rule_and_engine_change_the_ranking) {
  auto selector = eq::engine_selector::baseline();
  EXPECT_EQ(selector.select(board()).ranked[0].engine.name, "llama.cpp"); // 30 + 20 + 15
  auto mine = small_engine("mine");
  mine.features = {"sparse kernels"};
  selector.add(mine);
  selector.add({"sparse", 8, [](const eq::scoring_case& c) {
                  return c.engine.features.empty() ? eq::rule_result{}
                                                   : eq::in_favour("sparse weights", 0.5);
                }});
  auto answer = selector.select(board());
  EXPECT_EQ(answer.ranked[0].engine.name, "mine"); // no minimum: 30 + 20 + 15, and 4
  EXPECT_EQ(answer.ranked[0].score, 69);
  EXPECT_TRUE(says(answer.ranked[0].reasons, "sparse weights"));

  selector.replace(
      eq::scoring_rule{"sparse", -8, [](const eq::scoring_case&) { return eq::in_favour("", 1); }});
  EXPECT_EQ(selector.select(board()).ranked[0].score, 57);
  selector.remove_rule("sparse").remove_engine("llama.cpp");
  EXPECT_EQ(selector.select(board()).ranked[0].engine.name, "MLC-LLM"); // before mine in the table
  selector.replace(eq::engine_profile{.name = "MLC-LLM", .platforms = {eq::platform::ios}});
  answer = selector.select(board());
  EXPECT_EQ(answer.ranked[0].engine.name, "mine");
  EXPECT_EQ(answer.excluded[0].engine.name, "MLC-LLM");
}

TEST(engine_selector, a_rule_that_fails_is_reported_and_spoils_nothing) {
  auto selector = eq::engine_selector::baseline();
  const auto before = selector.select(board());
  selector.add({"thrower", 5, [](const eq::scoring_case& c) -> eq::rule_result {
                  if (c.engine.name == "MLC-LLM") throw std::runtime_error("no\nidea");
                  return {};
                }});
  selector.add({"stranger", 5, [](const eq::scoring_case&) -> eq::rule_result { throw 7; }});
  selector.add({"nan", 5, [](const eq::scoring_case&) {
                  return eq::in_favour("not to be seen", std::numeric_limits<double>::quiet_NaN());
                }});
  selector.add({"inf", 5, [](const eq::scoring_case&) {
                  return eq::rule_result{std::numeric_limits<double>::infinity(), "", "", true};
                }});
  selector.add({"huge", 1e308, [](const eq::scoring_case&) { return eq::in_favour("", 10); }});
  const auto after = selector.select(board());
  ASSERT_EQ(after.ranked.size(), before.ranked.size());
  for (std::size_t i = 0; i < before.ranked.size(); ++i) {
    EXPECT_EQ(after.ranked[i].engine.name, before.ranked[i].engine.name);
    EXPECT_EQ(after.ranked[i].score, before.ranked[i].score);
    EXPECT_EQ(after.ranked[i].reasons, before.ranked[i].reasons);
  }
  EXPECT_EQ(after.problems.size(), 1u + 4 * 4); // MLC-LLM, then four rules with each engine
  EXPECT_TRUE(says(after.problems, "rule 'thrower': engine 'MLC-LLM': no\\x0aidea"));
  EXPECT_TRUE(says(after.problems, "rule 'stranger': engine 'llama.cpp': threw no std::exception"));
  EXPECT_TRUE(says(after.problems, "rule 'nan': engine 'llama.cpp': its points"));
  EXPECT_TRUE(says(after.problems, "rule 'inf'"));
  EXPECT_TRUE(says(after.problems, "rule 'huge'"));
}

TEST(engine_selector, a_sum_that_overflows_is_reported_too) {
  const auto whole = [](const eq::scoring_case&) { return eq::in_favour(""); };
  const auto answer =
      eq::engine_selector({small_engine("one")},
                          {{"a", 1.5e308, whole}, {"b", 1.5e308, whole}, {"c", -1.5e308, whole}})
          .select(board());
  EXPECT_EQ(answer.ranked.at(0).score, 0);
  ASSERT_EQ(answer.problems.size(), 1u);
  EXPECT_TRUE(says(answer.problems, "rule 'b'"));
}

TEST(engine_selector, what_makes_no_sense_is_refused_by_name) {
  const auto problem = [](auto change) -> std::string {
    auto selector = eq::engine_selector::baseline();
    try {
      change(selector);
    } catch (const eq::exception& error) {
      return error.what();
    }
    return "";
  };
  const auto nothing = [](const eq::scoring_case&) { return eq::rule_result{}; };
  using selector = eq::engine_selector;
  EXPECT_EQ(problem([&](selector& s) { s.add(small_engine("MLC-LLM")); }),
            "engine 'MLC-LLM': the name is there already");
  EXPECT_EQ(problem([&](selector& s) { s.add(eq::engine_profile{.name = "x"}); }),
            "engine 'x': needs a platform");
  EXPECT_EQ(problem([&](selector& s) { s.add(small_engine("")); }), "engine: needs a name");
  EXPECT_EQ(problem([&](selector& s) { s.replace(small_engine("none")); }),
            "engine 'none': there is none of this name");
  EXPECT_EQ(problem([&](selector& s) { s.remove_engine("none"); }),
            "engine 'none': there is none of this name");
  EXPECT_EQ(problem([&](selector& s) { s.remove_rule("none"); }),
            "rule 'none': there is none of this name");
  EXPECT_EQ(problem([&](selector& s) {
              s.add({"ram", 1, nothing});
            }),
            "rule 'ram': the name is there already");
  EXPECT_EQ(problem([&](selector& s) { s.add({"x", 1, {}}); }), "rule 'x': needs a function");
  EXPECT_EQ(problem([&](selector& s) {
              s.add({"x", std::nan(""), nothing});
            }),
            "rule 'x': weight is no number");
  EXPECT_EQ(problem([&](selector& s) { (void)s.select(eq::device_profile{.name = "bare"}); }),
            "device 'bare': needs a platform");
}

// 2 bytes, 1 byte and half a byte a weight, of 4 * 10^9 weights.
eq::run_figures figures_of(const eq::engine_profile&, eq::precision weights) {
  const double bytes = weights == eq::precision::fp16   ? 8e9
                       : weights == eq::precision::int8 ? 4e9
                                                        : 2e9;
  eq::run_figures figures;
  figures.fits = bytes < 5e9;
  figures.note = std::to_string(static_cast<int>(bytes / 1e9)) + " GB";
  figures.ms_per_token = bytes / 1e8;
  return figures;
}

TEST(engine_selector, the_highest_precision_that_fits_is_taken) {
  const auto answer = eq::engine_selector({small_engine("one")}, eq::current_rules())
                          .select(board(), {.figures = figures_of});
  ASSERT_EQ(answer.ranked.size(), 1u);
  const auto& best = answer.ranked[0];
  EXPECT_EQ(best.weights, eq::precision::int8);
  EXPECT_EQ(best.figures.ms_per_token, 40);
  EXPECT_TRUE(says(best.reasons, "fits (4 GB)"));
  EXPECT_TRUE(says(best.reasons, "25 tokens/s predicted"));
  EXPECT_TRUE(says(best.against, "fp16: does not fit (8 GB)"));
  EXPECT_NEAR(best.score, 30 + 20 + 15 + 20 * 25.0 / 35, 1e-12);
}

TEST(engine_selector, an_engine_without_a_precision_that_fits_is_out) {
  auto wide = small_engine("wide");
  wide.precisions = {eq::precision::fp16};
  auto device = board();
  auto answer =
      eq::engine_selector({wide}, eq::current_rules()).select(device, {.figures = figures_of});
  ASSERT_EQ(answer.excluded.size(), 1u);
  EXPECT_EQ(answer.excluded[0].why, (std::vector<std::string>{"does not fit (8 GB)"}));
  const auto never = [](const eq::engine_profile&, eq::precision p) {
    return eq::run_figures{.fits = false, .note = std::string(eq::name_of(p))};
  };
  answer = eq::engine_selector({small_engine("one")}, eq::current_rules())
               .select(device, {.os = eq::platform::ios, .figures = never});
  ASSERT_EQ(answer.excluded.size(), 1u);
  EXPECT_EQ(answer.excluded[0].why,
            (std::vector<std::string>{"does not run on ios", "fp16: does not fit (fp16)",
                                      "int8: does not fit (int8)", "int4: does not fit (int4)"}));
}

TEST(engine_selector, figures_that_fail_are_unknown_and_reported) {
  const auto broken = [](const eq::engine_profile&, eq::precision p) -> eq::run_figures {
    if (p == eq::precision::fp16) throw std::runtime_error("no idea");
    return {.ms_per_token = p == eq::precision::int8 ? -1 : std::nan("")};
  };
  const auto answer = eq::engine_selector({small_engine("one")}, eq::current_rules())
                          .select(board(), {.figures = broken});
  ASSERT_EQ(answer.ranked.size(), 1u);
  EXPECT_EQ(answer.ranked[0].score, 65);
  EXPECT_EQ(answer.problems.size(), 3u);
  auto narrow = small_engine("narrow");
  narrow.precisions = {eq::precision::int8};
  const auto negative =
      eq::engine_selector({narrow}, eq::current_rules()).select(board(), {.figures = broken});
  EXPECT_FALSE(negative.ranked.at(0).figures.ms_per_token);
  EXPECT_TRUE(says(answer.problems, "figures: engine 'one' in fp16: no idea"));
  EXPECT_TRUE(says(answer.problems, "figures: engine 'one' in int8: ms_per_token"));
  EXPECT_TRUE(says(answer.problems, "figures: engine 'one' in int4: ms_per_token"));
}

} // namespace
