// SPDX-License-Identifier: MIT
#include "model/support.hpp"

#include <edgequant/report/report_text.hpp>

#include <set>
#include <sstream>

namespace {
using namespace model_test;
using nlohmann::json;

eq::compress_report sample() {
  eq::compress_report report;
  report.input = "in";
  report.output = "out.gguf";
  report.scale = eq::scale_choice(eq::scale_rule::percentile, 99.5);
  report.tensors = {
      {"w", {64, 2}, eq::format::f32, eq::format::q4_0, 512, 72, {}},
      {"v", {4}, eq::format::f32, eq::format::f32, 16, 16, {}},
      {"ids", {3}, eq::format::i32, eq::format::i32, 12, 12, {}},
  };
  const std::vector<float> w = {1, 2, 2}, approximation = {1, 2, 1};
  report.tensors[0].error.add(w, approximation);
  report.tensors[1].error.add(w, w);
  report.error.merge(report.tensors[0].error);
  report.error.merge(report.tensors[1].error);
  report.values = 135;
  report.bytes_before = 540;
  report.bytes_after = 100;
  report.file_bytes = 320;
  report.notes = {"a note"};
  return report;
}

std::string table_of(const eq::compress_report& report) {
  std::ostringstream out;
  eq::print_table(out, report);
  return out.str();
}

TEST(report, is_one_json_object) {
  const json j = json::parse(eq::to_json(sample()).dump());
  std::set<std::string> keys;
  for (const auto& [key, value] : j.items()) keys.insert(key);
  EXPECT_EQ(keys, (std::set<std::string>{"input", "output", "format", "scale", "dry_run", "tensors",
                                         "totals", "notes"}));
  EXPECT_EQ(j["input"], "in");
  EXPECT_EQ(j["output"], "out.gguf");
  EXPECT_EQ(j["format"], "q4_0");
  EXPECT_EQ(j["scale"], "percentile:99.5");
  EXPECT_EQ(j["dry_run"], false);
  EXPECT_EQ(j["notes"], json::array({"a note"}));
  EXPECT_EQ(j["totals"]["weights"], 135);
  EXPECT_EQ(j["totals"]["tensor_bytes_before"], 540);
  EXPECT_EQ(j["totals"]["tensor_bytes_after"], 100);
  EXPECT_EQ(j["totals"]["file_bytes"], 320);
  EXPECT_EQ(j["totals"]["bits_per_weight"], 800.0 / 135);
}

TEST(report, has_an_entry_a_tensor) {
  const json j = eq::to_json(sample());
  ASSERT_EQ(j["tensors"].size(), 3u);
  const json& w = j["tensors"][0];
  EXPECT_EQ(w["name"], "w");
  EXPECT_EQ(w["dims"], json::array({64, 2}));
  EXPECT_EQ(w["source_format"], "f32");
  EXPECT_EQ(w["format"], "q4_0");
  EXPECT_EQ(w["bytes_before"], 512);
  EXPECT_EQ(w["bytes_after"], 72);
  EXPECT_EQ(w["bits_per_weight"], 4.5);
  EXPECT_EQ(w["error"]["mse"], 1.0 / 3);
  EXPECT_EQ(w["error"]["max_error"], 1.0);
  EXPECT_EQ(w["error"]["mean_abs_error"], 1.0 / 3);
  EXPECT_EQ(w["error"]["sqnr_db"], sample().tensors[0].error.figures().sqnr_db);
  EXPECT_TRUE(j["tensors"][1]["error"]["sqnr_db"].is_null()); // exact: infinite
  EXPECT_EQ(j["tensors"][1]["error"]["max_error"], 0.0);
  EXPECT_TRUE(j["tensors"][2]["error"].is_null()); // integers have none
}

TEST(report, after_a_dry_run_has_no_errors) {
  auto report = sample();
  report.dry_run = true;
  report.error = {};
  for (auto& t : report.tensors) t.error = {};
  const json j = eq::to_json(report);
  EXPECT_EQ(j["dry_run"], true);
  EXPECT_TRUE(j["totals"]["error"].is_null());
  EXPECT_NE(table_of(report).find("would write out.gguf, 320 bytes\n"), std::string::npos);
}

TEST(report, names_survive_json) {
  auto report = sample();
  report.input = "mod\xc3\xa8le \\ \"x\"\n";
  report.output = "bad \xff.gguf"; // no UTF-8
  report.tensors[0].name = std::string(31, 'n') + "\xe6\x97\xa5\xe6\x9c\xac\x1b";
  report.tensors[1].name = std::string("a\0b", 3);
  const json j = json::parse(eq::to_json(report).dump());
  EXPECT_EQ(j["input"], report.input);
  EXPECT_EQ(j["output"], "bad \xef\xbf\xbd.gguf");
  EXPECT_EQ(j["tensors"][0]["name"], report.tensors[0].name);
  EXPECT_EQ(j["tensors"][1]["name"], report.tensors[1].name);
}

TEST(report, is_a_table_for_people) {
  const auto text = table_of(sample());
  EXPECT_EQ(text,
            "tensor                                      shape  format          bits/w        "
            "SQNR\n"
            "w                                          2 x 64  f32   -> q4_0    4.500     9.54 "
            "dB\n" // 10 log10(9 / 1)
            "v                                               4  f32   -> f32    32.000       "
            "exact\n"
            "ids                                             3  i32   -> i32    32.000           "
            "-\n"
            "note: a note\n"
            "135 weights: tensors 540 B -> 100 B (5.40 times smaller), 5.926 bits/weight, SQNR "
            "12.55 dB\n" // 10 log10(18 / 1)
            "wrote out.gguf, 320 bytes\n");
}

TEST(report, the_table_keeps_its_lines_whatever_the_names) {
  auto report = sample();
  report.output = "a\nb\x1b[2J";
  report.tensors[0].name = std::string(63, '\n');
  report.tensors[0].dims.assign(4, ~std::uint64_t{0});
  const auto text = table_of(report);
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 7);
  for (const char c : text) EXPECT_TRUE(c == '\n' || (c >= 0x20 && c < 0x7f));
  EXPECT_NE(text.find("wrote a\\x0ab\\x1b[2J, 320 bytes\n"), std::string::npos);
}

TEST(report, of_no_tensors_is_a_report) {
  const eq::compress_report report;
  EXPECT_EQ(eq::to_json(report)["totals"]["bits_per_weight"], 0.0);
  EXPECT_NE(table_of(report).find("0 weights: tensors 0 B -> 0 B"), std::string::npos);
}
} // namespace
