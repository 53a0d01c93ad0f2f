// SPDX-License-Identifier: MIT
// A GGUF as a model: what is loaded tokenizes any bytes and runs, or refuses in one line.
//   input: a byte n, n bytes of text, the GGUF
#include "support.hpp"

#include <edgequant/model/text_chunks.hpp>
#include <edgequant/text/tokenizer.hpp>

#include <cmath>

namespace {
using namespace fuzz;

constexpr std::string_view place = "m.gguf";

void walk_tokenizer(const eq::gguf_metadata& keys, std::string_view text) {
  const eq::tokenizer words(keys);
  std::string back;
  for (const auto token : words.encode(text)) {
    require(token >= 0 && static_cast<std::size_t>(token) < words.size(), "tokens are words");
    back += words.bytes_of(token);
    (void)words.ends_text(token);
  }
  touch(bytes_of(reinterpret_cast<const std::uint8_t*>(back.data()), back.size()));
}

void run_model(eq::gguf_file file, std::string_view text) {
  eq::model_weights weights(std::move(file));
  if (text.size() % 2 == 1) weights.pack(1);
  eq::transformer model(weights, 1);
  std::vector<std::int32_t> tokens;
  for (const char c : text.substr(0, 20))
    tokens.push_back(
        static_cast<std::int32_t>(static_cast<unsigned char>(c) % weights.vocabulary()));
  eq::chunk_runner runner(model, 32, eq::kv_format::int8);
  runner.run(tokens, [&](std::size_t, std::span<const float> logits) {
    for (const float x : logits) require(std::isfinite(x), "logits are finite");
  });
}
} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 1 || size < std::size_t{1} + data[0]) return 0;
  const std::string_view text(reinterpret_cast<const char*>(data + 1), data[0]);
  const auto bytes = bytes_of(data + 1 + text.size(), size - 1 - text.size());
  // A copy whose data is aligned as in a mapped file.
  const std::vector<std::byte> copy(bytes.begin(), bytes.end());
  eq::gguf_file file;
  if (!accepts(place, [&] { file = eq::parse_gguf(copy, place); })) return 0;
  accepts(place, [&] { walk_tokenizer(file.metadata, text); });
  accepts(place, [&] { run_model(std::move(file), text); });
  return 0;
}
