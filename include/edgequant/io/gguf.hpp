// SPDX-License-Identifier: MIT
/// Reads GGUF, version 3: metadata copied, tensors in place. Source: ggml docs/gguf.md, and what
/// ggml's own reader refuses.
#pragma once

#include "gguf_metadata.hpp"
#include "tensor.hpp"

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace edgequant::inline EDGEQUANT_ABI {

inline constexpr std::uint32_t gguf_magic = 0x46554747; ///< "GGUF"
inline constexpr std::uint32_t gguf_version = 3;
/// Tensor names in GGUF have at most this many bytes.
inline constexpr std::size_t gguf_name_limit = 63;

struct gguf_file {
  gguf_metadata metadata;
  std::vector<stored_tensor> tensors; ///< in the order of the file, which is that of the data
  std::uint64_t alignment = 32;       ///< of tensor data, in bytes
  std::uint64_t data_offset = 0;      ///< of the first tensor, from the start of the file
  std::shared_ptr<const mapped_file>
      file;                     ///< null after parse_gguf; of a split model the first part
  std::uint64_t file_bytes = 0; ///< of all parts; 0 after parse_gguf
};

/// Maps and reads one file; read_model_gguf() also reads the other parts of a split model.
/// bad_file, naming file, key or tensor, and byte, for anything that contradicts the format;
/// io_error if the file cannot be mapped.
[[nodiscard]] gguf_file read_gguf(const std::filesystem::path& path);

/// The same for a file that is mapped already; messages name its path().
[[nodiscard]] gguf_file read_gguf(std::shared_ptr<const mapped_file> file);

/// The same for bytes in memory, which must outlive the result; `place` stands for the file's name.
[[nodiscard]] gguf_file parse_gguf(std::span<const std::byte> bytes, std::string_view place);

namespace io::detail {

struct gguf_counts {
  std::uint64_t tensors;
  std::uint64_t entries;
};

/// The fixed head. A count is believed only if the bytes left could hold so many: a tensor's entry
/// takes 32 bytes or more, a key-value pair 14.
inline gguf_counts read_gguf_head(byte_reader& reader) {
  if (reader.read<std::uint32_t>("the magic number") != gguf_magic)
    reader.refuse(0, "this is no GGUF file");
  const auto version = reader.read<std::uint32_t>("the version");
  if ((version & 0xffffu) == 0 && version != 0) reader.refuse(4, "a big-endian GGUF file");
  if (version != gguf_version)
    reader.refuse(4, "GGUF version " + std::to_string(version) + ", only 3 is read");
  gguf_counts counts = {};
  counts.tensors = reader.read<std::uint64_t>("the tensor count");
  counts.entries = reader.read<std::uint64_t>("the key count");
  const auto believe = [&](std::uint64_t at, std::uint64_t count, std::string_view what,
                           std::uint64_t least_bytes) {
    if (count > reader.remaining() / least_bytes)
      reader.refuse(at, counted(count, what) + " cannot be in the " +
                            counted(reader.remaining(), "byte") + " left");
  };
  believe(8, counts.tensors, "tensor", 32);
  believe(16, counts.entries, "key", 14);
  return counts;
}

inline gguf_metadata read_gguf_entries(byte_reader& reader, std::span<const std::byte> bytes,
                                       std::uint64_t count) {
  gguf_metadata metadata(reader.place());
  for (std::uint64_t i = 0; i < count; ++i) {
    const auto at = reader.offset();
    gguf_metadata::entry item;
    item.key = read_gguf_string(reader, "a key");
    reader.enter("key", item.key);
    if (item.key.empty()) reader.refuse(at, "an empty key");
    if (metadata.contains(item.key)) reader.refuse(at, "the key is there twice");
    item.type = read_gguf_type(reader);
    const auto begin = reader.offset();
    skip_gguf_value(reader, item.type);
    const auto value = bytes.subspan(begin, reader.offset() - begin);
    item.value.assign(value.begin(), value.end());
    metadata.set_entry(std::move(item));
    reader.leave();
  }
  return metadata;
}

/// A tensor's entry; `bytes` receives the size of its data, `expected_offset` is where it must
/// begin.
inline stored_tensor read_gguf_tensor(byte_reader& reader, std::uint64_t& bytes,
                                      std::uint64_t expected_offset) {
  const auto at = reader.offset();
  stored_tensor tensor;
  tensor.name = read_gguf_string(reader, "a tensor name");
  reader.enter("tensor", tensor.name);
  if (tensor.name.size() > gguf_name_limit)
    reader.refuse(at, "a name of " + counted(tensor.name.size(), "byte") + ", at most 63 fit");
  const auto dims_at = reader.offset();
  const auto n_dims = reader.read<std::uint32_t>("the number of dimensions");
  if (n_dims == 0 || n_dims > max_dims)
    reader.refuse(dims_at, counted(n_dims, "dimension") + " where 1 to 4 are possible");
  for (std::uint32_t i = 0; i < n_dims; ++i)
    tensor.dims.push_back(reader.read<std::uint64_t>("a dimension"));
  const auto type_at = reader.offset();
  const auto type = reader.read<std::uint32_t>("the type");
  const format_row* row = find_format(type);
  if (!row) reader.refuse(type_at, "unknown tensor type " + std::to_string(type));
  tensor.type = row->id;
  bytes = tensor_bytes(tensor.type, tensor.dims, error_code::bad_file, reader.here(dims_at));
  const auto offset_at = reader.offset();
  const auto offset = reader.read<std::uint64_t>("the data offset");
  if (offset != expected_offset)
    reader.refuse(offset_at, "offset " + std::to_string(offset) + " where " +
                                 std::to_string(expected_offset) + " was expected");
  reader.leave();
  return tensor;
}

/// All tensor entries; returns the size of each tensor's data.
inline std::vector<std::uint64_t> read_gguf_tensors(byte_reader& reader, std::uint64_t count,
                                                    gguf_file& result) {
  std::set<std::string, std::less<>> names;
  std::vector<std::uint64_t> sizes;
  std::uint64_t next = 0; // relative to the start of the data
  for (std::uint64_t i = 0; i < count; ++i) {
    const auto at = reader.offset();
    std::uint64_t size = 0;
    auto tensor = read_gguf_tensor(reader, size, next);
    const auto refuse = [&](const char* problem) {
      reader.enter("tensor", tensor.name);
      reader.refuse(at, problem);
    };
    if (!names.insert(tensor.name).second) refuse("the tensor is there twice");
    const auto end = checked_add(next, size);
    const auto padded = end ? align_up(*end, result.alignment) : end;
    if (!padded) refuse("the sum of the tensors' sizes overflows");
    next = *padded;
    sizes.push_back(size);
    result.tensors.push_back(std::move(tensor));
  }
  return sizes;
}

/// Holds the data that the tensors claim against the bytes that are there. The padding behind the
/// last tensor may be missing.
inline void place_gguf_data(const byte_reader& reader, std::span<const std::byte> bytes,
                            std::span<const std::uint64_t> sizes, gguf_file& result) {
  // The cursor is inside the file and the alignment fits 32 bits: this sum has room.
  result.data_offset = *align_up(reader.offset(), result.alignment);
  std::uint64_t begin = result.data_offset;
  for (std::size_t i = 0; i < sizes.size(); ++i) {
    auto& tensor = result.tensors[i];
    if (begin > bytes.size() || sizes[i] > bytes.size() - begin)
      fail(error_code::bad_file,
           place_of(reader.place(), "tensor", tensor.name) + " at byte " + std::to_string(begin),
           counted(sizes[i], "byte") + " of data, the file ends at byte " +
               std::to_string(bytes.size()));
    tensor.data = bytes.subspan(begin, sizes[i]);
    begin = *align_up(begin + sizes[i], result.alignment); // both are inside the file
  }
}

} // namespace io::detail

inline gguf_file parse_gguf(std::span<const std::byte> bytes, std::string_view place) {
  byte_reader reader(bytes, place);
  const auto counts = io::detail::read_gguf_head(reader);
  gguf_file result;
  result.metadata = io::detail::read_gguf_entries(reader, bytes, counts.entries);
  result.alignment = gguf_alignment(result.metadata);
  const auto sizes = io::detail::read_gguf_tensors(reader, counts.tensors, result);
  io::detail::place_gguf_data(reader, bytes, sizes, result);
  return result;
}

inline gguf_file read_gguf(const std::filesystem::path& path) {
  return read_gguf(std::make_shared<const mapped_file>(path));
}

inline gguf_file read_gguf(std::shared_ptr<const mapped_file> file) {
  auto result = parse_gguf(file->bytes(), place_of(file->path()));
  for (auto& tensor : result.tensors) tensor.file = file;
  result.file_bytes = file->bytes().size();
  result.file = std::move(file);
  return result;
}

} // namespace edgequant::inline EDGEQUANT_ABI
