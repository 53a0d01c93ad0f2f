// SPDX-License-Identifier: MIT
/// A tensor as a file stores it, and the size of one.
#pragma once

#include "../core/checked.hpp"
#include "../format/format.hpp"
#include "../system/mapped_file.hpp"

#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace edgequant::inline EDGEQUANT_ABI {

/// Dimensions that a tensor may have.
inline constexpr std::size_t max_dims = 4;

/// A tensor as it lies in a file (or in memory): nothing is copied. What the readers of this room
/// return satisfies tensor_bytes(), and `data` has exactly that size.
struct stored_tensor {
  std::string name;
  std::vector<std::uint64_t> dims; ///< dims[0] varies fastest (columns); 1 to 4 entries, none 0
  edgequant::format type = edgequant::format::f32;
  std::span<const std::byte> data;
  std::shared_ptr<const mapped_file> file;              ///< owner of data when mapped
  std::shared_ptr<const std::vector<std::byte>> memory; ///< owner of data when made in memory

  /// Values in a row.
  [[nodiscard]] std::uint64_t columns() const noexcept { return dims.empty() ? 0 : dims[0]; }
  /// Product of all dims but the first.
  [[nodiscard]] std::uint64_t rows() const noexcept;
  [[nodiscard]] std::uint64_t values() const noexcept { return columns() * rows(); }
};

/// A tensor in memory that owns its bytes.
[[nodiscard]] stored_tensor make_tensor(std::string name, std::vector<std::uint64_t> dims,
                                        edgequant::format type, std::vector<std::byte> bytes);

/// Bytes of a tensor. Fails with `code` at `place` unless there are 1 to 4 dims, none 0, whose
/// product fits 63 bits, the bytes fit 64, and dims[0] is a multiple of the block length.
[[nodiscard]] std::uint64_t tensor_bytes(edgequant::format type,
                                         std::span<const std::uint64_t> dims, error_code code,
                                         const std::string& place);

inline std::uint64_t stored_tensor::rows() const noexcept {
  std::uint64_t product = 1;
  for (std::size_t i = 1; i < dims.size(); ++i) product *= dims[i];
  return product;
}

inline stored_tensor make_tensor(std::string name, std::vector<std::uint64_t> dims,
                                 edgequant::format type, std::vector<std::byte> bytes) {
  stored_tensor tensor;
  tensor.name = std::move(name);
  tensor.dims = std::move(dims);
  tensor.type = type;
  tensor.memory = std::make_shared<const std::vector<std::byte>>(std::move(bytes));
  tensor.data = *tensor.memory;
  return tensor;
}

inline std::uint64_t tensor_bytes(edgequant::format type, std::span<const std::uint64_t> dims,
                                  error_code code, const std::string& place) {
  if (dims.empty() || dims.size() > max_dims)
    fail(code, place, counted(dims.size(), "dimension") + " where 1 to 4 are possible");
  std::uint64_t values = 1;
  for (std::size_t i = 0; i < dims.size(); ++i) {
    if (dims[i] == 0) fail(code, place, "dimension " + std::to_string(i) + " is 0");
    const auto product = checked_multiply(values, dims[i]);
    if (!product || *product > std::uint64_t{std::numeric_limits<std::int64_t>::max()})
      fail(code, place, "the product of its dimensions overflows");
    values = *product;
  }
  const format_row& row = info_of(type);
  if (dims[0] % row.block_length != 0)
    fail(code, place,
         "rows of " + counted(dims[0], "value") + " are no multiple of the " +
             std::to_string(row.block_length) + " in a block of " + std::string(row.name));
  const auto bytes = checked_multiply(values / row.block_length, row.block_bytes);
  if (!bytes) fail(code, place, "its size in bytes overflows");
  return *bytes;
}

} // namespace edgequant::inline EDGEQUANT_ABI
