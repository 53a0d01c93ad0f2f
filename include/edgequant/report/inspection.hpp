// SPDX-License-Identifier: MIT
/// What a model file holds, and in what two files differ.
#pragma once

#include "../core/progress.hpp"
#include "../metric/error.hpp"
#include "../model/model_source.hpp"
#include "../quantizer/row_codec.hpp"
#include "../system/parallel_for.hpp"

#include <map>
#include <optional>
#include <string>
#include <vector>

namespace edgequant::inline EDGEQUANT_ABI {

/// Tensors that are counted together.
struct tensor_totals {
  std::uint64_t tensors = 0, values = 0, bytes = 0;

  void add(const stored_tensor& tensor) {
    ++tensors, values += tensor.values(), bytes += tensor.data.size();
  }
  [[nodiscard]] double bits_per_weight() const noexcept {
    return values == 0 ? 0 : 8 * static_cast<double>(bytes) / static_cast<double>(values);
  }
};

/// A model in figures. It refers to its source, which must outlive it.
struct model_inspection {
  const model_source* source = nullptr;
  tensor_totals all;
  std::map<std::string, tensor_totals> formats;  ///< by name of the format
  std::map<std::string, tensor_totals> roles;    ///< by tensor_role()
  std::map<std::uint64_t, tensor_totals> layers; ///< by number; tensors of no layer are left out
};

/// What differs between two models.
struct model_difference {
  enum class place : std::uint8_t { both, first_only, second_only };
  struct key {
    std::string name;
    place where = place::both; ///< both: the values differ
  };
  struct tensor {
    std::string name;
    place where = place::both;
    const stored_tensor *first = nullptr, *second = nullptr;
    /// Errors of the second one's values; nothing where shapes differ or a format is not read.
    std::optional<error_accumulator> error;
  };
  std::vector<key> keys;       ///< in the order of the first model, then of the second
  std::vector<tensor> tensors; ///< all of them, equal ones too
  error_accumulator error;     ///< of all tensors that were compared
};

/// The part of a tensor's name that layers share: `blk.3.attn_q.weight` is `attn_q`,
/// `token_embd.weight` `token_embd`; a bias is `attn_q.bias`.
[[nodiscard]] std::string tensor_role(std::string_view name);
/// The layer in a name `blk.N.`, if it has one.
[[nodiscard]] std::optional<std::uint64_t> layer_of(std::string_view name);

[[nodiscard]] model_inspection inspect_model(const model_source& source);

/// Reads all values of both: what is not finite in a tensor leaves it without an error. Both must
/// outlive the result.
[[nodiscard]] model_difference compare_models(const model_source& first, const model_source& second,
                                              unsigned threads = 0,
                                              const progress_callback& listener = {});

inline std::optional<std::uint64_t> layer_of(std::string_view name) {
  if (!name.starts_with("blk.")) return std::nullopt;
  name.remove_prefix(4);
  const auto dot = name.find('.');
  const auto digits = name.substr(0, dot);
  if (dot == name.npos || digits.empty() || digits.size() > 9 ||
      digits.find_first_not_of("0123456789") != digits.npos)
    return std::nullopt;
  std::uint64_t number = 0;
  for (const char c : digits) number = number * 10 + static_cast<std::uint64_t>(c - '0');
  return number;
}

inline std::string tensor_role(std::string_view name) {
  if (layer_of(name)) name.remove_prefix(name.find('.', 4) + 1);
  if (name.ends_with(".weight")) name.remove_suffix(7);
  return std::string(name);
}

inline model_inspection inspect_model(const model_source& source) {
  model_inspection result;
  result.source = &source;
  for (const auto& tensor : source.tensors) {
    const auto& stored = tensor.stored;
    result.all.add(stored);
    result.formats[std::string(name_of(stored.type))].add(stored);
    result.roles[tensor_role(stored.name)].add(stored);
    if (const auto layer = layer_of(stored.name)) result.layers[*layer].add(stored);
  }
  return result;
}

namespace report::detail {

/// The errors of b's values; nothing where they cannot be told.
[[nodiscard]] inline std::optional<error_accumulator>
compare_tensors(const model_tensor& a, const model_tensor& b, unsigned threads) {
  const auto readable = [](const model_tensor& t) {
    return info_of(t.stored.type).use != format_use::carried;
  };
  if (a.stored.dims != b.stored.dims || !readable(a) || !readable(b)) return std::nullopt;
  constexpr std::size_t rows_at_once = 64;
  const std::size_t rows = a.stored.rows(), chunks = (rows + rows_at_once - 1) / rows_at_once;
  std::vector<error_accumulator> errors(chunks);
  std::vector<char> finite(chunks, 1);
  parallel_for(chunks, threads, [&](std::size_t chunk) {
    std::vector<float> x(a.stored.columns()), y(x.size());
    const std::size_t end = std::min(rows, (chunk + 1) * rows_at_once);
    for (std::size_t r = chunk * rows_at_once; r < end; ++r) {
      decode_row(a.stored.type, a.row(r).data(), x);
      decode_row(b.stored.type, b.row(r).data(), y);
      if (kernel::find_non_finite(x) || kernel::find_non_finite(y))
        finite[chunk] = 0;
      else
        errors[chunk].add(x, y);
    }
  });
  error_accumulator sum;
  for (std::size_t i = 0; i < chunks; ++i) {
    if (finite[i] == 0) return std::nullopt;
    sum.merge(errors[i]);
  }
  return sum;
}

inline void compare_keys(const gguf_metadata& first, const gguf_metadata& second,
                         std::vector<model_difference::key>& keys) {
  using place = model_difference::place;
  for (const auto& entry : first) {
    const auto* other = second.find(entry.key);
    if (other == nullptr)
      keys.push_back({entry.key, place::first_only});
    else if (!(entry == *other))
      keys.push_back({entry.key, place::both});
  }
  for (const auto& entry : second)
    if (!first.contains(entry.key)) keys.push_back({entry.key, place::second_only});
}

} // namespace report::detail

inline model_difference compare_models(const model_source& first, const model_source& second,
                                       unsigned threads, const progress_callback& listener) {
  using place = model_difference::place;
  model_difference result;
  report::detail::compare_keys(first.metadata, second.metadata, result.keys);
  std::map<std::string_view, const model_tensor*> others;
  for (const auto& tensor : second.tensors) others[tensor.stored.name] = &tensor;
  std::uint64_t done = 0;
  for (const auto& tensor : first.tensors) {
    const auto at = others.find(tensor.stored.name);
    if (at == others.end()) {
      result.tensors.push_back(
          {tensor.stored.name, place::first_only, &tensor.stored, nullptr, std::nullopt});
    } else {
      const std::string item = escaped(tensor.stored.name);
      if (listener) listener({"compare", item, done, first.tensors.size(), "tensors"});
      auto error = report::detail::compare_tensors(tensor, *at->second, threads);
      if (error) result.error.merge(*error);
      result.tensors.push_back(
          {tensor.stored.name, place::both, &tensor.stored, &at->second->stored, std::move(error)});
      others.erase(at);
    }
    ++done;
  }
  for (const auto& tensor : second.tensors)
    if (others.contains(tensor.stored.name))
      result.tensors.push_back(
          {tensor.stored.name, place::second_only, nullptr, &tensor.stored, std::nullopt});
  return result;
}

} // namespace edgequant::inline EDGEQUANT_ABI
