// SPDX-License-Identifier: MIT
/// The pruning job: a model in, a smaller network of the same kind out.
#pragma once

#include "../plan/mixed_precision.hpp"
#include "../report/prune_report.hpp"
#include "../system/separate_files.hpp"
#include "calibrated_model.hpp"
#include "layer_removal.hpp"
#include "refit.hpp"
#include "removal_options.hpp"

namespace edgequant::inline EDGEQUANT_ABI {

/// What may be removed.
enum class prune_target : std::uint8_t { layers, heads, channels, all };

/// Reads layers, heads, channels or all; anything else is bad_argument.
[[nodiscard]] prune_target parse_prune_target(std::string_view text);

struct prune_options {
  double remove = 0.2; ///< share of the weights of the layers' matrices, above 0 and below 1
  prune_target what = prune_target::all;
  /// A text like those that the model will see.
  calibration_options calibration = {.text = {}, .held_out = 4096};
  bool refit = true;         ///< solve the matrices that stay anew
  bool uniform = false;      ///< layers keep one size and the model its architecture
  format type = format::f16; ///< of the matrices in the file: f16, bf16 or f32
  /// A text that the network is trained on towards the original's predictions, or none: distill().
  std::filesystem::path heal = {};
  std::size_t heal_tokens = 1 << 20; ///< of it at most, from its beginning
  distillation_options healing = {.minutes = 10};
  unsigned threads = 0; ///< 0: all
  bool dry_run = false; ///< choose and check; write nothing
};

/// Chooses what to remove on the calibration text, cuts the model, solves the writing matrices
/// anew, heals the network where a text is given for that, and writes a GGUF, which appears when it
/// is complete. Layers are chosen by measured divergence (remove_layers()); heads and channels, and
/// with `all` what whole layers add, by its second-order estimate (measure_removals()), for the
/// least sum of losses.
///
/// Errors of open_calibrated(), cut_model() and compress(); bad_argument for a share outside (0,
/// 1), for no text, a format of blocks, an output that is an input, and where what may be removed
/// is too little.
template <class = void>
[[nodiscard]] prune_result
prune_model(const model_source& source, const std::filesystem::path& output,
            const prune_options& options, const progress_callback& listener = {});

inline prune_target parse_prune_target(std::string_view text) {
  constexpr std::pair<std::string_view, prune_target> names[] = {
      {"layers", prune_target::layers},
      {"heads", prune_target::heads},
      {"channels", prune_target::channels},
      {"all", prune_target::all}};
  for (const auto& [name, target] : names)
    if (text == name) return target;
  fail(error_code::bad_argument, "'" + escaped(text) + "'",
       "expected layers, heads, channels or all");
}

namespace compression::detail {

/// The source of a GGUF file that lies open.
[[nodiscard]] inline model_source source_of(gguf_file file, const model_source& original) {
  model_source source{original.name, std::move(file.metadata), {}, original.notes, original.path,
                      true};
  for (auto& t : file.tensors) source.tensors.push_back({std::move(t), 0});
  return source;
}

/// Whether layers of different sizes can be written.
[[nodiscard]] inline bool sizes_may_differ(const model_shape& shape, bool uniform) {
  const auto name = shape.architecture->name;
  return !uniform && (name == "deci" || (name == "llama" && shape.most(&layer_shape::window) == 0));
}

/// Of a layer, what its two halves keep.
[[nodiscard]] inline kept_layer joined(const kept_layer& attention,
                                       const kept_layer& feed_forward) {
  return {attention.kv_heads, attention.heads, feed_forward.channels};
}

template <class T> class prune_job {
public:
  prune_job(const model_source& source, const std::filesystem::path& output,
            const prune_options& options, const progress_callback& listener)
      : source_(source), output_(output), options_(options), listener_(listener) {}

  prune_result run();

private:
  void check() const;
  /// Where windows or RoPE follow from a layer's number, no layer goes.
  void require_removable() const {
    const model_shape& shape = model_->weights.shape();
    if (options_.what != prune_target::layers) return;
    const auto pattern =
        std::string(shape.architecture->name) + ".attention.sliding_window_pattern";
    const auto* item = model_->weights.file().metadata.find(pattern);
    for (const auto& layer : shape.layers)
      if ((layer.window != shape.layers[0].window &&
           (item == nullptr || item->type != gguf_type::array)) ||
          (layer.has_rope != shape.layers[0].has_rope && !shape.architecture->rope_in_windows))
        fail(error_code::bad_argument, source_.name,
             "the windows or RoPE of its layers follow from their numbers: no layer can go, heads "
             "and channels can");
  }
  [[nodiscard]] distillation_options healing() const {
    auto options = options_.healing;
    if (options.threads == 0) options.threads = options_.threads;
    return options;
  }
  [[nodiscard]] std::vector<kept_layer> without_layers(std::span<const layer_removals> removals);
  [[nodiscard]] std::vector<kept_layer> without_columns(std::span<const layer_removals> removals);
  [[nodiscard]] std::vector<kept_layer> best_uniform(std::span<const layer_removals> removals,
                                                     std::uint64_t most) const;
  [[nodiscard]] std::vector<kept_layer> best_mixed(std::span<const layer_removals> removals,
                                                   std::uint64_t most) const;
  [[nodiscard]] double measured(const model_weights& weights);
  [[noreturn]] void refuse_share() const {
    fail(error_code::bad_argument, "remove",
         "more than " + std::string(names[static_cast<std::size_t>(options_.what)]) + " can spare");
  }
  static constexpr std::string_view names[] = {"layers", "heads", "channels",
                                               "heads, channels and layers"};
  [[nodiscard]] std::uint64_t most_weights() const {
    return static_cast<std::uint64_t>((1 - options_.remove) * static_cast<double>(all_));
  }
  void write(const model_weights& weights, const changed_weights& changed);

  const model_source& source_;
  const std::filesystem::path& output_;
  const prune_options& options_;
  const progress_callback& listener_;
  std::optional<calibrated_model> model_;
  calibration_text healing_text_;
  std::uint64_t all_ = 0; ///< weights of all layers
  std::vector<std::vector<std::int32_t>> judging_;
  std::optional<kept_predictions<>> reference_;
  prune_result result_;
};

template <class T> void prune_job<T>::check() const {
  if (!(options_.remove > 0 && options_.remove < 1))
    fail(error_code::bad_argument, "remove", "expected a share above 0 and below 1");
  if (options_.calibration.text.empty())
    fail(error_code::bad_argument, "calibration", "a text is needed");
  if (options_.type != format::f16 && options_.type != format::bf16 && options_.type != format::f32)
    fail(error_code::bad_argument, "format " + std::string(name_of(options_.type)),
         "expected f16, bf16 or f32; quantize_model makes the others of the result");
  const std::vector<named_output> outputs = {
      {"OUT", output_, std::filesystem::is_directory(source_.path) ? "" : source_.path}};
  std::vector<std::filesystem::path> inputs = inputs_of(source_);
  inputs.push_back(options_.calibration.text);
  inputs.push_back(options_.heal);
  require_separate_files(outputs, inputs);
}

template <class T>
std::vector<kept_layer> prune_job<T>::without_layers(std::span<const layer_removals> removals) {
  const model_weights& weights = model_->weights;
  const model_shape& shape = weights.shape();
  // Products of int8 are several times as fast, and move the divergence by hundredths.
  scratch_file copy(output_);
  compress_options fast;
  fast.type = format::q8_0;
  fast.threads = options_.threads;
  gguf_file file = weights.file();
  (void)compress(source_of(std::move(file), source_), copy, output_, fast);
  model_weights quick(read_gguf(copy.map()));
  quick.pack(options_.threads);
  const auto sequences =
      gradient_sequences(model_->text, 8, std::min<std::size_t>(256, shape.context));
  skipping_meter<> meter(quick, sequences, options_.threads);
  layer_removal_options options{options_.remove};
  options.attention_alone = sizes_may_differ(shape, options_.uniform);
  std::vector<kept_layer> kept;
  for (const auto& layer : shape.layers) kept.push_back(whole_layer(layer));
  std::uint64_t gone = 0;
  for (const auto& step : remove_layers(meter, shape, removals, options, listener_)) {
    gone += step.weights;
    for (const auto& [layer, part] : step.gone) {
      if (part == sublayer::attention)
        kept[layer].heads.clear(), kept[layer].kv_heads.clear();
      else
        kept[layer].channels.clear();
    }
  }
  if (all_ - gone > most_weights()) refuse_share();
  return kept;
}

template <class T>
std::vector<kept_layer> prune_job<T>::best_mixed(std::span<const layer_removals> removals,
                                                 std::uint64_t most) const {
  const model_shape& shape = model_->weights.shape();
  std::vector<choice_group> groups;
  std::vector<std::vector<kept_layer>> kept;
  for (std::size_t i = 0; i < removals.size(); ++i) {
    choice_group group{"layer " + std::to_string(i), {}};
    kept.emplace_back();
    for (const auto& a : removals[i].attention.options)
      for (const auto& f : removals[i].feed_forward.options) {
        const bool attention_is_whole = &a == &removals[i].attention.options.front();
        const bool feed_forward_is_whole = &f == &removals[i].feed_forward.options.front();
        if (options_.what == prune_target::channels && !attention_is_whole) continue;
        if (options_.what == prune_target::heads && !feed_forward_is_whole) continue;
        const kept_layer layer = joined(a.kept, f.kept);
        const layer_shape& was = shape.layers[i];
        // llama.cpp skips attention without a feed-forward network.
        if (layer.channels.empty() && !layer.heads.empty() && was.feed_forward != 0) continue;
        if (i == 0 && layer.heads.empty() && was.heads != 0) continue;
        kept.back().push_back(layer);
        group.choices.push_back({format::f32, kept_weights(shape, was, layer), a.loss + f.loss});
      }
    groups.push_back(std::move(group));
  }
  std::uint64_t least = 0;
  for (const auto& group : groups)
    least += std::min_element(group.choices.begin(), group.choices.end(),
                              [](const auto& x, const auto& y) { return x.cost < y.cost; })
                 ->cost;
  if (least > most) refuse_share();
  const auto plan = assign_formats(groups, most);
  std::vector<kept_layer> result;
  for (std::size_t i = 0; i < groups.size(); ++i) result.push_back(kept[i][plan.chosen[i]]);
  return result;
}

/// The same number of heads and channels everywhere.
template <class T>
std::vector<kept_layer> prune_job<T>::best_uniform(std::span<const layer_removals> removals,
                                                   std::uint64_t most) const {
  const model_shape& shape = model_->weights.shape();
  for (const auto& layer : shape.layers)
    if (layer.heads != shape.layers[0].heads || layer.kv_heads != shape.layers[0].kv_heads ||
        layer.feed_forward != shape.layers[0].feed_forward)
      fail(error_code::bad_argument, source_.name,
           "its layers differ in size already: they cannot keep one size");
  const std::size_t attentions = removals[0].attention.options.size() - 1;
  const std::size_t feed_forwards =
      removals[0].feed_forward.options.size() - 1; // without `nothing`
  std::optional<std::pair<std::size_t, std::size_t>> best;
  double least = 0;
  for (std::size_t a = 0; a < attentions; ++a)
    for (std::size_t f = 0; f < feed_forwards; ++f) {
      if (options_.what == prune_target::channels && a != 0) continue;
      if (options_.what == prune_target::heads && f != 0) continue;
      std::uint64_t weights = 0;
      double loss = 0;
      for (const auto& layer : removals) {
        weights += kept_weights(
            shape, shape.layers[0],
            joined(layer.attention.options.at(a).kept, layer.feed_forward.options.at(f).kept));
        loss += layer.attention.options[a].loss + layer.feed_forward.options[f].loss;
      }
      if (weights <= most && (!best || loss < least)) best = {a, f}, least = loss;
    }
  if (!best) refuse_share();
  std::vector<kept_layer> result;
  for (const auto& layer : removals)
    result.push_back(joined(layer.attention.options[best->first].kept,
                            layer.feed_forward.options[best->second].kept));
  return result;
}

template <class T>
std::vector<kept_layer> prune_job<T>::without_columns(std::span<const layer_removals> removals) {
  const model_weights& weights = model_->weights;
  for (std::size_t i = 0; i < removals.size(); ++i)
    if (removals[i].attention.options.empty() || removals[i].feed_forward.options.empty())
      fail(error_code::bad_argument, source_.name,
           "layer " + std::to_string(i) + " has no heads and channels that could be removed");
  return sizes_may_differ(weights.shape(), options_.uniform)
             ? best_mixed(removals, most_weights())
             : best_uniform(removals, most_weights());
}

template <class T> double prune_job<T>::measured(const model_weights& weights) {
  if (judging_.empty()) return 0;
  return mean_divergence(weights, *reference_, judging_, 0, options_.threads);
}

template <class T>
void prune_job<T>::write(const model_weights& weights, const changed_weights& changed) {
  gguf_file file = weights.file();
  model_source source = source_of(std::move(file), source_);
  compress_options settings;
  settings.type = options_.type;
  settings.threads = options_.threads;
  settings.dry_run = options_.dry_run;
  // All matrices but routers, which are small, in one format; experts' biases are vectors.
  for (const auto& t : source.tensors) {
    const std::string& name = t.stored.name;
    if (t.stored.dims.size() < 2 || is_integer(t.stored.type)) continue;
    const bool is_matrix =
        name.ends_with(".weight") && name.find("ffn_gate_inp") == std::string::npos;
    settings.exact[name] = is_matrix ? options_.type : format::f32;
  }
  encoded_tensors encoded;
  for (const auto& [name, matrix] : changed.matrices) {
    const format type = settings.exact.at(name);
    encoded.put(name, {type, encode_matrix(type, settings.scale, matrix, name, options_.threads)});
  }
  for (const auto& [name, vector] : changed.vectors) {
    const auto bytes = std::as_bytes(std::span(vector));
    encoded.put(name, {format::f32, {bytes.begin(), bytes.end()}});
  }
  settings.encoded = &encoded;
  result_.report = compress(source, output_, settings, listener_);
}

template <class T> prune_result prune_job<T>::run() {
  check();
  model_.emplace(open_calibrated(source_, source_.path, output_, options_.calibration,
                                 options_.threads, listener_));
  const model_shape& shape = model_->weights.shape();
  require_removable();
  // Two halves of the text at least, each of several chunks: see solved_step().
  auto& calibration = model_->text;
  if (calibration.context == 0)
    calibration.context = std::min(chunk_context(model_->weights, calibration),
                                   std::max<std::size_t>(2, calibration.tokens.size() / 4));
  if (!options_.heal.empty()) { // a wrong text costs no work
    healing_text_ = read_tokens(model_->weights, source_.name, options_.heal, options_.heal_tokens);
    // What judges is not learnt from.
    auto& tokens = healing_text_.tokens;
    const auto& judge = model_->held_out;
    const auto at = std::search(tokens.begin(), tokens.end(), judge.begin(), judge.end());
    if (!judge.empty() && at != tokens.end())
      tokens.erase(at, at + static_cast<std::ptrdiff_t>(judge.size()));
    (void)distillation_sequences(model_->weights, healing_text_, healing());
  }
  for (const auto& layer : shape.layers) all_ += kept_weights(shape, layer, whole_layer(layer));
  judging_ = gradient_sequences({model_->held_out, model_->text.bos}, model_->held_out.size(),
                                std::min<std::size_t>(256, shape.context));
  reference_.emplace(model_->weights, judging_, options_.threads);
  const auto removals = measure_removals(
      model_->weights, model_->text,
      {.skipping_alone = options_.what == prune_target::layers, .threads = options_.threads},
      listener_);
  result_.kept =
      options_.what == prune_target::layers ? without_layers(removals) : without_columns(removals);
  model_weights weights(cut_model(model_->weights.file(), result_.kept, output_));
  changed_weights changed;
  result_.cut_divergence = result_.refit_divergence = result_.divergence = measured(weights);
  if (options_.refit && !options_.dry_run) {
    const loss_weights importance =
        measure_loss_weights(model_->weights, model_->text, options_.threads, listener_);
    refit(weights, model_->weights, result_.kept, model_->text, &importance, changed,
          options_.threads, listener_);
    result_.refit_divergence = result_.divergence = measured(weights);
  }
  if (!options_.heal.empty() && !options_.dry_run) {
    changed_weights healed;
    result_.healing =
        distill(weights, model_->weights, healing_text_, healing(), healed, listener_);
    changed = std::move(healed);
    result_.divergence = measured(weights);
  }
  result_.weights_before = all_;
  result_.layers = shape.layers;
  for (const auto& s : judging_) result_.held_out += s.size();
  for (std::size_t i = 0; i < result_.kept.size(); ++i)
    result_.weights_after += kept_weights(shape, shape.layers[i], result_.kept[i]);
  write(weights, changed);
  return std::move(result_);
}

} // namespace compression::detail

template <class>
prune_result prune_model(const model_source& source, const std::filesystem::path& output,
                         const prune_options& options, const progress_callback& listener) {
  return compression::detail::prune_job<void>(source, output, options, listener).run();
}

} // namespace edgequant::inline EDGEQUANT_ABI
