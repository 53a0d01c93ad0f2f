// SPDX-License-Identifier: MIT
// GGUF: what parse_gguf takes keeps its promises, and the writer makes it again.
#include "support.hpp"

#include <edgequant/io/gguf_writer.hpp>

namespace {
using namespace fuzz;

constexpr std::string_view place = "m.gguf";

void walk_metadata(const eq::gguf_metadata& metadata) {
  for (const auto& item : metadata) {
    const std::string_view key = item.key;
    require(metadata.find(key) == &item, "every key is found, and there once");
    accepts(place, [&] { (void)metadata.get_uint(key); });
    accepts(place, [&] { (void)metadata.get_float(key); });
    accepts(place, [&] { (void)metadata.get_bool(key); });
    accepts(place, [&] { (void)metadata.get_string(key); });
    accepts(place, [&] { (void)metadata.get_strings(key); });
    accepts(place, [&] { (void)metadata.get_floats(key); });
    accepts(place, [&] { (void)metadata.get_ints(key); });
  }
}

/// The file that the writer makes of what was read, without a disk.
std::vector<std::byte> written(const eq::gguf_file& file) {
  std::vector<eq::tensor_info> infos;
  for (const auto& tensor : file.tensors) infos.push_back({tensor.name, tensor.dims, tensor.type});
  const auto layout = eq::io::detail::lay_out_gguf(file.metadata, infos, place);
  if (layout.file_size > 1 << 16) return {}; // a large alignment: only slow
  auto bytes = eq::io::detail::gguf_head(file.metadata, infos, layout);
  require(bytes.size() == layout.head_bytes, "the size of the head is known");
  bytes.resize(layout.file_size);
  auto* data = bytes.data() + *eq::align_up(layout.head_bytes, layout.alignment);
  for (std::size_t i = 0; i < infos.size(); ++i)
    std::memcpy(data + layout.offsets[i], file.tensors[i].data.data(), layout.sizes[i]);
  return bytes;
}

void require_same(const eq::gguf_file& a, const eq::gguf_file& b) {
  require(a.metadata == b.metadata, "metadata survives a round trip");
  require(a.tensors.size() == b.tensors.size(), "tensors survive a round trip");
  for (std::size_t i = 0; i < a.tensors.size(); ++i) {
    const auto &x = a.tensors[i], &y = b.tensors[i];
    require(x.name == y.name && x.dims == y.dims && x.type == y.type &&
                std::equal(x.data.begin(), x.data.end(), y.data.begin(), y.data.end()),
            "a tensor survives a round trip");
  }
}
} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  eq::gguf_file file;
  if (!accepts(place, [&] { file = eq::parse_gguf(bytes_of(data, size), place); })) return 0;
  walk_metadata(file.metadata);
  for (const auto& tensor : file.tensors) walk_tensor(tensor);
  // Not within accepts(): what was read once must be written and read again.
  if (const auto copy = written(file); !copy.empty())
    require_same(file, eq::parse_gguf(copy, place));
  return 0;
}
