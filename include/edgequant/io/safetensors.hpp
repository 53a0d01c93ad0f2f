// SPDX-License-Identifier: MIT
/// Reads safetensors, whole or in shards. Source: the README of huggingface/safetensors.
#pragma once

#include "json.hpp"
#include "tensor.hpp"
#include "text_file.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace edgequant::inline EDGEQUANT_ABI {

struct safetensors_model {
  std::vector<stored_tensor> tensors;          ///< in the order of the data; shards by name
  std::map<std::string, std::string> metadata; ///< "__metadata__"; of shards, the first to say it
  std::filesystem::path folder;                ///< where config.json and the tokenizer may lie
};

/// Longest header that is read, in bytes; the format's own limit.
inline constexpr std::uint64_t safetensors_header_limit = 100'000'000;

/// Maps a file, or a folder with model.safetensors.index.json and the shards that it names, with
/// model.safetensors, or with exactly one file *.safetensors. Shapes come reversed: dims[0] is the
/// last axis; a tensor without axes has one value. Errors name file and tensor: bad_file for
/// anything that contradicts the format or the index, for a dtype other than F64 F32 F16 BF16 I8
/// I16 I32 I64, for more than 4 axes and for tensors without values; io_error for a missing file.
[[nodiscard]] safetensors_model read_safetensors(const std::filesystem::path& file_or_folder);

/// The same for one file's bytes in memory, which must outlive the result; `place` stands for the
/// file's name.
[[nodiscard]] safetensors_model parse_safetensors(std::span<const std::byte> bytes,
                                                  std::string_view place);

namespace io::detail {

struct safetensors_dtype {
  std::string_view name;
  edgequant::format type;
};
inline constexpr safetensors_dtype safetensors_dtypes[] = {
    {"F64", format::f64}, {"F32", format::f32}, {"F16", format::f16}, {"BF16", format::bf16},
    {"I8", format::i8},   {"I16", format::i16}, {"I32", format::i32}, {"I64", format::i64}};

/// A member of a JSON object, or null.
inline const nlohmann::json* member(const nlohmann::json& object, const char* key) {
  const auto found = object.find(key);
  return found == object.end() ? nullptr : &*found;
}

inline std::uint64_t unsigned_of(const nlohmann::json& value, const std::string& place,
                                 const char* what) {
  if (!value.is_number_unsigned())
    fail(error_code::bad_file, place, std::string(what) + " that is no unsigned 64-bit integer");
  return value.get<std::uint64_t>();
}

inline edgequant::format dtype_of(const nlohmann::json& tensor, std::string_view place,
                                  const std::string& name) {
  const auto* dtype = member(tensor, "dtype");
  if (!dtype || !dtype->is_string())
    fail(error_code::bad_file, place_of(place, "tensor", name), "no dtype");
  const auto& text = dtype->get_ref<const std::string&>();
  for (const auto& row : safetensors_dtypes)
    if (row.name == text) return row.type;
  fail(error_code::bad_file, std::string(place),
       "dtype " + escaped(text) + " of tensor '" + escaped(name) + "' is not supported");
}

/// dims of a "shape"; tensor_bytes() checks them.
inline std::vector<std::uint64_t> dims_of(const nlohmann::json& tensor, const std::string& place) {
  const auto* shape = member(tensor, "shape");
  if (!shape || !shape->is_array()) fail(error_code::bad_file, place, "no shape");
  std::vector<std::uint64_t> dims;
  for (auto axis = shape->rbegin(); axis != shape->rend(); ++axis)
    dims.push_back(unsigned_of(*axis, place, "a dimension"));
  if (dims.empty()) dims.push_back(1);
  return dims;
}

inline stored_tensor safetensors_entry(const nlohmann::json& entry, const std::string& name,
                                       std::string_view place, std::span<const std::byte> data) {
  const std::string where = place_of(place, "tensor", name);
  if (!entry.is_object()) fail(error_code::bad_file, where, "no JSON object");
  stored_tensor tensor;
  tensor.name = name;
  tensor.type = dtype_of(entry, place, name);
  tensor.dims = dims_of(entry, where);
  const auto bytes = tensor_bytes(tensor.type, tensor.dims, error_code::bad_file, where);
  const auto* offsets = member(entry, "data_offsets");
  if (!offsets || !offsets->is_array() || offsets->size() != 2)
    fail(error_code::bad_file, where, "no data_offsets");
  const auto begin = unsigned_of((*offsets)[0], where, "a data offset");
  const auto end = unsigned_of((*offsets)[1], where, "a data offset");
  const std::string range = "data_offsets " + std::to_string(begin) + " to " + std::to_string(end);
  if (begin > end || end > data.size())
    fail(error_code::bad_file, where, range + " in " + counted(data.size(), "byte") + " of data");
  if (end - begin != bytes)
    fail(error_code::bad_file, where, range + ", its shape needs " + counted(bytes, "byte"));
  tensor.data = data.subspan(begin, bytes);
  return tensor;
}

/// Sorts by offset and holds the tensors against the data: no hole, no overlap, nothing behind.
inline void order_by_data(std::vector<stored_tensor>& tensors, std::span<const std::byte> data,
                          std::uint64_t data_offset, std::string_view place) {
  const auto begin_of = [&](const stored_tensor& tensor) {
    return static_cast<std::uint64_t>(tensor.data.data() - data.data());
  };
  std::sort(tensors.begin(), tensors.end(), [&](const auto& a, const auto& b) {
    return begin_of(a) != begin_of(b) ? begin_of(a) < begin_of(b) : a.name < b.name;
  });
  std::uint64_t next = 0;
  for (const auto& tensor : tensors) {
    if (begin_of(tensor) != next)
      fail(error_code::bad_file,
           place_of(place, "tensor", tensor.name) + " at byte " +
               std::to_string(data_offset + begin_of(tensor)),
           "data offset " + std::to_string(begin_of(tensor)) + " where " + std::to_string(next) +
               " was expected");
    next += tensor.data.size();
  }
  if (next != data.size())
    byte_reader({}, place).refuse(data_offset + next, counted(data.size() - next, "byte") +
                                                          " that belong to no tensor");
}

inline std::map<std::string, std::string> safetensors_metadata(const nlohmann::json& entry,
                                                               std::string_view place) {
  std::map<std::string, std::string> metadata;
  const std::string where = place_of(place, "key", "__metadata__");
  if (!entry.is_object()) fail(error_code::bad_file, where, "no JSON object");
  for (const auto& [key, value] : entry.items()) {
    if (!value.is_string()) fail(error_code::bad_file, place_of(where, "key", key), "no string");
    metadata[key] = value.get<std::string>();
  }
  return metadata;
}

/// Fails unless `shard` is the bare name of a file: nothing that leads out of the folder.
inline void require_bare_name(const std::string& shard, const std::string& place) {
  const bool bare = !shard.empty() && shard != "." && shard.find("..") == shard.npos &&
                    std::all_of(shard.begin(), shard.end(), [](char c) {
                      return c >= 0x20 && c < 0x7f && c != '/' && c != '\\';
                    });
  if (!bare) fail(error_code::bad_file, place, "shard '" + escaped(shard) + "' is no plain name");
}

/// Tensor names of each shard of an index.
inline std::map<std::string, std::string> weight_map_of(const std::filesystem::path& index) {
  const std::string place = place_of(index);
  const auto json = parse_json(read_text_file(index, safetensors_header_limit), place);
  const auto* map = json.is_object() ? member(json, "weight_map") : nullptr;
  if (!map || !map->is_object()) fail(error_code::bad_file, place, "no weight_map");
  std::map<std::string, std::string> shard_of;
  for (const auto& [tensor, shard] : map->items()) {
    const auto where = place_of(place, "tensor", tensor);
    if (!shard.is_string()) fail(error_code::bad_file, where, "its shard is no string");
    require_bare_name(shard_of[tensor] = shard.get<std::string>(), where);
  }
  if (shard_of.empty()) fail(error_code::bad_file, place, "the weight_map is empty");
  return shard_of;
}

inline safetensors_model read_safetensors_file(const std::filesystem::path& path) {
  const auto file = std::make_shared<const mapped_file>(path);
  auto model = parse_safetensors(file->bytes(), place_of(path));
  for (auto& tensor : model.tensors) tensor.file = file;
  model.folder = path.has_parent_path() ? path.parent_path() : std::filesystem::path(".");
  return model;
}

inline safetensors_model read_safetensors_shards(const std::filesystem::path& index) {
  auto missing = weight_map_of(index); // tensors not met yet
  const auto shard_of = missing;
  std::set<std::string> shards;
  for (const auto& [tensor, shard] : shard_of) shards.insert(shard);
  safetensors_model model;
  model.folder = index.parent_path();
  for (const auto& shard : shards) {
    auto part = read_safetensors_file(model.folder / shard);
    for (auto& tensor : part.tensors) {
      const auto where = place_of(place_of(model.folder / shard), "tensor", tensor.name);
      const auto named = shard_of.find(tensor.name);
      if (named == shard_of.end()) fail(error_code::bad_file, where, "the index does not name it");
      if (named->second != shard)
        fail(error_code::bad_file, where, "the index has it in " + named->second);
      missing.erase(tensor.name);
      model.tensors.push_back(std::move(tensor));
    }
    model.metadata.merge(part.metadata);
  }
  if (!missing.empty())
    fail(error_code::bad_file, place_of(place_of(index), "tensor", missing.begin()->first),
         "it is not in " + missing.begin()->second);
  return model;
}

} // namespace io::detail

inline safetensors_model parse_safetensors(std::span<const std::byte> bytes,
                                           std::string_view place) {
  byte_reader reader(bytes, place);
  const auto length = reader.read<std::uint64_t>("the header length");
  if (length > safetensors_header_limit || length > reader.remaining())
    reader.refuse(0, "a header of " + counted(length, "byte") + ", the file has " +
                         std::to_string(reader.remaining()) + " more and the limit is 100000000");
  const auto header = as_text(reader.read_bytes(length, "the header"));
  if (header.empty() || header[0] != '{') reader.refuse(8, "the header does not begin with {");
  const auto json = parse_json(header, place, 16, 8);
  const auto data = reader.read_bytes(reader.remaining(), "the data");
  safetensors_model model;
  for (const auto& [name, entry] : json.items())
    if (name == "__metadata__")
      model.metadata = io::detail::safetensors_metadata(entry, place);
    else
      model.tensors.push_back(io::detail::safetensors_entry(entry, name, place, data));
  io::detail::order_by_data(model.tensors, data, 8 + length, place);
  return model;
}

inline safetensors_model read_safetensors(const std::filesystem::path& file_or_folder) {
  namespace fs = std::filesystem;
  std::error_code error;
  if (!fs::is_directory(file_or_folder, error))
    return io::detail::read_safetensors_file(file_or_folder);
  if (const auto index = file_or_folder / "model.safetensors.index.json"; fs::exists(index, error))
    return io::detail::read_safetensors_shards(index);
  if (const auto file = file_or_folder / "model.safetensors"; fs::exists(file, error))
    return io::detail::read_safetensors_file(file);
  std::vector<fs::path> found;
  for (fs::directory_iterator at(file_or_folder, error), end; !error && at != end;
       at.increment(error))
    if (at->path().extension() == ".safetensors") found.push_back(at->path());
  if (found.size() != 1)
    fail(error_code::io_error, place_of(file_or_folder),
         "neither model.safetensors.index.json nor model.safetensors, and " +
             counted(found.size(), "other file") + " *.safetensors where one is expected");
  return io::detail::read_safetensors_file(found[0]);
}

} // namespace edgequant::inline EDGEQUANT_ABI
