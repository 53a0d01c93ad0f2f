// SPDX-License-Identifier: MIT
#include <edgequant/system/progress_bar.hpp>

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <string>
#include <thread>
#include <vector>

#include <fcntl.h>
#include <poll.h>
#include <termios.h>

namespace {
namespace eq = edgequant;
using std::chrono::milliseconds;

/// Sets a variable for one test; null removes it.
class variable {
public:
  variable(const char* name, const char* value) : name_(name) {
    if (const char* now = std::getenv(name)) before_ = now, had_ = true;
    set(value);
  }
  ~variable() { set(had_ ? before_.c_str() : nullptr); }
  variable(const variable&) = delete;
  variable& operator=(const variable&) = delete;

private:
  void set(const char* value) { value ? ::setenv(name_, value, 1) : ::unsetenv(name_); }
  const char* name_;
  std::string before_;
  bool had_ = false;
};

/// A terminal of so many columns, and what was written to it.
class pseudo_terminal {
public:
  explicit pseudo_terminal(int columns) : master_(::posix_openpt(O_RDWR | O_NOCTTY)) {
    if (master_ < 0 || ::grantpt(master_) != 0 || ::unlockpt(master_) != 0) return;
    out = std::fopen(::ptsname(master_), "r+");
    if (out == nullptr) return;
    termios raw = {};
    ::tcgetattr(::fileno(out), &raw);
    ::cfmakeraw(&raw);
    ::tcsetattr(::fileno(out), TCSANOW, &raw);
    resize(columns);
  }
  ~pseudo_terminal() {
    if (out) std::fclose(out);
    if (master_ >= 0) ::close(master_);
  }
  pseudo_terminal(const pseudo_terminal&) = delete;
  pseudo_terminal& operator=(const pseudo_terminal&) = delete;

  void resize(int columns) {
    winsize size = {};
    size.ws_row = 24, size.ws_col = static_cast<unsigned short>(columns);
    ::ioctl(master_, TIOCSWINSZ, &size);
  }
  std::string read() {
    std::string text;
    char part[4096];
    for (pollfd ready{master_, POLLIN, 0}; ::poll(&ready, 1, 50) > 0;) {
      const auto count = ::read(master_, part, sizeof part);
      if (count <= 0) break;
      text.append(part, static_cast<std::size_t>(count));
    }
    return text;
  }
  std::FILE* out = nullptr;

private:
  int master_;
};

/// The rows that were drawn one over another, each with its columns.
std::vector<std::string> drawn_rows(std::string text) {
  const std::string start = "\r\033[K";
  std::vector<std::string> rows;
  EXPECT_TRUE(text.starts_with(start));
  while (text.starts_with(start)) {
    text.erase(0, start.size());
    rows.push_back(text.substr(0, text.find('\r')));
    text.erase(0, rows.back().size());
  }
  EXPECT_EQ(text, "");
  return rows;
}

std::size_t columns_of_text(std::string_view text) {
  std::size_t columns = 0;
  while (!text.empty()) {
    const auto c = eq::first_code_point(text);
    EXPECT_GE(c.value, 0x20u);
    columns += eq::columns_of(c.value);
    text.remove_prefix(c.bytes);
  }
  return columns;
}

const std::string long_item = "blk.31.ffn_down.weight.of.a.model.with.long.names";
const eq::progress large{"quantize", long_item, std::uint64_t{1000} << 20,
                         std::uint64_t{1001} << 20};

TEST(progress_bar, keeps_to_one_row_of_terminals_of_any_width) {
  const variable term("TERM", "xterm"), columns("COLUMNS", nullptr);
  for (const int width : {1, 2, 5, 12, 20, 40, 79, 80, 81, 120, 300}) {
    pseudo_terminal terminal(width);
    if (!terminal.out) GTEST_SKIP() << "no pseudo-terminals here";
    {
      eq::progress_bar bar(terminal.out, true, milliseconds(0));
      std::this_thread::sleep_for(milliseconds(101));
      bar(large);
    }
    const auto rows = drawn_rows(terminal.read());
    ASSERT_EQ(rows.size(), 2u);
    EXPECT_LT(columns_of_text(rows[0]), static_cast<std::size_t>(width));
    EXPECT_EQ(rows[0].substr(0, 8), std::string("quantize").substr(0, rows[0].size()));
    EXPECT_EQ(rows[1], ""); // cleared
  }
}

TEST(progress_bar, follows_a_terminal_that_is_resized) {
  const variable term("TERM", "xterm"), columns("COLUMNS", "200");
  pseudo_terminal terminal(100);
  if (!terminal.out) GTEST_SKIP() << "no pseudo-terminals here";
  {
    eq::progress_bar bar(terminal.out, true, milliseconds(0));
    for (const int width : {100, 50, 90}) {
      terminal.resize(width);
      std::this_thread::sleep_for(milliseconds(101));
      bar(large);
    }
  }
  const auto rows = drawn_rows(terminal.read());
  ASSERT_EQ(rows.size(), 4u);
  EXPECT_EQ(columns_of_text(rows[0]), 99u);
  EXPECT_EQ(columns_of_text(rows[1]), 49u);
  EXPECT_EQ(columns_of_text(rows[2]), 89u);
}

TEST(progress_bar, counts_columns_of_characters_not_bytes) {
  const variable term("TERM", "xterm");
  pseudo_terminal terminal(80);
  if (!terminal.out) GTEST_SKIP() << "no pseudo-terminals here";
  {
    eq::progress_bar bar(terminal.out, true, milliseconds(0));
    std::this_thread::sleep_for(milliseconds(101));
    const std::string wide = "\u5c42\u5c42\u5c42\u5c42\u5c42\u5c42\u5c42\u5c42\u5c42\u5c42";
    bar({"\u00e9tape", wide + wide + "\033[2J\n\xff", 1, 1, "\u4ef6"});
  }
  const auto rows = drawn_rows(terminal.read());
  ASSERT_EQ(rows.size(), 2u);
  const auto columns = columns_of_text(rows[0]);
  EXPECT_TRUE(columns == 78 || columns == 79) << columns; // a wide character may not fit
  EXPECT_EQ(rows[0].find("\ufffd"), std::string::npos);
}

TEST(progress_bar, plain_lines_where_the_terminal_takes_no_escapes) {
  for (const char* kind : {"dumb", "", static_cast<const char*>(nullptr)}) {
    const variable term("TERM", kind);
    pseudo_terminal terminal(80);
    if (!terminal.out) GTEST_SKIP() << "no pseudo-terminals here";
    {
      eq::progress_bar bar(terminal.out, true, milliseconds(0));
      for (std::uint64_t i = 0; i <= 100; ++i) bar({"check", "x\033[2J", i, 100});
    }
    const std::string text = terminal.read();
    EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 10);
    EXPECT_EQ(text.find('\033'), std::string::npos);
    EXPECT_EQ(text.find('\r'), std::string::npos);
  }
}

TEST(terminal, columns_come_from_the_variable_where_there_is_no_terminal) {
  std::FILE* file = std::tmpfile();
  for (const auto& [value, columns] : std::vector<std::pair<const char*, std::size_t>>{
           {"42", 42}, {"0", 80}, {"x", 80}, {"-3", 80}, {"", 80}, {nullptr, 80}}) {
    const variable setting("COLUMNS", value);
    EXPECT_EQ(eq::terminal_columns(::fileno(file)), columns);
  }
  std::fclose(file);
}

TEST(terminal, cuts_between_characters) {
  EXPECT_EQ(eq::cut_to_columns("abc", 2), "ab");
  EXPECT_EQ(eq::cut_to_columns("\u5c42\u5c42", 3), "\u5c42");
  EXPECT_EQ(eq::cut_to_columns("e\u0301x", 1), "e\u0301");
  EXPECT_EQ(eq::cut_to_columns("a\xff\x1b\n", 9), "a\ufffd\ufffd\ufffd");
  EXPECT_EQ(eq::cut_to_columns("abc", 0), "");
}

TEST(progress_bar, short_jobs_print_nothing) {
  std::FILE* out = std::tmpfile();
  ASSERT_NE(out, nullptr);
  {
    eq::progress_bar bar(out, false);
    for (std::uint64_t i = 0; i <= 10; ++i) bar({"check", "x", i, 10});
  }
  EXPECT_EQ(std::ftell(out), 0);
  std::fclose(out);
}

TEST(progress_bar, says_stage_share_and_time_left) {
  EXPECT_EQ(eq::system::detail::progress_line({"quantize", "blk.0", 2048, 4096}, 2, 28),
            "quantize [##############..............]  50 %  2.0 KiB of 4.0 KiB, 2 s left  blk.0");
  EXPECT_EQ(eq::system::detail::progress_line({"read", "", 3, 4, "tokens"}, 30, 4),
            "read [###.]  75 %  3 tokens of 4 tokens, 10 s left  ");
}
} // namespace
