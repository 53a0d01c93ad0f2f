// SPDX-License-Identifier: MIT
#include "inputs.hpp"
#include "model/support.hpp"

#include <edgequant/report/inspection_text.hpp>

#include <sstream>

namespace {
using namespace model_test;
using nlohmann::json;

eq::stored_tensor tensor_of(const std::string& name, eq::format type, std::uint64_t columns,
                            const std::vector<float>& values) {
  const std::uint64_t rows = values.size() / columns, bytes = eq::row_bytes(type, columns);
  std::vector<std::byte> data(rows * bytes);
  eq::row_encoder encode(type, {}, name);
  for (std::uint64_t r = 0; r < rows; ++r)
    encode(std::span(values).subspan(r * columns, columns), {}, r * columns,
           data.data() + r * bytes);
  return eq::make_tensor(name, {columns, rows}, type, std::move(data));
}

eq::model_source sample(eq::format type) {
  eq::model_source source;
  source.name = "sample";
  source.metadata.set("general.architecture", "llama");
  source.metadata.set("llama.attention.layer_norm_rms_epsilon", 1e-5f);
  source.metadata.set("odd", std::numeric_limits<float>::infinity());
  source.metadata.set_array("short", std::vector<std::int32_t>{1, -2});
  source.metadata.set_array("long", std::vector<std::string>(17, "x"));
  const std::vector<float> values = inputs::make(inputs::gaussian, 128);
  source.tensors.push_back({tensor_of("token_embd.weight", eq::format::f16, 64, values)});
  source.tensors.push_back({tensor_of("blk.0.attn_q.weight", type, 64, values)});
  source.tensors.push_back({tensor_of("blk.11.attn_q.weight", type, 64, values)});
  return source;
}

TEST(inspection, names_have_roles_and_layers) {
  EXPECT_EQ(eq::tensor_role("blk.3.attn_q.weight"), "attn_q");
  EXPECT_EQ(eq::tensor_role("blk.3.attn_q.bias"), "attn_q.bias");
  EXPECT_EQ(eq::tensor_role("token_embd.weight"), "token_embd");
  EXPECT_EQ(eq::tensor_role("blk.x.weight"), "blk.x");
  EXPECT_EQ(eq::layer_of("blk.30.ffn_up.weight"), 30u);
  for (const char* name : {"blk.", "blk.1", "blk..x", "blk.-1.x", "blk.9999999999.x", "output"})
    EXPECT_FALSE(eq::layer_of(name)) << name;
}

TEST(inspection, counts_by_format_role_and_layer) {
  const auto source = sample(eq::format::q4_0);
  const auto j = eq::to_json(eq::inspect_model(source));
  EXPECT_EQ(j["totals"]["values"], 384);
  EXPECT_EQ(j["totals"]["bytes"], 256 + 2 * 72);
  EXPECT_EQ(j["formats"][1], (json{{"name", "q4_0"},
                                   {"tensors", 2},
                                   {"values", 256},
                                   {"bytes", 144},
                                   {"bits_per_weight", 4.5}}));
  EXPECT_EQ(j["roles"][0]["name"], "attn_q");
  EXPECT_EQ(j["layers"][1]["layer"], 11);
  EXPECT_EQ(j["tensors"].size(), 3u);
  EXPECT_EQ(j["tensors"][1]["format"], "q4_0");
  EXPECT_EQ(j["metadata"]["general.architecture"], "llama");
  EXPECT_EQ(j["metadata"]["llama.attention.layer_norm_rms_epsilon"].dump(), "1e-05");
  EXPECT_EQ(j["metadata"]["odd"], "infinity");
  EXPECT_EQ(j["metadata"]["short"], (json{1, -2}));
  EXPECT_EQ(j["metadata"]["long"], (json{{"array_of", "string"}, {"count", 17}}));
  EXPECT_EQ(eq::to_json(eq::inspect_model(source), true)["metadata"]["long"].size(), 17u);
  std::ostringstream text;
  eq::print_inspection(text, eq::inspect_model(source));
  EXPECT_NE(text.str().find("17 values, string"), std::string::npos);
  EXPECT_NE(text.str().find("attn_q"), std::string::npos);
}

TEST(inspection, a_comparison_names_what_differs) {
  const auto first = sample(eq::format::f16);
  auto second = sample(eq::format::q4_0);
  second.metadata.set("odd", 1.0f);
  second.metadata.set("new", 1.0f);
  second.metadata.erase("short");
  second.tensors.push_back(
      {tensor_of("extra.weight", eq::format::f32, 32, std::vector<float>(32))});
  const auto difference = eq::compare_models(first, second, 2);
  const auto j = eq::to_json(difference);
  EXPECT_EQ(j["keys"], (json{{{"key", "odd"}, {"where", "both"}},
                             {{"key", "short"}, {"where", "first"}},
                             {{"key", "new"}, {"where", "second"}}}));
  ASSERT_EQ(j["tensors"].size(), 4u);
  EXPECT_EQ(j["tensors"][0]["identical"], true);
  EXPECT_EQ(j["tensors"][1]["identical"], false);
  EXPECT_EQ(j["tensors"][3]["where"], "second");
  EXPECT_EQ(j["tensors"][3]["error"], nullptr);
  // The error is that of the values, computed in another way.
  std::vector<float> a(64), b(64);
  double noise = 0, signal = 0;
  for (std::size_t r = 0; r < 2; ++r) {
    eq::decode_row(eq::format::f16, first.tensors[1].row(r).data(), a);
    eq::decode_row(eq::format::q4_0, second.tensors[1].row(r).data(), b);
    for (std::size_t i = 0; i < 64; ++i)
      noise += std::pow(double{a[i]} - b[i], 2), signal += double{a[i]} * a[i];
  }
  EXPECT_NEAR(j["tensors"][1]["error"]["sqnr_db"].get<double>(), 10 * std::log10(signal / noise),
              1e-9);
  std::ostringstream text;
  eq::print_difference(text, difference);
  EXPECT_NE(text.str().find("1 of 4 tensors identical"), std::string::npos) << text.str();
}

TEST(inspection, what_cannot_be_compared_has_no_error) {
  auto first = sample(eq::format::f16), second = sample(eq::format::f16);
  first.tensors[1] = {
      tensor_of("blk.0.attn_q.weight", eq::format::f16, 32, std::vector<float>(32))};
  std::vector<float> bad(128, 1.0f);
  std::vector<std::byte> bytes(512);
  bad[70] = NAN;
  std::memcpy(bytes.data(), bad.data(), 512);
  second.tensors[2] = {eq::make_tensor("blk.11.attn_q.weight", {64, 2}, eq::format::f32, bytes)};
  const auto difference = eq::compare_models(first, second);
  EXPECT_TRUE(difference.tensors[0].error);
  EXPECT_FALSE(difference.tensors[1].error);
  EXPECT_FALSE(difference.tensors[2].error);
}

} // namespace
