// SPDX-License-Identifier: MIT
#include "plan/support.hpp"

#include <edgequant/plan/fisher.hpp>
#include <edgequant/report/plan_json.hpp>

namespace {
using namespace plan_test;

TEST(budget, reads_sizes_and_bits) {
  EXPECT_EQ(eq::parse_budget("3355443").bytes, 3355443u);
  EXPECT_EQ(eq::parse_budget("3.2MiB").bytes, 3355443u);
  EXPECT_EQ(eq::parse_budget("700MB").bytes, 700'000'000u);
  EXPECT_EQ(eq::parse_budget("1.5GiB").bytes, 1610612736u);
  EXPECT_EQ(eq::parse_budget("10B").bytes, 10u);
  EXPECT_EQ(eq::parse_budget("5.0bpw").bits_per_weight, 5.0);
  EXPECT_EQ(eq::parse_budget("5.0bpw").bytes_for(1001), 625u);
  for (const char* bad :
       {"", "bpw", "0", "-3MiB", "3 MiB", "3mib", "nan", "inf", "65bpw", "0.2", "1e300", "5bpw "})
    EXPECT_EQ(message_of([&] { (void)eq::parse_budget(bad); }),
              std::string("budget '") + bad +
                  "': expected a size such as 3.2MiB or bits a weight such as 5.0bpw");
}

class budgets : public plans {
protected:
  eq::calibrated_model ready = open();
  std::vector<eq::layer_sensitivity> layers = eq::analyze_by_gradients(
      ready.weights, ready.text, three, {.sequences = 4, .tokens = 50, .threads = 1});
  eq::compress_options options;

  eq::budget_plan plan(std::string_view budget,
                       eq::loss_measure measure = eq::loss_measure::fisher) const {
    return eq::plan_for_budget(source, options, layers,
                               {.budget = eq::parse_budget(budget), .measure = measure});
  }
  std::uint64_t written(const eq::budget_plan& p) {
    options.exact = p.formats;
    const auto report = eq::compress(source, folder / "out.gguf", options);
    EXPECT_EQ(report.file_bytes, fs::file_size(folder / "out.gguf"));
    for (const auto& t : report.tensors)
      if (const auto found = p.formats.find(t.name); found != p.formats.end()) {
        EXPECT_EQ(t.type, found->second) << t.name;
      }
    return report.file_bytes;
  }
};

/// The file that comes of a plan has the size that the plan said, and that is within the budget.
TEST_F(budgets, the_file_keeps_the_budget) {
  for (const char* budget : {"70000", "80000", "100KB", "7.3bpw", "12bpw", "1MiB"}) {
    const auto p = plan(budget);
    EXPECT_TRUE(p.result.proven);
    EXPECT_LE(p.file_bytes, p.budget_bytes);
    const auto size = written(p);
    EXPECT_EQ(size, p.file_bytes);
  }
}

TEST_F(budgets, more_bytes_are_never_worse) {
  double before = INFINITY;
  for (int bytes = 70000; bytes < 130000; bytes += 3000) {
    const auto p = plan(std::to_string(bytes));
    EXPECT_LE(p.result.loss, before);
    before = p.result.loss;
  }
  for (const auto& [name, type] : plan("1MiB").formats) EXPECT_EQ(type, format::q8_0) << name;
}

TEST_F(budgets, pins_are_kept) {
  options.keep = {eq::parse_keep("ffn_down=f16"), eq::parse_keep("blk.0.attn_q=q8_0")};
  const auto p = plan("90000");
  EXPECT_EQ(p.formats.count("blk.0.ffn_down.weight"), 0u);
  EXPECT_EQ(p.formats.count("blk.0.attn_q.weight"), 0u);
  EXPECT_LE(written(p), 90000u);
}

TEST_F(budgets, the_impossible_is_refused_with_what_would_be_possible) {
  const auto message = message_of([&] { (void)plan("10KB"); });
  const std::string start = "budget of 10000 bytes: the smallest file with these formats has ";
  ASSERT_TRUE(message.starts_with(start)) << message;
  const auto least = message.substr(start.size());
  EXPECT_NO_THROW((void)plan(least));
  EXPECT_THROW((void)plan(std::to_string(std::stoi(least) - 1)), eq::exception);
  for (auto& layer : layers)
    for (auto& c : layer.candidates) c.kl.reset();
  EXPECT_EQ(message_of([&] { (void)plan("90000", eq::loss_measure::kld); }),
            "token_embd.weight: its divergence was not measured");
  EXPECT_EQ(message_of([&] { (void)eq::parse_measure("best"); }),
            "sensitivity 'best': expected fisher, kld or weight");
}

TEST_F(budgets, a_plan_is_read_back) {
  const auto p = plan("90000");
  std::ofstream(folder / "plan.json") << eq::to_json(p, layers).dump();
  EXPECT_EQ(eq::read_plan(folder / "plan.json"), p.formats);
  const auto refusal = [&](const char* json) {
    std::ofstream(folder / "plan.json") << json;
    const auto message = message_of([&] { (void)eq::read_plan(folder / "plan.json"); });
    EXPECT_TRUE(is_one_line(message));
    return message.substr(std::min(message.size(), (folder / "plan.json").string().size() + 2));
  };
  EXPECT_EQ(refusal("[]"), "no list of tensors");
  EXPECT_EQ(refusal(R"({"tensors": [{"name": "a"}]})"), "a tensor without name or format");
  EXPECT_EQ(refusal(R"({"tensors": [{"name": "a", "format": "iq2_xs"}]})"),
            "tensor 'a': expected one of the formats " + eq::writable_formats(", "));
  EXPECT_EQ(refusal(R"({"tensors": [{"name": "a", "format": "q4_0"},
                                    {"name": "a", "format": "q4_0"}]})"),
            "tensor 'a': it is there twice");
}

} // namespace
