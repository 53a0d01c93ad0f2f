// SPDX-License-Identifier: MIT
/// Cuts a GGUF model into parts, for the tests of split models.
#pragma once

#include "io/support.hpp"

#include <edgequant/io/gguf_writer.hpp>
#include <edgequant/io/split_gguf.hpp>

#include <functional>

namespace io_test {

/// What a test may spoil in a part: its keys and its tensors.
using part_change =
    std::function<void(std::size_t part, eq::gguf_metadata&, std::vector<eq::stored_tensor>&)>;

inline std::string part_name(std::size_t part, std::size_t count) {
  return "m-0000" + std::to_string(part + 1) + "-of-0000" + std::to_string(count) + ".gguf";
}

/// Writes `model` to m-00001-of-0000N.gguf ... in `folder`; part p takes the tensors for which
/// part_of(name) is p. Returns the first.
inline std::filesystem::path
write_parts(const std::filesystem::path& folder, const eq::gguf_file& model, std::size_t count,
            const std::function<std::size_t(const std::string&)>& part_of,
            const part_change& change = {}) {
  for (std::size_t p = 0; p < count; ++p) {
    eq::gguf_metadata keys;
    if (p == 0) keys = model.metadata;
    keys.set("split.no", static_cast<std::uint16_t>(p));
    keys.set("split.count", static_cast<std::uint16_t>(count));
    keys.set("split.tensors.count", static_cast<std::int32_t>(model.tensors.size()));
    std::vector<eq::stored_tensor> tensors;
    for (const auto& t : model.tensors)
      if (part_of(t.name) == p) tensors.push_back(t);
    if (change) change(p, keys, tensors);
    std::vector<eq::tensor_info> infos;
    for (const auto& t : tensors) infos.push_back({t.name, t.dims, t.type});
    eq::gguf_writer writer(folder / part_name(p, count), keys, infos);
    for (const auto& t : tensors) writer.write(t.data);
    writer.finish();
  }
  return folder / part_name(0, count);
}

} // namespace io_test
