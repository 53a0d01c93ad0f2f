// SPDX-License-Identifier: MIT
#include "io/support.hpp"

#include <edgequant/system/scratch_file.hpp>
#include <edgequant/system/signals.hpp>

#include <csignal>
#include <functional>
#include <thread>

#include <sys/resource.h>
#include <sys/wait.h>

namespace {
using namespace io_test;

/// A forked process: its stderr, and how it ended.
class child_process {
public:
  explicit child_process(const std::function<void()>& body) {
    int ready[2], errors[2];
    if (::pipe(ready) != 0 || ::pipe(errors) != 0) throw std::runtime_error("pipe");
    pid_ = ::fork();
    if (pid_ == 0) {
      const rlimit none = {};
      ::setrlimit(RLIMIT_CORE, &none);
      ::dup2(errors[1], STDERR_FILENO);
      ready_ = ready[1];
      self_ = this;
      body();
      ::_exit(42);
    }
    ::close(ready[1]), ::close(errors[1]);
    ready_ = ready[0], errors_ = errors[0];
  }
  ~child_process() {
    ::close(ready_), ::close(errors_);
    if (!ended_) ::kill(pid_, SIGKILL), end();
  }
  child_process(const child_process&) = delete;
  child_process& operator=(const child_process&) = delete;

  /// In the child: lets the parent go on, and waits for its end.
  static void show_and_wait() {
    say_ready();
    for (;;) ::pause();
  }
  static void say_ready() { (void)!::write(self_->ready_, "x", 1); }
  void wait_until_ready() {
    char byte = 0;
    ASSERT_EQ(::read(ready_, &byte, 1), 1);
  }
  void signal(int number) { ::kill(pid_, number); }
  /// The status of waitpid().
  int end() {
    int status = 0;
    ::waitpid(pid_, &status, 0);
    ended_ = true;
    return status;
  }
  /// What it wrote to stderr, but for the line that qemu adds when a signal dumps core.
  std::string errors() {
    std::string text(10000, '\0');
    const auto count = ::read(errors_, text.data(), text.size());
    text.resize(count > 0 ? static_cast<std::size_t>(count) : 0);
    if (const auto from = text.find("qemu: uncaught target signal"); from != std::string::npos)
      text.erase(from, text.find('\n', from) + 1 - from);
    return text;
  }

private:
  static inline child_process* self_ = nullptr;
  pid_t pid_ = 0;
  int ready_ = -1, errors_ = -1;
  bool ended_ = false;
};

constexpr int ending_signals[] = {SIGHUP, SIGINT, SIGQUIT, SIGPIPE, SIGTERM, SIGXCPU, SIGXFSZ};

TEST(signals, remove_staged_files_and_end_the_process) {
  for (const int signal : ending_signals) {
    temporary_folder folder;
    write_all(folder / "f", "old");
    child_process child([&] {
      eq::end_cleanly_on_signals("program");
      eq::output_file gone(folder / "gone", eq::staging::named); // its record is used again
      gone.commit();
      std::filesystem::remove(folder / "gone");
      eq::output_file one(folder / "f", eq::staging::named), two(folder / "g", eq::staging::named);
      one.write(bytes(3u << 20));
      child_process::show_and_wait();
    });
    child.wait_until_ready();
    EXPECT_EQ(files_in(folder.path), 3u);
    child.signal(signal);
    const int status = child.end();
    EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == signal) << signal;
    EXPECT_EQ(files_in(folder.path), 1u);
    EXPECT_EQ(read_all(folder / "f"), "old");
    EXPECT_EQ(child.errors(), "");
  }
}

TEST(signals, without_the_call_they_are_the_programs) {
  temporary_folder folder;
  child_process child([&] {
    eq::output_file file(folder / "f", eq::staging::named);
    child_process::show_and_wait();
  });
  child.wait_until_ready();
  child.signal(SIGTERM);
  EXPECT_TRUE(WIFSIGNALED(child.end()));
  EXPECT_EQ(files_in(folder.path), 1u); // as the contract says
}

TEST(signals, at_any_moment_nothing_but_complete_files_is_left) {
  for (int round = 0; round < 60; ++round) {
    temporary_folder folder;
    const std::string old(70000, 'o'), made(50000, 'n');
    write_all(folder / "f0", old), write_all(folder / "f1", old);
    child_process child([&] {
      eq::end_cleanly_on_signals();
      const auto work = [&](const char* name, eq::staging where) {
        for (;;) {
          eq::output_file file(folder / name, where);
          file.write(bytes_of(made));
          file.commit();
          const eq::scratch_file scratch(folder / name, where);
        }
      };
      std::thread([&] { work("f0", eq::staging::named); }).detach();
      std::thread([&] { work("f0", eq::staging::named); }).detach();
      child_process::say_ready();
      work("f1", eq::staging::nameless);
    });
    child.wait_until_ready();
    std::this_thread::sleep_for(std::chrono::microseconds(100 + 317 * round));
    child.signal(round % 2 ? SIGINT : SIGTERM);
    ASSERT_TRUE(WIFSIGNALED(child.end()));
    ASSERT_EQ(child.errors(), "");
    ASSERT_EQ(files_in(folder.path), 2u) << round;
    for (const char* name : {"f0", "f1"}) {
      const auto text = read_all(folder / name);
      ASSERT_TRUE(text == old || text == made) << round;
    }
  }
}

TEST(signals, that_are_ignored_or_handled_are_left_alone) {
  child_process child([] {
    std::signal(SIGHUP, SIG_IGN);
    std::signal(SIGTERM, [](int) { ::_exit(7); });
    eq::end_cleanly_on_signals();
    ::raise(SIGHUP);
    ::raise(SIGTERM);
  });
  const int status = child.end();
  ASSERT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 7);
}

TEST(signals, of_a_forked_child_leave_the_parents_files) {
  temporary_folder folder;
  child_process child([&] {
    eq::end_cleanly_on_signals();
    eq::output_file file(folder / "f", eq::staging::named);
    const auto forked = ::fork();
    if (forked == 0) ::raise(SIGTERM);
    ::waitpid(forked, nullptr, 0);
    file.commit();
  });
  EXPECT_EQ(WEXITSTATUS(child.end()), 42);
  EXPECT_TRUE(std::filesystem::exists(folder / "f"));
}

/// A child that reads all of a mapped file after it became shorter.
int read_shortened(const std::filesystem::path& path, const std::filesystem::path& staged,
                   bool handlers, std::string& errors) {
  child_process child([&] {
    if (handlers) eq::end_cleanly_on_signals("program");
    const eq::mapped_file other("/proc/self/exe");
    const eq::mapped_file file(path);
    eq::output_file output(staged, eq::staging::named);
    if (::truncate(path.c_str(), 100) != 0) ::_exit(3);
    const auto read = [&] {
      unsigned sum = 0;
      for (const auto byte : file.bytes()) sum += std::to_integer<unsigned>(byte);
      ::_exit(sum == 1 ? 4 : 5);
    };
    std::thread beside(read); // two faults are one message
    read();
  });
  const int status = child.end();
  errors = child.errors();
  return status;
}

TEST(signals, a_mapped_file_that_shrinks_is_one_line) {
#if defined(__SANITIZE_ADDRESS__)
  GTEST_SKIP() << "the address sanitizer takes SIGBUS for itself";
#endif
  temporary_folder folder;
  std::filesystem::create_directory(folder / "out");
  write_all(folder / "model", std::string(100000, 'x'));
  std::string errors;
  const int status = read_shortened(folder / "model", folder / "out/f", true, errors);
  ASSERT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 1);
  EXPECT_EQ(errors, "program: " + (folder / "model").string() +
                        ": cannot read: the file became shorter while it was in use, or its disk "
                        "failed\n");
  EXPECT_EQ(files_in(folder / "out"), 0u);
}

TEST(signals, the_line_has_no_control_characters_and_an_end) {
#if defined(__SANITIZE_ADDRESS__)
  GTEST_SKIP() << "the address sanitizer takes SIGBUS for itself";
#endif
  temporary_folder folder;
  const auto path = folder / (std::string(245, 'n') + "\n\033");
  write_all(path, std::string(100000, 'x'));
  std::string errors;
  const int status = read_shortened(path, folder / "f", true, errors);
  EXPECT_EQ(WEXITSTATUS(status), 1);
  ASSERT_TRUE(errors.ends_with("failed\n"));
  errors.pop_back();
  EXPECT_TRUE(is_one_line(errors)) << errors;
  EXPECT_NE(errors.find("...: cannot read"), std::string::npos);
}

TEST(signals, without_the_call_a_lost_page_is_sigbus) {
#if defined(__SANITIZE_ADDRESS__)
  GTEST_SKIP() << "the address sanitizer takes SIGBUS for itself";
#endif
  temporary_folder folder;
  write_all(folder / "model", std::string(100000, 'x'));
  std::string errors;
  const int status = read_shortened(folder / "model", folder / "f", false, errors);
  EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS);
}

TEST(signals, a_lost_page_of_another_mapping_stays_sigbus) {
#if defined(__SANITIZE_ADDRESS__)
  GTEST_SKIP() << "the address sanitizer takes SIGBUS for itself";
#endif
  temporary_folder folder;
  write_all(folder / "f", std::string(100000, 'x'));
  child_process child([&] {
    eq::end_cleanly_on_signals();
    { const eq::mapped_file before(folder / "f"); } // its record is empty now
    const int fd = ::open((folder / "f").c_str(), O_RDONLY);
    const auto* data =
        static_cast<const volatile char*>(::mmap(nullptr, 100000, PROT_READ, MAP_PRIVATE, fd, 0));
    if (::truncate((folder / "f").c_str(), 0) != 0) ::_exit(3);
    ::_exit(data[50000]);
  });
  const int status = child.end();
  EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS);
  EXPECT_EQ(child.errors(), "");
}

TEST(signals, writing_from_a_file_that_shrinks_is_an_error) {
  temporary_folder folder;
  write_all(folder / "model", std::string(4u << 20, 'x'));
  const eq::mapped_file file(folder / "model");
  eq::output_file output(folder / "f");
  ASSERT_EQ(::truncate((folder / "model").c_str(), 4096), 0);
  EXPECT_EQ(message_of([&] { return output.write(file.bytes()), 0; }),
            (folder / "f").string() + ": cannot read what is to be written: Bad address");
}
} // namespace
