// SPDX-License-Identifier: MIT
/// A plan for a budget beside the best uniform format of at most its size, on tokens that neither
/// calibration nor sensitivity has seen.
#pragma once

#include "../core/number_text.hpp"
#include "../model/evaluate.hpp"
#include "../plan/budget.hpp"
#include "calibrated_model.hpp"
#include "encoded_weights.hpp"

namespace edgequant::inline EDGEQUANT_ABI {

/// Compares finished encodings of one model. Everything it is given must outlive it.
class plan_check {
public:
  plan_check(const model_source& source, calibrated_model& model, const compress_options& plan,
             const layer_method& method, const progress_callback& listener)
      : source_(source), model_(model), plan_(plan), method_(method), listener_(listener) {}

  /// Of the formats that fit `most_bytes` everywhere (plan_formats() with this type and the plan's
  /// rules), the one with the largest file; nothing where none fits or it is the plan itself.
  [[nodiscard]] std::optional<compress_options> best_uniform(std::span<const format> candidates,
                                                             std::uint64_t most_bytes) const;

  struct verdict {
    bool uniform_wins = false;
    std::string note; ///< one line: both divergences, and what is written
  };
  /// Encodes the uniform format into `other` and measures both. `encoded` holds the plan's tensors.
  /// Nothing where there are too few held-out tokens.
  template <class = void>
  [[nodiscard]] std::optional<verdict>
  compare(const encoded_tensors& encoded, const compress_options& uniform, encoded_tensors& other);

  /// KL divergence of the plan on the held-out tokens in nats a token, or nothing where there are
  /// too few. `encoded` holds its tensors.
  template <class = void>
  [[nodiscard]] std::optional<double> measure(const encoded_tensors& encoded) {
    if (model_.held_out.size() < fewest_tokens) return std::nullopt;
    return divergence(plan_, encoded);
  }

private:
  static constexpr std::size_t fewest_tokens = 256; ///< fewer say too little
  template <class = void>
  [[nodiscard]] double divergence(const compress_options& options, const encoded_tensors& encoded);

  const model_source& source_;
  calibrated_model& model_;
  const compress_options& plan_;
  const layer_method& method_;
  const progress_callback& listener_;
};

inline std::optional<compress_options> plan_check::best_uniform(std::span<const format> candidates,
                                                                std::uint64_t most_bytes) const {
  std::optional<compress_options> best;
  std::uint64_t best_bytes = 0;
  for (const format type : candidates) {
    compress_options options = plan_;
    options.type = type, options.exact = {};
    const std::uint64_t bytes = gguf_bytes(source_, options);
    if (bytes > most_bytes || bytes <= best_bytes) continue;
    best = options, best_bytes = bytes;
  }
  if (best && planned_formats(source_, *best) == planned_formats(source_, plan_)) return {};
  return best;
}

/// KL divergence on the held-out tokens with every tensor as it will be written, in nats a token.
template <class>
double plan_check::divergence(const compress_options& options, const encoded_tensors& encoded) {
  const model_weights original(model_.weights.file());
  const encoded_tensors rest =
      round_rest(original, planned_formats(source_, options), options, encoded);
  model_weights weights(model_.weights.file());
  install(weights, encoded), install(weights, rest);
  transformer model(weights, options.threads), reference(original, options.threads);
  const evaluation_options settings{chunk_context(weights, model_.text), model_.text.bos,
                                    kv_format::f32, listener_};
  return score_text(model, model_.held_out, settings, &reference).from_reference->kl_mean;
}

template <class>
std::optional<plan_check::verdict> plan_check::compare(const encoded_tensors& encoded,
                                                       const compress_options& uniform,
                                                       encoded_tensors& other) {
  if (model_.held_out.size() < fewest_tokens) return std::nullopt;
  model_weights uniform_weights(model_.weights.file());
  if (method_.gptq || method_.awq)
    encode_layers(uniform_weights, model_.text, planned_formats(source_, uniform), method_, other,
                  listener_);
  const double by_plan = divergence(plan_, encoded);
  const double by_uniform = divergence(uniform, other);
  verdict result{by_uniform < by_plan, {}};
  result.note = "on " + std::to_string(model_.held_out.size()) +
                " tokens behind the calibration text the plan has a KL divergence of " +
                general_text(by_plan, 4) + " nats, " + std::string(name_of(uniform.type)) +
                " everywhere " + general_text(by_uniform, 4) + ": the " +
                (result.uniform_wins ? "latter" : "plan") + " is written";
  return result;
}

} // namespace edgequant::inline EDGEQUANT_ABI
