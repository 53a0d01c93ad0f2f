// SPDX-License-Identifier: MIT
/// A small file, whole, as a string.
#pragma once

#include "../system/mapped_file.hpp"
#include "bytes.hpp"

#include <cstdint>
#include <filesystem>
#include <string>

namespace edgequant::inline EDGEQUANT_ABI {

/// The characters of a regular file of 1 to `max_bytes` bytes. Errors as mapped_file; bad_file if
/// the file is larger.
[[nodiscard]] inline std::string read_text_file(const std::filesystem::path& path,
                                                std::uint64_t max_bytes = 64u << 20) {
  const mapped_file file(path);
  const auto text = as_text(file.bytes());
  if (text.size() > max_bytes)
    fail(error_code::bad_file, place_of(path),
         counted(text.size(), "byte") + ", at most " + std::to_string(max_bytes) + " are read");
  return std::string(text);
}

} // namespace edgequant::inline EDGEQUANT_ABI
