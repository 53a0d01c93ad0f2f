// SPDX-License-Identifier: MIT
#include "profiles.hpp"

#include <edgequant/advise/npu_operators.hpp>

#include <set>
#include <sstream>

namespace {
using namespace deploy_test;
using eq::operator_place;
using words = std::vector<std::string>;

eq::model_profile small_model() {
  eq::model_profile model;
  model.name = "small";
  model.layers = 2;
  model.hidden_size = 64;
  model.feed_forward_size = 192;
  model.vocabulary = 32000;
  model.context_tokens = 2048;
  return model;
}

eq::operator_check check(std::string vendor, std::string name = "any",
                         eq::precision weights = eq::precision::int4,
                         const eq::model_profile& model = small_model()) {
  return eq::check_operators(model, {.name = std::move(name), .vendor = std::move(vendor)},
                             weights);
}

const eq::operator_verdict& step(const eq::operator_check& c, std::string_view name) {
  for (const auto& v : c.operators)
    if (v.name == name) return v;
  throw std::runtime_error("no step " + std::string(name));
}

TEST(npu_table, rows_use_known_words_and_have_sources) {
  const auto known = [](std::string_view list, std::string_view all) {
    return !eq::advisor::detail::any_part(list, " ", [&](auto word) {
      return !eq::advisor::detail::any_part(all, " ", [&](auto other) { return other == word; });
    });
  };
  std::set<std::string_view> closed; // vendors whose row for all other models was there
  for (const auto& row : eq::npu_table) {
    EXPECT_TRUE(known(row.operators, eq::advisor::detail::decoder_operators)) << row.name;
    EXPECT_TRUE(known(row.types, "int4 int8 fp16")) << row.name;
    EXPECT_FALSE(row.source.empty()) << row.name;
    EXPECT_TRUE(known(row.confidence, "high medium low") && !row.confidence.empty()) << row.name;
    EXPECT_EQ(closed.count(row.vendor), 0u) << row.name << " is never found";
    if (row.models.empty()) closed.insert(row.vendor);
  }
  for (const auto& one : eq::advisor::detail::decoder_steps) {
    EXPECT_TRUE(known(one.direct, eq::advisor::detail::decoder_operators)) << one.name;
    eq::advisor::detail::any_part(one.composed, "; ", [&](auto set) {
      EXPECT_TRUE(known(set, eq::advisor::detail::decoder_operators)) << one.name;
      return false;
    });
  }
}

TEST(npu_operators, a_decoder_on_the_vendors) {
  EXPECT_TRUE(check("qualcomm").runs_all());
  EXPECT_TRUE(check("apple").runs_all());
  EXPECT_EQ(check("apple").steps(operator_place::composed), (words{"RMSNorm", "RoPE"}));
  EXPECT_EQ(check("qualcomm").steps(operator_place::composed), (words{"SiLU"}));
  EXPECT_EQ(check("mediatek").steps(operator_place::cpu), (words{"embedding lookup"}));
  EXPECT_EQ(check("coral", "", eq::precision::int8).steps(operator_place::cpu),
            (words{"embedding lookup", "RMSNorm", "attention products"}));
  EXPECT_EQ(check("google").steps(operator_place::unknown).size(),
            std::size(eq::advisor::detail::decoder_steps));
  EXPECT_FALSE(check("google").runs_all());
  EXPECT_EQ(check("intel").steps(operator_place::padded), (words{"growing context"}));
  EXPECT_EQ(check("nobody").confidence, "low");
  EXPECT_TRUE(says({check("nobody").note}, "not in the table"));
}

TEST(npu_operators, models_of_a_vendor_differ) {
  EXPECT_EQ(check("rockchip", "RKNPU").steps(operator_place::cpu),
            (words{"weight products", "output product"}));
  EXPECT_TRUE(check("rockchip", "RKNPU", eq::precision::int8).runs_all());
  EXPECT_TRUE(check("rockchip", "RKNPU of RK3576").runs_all());
  const auto u55 = check("arm", "Ethos-U55", eq::precision::int8);
  EXPECT_EQ(u55.steps(operator_place::cpu), (words{"embedding lookup"}));
  EXPECT_TRUE(check("arm", "Ethos-U85", eq::precision::int8).runs_all());
}

TEST(npu_operators, sizes_and_types_count) {
  auto model = small_model();
  model.vocabulary = 65535;
  EXPECT_EQ(step(check("arm", "Ethos-U55", eq::precision::int8, model), "output product").place,
            operator_place::npu);
  model.vocabulary = 65536;
  const auto large = check("arm", "Ethos-U55", eq::precision::int8, model);
  EXPECT_EQ(step(large, "output product").place, operator_place::cpu);
  EXPECT_EQ(step(large, "output product").note, "a dimension of 65536, at most 65535");
  EXPECT_EQ(step(large, "weight products").place, operator_place::npu);

  const auto four = check("arm", "Ethos-U85");
  EXPECT_EQ(step(four, "weight products").note, "no int4 weights");
  EXPECT_EQ(four.fallbacks_per_token(), 7u * 2 + 1);
  EXPECT_EQ(check("arm", "Ethos-U85", eq::precision::mixed).fallbacks_per_token(), 15u);
  EXPECT_TRUE(check("qualcomm", "", eq::precision::mixed).runs_all());
  EXPECT_EQ(step(check("rockchip"), "RMSNorm").note, "of mul mean add sqrt div");
  EXPECT_EQ(step(check("intel"), "growing context").note,
            "compiled for a fixed context, at most 2048");
}

TEST(npu_operators, a_profile_overrides_the_row) {
  eq::npu_profile npu{.name = "mine", .vendor = "intel"};
  npu.operators = {"Linear", "matmul", "softmax", "Conv2d"};
  npu.types = {"int8"};
  auto c = eq::check_operators(small_model(), npu, eq::precision::int8);
  EXPECT_EQ(c.ignored, (words{"Conv2d"}));
  EXPECT_EQ(step(c, "weight products").place, operator_place::npu);
  EXPECT_EQ(step(c, "SiLU").place, operator_place::nowhere); // OpenVINO gives the CPU no part
  EXPECT_EQ(step(c, "KV cache update").note, "no state or scatter");
  EXPECT_TRUE(says({c.source}, "; the NPU's profile"));
  c = eq::check_operators(small_model(), npu, eq::precision::int4);
  EXPECT_EQ(step(c, "weight products").place, operator_place::nowhere);
  npu.vendor = "nobody";
  c = eq::check_operators(small_model(), npu, eq::precision::int8);
  EXPECT_EQ(step(c, "attention products").place, operator_place::npu);
  npu.types.clear();
  c = eq::check_operators(small_model(), npu, eq::precision::int8);
  EXPECT_EQ(step(c, "output product").place, operator_place::unknown);
}

TEST(npu_operators, how_often_each_step_runs) {
  const auto c = check("apple");
  EXPECT_EQ(step(c, "RMSNorm").per_token, 5u);
  EXPECT_EQ(step(c, "weight products").per_token, 14u);
  EXPECT_EQ(step(c, "output product").per_token, 1u);
  EXPECT_EQ(step(c, "softmax").per_token, 2u);
}

TEST(npu_operators, one_model_on_several_npus) {
  const std::vector<eq::npu_profile> npus = {{.name = "Hexagon HTP v75", .vendor = "qualcomm"},
                                             {.name = "X", .vendor = "coral"}};
  const auto checks = eq::portability_table(small_model(), npus, eq::precision::int8);
  ASSERT_EQ(checks.size(), 2u);
  std::ostringstream out;
  eq::print_portability(out, checks);
  EXPECT_NE(out.str().find("step                Hexagon HTP v75  X         \n"
                           "embedding lookup    npu              cpu       \n"),
            std::string::npos)
      << out.str();
  EXPECT_NE(out.str().find("X, int8: confidence medium"), std::string::npos);
  std::ostringstream none;
  eq::print_portability(none, {});
  EXPECT_EQ(none.str(), "step                \n");
}

TEST(npu_operators, a_model_without_layers_is_refused) {
  try {
    (void)eq::check_operators({.name = "empty"}, {.name = "x", .vendor = "apple"});
    FAIL();
  } catch (const eq::exception& error) {
    EXPECT_STREQ(error.what(), "model 'empty': has no layers");
  }
}

} // namespace
