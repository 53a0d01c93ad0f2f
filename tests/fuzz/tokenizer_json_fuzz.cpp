// SPDX-License-Identifier: MIT
// tokenizer.json: a BPE vocabulary, and the GGUF keys made from it.
#include "support.hpp"

#include <edgequant/text/vocabulary.hpp>

namespace {
using namespace fuzz;

constexpr std::string_view place = "tokenizer.json";
constexpr std::uint64_t id_limit = 2000;

void require_tokens(const eq::bpe_tokenizer& tokenizer) {
  require(!tokenizer.tokens.empty() && tokenizer.tokens.size() <= id_limit, "ids have a limit");
  for (const auto& merge : tokenizer.merges) {
    const auto space = merge.find(' ', 1);
    require(space != merge.npos && space + 1 < merge.size(), "a merge is a pair");
  }
}
} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  eq::bpe_tokenizer tokenizer;
  const auto text = eq::as_text(bytes_of(data, size));
  if (!accepts(place, [&] { tokenizer = eq::parse_tokenizer_json(text, place, id_limit); }))
    return 0;
  require_tokens(tokenizer);
  eq::config_tokens config;
  config.vocabulary = tokenizer.tokens.size() + size % 4; // some unused tokens too
  eq::gguf_metadata keys{std::string(place)};
  eq::set_vocabulary_keys(keys, eq::to_vocabulary(tokenizer), config, std::string(place));
  require(keys.get_strings("tokenizer.ggml.tokens")->size() == config.vocabulary &&
              keys.get_ints("tokenizer.ggml.token_type")->size() == config.vocabulary,
          "every row of the embedding has a token");
  const auto scores = keys.get_floats("tokenizer.ggml.scores");
  require(tokenizer.byte_level ? !scores : scores->size() == config.vocabulary,
          "the Llama-2 style has scores");
  const auto merges = keys.get_strings("tokenizer.ggml.merges");
  require(tokenizer.byte_level && !tokenizer.merges.empty() ? *merges == tokenizer.merges : !merges,
          "the byte-level style has merges");
  return 0;
}
