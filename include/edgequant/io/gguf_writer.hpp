// SPDX-License-Identifier: MIT
/// Writes GGUF, version 3, tensor by tensor, without holding one in memory.
#pragma once

#include "../system/output_file.hpp"
#include "gguf.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <vector>

namespace edgequant::inline EDGEQUANT_ABI {

/// What a file says about a tensor before its data.
struct tensor_info {
  std::string name;                ///< at most 63 bytes
  std::vector<std::uint64_t> dims; ///< dims[0] varies fastest (columns); 1 to 4 entries, none 0
  edgequant::format type = edgequant::format::f32;
};

/// The exact size in bytes of the file that gguf_writer makes from the same arguments. bad_argument
/// for a name that is too long or there twice, and for dims that the format cannot hold; bad_file
/// for an alignment in the metadata that gguf_alignment() refuses.
[[nodiscard]] std::uint64_t gguf_file_size(const gguf_metadata& metadata,
                                           std::span<const tensor_info> tensors);

/// A GGUF file in the making. It appears under its name in finish(), complete; before that, or
/// without it, a file of that name stays as it was.
class gguf_writer {
public:
  /// Errors as gguf_file_size() and output_file.
  gguf_writer(const std::filesystem::path& target, const gguf_metadata& metadata,
              std::span<const tensor_info> tensors);
  /// Writes into `output`, which has taken nothing yet and must outlive the writer; finish()
  /// commits it. `place` stands for the file's name in messages.
  gguf_writer(byte_sink& output, std::string place, const gguf_metadata& metadata,
              std::span<const tensor_info> tensors);
  gguf_writer(const gguf_writer&) = delete;
  gguf_writer& operator=(const gguf_writer&) = delete;

  /// Takes the tensors' data in order, in pieces of any size, without padding. bad_argument for a
  /// byte more than the tensors hold.
  void write(std::span<const std::byte> data);
  /// bad_argument unless all data came. Call once, last.
  void finish();
  /// Bytes of the whole file, known from the start.
  [[nodiscard]] std::uint64_t file_size() const noexcept { return file_size_; }

private:
  void begin(const gguf_metadata& metadata, std::span<const tensor_info> tensors);
  void pad();

  std::string place_;
  std::optional<output_file> file_; // empty where the caller has the sink
  byte_sink* output_;
  std::vector<std::string> names_;
  std::vector<std::uint64_t> sizes_;
  std::uint64_t alignment_;
  std::uint64_t file_size_;
  std::size_t current_ = 0; // the tensor that the next byte belongs to
  std::uint64_t left_ = 0;  // bytes that it still lacks
};

namespace io::detail {

struct gguf_layout {
  std::uint64_t alignment = 32;
  std::uint64_t head_bytes = 0; // before padding
  std::uint64_t file_size = 0;
  std::vector<std::uint64_t> sizes;   // of each tensor
  std::vector<std::uint64_t> offsets; // of each tensor, from the start of the data
};

inline gguf_layout lay_out_gguf(const gguf_metadata& metadata, std::span<const tensor_info> tensors,
                                std::string_view place) {
  gguf_layout layout;
  layout.alignment = gguf_alignment(metadata);
  layout.head_bytes = 24 + metadata.serialized_bytes();
  std::set<std::string_view> names;
  std::uint64_t next = 0;
  for (const auto& tensor : tensors) {
    const std::string where = place_of(place, "tensor", tensor.name);
    if (tensor.name.size() > gguf_name_limit)
      fail(error_code::bad_argument, where,
           "a name of " + counted(tensor.name.size(), "byte") + ", at most 63 fit");
    if (!names.insert(tensor.name).second)
      fail(error_code::bad_argument, where, "the tensor is there twice");
    const auto size = tensor_bytes(tensor.type, tensor.dims, error_code::bad_argument, where);
    const auto end = checked_add(next, size);
    const auto padded = end ? align_up(*end, layout.alignment) : end;
    if (!padded) fail(error_code::bad_argument, where, "the sum of the tensors' sizes overflows");
    layout.head_bytes += 8 + tensor.name.size() + 4 + 8 * tensor.dims.size() + 4 + 8;
    layout.sizes.push_back(size);
    layout.offsets.push_back(next);
    next = *padded;
  }
  const auto data_offset = align_up(layout.head_bytes, layout.alignment);
  const auto size = data_offset ? checked_add(*data_offset, next) : data_offset;
  if (!size) fail(error_code::bad_argument, std::string(place), "the file's size overflows");
  layout.file_size = *size;
  return layout;
}

inline std::vector<std::byte> gguf_head(const gguf_metadata& metadata,
                                        std::span<const tensor_info> tensors,
                                        const gguf_layout& layout) {
  std::vector<std::byte> head;
  head.reserve(layout.head_bytes);
  const auto append_string = [&](std::string_view text) {
    append_number(head, std::uint64_t{text.size()});
    append_text(head, text);
  };
  append_number(head, gguf_magic);
  append_number(head, gguf_version);
  append_number(head, std::uint64_t{tensors.size()});
  append_number(head, std::uint64_t{metadata.size()});
  for (const auto& item : metadata) {
    append_string(item.key);
    append_number(head, static_cast<std::uint32_t>(item.type));
    head.insert(head.end(), item.value.begin(), item.value.end());
  }
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    append_string(tensors[i].name);
    append_number(head, static_cast<std::uint32_t>(tensors[i].dims.size()));
    for (const auto dim : tensors[i].dims) append_number(head, dim);
    append_number(head, static_cast<std::uint32_t>(tensors[i].type));
    append_number(head, layout.offsets[i]);
  }
  return head;
}

} // namespace io::detail

inline std::uint64_t gguf_file_size(const gguf_metadata& metadata,
                                    std::span<const tensor_info> tensors) {
  return io::detail::lay_out_gguf(metadata, tensors, {}).file_size;
}

inline gguf_writer::gguf_writer(const std::filesystem::path& target, const gguf_metadata& metadata,
                                std::span<const tensor_info> tensors)
    : place_(place_of(target)), file_(target), output_(&*file_) {
  begin(metadata, tensors);
}

inline gguf_writer::gguf_writer(byte_sink& output, std::string place, const gguf_metadata& metadata,
                                std::span<const tensor_info> tensors)
    : place_(std::move(place)), output_(&output) {
  begin(metadata, tensors);
}

inline void gguf_writer::begin(const gguf_metadata& metadata,
                               std::span<const tensor_info> tensors) {
  auto layout = io::detail::lay_out_gguf(metadata, tensors, place_);
  for (const auto& tensor : tensors) names_.push_back(tensor.name);
  sizes_ = std::move(layout.sizes);
  alignment_ = layout.alignment;
  file_size_ = layout.file_size;
  output_->write(io::detail::gguf_head(metadata, tensors, layout));
  pad();
  if (!sizes_.empty()) left_ = sizes_[0];
}

inline void gguf_writer::pad() {
  constexpr std::array<std::byte, 4096> zeros = {};
  // The sum cannot overflow: file_size_ is such a sum too, and not smaller.
  for (auto gap = *align_up(output_->size(), alignment_) - output_->size(); gap != 0;) {
    const auto part = std::min<std::uint64_t>(gap, zeros.size());
    output_->write(std::span(zeros).first(static_cast<std::size_t>(part)));
    gap -= part;
  }
}

inline void gguf_writer::write(std::span<const std::byte> data) {
  while (!data.empty()) {
    if (current_ == sizes_.size())
      fail(error_code::bad_argument, place_,
           counted(data.size(), "byte") + " more than the tensors hold");
    const auto part =
        data.first(static_cast<std::size_t>(std::min<std::uint64_t>(data.size(), left_)));
    output_->write(part);
    data = data.subspan(part.size());
    left_ -= part.size();
    if (left_ != 0) continue;
    pad();
    if (++current_ < sizes_.size()) left_ = sizes_[current_];
  }
}

inline void gguf_writer::finish() {
  if (current_ != sizes_.size())
    fail(error_code::bad_argument, place_of(place_, "tensor", names_[current_]),
         "its last " + counted(left_, "byte") + " did not come");
  output_->commit();
}

} // namespace edgequant::inline EDGEQUANT_ABI
