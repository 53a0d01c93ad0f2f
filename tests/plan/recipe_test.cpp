// SPDX-License-Identifier: MIT
#include <edgequant/plan/recipe.hpp>

#include <gtest/gtest.h>

namespace eq = edgequant;
using eq::format;

namespace {

eq::model_source layers(std::size_t count, bool own_output) {
  eq::model_source source;
  const auto add = [&](std::string name, std::vector<std::uint64_t> dims) {
    source.tensors.emplace_back();
    source.tensors.back().stored.name = std::move(name);
    source.tensors.back().stored.dims = std::move(dims);
  };
  add("token_embd.weight", {256, 512});
  for (std::size_t i = 0; i < count; ++i)
    for (const char* role : {"attn_norm", "attn_q", "attn_v", "attn_output", "ffn_down"})
      add("blk." + std::to_string(i) + "." + role + ".weight",
          std::string_view(role) == "attn_norm" ? std::vector<std::uint64_t>{256}
                                                : std::vector<std::uint64_t>{256, 256});
  if (own_output) add("output.weight", {256, 512});
  return source;
}

} // namespace

// Of 24 layers llama.cpp gives more bits to 0-2 and 21-23, and between to every third from 5 on.
TEST(recipes, are_llama_cpps) {
  const auto source = layers(24, true);
  const auto formats = eq::recipe_formats(*eq::find_recipe("Q4_K_M"), source);
  for (std::size_t i = 0; i < 24; ++i) {
    const bool more = i < 3 || i >= 21 || (i - 3) % 3 == 2;
    const std::string at = "blk." + std::to_string(i) + ".";
    EXPECT_EQ(formats.at(at + "ffn_down.weight"), more ? format::q6_k : format::q4_k) << i;
    EXPECT_EQ(formats.at(at + "attn_v.weight"), more ? format::q6_k : format::q4_k) << i;
    EXPECT_EQ(formats.at(at + "attn_q.weight"), format::q4_k);
    EXPECT_EQ(formats.count(at + "attn_norm.weight"), 0u);
  }
  EXPECT_EQ(formats.at("output.weight"), format::q6_k);
  EXPECT_EQ(formats.at("token_embd.weight"), format::q4_k);
  const auto tied = eq::recipe_formats(*eq::find_recipe("Q4_K_M"), layers(2, false));
  EXPECT_EQ(tied.at("token_embd.weight"), format::q6_k);

  const auto three = eq::recipe_formats(*eq::find_recipe("Q3_K_M"), source);
  EXPECT_EQ(three.at("blk.1.attn_v.weight"), format::q5_k);
  EXPECT_EQ(three.at("blk.2.attn_v.weight"), format::q4_k);
  EXPECT_EQ(three.at("blk.7.attn_output.weight"), format::q4_k);
  EXPECT_EQ(three.at("blk.7.attn_q.weight"), format::q3_k);
}

TEST(recipes, are_found_by_their_own_names_alone) {
  EXPECT_EQ(eq::find_recipe("q4_k_m"), nullptr);
  EXPECT_EQ(eq::find_recipe("q6_K"), nullptr); // the format
  ASSERT_NE(eq::find_recipe("Q6_K"), nullptr);
  EXPECT_EQ(eq::find_recipe("Q6_K")->type, format::q6_k);
  EXPECT_TRUE(eq::recipe_names(" ").starts_with("Q2_K Q3_K_S"));
}
