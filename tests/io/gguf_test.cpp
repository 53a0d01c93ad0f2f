// SPDX-License-Identifier: MIT
#include "support.hpp"

#include <edgequant/io/gguf.hpp>

#include <chrono>
#include <functional>
#include <optional>

namespace {
using namespace io_test;

/// The bytes of a GGUF file, part by part, so that a test can spoil one.
struct raw_gguf {
  std::uint32_t magic = eq::gguf_magic, version = 3;
  std::uint64_t tensors = 0, keys = 0;
  bytes entries, infos, data;
  std::uint64_t alignment = 32;

  static void text(bytes& out, std::string_view value) {
    eq::append_number(out, std::uint64_t{value.size()});
    eq::append_text(out, value);
  }
  template <class... T> raw_gguf& key(std::string_view name, std::uint32_t type, T... value) {
    ++keys;
    text(entries, name);
    eq::append_number(entries, type);
    (eq::append_number(entries, value), ...);
    return *this;
  }
  raw_gguf& tensor(std::string_view name, const std::vector<std::uint64_t>& dims,
                   std::uint32_t type, std::uint64_t offset,
                   std::optional<std::uint32_t> n_dims = {}) {
    ++tensors;
    text(infos, name);
    eq::append_number(infos, n_dims.value_or(static_cast<std::uint32_t>(dims.size())));
    for (const auto dim : dims) eq::append_number(infos, dim);
    eq::append_number(infos, type);
    eq::append_number(infos, offset);
    return *this;
  }
  bytes file() const {
    bytes out;
    eq::append_number(out, magic);
    eq::append_number(out, version);
    eq::append_number(out, tensors);
    eq::append_number(out, keys);
    out.insert(out.end(), entries.begin(), entries.end());
    out.insert(out.end(), infos.begin(), infos.end());
    out.resize(*eq::align_up(out.size(), alignment));
    out.insert(out.end(), data.begin(), data.end());
    return out;
  }
};

constexpr std::uint32_t u8 = 0, u32 = 4, boolean = 7, string = 8, array = 9, u64 = 10;
constexpr std::uint32_t f32 = 0, q8_0 = 8;

/// Two keys and two tensors: 3 x 2 floats at 0, 32 x 2 of q8_0 at 32.
raw_gguf small() {
  raw_gguf g;
  g.key("general.quantization_version", u32, 2u);
  g.key("a.bools", array, boolean, std::uint64_t{2}, std::uint16_t{0x0100});
  g.tensor("norm", {3, 2}, f32, 0).tensor("blk.0.w", {32, 2}, q8_0, 32);
  for (int i = 0; i < 100; ++i) g.data.push_back(static_cast<std::byte>(i));
  return g;
}

std::string refusal(const bytes& file) {
  return message_of([&] { return eq::parse_gguf(file, "m.gguf"); });
}

TEST(gguf, reads_metadata_and_tensors) {
  const auto file = small().file();
  const auto g = eq::parse_gguf(file, "m.gguf");
  EXPECT_EQ(g.metadata.size(), 2u);
  EXPECT_EQ(g.metadata.get_uint("general.quantization_version"), 2u);
  EXPECT_EQ(g.alignment, 32u);
  EXPECT_EQ(g.data_offset % 32, 0u);
  EXPECT_EQ(g.file, nullptr);
  ASSERT_EQ(g.tensors.size(), 2u);
  const auto& norm = g.tensors[0];
  EXPECT_EQ(norm.name, "norm");
  EXPECT_EQ(norm.type, eq::format::f32);
  EXPECT_EQ(norm.columns(), 3u);
  EXPECT_EQ(norm.rows(), 2u);
  EXPECT_EQ(norm.values(), 6u);
  EXPECT_EQ(norm.data.data(), file.data() + g.data_offset);
  EXPECT_EQ(norm.data.size(), 24u);
  EXPECT_EQ(g.tensors[1].data.data(), file.data() + g.data_offset + 32);
  EXPECT_EQ(g.tensors[1].data.size(), 68u);
}

TEST(gguf, takes_a_file_without_tensors_and_bytes_behind_the_data) {
  raw_gguf g;
  auto file = g.file();
  file.resize(24); // no padding either
  EXPECT_EQ(refusal(file), "");
  file = small().file();
  file.resize(file.size() + 1000);
  EXPECT_EQ(refusal(file), "");
}

TEST(gguf, the_alignment_of_the_file_counts) {
  raw_gguf g;
  g.alignment = 64;
  g.key("general.alignment", u32, 64u).tensor("a", {1}, f32, 0).tensor("b", {1}, f32, 64);
  g.data.resize(68);
  const auto file = g.file();
  const auto parsed = eq::parse_gguf(file, "m.gguf");
  EXPECT_EQ(parsed.alignment, 64u);
  EXPECT_EQ(parsed.data_offset % 64, 0u);
  EXPECT_EQ(parsed.tensors[1].data.data(), file.data() + parsed.data_offset + 64);
}

TEST(gguf, one_byte_values_of_every_known_type_are_read) {
  for (const auto& row : eq::format_table) {
    raw_gguf g;
    g.tensor("t", {256, 2}, static_cast<std::uint32_t>(row.id), 0);
    g.data.resize(2 * eq::row_bytes(row.id, 256));
    const auto file = g.file();
    const auto parsed = eq::parse_gguf(file, "m.gguf");
    EXPECT_EQ(parsed.tensors[0].type, row.id);
    EXPECT_EQ(parsed.tensors[0].data.size(), g.data.size());
  }
}

struct refused_case {
  const char* name;
  std::function<void(raw_gguf&)> spoil;
  const char* message; // after "m.gguf"
  friend void PrintTo(const refused_case& item, std::ostream* out) { *out << item.name; }
};

class gguf_refuses : public testing::TestWithParam<refused_case> {};

TEST_P(gguf_refuses, by_name) {
  auto g = small();
  GetParam().spoil(g);
  const auto message = refusal(g.file());
  EXPECT_EQ(message, std::string("m.gguf") + GetParam().message);
  EXPECT_TRUE(is_one_line(message));
}

constexpr std::uint64_t huge = std::uint64_t{1} << 62;
const std::string name64(64, 'n');

INSTANTIATE_TEST_SUITE_P(
    io, gguf_refuses,
    testing::Values(
        refused_case{"other_magic", [](auto& g) { g.magic ^= 1; },
                     " at byte 0: this is no GGUF file"},
        refused_case{"big_endian", [](auto& g) { g.version = 0x03000000; },
                     " at byte 4: a big-endian GGUF file"},
        refused_case{"version_2", [](auto& g) { g.version = 2; },
                     " at byte 4: GGUF version 2, only 3 is read"},
        refused_case{"version_0", [](auto& g) { g.version = 0; },
                     " at byte 4: GGUF version 0, only 3 is read"},
        refused_case{"tensor_count", [](auto& g) { g.tensors = huge; },
                     " at byte 8: 4611686018427387904 tensors cannot be in the 268 bytes left"},
        refused_case{"key_count", [](auto& g) { g.keys = 20; },
                     " at byte 16: 20 keys cannot be in the 268 bytes left"},
        refused_case{"empty_key", [](auto& g) { g.key("", u8, u8); },
                     ": key '' at byte 101: an empty key"},
        refused_case{"key_twice", [](auto& g) { g.key("a.bools", u8, u8); },
                     ": key 'a.bools' at byte 101: the key is there twice"},
        refused_case{"key_with_control_bytes_twice",
                     [](auto& g) { g.key("\n\x1b", u32, 1u).key("\n\x1b", u32, 1u); },
                     ": key '\\x0a\\x1b' at byte 119: the key is there twice"},
        refused_case{"key_length",
                     [](auto& g) {
                       ++g.keys;
                       eq::append_number(g.entries, huge);
                     },
                     " at byte 101: a key of 4611686018427387904 bytes where 215 are left"},
        refused_case{"value_type", [](auto& g) { g.key("k", 13); },
                     ": key 'k' at byte 110: unknown value type 13"},
        refused_case{"string_length", [](auto& g) { g.key("k", string, std::uint64_t{999}); },
                     ": key 'k' at byte 114: a string of 999 bytes where 202 are left"},
        refused_case{"array_length", [](auto& g) { g.key("k", array, u64, std::uint64_t{99}); },
                     ": key 'k' at byte 118: an array of 99 values of type u64 where 198 bytes are "
                     "left"},
        refused_case{"array_length_times_size_overflows",
                     [](auto& g) { g.key("k", array, u64, std::uint64_t{1} << 61); },
                     ": key 'k' at byte 118: an array of 2305843009213693952 values of type u64 "
                     "where 198 bytes are left"},
        refused_case{"string_array_length",
                     [](auto& g) { g.key("k", array, string, std::uint64_t{25}); },
                     ": key 'k' at byte 118: an array of 25 values of type string where 198 bytes "
                     "are left"},
        refused_case{"nested_array", [](auto& g) { g.key("k", array, array, std::uint64_t{0}); },
                     ": key 'k' at byte 114: an array of arrays"},
        refused_case{"bool_2", [](auto& g) { g.key("k", boolean, std::uint8_t{2}); },
                     ": key 'k' at byte 114: a bool of 2 where 0 or 1 belongs"},
        refused_case{
            "bool_2_in_an_array",
            [](auto& g) { g.key("k", array, boolean, std::uint64_t{2}, std::uint16_t{0x0201}); },
            ": key 'k' at byte 127: a bool of 2 where 0 or 1 belongs"},
        refused_case{"alignment_0", [](auto& g) { g.key("general.alignment", u32, 0u); },
                     ": key 'general.alignment': 0 is no power of two"},
        refused_case{"alignment_33", [](auto& g) { g.key("general.alignment", u32, 33u); },
                     ": key 'general.alignment': 33 is no power of two"},
        refused_case{"alignment_u64",
                     [](auto& g) { g.key("general.alignment", u64, std::uint64_t{32}); },
                     ": key 'general.alignment': a value of type u64 where a u32 belongs"}),
    [](const auto& value) { return value.param.name; });

INSTANTIATE_TEST_SUITE_P(
    io_tensors, gguf_refuses,
    testing::Values(
        refused_case{"tensor_twice", [](auto& g) { g.tensor("norm", {1}, f32, 128); },
                     ": tensor 'norm' at byte 192: the tensor is there twice"},
        refused_case{
            "name_of_64_bytes", [](auto& g) { g.tensor(name64, {1}, f32, 128); },
            ": tensor 'nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn' at "
            "byte 192: a name of 64 bytes, at most 63 fit"},
        refused_case{"no_dims", [](auto& g) { g.tensor("t", {}, f32, 128); },
                     ": tensor 't' at byte 201: 0 dimensions where 1 to 4 are possible"},
        refused_case{"five_dims",
                     [](auto& g) {
                       g.tensor("t", {1, 1, 1, 1, 1}, f32, 128);
                     },
                     ": tensor 't' at byte 201: 5 dimensions where 1 to 4 are possible"},
        refused_case{"billions_of_dims", [](auto& g) { g.tensor("t", {1}, f32, 128, ~0u); },
                     ": tensor 't' at byte 201: 4294967295 dimensions where 1 to 4 are possible"},
        refused_case{"dim_0",
                     [](auto& g) {
                       g.tensor("t", {3, 0}, f32, 128);
                     },
                     ": tensor 't' at byte 201: dimension 1 is 0"},
        refused_case{"dims_wrap_64_bits",
                     [](auto& g) {
                       g.tensor("t", {std::uint64_t{1} << 32, huge >> 29}, f32, 128);
                     },
                     ": tensor 't' at byte 201: the product of its dimensions overflows"},
        refused_case{"dims_wrap_to_little",
                     [](auto& g) {
                       g.tensor("t", {huge, 4, 4}, f32, 128);
                     },
                     ": tensor 't' at byte 201: the product of its dimensions overflows"},
        refused_case{"bytes_overflow", [](auto& g) { g.tensor("t", {huge}, f32, 128); },
                     ": tensor 't' at byte 201: its size in bytes overflows"},
        refused_case{"sum_overflows",
                     [](auto& g) {
                       g.tensor("t", {huge / 2 + huge / 4}, f32, 128)
                           .tensor("u", {huge / 2}, f32, 13835058055282163840u);
                     },
                     ": tensor 'u' at byte 225: the sum of the tensors' sizes overflows"},
        refused_case{"unknown_type", [](auto& g) { g.tensor("t", {1}, 4, 128); },
                     ": tensor 't' at byte 213: unknown tensor type 4"},
        refused_case{"row_of_half_a_block",
                     [](auto& g) {
                       g.tensor("t", {48, 2}, q8_0, 128);
                     },
                     ": tensor 't' at byte 201: rows of 48 values are no multiple of the 32 in a "
                     "block of q8_0"},
        refused_case{"offset_with_a_hole", [](auto& g) { g.tensor("t", {1}, f32, 160); },
                     ": tensor 't' at byte 217: offset 160 where 128 was expected"},
        refused_case{"offset_that_overlaps", [](auto& g) { g.tensor("t", {1}, f32, 0); },
                     ": tensor 't' at byte 217: offset 0 where 128 was expected"},
        refused_case{"data_beyond_the_end", [](auto& g) { g.tensor("t", {1}, f32, 128); },
                     ": tensor 't' at byte 384: 4 bytes of data, the file ends at byte 356"},
        refused_case{"data_cut", [](auto& g) { g.data.pop_back(); },
                     ": tensor 'blk.0.w' at byte 224: 68 bytes of data, the file ends at byte 291"},
        refused_case{"name_of_control_bytes", [](auto& g) { g.tensor("\r\x7f", {1}, 4, 128); },
                     ": tensor '\\x0d\\x7f' at byte 214: unknown tensor type 4"}),
    [](const auto& value) { return value.param.name; });

TEST(gguf, truncation_at_every_byte_is_refused) {
  const auto file = small().file();
  for (std::size_t n = 0; n < file.size(); ++n) {
    const bytes cut(file.begin(), file.begin() + static_cast<std::ptrdiff_t>(n));
    const auto message = refusal(cut);
    EXPECT_TRUE(is_one_line(message)) << n;
    EXPECT_EQ(message.rfind("m.gguf", 0), 0u) << message;
  }
  EXPECT_EQ(refusal(file), "");
}

TEST(gguf, random_changes_are_read_or_refused) {
  mutate(small().file(), 20000, [](const bytes& file) { return eq::parse_gguf(file, "m.gguf"); });
}

TEST(gguf, many_names_take_no_quadratic_time) {
  raw_gguf g;
  constexpr std::uint64_t count = 50000; // quadratic: 1.25e9 comparisons each, minutes under ASan
  for (std::uint64_t i = 0; i < count; ++i) {
    g.key("k" + std::to_string(i), u8, std::uint8_t{1});
    g.tensor("t" + std::to_string(i), {8}, f32, 32 * i);
  }
  g.data.resize(32 * count);
  const auto file = g.file();
  const auto start = std::chrono::steady_clock::now();
  EXPECT_EQ(eq::parse_gguf(file, "m.gguf").tensors.size(), count);
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(20));
}

TEST(gguf, the_shared_files_are_read) {
  const auto path = shared_data("golden/stories-2m-q4_0.gguf");
  SKIP_WITHOUT(path);
  const auto g = eq::read_gguf(path);
  EXPECT_EQ(g.metadata.get_string("general.architecture"), "llama");
  EXPECT_EQ(g.metadata.get_strings("tokenizer.ggml.tokens")->size(), 1024u);
  EXPECT_EQ(g.metadata.get_floats("tokenizer.ggml.scores")->size(), 1024u);
  EXPECT_EQ(g.metadata.get_ints("tokenizer.ggml.token_type")->size(), 1024u);
  ASSERT_NE(g.file, nullptr);
  for (const auto& tensor : g.tensors) EXPECT_EQ(tensor.file, g.file);
  const auto& last = g.tensors.back().data;
  EXPECT_LE(last.data() + last.size(), g.file->bytes().data() + g.file->bytes().size());
}
} // namespace
