// SPDX-License-Identifier: MIT
#include "profiles.hpp"

#include <edgequant/advise/rule_json.hpp>
#include <edgequant/advise/selection_json.hpp>

#include <fstream>
#include <sstream>

namespace {
using namespace deploy_test;
using nlohmann::json;

template <class Call> std::string problem_of(Call call) {
  try {
    call();
  } catch (const eq::exception& error) {
    return error.what();
  }
  return "";
}

TEST(engine_json, every_engine_of_the_tables_comes_back) {
  auto all = eq::current_engines();
  for (auto& one : eq::baseline_engines()) all.push_back(one);
  for (const auto& one : all)
    EXPECT_EQ(eq::parse_engine(json::parse(eq::to_json(one).dump()), "x"), one) << one.name;
}

TEST(engine_json, names_alone_stand_for_accelerators) {
  const auto one =
      eq::parse_engine(json::parse(R"({"name": "mine", "platforms": ["linux"], "gpus": ["vulkan"],
                      "npus": ["apple", {"vendor": "rockchip", "chips": ["RK3588"]}]})"),
                       "x");
  EXPECT_EQ(one.gpus, (std::vector<eq::gpu_support>{{"vulkan", {}, ""}}));
  EXPECT_EQ(one.npus[1].chips, (std::vector<std::string>{"RK3588"}));
  EXPECT_FALSE(one.min_ram_mib);
  EXPECT_FALSE(one.offline);
}

TEST(engine_json, mistakes_are_said_with_their_path) {
  const auto problem = [](const char* field, const json& value) {
    json engine = {{"name", "mine"}, {"platforms", {"linux"}}};
    engine[field] = value;
    return problem_of([&] { (void)eq::parse_engine(engine, "f.json", "engines[1]"); });
  };
  EXPECT_EQ(problem("name", nullptr), "f.json: engines[1].name: the field is missing");
  EXPECT_EQ(problem("name", ""), "f.json: engines[1].name: expected a name, not \"\"");
  EXPECT_EQ(problem("platforms", json::array()),
            "f.json: engines[1].platforms: expected at least one platform, not []");
  EXPECT_EQ(problem("platforms", {"linux", "beos"}),
            "f.json: engines[1].platforms[1]: unknown name 'beos', expected one of android, ios, "
            "linux, macos, windows, web, wearos, embedded");
  EXPECT_EQ(problem("precisions", {"int3"}),
            "f.json: engines[1].precisions[0]: unknown name 'int3', expected one of fp16, int8, "
            "int4, mixed");
  EXPECT_NE(problem("min_ram_mib", -5).find("f.json: engines[1].min_ram_mib: expected a whole"),
            std::string::npos);
  EXPECT_NE(problem("min_ram_mib", 0).find("engines[1].min_ram_mib"), std::string::npos);
  EXPECT_NE(problem("features", "NNAPI").find("engines[1].features: expected a list of strings"),
            std::string::npos);
  EXPECT_NE(problem("status", "asleep").find("one of active, deprecated, archived"),
            std::string::npos);
  EXPECT_NE(problem("offline", "yes").find("engines[1].offline: expected true or false"),
            std::string::npos);
  EXPECT_NE(problem("npus", json::array({json{{"vendor", "apple"}, {"chip", "M1"}}}))
                .find("engines[1].npus[0].chip: unknown field"),
            std::string::npos);
  EXPECT_NE(problem("gpus", json::array({1})).find("engines[1].gpus[0]: expected a JSON object"),
            std::string::npos);
  EXPECT_NE(problem("gpus", "metal").find("engines[1].gpus: expected a list"), std::string::npos);
  EXPECT_NE(problem("licenze", "MIT").find("licenze: unknown field; did you mean 'licence'?"),
            std::string::npos);
  EXPECT_NE(problem_of([] {
              (void)eq::parse_engine(json::array(), "f.json");
            }).find("f.json: expected a JSON object"),
            std::string::npos);
}

/// Points of a rule with this `when`, on an engine and a device that most conditions speak of.
double points_when(const json& when) {
  auto engine = small_engine("one");
  engine.features = {"NNAPI delegate"};
  engine.weight_formats = {"GGUF v3"};
  engine.files = {"gguf"}, engine.gguf_formats = {"q4_K", "f16"};
  engine.architectures = {"llama"}, engine.experts = false;
  engine.languages = {"C++"};
  engine.licence = "MIT; BSD-3";
  engine.npus = {{.vendor = "qualcomm"}};
  engine.precisions = {eq::precision::int4};
  const auto rule = eq::parse_rule({{"name", "r"}, {"points", 7}, {"when", when}}, "x");
  return eq::engine_selector({engine}, {rule}).select(phone()).ranked.at(0).score;
}

TEST(rule_json, each_condition_holds_or_not) {
  const std::vector<std::pair<json, json>> rows = {
      {{{"feature", "nnapi"}}, {{"feature", "CoreML"}}},
      {{{"weight_format", "gguf"}}, {{"weight_format", "ONNX"}}},
      {{{"engine", "one"}}, {{"engine", "One"}}},
      {{{"language", "C++"}}, {{"language", "C"}}},
      {{{"licence", "BSD-3-Clause"}}, {{"licence", "Apache-2.0"}}},
      {{{"platform", "android"}}, {{"platform", "ios"}}},
      {{{"precision", "int4"}}, {{"precision", "fp16"}}},
      {{{"status", "active"}}, {{"status", "archived"}}},
      {{{"device", "SM8650"}}, {{"device", "SM8750"}}},
      {{{"npu_vendor", "qualcomm"}}, {{"npu_vendor", "apple"}}},
      {{{"reaches", "cpu"}}, {{"reaches", "gpu"}}},
      {{{"reaches", "npu"}}, {{"reaches", {"gpu"}}}},
      {{{"min_ram_mib", 8192}}, {{"min_ram_mib", 8193}}},
      {{{"max_ram_mib", 8192}}, {{"max_ram_mib", 8191}}},
      {{{"platform", {"ios", "android"}}}, {{"platform", {"ios", "web"}}}},
      {{{"platform", "android"}, {"precision", "int4"}},
       {{"platform", "android"}, {"precision", "int8"}}},
      {json::object(), {{"engine", "none"}}},
  };
  for (const auto& [holds, fails] : rows) {
    EXPECT_EQ(points_when(holds), 7) << holds;
    EXPECT_EQ(points_when(fails), 0) << fails;
  }
}

TEST(rule_json, reasons_penalties_and_exclusions) {
  const auto select = [](const json& rule) {
    return eq::engine_selector({small_engine("one")}, {eq::parse_rule(rule, "x")}).select(board());
  };
  auto answer = select({{"name", "r"}, {"points", 10}, {"reason", "we like it"}});
  EXPECT_EQ(answer.ranked.at(0).reasons, (std::vector<std::string>{"we like it"}));
  answer = select({{"name", "r"}, {"points", -10}, {"reason", "we do not"}});
  EXPECT_EQ(answer.ranked.at(0).score, -10);
  EXPECT_EQ(answer.ranked.at(0).against, (std::vector<std::string>{"we do not"}));
  answer = select({{"name", "r"}, {"excludes", true}});
  EXPECT_EQ(answer.excluded.at(0).why, (std::vector<std::string>{"rule 'r'"}));
  answer = select({{"name", "r"}, {"excludes", true}, {"when", {{"platform", "ios"}}}});
  EXPECT_EQ(answer.ranked.size(), 1u);
}

TEST(rule_json, mistakes_are_said_with_their_path) {
  const auto problem = [](const char* field, const json& value) {
    json rule = {{"name", "r"}, {"points", 1}};
    rule[field] = value;
    return problem_of([&] { (void)eq::parse_rule(rule, "f.json", "rules[0]"); });
  };
  EXPECT_NE(problem("when", {{"plattform", "ios"}})
                .find("f.json: rules[0].when.plattform: unknown field; did you mean 'platform'?"),
            std::string::npos);
  EXPECT_NE(problem("when", {{"platform", "beos"}})
                .find("f.json: rules[0].when.platform: unknown name 'beos', expected one of"),
            std::string::npos);
  EXPECT_NE(problem("when", {{"reaches", "dsp"}}).find("expected one of cpu, gpu, npu"),
            std::string::npos);
  EXPECT_NE(problem("when", {{"feature", 3}}).find("rules[0].when.feature"), std::string::npos);
  EXPECT_NE(problem("when", {{"feature", json::array()}}).find("rules[0].when.feature"),
            std::string::npos);
  EXPECT_NE(problem("when", {{"min_ram_mib", "8 GB"}}).find("rules[0].when.min_ram_mib"),
            std::string::npos);
  EXPECT_NE(problem("when", 3).find("rules[0].when: expected a JSON object"), std::string::npos);
  EXPECT_EQ(problem("points", nullptr), "f.json: rules[0].points: the field is missing");
  EXPECT_NE(problem("points", "10").find("rules[0].points"), std::string::npos);
  EXPECT_NE(problem("name", nullptr).find("rules[0].name"), std::string::npos);
  EXPECT_NE(problem("weight", 3).find("rules[0].weight: unknown field"), std::string::npos);
}

TEST(rule_json, a_file_changes_a_selector_or_not_at_all) {
  const auto file = std::filesystem::path(testing::TempDir()) / "edgequant_rules.json";
  const auto write = [&](const char* text) { std::ofstream(file) << text; };
  auto selector = eq::engine_selector::baseline();
  write(R"({"engines": [{"name": "llama.cpp", "platforms": ["windows"]},
                        {"name": "mine", "platforms": ["linux"], "features": ["sparse"]}],
            "rules": [{"name": "int4", "points": 100, "when": {"feature": "sparse"}}]})");
  eq::read_into(selector, file);
  EXPECT_EQ(selector.engines().size(), 5u);
  EXPECT_EQ(selector.rules().size(), 4u);
  const auto answer = selector.select(board());
  EXPECT_EQ(answer.ranked[0].engine.name, "mine");
  EXPECT_EQ(answer.ranked[0].score, 150);
  EXPECT_EQ(answer.excluded.at(0).engine.name, "llama.cpp");

  write(R"({"engines": [{"name": "other", "platforms": ["linux"]}], "rules": [{"name": "x"}]})");
  EXPECT_NE(problem_of([&] { eq::read_into(selector, file); }).find("rules[0].points: the field"),
            std::string::npos);
  EXPECT_EQ(selector.engines().size(), 5u);
  write(R"({"engine": []})");
  EXPECT_NE(problem_of([&] { eq::read_into(selector, file); }).find("did you mean 'engines'?"),
            std::string::npos);
  write("[");
  EXPECT_NE(problem_of([&] { eq::read_into(selector, file); }).find("invalid JSON"),
            std::string::npos);
  std::filesystem::remove(file);
}

TEST(selection_json, an_answer_as_json_and_as_text) {
  auto mine = small_engine("mine\xff");
  mine.features = {"sparse"};
  auto other = small_engine("other");
  other.platforms = {eq::platform::ios};
  eq::engine_selector selector({mine, other}, eq::current_rules());
  selector.add({"bad", 1, [](const eq::scoring_case&) -> eq::rule_result { throw 1; }});
  const auto answer = selector.select(
      board(), {.figures = [](const auto&, eq::precision) {
        return eq::run_figures{.ms_per_token = 100, .fits = true, .note = "3 GB to spare"};
      }});
  const auto out = eq::to_json(answer);
  EXPECT_NO_THROW((void)out.dump());
  EXPECT_EQ(out["platform"], "linux");
  EXPECT_EQ(out["ranked"][0]["engine"], "mine\xef\xbf\xbd");
  EXPECT_EQ(out["ranked"][0]["precision"], "fp16");
  EXPECT_EQ(out["ranked"][0]["score"], 30 + 20 + 15 + 10);
  EXPECT_EQ(out["ranked"][0]["points"]["int4"], 15);
  EXPECT_EQ(out["ranked"][0]["features"], json({"sparse"}));
  EXPECT_EQ(out["ranked"][0]["figures"]["ms_per_token"], 100);
  EXPECT_TRUE(out["ranked"][0]["figures"]["kl"].is_null());
  EXPECT_EQ(out["excluded"][0]["why"], json({"does not run on linux"}));
  EXPECT_EQ(out["problems"].size(), 2u);

  std::ostringstream text;
  eq::print_selection(text, answer);
  EXPECT_NE(text.str().find(" 1. mine\\xff"), std::string::npos);
  EXPECT_NE(text.str().find("fp16      75.0\n"), std::string::npos);
  EXPECT_NE(text.str().find("      + fits (3 GB to spare)\n"), std::string::npos);
  EXPECT_NE(text.str().find(" x  other: does not run on linux\n"), std::string::npos);
  EXPECT_NE(text.str().find(" !  rule 'bad'"), std::string::npos);
}

} // namespace
