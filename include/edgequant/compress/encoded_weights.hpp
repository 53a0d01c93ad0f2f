// SPDX-License-Identifier: MIT
/// A network with the values that a file will hold.
#pragma once

#include "compress.hpp"

namespace edgequant::inline EDGEQUANT_ABI {

/// The matrices of a network that `encoded` lacks, rounded as compress() will round them:
/// `original` has their values, `options` the scale rule and how much columns count.
template <class = void>
[[nodiscard]] encoded_tensors
round_rest(const model_weights& original, const named_formats& formats,
           const compress_options& options, const encoded_tensors& encoded) {
  encoded_tensors rest;
  for (const auto& [name, type] : formats) {
    if (!original.has_matrix(name) || encoded.find(name) != nullptr) continue;
    const weight_view w = original.find_matrix(name);
    if (w.type == type) { // a second rounding could only lose
      rest.put(name, {type, {w.data, w.data + w.rows * row_bytes(w.type, w.columns)}, {}});
      continue;
    }
    std::span<const float> importance;
    if (options.importance != nullptr && is_block_format(type))
      if (const auto found = options.importance->find(name); found != options.importance->end())
        importance = found->second;
    rest.put(name, {type,
                    encode_matrix(type, options.scale,
                                  decode_matrix(w.type, w.data, w.rows, w.columns, options.threads),
                                  name, options.threads, importance),
                    {}});
  }
  return rest;
}

/// Gives a network the values of encoded matrices, which must outlive it, and of encoded norms and
/// biases.
template <class = void> void install(model_weights& weights, const encoded_tensors& encoded) {
  encoded.for_each([&](const std::string& name, const encoded_tensors::tensor& t) {
    if (weights.has_matrix(name)) {
      const weight_view w = weights.find_matrix(name);
      weights.replace(name, {t.type, w.rows, w.columns, t.bytes.data()});
      return;
    }
    std::vector<float> values(t.bytes.size() / row_bytes(t.type, 1));
    decode_row(t.type, t.bytes.data(), values);
    weights.replace_vector(name, std::move(values));
  });
}

} // namespace edgequant::inline EDGEQUANT_ABI
