// SPDX-License-Identifier: MIT
// Which engine and which precision for a model on a device, whether it fits, and how fast it will
// be.
#include "command_line.hpp"

#include <edgequant/advise/advice.hpp>
#include <edgequant/advise/device_json.hpp>
#include <edgequant/advise/npu_operators.hpp>
#include <edgequant/advise/prediction_json.hpp>
#include <edgequant/advise/read_model_profile.hpp>
#include <edgequant/advise/requirement.hpp>
#include <edgequant/advise/rule_json.hpp>
#include <edgequant/advise/this_device.hpp>

#include <iomanip>
#include <optional>
#include <sstream>

#include <unistd.h>

namespace eq = edgequant;

namespace {

struct arguments {
  std::string device = "this", model = "Llama-3.2-1B", predict;
  std::optional<std::string> os;
  std::optional<double> max_ms_per_token, max_ms_to_first_token, max_ram_mb, max_storage_mb;
  std::optional<std::uint64_t> context;
  std::vector<std::string> engines, licences;
  bool npu_needed = false, soft = false, list = false, matrix = false, npus = false, json = false;
};

void describe(CLI::App& app, arguments& a) {
  app.description(
      "Which engine and precision to use for a model on a device: what opens the file,\n"
      "what fits, the predicted speed, and the reasons. Nothing is downloaded or run.");
  app.footer(
      "Tokens per second are predictions for one sequence and a short context; the interval is\n"
      "expected to hold for 80 % of devices. `this` is the machine that the program runs on;\n"
      "its memory bandwidth is measured for half a second. A GGUF is advised on as it is:\n"
      "engines that cannot open it are excluded.\n\n"
      "Examples:\n"
      "  choose_engine --device 'Raspberry Pi 5' --model Llama-3.2-1B --context 4096\n"
      "  choose_engine --device phone.json --model model.gguf --max-ms-per-token 50\n"
      "  choose_engine --matrix\n\n"
      "Exit status: 0, or 1 with one line on stderr.");
  app.add_option("--device", a.device, "a name of --list, a JSON profile, or `this`")
      ->capture_default_str();
  app.add_option(
         "--model", a.model,
         "a name of --list, a GGUF (of several parts the first), a config.json\nor a JSON profile")
      ->capture_default_str();
  app.add_option("--os", a.os,
                 "android, ios, linux, macos, windows, web, wearos or embedded;\n"
                 "default: the first of the device's profile");
  app.add_option("--context", a.context,
                 "tokens that the KV cache must hold; default: 2048, or the model's context\nif "
                 "that is less")
      ->check(CLI::Range(1, 1 << 30));
  app.add_option("--max-ms-per-token", a.max_ms_per_token, "requirement: time for each token");
  app.add_option("--max-ms-to-first-token", a.max_ms_to_first_token,
                 "requirement: time until the first token, after a prompt of 128 tokens");
  app.add_option("--max-ram-mb", a.max_ram_mb,
                 "requirement: weights, KV cache, activations and runtime, in 10^6 bytes");
  app.add_option("--max-storage-mb", a.max_storage_mb,
                 "requirement: the model file, in 10^6 bytes");
  app.add_option("--licence", a.licences, "requirement: one of these, such as MIT; may be repeated")
      ->take_all()
      ->allow_extra_args(false);
  app.add_flag("--npu", a.npu_needed, "requirement: it runs on the device's NPU");
  app.add_flag("--soft", a.soft, "requirements cost points instead of ruling out");
  app.add_option("--engines", a.engines, "JSON with engines and rules to add or replace")
      ->take_all()
      ->allow_extra_args(false);
  app.add_flag("--list", a.list, "list the known devices, models and engines");
  app.add_flag("--matrix", a.matrix, "the best engine for each known device and model");
  app.add_flag("--npus", a.npus, "list which steps of the model run on which NPU");
  app.add_option("--predict", a.predict,
                 "a JSON array of {device, mem_bw_gbs, engine, backend, model, quant,\n"
                 "weight_bytes}, any of them missing: prints one with\n"
                 "{predicted_tokens_per_second, low, high}");
  app.add_flag("--json", a.json, "print JSON");
}

eq::engine_selector selector_of(const arguments& a) {
  eq::engine_selector selector;
  for (const auto& file : a.engines) eq::read_into(selector, file);
  const auto require = [&](const eq::requirement& r) {
    selector.add(eq::rule_of(a.soft ? eq::softly(r) : r));
  };
  const auto limit = [&](std::optional<double> value, double unit, eq::requirement_kind kind) {
    if (value) require(eq::requirement_for(kind, *value * unit));
  };
  limit(a.max_ms_per_token, 1, eq::requirement_kind::max_ms_per_token);
  limit(a.max_ms_to_first_token, 1, eq::requirement_kind::max_ms_to_first_token);
  limit(a.max_ram_mb, 1e6, eq::requirement_kind::max_memory_bytes);
  limit(a.max_storage_mb, 1e6, eq::requirement_kind::max_storage_bytes);
  if (!a.licences.empty()) require(eq::requirement_for_licence(a.licences));
  if (a.npu_needed) require(eq::requirement_for_npu());
  return selector;
}

eq::advice_options options_of(const arguments& a, const eq::model_profile& model) {
  eq::advice_options options;
  options.context_tokens = a.context.value_or(std::min<std::uint64_t>(2048, model.context_tokens));
  options.measured_bandwidth = a.device == "this";
  if (!a.os) return options;
  options.os = eq::find_platform(*a.os);
  if (!options.os)
    eq::fail(eq::error_code::bad_argument, "--os '" + eq::escaped(*a.os) + "'",
             "expected android, ios, linux, macos, windows, web, wearos or embedded");
  return options;
}

eq::device_profile device_of(const std::string& name) {
  if (name == "this") return eq::this_device();
  return name.ends_with(".json") ? eq::read_device(name) : eq::find_device(name);
}

eq::model_profile model_of(const std::string& name) {
  std::error_code error; // a path that cannot be examined counts as a name
  return std::filesystem::exists(name, error) || name.find('/') != name.npos ||
                 name.ends_with(".json") || name.ends_with(".gguf")
             ? eq::read_model_profile(name)
             : eq::find_model(name);
}

void list(const arguments& a) {
  nlohmann::json all;
  const auto engines = selector_of(a).engines();
  for (const auto& d : eq::device_catalogue()) all["devices"].push_back(eq::to_json(d));
  for (const auto& m : eq::model_catalogue()) all["models"].push_back(eq::to_json(m));
  for (const auto& e : engines) all["engines"].push_back(eq::to_json(e));
  if (a.json) {
    std::cout << all.dump(2) << '\n';
    return;
  }
  for (const char* kind : {"devices", "models", "engines"}) {
    std::cout << kind << ":\n";
    for (const auto& one : all[kind]) std::cout << "  " << one["name"].get<std::string>() << '\n';
  }
}

/// Tokens per second of the best engine for each pair, and the bits of its weights.
void matrix(const arguments& a) {
  const auto selector = selector_of(a);
  const auto& models = eq::model_catalogue();
  const auto& devices = eq::device_catalogue();
  nlohmann::json rows = nlohmann::json::array();
  eq::progress_bar bar(stderr, isatty(STDERR_FILENO) != 0);
  std::ostringstream table;
  table << std::string(44, ' ');
  for (std::size_t m = 0; m < models.size(); ++m)
    table << std::setw(9) << "[" + std::to_string(m + 1) + "]";
  table << '\n';
  for (std::size_t d = 0; d < devices.size(); ++d) {
    bar({"matrix", devices[d].name, d, devices.size(), "devices"});
    table << std::left << std::setw(44) << devices[d].name.substr(0, 43) << std::right;
    for (const auto& model : models) {
      auto options = options_of(a, model);
      options.measured_bandwidth = false;
      const auto given = eq::advise(selector, devices[d], model, options);
      nlohmann::json cell{{"device", devices[d].name}, {"model", model.name}, {"engine", nullptr}};
      char text[32] = "-";
      if (!given.ranked.empty()) {
        const auto& [r, e] = given.ranked.front();
        const auto weights = r.weights.value_or(eq::precision::fp16);
        cell.update({{"engine", r.engine.name},
                     {"precision", eq::name_of(weights)},
                     {"tokens_per_second", e.decode.tokens_per_second},
                     {"low", e.decode.low},
                     {"high", e.decode.high}});
        const int bits = weights == eq::precision::fp16   ? 16
                         : weights == eq::precision::int8 ? 8
                                                          : 4;
        std::snprintf(text, sizeof text, "%.3g/%d", e.decode.tokens_per_second, bits);
      }
      table << std::setw(9) << text;
      rows.push_back(std::move(cell));
    }
    table << '\n';
  }
  bar.clear();
  if (a.json) {
    std::cout << rows.dump(2) << '\n';
    return;
  }
  std::cout << table.str()
            << "\ntokens per second / bits of the weights, of the engine that ranks first; -: none "
               "fits\n";
  for (std::size_t m = 0; m < models.size(); ++m)
    std::cout << "[" << m + 1 << "] " << models[m].name << '\n';
}

void predict(const arguments& a) {
  const auto queries = eq::parse_queries(eq::parse_json(eq::read_text_file(a.predict), a.predict),
                                         eq::place_of(a.predict), eq::complete_from_catalogues);
  std::vector<eq::speed_prediction> predictions;
  for (const auto& query : queries) predictions.push_back(eq::predict_decode(query));
  if (a.json) {
    std::cout << eq::to_json(predictions).dump(2) << '\n';
    return;
  }
  for (std::size_t i = 0; i < queries.size(); ++i) {
    const auto& p = predictions[i];
    char text[80];
    std::snprintf(text, sizeof text, "%8.3g tokens/s (%.3g to %.3g)  ", p.tokens_per_second, p.low,
                  p.high);
    std::cout << text << eq::escaped(queries[i].device) << ", " << eq::escaped(queries[i].model)
              << ": " << p.basis << '\n';
  }
}

void npus(const arguments& a) {
  std::vector<eq::npu_profile> all;
  for (const auto& device : eq::device_catalogue())
    if (device.npu && std::none_of(all.begin(), all.end(),
                                   [&](const auto& n) { return n.name == device.npu->name; }))
      all.push_back(*device.npu);
  eq::print_portability(std::cout, eq::portability_table(model_of(a.model), all));
}

void run(const arguments& a) {
  if (!a.predict.empty()) return predict(a);
  if (a.list) return list(a);
  if (a.matrix) return matrix(a);
  if (a.npus) return npus(a);
  const auto selector = selector_of(a);
  const auto model = model_of(a.model);
  const auto options = options_of(a, model);
  const auto device = device_of(a.device);
  const auto given = eq::advise(selector, device, model, options);
  if (a.json) {
    auto json = eq::to_json(given);
    json["device"] = eq::to_json(device);
    json["model"] = eq::to_json(model);
    json["context_tokens"] = options.context_tokens;
    std::cout << json.dump(2) << '\n';
    return;
  }
  std::cout << eq::escaped(model.name) << " on " << eq::escaped(device.name) << " ("
            << eq::name_of(given.answer.os) << "), context of " << options.context_tokens
            << " tokens\n";
  if (device.memory_bandwidth_gb_s)
    std::cout << "memory: " << std::setprecision(3) << *device.memory_bandwidth_gb_s << " GB/s; "
              << eq::escaped(device.source) << '\n';
  eq::print_advice(std::cout, given);
}

} // namespace

int main(int argc, char** argv) { return run_command("choose_engine", describe, run, argc, argv); }
