// SPDX-License-Identifier: MIT
/// What the tests of the io room share: a folder of their own, bytes, and error messages.
#pragma once

#include <edgequant/io/bytes.hpp>

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <string_view>
#include <vector>

namespace io_test {

namespace eq = edgequant;
using bytes = std::vector<std::byte>;

/// A folder for one test, gone with it.
struct temporary_folder {
  temporary_folder() {
    auto pattern = (std::filesystem::temp_directory_path() / "edgequant-XXXXXX").string();
    if (!mkdtemp(pattern.data())) throw std::runtime_error("mkdtemp");
    path = pattern;
  }
  ~temporary_folder() { std::filesystem::remove_all(path); }
  temporary_folder(const temporary_folder&) = delete;
  temporary_folder& operator=(const temporary_folder&) = delete;
  std::filesystem::path operator/(std::string_view name) const { return path / name; }
  std::filesystem::path path;
};

inline bytes bytes_of(std::string_view text) {
  bytes out;
  eq::append_text(out, text);
  return out;
}

inline std::string read_all(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

inline void write_all(const std::filesystem::path& path, std::string_view text) {
  std::ofstream(path, std::ios::binary) << text;
}

inline std::size_t files_in(const std::filesystem::path& folder) {
  using iterator = std::filesystem::directory_iterator;
  return static_cast<std::size_t>(std::distance(iterator(folder), iterator()));
}

/// The message of the exception that `call` ends in, or "" if it returns.
template <class Call> std::string message_of(Call&& call) {
  try {
    (void)call();
  } catch (const eq::exception& error) {
    return error.what();
  }
  return {};
}

/// A message must be one printable line.
inline bool is_one_line(std::string_view message) {
  for (const char c : message)
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) return false;
  return !message.empty();
}

/// Path of a file in the project's shared data, which need not be there.
inline std::filesystem::path shared_data(std::string_view name) {
  return std::filesystem::path(EDGEQUANT_SOURCE_DIR) / ".." / "shared" / "data" / name;
}

/// Parses `valid` with each byte of a fixed pseudo-random choice changed; every outcome but an
/// edgequant::exception or a result is a failure (a sanitizer stops the program).
template <class Parse> void mutate(const bytes& valid, int rounds, Parse&& parse) {
  std::mt19937 random(20240229);
  int refused = 0;
  for (int i = 0; i < rounds; ++i) {
    bytes copy = valid;
    const int changes = 1 + static_cast<int>(random() % 3);
    for (int j = 0; j < changes; ++j)
      copy[random() % copy.size()] = static_cast<std::byte>(random());
    const auto message = message_of([&] { return parse(copy); });
    if (message.empty()) continue;
    ++refused;
    ASSERT_TRUE(is_one_line(message)) << message;
    ASSERT_LT(message.size(), 400u) << message;
  }
  EXPECT_GT(refused, rounds / 20); // else the mutations do not reach the checks
}

} // namespace io_test

#define SKIP_WITHOUT(path)                                                                         \
  if (!std::filesystem::exists(path)) GTEST_SKIP() << (path) << " is not here"
