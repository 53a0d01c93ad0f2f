// SPDX-License-Identifier: MIT
// Writes a GGUF with the shapes of Llama-3.2-1B, random weights and a made-up vocabulary, to
// measure the speed of engines with.
//   edgequant_synthetic_model OUT.gguf [FORMAT|Q4_K_M|...] [layers=16]
#include <edgequant/gemm/weight_view.hpp>
#include <edgequant/io/gguf_writer.hpp>
#include <edgequant/model/checkpoint_keys.hpp>
#include <edgequant/plan/recipe.hpp>
#include <edgequant/quantizer/row_codec.hpp>
#include <edgequant/text/vocabulary.hpp>

#include <charconv>
#include <iostream>
#include <random>

namespace eq = edgequant;

namespace {

eq::checkpoint_config shape(std::uint64_t layers) {
  eq::checkpoint_config c;
  c.family = eq::find_model_type("llama");
  c.hidden_size = 2048, c.feed_forward_size = 8192, c.layers = layers;
  c.heads = 32, c.kv_heads = 8, c.head_size = 64, c.vocabulary = 128256;
  c.context = 131072, c.rms_epsilon = 1e-5, c.rope.rope_base = 500000;
  c.bos_token = 1, c.eos_token = 2, c.tied_embeddings = true;
  return c;
}

/// The 256 bytes as tokens, and words that no text has.
eq::vocabulary words(std::uint64_t count) {
  eq::vocabulary v{"llama",
                   "default",
                   {"<unk>", "<s>", "</s>"},
                   {},
                   {0, 0, 0},
                   {eq::token_type::unknown, eq::token_type::control, eq::token_type::control},
                   true,
                   true};
  for (int byte = 0; byte < 256; ++byte) {
    char text[8];
    std::snprintf(text, sizeof text, "<0x%02X>", static_cast<unsigned>(byte));
    v.tokens.emplace_back(text);
    v.types.push_back(eq::token_type::byte);
  }
  while (v.tokens.size() < count) {
    v.tokens.push_back("word" + std::to_string(v.tokens.size()));
    v.types.push_back(eq::token_type::normal);
  }
  v.scores.resize(v.tokens.size(), 0.0f);
  return v;
}

std::vector<eq::tensor_info> tensors(const eq::checkpoint_config& c, eq::format type,
                                     const eq::recipe* mixture) {
  const auto h = c.hidden_size, inner = c.feed_forward_size, kv = c.kv_heads * c.head_size;
  std::vector<eq::tensor_info> all{{"token_embd.weight", {h, c.vocabulary}, type}};
  for (std::uint64_t i = 0; i < c.layers; ++i) {
    const std::string at = "blk." + std::to_string(i) + ".";
    all.push_back({at + "attn_norm.weight", {h}, eq::format::f32});
    all.push_back({at + "attn_q.weight", {h, h}, type});
    all.push_back({at + "attn_k.weight", {h, kv}, type});
    all.push_back({at + "attn_v.weight", {h, kv}, type});
    all.push_back({at + "attn_output.weight", {h, h}, type});
    all.push_back({at + "ffn_norm.weight", {h}, eq::format::f32});
    all.push_back({at + "ffn_gate.weight", {h, inner}, type});
    all.push_back({at + "ffn_up.weight", {h, inner}, type});
    all.push_back({at + "ffn_down.weight", {inner, h}, type});
  }
  all.push_back({"output_norm.weight", {h}, eq::format::f32});
  // As quantize_model has it.
  eq::model_source source;
  for (const auto& t : all) {
    source.tensors.emplace_back();
    source.tensors.back().stored.name = t.name, source.tensors.back().stored.dims = t.dims;
  }
  const auto named = mixture ? eq::recipe_formats(*mixture, source) : eq::named_formats{};
  for (auto& t : all) {
    t.type = eq::default_format(t.name, t.dims.size(), eq::format::f32, type);
    if (const auto found = named.find(t.name); found != named.end()) t.type = found->second;
    t.type = eq::fitting_format(t.type, t.dims[0]);
  }
  return all;
}

/// Gaussian weights of deviation 0.02; norms of 1.
void write_data(eq::gguf_writer& writer, const eq::tensor_info& t, std::span<const float> noise) {
  if (t.dims.size() == 1) {
    const std::vector<float> ones(t.dims[0], 1.0f);
    return writer.write(std::as_bytes(std::span(ones)));
  }
  // Searched formats take their time: some rows, again and again.
  const bool searched = eq::visit_coded_panels(t.type, [](auto) {});
  const std::uint64_t distinct = searched ? std::min<std::uint64_t>(64, t.dims[1]) : t.dims[1];
  eq::row_encoder encode(t.type, searched ? eq::scale_rule::mse : eq::scale_rule::absmax, t.name);
  const std::uint64_t bytes = eq::row_bytes(t.type, t.dims[0]);
  std::vector<std::byte> rows((searched ? distinct : 1) * bytes);
  for (std::uint64_t r = 0; r < t.dims[1]; ++r) {
    const auto row = std::span(rows).subspan(searched ? r % distinct * bytes : 0, bytes);
    const std::size_t start = r * 7919 % (noise.size() - t.dims[0]); // no two rows alike
    if (r < distinct) encode(noise.subspan(start, t.dims[0]), {}, 0, row.data());
    writer.write(row);
  }
}

void run(const std::string& path, const std::string& name, std::uint64_t layers) {
  const auto* mixture = eq::find_recipe(name);
  const eq::format type = mixture ? mixture->type : eq::parse_format(name);
  const auto config = shape(layers);
  eq::gguf_metadata keys;
  eq::set_network_keys(keys, config);
  keys.set("general.name", "synthetic");
  eq::set_vocabulary_keys(keys, words(config.vocabulary), config, path);
  std::mt19937 random(1);
  std::normal_distribution<float> normal(0.0f, 0.02f);
  std::vector<float> noise(1 << 20);
  for (float& x : noise) x = normal(random);
  const auto all = tensors(config, type, mixture);
  eq::gguf_writer writer(path, keys, all);
  for (const auto& t : all) write_data(writer, t, noise);
  writer.finish();
}

} // namespace

int main(int argc, char** argv) {
  std::uint64_t layers = 16;
  if (argc > 3) std::from_chars(argv[3], argv[3] + std::strlen(argv[3]), layers);
  if (argc < 2 || argc > 4 || layers == 0 || layers > 1000) {
    std::cerr << "usage: " << argv[0] << " OUT.gguf [FORMAT|Q4_K_M|...] [layers=16]\n";
    return 2;
  }
  try {
    run(argv[1], argc > 2 ? argv[2] : "q8_0", layers);
  } catch (const std::exception& error) {
    std::cerr << argv[0] << ": " << error.what() << '\n';
    return 1;
  }
}
