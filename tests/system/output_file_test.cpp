// SPDX-License-Identifier: MIT
#include "io/support.hpp"

#include <edgequant/system/output_file.hpp>

#include <csignal>
#include <functional>

#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

namespace {
/// What the next fsync() of this program does before it returns; see fsync() below.
inline std::function<void()> at_fsync;
} // namespace

// Takes the place of the C library's in this program.
extern "C" int fsync(int fd) {
  if (at_fsync) at_fsync();
  return static_cast<int>(::syscall(SYS_fsync, fd));
}

namespace {
using namespace io_test;

class output_file : public testing::TestWithParam<eq::staging> {
protected:
  temporary_folder folder;
};
INSTANTIATE_TEST_SUITE_P(io, output_file,
                         testing::Values(eq::staging::nameless, eq::staging::named),
                         [](const auto& value) {
                           return value.param == eq::staging::named ? "named" : "nameless";
                         });

/// Limits the size of files that this process writes, so that write() fails with EFBIG.
struct file_size_limit {
  explicit file_size_limit(rlim_t bytes) {
    getrlimit(RLIMIT_FSIZE, &before);
    handler = std::signal(SIGXFSZ, SIG_IGN);
    const rlimit limit{bytes, before.rlim_max};
    setrlimit(RLIMIT_FSIZE, &limit);
  }
  ~file_size_limit() {
    setrlimit(RLIMIT_FSIZE, &before);
    std::signal(SIGXFSZ, handler);
  }
  rlimit before = {};
  void (*handler)(int) = nullptr;
};

TEST_P(output_file, appears_at_commit_with_every_byte) {
  std::string expected;
  eq::output_file out(folder / "f", GetParam());
  for (std::size_t n : {1u, 1000u, 1u << 20, (1u << 20) - 1, 0u, 3u << 20, 7u}) {
    const std::string piece(n, static_cast<char>('a' + n % 26));
    out.write(bytes_of(piece));
    expected += piece;
    EXPECT_EQ(out.size(), expected.size());
  }
  EXPECT_FALSE(std::filesystem::exists(folder / "f"));
  out.commit();
  EXPECT_EQ(read_all(folder / "f"), expected);
  EXPECT_EQ(files_in(folder.path), 1u);
}

TEST_P(output_file, an_empty_one_is_fine) {
  eq::output_file(folder / "f", GetParam()).commit();
  EXPECT_EQ(std::filesystem::file_size(folder / "f"), 0u);
}

TEST_P(output_file, abandoned_leaves_nothing) {
  {
    eq::output_file out(folder / "f", GetParam());
    out.write(bytes_of(std::string(2u << 20, 'x')));
  }
  EXPECT_EQ(files_in(folder.path), 0u);
}

TEST_P(output_file, replaces_only_at_commit) {
  write_all(folder / "f", "old");
  {
    eq::output_file out(folder / "f", GetParam());
    out.write(bytes_of("new"));
  }
  EXPECT_EQ(read_all(folder / "f"), "old");
  eq::output_file out(folder / "f", GetParam());
  out.write(bytes_of("new"));
  EXPECT_EQ(read_all(folder / "f"), "old");
  out.commit();
  EXPECT_EQ(read_all(folder / "f"), "new");
  EXPECT_EQ(files_in(folder.path), 1u);
}

TEST_P(output_file, a_failed_write_keeps_the_old_file_and_ends_the_new_one) {
  write_all(folder / "f", "old");
  {
    eq::output_file out(folder / "f", GetParam());
    std::string message;
    {
      const file_size_limit limit(1000);
      message = message_of([&] { return out.write(bytes_of(std::string(2u << 20, 'x'))), 0; });
    }
    EXPECT_EQ(message, (folder / "f").string() + ": cannot write: File too large");
    const auto ended = (folder / "f").string() + ": already committed, or failed before";
    EXPECT_EQ(message_of([&] { return out.write(bytes_of("x")), 0; }), ended);
    EXPECT_EQ(message_of([&] { return out.commit(), 0; }), ended);
  }
  EXPECT_EQ(read_all(folder / "f"), "old");
  EXPECT_EQ(files_in(folder.path), 1u);
}

TEST_P(output_file, a_write_that_fails_in_commit_keeps_the_old_file) {
  write_all(folder / "f", "old");
  {
    eq::output_file out(folder / "f", GetParam());
    out.write(bytes_of(std::string(5000, 'x'))); // still in the buffer
    const file_size_limit limit(1000);
    EXPECT_NE(message_of([&] { return out.commit(), 0; }), "");
  }
  EXPECT_EQ(read_all(folder / "f"), "old");
  EXPECT_EQ(files_in(folder.path), 1u);
}

TEST_P(output_file, follows_links) {
  write_all(folder / "real", "old");
  std::filesystem::create_symlink("real", folder / "link");
  std::filesystem::create_symlink(folder / "link", folder / "link2");
  eq::output_file out(folder / "link2", GetParam());
  out.write(bytes_of("new"));
  out.commit();
  EXPECT_TRUE(std::filesystem::is_symlink(folder / "link2"));
  EXPECT_EQ(read_all(folder / "real"), "new");
  std::filesystem::create_symlink("later", folder / "dangling");
  eq::output_file(folder / "dangling", GetParam()).commit();
  EXPECT_TRUE(std::filesystem::exists(folder / "later"));
  EXPECT_EQ(files_in(folder.path), 5u);
}

TEST_P(output_file, has_the_permissions_of_a_new_file) {
  const auto mask = umask(027);
  eq::output_file(folder / "f", GetParam()).commit();
  umask(mask);
  struct stat facts = {};
  ASSERT_EQ(stat((folder / "f").c_str(), &facts), 0);
  EXPECT_EQ(facts.st_mode & 0777u, 0640u);
}

TEST_P(output_file, survives_a_change_of_the_working_folder) {
  const auto before = std::filesystem::current_path();
  std::filesystem::current_path(folder.path);
  eq::output_file out("f", GetParam());
  std::filesystem::current_path(before);
  out.commit();
  EXPECT_TRUE(std::filesystem::exists(folder / "f"));
}

TEST_P(output_file, refuses_targets_that_are_no_file) {
  const auto open = [&](const std::filesystem::path& path) {
    return message_of([&] {
      eq::output_file out(path, GetParam());
      return 0;
    });
  };
  const auto in = (folder.path / "").string();
  EXPECT_EQ(open(folder.path), folder.path.string() + ": a folder, not a file");
  EXPECT_EQ(open(in + "new/"), in + "new/: a folder, not a file");
  EXPECT_EQ(open(""), "a folder, not a file");
  EXPECT_EQ(open(folder / "no/f"), in + "no/f: cannot open its folder: No such file or directory");
  EXPECT_EQ(open("/dev/full"), "/dev/full: not a regular file");
  EXPECT_EQ(open("/dev/null"), "/dev/null: not a regular file");
  std::filesystem::create_symlink("loop", folder / "loop");
  EXPECT_EQ(open(folder / "loop"),
            in + "loop: cannot follow the link: Too many levels of symbolic links");
  EXPECT_EQ(files_in(folder.path), 1u);
}

TEST_P(output_file, a_second_commit_is_refused) {
  eq::output_file out(folder / "f", GetParam());
  out.commit();
  EXPECT_NE(message_of([&] { return out.commit(), 0; }), "");
  EXPECT_TRUE(std::filesystem::exists(folder / "f"));
}

TEST(output_file_nameless, a_killed_process_leaves_nothing) {
  temporary_folder folder;
  const auto child = fork();
  if (child == 0) {
    eq::output_file out(folder / "f");
    out.write(bytes(2u << 20));
    if (files_in(folder.path) != 0) _exit(1); // no nameless files here: nothing to show
    raise(SIGKILL);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  if (WIFEXITED(status)) GTEST_SKIP() << "this file system has no nameless files";
  EXPECT_EQ(files_in(folder.path), 0u);
}

TEST(output_file_nameless, has_no_name_while_it_is_brought_to_the_disk) {
  for (const bool replaces : {false, true}) {
    temporary_folder folder;
    if (replaces) write_all(folder / "f", "old");
    eq::output_file out(folder / "f");
    out.write(bytes_of("new"));
    if (files_in(folder.path) != (replaces ? 1u : 0u))
      GTEST_SKIP() << "this file system has no nameless files";
    std::vector<std::string> seen;
    at_fsync = [&] {
      seen.push_back(std::to_string(files_in(folder.path)) + " " + read_all(folder / "f"));
    };
    out.commit();
    at_fsync = nullptr;
    ASSERT_EQ(seen.size(), 2u); // of the file, then of its folder
    EXPECT_EQ(seen[0], replaces ? "1 old" : "0 ");
    EXPECT_EQ(seen[1], "1 new");
  }
}

TEST_P(output_file, staged_names_collide_with_nothing) {
  std::vector<std::string> names;
  for (int i = 0; i < 50; ++i) {
    const eq::output_file one(folder / "f", eq::staging::named);
    for (const auto& entry : std::filesystem::directory_iterator(folder.path))
      names.push_back(entry.path().filename().string());
  }
  ASSERT_EQ(names.size(), 50u);
  std::sort(names.begin(), names.end());
  EXPECT_EQ(std::unique(names.begin(), names.end()), names.end());
  EXPECT_EQ(names[0].size(), std::string(".edgequant-.part").size() + 32);
}

TEST(output_file_nameless, is_copied_where_it_cannot_be_linked) {
  if (geteuid() != 0) GTEST_SKIP() << "needs chroot";
  temporary_folder folder;
  const std::string text(std::size_t{3} << 20, 'x');
  const auto child = fork();
  if (child == 0) { // no /proc in there
    if (chroot(folder.path.c_str()) != 0 || chdir("/") != 0) _exit(1);
    const auto message = message_of([&] {
      eq::output_file out("/f");
      out.write(bytes_of(text));
      out.write(bytes_of("end"));
      out.commit();
      return 0;
    });
    _exit(message.empty() ? 0 : 2);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFEXITED(status));
  if (WEXITSTATUS(status) == 1) GTEST_SKIP() << "chroot is not allowed";
  EXPECT_EQ(WEXITSTATUS(status), 0);
  EXPECT_EQ(read_all(folder / "f"), text + "end");
  EXPECT_EQ(files_in(folder.path), 1u);
}
} // namespace
