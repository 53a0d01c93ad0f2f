// SPDX-License-Identifier: MIT
#include "io/support.hpp"

#include <edgequant/io/text_file.hpp>
#include <edgequant/system/mapped_file.hpp>

#include <sys/stat.h>

namespace {
using namespace io_test;

std::size_t resident_pages(std::span<const std::byte> mapping) {
  // mincore() would count the page cache, which drop() does not touch; smaps counts this process.
  std::ifstream maps("/proc/self/smaps");
  char start[32];
  std::snprintf(start, sizeof start, "%zx-", reinterpret_cast<std::size_t>(mapping.data()));
  std::string line;
  bool found = false;
  while (std::getline(maps, line)) {
    found = found || line.rfind(start, 0) == 0;
    if (found && line.rfind("Rss:", 0) == 0) return std::stoul(line.substr(4)) / 4;
  }
  return 0;
}

TEST(mapped_file, shows_the_bytes) {
  temporary_folder folder;
  write_all(folder / "f", "hello");
  const eq::mapped_file file(folder / "f");
  EXPECT_EQ(eq::as_text(file.bytes()), "hello");
  EXPECT_EQ(file.path(), folder / "f");
}

TEST(mapped_file, refuses_what_is_no_file_with_bytes) {
  temporary_folder folder;
  const auto open = [&](const std::filesystem::path& path) {
    return message_of([&] {
      eq::mapped_file file(path);
      return 0;
    });
  };
  const auto in = (folder.path / "").string();
  EXPECT_EQ(open(folder / "no"), in + "no: cannot open: No such file or directory");
  EXPECT_EQ(open(folder.path), folder.path.string() + ": a folder, not a file");
  write_all(folder / "empty", "");
  EXPECT_EQ(open(folder / "empty"), in + "empty: the file is empty");
  ASSERT_EQ(mkfifo((folder / "pipe").c_str(), 0600), 0);
  EXPECT_EQ(open(folder / "pipe"), in + "pipe: not a regular file");
  EXPECT_EQ(open("/dev/zero"), "/dev/zero: not a regular file");
}

TEST(mapped_file, error_codes_tell_system_from_content) {
  temporary_folder folder;
  write_all(folder / "empty", "");
  const auto code = [](const std::filesystem::path& path) {
    try {
      eq::mapped_file file(path);
    } catch (const eq::exception& error) {
      return error.code();
    }
    return eq::error_code::bad_argument;
  };
  EXPECT_EQ(code(folder / "no"), eq::error_code::io_error);
  EXPECT_EQ(code(folder / "empty"), eq::error_code::bad_file);
}

TEST(mapped_file, drop_gives_pages_back_and_keeps_the_bytes) {
  temporary_folder folder;
  const std::string text(std::size_t{64} * 4096 + 10, 'x');
  write_all(folder / "f", text);
  const eq::mapped_file file(folder / "f");
  ASSERT_EQ(eq::as_text(file.bytes()), text);
  const auto before = resident_pages(file.bytes());
  if (before == 0) GTEST_SKIP() << "no /proc/self/smaps";
  EXPECT_GE(before, 64u);
  file.drop(file.bytes());
  EXPECT_EQ(resident_pages(file.bytes()), 0u);
  EXPECT_EQ(eq::as_text(file.bytes()), text);
}

TEST(mapped_file, drop_stays_inside_the_mapping) {
  temporary_folder folder;
  write_all(folder / "f", std::string(5000, 'x'));
  const eq::mapped_file file(folder / "f");
  const bytes mine(3 * 4096, std::byte{7});
  file.drop(mine);
  EXPECT_EQ(mine, bytes(3 * 4096, std::byte{7})); // anonymous pages would have become zeros
  file.drop({});
  file.drop(file.bytes().subspan(4999));
  file.drop(file.bytes().subspan(100, 0));
  EXPECT_EQ(eq::as_text(file.bytes()), std::string(5000, 'x'));
}

TEST(text_file, reads_up_to_its_limit) {
  temporary_folder folder;
  write_all(folder / "f", "12345");
  EXPECT_EQ(eq::read_text_file(folder / "f", 5), "12345");
  EXPECT_EQ(eq::read_text_file(folder / "f"), "12345");
  EXPECT_EQ(message_of([&] { return eq::read_text_file(folder / "f", 4); }),
            (folder / "f").string() + ": 5 bytes, at most 4 are read");
}
} // namespace
