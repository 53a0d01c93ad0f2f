// SPDX-License-Identifier: MIT
// Every file of tests/golden/bad is refused, and the message says where. make_bad.py makes the
// files; the classes are those that went wrong in other parsers of model files.
#include "support.hpp"

#include <edgequant/model/open_model.hpp>

#include <set>

namespace {
using namespace io_test;
namespace fs = std::filesystem;

const fs::path folder = fs::path(EDGEQUANT_SOURCE_DIR) / "tests/golden/bad";

struct bad_file {
  const char* name;
  const char* message; ///< how it goes on after the file's name
  friend void PrintTo(const bad_file& file, std::ostream* out) { *out << file.name; }
};

// clang-format off
constexpr bad_file bad_files[] = {
    {"config-duplicate-field.json",
     ": key 'hidden_size': the key is there twice"},
    {"config-epsilon-below-f32.json",
     ": rms_norm_eps: expected a number from 1.4013e-45 to 3.40282e+38"},
    {"config-head-size-fills-memory.json",
     ": head_dim: more than 65536"},
    {"config-head-size-odd.json",
     ": head_dim: an odd head size has no RoPE pairs"},
    {"config-heads-0.json",
     ": num_attention_heads: expected a whole number from 1"},
    {"config-heads-no-divisor.json",
     ": num_attention_heads: hidden_size is no multiple of it"},
    {"config-hidden-size-as-text.json",
     ": hidden_size: expected a whole number from 1"},
    {"config-hidden-size-fraction.json",
     ": hidden_size: expected a whole number from 1"},
    {"config-kv-heads-0.json",
     ": num_key_value_heads: expected a whole number from 1"},
    {"config-kv-heads-no-divisor.json",
     ": num_key_value_heads: num_attention_heads is no multiple of it"},
    {"config-layers-beyond-int32.json",
     ": num_hidden_layers: expected a whole number from 1"},
    {"config-layers-negative.json",
     ": num_hidden_layers: expected a whole number from 1"},
    {"config-missing-hidden-size.json",
     ": hidden_size: the field is missing"},
    {"config-nested-too-deep.json",
     ": key 'a': JSON nested more than 16 deep"},
    {"config-no-object.json",
     ": expected a JSON object"},
    {"config-no-utf8.json",
     " at byte 18: invalid JSON"},
    {"config-number-out-of-range.json",
     ": key 'rms_norm_eps': invalid JSON: number overflow"},
    {"config-rope-base-negative.json",
     ": rope_theta: expected a number from 1.4013e-45 to 3.40282e+38"},
    {"config-rope-factor-0.json",
     ": rope_scaling.factor: expected a number from 1.4013e-45 to 3.40282e+38, not 0"},
    {"config-rope-range-empty.json",
     ": rope_scaling.high_freq_factor: expected more than low_freq_factor"},
    {"config-text-behind-object.json",
     " at byte 161: invalid JSON"},
    {"config-token-as-text.json",
     ": eos_token_id: expected the number of a token or a list of them"},
    {"config-truncated.json",
     " at byte 160: invalid JSON"},
    {"config-unknown-rope.json",
     ": rope_scaling.rope_type: 'ntk' is not supported; default, linear, dynamic, llama3, yarn and "
     "longrope are"},
    {"config-vocabulary-beyond-int32.json",
     ": vocab_size: expected a whole number from 1"},
    {"config-vocabulary-beyond-uint64.json",
     ": vocab_size: expected a whole number from 1"},
    {"gguf-alignment-0.gguf",
     ": key 'general.alignment': 0 is no power of two"},
    {"gguf-alignment-no-power-of-two.gguf",
     ": key 'general.alignment': 48 is no power of two"},
    {"gguf-alignment-overflows-padding.gguf",
     ": key 'general.alignment': 2147483648 is more than 16777216"},
    {"gguf-alignment-u64.gguf",
     ": key 'general.alignment': a value of type u64 where a u32 belongs"},
    {"gguf-array-count-beyond-file.gguf",
     ": key 'k' at byte 86: an array of 1000 values of type u8 where 198 bytes are left"},
    {"gguf-array-count-beyond-int32.gguf",
     ": key 'k' at byte 86: an array of 4294967297 values of type u8 where 198 bytes are left"},
    {"gguf-array-size-overflows.gguf",
     ": key 'k' at byte 86: an array of 2305843009213693952 values of type u64 where 198 bytes are left"},
    {"gguf-big-endian.gguf",
     " at byte 4: a big-endian GGUF file"},
    {"gguf-bool-2.gguf",
     ": key 'k' at byte 82: a bool of 2 where 0 or 1 belongs"},
    {"gguf-data-missing.gguf",
     ": tensor 'norm' at byte 160: 32 bytes of data, the file ends at byte 160"},
    {"gguf-data-truncated.gguf",
     ": tensor 'w' at byte 192: 68 bytes of data, the file ends at byte 259"},
    {"gguf-dim-0.gguf",
     ": tensor 't' at byte 155: dimension 1 is 0"},
    {"gguf-dims-inflated-beyond-data.gguf",
     ": tensor 'w' at byte 192: 34000 bytes of data, the file ends at byte 260"},
    {"gguf-dims-product-negative-as-int64.gguf",
     ": tensor 't' at byte 155: the product of its dimensions overflows"},
    {"gguf-dims-product-overflows.gguf",
     ": tensor 't' at byte 155: the product of its dimensions overflows"},
    {"gguf-dims-product-wraps-to-8.gguf",
     ": tensor 't' at byte 155: the product of its dimensions overflows"},
    {"gguf-duplicate-key.gguf",
     ": key 'k' at byte 83: the key is there twice"},
    {"gguf-duplicate-tensor.gguf",
     ": tensor 'norm' at byte 146: the tensor is there twice"},
    {"gguf-empty-key.gguf",
     ": key '' at byte 69: an empty key"},
    {"gguf-hole-between-tensors.gguf",
     ": tensor 't' at byte 171: offset 160 where 128 was expected"},
    {"gguf-key-count-beyond-file.gguf",
     " at byte 16: 99 keys cannot be in the 236 bytes left"},
    {"gguf-key-count-overflows-allocation.gguf",
     " at byte 16: 18446744073709551615 keys cannot be in the 236 bytes left"},
    {"gguf-key-length-beyond-file.gguf",
     " at byte 24: a key of 4611686018427387904 bytes where 196 are left"},
    {"gguf-key-of-control-bytes.gguf",
     ": key 'a\\x0a\\x1b[2J' at byte 83: unknown value type 99"},
    {"gguf-n-dims-0.gguf",
     ": tensor 't' at byte 155: 0 dimensions where 1 to 4 are possible"},
    {"gguf-n-dims-4294967295.gguf",
     ": tensor 't' at byte 155: 4294967295 dimensions where 1 to 4 are possible"},
    {"gguf-n-dims-5.gguf",
     ": tensor 't' at byte 155: 5 dimensions where 1 to 4 are possible"},
    {"gguf-nested-array-deep.gguf",
     ": key 'k' at byte 82: an array of arrays"},
    {"gguf-nested-array.gguf",
     ": key 'k' at byte 82: an array of arrays"},
    {"gguf-offset-beyond-file.gguf",
     ": tensor 't' at byte 171: offset 1099511627776 where 128 was expected"},
    {"gguf-offset-unaligned.gguf",
     ": tensor 't' at byte 171: offset 100 where 128 was expected"},
    {"gguf-offset-wraps-into-head.gguf",
     ": tensor 't' at byte 171: offset 18446744073709551552 where 128 was expected"},
    {"gguf-other-magic.gguf",
     " at byte 0: this is no GGUF file"},
    {"gguf-overlapping-tensors.gguf",
     ": tensor 't' at byte 171: offset 0 where 128 was expected"},
    {"gguf-removed-tensor-type.gguf",
     ": tensor 't' at byte 167: unknown tensor type 4"},
    {"gguf-row-no-multiple-of-block.gguf",
     ": tensor 't' at byte 155: rows of 48 values are no multiple of the 32 in a block of q8_0"},
    {"gguf-string-array-count-beyond-file.gguf",
     ": key 'tokenizer.ggml.tokens' at byte 106: an array of 1048576 values of type string where 178 bytes are left"},
    {"gguf-string-length-beyond-file.gguf",
     ": key 'k' at byte 82: a string of 1000 bytes where 202 are left"},
    {"gguf-string-length-beyond-uint32.gguf",
     ": key 'k' at byte 82: a string of 4294967297 bytes where 202 are left"},
    {"gguf-string-length-overflows-offset.gguf",
     ": key 'k' at byte 82: a string of 18446744073709551608 bytes where 202 are left"},
    {"gguf-sum-of-tensor-sizes-overflows.gguf",
     ": tensor 'u' at byte 179: the sum of the tensors' sizes overflows"},
    {"gguf-tensor-count-beyond-file.gguf",
     " at byte 8: 9 tensors cannot be in the 236 bytes left"},
    {"gguf-tensor-count-overflows-allocation.gguf",
     " at byte 8: 4611686018427387904 tensors cannot be in the 236 bytes left"},
    {"gguf-tensor-name-length-beyond-file.gguf",
     " at byte 105: a tensor name of 4611686018427387904 bytes where 147 are left"},
    {"gguf-tensor-name-of-64-bytes.gguf",
     ": tensor 'nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn' at byte 146: a name of 64 bytes, at most 63 fit"},
    {"gguf-tensor-padding-overflows.gguf",
     ": tensor 't' at byte 146: the sum of the tensors' sizes overflows"},
    {"gguf-tensor-size-overflows.gguf",
     ": tensor 't' at byte 155: its size in bytes overflows"},
    {"gguf-token-length-beyond-int32.gguf",
     ": key 'tokenizer.ggml.tokens' at byte 123: a string of 2147483648 bytes where 193 are left"},
    {"gguf-truncated-in-array-head.gguf",
     ": key 'k' at byte 86: an array length needs 8 bytes, 3 left"},
    {"gguf-truncated-in-dims.gguf",
     ": tensor 'norm' at byte 85: a dimension needs 8 bytes, 5 left"},
    {"gguf-truncated-in-head.gguf",
     " at byte 16: the key count needs 8 bytes, 4 left"},
    {"gguf-truncated-in-offset.gguf",
     ": tensor 'w' at byte 138: the data offset needs 8 bytes, 7 left"},
    {"gguf-truncated-in-value-type.gguf",
     ": key 'general.architecture' at byte 52: a value type needs 4 bytes, 2 left"},
    {"gguf-truncated-in-value.gguf",
     ": key 'general.architecture' at byte 56: a string of 5 bytes where 4 are left"},
    {"gguf-unknown-tensor-type.gguf",
     ": tensor 't' at byte 167: unknown tensor type 99"},
    {"gguf-unknown-value-type.gguf",
     ": key 'k' at byte 78: unknown value type 13"},
    {"gguf-version-2.gguf",
     " at byte 4: GGUF version 2, only 3 is read"},
    {"index-duplicate-tensor.json",
     ": key 'weight_map': key 'w': the key is there twice"},
    {"index-empty-weight-map.json",
     ": the weight_map is empty"},
    {"index-no-weight-map.json",
     ": no weight_map"},
    {"index-shard-absolute-path.json",
     ": tensor 'w': shard '/model.safetensors' is no plain name"},
    {"index-shard-in-parent-folder.json",
     ": tensor 'w': shard '../model.safetensors' is no plain name"},
    {"index-shard-no-string.json",
     ": tensor 'w': its shard is no string"},
    {"safetensors-bytes-behind-last-tensor.safetensors",
     " at byte 127: 1 byte that belong to no tensor"},
    {"safetensors-data-truncated.safetensors",
     ": tensor 'b': data_offsets 8 to 12 in 11 bytes of data"},
    {"safetensors-dim-0.safetensors",
     ": tensor 't': dimension 0 is 0"},
    {"safetensors-dim-beyond-uint64.safetensors",
     ": tensor 't': a dimension that is no unsigned 64-bit integer"},
    {"safetensors-dim-fraction.safetensors",
     ": tensor 't': a dimension that is no unsigned 64-bit integer"},
    {"safetensors-dim-negative.safetensors",
     ": tensor 't': a dimension that is no unsigned 64-bit integer"},
    {"safetensors-dtype-wider-than-offsets.safetensors",
     ": tensor 't': data_offsets 0 to 8, its shape needs 16 bytes"},
    {"safetensors-duplicate-field.safetensors",
     ": key 't': key 'shape': the key is there twice"},
    {"safetensors-duplicate-tensor.safetensors",
     ": key 't': the key is there twice"},
    {"safetensors-five-dims.safetensors",
     ": tensor 't': 5 dimensions where 1 to 4 are possible"},
    {"safetensors-header-begins-with-space.safetensors",
     " at byte 8: the header does not begin with {"},
    {"safetensors-header-empty.safetensors",
     " at byte 8: the header does not begin with {"},
    {"safetensors-header-length-beyond-file.safetensors",
     " at byte 0: a header of 1000 bytes, the file has 62 more and the limit is 100000000"},
    {"safetensors-header-length-overflows-offset.safetensors",
     " at byte 0: a header of 18446744073709551615 bytes, the file has 62 more and the limit is 100000000"},
    {"safetensors-header-nested-too-deep.safetensors",
     ": key 't': JSON nested more than 16 deep"},
    {"safetensors-header-no-object.safetensors",
     " at byte 8: the header does not begin with {"},
    {"safetensors-header-no-utf8.safetensors",
     " at byte 10: invalid JSON"},
    {"safetensors-header-over-the-limit.safetensors",
     " at byte 0: a header of 100000001 bytes, the file has 62 more and the limit is 100000000"},
    {"safetensors-header-truncated.safetensors",
     " at byte 38: invalid JSON"},
    {"safetensors-hole-before-first-tensor.safetensors",
     ": tensor 't' at byte 67: data offset 4 where 0 was expected"},
    {"safetensors-hole-between-tensors.safetensors",
     ": tensor 'b' at byte 124: data offset 9 where 8 was expected"},
    {"safetensors-metadata-no-string.safetensors",
     ": key '__metadata__': key 'format': no string"},
    {"safetensors-missing-dtype.safetensors",
     ": tensor 't': no dtype"},
    {"safetensors-missing-offsets.safetensors",
     ": tensor 't': no data_offsets"},
    {"safetensors-missing-shape.safetensors",
     ": tensor 't': no shape"},
    {"safetensors-name-of-control-bytes.safetensors",
     ": tensor 'a\\x0a\\x1b[2J': data_offsets 0 to 8, its shape needs 12 bytes"},
    {"safetensors-number-out-of-range.safetensors",
     ": key 't': key 'x': invalid JSON: number overflow"},
    {"safetensors-offset-beyond-file.safetensors",
     ": tensor 't': data_offsets 1099511627776 to 1099511627784 in 8 bytes of data"},
    {"safetensors-offset-negative.safetensors",
     ": tensor 't': a data offset that is no unsigned 64-bit integer"},
    {"safetensors-offsets-reversed.safetensors",
     ": tensor 't': data_offsets 8 to 0 in 8 bytes of data"},
    {"safetensors-offsets-wrap.safetensors",
     ": tensor 't': data_offsets 18446744073709551608 to 0 in 8 bytes of data"},
    {"safetensors-overlapping-tensors.safetensors",
     ": tensor 'b' at byte 121: data offset 6 where 8 was expected"},
    {"safetensors-shape-inflated-beyond-data.safetensors",
     ": tensor 't': data_offsets 0 to 8, its shape needs 4000 bytes"},
    {"safetensors-shape-product-overflows.safetensors",
     ": tensor 't': the product of its dimensions overflows"},
    {"safetensors-shape-product-wraps-to-2.safetensors",
     ": tensor 't': the product of its dimensions overflows"},
    {"safetensors-tensor-no-object.safetensors",
     ": tensor 't': no JSON object"},
    {"safetensors-tensor-size-overflows.safetensors",
     ": tensor 't': its size in bytes overflows"},
    {"safetensors-three-offsets.safetensors",
     ": tensor 't': no data_offsets"},
    {"safetensors-truncated-in-header-length.safetensors",
     " at byte 0: the header length needs 8 bytes, 7 left"},
    {"safetensors-unknown-dtype.safetensors",
     ": dtype F8_E4M3 of tensor 't' is not supported"},
    {"tokenizer-added-id-beyond-int32.json",
     ": field 'id of 'x'': expected a whole number below 1048580"},
    {"tokenizer-added-token-without-content.json",
     ": field 'content': the field is missing"},
    {"tokenizer-added-tokens-as-text.json",
     ": field 'added_tokens': expected an array"},
    {"tokenizer-duplicate-id.json",
     ": field 'id of 'b'': 0 is already that of 'a'"},
    {"tokenizer-duplicate-token.json",
     ": key 'model': key 'a': the key is there twice"},
    {"tokenizer-empty-piece.model",
     " at byte 2: a piece without text"},
    {"tokenizer-empty-vocabulary.json",
     ": field 'model.vocab': expected tokens and ids"},
    {"tokenizer-field-0.model",
     " at byte 12: no protobuf tag"},
    {"tokenizer-group-nested.model",
     " at byte 12: protobuf wire type 3"},
    {"tokenizer-id-beyond-uint64.json",
     ": field 'id of 'a'': expected a whole number below 1048577"},
    {"tokenizer-id-fills-memory.json",
     ": field 'id of 'b'': expected a whole number below 1048578"},
    {"tokenizer-id-fraction.json",
     ": field 'id of 'a'': expected a whole number below 1048577"},
    {"tokenizer-id-negative.json",
     ": field 'id of 'a'': expected a whole number below 1048577"},
    {"tokenizer-merge-of-one.json",
     ": field 'model.merges': merge 0 is no pair of tokens"},
    {"tokenizer-merge-of-three.json",
     ": field 'model.merges': merge 0 is no pair of tokens"},
    {"tokenizer-merges-missing.json",
     ": field 'merges': the field is missing"},
    {"tokenizer-nested-too-deep.json",
     ": key 'model': key 'merges': JSON nested more than 16 deep"},
    {"tokenizer-no-pieces.model",
     " at byte 4: no pieces"},
    {"tokenizer-normalizer-as-number.model",
     " at byte 12: the normalizer in wire type 0"},
    {"tokenizer-other-model.json",
     ": field 'model.type': only BPE is supported"},
    {"tokenizer-piece-length-beyond-file.model",
     " at byte 14: a piece needs 100 bytes, 1 left"},
    {"tokenizer-piece-length-beyond-int32.model",
     " at byte 18: a piece needs 4294967299 bytes, 3 left"},
    {"tokenizer-piece-length-overflows-offset.model",
     " at byte 23: a piece needs 18446744073709551615 bytes, 0 left"},
    {"tokenizer-piece-without-text.model",
     " at byte 14: a piece without text"},
    {"tokenizer-score-infinite.model",
     " at byte 5: a score that is not finite"},
    {"tokenizer-score-nan.model",
     " at byte 5: a score that is not finite"},
    {"tokenizer-text-as-number.model",
     " at byte 2: a piece's text in wire type 0"},
    {"tokenizer-text-length-beyond-piece.model",
     " at byte 4: a piece's text needs 9 bytes, 1 left"},
    {"tokenizer-truncated-in-score.model",
     " at byte 18: a piece's score needs 4 bytes, 2 left"},
    {"tokenizer-truncated-in-varint.model",
     " at byte 14: a varint needs 1 byte, 0 left"},
    {"tokenizer-truncated.json",
     " at byte 100: invalid JSON"},
    {"tokenizer-type-7.model",
     " at byte 10: piece type 7"},
    {"tokenizer-type-as-text.model",
     " at byte 17: a piece's type in wire type 2"},
    {"tokenizer-type-beyond-int32.model",
     " at byte 10: piece type 4294967297"},
    {"tokenizer-varint-endless.model",
     " at byte 13: a varint of more than 64 bits"},
    {"tokenizer-varint-over-64-bits.model",
     " at byte 13: a varint of more than 64 bits"},
    {"tokenizer-vocabulary-as-array.json",
     ": field 'model.vocab': expected tokens and ids"},
    {"tokenizer-wire-type-7.model",
     " at byte 12: protobuf wire type 7"},
};
// clang-format on

void read_config(const fs::path& path) {
  const auto json = eq::parse_json(eq::read_text_file(path), eq::place_of(path));
  (void)eq::parse_checkpoint_config(json, eq::place_of(path));
}

/// Reads the file as what its name says. An index needs its own name and a folder, given here.
void read(const fs::path& path, const fs::path& index) {
  const auto name = path.filename().string();
  if (name.starts_with("config-"))
    read_config(path);
  else if (name.starts_with("tokenizer-") && path.extension() == ".json")
    (void)eq::read_tokenizer_json(path);
  else if (name.starts_with("tokenizer-"))
    (void)eq::read_sentencepiece(path);
  else if (name.starts_with("index-"))
    fs::copy_file(path, index), (void)eq::open_model(index);
  else
    (void)eq::open_model(path);
}

class bad_files_are_refused : public testing::TestWithParam<bad_file> {};

TEST_P(bad_files_are_refused, with_their_place) {
  const auto path = folder / GetParam().name;
  ASSERT_TRUE(fs::exists(path));
  temporary_folder here;
  const auto index = here / "model.safetensors.index.json";
  try {
    read(path, index);
    FAIL() << "was read";
  } catch (const eq::exception& error) {
    const auto wanted = eq::place_of(fs::exists(index) ? index : path) + GetParam().message;
    EXPECT_EQ(std::string(error.what()).substr(0, wanted.size()), wanted);
    EXPECT_EQ(error.code(), eq::error_code::bad_file);
    EXPECT_TRUE(is_one_line(error.what()));
  }
}

INSTANTIATE_TEST_SUITE_P(io, bad_files_are_refused, testing::ValuesIn(bad_files),
                         [](const auto& item) {
                           std::string name = fs::path(item.param.name).stem().string();
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

TEST(bad_files, each_has_a_row) {
  std::set<std::string> rows, files;
  for (const auto& file : bad_files) EXPECT_TRUE(rows.insert(file.name).second) << file.name;
  for (const auto& entry : fs::directory_iterator(folder)) {
    files.insert(entry.path().filename().string());
    EXPECT_LE(entry.file_size(), 4096u) << entry.path();
  }
  EXPECT_EQ(rows, files);
}

// A template in the metadata is text: it is carried, and nothing here runs it.
TEST(bad_files, a_template_is_only_text) {
  const std::string text = "{{ ''.__class__.__mro__[1].__subclasses__() }}\n{% for x in y %}";
  eq::gguf_metadata metadata;
  metadata.set("tokenizer.chat_template", text);
  EXPECT_EQ(metadata.get_string("tokenizer.chat_template"), text);
}
} // namespace
