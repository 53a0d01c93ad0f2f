// SPDX-License-Identifier: MIT
/// Which format each tensor of a model gets.
#pragma once

#include "../io/gguf_writer.hpp"
#include "../model/model_source.hpp"
#include "default_format.hpp"

#include <algorithm>
#include <map>
#include <regex>
#include <set>

namespace edgequant::inline EDGEQUANT_ABI {

/// Tensors whose GGUF name contains a match of `pattern` (ECMAScript) get `type`.
struct keep_rule {
  std::string pattern;
  format type = format::f32;
};

/// Reads `REGEX=FORMAT`; the last `=` splits. bad_argument for a missing `=`, a REGEX that is
/// empty, invalid or longer than 1000 bytes, and for a FORMAT that cannot be written.
[[nodiscard]] keep_rule parse_keep(std::string_view text);

/// Reads the name of a format that can be written; anything else is bad_argument.
[[nodiscard]] format parse_format(std::string_view name);

/// The names that parse_format reads, separated by `separator`.
[[nodiscard]] std::string writable_formats(std::string_view separator);

/// What becomes of one tensor.
struct tensor_plan {
  format type = format::f32;
  std::uint64_t bytes = 0; ///< in the new file, without padding
  /// The format asked for does not fit the rows: fitting_format() took its place.
  bool fallback = false;
};

/// For each tensor the rule that decides, or null. bad_argument for a rule that matches no tensor.
[[nodiscard]] std::vector<const keep_rule*> deciding_rules(const model_source& source,
                                                           std::span<const keep_rule> keep);

/// One plan per tensor. Rules, the later ones stronger:
/// - matrices get `type`; below 8 bits a weight, token_embd.weight and output.weight get q8_0, or
///   q6_K where `type` has super-blocks;
/// - 1-D tensors (norms, biases) get f32;
/// - integer tensors stay as they are;
/// - the last matching rule of `keep` decides;
/// - a tensor that `exact` names gets that format;
/// - rows that are no multiple of the block length get fitting_format().
///
/// bad_argument: a rule that matches no tensor, a name in `exact` that no tensor has, a block
/// format for a 1-D tensor, a rule for an integer tensor. bad_file: a tensor whose values cannot be
/// read or whose name is too long.
[[nodiscard]] std::vector<tensor_plan> plan_formats(const model_source& source, format type,
                                                    std::span<const keep_rule> keep,
                                                    const named_formats& exact = {});

/// The format of most weights of a planned file.
[[nodiscard]] format main_format(const model_source& source, std::span<const tensor_plan> plans);

/// The metadata of the new file: the model's own, and what its formats change. general.file_type is
/// that of most weights.
[[nodiscard]] gguf_metadata output_metadata(const model_source& source,
                                            std::span<const tensor_plan> plans);

/// The tensors of the new file in its order.
[[nodiscard]] inline std::vector<tensor_info> planned_tensors(const model_source& source,
                                                              std::span<const tensor_plan> plans) {
  std::vector<tensor_info> infos;
  for (std::size_t i = 0; i < plans.size(); ++i)
    infos.push_back({source.tensors[i].stored.name, source.tensors[i].stored.dims, plans[i].type});
  return infos;
}

/// Which format each tensor of a new file is to get: see plan_formats().
struct format_request {
  format type = format::q4_0;
  std::vector<keep_rule> keep = {}; ///< exceptions, the last match wins
  named_formats exact = {};         ///< stronger than both
};

/// Bytes of the file with these formats, metadata, vocabulary and padding included. No weight is
/// read. Errors as plan_formats() and gguf_file_size().
[[nodiscard]] std::uint64_t gguf_bytes(const model_source& source, const format_request& request);

namespace plan::detail {

[[nodiscard]] inline std::regex compile_pattern(const std::string& pattern) {
  // Parentheses are recursion in std::regex; thousands of them would overflow the stack.
  if (pattern.size() > 1000)
    fail(error_code::bad_argument, "pattern '" + escaped(pattern) + "'",
         "more than 1000 bytes; several shorter rules do the same");
  std::string problem;
  try {
    return std::regex(pattern, std::regex::ECMAScript);
  } catch (const std::regex_error& error) {
    problem = error.what();
  }
  fail(error_code::bad_argument, "pattern '" + escaped(pattern) + "'", problem);
}

/// std::regex recurses once a character: on a name of a megabyte it would overflow the stack.
inline void require_short_names(const model_source& source) {
  for (const auto& tensor : source.tensors)
    if (const auto& name = tensor.stored.name; name.size() > gguf_name_limit)
      fail(error_code::bad_file, place_of(source.name, "tensor", name),
           "a name of " + counted(name.size(), "byte") + ", at most 63 fit");
}

inline void require_known_names(const model_source& source, const named_formats& names) {
  std::set<std::string_view> known;
  for (const auto& tensor : source.tensors) known.insert(tensor.stored.name);
  for (const auto& [name, type] : names)
    if (known.count(name) == 0)
      fail(error_code::bad_argument, place_of(source.name, "tensor", name),
           "the plan names it, but the model has none of this name");
}

} // namespace plan::detail

inline std::string writable_formats(std::string_view separator) {
  std::string names;
  for (const auto& row : format_table)
    if (row.use == format_use::writable)
      names += (names.empty() ? "" : std::string(separator)) + std::string(row.name);
  return names;
}

inline format parse_format(std::string_view name) {
  const format_row* row = find_format(name);
  if (row == nullptr || row->use != format_use::writable)
    fail(error_code::bad_argument, "format '" + escaped(name) + "'",
         "expected one of " + writable_formats(", "));
  return row->id;
}

inline keep_rule parse_keep(std::string_view text) {
  const auto split = text.rfind('=');
  if (split == text.npos || split == 0)
    fail(error_code::bad_argument, "rule '" + escaped(text) + "'", "expected REGEX=FORMAT");
  keep_rule rule{std::string(text.substr(0, split)), parse_format(text.substr(split + 1))};
  (void)plan::detail::compile_pattern(rule.pattern);
  return rule;
}

inline std::vector<const keep_rule*> deciding_rules(const model_source& source,
                                                    std::span<const keep_rule> keep) {
  plan::detail::require_short_names(source);
  std::vector<const keep_rule*> chosen(source.tensors.size(), nullptr);
  for (const auto& rule : keep) {
    const std::regex pattern = plan::detail::compile_pattern(rule.pattern);
    bool used = false;
    for (std::size_t i = 0; i < chosen.size(); ++i)
      if (std::regex_search(source.tensors[i].stored.name, pattern)) chosen[i] = &rule, used = true;
    if (!used)
      fail(error_code::bad_argument, "rule '" + escaped(rule.pattern) + "'", "matches no tensor");
  }
  return chosen;
}

inline std::vector<tensor_plan> plan_formats(const model_source& source, format type,
                                             std::span<const keep_rule> keep,
                                             const named_formats& exact) {
  const auto chosen = deciding_rules(source, keep);
  plan::detail::require_known_names(source, exact);
  std::vector<tensor_plan> plans;
  for (std::size_t i = 0; i < chosen.size(); ++i) {
    const stored_tensor& tensor = source.tensors[i].stored;
    const std::string place = place_of(source.name, "tensor", tensor.name);
    const bool integer = is_integer(tensor.type);
    if (!integer && info_of(tensor.type).use == format_use::carried)
      fail(error_code::bad_file, place,
           "values in " + std::string(name_of(tensor.type)) +
               " cannot be read; start from f32, f16 or bf16");
    if (chosen[i] != nullptr && integer)
      fail(error_code::bad_argument, place, "integers have no other format");
    tensor_plan plan{default_format(tensor.name, tensor.dims.size(), tensor.type, type)};
    const auto named = exact.find(tensor.name);
    if (chosen[i] != nullptr) plan.type = chosen[i]->type;
    if (named != exact.end()) plan.type = named->second;
    if (tensor.dims.size() == 1 && is_block_format(plan.type))
      fail(error_code::bad_argument, place,
           "a 1-D tensor cannot be " + std::string(name_of(plan.type)));
    if (integer && plan.type != tensor.type)
      fail(error_code::bad_argument, place, "integers have no other format");
    const format fitting = fitting_format(plan.type, tensor.columns());
    plan.fallback = fitting != plan.type;
    plan.type = fitting;
    plan.bytes = tensor_bytes(plan.type, tensor.dims, error_code::bad_file, place);
    plans.push_back(plan);
  }
  return plans;
}

inline std::uint64_t gguf_bytes(const model_source& source, const format_request& request) {
  const auto plans = plan_formats(source, request.type, request.keep, request.exact);
  return gguf_file_size(output_metadata(source, plans), planned_tensors(source, plans));
}

inline format main_format(const model_source& source, std::span<const tensor_plan> plans) {
  std::map<format, std::uint64_t> values;
  for (std::size_t i = 0; i < plans.size(); ++i)
    values[plans[i].type] += source.tensors[i].stored.values();
  const auto most =
      std::max_element(values.begin(), values.end(),
                       [](const auto& a, const auto& b) { return a.second < b.second; });
  return most == values.end() ? format::f32 : most->first;
}

inline gguf_metadata output_metadata(const model_source& source,
                                     std::span<const tensor_plan> plans) {
  gguf_metadata metadata = source.metadata;
  const auto type = info_of(main_format(source, plans)).file_type;
  metadata.set("general.file_type", static_cast<std::uint32_t>(type));
  metadata.set("general.quantization_version", std::uint32_t{2});
  return metadata;
}

} // namespace edgequant::inline EDGEQUANT_ABI
