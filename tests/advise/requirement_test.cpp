// SPDX-License-Identifier: MIT
#include "profiles.hpp"

#include <edgequant/advise/engine_selector.hpp>
#include <edgequant/advise/requirement.hpp>

#include <limits>

namespace {
using namespace deploy_test;
using eq::requirement_kind;

/// One engine, one requirement, figures that are the same in every precision.
eq::selection answer_to(const eq::requirement& w, const eq::run_figures& figures,
                        eq::engine_profile engine = small_engine("one"),
                        const eq::device_profile& device = board()) {
  return eq::engine_selector({std::move(engine)}, {eq::rule_of(w)})
      .select(device, {.figures = [=](const auto&, eq::precision) { return figures; }});
}

struct figure_case {
  requirement_kind kind;
  double limit;
  eq::run_figures meets, misses; ///< at the limit, and beyond it by half of it (by 3 dB)
  const char* text;
};

const std::vector<figure_case>& figure_cases() {
  static const std::vector<figure_case> cases = {
      {requirement_kind::max_ms_per_token,
       50,
       {.ms_per_token = 50},
       {.ms_per_token = 75},
       "75, above 50 ms a token"},
      {requirement_kind::max_ms_to_first_token,
       400,
       {.ms_to_first_token = 400},
       {.ms_to_first_token = 600},
       "600, above 400 ms to the first token"},
      {requirement_kind::max_power_mw,
       100,
       {.power_mw = 100},
       {.power_mw = 150},
       "150, above 100 mW"},
      {requirement_kind::max_storage_bytes,
       1000,
       {.storage_bytes = 1000},
       {.storage_bytes = 1500},
       "1500, above 1000 bytes of storage"},
      {requirement_kind::max_memory_bytes,
       2000,
       {.memory_bytes = 2000},
       {.memory_bytes = 3000},
       "3000, above 2000 bytes of memory"},
      {requirement_kind::min_sqnr_db,
       20,
       {.sqnr_db = 20},
       {.sqnr_db = 17},
       "17, below 20 dB of SQNR"},
      {requirement_kind::max_kl, 0.5, {.kl = 0.5}, {.kl = 0.75}, "0.75, above 0.5 nats a token"},
  };
  return cases;
}

TEST(requirement, a_hard_one_excludes_and_says_why) {
  for (const auto& c : figure_cases()) {
    const auto w = eq::requirement_for(c.kind, c.limit);
    const auto good = answer_to(w, c.meets);
    ASSERT_EQ(good.ranked.size(), 1u) << c.text;
    EXPECT_EQ(good.ranked[0].score, 0);
    EXPECT_EQ(good.ranked[0].reasons.size(), 1u);
    EXPECT_TRUE(good.ranked[0].against.empty());
    const auto bad = answer_to(w, c.misses);
    ASSERT_EQ(bad.excluded.size(), 1u) << c.text;
    EXPECT_TRUE(says(bad.excluded[0].why, c.text));
  }
}

TEST(requirement, a_soft_one_gives_points_and_takes_them_by_degree) {
  for (const auto& c : figure_cases()) {
    const auto w = eq::softly(eq::requirement_for(c.kind, c.limit), 10);
    EXPECT_EQ(answer_to(w, c.meets).ranked[0].score, 10) << c.text;
    const auto bad = answer_to(w, c.misses);
    ASSERT_EQ(bad.ranked.size(), 1u) << c.text;
    EXPECT_EQ(bad.ranked[0].score, -5) << c.text;
    EXPECT_TRUE(says(bad.ranked[0].against, c.text));
  }
  const auto worst =
      answer_to(eq::softly(eq::requirement_for(requirement_kind::max_ms_per_token, 1), 10),
                {.ms_per_token = 1000});
  EXPECT_EQ(worst.ranked[0].score, -10);
}

TEST(requirement, what_is_not_known_is_said) {
  for (const auto& c : figure_cases())
    for (const bool hard : {true, false}) {
      auto w = eq::requirement_for(c.kind, c.limit);
      w.hard = hard;
      const auto answer = answer_to(w, {});
      ASSERT_EQ(answer.ranked.size(), 1u);
      EXPECT_EQ(answer.ranked[0].score, 0);
      EXPECT_TRUE(answer.ranked[0].reasons.empty());
      EXPECT_TRUE(says(answer.ranked[0].against, "cannot be checked: no figure for"));
    }
  const auto bare =
      eq::engine_selector({small_engine("one")},
                          {eq::rule_of(eq::requirement_for(requirement_kind::max_kl, 1))})
          .select(board());
  EXPECT_TRUE(says(bare.ranked.at(0).against, "cannot be checked"));
}

TEST(requirement, a_figure_of_an_exact_copy_meets_any_sqnr) {
  const auto answer = answer_to(eq::requirement_for(requirement_kind::min_sqnr_db, 90),
                                {.sqnr_db = std::numeric_limits<double>::infinity()});
  EXPECT_EQ(answer.ranked.size(), 1u);
  EXPECT_TRUE(answer.problems.empty());
}

TEST(requirement, a_precision) {
  using eq::precision;
  auto answer = answer_to(eq::requirement_for(precision::int8), {});
  ASSERT_EQ(answer.ranked.size(), 1u);
  EXPECT_EQ(answer.ranked[0].weights, precision::fp16);
  EXPECT_EQ(answer.ranked[0].against, (std::vector<std::string>{"int4: weights below int8"}));
  auto four = small_engine("four");
  four.precisions = {precision::int4};
  answer = answer_to(eq::requirement_for(precision::int8), {}, four);
  EXPECT_TRUE(says(answer.excluded.at(0).why, "weights below int8"));
  // Without figures no precision is chosen: the engine must be able to.
  const auto rule = eq::rule_of(eq::requirement_for(precision::int8));
  EXPECT_EQ(eq::engine_selector({four}, {rule}).select(board()).excluded.size(), 1u);
  EXPECT_EQ(eq::engine_selector({small_engine("a")}, {rule}).select(board()).ranked.size(), 1u);
  four.precisions.clear();
  EXPECT_TRUE(says(eq::engine_selector({four}, {rule}).select(board()).ranked.at(0).against,
                   "cannot be checked: precisions"));
}

// fp16 is too slow for the requirement, INT8 and INT4 meet it: the better of the two is taken.
TEST(requirement, a_soft_requirement_chooses_the_precision) {
  const auto figures = [](const eq::engine_profile&, eq::precision p) {
    return eq::run_figures{.ms_per_token = p == eq::precision::fp16   ? 80
                                           : p == eq::precision::int8 ? 40
                                                                      : 20};
  };
  eq::engine_selector selector({small_engine("one")}, eq::current_rules());
  EXPECT_EQ(selector.select(board(), {.figures = figures}).ranked[0].weights, eq::precision::fp16);
  selector.add(
      eq::rule_of(eq::softly(eq::requirement_for(requirement_kind::max_ms_per_token, 50))));
  EXPECT_EQ(selector.select(board(), {.figures = figures}).ranked[0].weights, eq::precision::int8);
  selector.add(eq::rule_of(eq::requirement_for(requirement_kind::max_ms_per_token, 30)));
  const auto best = selector.select(board(), {.figures = figures}).ranked[0];
  EXPECT_EQ(best.weights, eq::precision::int4);
  EXPECT_TRUE(says(best.against, "fp16: 80, above 30 ms a token"));
  EXPECT_TRUE(says(best.against, "int8: 40, above 30 ms a token"));
}

TEST(requirement, licences_by_their_parts) {
  const auto allows = [](const char* licence, std::vector<std::string> allowed) {
    auto engine = small_engine("one");
    engine.licence = licence;
    return answer_to(eq::requirement_for_licence(std::move(allowed)), {}, engine).ranked.size() ==
           1;
  };
  EXPECT_TRUE(allows("MIT", {"GPL", "mit"}));
  EXPECT_TRUE(allows("BSD-3", {"BSD-3-Clause"}));
  EXPECT_TRUE(allows("Apache-2.0", {"Apache"}));
  EXPECT_FALSE(allows("Apache-2.0", {"MIT"}));
  EXPECT_FALSE(allows("LGPL", {"GPL"}));
  EXPECT_FALSE(allows("GPLv3", {"GPL"})); // not known to be one
  EXPECT_FALSE(allows("proprietary runtime; coremltools BSD-3", {"BSD-3"}));
  EXPECT_TRUE(allows("MIT; BSD-3", {"BSD-3", "MIT"}));
  EXPECT_FALSE(allows("MIT; BSD-3", {"BSD-3"}));
  const auto unknown = answer_to(eq::requirement_for_licence({"MIT"}), {});
  EXPECT_TRUE(says(unknown.ranked.at(0).against, "cannot be checked: licence"));
}

TEST(requirement, offline) {
  auto engine = small_engine("one");
  EXPECT_TRUE(says(answer_to(eq::requirement_for_offline(), {}, engine).ranked.at(0).against,
                   "cannot be checked: whether it runs offline"));
  engine.offline = false;
  EXPECT_TRUE(
      says(answer_to(eq::requirement_for_offline(), {}, engine).excluded.at(0).why, "network"));
  const auto soft = eq::softly(eq::requirement_for_offline(), 4);
  EXPECT_EQ(answer_to(soft, {}, engine).ranked.at(0).score, -4);
  engine.offline = true;
  EXPECT_EQ(answer_to(soft, {}, engine).ranked.at(0).score, 4);
}

TEST(requirement, an_npu) {
  const auto w = eq::requirement_for_npu();
  auto engine = small_engine("one");
  EXPECT_TRUE(says(answer_to(w, {}, engine).excluded.at(0).why, "the device has no NPU"));
  EXPECT_TRUE(says(answer_to(w, {}, engine, phone()).excluded.at(0).why, "does not reach the NPU"));
  engine.npus = {{.vendor = "qualcomm"}};
  EXPECT_TRUE(says(answer_to(w, {}, engine, phone()).ranked.at(0).reasons, "Hexagon HTP v75"));
  engine.npus = {{.vendor = "qualcomm", .chips = {"SM8750"}}};
  EXPECT_EQ(answer_to(w, {}, engine, phone()).excluded.size(), 1u);
  engine.features = {"NNAPI delegate"};
  EXPECT_TRUE(says(answer_to(w, {}, engine, phone()).ranked.at(0).reasons, "by NNAPI"));
  auto laptop = phone();
  laptop.platforms = {eq::platform::gnu_linux}; // where there is no NNAPI
  EXPECT_EQ(answer_to(w, {}, engine, laptop).excluded.size(), 1u);
}

TEST(requirement, what_makes_no_sense_is_refused) {
  const auto problem = [](const eq::requirement& w) -> std::string {
    try {
      (void)eq::rule_of(w);
    } catch (const eq::exception& error) {
      return error.what();
    }
    return "";
  };
  EXPECT_EQ(problem(eq::requirement_for(requirement_kind::max_ms_per_token, 0)),
            "requirement max ms per token: its limit must be above 0");
  EXPECT_EQ(problem(eq::requirement_for(requirement_kind::max_power_mw, std::nan(""))),
            "requirement max power: its limit is no number");
  EXPECT_EQ(problem(eq::requirement_for(requirement_kind::min_sqnr_db, -3)), "");
  EXPECT_EQ(problem(eq::requirement_for_licence({})),
            "requirement licence: needs a licence that is allowed");
  EXPECT_EQ(problem(eq::requirement_for(eq::precision::mixed)),
            "requirement min precision: expected fp16, int8 or int4");
  EXPECT_EQ(problem(eq::softly(eq::requirement_for_npu(), -1)),
            "requirement must have NPU: weight must be a number from 0 on");
}

} // namespace
