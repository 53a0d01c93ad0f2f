// SPDX-License-Identifier: MIT
#include <edgequant/advise/advice.hpp>
#include <edgequant/advise/requirement.hpp>

#include <gtest/gtest.h>

#include <sstream>

namespace {
namespace eq = edgequant;

const eq::engine_profile& engine(const eq::engine_selector& all, std::string_view name) {
  for (const auto& e : all.engines())
    if (e.name == name) return e;
  throw std::runtime_error("no such engine");
}

TEST(advice, ranks_as_the_selector_does_with_an_estimate_each) {
  const eq::engine_selector selector;
  const auto given =
      eq::advise(selector, eq::devices::raspberry_pi_5(), eq::models::llama_3_2_1b());
  ASSERT_FALSE(given.ranked.empty());
  ASSERT_EQ(given.ranked.size(), given.answer.ranked.size());
  EXPECT_TRUE(given.answer.problems.empty());
  for (const auto& [r, e] : given.ranked) {
    ASSERT_TRUE(r.weights);
    EXPECT_EQ(e.type, eq::format_of(*r.weights)) << r.engine.name;
    EXPECT_TRUE(e.fit.fits) << r.engine.name;
    EXPECT_LT(e.decode.low, e.decode.tokens_per_second);
    EXPECT_GT(e.decode.high, e.decode.tokens_per_second);
    EXPECT_EQ(*r.figures.ms_per_token, 1000 / e.decode.tokens_per_second);
    EXPECT_EQ(*r.figures.memory_bytes, e.fit.need.total());
  }
}

TEST(advice, takes_the_fastest_processor_that_an_engine_reaches) {
  const eq::engine_selector selector;
  const auto by = [&](const eq::device_profile& device, std::string_view name) {
    return eq::estimate_run(engine(selector, name), device, eq::models::llama_3_2_1b(),
                            device.platforms[0], eq::precision::int4)
        .backend;
  };
  EXPECT_EQ(by(eq::devices::apple_m4_max(), "llama.cpp (ggml)"), "GPU metal");
  EXPECT_EQ(by(eq::devices::raspberry_pi_5(), "llama.cpp (ggml)"), "CPU"); // not the VideoCore
  EXPECT_EQ(by(eq::devices::raspberry_pi_5(), "EdgeQuant"), "CPU");
}

TEST(advice, a_hard_requirement_moves_to_fewer_bits_or_rules_out) {
  const auto device = eq::devices::galaxy_s24_ultra();
  const auto& model = eq::models::llama_3_1_8b();
  eq::engine_selector free, in_a_hurry, impossible;
  in_a_hurry.add(eq::rule_of(eq::requirement_for(eq::requirement_kind::max_memory_bytes, 6e9)));
  impossible.add(eq::rule_of(eq::requirement_for(eq::requirement_kind::max_ms_per_token, 0.01)));
  for (const auto& [r, e] : eq::advise(in_a_hurry, device, model).ranked)
    EXPECT_LE(e.fit.need.total(), 6e9) << r.engine.name;
  EXPECT_TRUE(eq::advise(impossible, device, model).ranked.empty());
  EXPECT_FALSE(eq::advise(impossible, device, model).answer.excluded.empty());
  EXPECT_FALSE(eq::advise(free, device, model).ranked.empty());
}

TEST(advice, our_own_engine_counts_by_a_measured_bandwidth) {
  const eq::engine_selector selector;
  auto device = eq::devices::raspberry_pi_5();
  const auto speed = [&](bool measured) {
    eq::advice_options options;
    options.measured_bandwidth = measured;
    return eq::estimate_run(engine(selector, "EdgeQuant"), device, eq::models::llama_3_2_1b(),
                            eq::platform::gnu_linux, eq::precision::int4, options)
        .decode.tokens_per_second;
  };
  // What was read is near to what decoding streams; what a data sheet says is not.
  EXPECT_GT(speed(true), 1.2 * speed(false));
}

TEST(advice, a_quantized_file_is_taken_as_it_is) {
  auto model = eq::models::llama_3_2_1b();
  model.stored = eq::format::q4_k, model.before.file_bytes = 808'000'000;
  const auto device = eq::devices::apple_m4_max();
  const auto given = eq::advise(eq::engine_selector{}, device, model);
  ASSERT_FALSE(given.ranked.empty());
  for (const auto& [r, e] : given.ranked) {
    EXPECT_EQ(r.weights, eq::precision::int4) << r.engine.name;
    EXPECT_EQ(r.weights_name, "q4_K");
    EXPECT_EQ(e.type, eq::format::q4_k);
    EXPECT_EQ(e.fit.need.weights, 808'000'000u);
  }
  model.stored = eq::format::q8_0; // fewer bits can still be had
  const auto estimate = [&](eq::precision weights) {
    return eq::estimate_run(engine({}, "EdgeQuant"), device, model, eq::platform::macos, weights);
  };
  EXPECT_EQ(estimate(eq::precision::int8).fit.need.weights, 808'000'000u);
  EXPECT_EQ(estimate(eq::precision::int4).type, eq::format::q4_0);
}

/// Why the engine is excluded; empty: it is ranked.
std::string why_excluded(const eq::model_profile& model, std::string_view name) {
  const auto given = eq::advise(eq::engine_selector{}, eq::devices::galaxy_s24_ultra(), model);
  for (const auto& e : given.answer.excluded)
    if (e.engine.name == name) return e.why.empty() ? "no reason" : e.why.front();
  return {};
}

TEST(advice, engines_are_ranked_for_files_that_they_open) {
  auto model = eq::models::llama_3_2_1b();
  EXPECT_EQ(why_excluded(model, "ExecuTorch"), ""); // its tools convert the checkpoint
  model.file_kind = "gguf", model.before.file_bytes = 900'000'000;
  EXPECT_EQ(why_excluded(model, "ExecuTorch"), "cannot open a gguf file; opens pte");
  for (const auto type : {eq::format::q2_k, eq::format::q4_1, eq::format::q6_k, eq::format::iq4_xs,
                          eq::format::mxfp4}) {
    model.stored = type, model.matrix_formats = {type, eq::format::f32};
    EXPECT_EQ(why_excluded(model, "EdgeQuant"), "") << eq::name_of(type);
    EXPECT_EQ(why_excluded(model, "llama.cpp (ggml)"), "") << eq::name_of(type);
  }
  for (const auto type : {eq::format::q4_0, eq::format::q5_0, eq::format::q8_0}) {
    model.stored = type, model.matrix_formats = {type};
    EXPECT_EQ(why_excluded(model, "EdgeQuant"), "") << eq::name_of(type);
    model.matrix_formats.push_back(eq::format::q8_k); // one matrix is enough
    EXPECT_TRUE(why_excluded(model, "EdgeQuant").starts_with("cannot open q8_K; opens f32, f16,"));
  }
}

TEST(advice, our_own_engine_is_ranked_for_networks_that_it_runs) {
  const eq::engine_selector selector;
  for (const auto& m : eq::model_catalogue()) {
    const bool runs = eq::find_architecture(m.architecture) != nullptr;
    const auto why = eq::advisor::detail::not_opened(engine(selector, "EdgeQuant"), m);
    EXPECT_EQ(why.starts_with("does not run the architecture " + m.architecture), !runs) << m.name;
  }
  auto model = eq::models::llama_3_2_1b();
  model.experts = 4;
  EXPECT_EQ(why_excluded(model, "EdgeQuant"), "");
  EXPECT_EQ(why_excluded(model, "llama.cpp (ggml)"), "");
  model.experts = 0, model.built_in_refusal = "key 'llama.rope.scaling.type': 'ntk'";
  EXPECT_EQ(why_excluded(model, "EdgeQuant"),
            "refuses the file: key 'llama.rope.scaling.type': 'ntk'");
  EXPECT_EQ(why_excluded(model, "llama.cpp (ggml)"), "");
}

TEST(advice, weights_are_called_by_the_name_of_their_format) {
  auto model = eq::models::llama_3_2_1b();
  model.file_kind = "gguf", model.before.file_bytes = 700'000'000;
  for (const auto type : {eq::format::q6_k, eq::format::q2_k, eq::format::iq4_xs}) {
    model.stored = type, model.matrix_formats = {type};
    const auto json =
        eq::to_json(eq::advise(eq::engine_selector{}, eq::devices::raspberry_pi_5(), model));
    ASSERT_FALSE(json["ranked"].empty());
    EXPECT_EQ(json["ranked"][0]["precision"], eq::name_of(type));
    EXPECT_EQ(json["ranked"][0]["estimate"]["bits_per_weight"], eq::bits_per_weight(type));
  }
  EXPECT_EQ(eq::bits_per_weight(eq::format::q6_k), 6.5625);
  EXPECT_EQ(eq::bits_per_weight(eq::format::q4_0), 4.5);
}

TEST(advice, catalogues_complete_what_a_query_does_not_say) {
  eq::prediction_query query{.device = "raspberry pi 5", .model = "Llama-3.2-1B"};
  eq::complete_from_catalogues(query);
  EXPECT_EQ(query.memory_bandwidth_gb_s, 17.1);
  EXPECT_EQ(query.parameters, 1235814400.0);
  EXPECT_EQ(query.layers, 16.0);
  EXPECT_EQ(query.kind, eq::device_class::sbc);
  query = {.device = "Raspberry Pi 5", .memory_bandwidth_gb_s = 10};
  eq::complete_from_catalogues(query);
  EXPECT_EQ(query.memory_bandwidth_gb_s, 10);
  query = {.device = "toaster", .model = "bread"};
  eq::complete_from_catalogues(query);
  EXPECT_FALSE(query.memory_bandwidth_gb_s || query.parameters || query.kind);
}

TEST(advice, a_device_without_platform_is_refused) {
  eq::device_profile device;
  device.name = "a box";
  EXPECT_THROW((void)eq::advise(eq::engine_selector{}, device, eq::models::llama_3_2_1b()),
               eq::exception);
}

TEST(advice, is_told_as_a_table_and_as_json) {
  const auto given =
      eq::advise(eq::engine_selector{}, eq::devices::iphone_15_pro(), eq::models::llama_3_2_1b());
  std::ostringstream text;
  eq::print_advice(text, given);
  const auto json = eq::to_json(given);
  for (std::size_t i = 0; i < given.ranked.size(); ++i) {
    EXPECT_NE(text.str().find(given.ranked[i].engine.engine.name.substr(0, 30)), std::string::npos);
    EXPECT_EQ(json["ranked"][i]["estimate"]["tokens_per_second"],
              given.ranked[i].estimate.decode.tokens_per_second);
  }
  EXPECT_EQ(json["ranked"].size(), given.ranked.size());
}

} // namespace
