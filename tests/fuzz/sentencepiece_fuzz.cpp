// SPDX-License-Identifier: MIT
// tokenizer.model: pieces that keep their promises, and the GGUF keys made from them.
#include "support.hpp"

#include <edgequant/text/vocabulary.hpp>

namespace {
using namespace fuzz;
constexpr std::string_view place = "tokenizer.model";
} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  eq::sentencepiece_model model;
  if (!accepts(place, [&] { model = eq::parse_sentencepiece(bytes_of(data, size), place); }))
    return 0;
  require(!model.pieces.empty(), "there is a piece");
  for (const auto& piece : model.pieces)
    require(!piece.text.empty() && eq::is_finite(piece.score) && piece.type >= 1 && piece.type <= 6,
            "a piece has a text, a finite score and a known type");
  eq::config_tokens config;
  config.vocabulary = model.pieces.size() + size % 4; // some unused tokens too
  config.bos_token = size % config.vocabulary;
  eq::gguf_metadata keys{std::string(place)};
  eq::set_sentencepiece_keys(keys, model, config, std::string(place));
  const auto tokens = keys.get_strings("tokenizer.ggml.tokens");
  require(tokens->size() == config.vocabulary &&
              keys.get_floats("tokenizer.ggml.scores")->size() == config.vocabulary &&
              keys.get_ints("tokenizer.ggml.token_type")->size() == config.vocabulary,
          "every row of the embedding has a token");
  for (std::size_t i = 0; i < model.pieces.size(); ++i)
    require((*tokens)[i] == model.pieces[i].text, "a token is its piece");
  // Fewer rows than pieces: refused.
  config.vocabulary = model.pieces.size() - 1;
  require(
      !accepts(place, [&] { eq::set_sentencepiece_keys(keys, model, config, std::string(place)); }),
      "a vocabulary that does not fit is refused");
  return 0;
}
