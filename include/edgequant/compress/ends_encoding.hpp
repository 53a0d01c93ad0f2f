// SPDX-License-Identifier: MIT
/// The embedding and the output matrix in their formats.
#pragma once

#include "residual_compensation.hpp"
#include "weighed_encoding.hpp"

namespace edgequant::inline EDGEQUANT_ABI {

namespace compression::detail {

/// The embedding and the output matrix, which no sublayer has: open where they have a format with
/// blocks.
class ends_encoder {
public:
  ends_encoder(model_weights& weights, const named_formats& formats, const layer_method& method,
               const loss_weights& by_loss, encoded_tensors& encoded)
      : weights_(weights), formats_(formats), method_(method), by_loss_(by_loss),
        encoded_(encoded) {}

  /// Before the walks begin: all layers see what the encoded embedding gives.
  template <class = void> void encode_embedding();
  /// Once they are behind the last layer.
  template <class = void> void encode_output(layer_walk& walk, layer_walk& original);

private:
  [[nodiscard]] std::optional<format> open_format(const named_weight& w) const {
    const auto found = formats_.find(w.name);
    if (found == formats_.end() || !is_block_format(found->second)) return std::nullopt;
    return encoded_.find(w.name) == nullptr ? std::optional(found->second) : std::nullopt;
  }
  [[nodiscard]] matrix_f values(const named_weight& w) const {
    return decode_matrix(w.view.type, w.view.data, w.view.rows, w.view.columns,
                         method_.options.threads);
  }
  void install(const named_weight& w) {
    if (const auto* t = encoded_.find(w.name))
      weights_.replace(w.name, {t->type, w.view.rows, w.view.columns, t->bytes.data()});
  }

  model_weights& weights_;
  const named_formats& formats_;
  const layer_method& method_;
  const loss_weights& by_loss_;
  encoded_tensors& encoded_;
};

template <class> void ends_encoder::encode_embedding() {
  const named_weight w = weights_.embedding();
  const auto type = open_format(w);
  if (type && by_loss_.embedding_gram().size() != 0) {
    const gptq_columns columns(by_loss_.embedding_gram(), method_.options.damping);
    encoded_.put(w.name, encode_weighed(*type, values(w), by_loss_.embedding_gram(), &columns,
                                        method_, w.name));
  }
  install(w);
}

template <class> void ends_encoder::encode_output(layer_walk& walk, layer_walk& original) {
  const named_weight w = weights_.output();
  if (w.name == weights_.embedding().name) return;
  const auto type = open_format(w);
  const std::span<const float> token_weights = by_loss_.of(w.name);
  if (type && !token_weights.empty()) {
    const auto sums = measure_compensation(walk, original, sublayer_end::in, {&token_weights, 1},
                                           method_.options.threads)[0];
    const matrix_f exact = values(w);
    const matrix_f m = method_.compensate ? compensated(exact, exact, sums, method_.options.damping,
                                                        method_.options.threads)
                                          : exact;
    const Eigen::MatrixXd gram = gram_of(sums);
    const gptq_columns columns(gram, method_.options.damping);
    encoded_.put(w.name, encode_weighed(*type, m, gram, &columns, method_, w.name));
  }
  install(w);
}

} // namespace compression::detail

} // namespace edgequant::inline EDGEQUANT_ABI
