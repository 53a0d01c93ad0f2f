// SPDX-License-Identifier: MIT
#include "support.hpp"

#include <edgequant/io/gguf_writer.hpp>

#include <numeric>

namespace {
using namespace io_test;
using infos = std::vector<eq::tensor_info>;

/// A value of every type, and arrays of every type that an array may hold.
eq::gguf_metadata every_type() {
  eq::gguf_metadata m;
  const auto both = [&]<class T>(const char* key, std::vector<T> values) {
    m.set(std::string(key), values[0]);
    m.set_array(std::string(key) + "s", values);
  };
  m.set("general.architecture", "llama");
  both("u8", std::vector<std::uint8_t>{1, 255});
  both("i8", std::vector<std::int8_t>{-128, 1});
  both("u16", std::vector<std::uint16_t>{65535, 1});
  both("i16", std::vector<std::int16_t>{-32768, 1});
  both("u32", std::vector<std::uint32_t>{~0u, 1});
  both("i32", std::vector<std::int32_t>{-1, 1});
  both("u64", std::vector<std::uint64_t>{~std::uint64_t{0}, 1});
  both("i64", std::vector<std::int64_t>{-1, 1});
  both("f32", std::vector<float>{0.1f, -0.0f, std::numeric_limits<float>::quiet_NaN()});
  both("f64", std::vector<double>{0.1, std::numeric_limits<double>::infinity()});
  both("string", std::vector<std::string>{"a\nb", "", std::string(1000, 'x')});
  m.set("bool", true);
  const bool flags[] = {true, false, true};
  m.set_array("bools", flags);
  m.set_array("nothing", std::vector<float>{});
  return m;
}

infos two_tensors() {
  return {{"blk.0.w", {32, 3}, eq::format::q4_0}, {"norm", {5}, eq::format::f32}};
}

bytes counting(std::size_t n) {
  bytes out(n);
  for (std::size_t i = 0; i < n; ++i) out[i] = static_cast<std::byte>(i * 7 + 1);
  return out;
}

void write_in_pieces(const std::filesystem::path& path, const eq::gguf_metadata& metadata,
                     const infos& tensors, std::span<const std::byte> data, std::size_t piece) {
  eq::gguf_writer writer(path, metadata, tensors);
  EXPECT_EQ(writer.file_size(), eq::gguf_file_size(metadata, tensors));
  for (std::size_t at = 0; at < data.size(); at += piece)
    writer.write(data.subspan(at, std::min(piece, data.size() - at)));
  EXPECT_FALSE(std::filesystem::exists(path));
  writer.finish();
  EXPECT_EQ(std::filesystem::file_size(path), writer.file_size());
}

TEST(gguf_writer, what_is_written_is_read_back_bit_for_bit) {
  temporary_folder folder;
  const auto metadata = every_type();
  const auto data = counting(54 + 20);
  for (const std::size_t piece : {1u, 53u, 54u, 55u, 1000u}) {
    const auto path = folder / ("f" + std::to_string(piece));
    write_in_pieces(path, metadata, two_tensors(), data, piece);
    const auto g = eq::read_gguf(path);
    EXPECT_EQ(g.metadata, metadata);
    ASSERT_EQ(g.tensors.size(), 2u);
    for (std::size_t i = 0; i < 2; ++i) {
      EXPECT_EQ(g.tensors[i].name, two_tensors()[i].name);
      EXPECT_EQ(g.tensors[i].dims, two_tensors()[i].dims);
      EXPECT_EQ(g.tensors[i].type, two_tensors()[i].type);
    }
    EXPECT_EQ(bytes(g.tensors[0].data.begin(), g.tensors[0].data.end()),
              bytes(data.begin(), data.begin() + 54));
    EXPECT_EQ(bytes(g.tensors[1].data.begin(), g.tensors[1].data.end()),
              bytes(data.begin() + 54, data.end()));
  }
}

TEST(gguf_writer, pads_every_tensor_with_zeros_to_the_alignment) {
  temporary_folder folder;
  for (const std::uint32_t alignment : {1u, 32u, 128u, 8192u}) {
    eq::gguf_metadata metadata;
    metadata.set("general.alignment", alignment);
    const auto path = folder / ("f" + std::to_string(alignment));
    write_in_pieces(path, metadata, two_tensors(), bytes(74, std::byte{0xff}), 40);
    const auto text = read_all(path);
    const auto g = eq::read_gguf(path);
    EXPECT_EQ(g.alignment, alignment);
    EXPECT_EQ(text.size() % alignment, 0u);
    EXPECT_EQ(
        std::count(text.begin() + static_cast<std::ptrdiff_t>(g.data_offset), text.end(), '\xff'),
        74);
  }
}

TEST(gguf_writer, a_file_without_tensors) {
  temporary_folder folder;
  write_in_pieces(folder / "f", every_type(), {}, {}, 1);
  EXPECT_EQ(eq::read_gguf(folder / "f").metadata, every_type());
}

TEST(gguf_writer, four_dims_and_the_longest_name) {
  temporary_folder folder;
  const infos tensors = {{std::string(63, 'n'), {2, 3, 4, 5}, eq::format::i8}};
  write_in_pieces(folder / "f", {}, tensors, counting(120), 7);
  EXPECT_EQ(eq::read_gguf(folder / "f").tensors[0].rows(), 60u);
}

TEST(gguf_writer, refuses_tensors_that_no_reader_takes) {
  temporary_folder folder;
  const auto refusal = [&](const infos& tensors) {
    const auto size = message_of([&] { return eq::gguf_file_size({}, tensors); });
    const auto message = message_of([&] {
      eq::gguf_writer writer(folder / "f", {}, tensors);
      return 0;
    });
    EXPECT_EQ(message, (folder / "f").string() + ": " + size);
    return size;
  };
  using eq::format;
  const std::string name64(64, 'n');
  EXPECT_EQ(refusal({{name64, {1}, format::f32}}),
            "tensor '" + name64 + "': a name of 64 bytes, at most 63 fit");
  EXPECT_EQ(refusal({{"t", {1}, format::f32}, {"t", {2}, format::f32}}),
            "tensor 't': the tensor is there twice");
  EXPECT_EQ(refusal({{"t", {}, format::f32}}),
            "tensor 't': 0 dimensions where 1 to 4 are possible");
  EXPECT_EQ(refusal({{"t", {1, 1, 1, 1, 1}, format::f32}}),
            "tensor 't': 5 dimensions where 1 to 4 are possible");
  EXPECT_EQ(refusal({{"t", {0}, format::f32}}), "tensor 't': dimension 0 is 0");
  EXPECT_EQ(refusal({{"t", {33}, format::q8_0}}),
            "tensor 't': rows of 33 values are no multiple of the 32 in a block of q8_0");
  EXPECT_EQ(refusal({{"t", {std::uint64_t{1} << 33, std::uint64_t{1} << 33}, format::f32}}),
            "tensor 't': the product of its dimensions overflows");
  const auto most = std::uint64_t{3} << 60; // 3/4 of all bytes that 64 bits can count
  EXPECT_EQ(refusal({{"t", {most}, format::f32}, {"u", {most}, format::f32}}),
            "tensor 'u': the sum of the tensors' sizes overflows");
  EXPECT_EQ(files_in(folder.path), 0u);
}

TEST(gguf_writer, refuses_an_alignment_that_is_none) {
  eq::gguf_metadata metadata;
  metadata.set("general.alignment", 3u);
  EXPECT_EQ(message_of([&] { return eq::gguf_file_size(metadata, {}); }),
            "key 'general.alignment': 3 is no power of two");
}

TEST(gguf_writer, too_much_and_too_little_data) {
  temporary_folder folder;
  write_all(folder / "f", "old");
  const auto path = (folder / "f").string();
  {
    eq::gguf_writer writer(folder / "f", {}, two_tensors());
    EXPECT_EQ(message_of([&] { return writer.write(counting(75)), 0; }),
              path + ": 1 byte more than the tensors hold");
  }
  {
    eq::gguf_writer writer(folder / "f", {}, two_tensors());
    writer.write(counting(60));
    EXPECT_EQ(message_of([&] { return writer.finish(), 0; }),
              path + ": tensor 'norm': its last 14 bytes did not come");
  }
  EXPECT_EQ(read_all(folder / "f"), "old");
  EXPECT_EQ(files_in(folder.path), 1u);
}

TEST(gguf_writer, the_shared_files_come_back_byte_for_byte) {
  for (const char* name : {"golden/stories-2m-q4_0.gguf", "golden/stories-2m-q8_0.gguf",
                           "models/stories260K/stories260K-f32.gguf"}) {
    const auto path = shared_data(name);
    SKIP_WITHOUT(path);
    temporary_folder folder;
    const auto g = eq::read_gguf(path);
    infos tensors;
    for (const auto& tensor : g.tensors) tensors.push_back({tensor.name, tensor.dims, tensor.type});
    eq::gguf_writer writer(folder / "copy", g.metadata, tensors);
    for (const auto& tensor : g.tensors) {
      writer.write(tensor.data);
      g.file->drop(tensor.data);
    }
    writer.finish();
    EXPECT_TRUE(read_all(folder / "copy") == read_all(path)) << name;
  }
}
} // namespace
