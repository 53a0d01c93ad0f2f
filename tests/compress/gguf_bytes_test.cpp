// SPDX-License-Identifier: MIT
// Sizes that are computed against files that are written.
#include "model/toy_model.hpp"

#include <edgequant/advise/memory_need.hpp>
#include <edgequant/advise/read_model_profile.hpp>
#include <edgequant/compress/compress.hpp>

namespace {
using namespace model_test;
using eq::format;

constexpr format all_formats[] = {format::f32,  format::f16,  format::bf16,
                                  format::q8_0, format::q5_0, format::q4_0};

/// Writes the model in every format and holds both computations against the file.
void expect_exact(const eq::model_source& source, const eq::model_profile& profile,
                  const fs::path& out, eq::compress_options options = {}) {
  options.scale = eq::scale_rule::absmax; // the fastest
  for (const auto type : all_formats) {
    options.type = type;
    const auto report = eq::compress(source, out, options);
    EXPECT_EQ(eq::gguf_bytes(source, options), fs::file_size(out)) << eq::name_of(type);
    std::uint64_t other = 0; // what no profile knows
    for (const auto& t : report.tensors)
      if (t.name.starts_with("rope_")) other += t.bytes_after;
    EXPECT_EQ(eq::tensor_data_bytes(profile, type, options.exact) + other, report.bytes_after);
    EXPECT_EQ(eq::read_model_profile(out).before.file_bytes, fs::file_size(out));
    EXPECT_EQ(eq::read_model_profile(out).stored,
              eq::is_block_format(type) ? std::optional(type) : std::nullopt);
    EXPECT_EQ(eq::read_model_profile(out).parameters, profile.parameters);
  }
}

TEST(gguf_bytes, equal_the_files_that_are_written) {
  const temporary_folder folder;
  const auto path = folder / "toy.gguf", out = folder / "out.gguf";
  for (const bool own_output : {false, true})
    for (const bool divisors : {false, true})
      for (const std::uint32_t feed_forward : {44u, 96u}) { // 44: no multiple of 32
        toy_options o;
        o.own_output = own_output, o.divisors = divisors, o.feed_forward = feed_forward;
        o.biases = divisors, o.architecture = divisors ? "qwen2" : "llama";
        write_toy(path, o);
        expect_exact(eq::open_model(path), eq::read_model_profile(path), out);
      }
}

TEST(gguf_bytes, of_a_plan_tensor_by_tensor) {
  const temporary_folder folder;
  const auto path = folder / "toy.gguf";
  write_toy(path, {});
  eq::compress_options options;
  options.exact = {{"blk.0.attn_q.weight", format::q8_0},
                   {"blk.1.ffn_down.weight", format::q4_0}, // rows of 44: it becomes f16
                   {"token_embd.weight", format::q5_0}};
  expect_exact(eq::open_model(path), eq::read_model_profile(path), folder / "out.gguf", options);
  options.keep = {eq::parse_keep("attn_k=f32")};
  const auto source = eq::open_model(path);
  (void)eq::compress(source, folder / "out.gguf", options);
  EXPECT_EQ(eq::gguf_bytes(source, options), fs::file_size(folder / "out.gguf"));
}

TEST(gguf_bytes, of_a_checkpoint) {
  const temporary_folder folder;
  fs::create_directory(folder / "model");
  write_checkpoint(folder / "model", tiny_tensors(), tiny_config());
  expect_exact(eq::open_model(folder / "model"), eq::read_model_profile(folder / "model"),
               folder / "out.gguf");
}

TEST(gguf_bytes, of_a_real_model) {
  const auto model = shared_data("models/stories260K");
  SKIP_WITHOUT(model);
  const temporary_folder folder;
  expect_exact(eq::open_model(model), eq::read_model_profile(model), folder / "out.gguf");
}

} // namespace
