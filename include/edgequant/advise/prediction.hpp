// SPDX-License-Identifier: MIT
/// Predicts the speed of a model on a device from the device's memory bandwidth.
#pragma once

#include "prediction_query.hpp"

#include <algorithm>
#include <cmath>
#include <span>
#include <string>
#include <utility>

namespace edgequant::inline EDGEQUANT_ABI {

/// 80 % of devices like this one are expected between low and high.
struct speed_prediction {
  double tokens_per_second = 0, low = 0, high = 0;
  std::string basis = {}; ///< one line: the row of constants, its origin, what was guessed
};

/// Tokens a second of decoding, for one sequence with a short context. Time per token = streamed
/// bytes / (efficiency x bandwidth) + overhead; the overhead, in kernel launches and barriers, goes
/// with layers^0.75 x parameters^0.25. Errors as resolve: bad_argument, naming the field, for a
/// number that is not positive and finite, or beyond what a machine can be.
[[nodiscard]] speed_prediction predict_decode(const prediction_query& query);

/// Tokens a second of prefill: operations a second / (2 x active parameters). Without `gops` it may
/// be wrong by a factor of three; the interval is then as wide.
[[nodiscard]] speed_prediction predict_prefill(const prediction_query& query);

/// Milliseconds to the first token after a prompt of so many tokens: `low` is the fast end.
struct first_token_prediction {
  double milliseconds = 0, low = 0, high = 0;
};
[[nodiscard]] first_token_prediction predict_first_token(const prediction_query& query,
                                                         double prompt_tokens);

/// The row for a unit and class, or the unit's row for any class.
[[nodiscard]] const speed_constants& find_constants(std::span<const speed_constants> table,
                                                    speed_unit unit, device_class kind);

/// The formula itself, in milliseconds per token; for fits.
[[nodiscard]] double decode_ms(const resolved_query& query, const speed_constants& row,
                               const speed_facts& facts = default_speed_facts);

inline const speed_constants& find_constants(std::span<const speed_constants> table,
                                             speed_unit unit, device_class kind) {
  const speed_constants* any = nullptr;
  for (const auto& row : table) {
    if (row.unit != unit) continue;
    if (row.kind == kind) return row;
    if (!row.kind) any = &row;
  }
  if (any == nullptr) fail(error_code::bad_argument, "speed table", "a unit without constants");
  return *any;
}

namespace advisor::detail {

/// Whether memory is sized for more than its CPU: phones, boards and watches.
[[nodiscard]] inline bool is_mobile(const resolved_query& q) {
  return q.apple_generation == 0 && (q.kind == device_class::phone || q.kind == device_class::sbc ||
                                     q.kind == device_class::wearable);
}

} // namespace advisor::detail

inline double decode_ms(const resolved_query& q, const speed_constants& row,
                        const speed_facts& facts) {
  double bandwidth = q.bandwidth_gb_s, efficiency = row.efficiency;
  double overhead =
      row.overhead_ms * std::pow(q.layers / 32, 0.75) * std::pow(q.parameters / 6.738e9, 0.25);
  double draw = 0; // ms per byte that cores add to what memory takes, 1e6 of them
  switch (q.unit) {
  case speed_unit::cpu:
    if (q.apple_generation > 0) bandwidth = std::min(bandwidth, facts.apple_cpu_gb_s);
    if (q.cores == core_age::older) efficiency *= facts.older_cores;
    if (q.cores == core_age::in_order) efficiency *= facts.in_order_cores;
    if (advisor::detail::is_mobile(q)) draw = 1 / facts.mobile_cpu_gb_s;
    break;
  case speed_unit::apple_gpu:
    overhead *= std::pow(facts.apple_step, 1 - std::min(q.apple_generation, 6.0));
    break;
  case speed_unit::npu:
    if (q.open_npu) efficiency *= facts.open_npu;
    overhead *= facts.npu_overhead_gb_s / bandwidth;
    break;
  default:
    break;
  }
  return q.streamed_bytes * 1e-6 * (1 / (efficiency * bandwidth) + draw) + overhead;
}

namespace advisor::detail {

[[nodiscard]] inline speed_prediction with_interval(double tokens_per_second, double spread,
                                                    const resolved_query& q,
                                                    const speed_constants& row) {
  if (!std::isfinite(tokens_per_second) || !(tokens_per_second > 0))
    fail(error_code::bad_argument, "prediction", "the numbers give no finite speed");
  const double factor = std::exp(std::sqrt(spread * spread + q.doubt));
  std::string basis(row.origin);
  if (!q.guessed.empty()) basis += "; guessed: " + q.guessed;
  return {tokens_per_second, tokens_per_second / factor, tokens_per_second * factor,
          std::move(basis)};
}

} // namespace advisor::detail

inline speed_prediction predict_decode(const prediction_query& query) {
  const auto q = resolve(query);
  const auto& row = find_constants(speed_table, q.unit, q.kind);
  return advisor::detail::with_interval(1e3 / decode_ms(q, row), row.spread, q, row);
}

inline speed_prediction predict_prefill(const prediction_query& query) {
  auto q = resolve(query);
  const auto& row = find_constants(speed_table, q.unit, q.kind);
  double gops = row.prefill_gops, spread = 1.0;
  if (query.gops) {
    gops = *query.gops, spread = 0.35;
  } else if (q.unit == speed_unit::apple_gpu) {
    const double cores = q.apple_gpu_cores > 0 ? q.apple_gpu_cores : q.bandwidth_gb_s / 11;
    gops = cores * default_speed_facts.apple_core_gops, spread = 0.35;
  } else if (q.unit == speed_unit::discrete_gpu) {
    gops = q.bandwidth_gb_s * default_speed_facts.card_gops_per_gb_s;
  } else if (q.unit == speed_unit::cpu) {
    if (q.cores == core_age::older) gops *= default_speed_facts.older_cores;
    if (q.cores == core_age::in_order) gops *= default_speed_facts.in_order_cores;
  }
  return advisor::detail::with_interval(gops * 1e9 / (2 * q.parameters), spread, q, row);
}

inline first_token_prediction predict_first_token(const prediction_query& query,
                                                  double prompt_tokens) {
  if (!(prompt_tokens >= 1 && prompt_tokens <= 1e9))
    fail(error_code::bad_argument, "prompt_tokens", "expected 1 to 1000000000");
  const auto prefill = predict_prefill(query), decode = predict_decode(query);
  const auto time = [&](double read, double write) {
    // A prompt never passes faster than one pass over the weights.
    return 1e3 * std::max(prompt_tokens / read, 1 / write);
  };
  return {time(prefill.tokens_per_second, decode.tokens_per_second),
          time(prefill.high, decode.high), time(prefill.low, decode.low)};
}

} // namespace edgequant::inline EDGEQUANT_ABI
