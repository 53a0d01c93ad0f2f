// SPDX-License-Identifier: MIT
// Feeds files, and the files of folders, to a fuzz target: the stored inputs as a test, with any
// compiler.
//   gguf_replay PATH...
#include "support.hpp"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>

namespace {
namespace fs = std::filesystem;

std::vector<fs::path> files_of(const fs::path& path) {
  if (!fs::is_directory(path)) return {path};
  std::vector<fs::path> files;
  for (const auto& entry : fs::directory_iterator(path))
    if (entry.is_regular_file()) files.push_back(entry.path());
  std::sort(files.begin(), files.end());
  return files;
}
} // namespace

int main(int argc, char** argv) {
  std::size_t count = 0;
  for (int i = 1; i < argc; ++i)
    for (const auto& file : files_of(argv[i])) {
      std::ifstream in(file, std::ios::binary);
      const std::string text{std::istreambuf_iterator<char>(in), {}};
      if (!in) return std::fprintf(stderr, "%s: cannot read\n", file.c_str()), 1;
      // A vector of exactly its size: a sanitizer then sees the first byte beyond it.
      const std::vector<std::uint8_t> bytes(text.begin(), text.end());
      std::fprintf(stderr, "%s\n", file.c_str()); // the last one printed is the one that failed
      LLVMFuzzerTestOneInput(bytes.data(), bytes.size());
      ++count;
    }
  std::printf("%zu inputs\n", count);
  return count == 0 ? 1 : 0;
}
