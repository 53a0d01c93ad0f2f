// SPDX-License-Identifier: MIT
/// What a pruning job did: the record, as a table and as JSON.
#pragma once

#include "../model/cut.hpp"
#include "../train/distillation.hpp"
#include "report_text.hpp"

#include <optional>

namespace edgequant::inline EDGEQUANT_ABI {

struct prune_result {
  compress_report report;                              ///< of the file that was written
  std::vector<layer_shape> layers;                     ///< of the original
  std::vector<kept_layer> kept;                        ///< of each of them
  std::uint64_t weights_before = 0, weights_after = 0; ///< of the layers' matrices
  /// The KL divergence from the original on the held-out tokens, in nats a token: of the network as
  /// it was cut, once it is refitted, and once it is healed, before rounding to the file's format.
  double cut_divergence = 0, refit_divergence = 0, divergence = 0;
  std::size_t held_out = 0; ///< tokens that measured it
  std::optional<distillation_result> healing;
};

/// One object: input, output, file_bytes, weights, layers (heads, kv_heads and channels that stay,
/// with those of the original), divergences in nats a token, healing (its curve), notes.
[[nodiscard]] nlohmann::json to_json(const prune_result& result);

/// A row for each layer that changed, the totals, what each step left of the divergence, the notes.
void print_pruning(std::ostream& out, const prune_result& result);

inline nlohmann::json to_json(const prune_result& r) {
  using json = nlohmann::json;
  json layers = json::array();
  for (std::size_t i = 0; i < r.kept.size(); ++i)
    layers.push_back({{"heads", r.kept[i].heads},
                      {"kv_heads", r.kept[i].kv_heads},
                      {"channels", r.kept[i].channels.size()},
                      {"heads_before", r.layers[i].heads},
                      {"kv_heads_before", r.layers[i].kv_heads},
                      {"channels_before", r.layers[i].feed_forward}});
  json healing = nullptr;
  if (r.healing) {
    json curve = json::array();
    for (const auto& p : r.healing->curve)
      curve.push_back({{"steps", p.steps}, {"minutes", p.minutes}, {"divergence", p.divergence}});
    healing = {{"curve", curve}, {"best", r.healing->best}, {"tokens", r.healing->tokens}};
  }
  json divergence = nullptr; // where nothing was held out
  if (r.held_out != 0)
    divergence = {
        {"cut", r.cut_divergence}, {"refit", r.refit_divergence}, {"final", r.divergence}};
  json notes = json::array();
  for (const auto& note : r.report.notes) notes.push_back(report::detail::utf8(note));
  return {{"input", report::detail::utf8(r.report.input)},
          {"output", report::detail::utf8(r.report.output)},
          {"dry_run", r.report.dry_run},
          {"file_bytes", r.report.file_bytes},
          {"weights_before", r.weights_before},
          {"weights_after", r.weights_after},
          {"layers", layers},
          {"held_out_tokens", r.held_out},
          {"divergence", divergence},
          {"healing", healing},
          {"notes", notes}};
}

inline void print_pruning(std::ostream& out, const prune_result& r) {
  out << left_aligned("layer", 8) << right_aligned("heads", 12) << right_aligned("KV heads", 12)
      << right_aligned("channels", 16) << '\n';
  const auto of = [](std::size_t now, std::size_t before) {
    return now == before ? std::to_string(now)
                         : std::to_string(now) + " of " + std::to_string(before);
  };
  for (std::size_t i = 0; i < r.kept.size(); ++i) {
    const auto& k = r.kept[i];
    const auto& was = r.layers[i];
    if (k == whole_layer(was)) continue;
    out << left_aligned(std::to_string(i), 8);
    if (k.is_gone())
      out << right_aligned("gone", 12) << '\n';
    else
      out << right_aligned(of(k.heads.size(), was.heads), 12)
          << right_aligned(of(k.kv_heads.size(), was.kv_heads), 12)
          << right_aligned(of(k.channels.size(), was.feed_forward), 16) << '\n';
  }
  const double left = static_cast<double>(r.weights_after) /
                      static_cast<double>(std::max<std::uint64_t>(1, r.weights_before));
  out << "\nweights of the layers' matrices: " << r.weights_before << " -> " << r.weights_after
      << " (" << fixed_text(100 * (1 - left), 1) << " % less)\n";
  if (r.held_out != 0) {
    out << "KL divergence from the original on " << counted(r.held_out, "held-out token") << ": "
        << general_text(r.cut_divergence, 4) << " nats as cut";
    if (r.refit_divergence != r.cut_divergence)
      out << ", " << general_text(r.refit_divergence, 4) << " refitted";
    if (r.healing)
      out << ", " << general_text(r.divergence, 4) << " healed ("
          << counted(r.healing->curve[r.healing->best].steps, "step") << ", "
          << fixed_text(r.healing->curve.back().minutes, 1) << " minutes)";
    out << '\n';
  }
  out << (r.report.dry_run ? "would write " : "wrote ") << r.report.output << ": "
      << format_bytes(r.report.file_bytes) << " (" << r.report.file_bytes << " bytes)\n";
  for (const auto& note : r.report.notes) out << "note: " << note << '\n';
}

} // namespace edgequant::inline EDGEQUANT_ABI
