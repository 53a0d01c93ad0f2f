// SPDX-License-Identifier: MIT
#include "../../bench/prediction_fit.hpp"
#include "io/support.hpp"

#include <edgequant/io/text_file.hpp>

namespace {
using namespace io_test;
namespace fs = std::filesystem;
using eq::prediction_query;

prediction_query mac() {
  return {.device = "Apple M2 Pro (19)",
          .engine = "llama.cpp",
          .backend = "Metal",
          .model = "Llama-2-7B",
          .quant = "Q4_0",
          .memory_bandwidth_gb_s = 200,
          .weight_bytes = 3822520893.44};
}

double width(const prediction_query& query) {
  const auto p = eq::predict_decode(query);
  EXPECT_LT(0, p.low);
  // The interval is symmetric in the logarithm.
  EXPECT_NEAR(p.high / p.tokens_per_second, p.tokens_per_second / p.low, 1e-9);
  return std::log(p.high / p.tokens_per_second);
}

TEST(prediction, names_begin_and_end_with_words) {
  for (const char* text : {"geforce rtx 4090", "rtx4090", "rtx-4090 (24 gb)", "my rtx 4090d"})
    EXPECT_TRUE(eq::match_name(text, "rtx 4090")) << text;
  for (const char* text : {"rtx 40901", "xrtx 4090", "rtx 409", "rtx", ""})
    EXPECT_FALSE(eq::match_name(text, "rtx 4090")) << text;
  EXPECT_FALSE(eq::match_name("pi 400", "pi 4"));
  EXPECT_FALSE(eq::match_name("plane", "ane"));
}

TEST(prediction, backends_by_name) {
  using enum eq::backend_kind;
  const std::pair<const char*, eq::backend_kind> known[] = {
      {"CPU", cpu},         {"Metal", gpu}, {"OpenCL Adreno 840", gpu},  {"CUDA", gpu},
      {"Hexagon HTP", npu}, {"NPU", npu},   {"Apple Neural Engine", npu}};
  for (const auto& [name, kind] : known) EXPECT_EQ(eq::backend_from_name(name), kind) << name;
  for (const char* none : {"", "n/a", "fast"}) EXPECT_FALSE(eq::backend_from_name(none)) << none;
}

TEST(prediction, precisions_by_name) {
  const std::pair<const char*, double> known[] = {
      {"F16", 16},      {"BF16", 16},           {"Q8_0", 8.5},
      {"Q4_K_M", 4.85}, {"q4_k_m", 4.85},       {"4bit g64", 4.5},
      {"w4a16", 4},     {"w4a16_g128", 4.25},   {"w8a8", 8},
      {"8da4w", 4.8},   {"INT8-INT4", 4.8},     {"int4 per-channel", 4.2},
      {"4-bit", 4.5},   {"q4 (unstated)", 4.7}, {"UD-Q4_K_XL", 5},
      {"IQ4_XS", 4.3},  {"mxfp4", 4.3},         {"fp8", 8}};
  for (const auto& [name, bits] : known)
    EXPECT_EQ(eq::read_quant(name).bits_per_weight.value_or(0), bits) << name;
  EXPECT_EQ(eq::read_quant("~101 MB GGUF").file_bytes, 101e6);
  EXPECT_EQ(eq::read_quant("1.5 GiB").file_bytes, 1.5 * 1073741824);
  EXPECT_FALSE(eq::read_quant("n/a").bits_per_weight);
}

TEST(prediction, model_sizes_by_name) {
  struct sized {
    const char* name;
    double parameters, active;
  };
  const sized known[] = {{"Llama-3.1-8B", 8e9, 8e9},       {"SmolLM2-135M", 135e6, 135e6},
                         {"TinyLlama-1.1B", 1.1e9, 1.1e9}, {"Llama 7B", 6.738e9, 6.738e9},
                         {"Qwen3-30B-A3B", 30e9, 3e9},     {"Gemma-3n-E2B", 5.4e9, 1.9e9},
                         {"OCR-3B(A570M)", 3e9, 570e6},    {"Mixtral-8x7B", 46.7e9, 12.9e9},
                         {"Llama-3.1-8B-class", 8e9, 8e9}};
  for (const auto& s : known) {
    const auto size = eq::size_from_name(s.name);
    ASSERT_TRUE(size) << s.name;
    EXPECT_DOUBLE_EQ(size->parameters, s.parameters) << s.name;
    EXPECT_DOUBLE_EQ(size->active, s.active) << s.name;
  }
  for (const char* none : {"", "tiny", "v1.5", "R2D2"})
    EXPECT_FALSE(eq::size_from_name(none)) << none;
}

TEST(prediction, chips_by_name) {
  struct expected {
    const char* device;
    eq::speed_unit unit;
    double bandwidth;
  };
  using enum eq::speed_unit;
  const expected known[] = {{"Apple M4 Max (32)", apple_gpu, 410},
                            {"Apple M4 Max (40)", apple_gpu, 546},
                            {"MacBook Pro M3 2023", apple_gpu, 100},
                            {"Mac Studio (M3 Ultra 512GB)", apple_gpu, 800},
                            {"NVIDIA GeForce RTX4090", discrete_gpu, 1008},
                            {"RTX 4070 Laptop GPU", discrete_gpu, 256},
                            {"Jetson Orin NX", integrated_gpu, 102.4},
                            {"iPhone 16 Pro", integrated_gpu, 60},
                            {"Dell Pro Max with GB10", discrete_gpu, 273}};
  for (const auto& e : known) {
    const auto q = eq::resolve({.device = e.device, .backend = "GPU"});
    EXPECT_EQ(q.unit, e.unit) << e.device;
    EXPECT_EQ(q.bandwidth_gb_s, e.bandwidth) << e.device;
  }
  const auto on_cpu = [](const char* device) {
    return eq::resolve({.device = device, .backend = "CPU"});
  };
  EXPECT_EQ(on_cpu("Core i9-13900K DDR5-6400").bandwidth_gb_s, 102.4); // 6400 x 16 bytes
  EXPECT_EQ(on_cpu("RK3566 board (Orange Pi 3B)").cores, eq::core_age::in_order);
  EXPECT_EQ(on_cpu("Raspberry Pi 4B").cores, eq::core_age::older);
  EXPECT_EQ(on_cpu("Raspberry Pi 5").cores, eq::core_age::current);
  EXPECT_FALSE(eq::apple_chip_in("Cortex-M4 board"));
}

TEST(prediction, the_formula) {
  const eq::speed_constants row{eq::speed_unit::discrete_gpu, {}, 0.5, 4, 0, 0, {}};
  eq::resolved_query q{.unit = eq::speed_unit::discrete_gpu,
                       .bandwidth_gb_s = 100,
                       .streamed_bytes = 1e9,
                       .parameters = 6.738e9,
                       .layers = 32};
  EXPECT_DOUBLE_EQ(eq::decode_ms(q, row), 1e3 / 50 + 4);
  q.layers = 2, q.parameters = 6.738e9 / 16; // 16^-0.75 x 16^-0.25
  EXPECT_DOUBLE_EQ(eq::decode_ms(q, row), 1e3 / 50 + 4.0 / 16);
}

TEST(prediction, each_guess_widens_the_interval) {
  const auto known = mac();
  const double narrow = width(known);
  auto q = known;
  q.memory_bandwidth_gb_s.reset();
  EXPECT_GT(width(q), narrow);
  EXPECT_NE(eq::predict_decode(q).basis.find("guessed: bandwidth of that chip"), std::string::npos);
  q.weight_bytes.reset();
  const double without_bytes = width(q);
  EXPECT_GT(without_bytes, narrow);
  q.quant.clear();
  EXPECT_GT(width(q), without_bytes);
  const double without_quant = width(q);
  q.model.clear();
  EXPECT_GT(width(q), without_quant);
  EXPECT_GT(width({}), width(q));
}

TEST(prediction, experts_stream_their_share) {
  auto q = mac();
  q.model = "Qwen3-30B-A3B", q.weight_bytes = 17e9;
  EXPECT_DOUBLE_EQ(eq::resolve(q).streamed_bytes, 1.7e9);
  q.active_parameters = 15e9;
  EXPECT_DOUBLE_EQ(eq::resolve(q).streamed_bytes, 8.5e9);
}

TEST(prediction, an_npu_is_not_always_faster) {
  prediction_query q{.device = "Snapdragon 8 Elite Gen 5 phone (OnePlus 15)",
                     .engine = "llama.cpp",
                     .model = "Qwen3-8B",
                     .quant = "Q4_K_M",
                     .memory_bandwidth_gb_s = 84.8,
                     .weight_bytes = 5.03e9};
  const auto speed = [&](const char* engine, const char* backend) {
    q.engine = engine, q.backend = backend;
    return eq::predict_decode(q).tokens_per_second;
  };
  // ggml-org/llama.cpp issue 27677 measured 11.14 on the GPU and 6.66 on the NPU.
  EXPECT_GT(speed("llama.cpp", "OpenCL"), speed("llama.cpp", "Hexagon HTP"));
  // The maker's runtime gets twice that from the same NPU.
  EXPECT_GT(speed("Genie", "Hexagon HTP"), 1.5 * speed("llama.cpp", "Hexagon HTP"));
}

TEST(prediction, prefill_by_compute) {
  auto q = mac();
  q.gops = 1000, q.parameters = 1e9;
  EXPECT_DOUBLE_EQ(eq::predict_prefill(q).tokens_per_second, 500); // 2 operations a parameter
  const auto first = eq::predict_first_token(q, 1000);
  EXPECT_DOUBLE_EQ(first.milliseconds, 2000);
  EXPECT_LT(first.low, first.milliseconds);
  EXPECT_GT(first.high, first.milliseconds);
  // One token of prompt costs a pass over the weights.
  EXPECT_DOUBLE_EQ(eq::predict_first_token(q, 1).milliseconds,
                   1e3 / eq::predict_decode(q).tokens_per_second);
  EXPECT_EQ(message_of([&] { return eq::predict_first_token(q, 0); }),
            "prompt_tokens: expected 1 to 1000000000");
}

TEST(prediction, refuses_impossible_numbers) {
  const double bad[] = {0, -1, std::nan(""), HUGE_VAL, 1e7};
  for (const double value : bad) {
    auto q = mac();
    q.memory_bandwidth_gb_s = value;
    EXPECT_EQ(message_of([&] { return eq::predict_decode(q); }),
              "memory_bandwidth_gb_s: expected a positive number of at most 1000000");
  }
  auto q = mac();
  q.weight_bytes = -5;
  EXPECT_EQ(message_of([&] { return eq::predict_decode(q); }).substr(0, 13), "weight_bytes:");
}

std::string json_error(std::string_view text) {
  return message_of([&] { return eq::parse_queries(eq::parse_json(text, "q.json"), "q.json"); });
}

TEST(prediction, odd_texts_are_no_numbers) {
  const std::string texts[] = {std::string(9000, '9') + "B",
                               std::string(9000, '9') + "MB",
                               "999999999999999999B",
                               "0.0B",
                               "1..2B ((((",
                               "m9 (99",
                               "DDR5-",
                               std::string("\xff\xfe\0 7B", 6)};
  for (const auto& t : texts) {
    const auto p = eq::predict_decode({t, t, t, t, t});
    EXPECT_TRUE(p.low > 0.01 && p.high < 1000) << p.low << " to " << p.high;
  }
}

TEST(prediction, queries_from_json_in_order) {
  const auto array = eq::parse_json(
      R"([{"device": "RTX 4090", "mem_bw_gbs": 1008, "backend": "CUDA", "weight_bytes": 4.92e9,
           "model": "Llama-3.1-8B", "decode_tps": "ignored", "source": 1, "note": null},
          {"device": null, "engine": null, "quant": "Q4_0"}, {"device_class": "sbc"}])",
      "q");
  const auto queries = eq::parse_queries(array, "q", [](prediction_query& q) {
    if (!q.memory_bandwidth_gb_s) q.memory_bandwidth_gb_s = 50;
  });
  ASSERT_EQ(queries.size(), 3u);
  EXPECT_EQ(queries[0].memory_bandwidth_gb_s, 1008);
  EXPECT_EQ(queries[1].memory_bandwidth_gb_s, 50); // from the hook
  EXPECT_EQ(queries[1].quant, "Q4_0");
  EXPECT_EQ(queries[2].kind, eq::device_class::sbc);
  std::vector<eq::speed_prediction> answers;
  for (const auto& q : queries) answers.push_back(eq::predict_decode(q));
  const auto json = eq::to_json(answers);
  ASSERT_EQ(json.size(), 3u);
  for (std::size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(json[i]["predicted_tokens_per_second"], answers[i].tokens_per_second);
    EXPECT_LT(json[i]["low"], json[i]["high"]);
  }
}

TEST(prediction, json_errors_name_the_field) {
  const std::pair<const char*, const char*> cases[] = {
      {R"({})", "q.json: expected an array of queries"},
      {R"([{}, 3])", "q.json[1]: expected an object"},
      {R"([{"device": 5}])", "q.json[0].device: expected a text or null"},
      {R"([{}, {"mem_bw_gbs": "200"}])",
       "q.json[1].mem_bw_gbs: expected a positive number of at most 1000000 or null"},
      {R"([{"weight_bytes": 0}])",
       "q.json[0].weight_bytes: expected a positive number of at most 1000000000000000 or null"},
      {R"([{"layers": -3}])",
       "q.json[0].layers: expected a positive number of at most 100000 or null"},
      {R"([{"mem_bw_gbs": true}])",
       "q.json[0].mem_bw_gbs: expected a positive number of at most 1000000 or null"},
      {R"([{"mem_bw_gb": 5}])", "q.json[0].mem_bw_gb: unknown field; did you mean mem_bw_gbs?"},
      {R"([{"device_class": "car"}])",
       "q.json[0].device_class: expected phone, sbc, edge-gpu, laptop, desktop, wearable or null"}};
  for (const auto& [text, message] : cases) EXPECT_EQ(json_error(text), message);
  EXPECT_TRUE(is_one_line(json_error("[{\"mem_bw_gbs\": NaN}]")));
}

TEST(prediction, rows_cover_every_unit_and_class) {
  for (int unit = 0; unit <= static_cast<int>(eq::speed_unit::built_in); ++unit)
    for (const auto& kind : eq::device_class_table) {
      const auto& row =
          eq::find_constants(eq::speed_table, static_cast<eq::speed_unit>(unit), kind.id);
      EXPECT_TRUE(row.efficiency > 0 && row.efficiency <= 1 && row.overhead_ms > 0);
      EXPECT_TRUE(row.spread > 0 && row.prefill_gops > 0 && !row.origin.empty());
    }
}

/// Published rows that took no part in the fit, by the table as it is.
std::vector<bench::residual> unseen(std::span<const bench::measurement> rows, bool apple) {
  const bench::fitted table{{std::begin(eq::speed_table), std::end(eq::speed_table)}, {}};
  std::vector<bench::residual> out;
  for (const auto& m : rows) {
    const double spread = eq::find_constants(eq::speed_table, m.query.unit, m.query.kind).spread;
    if ((m.query.unit == eq::speed_unit::apple_gpu) == apple)
      out.push_back({&m, bench::error_of(m, table), std::hypot(spread, std::sqrt(m.query.doubt))});
  }
  return out;
}

TEST(prediction, holds_on_devices_that_no_fit_has_seen) {
  const auto rows = bench::published_measurements(false);
  const auto apple = bench::summarize(unseen(rows, true)),
             others = bench::summarize(unseen(rows, false));
  EXPECT_GE(apple.rows, 28u);
  EXPECT_LE(apple.mean, 0.08);
  EXPECT_GE(apple.covered, 0.8);
  EXPECT_GE(others.rows, 30u);
  EXPECT_LE(others.median, 0.20);
  EXPECT_GE(others.within_two, 0.85);
  EXPECT_GE(others.covered, 0.8);
}

/// The facts, and a fit of them.
class measured : public testing::Test {
protected:
  static std::vector<bench::measurement>& rows() {
    static std::vector<bench::measurement> all;
    return all;
  }
  void SetUp() override {
    const auto file =
        fs::path(EDGEQUANT_SOURCE_DIR) / "../shared/data/facts/measured_tokens_per_second.json";
    if (!fs::exists(file)) GTEST_SKIP() << "no measurements";
    if (!rows().empty()) return;
    rows() = bench::read_measurements(eq::parse_json(eq::read_text_file(file), "facts"));
    const auto more = bench::published_measurements(true);
    rows().insert(rows().end(), more.begin(), more.end());
  }
};

TEST_F(measured, the_table_is_what_the_fit_prints) {
  const auto fit = bench::fit_table(rows());
  // Half of the last digit that the table has, and as much for another libm.
  for (const auto& row : fit.table) {
    const auto& stored = eq::find_constants(eq::speed_table, row.unit,
                                            row.kind.value_or(eq::device_class::wearable));
    EXPECT_NEAR(stored.efficiency, row.efficiency, 1e-4);
    EXPECT_NEAR(stored.overhead_ms, row.overhead_ms, 1e-3);
    EXPECT_NEAR(stored.spread, row.spread, 1e-3);
  }
  EXPECT_EQ(fit.table.size() + 1, std::size(eq::speed_table)); // and the built-in engine's
  EXPECT_NEAR(fit.facts.apple_step, eq::default_speed_facts.apple_step, 1e-4);
  EXPECT_NEAR(fit.facts.older_cores, eq::default_speed_facts.older_cores, 1e-4);
  EXPECT_NEAR(fit.facts.in_order_cores, eq::default_speed_facts.in_order_cores, 1e-4);
  EXPECT_NEAR(fit.facts.open_npu, eq::default_speed_facts.open_npu, 1e-4);
  EXPECT_NEAR(fit.facts.mobile_cpu_gb_s, eq::default_speed_facts.mobile_cpu_gb_s, 1e-2);
}

TEST_F(measured, a_device_left_out_is_predicted) {
  const auto all = bench::cross_validate(rows());
  std::vector<bench::residual> file, known, apple;
  for (const auto& r : all) {
    if (!r.of->in_file) continue;
    file.push_back(r);
    if (r.of->bandwidth_known) known.push_back(r);
    if (r.of->query.unit == eq::speed_unit::apple_gpu && r.of->llama_cpp &&
        r.of->model == "Llama-2-7B")
      apple.push_back(r);
  }
  EXPECT_EQ(file.size(), 88u);
  EXPECT_EQ(apple.size(), 52u);
  EXPECT_LE(bench::summarize(apple).mean, 0.08);
  EXPECT_LE(bench::summarize(known).median, 0.20);
  EXPECT_GE(bench::summarize(known).within_two, 0.85);
  EXPECT_GE(bench::summarize(known).covered, 0.80);
  EXPECT_GE(bench::summarize(apple).covered, 0.80);
  EXPECT_GE(bench::summarize(file).covered, 0.80);
}

} // namespace
