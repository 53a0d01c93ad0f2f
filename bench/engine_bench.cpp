// SPDX-License-Identifier: MIT
// Prefill and decode tokens per second of the built-in engine, medians of the repeats, as one line
// of JSON. Decode is with the logits that choose the next token; feed is a token at a time without.
//   edgequant_engine_bench MODEL.gguf [prompt=512] [generate=64] [threads=1] [repeats=3]
#include <edgequant/run/reference_engine.hpp>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <iostream>

namespace eq = edgequant;

namespace {

template <class Run> double seconds_of(Run run) {
  const auto start = std::chrono::steady_clock::now();
  run();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

std::size_t argument(int argc, char** argv, int index, std::size_t otherwise) {
  return argc > index ? std::max<std::size_t>(1, std::strtoul(argv[index], nullptr, 10))
                      : otherwise;
}

void run(int argc, char** argv) {
  const std::size_t prompt = argument(argc, argv, 2, 512), generate = argument(argc, argv, 3, 64);
  const auto threads = static_cast<unsigned>(argument(argc, argv, 4, 1));
  eq::reference_engine engine({threads, eq::kv_format::f16, prompt + 2 * generate});
  (void)engine.load(argv[1]);
  const std::size_t words = std::min<std::size_t>(256, engine.words().size());
  std::vector<std::int32_t> tokens;
  for (std::size_t i = 0; i < prompt; ++i)
    tokens.push_back(static_cast<std::int32_t>(3 + i * 7919 % (words - 3)));
  std::vector<double> prefill, decode, feed;
  for (std::size_t r = argument(argc, argv, 5, 3); r > 0; --r) {
    prefill.push_back(seconds_of([&] { (void)engine.prefill(tokens); }));
    const auto each = [&](auto append) {
      for (std::size_t i = 0; i < generate; ++i)
        append(static_cast<std::int32_t>(3 + i * 31 % (words - 3)));
    };
    decode.push_back(
        seconds_of([&] { each([&](std::int32_t token) { (void)engine.decode(token); }); }));
    feed.push_back(seconds_of([&] { each([&](std::int32_t token) { engine.feed(token); }); }));
  }
  std::printf("{\"threads\":%u,\"prompt\":%zu,\"generated\":%zu,\"prefill_tokens_per_second\":%.2f,"
              "\"decode_tokens_per_second\":%.2f,\"feed_tokens_per_second\":%.2f}\n",
              threads, prompt, generate, static_cast<double>(prompt) / median(prefill),
              static_cast<double>(generate) / median(decode),
              static_cast<double>(generate) / median(feed));
}

} // namespace

int main(int argc, char** argv) {
  if (argc < 2 || argc > 6) {
    std::cerr << "usage: " << argv[0] << " MODEL.gguf [prompt] [generate] [threads] [repeats]\n";
    return 2;
  }
  try {
    run(argc, argv);
  } catch (const std::exception& error) {
    std::cerr << argv[0] << ": " << error.what() << '\n';
    return 1;
  }
}
