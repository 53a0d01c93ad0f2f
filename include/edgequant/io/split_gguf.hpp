// SPDX-License-Identifier: MIT
/// Reads a GGUF model that is split over several files. Source: the keys split.* and the file names
/// that llama.cpp's gguf-split writes.
#pragma once

#include "gguf.hpp"

#include <array>
#include <cstdio>

namespace edgequant::inline EDGEQUANT_ABI {

/// Maps and reads a model: one file, or all parts of a split one, of which `path` names the first,
/// NAME-00001-of-00003.gguf. The result has the metadata of the first part without split.*, and the
/// tensors of all parts in order, each with the mapping of its own part. Errors of read_gguf();
/// bad_file, naming the part, for a later part as `path`, a file without its name's ending, a part
/// that is missing, and parts whose split.*, other keys or tensors say that they are not of one
/// model.
[[nodiscard]] gguf_file read_model_gguf(const std::filesystem::path& path);

/// bad_file if these keys are those of one part of a split model, of which read_model_gguf() would
/// read all.
void refuse_split_part(const gguf_metadata& metadata);

namespace io::detail {

inline constexpr const char* split_keys[] = {"split.no", "split.count", "split.tensors.count"};

/// Where a file stands in a split model.
struct split_place {
  std::uint64_t number = 0;             ///< from 0
  std::uint64_t count = 0;              ///< of parts; up to 1: the file is not split
  std::optional<std::uint64_t> tensors; ///< of all parts together

  [[nodiscard]] std::string text() const {
    return "part " + std::to_string(number + 1) + " of " + std::to_string(count) +
           " of a split model";
  }
};

[[noreturn]] inline void refuse_split(const gguf_metadata& metadata, const std::string& problem) {
  fail(error_code::bad_file, metadata.place(), problem);
}

[[nodiscard]] inline split_place read_split_place(const gguf_metadata& metadata) {
  split_place part;
  part.count = metadata.get_uint("split.count").value_or(0);
  part.number = metadata.get_uint("split.no").value_or(0);
  part.tensors = metadata.get_uint("split.tensors.count");
  if (part.count > 1)
    for (const char* key : split_keys)
      if (!metadata.contains(key))
        refuse_split(metadata, "one of " + std::to_string(part.count) +
                                   " parts of a split model, without the key '" + key + "'");
  if (part.number != 0 && part.number >= part.count)
    refuse_split(metadata, "split.no is " + std::to_string(part.number) + " where split.count is " +
                               std::to_string(part.count));
  return part;
}

/// What the name of a part ends in.
[[nodiscard]] inline std::string split_ending(std::uint64_t number, std::uint64_t count) {
  std::array<char, 64> text;
  const int length = std::snprintf(text.data(), text.size(), "-%05llu-of-%05llu.gguf",
                                   static_cast<unsigned long long>(number + 1),
                                   static_cast<unsigned long long>(count));
  return {text.data(), static_cast<std::size_t>(length)};
}

/// Adds the tensors of a later part to the first.
inline void join_part(gguf_file& model, gguf_file&& part, const split_place& expected,
                      std::set<std::string, std::less<>>& names) {
  const auto& keys = part.metadata;
  const auto found = read_split_place(keys);
  if (found.number != expected.number || found.count != expected.count)
    refuse_split(keys, "its split.no and split.count are not those of " + expected.text());
  if (found.tensors != expected.tensors)
    refuse_split(keys, expected.text() + ", but of another one: split.tensors.count is " +
                           std::to_string(*found.tensors) + ", the first part's " +
                           std::to_string(*expected.tensors));
  for (const auto& item : keys) {
    if (item.key.starts_with("split.") || item.key == "general.alignment") continue;
    const auto* first = model.metadata.find(item.key);
    if (first == nullptr || !(*first == item))
      fail(error_code::bad_file, place_of(keys.place(), "key", item.key),
           expected.text() + ", and the first part does not say the same");
  }
  for (auto& tensor : part.tensors) {
    if (!names.insert(tensor.name).second)
      fail(error_code::bad_file, place_of(keys.place(), "tensor", tensor.name),
           expected.text() + ", and an earlier part has this tensor too");
    model.tensors.push_back(std::move(tensor));
  }
  model.file_bytes += part.file_bytes;
}

/// Opens the parts behind the first.
inline void join_parts(gguf_file& model, const std::filesystem::path& path, split_place part) {
  const std::string file_name = path.filename().string(), first = split_ending(0, part.count);
  if (part.number != 0)
    refuse_split(model.metadata,
                 part.text() + ": open the first part, '..." + escaped(first) + "', instead");
  if (!file_name.ends_with(first))
    refuse_split(model.metadata, part.text() + ", but its name does not end in '" + first +
                                     "': the other parts cannot be found");
  const std::string stem = file_name.substr(0, file_name.size() - first.size());
  std::set<std::string, std::less<>> names;
  for (const auto& tensor : model.tensors) names.insert(tensor.name);
  for (part.number = 1; part.number < part.count; ++part.number) {
    const auto next = path.parent_path() / (stem + split_ending(part.number, part.count));
    std::error_code error; // the open that follows says it better
    if (!std::filesystem::exists(next, error) && !error)
      refuse_split(model.metadata, "part 1 of " + std::to_string(part.count) +
                                       " of a split model: part " +
                                       std::to_string(part.number + 1) + ", '" +
                                       escaped(next.filename().string()) + "', is missing");
    join_part(model, read_gguf(next), part, names);
  }
}

} // namespace io::detail

inline gguf_file read_model_gguf(const std::filesystem::path& path) {
  auto model = read_gguf(path);
  const auto part = io::detail::read_split_place(model.metadata);
  if (part.count > 1) io::detail::join_parts(model, path, part);
  if (part.tensors && *part.tensors != model.tensors.size())
    io::detail::refuse_split(model.metadata, counted(model.tensors.size(), "tensor") +
                                                 " where split.tensors.count says " +
                                                 std::to_string(*part.tensors));
  if (part.count > 1)
    for (const char* key : io::detail::split_keys) model.metadata.erase(key);
  return model;
}

inline void refuse_split_part(const gguf_metadata& metadata) {
  const auto part = io::detail::read_split_place(metadata);
  if (part.count > 1) io::detail::refuse_split(metadata, part.text() + ", without the others");
}

} // namespace edgequant::inline EDGEQUANT_ABI
