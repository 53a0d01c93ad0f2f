// SPDX-License-Identifier: MIT
#include "model/support.hpp"

#include <edgequant/plan/format_plan.hpp>

namespace {
using namespace model_test;
using eq::format;

class format_plan : public testing::Test {
protected:
  eq::model_source source{"m", {}, {}, {}};

  format_plan() {
    add("token_embd.weight", {64, 40});
    add("blk.0.attn_norm.weight", {64});
    add("blk.0.attn_q.weight", {64, 64});
    add("blk.1.attn_q.weight", {64, 64});
    add("output.weight", {64, 40});
  }
  void add(std::string name, std::vector<std::uint64_t> dims, format type = format::f32) {
    source.tensors.push_back({stored(std::move(name), std::move(dims), type), 0});
  }
  std::vector<eq::tensor_plan> plan(format type, const std::vector<std::string>& rules = {}) {
    std::vector<eq::keep_rule> keep;
    for (const auto& rule : rules) keep.push_back(eq::parse_keep(rule));
    return eq::plan_formats(source, type, keep);
  }
  std::vector<format> types(format type, const std::vector<std::string>& rules = {}) {
    std::vector<format> chosen;
    for (const auto& p : plan(type, rules)) chosen.push_back(p.type);
    return chosen;
  }
  std::string refusal(eq::error_code code, const std::vector<std::string>& rules = {}) {
    try {
      (void)plan(format::q4_0, rules);
    } catch (const eq::exception& error) {
      EXPECT_EQ(error.code(), code);
      EXPECT_TRUE(is_one_line(error.what()));
      return error.what();
    }
    return "planned";
  }
};

constexpr auto f32 = format::f32, f16 = format::f16, bf16 = format::bf16, q8 = format::q8_0,
               q5 = format::q5_0, q4 = format::q4_0;
using formats = std::vector<format>;

TEST_F(format_plan, has_defaults) {
  EXPECT_EQ(types(q4), (formats{q8, f32, q4, q4, q8}));
  EXPECT_EQ(types(q5), (formats{q8, f32, q5, q5, q8}));
  EXPECT_EQ(types(q8), (formats{q8, f32, q8, q8, q8}));
  EXPECT_EQ(types(f16), (formats{f16, f32, f16, f16, f16}));
  EXPECT_EQ(types(bf16), (formats{bf16, f32, bf16, bf16, bf16}));
  EXPECT_EQ(types(f32), (formats{f32, f32, f32, f32, f32}));
}

TEST_F(format_plan, counts_bytes) {
  const auto plans = plan(q4);
  EXPECT_EQ(plans[0].bytes, 40u * 2 * 34); // two blocks of q8_0 a row
  EXPECT_EQ(plans[1].bytes, 64u * 4);
  EXPECT_EQ(plans[2].bytes, 64u * 2 * 18);
  for (const auto& p : plans) EXPECT_FALSE(p.fallback);
}

TEST_F(format_plan, only_the_two_big_matrices_are_special) {
  source.tensors.clear();
  add("token_embd.weight", {32}); // 1-D: as any other
  add("blk.0.output.weight", {32, 2});
  add("token_embd_norm.weight", {32, 2});
  add("output", {32, 2});
  EXPECT_EQ(types(q4), (formats{f32, q4, q4, q4}));
}

TEST_F(format_plan, a_rule_is_searched_and_the_last_match_wins) {
  EXPECT_EQ(types(q4, {"attn_q=f16"}), (formats{q8, f32, f16, f16, q8}));
  EXPECT_EQ(types(q4, {"attn_q=f16", "blk\\.1=f32"}), (formats{q8, f32, f16, f32, q8}));
  EXPECT_EQ(types(q4, {"blk\\.1=f32", "attn_q=f16"}), (formats{q8, f32, f16, f16, q8}));
  EXPECT_EQ(types(q4, {"^(token_embd|output)\\.weight$=q4_0"}), (formats{q4, f32, q4, q4, q4}));
  EXPECT_EQ(types(q8, {".=bf16"}), (formats{bf16, bf16, bf16, bf16, bf16}));
  EXPECT_EQ(types(q8, {"norm=f16"}), (formats{q8, f16, q8, q8, q8}));
  EXPECT_EQ(types(q4, {"norm=q8_0", "norm=f32"}), (formats{q8, f32, q4, q4, q8}));
}

TEST_F(format_plan, a_rule_that_matches_nothing_is_an_error) {
  const auto code = eq::error_code::bad_argument;
  EXPECT_EQ(refusal(code, {"ffn=f16"}), "rule 'ffn': matches no tensor");
  EXPECT_EQ(refusal(code, {"^attn_q=f16"}), "rule '^attn_q': matches no tensor");
  EXPECT_EQ(refusal(code, {"ATTN=f16", "attn=f16"}), "rule 'ATTN': matches no tensor");
  source.tensors.clear();
  EXPECT_EQ(refusal(code, {".*=f16"}), "rule '.*': matches no tensor");
  EXPECT_TRUE(plan(q4).empty());
}

TEST_F(format_plan, a_vector_takes_no_blocks) {
  const auto problem = "m: tensor 'blk.0.attn_norm.weight': a 1-D tensor cannot be ";
  EXPECT_EQ(refusal(eq::error_code::bad_argument, {"norm=q8_0"}), std::string(problem) + "q8_0");
  EXPECT_EQ(refusal(eq::error_code::bad_argument, {".*=q4_0"}), std::string(problem) + "q4_0");
}

TEST_F(format_plan, named_formats_are_held_to_the_same_rules) {
  add("ids", {3, 5}, format::i32);
  const auto named = [&](const char* name, format type) {
    return message_of([&] { (void)eq::plan_formats(source, q4, {}, {{name, type}}); });
  };
  EXPECT_EQ(named("output.weight", q5), "");
  EXPECT_EQ(named("output_weight", q5),
            "m: tensor 'output_weight': the plan names it, but the model has none of this name");
  EXPECT_EQ(named("blk.0.attn_norm.weight", q5),
            "m: tensor 'blk.0.attn_norm.weight': a 1-D tensor cannot be q5_0");
  EXPECT_EQ(named("ids", f16), "m: tensor 'ids': integers have no other format");
}

TEST_F(format_plan, rows_that_blocks_do_not_divide_become_f16) {
  add("odd", {33, 4});
  add("cube", {3, 32, 2, 5});
  add("half", {48, 2}); // one block and a half
  EXPECT_EQ(types(q4), (formats{q8, f32, q4, q4, q8, f16, f16, f16}));
  EXPECT_EQ(types(f32), formats(8, f32));
  const auto plans = plan(f32, {"odd=q8_0"});
  EXPECT_EQ(plans[5].type, f16);
  EXPECT_TRUE(plans[5].fallback);
  EXPECT_EQ(plans[5].bytes, 33u * 4 * 2);
  EXPECT_FALSE(plans[6].fallback);
}

TEST_F(format_plan, integers_pass_through) {
  for (const auto type : {format::i8, format::i16, format::i32, format::i64})
    add("ids." + std::string(eq::name_of(type)), {3, 5}, type);
  EXPECT_EQ(types(q4),
            (formats{q8, f32, q4, q4, q8, format::i8, format::i16, format::i32, format::i64}));
  EXPECT_EQ(plan(q4).back().bytes, 15u * 8);
  EXPECT_FALSE(plan(q4).back().fallback);
  EXPECT_EQ(refusal(eq::error_code::bad_argument, {"ids=f32"}),
            "m: tensor 'ids.i8': integers have no other format");
}

TEST_F(format_plan, reads_every_format_but_the_carried_ones) {
  source.tensors.clear();
  for (const auto type : {f32, f16, bf16, q8, q4, format::f64})
    add("w" + std::string(eq::name_of(type)), {32, 2}, type);
  add("k", {256, 1}, format::q4_k);
  EXPECT_EQ(types(q8), formats(7, q8));
  add("c", {256, 1}, format::q8_k);
  EXPECT_EQ(refusal(eq::error_code::bad_file),
            "m: tensor 'c': values in q8_K cannot be read; start from f32, f16 or bf16");
}

TEST_F(format_plan, long_names_are_refused_before_any_search) {
  add(std::string(63, 'x'), {32, 1});
  EXPECT_EQ(types(q4).back(), q4);
  add(std::string(1 << 20, 'x'), {32, 1}); // (x+)+y on it would overflow the stack
  const auto message = refusal(eq::error_code::bad_file, {"x.*y=f16"});
  EXPECT_EQ(message.substr(message.find("...")), "...': a name of 1048576 bytes, at most 63 fit");
}

TEST(keep_rule, the_last_equals_sign_splits) {
  const auto rule = eq::parse_keep("a=b=q8_0");
  EXPECT_EQ(rule.pattern, "a=b");
  EXPECT_EQ(rule.type, q8);
  EXPECT_EQ(eq::parse_keep("==f16").pattern, "=");
  EXPECT_EQ(eq::parse_keep("[ab]=f16").pattern, "[ab]");
}

TEST(keep_rule, refuses_what_is_none) {
  const auto refusal = [](std::string_view text) {
    const auto message = message_of([&] { return eq::parse_keep(text); });
    EXPECT_TRUE(is_one_line(message)) << text;
    return message;
  };
  for (const std::string text : {"", "a", "=f16"})
    EXPECT_EQ(refusal(text), "rule '" + text + "': expected REGEX=FORMAT");
  const auto known = "expected one of " + eq::writable_formats(", ");
  for (const std::string type : {"", "F16", "f64", "i8", "iq3_s", "q4_k", " f16", "f16 "})
    EXPECT_EQ(refusal("a=" + type), "format '" + type + "': " + known);
  EXPECT_EQ(refusal("a=\n"), "format '\\x0a': " + known);
  for (const std::string pattern : {"(", "[", "a{2,1}", "*", "\\"}) // whatever the library says
    EXPECT_EQ(refusal(pattern + "=f16").rfind("pattern '", 0), 0u) << pattern;
}

TEST(keep_rule, a_pattern_cannot_overflow_the_stack) {
  const auto nested = [](std::size_t n) {
    return std::string(n, '(') + "a" + std::string(n, ')') + "=f16";
  };
  EXPECT_EQ(eq::parse_keep(nested(499)).pattern.size(), 999u);
  for (const std::size_t n : {500u, 30000u}) // the latter is a crash without the limit
    EXPECT_NE(message_of([&] { return eq::parse_keep(nested(n)); }).find("more than 1000 bytes"),
              std::string::npos);
}

TEST(keep_rule, names_the_formats) {
  EXPECT_EQ(
      eq::writable_formats(" "),
      "f32 f16 bf16 q8_0 q5_0 q4_0 q4_1 q5_1 q2_K q3_K q4_K q5_K q6_K iq4_nl iq4_xs tq1_0 tq2_0 "
      "mxfp4 nvfp4 q1_0 q2_0");
  for (const auto type : {f32, f16, bf16, q8, q5, q4})
    EXPECT_EQ(eq::parse_format(eq::name_of(type)), type);
}
} // namespace
