// SPDX-License-Identifier: MIT
#include "io/support.hpp"

#include <edgequant/advise/device_catalogue.hpp>
#include <edgequant/advise/device_json.hpp>
#include <edgequant/advise/model_catalogue.hpp>
#include <edgequant/advise/model_json.hpp>

namespace {
using namespace io_test;
using nlohmann::json;

TEST(profile_json, round_trips_are_equal) {
  for (const auto& d : eq::device_catalogue())
    EXPECT_EQ(eq::parse_device(json::parse(eq::to_json(d).dump()), "x"), d) << d.name;
  for (const auto& m : eq::model_catalogue())
    EXPECT_EQ(eq::parse_model(json::parse(eq::to_json(m).dump()), "x"), m) << m.name;
  auto device = eq::devices::rk3588_board();
  device.storage_gib = 12.5, device.gpu_memory_mib = 512, device.power_budget_mw = 4000;
  device.npu->operators = {"matmul"}, device.npu->types = {"int8", "f16"};
  EXPECT_EQ(eq::parse_device(eq::to_json(device), "x"), device);
  auto model = eq::models::llama_3_2_1b();
  model.accuracy = 0.75;
  model.before = {2000, 12.5, {}}, model.after = {1000, {}, 1500};
  model.stored = eq::format::q6_k;
  model.file_kind = "gguf", model.experts = 8, model.built_in_refusal = "no";
  model.matrix_formats = {eq::format::q6_k, eq::format::iq4_xs};
  model.layer_caches.assign(model.layers, {8, 0});
  model.layer_caches[3] = {0, 512};
  EXPECT_EQ(eq::parse_model(eq::to_json(model), "x"), model);
}

TEST(profile_json, a_device_of_the_required_fields_alone) {
  const auto d = eq::parse_device(
      json::parse(R"({"name": "mine", "kind": "sbc", "platforms": ["linux"], "ram_mib": 512})"),
      "x");
  eq::device_profile expected;
  expected.name = "mine", expected.kind = eq::device_class::sbc, expected.ram_mib = 512;
  expected.platforms = {eq::platform::gnu_linux};
  EXPECT_EQ(d, expected);
}

/// The message about a device with one field changed; null takes it away.
std::string device_error(const char* pointer, const json& value) {
  auto object = eq::to_json(eq::devices::rk3588_board());
  object[json::json_pointer(pointer)] = value;
  const auto message = message_of([&] { (void)eq::parse_device(object, "my.json"); });
  EXPECT_TRUE(is_one_line(message)) << message;
  return message;
}

TEST(profile_json, a_bad_device_is_refused_with_the_path) {
  EXPECT_EQ(device_error("/npu/tops", "many"),
            R"(my.json: npu.tops: expected a number not below 0, not "many")");
  EXPECT_EQ(device_error("/ram_mib", -8),
            "my.json: ram_mib: expected a whole number from 0 to 4294967296, not -8");
  EXPECT_EQ(device_error("/ram_mib", 8.5),
            "my.json: ram_mib: expected a whole number from 0 to 4294967296, not 8.5");
  EXPECT_EQ(device_error("/ram_mib", nullptr), "my.json: ram_mib: the field is missing");
  EXPECT_EQ(device_error("/name", 3), "my.json: name: expected a string, not 3");
  EXPECT_EQ(device_error("/name", nullptr), "my.json: name: the field is missing");
  EXPECT_EQ(device_error("/platforms/1", "symbian"),
            "my.json: platforms[1]: unknown OS 'symbian', expected one of android, ios, linux, "
            "macos, windows, web, wearos, embedded");
  EXPECT_EQ(device_error("/platforms", json::array()),
            "my.json: platforms: expected at least one OS, not []");
  EXPECT_EQ(device_error("/platforms", nullptr), "my.json: platforms: the field is missing");
  EXPECT_EQ(device_error("/platforms", "linux"),
            R"(my.json: platforms: expected a list of strings, not "linux")");
  EXPECT_EQ(device_error("/kind", "fridge"),
            "my.json: kind: expected one of phone, sbc, edge-gpu, laptop, desktop, wearable, not "
            "\"fridge\"");
  EXPECT_EQ(device_error("/memory_bandwidth_gb_s", -1),
            "my.json: memory_bandwidth_gb_s: expected a number from 0.001 to 1e+06, not -1");
  EXPECT_EQ(device_error("/memory_bandwidth_gb_s", 0),
            "my.json: memory_bandwidth_gb_s: expected a number from 0.001 to 1e+06, not 0");
  EXPECT_EQ(device_error("/npu", 6), "my.json: npu: expected a JSON object");
  EXPECT_EQ(device_error("/npu/vendor", nullptr), "my.json: npu.vendor: the field is missing");
  EXPECT_EQ(device_error("/npu/top", 6), "my.json: npu.top: unknown field; did you mean 'tops'?");
  EXPECT_EQ(device_error("/cpu_core", 6),
            "my.json: cpu_core: unknown field; did you mean 'cpu_cores'?");
  EXPECT_EQ(device_error("/isa", json{1, 2}),
            "my.json: isa: expected a list of strings, not [1,2]");
  EXPECT_EQ(message_of([] { (void)eq::parse_device(json::array(), "my.json"); }),
            "my.json: expected a JSON object");
}

TEST(profile_json, every_required_field_is_missed) {
  for (const char* name : {"name", "kind", "platforms", "ram_mib"})
    EXPECT_EQ(device_error((std::string("/") + name).c_str(), nullptr),
              std::string("my.json: ") + name + ": the field is missing");
  for (const char* name : {"name", "layers", "hidden_size", "heads", "kv_heads",
                           "feed_forward_size", "vocabulary", "context_tokens"}) {
    auto object = eq::to_json(eq::models::llama_3_2_1b());
    object.erase(name);
    EXPECT_EQ(message_of([&] { (void)eq::parse_model(object, "m.json"); }),
              std::string("m.json: ") + name + ": the field is missing");
  }
}

TEST(profile_json, a_model_follows_from_its_sizes) {
  auto object = eq::to_json(eq::models::llama_3_2_1b());
  object.erase("parameters");
  object.erase("head_size");
  object.erase("architecture");
  EXPECT_EQ(eq::parse_model(object, "m.json"), eq::models::llama_3_2_1b());
  object["heads"] = 31;
  EXPECT_EQ(message_of([&] { (void)eq::parse_model(object, "m.json"); }),
            "m.json: head_size: the field is missing, and hidden_size is no multiple of heads");
  object["accuracy"] = 1.5, object["heads"] = 32;
  EXPECT_EQ(message_of([&] { (void)eq::parse_model(object, "m.json"); }),
            "m.json: accuracy: expected a number from 0 to 1, not 1.5");
  object["accuracy"] = 0.5, object["before"] = {{"file_byte", 7}};
  EXPECT_EQ(message_of([&] { (void)eq::parse_model(object, "m.json"); }),
            "m.json: before.file_byte: unknown field; did you mean 'file_bytes'?");
  object.erase("before");
  object["hidden_size"] = object["feed_forward_size"] = object["vocabulary"] = 0x7fffffff;
  object["head_size"] = 0x7fffffff;
  EXPECT_EQ(message_of([&] { (void)eq::parse_model(object, "m.json"); }),
            "m.json: its sizes make no model: too many parameters");
}

TEST(profile_json, a_file_is_named) {
  const temporary_folder folder;
  const auto path = folder / "d.json";
  write_all(path, eq::to_json(eq::devices::pixel_9_pro()).dump());
  EXPECT_EQ(eq::read_device(path), eq::devices::pixel_9_pro());
  write_all(path, R"({"name": "x", "name": "y"})");
  EXPECT_EQ(message_of([&] { (void)eq::read_device(path); }),
            path.string() + ": key 'name': the key is there twice");
  write_all(path, "{");
  EXPECT_TRUE(is_one_line(message_of([&] { (void)eq::read_device(path); })));
}

} // namespace
