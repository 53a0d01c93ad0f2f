// SPDX-License-Identifier: MIT
#include "support.hpp"

#include <edgequant/io/safetensors.hpp>

#include <cstring>
#include <set>

namespace {
using namespace io_test;

bytes file_of(std::string_view header, std::size_t data) {
  bytes out;
  eq::append_number(out, std::uint64_t{header.size()});
  eq::append_text(out, header);
  for (std::size_t i = 0; i < data; ++i) out.push_back(static_cast<std::byte>(i));
  return out;
}

std::string entry(std::string_view dtype, std::string_view shape, int begin, int end) {
  return std::string(R"({"dtype":")").append(dtype).append(R"(","shape":)").append(shape) +
         R"(,"data_offsets":[)" + std::to_string(begin) + "," + std::to_string(end) + "]}";
}

// The names are in another order than the data.
const std::string small_header =
    R"({"__metadata__":{"format":"pt"},"w":)" + entry("F32", "[2,3]", 0, 24) + R"(,"b":)" +
    entry("BF16", "[4]", 24, 32) + R"(,"s":)" + entry("I64", "[]", 32, 40) + "}  ";

std::string refusal(const bytes& file) {
  return message_of([&] { return eq::parse_safetensors(file, "m.safetensors"); });
}
std::string refusal(std::string_view header, std::size_t data) {
  const auto message = refusal(file_of(header, data));
  EXPECT_TRUE(is_one_line(message));
  return message;
}

TEST(safetensors, reads_tensors_in_the_order_of_the_data) {
  const auto file = file_of(small_header, 40);
  const auto model = eq::parse_safetensors(file, "m.safetensors");
  EXPECT_EQ(model.metadata, (std::map<std::string, std::string>{{"format", "pt"}}));
  ASSERT_EQ(model.tensors.size(), 3u);
  EXPECT_EQ(model.tensors[0].name, "w");
  EXPECT_EQ(model.tensors[0].dims, (std::vector<std::uint64_t>{3, 2})); // reversed
  EXPECT_EQ(model.tensors[0].type, eq::format::f32);
  EXPECT_EQ(model.tensors[0].data.data(), file.data() + 8 + small_header.size());
  EXPECT_EQ(model.tensors[1].name, "b");
  EXPECT_EQ(model.tensors[1].type, eq::format::bf16);
  EXPECT_EQ(model.tensors[1].data.size(), 8u);
  EXPECT_EQ(model.tensors[2].dims, (std::vector<std::uint64_t>{1})); // no axes: one value
  EXPECT_EQ(model.tensors[2].type, eq::format::i64);
}

TEST(safetensors, knows_eight_dtypes) {
  for (const auto& [name, size] : std::map<std::string, int>{{"F64", 8},
                                                             {"F32", 4},
                                                             {"F16", 2},
                                                             {"BF16", 2},
                                                             {"I8", 1},
                                                             {"I16", 2},
                                                             {"I32", 4},
                                                             {"I64", 8}}) {
    const auto file = file_of(R"({"t":)" + entry(name, "[1,2,3,4]", 0, 24 * size) + "}",
                              static_cast<std::size_t>(24 * size));
    const auto model = eq::parse_safetensors(file, "m.safetensors");
    EXPECT_EQ(eq::info_of(model.tensors[0].type).block_bytes, static_cast<unsigned>(size));
    EXPECT_EQ(model.tensors[0].columns(), 4u);
  }
}

TEST(safetensors, refuses_a_header_that_is_none) {
  EXPECT_EQ(refusal(bytes_of("1234567")),
            "m.safetensors at byte 0: the header length needs 8 bytes, 7 left");
  bytes file;
  eq::append_number(file, std::uint64_t{100'000'001});
  EXPECT_EQ(refusal(file), "m.safetensors at byte 0: a header of 100000001 bytes, the file has 0 "
                           "more and the limit is 100000000");
  file.clear();
  eq::append_number(file, ~std::uint64_t{0});
  EXPECT_NE(refusal(file), "");
  EXPECT_EQ(refusal(" {}", 0), "m.safetensors at byte 8: the header does not begin with {");
  EXPECT_EQ(refusal("", 0), "m.safetensors at byte 8: the header does not begin with {");
  EXPECT_EQ(refusal("{", 0).rfind("m.safetensors at byte 9: invalid JSON", 0), 0u);
  EXPECT_EQ(refusal(R"({"t":1,"t":1})", 0), "m.safetensors: key 't': the key is there twice");
  EXPECT_EQ(refusal(R"({"t":)" + std::string(100, '[') + "}", 0),
            "m.safetensors: key 't': JSON nested more than 16 deep");
  EXPECT_EQ(refusal(R"({"__metadata__":{"a":1}})", 0),
            "m.safetensors: key '__metadata__': key 'a': no string");
}

TEST(safetensors, refuses_entries_without_their_parts) {
  const auto t = std::string("m.safetensors: tensor 't': ");
  EXPECT_EQ(refusal(R"({"t":[]})", 0), t + "no JSON object");
  EXPECT_EQ(refusal(R"({"t":{"shape":[1],"data_offsets":[0,4]}})", 4), t + "no dtype");
  EXPECT_EQ(refusal(R"({"t":{"dtype":"F32","data_offsets":[0,4]}})", 4), t + "no shape");
  EXPECT_EQ(refusal(R"({"t":{"dtype":"F32","shape":[1]}})", 4), t + "no data_offsets");
  EXPECT_EQ(refusal(R"({"t":{"dtype":"F32","shape":[1],"data_offsets":[0]}})", 4),
            t + "no data_offsets");
  const auto integer = " that is no unsigned 64-bit integer";
  EXPECT_EQ(refusal(R"({"t":)" + entry("F32", "[-1]", 0, 4) + "}", 4), t + "a dimension" + integer);
  EXPECT_EQ(refusal(R"({"t":)" + entry("F32", "[1.0]", 0, 4) + "}", 4),
            t + "a dimension" + integer);
  EXPECT_EQ(refusal(R"({"t":)" + entry("F32", "[1]", -4, 0) + "}", 4),
            t + "a data offset" + integer);
}

TEST(safetensors, refuses_dtypes_that_it_does_not_know) {
  for (const std::string name : {"U8", "BOOL", "F8_E4M3", "q8_0", "f32", ""})
    EXPECT_EQ(refusal(R"({"t\n":)" + entry(name, "[1]", 0, 1) + "}", 1),
              "m.safetensors: dtype " + name + " of tensor 't\\x0a' is not supported");
}

TEST(safetensors, refuses_shapes) {
  const auto t = std::string("m.safetensors: tensor 't': ");
  EXPECT_EQ(refusal(R"({"t":)" + entry("F32", "[1,1,1,1,1]", 0, 4) + "}", 4),
            t + "5 dimensions where 1 to 4 are possible");
  EXPECT_EQ(refusal(R"({"t":)" + entry("F32", "[0]", 0, 0) + "}", 0), t + "dimension 0 is 0");
  EXPECT_EQ(refusal(R"({"t":)" + entry("F32", "[4294967296,4294967296]", 0, 4) + "}", 4),
            t + "the product of its dimensions overflows");
  EXPECT_EQ(refusal(R"({"t":)" + entry("F32", "[4611686018427387904]", 0, 4) + "}", 4),
            t + "its size in bytes overflows");
  EXPECT_EQ(refusal(R"({"t":)" + entry("F32", "[2]", 0, 4) + "}", 4),
            t + "data_offsets 0 to 4, its shape needs 8 bytes");
}

TEST(safetensors, refuses_holes_overlaps_and_rests) {
  const auto two = [](int a, int b, int c, int d, std::size_t data) {
    return refusal(file_of(
        R"({"a":)" + entry("I8", "[4]", a, b) + R"(,"b":)" + entry("I8", "[4]", c, d) + "}", data));
  };
  EXPECT_EQ(two(0, 4, 4, 8, 8), "");
  EXPECT_NE(two(0, 4, 5, 9, 9).find("data offset 5 where 4 was expected"), std::string::npos);
  EXPECT_NE(two(0, 4, 3, 7, 7).find("data offset 3 where 4 was expected"), std::string::npos);
  EXPECT_NE(two(0, 4, 0, 4, 4).find("data offset 0 where 4 was expected"), std::string::npos);
  EXPECT_NE(two(1, 5, 5, 9, 9).find("data offset 1 where 0 was expected"), std::string::npos);
  EXPECT_NE(two(0, 4, 4, 8, 9).find(": 1 byte that belong to no tensor"), std::string::npos);
  EXPECT_EQ(two(0, 4, 4, 8, 7),
            "m.safetensors: tensor 'b': data_offsets 4 to 8 in 7 bytes of data");
  EXPECT_EQ(two(4, 0, 4, 8, 8),
            "m.safetensors: tensor 'a': data_offsets 4 to 0 in 8 bytes of data");
}

TEST(safetensors, truncation_at_every_byte_is_refused) {
  const auto file = file_of(small_header, 40);
  for (std::size_t n = 0; n < file.size(); ++n)
    EXPECT_TRUE(
        is_one_line(refusal(bytes(file.begin(), file.begin() + static_cast<std::ptrdiff_t>(n)))))
        << n;
}

TEST(safetensors, random_changes_are_read_or_refused) {
  mutate(file_of(small_header, 40), 10000,
         [](const bytes& file) { return eq::parse_safetensors(file, "m.safetensors"); });
}

class safetensors_folder : public testing::Test {
protected:
  temporary_folder folder;

  void shard(std::string_view name, const std::vector<std::string>& tensors) {
    std::string header = "{";
    int at = 0;
    for (const auto& tensor : tensors) {
      header += (at ? ",\"" : "\"") + tensor + "\":" + entry("I8", "[4]", at, at + 4);
      at += 4;
    }
    write_all(folder / name, eq::as_text(file_of(header + "}", static_cast<std::size_t>(at))));
  }
  void index(std::string_view map) {
    write_all(folder / "model.safetensors.index.json",
              std::string(R"({"metadata":{},"weight_map":)").append(map) + "}");
  }
  std::string read() {
    return message_of([&] { return eq::read_safetensors(folder.path); });
  }
  std::string at(std::string_view name) const { return (folder / name).string() + ": "; }
};

TEST_F(safetensors_folder, shards_are_read_in_the_order_of_their_names) {
  shard("model-2.safetensors", {"a", "z"});
  shard("model-1.safetensors", {"m"});
  index(R"({"a":"model-2.safetensors","m":"model-1.safetensors","z":"model-2.safetensors"})");
  const auto model = eq::read_safetensors(folder.path);
  ASSERT_EQ(model.tensors.size(), 3u);
  EXPECT_EQ(model.tensors[0].name + model.tensors[1].name + model.tensors[2].name, "maz");
  EXPECT_EQ(model.folder, folder.path);
  EXPECT_EQ(model.tensors[1].file, model.tensors[2].file);
  EXPECT_NE(model.tensors[0].file, model.tensors[1].file);
}

TEST_F(safetensors_folder, index_and_shards_must_agree) {
  shard("1.safetensors", {"a", "b"});
  shard("2.safetensors", {"b"});
  index(R"({"a":"1.safetensors"})");
  EXPECT_EQ(read(), at("1.safetensors") + "tensor 'b': the index does not name it");
  index(R"({"a":"1.safetensors","b":"2.safetensors"})");
  EXPECT_EQ(read(), at("1.safetensors") + "tensor 'b': the index has it in 2.safetensors");
  index(R"({"a":"1.safetensors","b":"1.safetensors","c":"1.safetensors"})");
  EXPECT_EQ(read(), at("model.safetensors.index.json") + "tensor 'c': it is not in 1.safetensors");
  index(R"({"a":"1.safetensors","b":"1.safetensors","c":"3.safetensors"})");
  EXPECT_EQ(read(), at("3.safetensors") + "cannot open: No such file or directory");
}

TEST_F(safetensors_folder, shards_stay_inside_the_folder) {
  for (const std::string name :
       {"../x", "/etc/passwd", "a/b", "..", ".", "", "a\\\\b", "\\u001b"}) {
    index(R"({"a":")" + name + "\"}");
    const auto message = read();
    EXPECT_NE(message.find("is no plain name"), std::string::npos) << name << message;
    EXPECT_TRUE(is_one_line(message));
  }
}

TEST_F(safetensors_folder, an_index_without_a_map_is_refused) {
  const auto place = at("model.safetensors.index.json");
  write_all(folder / "model.safetensors.index.json", "[]");
  EXPECT_EQ(read(), place + "no weight_map");
  index("{}");
  EXPECT_EQ(read(), place + "the weight_map is empty");
  index("[]");
  EXPECT_EQ(read(), place + "no weight_map");
  index(R"({"a":1})");
  EXPECT_EQ(read(), place + "tensor 'a': its shard is no string");
  index(R"({"a":"x","a":"x"})");
  EXPECT_EQ(read(), place + "key 'weight_map': key 'a': the key is there twice");
}

TEST_F(safetensors_folder, finds_the_one_file) {
  const auto nothing = [&](std::string_view count) {
    return folder.path.string() +
           ": neither model.safetensors.index.json nor model.safetensors, "
           "and " +
           std::string(count) + " *.safetensors where one is expected";
  };
  EXPECT_EQ(read(), nothing("0 other files"));
  shard("b.safetensors", {"b"});
  EXPECT_EQ(eq::read_safetensors(folder.path).tensors[0].name, "b");
  shard("c.safetensors", {"c"});
  EXPECT_EQ(read(), nothing("2 other files"));
  shard("model.safetensors", {"m"});
  EXPECT_EQ(eq::read_safetensors(folder.path).tensors[0].name, "m");
  const auto model = eq::read_safetensors(folder / "c.safetensors");
  EXPECT_EQ(model.tensors[0].name, "c");
  EXPECT_EQ(model.folder, folder.path);
  EXPECT_EQ(message_of([&] { return eq::read_safetensors(folder / "no"); }),
            at("no") + "cannot open: No such file or directory");
}

TEST(safetensors, the_shared_model_is_read) {
  const auto path = shared_data("models/stories-2m");
  SKIP_WITHOUT(path);
  const auto model = eq::read_safetensors(path);
  EXPECT_EQ(model.folder, path);
  std::uint64_t bytes_of_data = 0;
  std::set<std::string> names;
  for (const auto& tensor : model.tensors) {
    bytes_of_data += tensor.data.size();
    names.insert(tensor.name);
    ASSERT_NE(tensor.file, nullptr);
  }
  EXPECT_EQ(names.size(), model.tensors.size());
  EXPECT_TRUE(names.contains("model.embed_tokens.weight"));
  EXPECT_LT(bytes_of_data, std::filesystem::file_size(path / "model.safetensors"));
}
} // namespace
