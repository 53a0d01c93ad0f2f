// SPDX-License-Identifier: MIT
// Real models, where the project's shared data is beside it.
#include "model/support.hpp"

#include <edgequant/compress/compress.hpp>
#include <edgequant/model/open_model.hpp>

namespace {
using namespace model_test;
using eq::format;

class shared_models : public testing::Test {
protected:
  temporary_folder folder;
  eq::compress_options options;

  eq::gguf_file run(const fs::path& path) {
    report = eq::compress(eq::open_model(path), folder / "out.gguf", options);
    EXPECT_EQ(report.file_bytes, fs::file_size(folder / "out.gguf"));
    return eq::read_gguf(folder / "out.gguf");
  }
  eq::compress_report report;
};

/// The same tensors, byte for byte, in any order.
void expect_same_tensors(const eq::gguf_file& a, const eq::gguf_file& b) {
  ASSERT_EQ(a.tensors.size(), b.tensors.size());
  for (const auto& t : a.tensors) {
    const auto other = std::find_if(b.tensors.begin(), b.tensors.end(),
                                    [&](const auto& u) { return u.name == t.name; });
    ASSERT_NE(other, b.tensors.end()) << t.name;
    EXPECT_EQ(t.type, other->type) << t.name;
    EXPECT_EQ(t.dims, other->dims) << t.name;
    EXPECT_TRUE(std::equal(t.data.begin(), t.data.end(), other->data.begin(), other->data.end()))
        << t.name;
  }
}

// The golden files hold what llama.cpp's own quantizer wrote.
TEST_F(shared_models, the_ggml_rule_gives_llama_cpps_bytes) {
  const auto model = shared_data("models/stories-2m"), golden = shared_data("golden");
  SKIP_WITHOUT(model);
  SKIP_WITHOUT(golden);
  options.scale = eq::scale_rule::ggml;
  options.type = format::q8_0;
  expect_same_tensors(run(model), eq::read_gguf(golden / "stories-2m-q8_0.gguf"));
  options.type = format::q4_0;
  options.keep = {eq::parse_keep("^(token_embd|output)\\.weight$=q4_0")};
  expect_same_tensors(run(model), eq::read_gguf(golden / "stories-2m-q4_0.gguf"));
}

TEST_F(shared_models, a_checkpoint_and_its_gguf_give_the_same_tensors) {
  const auto model = shared_data("models/stories260K");
  SKIP_WITHOUT(model);
  const auto from_checkpoint = run(model);
  // ffn_down has rows of 172 values.
  EXPECT_EQ(report.notes.size(), 1u + 5u);
  fs::rename(folder / "out.gguf", folder / "first.gguf");
  const auto from_gguf = run(model / "stories260K-f32.gguf");
  EXPECT_EQ(report.notes.size(), 5u);
  EXPECT_TRUE(from_gguf.metadata.contains("tokenizer.ggml.tokens"));
  expect_same_tensors(from_gguf, eq::read_gguf(folder / "first.gguf"));
}

TEST_F(shared_models, outliers_and_four_dimensions_pass) {
  const auto model = shared_data("models/ocr-rec");
  SKIP_WITHOUT(model);
  for (const auto type : {format::q4_0, format::q8_0}) {
    options.type = type;
    const auto file = run(model);
    EXPECT_TRUE(std::any_of(file.tensors.begin(), file.tensors.end(),
                            [](const auto& t) { return t.dims.size() == 4; }));
    EXPECT_GT(report.error.figures().sqnr_db, 0.0);
  }
}

TEST_F(shared_models, layers_without_an_embedding_pass_with_a_note) {
  const auto model = shared_data("models/stories15M-layers");
  SKIP_WITHOUT(model);
  const auto file = run(model);
  ASSERT_EQ(report.notes.size(), 2u);
  EXPECT_NE(report.notes[0].find("lacks 1 tensor (first: token_embd.weight)"), std::string::npos)
      << report.notes[0];
  EXPECT_EQ(file.metadata.get_string("tokenizer.ggml.model"), "no_vocab");
}
} // namespace
