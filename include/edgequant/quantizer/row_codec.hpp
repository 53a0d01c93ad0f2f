// SPDX-License-Identifier: MIT
/// Rows of any stored format to values and back, for formats that are known at run time.
#pragma once

#include "../core/number_text.hpp"
#include "../format/block_groups.hpp"
#include "../kernel/convert.hpp"
#include "block_search.hpp"
#include "group_encoder.hpp"

#include <cstddef>
#include <variant>

namespace edgequant::inline EDGEQUANT_ABI {

/// Reads values.size() values, a whole number of blocks, from bytes of a readable format. The
/// bytes need no alignment. A carried format is bad_argument.
inline void decode_row(format type, const std::byte* bytes, std::span<float> values);

/// No encoder, or that of one of the formats.
template <class Formats> struct encoders_of;
template <class... F> struct encoders_of<format_list<F...>> {
  using type = std::variant<std::monostate, group_encoder<F>...>;
};

/// Writes rows of one tensor in a writable format. An object is scratch memory for one thread.
class row_encoder {
public:
  /// `name` is for messages and must outlive the encoder. A format that is not writable, or not
  /// by this scale rule: bad_argument. Formats beside q8_0, q5_0 and q4_0 have the rule mse alone.
  row_encoder(format type, const scale_choice& choice, std::string_view name);

  /// Writes row_bytes(type, row.size()) bytes, aligned to 4; the row is finite values in a whole
  /// number of blocks. `importance` is one number a column, or empty, as it must be but for block
  /// formats under the rule mse (else bad_argument); `first` the index of row[0] in the tensor.
  /// bad_value: a value or a scale beyond the format's range.
  void operator()(std::span<const float> row, std::span<const float> importance,
                  std::uint64_t first, std::byte* bytes);

private:
  void require_below(float limit, std::span<const float> row, std::uint64_t first) const;
  void encode_blocks(std::span<const float> row, std::span<const float> importance,
                     std::uint64_t first, std::byte* bytes);

  format type_;
  std::string_view name_;
  bool takes_importance_ = false;
  typename encoders_of<block_formats>::type groups_;
  std::optional<block_search> blocks_;
};

/// decode_row from bytes that are aligned to 8.
inline void decode_aligned(format type, const std::byte* bytes, std::span<float> values) {
  switch (type) {
  case format::f32:
    std::memcpy(values.data(), bytes, values.size_bytes());
    return;
  case format::f16:
    return kernel::from_f16(reinterpret_cast<const std::uint16_t*>(bytes), values);
  case format::bf16:
    return kernel::from_bf16(reinterpret_cast<const std::uint16_t*>(bytes), values);
  case format::f64:
    for (std::size_t i = 0; i < values.size(); ++i)
      values[i] = static_cast<float>(reinterpret_cast<const double*>(bytes)[i]);
    return;
  default:
    break;
  }
  const bool written = visit_block_format(type, [&]<class F>(F) {
    const auto* block = reinterpret_cast<const typename F::block*>(bytes);
    for (std::size_t i = 0; i < values.size(); i += F::group_length)
      kernel::dequantize_block(*block++, values.data() + i);
  });
  const bool known = written || visit_stored_format(type, [&]<class F>(F) {
                       const auto* block = reinterpret_cast<const typename F::block*>(bytes);
                       for (std::size_t i = 0; i < values.size(); i += F::block_length)
                         decode_block<F>(*block++, values.data() + i);
                     });
  if (!known)
    fail(error_code::bad_argument, std::string(name_of(type)),
         "values of this format cannot be read");
}

inline void decode_row(format type, const std::byte* bytes, std::span<float> values) {
  if (reinterpret_cast<std::uintptr_t>(bytes) % sizeof(double) == 0)
    return decode_aligned(type, bytes, values);
  constexpr std::size_t piece = 256; // a multiple of every readable format's block
  alignas(64) std::byte buffer[piece * sizeof(double)];
  for (std::size_t i = 0; i < values.size(); i += piece) {
    const auto part = values.subspan(i, std::min(piece, values.size() - i));
    const std::uint64_t size = row_bytes(type, part.size());
    std::memcpy(buffer, bytes, size);
    decode_aligned(type, buffer, part);
    bytes += size;
  }
}

inline row_encoder::row_encoder(format type, const scale_choice& choice, std::string_view name)
    : type_(type), name_(name) {
  if (info_of(type).use != format_use::writable)
    fail(error_code::bad_argument, std::string(name),
         "format " + std::string(name_of(type)) + " cannot be written");
  visit_block_format(type, [&]<class F>(F) {
    takes_importance_ = choice.rule == scale_rule::mse;
    groups_.emplace<group_encoder<F>>(choice, name);
  });
  const auto layout = find_layout(type);
  if (!layout || groups_.index() != 0) return;
  blocks_.emplace(*layout);
  takes_importance_ = true;
  if (choice.rule != scale_rule::mse)
    fail(error_code::bad_argument, std::string(name),
         "the scales of " + std::string(name_of(type)) + " follow the rule mse alone, not " +
             to_string(choice));
}

inline void row_encoder::operator()(std::span<const float> row, std::span<const float> importance,
                                    std::uint64_t first, std::byte* bytes) {
  if (!importance.empty() && !takes_importance_)
    fail(error_code::bad_argument, std::string(name_),
         "importance does not count in " + std::string(name_of(type_)) + " under this scale rule");
  switch (type_) {
  case format::f32:
    std::memcpy(bytes, row.data(), row.size_bytes());
    return;
  case format::f16:
    require_below(half_overflow, row, first);
    return kernel::to_f16(row, reinterpret_cast<std::uint16_t*>(bytes));
  case format::bf16:
    require_below(bfloat16_overflow, row, first);
    return kernel::to_bf16(row, reinterpret_cast<std::uint16_t*>(bytes));
  default:
    break;
  }
  if (blocks_) return encode_blocks(row, importance, first, bytes);
  visit_block_format(type_, [&]<class F>(F) {
    auto& encoder = std::get<group_encoder<F>>(groups_);
    auto* blocks = reinterpret_cast<typename F::block*>(bytes);
    encoder.encode_row(row, importance, first, blocks);
  });
}

inline void row_encoder::encode_blocks(std::span<const float> row,
                                       std::span<const float> importance, std::uint64_t first,
                                       std::byte* bytes) {
  const std::size_t length = info_of(type_).block_length;
  encoded_block encoded;
  for (std::size_t i = 0; i < row.size(); i += length) {
    if (!(*blocks_)(row.data() + i, importance.empty() ? nullptr : importance.data() + i, encoded))
      fail(error_code::bad_value, std::string(name_),
           "a scale of the block at index " + std::to_string(first + i) +
               " is beyond the range of " + std::string(name_of(type_)));
    pack_block(type_, encoded, bytes);
    bytes += info_of(type_).block_bytes;
  }
}

inline void row_encoder::require_below(float limit, std::span<const float> row,
                                       std::uint64_t first) const {
  if (kernel::absmax_bits(row) < abs_bits(limit)) return;
  std::size_t i = 0;
  while (abs_bits(row[i]) < abs_bits(limit)) ++i;
  fail(error_code::bad_value, std::string(name_),
       "value " + fixed_text(row[i], 6) + " at index " + std::to_string(first + i) +
           " is beyond the range of " + std::string(name_of(type_)));
}

} // namespace edgequant::inline EDGEQUANT_ABI
