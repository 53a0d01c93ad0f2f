// SPDX-License-Identifier: MIT
/// A check before a job begins: no file that it writes is one that it reads.
#pragma once

#include "output_file.hpp"

#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <system_error>

#include <sys/stat.h>

namespace edgequant::inline EDGEQUANT_ABI {

/// A file, or a folder for files, that a job writes.
struct named_output {
  std::string option;         ///< for messages: "OUT", "--report"
  std::filesystem::path path; ///< empty: not asked for
  /// The one input that it may replace: a job that reads its input through a mapping and writes an
  /// output_file may have the same file for both. Empty: none.
  std::filesystem::path may_replace = {};
};

/// Fails with bad_argument, `OPTION PATH: ...`, where an output is an input or another output.
/// Files that exist are told apart by device and inode, so that symbolic links, hard links and
/// spellings that a file system takes for one another do not matter; others by their path without
/// links, "." and "..". A folder stands for itself and for every file in it and below it. Empty
/// inputs are skipped, missing ones are nobody's. Call before anything is written.
void require_separate_files(std::span<const named_output> outputs,
                            std::span<const std::filesystem::path> inputs);

namespace system::detail {

/// What a path leads to: a file that exists, or a place for one.
struct file_identity {
  std::optional<struct stat> facts;
  std::filesystem::path place;

  [[nodiscard]] bool is_folder() const noexcept { return facts && S_ISDIR(facts->st_mode); }
  friend bool operator==(const file_identity& a, const file_identity& b) {
    if (a.facts && b.facts)
      return a.facts->st_dev == b.facts->st_dev && a.facts->st_ino == b.facts->st_ino;
    return !a.facts && !b.facts && a.place == b.place;
  }
};

/// Symbolic links are followed even where they lead to no file yet: a write would make it there.
[[nodiscard]] inline file_identity identity_of(const std::filesystem::path& path) {
  file_identity identity;
  struct stat facts = {};
  if (::stat(path.c_str(), &facts) == 0) {
    identity.facts = facts;
    return identity;
  }
  const auto target = follow_links(path, place_of(path));
  std::error_code error;
  const auto absolute = std::filesystem::absolute(target, error);
  identity.place = std::filesystem::weakly_canonical(absolute, error);
  if (error) identity.place = absolute.lexically_normal();
  return identity;
}

/// The path under which `file` is found: `place` itself or a file below it. Empty: it is not there.
[[nodiscard]] inline std::filesystem::path find_at(const file_identity& file,
                                                   const std::filesystem::path& place) {
  const file_identity there = identity_of(place);
  if (file == there) return place;
  if (!there.is_folder() || !file.facts) return {};
  namespace fs = std::filesystem;
  std::error_code error;
  fs::recursive_directory_iterator entry(place, fs::directory_options::skip_permission_denied,
                                         error);
  for (; !error && entry != fs::recursive_directory_iterator(); entry.increment(error)) {
    struct stat facts = {};
    if (::stat(entry->path().c_str(), &facts) != 0) continue; // a link to nowhere
    if (file == file_identity{facts, {}}) return entry->path();
  }
  return {};
}

[[noreturn]] inline void refuse_shared_file(const named_output& output, const std::string& other) {
  fail(error_code::bad_argument, output.option + " " + place_of(output.path),
       "needs a file of its own, this is also " + other);
}

inline void require_no_input(const named_output& output,
                             std::span<const std::filesystem::path> inputs) {
  const file_identity file = identity_of(output.path);
  const bool replaces =
      !output.may_replace.empty() && !file.is_folder() && file == identity_of(output.may_replace);
  for (const auto& input : inputs) {
    // The allowed input is this one by its path; the same file under another option is not.
    if (input.empty() || (replaces && input == output.may_replace)) continue;
    if (const auto found = find_at(file, input); !found.empty())
      refuse_shared_file(output, "the input " + place_of(found));
    if (file.is_folder() && !find_at(identity_of(input), output.path).empty())
      refuse_shared_file(output, "where the input " + place_of(input) + " is");
  }
}

} // namespace system::detail

inline void require_separate_files(std::span<const named_output> outputs,
                                   std::span<const std::filesystem::path> inputs) {
  for (std::size_t i = 0; i < outputs.size(); ++i) {
    const named_output& output = outputs[i];
    if (output.path.empty()) continue;
    system::detail::require_no_input(output, inputs);
    for (const named_output& other : outputs.first(i)) {
      if (other.path.empty()) continue;
      if (!system::detail::find_at(system::detail::identity_of(output.path), other.path).empty() ||
          !system::detail::find_at(system::detail::identity_of(other.path), output.path).empty())
        system::detail::refuse_shared_file(output, "that of " + other.option);
    }
  }
}

} // namespace edgequant::inline EDGEQUANT_ABI
