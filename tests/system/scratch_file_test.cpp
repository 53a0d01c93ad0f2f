// SPDX-License-Identifier: MIT
#include "io/support.hpp"

#include <edgequant/io/gguf_writer.hpp>
#include <edgequant/system/scratch_file.hpp>

#include <csignal>

#include <sys/resource.h>

namespace {
using namespace io_test;

class scratch_file : public testing::TestWithParam<eq::staging> {
protected:
  temporary_folder folder;
};
INSTANTIATE_TEST_SUITE_P(system, scratch_file,
                         testing::Values(eq::staging::nameless, eq::staging::named),
                         [](const auto& value) {
                           return value.param == eq::staging::named ? "named" : "nameless";
                         });

TEST_P(scratch_file, never_has_a_name) {
  std::shared_ptr<const eq::mapped_file> mapping;
  std::string expected;
  {
    eq::scratch_file file(folder / "out", GetParam());
    EXPECT_EQ(files_in(folder.path), 0u);
    for (const std::size_t n : {1u, 1000u, 3u << 20, 7u}) {
      const std::string piece(n, static_cast<char>('a' + n % 26));
      file.write(bytes_of(piece));
      expected += piece;
    }
    EXPECT_EQ(file.size(), expected.size());
    file.commit();
    mapping = file.map();
    EXPECT_EQ(files_in(folder.path), 0u);
  }
  EXPECT_EQ(eq::as_text(mapping->bytes()), expected);
  mapping->drop(mapping->bytes());
  EXPECT_EQ(eq::as_text(mapping->bytes()), expected); // from the file again
  EXPECT_EQ(files_in(folder.path), 0u);
}

TEST_P(scratch_file, leaves_what_it_lies_beside) {
  write_all(folder / "out", "precious");
  std::filesystem::create_symlink("out", folder / "link");
  for (const char* name : {"out", "link"}) {
    eq::scratch_file file(folder / name, GetParam());
    file.write(bytes_of("x"));
    file.commit();
    (void)file.map();
  }
  EXPECT_EQ(read_all(folder / "out"), "precious");
  EXPECT_EQ(files_in(folder.path), 2u);
}

TEST_P(scratch_file, says_what_the_system_refuses) {
  const auto in = (folder.path / "").string();
  EXPECT_EQ(message_of([&] { return eq::scratch_file(folder / "no/out", GetParam()).size(); }),
            in + "no/out: scratch file: cannot open its folder: No such file or directory");
  eq::scratch_file empty(folder / "out", GetParam());
  empty.commit();
  EXPECT_EQ(message_of([&] { return empty.map(); }), in + "out: scratch file: the file is empty");

  rlimit before = {};
  getrlimit(RLIMIT_FSIZE, &before);
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  const rlimit limit{1000, before.rlim_max};
  setrlimit(RLIMIT_FSIZE, &limit);
  eq::scratch_file full(folder / "out", GetParam());
  const auto message = message_of([&] { return full.write(bytes(2u << 20)), 0; });
  setrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, handler);
  EXPECT_EQ(message, in + "out: scratch file: cannot write: File too large");
  EXPECT_EQ(message_of([&] { return full.write({}), 0; }), in + "out: scratch file: failed before");
}

TEST_P(scratch_file, holds_a_gguf) {
  const eq::gguf_metadata keys;
  const eq::tensor_info info{"t", {4, 2}, eq::format::f32};
  const std::vector<float> values{1, 2, 3, 4, 5, 6, 7, 8};
  eq::gguf_file read;
  {
    eq::scratch_file file(folder / "out", GetParam());
    eq::gguf_writer writer(file, "copy", keys, {&info, 1});
    writer.write(std::as_bytes(std::span(values)));
    writer.finish();
    read = eq::read_gguf(file.map());
    EXPECT_EQ(read.file->bytes().size(), writer.file_size());
  }
  ASSERT_EQ(read.tensors.size(), 1u);
  EXPECT_EQ(eq::as_text(read.tensors[0].data), eq::as_text(std::as_bytes(std::span(values))));
  EXPECT_EQ(files_in(folder.path), 0u);
}
} // namespace
