// SPDX-License-Identifier: MIT
/// The main job as one call: a model in, a smaller GGUF out, by any method, within a budget,
/// resumable, with a report.
#pragma once

#include "../model/widen.hpp"
#include "../plan/fisher.hpp"
#include "../report/plan_json.hpp"
#include "../report/report_page.hpp"
#include "../report/report_text.hpp"
#include "../system/separate_files.hpp"
#include "compress.hpp"
#include "plan_check.hpp"
#include "quantize_options.hpp"

namespace edgequant::inline EDGEQUANT_ABI {

/// Quantizes a model to `output`, which appears when it is complete.
///
/// gptq, awq and a budget need a calibration text; a budget by loss_measure::weight with rtn does
/// not. The plan for a budget is measured on tokens behind those that calibrate, beside the best
/// uniform format of at most its size; the better one is written, and a note says so.
///
/// bad_argument before anything is read for options that contradict each other or lack the text,
/// and for an output that is an input or another output, through links too. Other errors are those
/// of compress(), plan_for_budget(), encode_layers(), open_calibrated() and read_plan(). Nothing
/// named is written by a dry run, and after an error OUT is as it was.
template <class = void>
[[nodiscard]] quantize_model_result
quantize_model(const model_source& source, const std::filesystem::path& output,
               const quantize_model_options& options = {}, const progress_callback& listener = {});

/// The name that parse_method() reads.
[[nodiscard]] inline std::string name_of(const layer_method& method) {
  return method.awq ? (method.gptq ? "awq+gptq" : "awq") : (method.gptq ? "gptq" : "rtn");
}

namespace compression::detail {

/// Per cent of the hidden size, at most, for a model that is widened unasked: 896 and 960 become
/// 1024. At 576 to 768 a third of the bits would hold zeros: q2_K of SmolLM2-135M is then 6 %
/// smaller than the file with formats of 32 in its place, with three times its KL divergence.
inline constexpr std::uint64_t most_growth = 115;

/// Tokens that judge a plan: behind those that calibrate.
inline constexpr std::size_t held_out_tokens = 2048;

class quantize_model_job {
public:
  quantize_model_job(const model_source& source, const std::filesystem::path& output,
                     const quantize_model_options& options, const progress_callback& listener)
      : source_(source), output_(output), options_(options), listener_(listener) {
    settings_.type = options.type, settings_.keep = options.keep;
    settings_.scale = options.scale, settings_.threads = options.threads;
    settings_.dry_run = options.dry_run;
    method_ = options.method;
    method_.options.threads = options.threads;
  }

  void check() const;
  /// The hidden size to widen the model to first, or nothing.
  [[nodiscard]] std::optional<std::uint64_t> widened_size() const;
  template <class = void> quantize_model_result run();

private:
  [[nodiscard]] bool by_text() const { return options_.method.gptq || options_.method.awq; }
  void take_mixture();
  void take_plan();
  template <class = void> void weigh_columns(calibrated_model& model);
  void note_requantized();
  template <class = void> void plan_for(calibrated_model& model);
  template <class = void> void weigh_by_gradients(calibrated_model& model);
  template <class = void> void encode(calibrated_model& model);
  template <class = void> void judge(calibrated_model& model);
  template <class = void> void tune_encoded(const calibrated_model& model);
  void write_text(output_file& file, const std::string& text) const {
    file.write(std::as_bytes(std::span(text)));
    file.commit();
  }
  [[nodiscard]] std::string report_text() const;
  [[nodiscard]] encoded_tensors kept(const char* folder, const calibration_text& text,
                                     const named_formats& formats) const;

  const model_source& source_;
  std::filesystem::path output_;
  const quantize_model_options& options_;
  const progress_callback& listener_;
  compress_options settings_;
  layer_method method_;
  encoded_tensors encoded_;
  calibration_text tuning_text_;
  column_importance importance_;
  fisher_estimate products_;
  std::vector<std::string> notes_;
  quantize_model_result result_;
};

inline void quantize_model_job::check() const {
  const bool budget = options_.budget.has_value();
  if (budget && !options_.plan.empty())
    fail(error_code::bad_argument, "budget", "a plan from a file leaves it nothing to choose");
  if (!options_.plan_output.empty() && !budget)
    fail(error_code::bad_argument, "plan output", "only a budget makes a plan");
  if (options_.mixture != nullptr && (budget || !options_.plan.empty()))
    fail(error_code::bad_argument, "recipe " + std::string(options_.mixture->name),
         "a budget or a plan chooses the formats already");
  const bool by_weights = !by_text() && options_.sensitivity == loss_measure::weight;
  if (options_.calibration.text.empty() && (by_text() || (budget && !by_weights)))
    fail(error_code::bad_argument, by_text() ? "method " + name_of(options_.method) : "budget",
         "needs a calibration text");
  if (!options_.calibration.text.empty() && !by_text() && !budget &&
      options_.scale.rule != scale_rule::mse)
    fail(error_code::bad_argument, "calibration text",
         "nothing uses it: the method is rtn, and the scale rule " + to_string(options_.scale) +
             " does not weigh columns, as mse does");
  // A single GGUF may be replaced by its smaller self, once that is complete.
  const std::vector<named_output> outputs = {
      {"OUT", output_, std::filesystem::is_directory(source_.path) ? "" : source_.path},
      {"--report", options_.report},
      {"--plan-out", options_.plan_output}};
  std::vector<std::filesystem::path> inputs = inputs_of(source_);
  inputs.push_back(options_.calibration.text);
  inputs.push_back(options_.plan);
  inputs.push_back(options_.tune);
  require_separate_files(outputs, inputs);
}

/// By size alone: with a format or mixture the smaller file wins, where zeros are few. With a
/// budget the model is widened where q3_K of the wide one fits it and blocks of 32 would not,
/// with 4.5 bits a weight.
inline std::optional<std::uint64_t> quantize_model_job::widened_size() const {
  if (options_.widen.when == widening::choice::off) return std::nullopt;
  if (options_.widen.when == widening::choice::size) return options_.widen.hidden;
  const auto name = source_.metadata.get_string("general.architecture");
  const auto* row = name ? find_architecture(*name) : nullptr;
  if (row == nullptr || !can_widen(*row) || !options_.plan.empty()) return std::nullopt;
  const std::uint64_t hidden = read_model_shape(source_.metadata).hidden;
  const std::uint64_t wide = ceil_divide(hidden, std::uint64_t{256}) * 256;
  if (wide == hidden || wide * 100 > hidden * most_growth) return std::nullopt;
  if (options_.budget) {
    std::uint64_t weights = 0;
    for (const auto& tensor : source_.tensors) weights += tensor.stored.values();
    const double bits =
        8 * static_cast<double>(options_.budget->bytes_for(weights)) / static_cast<double>(weights);
    const double ratio = static_cast<double>(wide) / static_cast<double>(hidden);
    const double least = 8.0 * info_of(format::q3_k).block_bytes / 256 * ratio;
    const auto& c = options_.candidates;
    const bool has_it = std::find(c.begin(), c.end(), format::q3_k) != c.end();
    return has_it && least <= bits && bits < 4.5 ? std::optional(wide) : std::nullopt;
  }
  const format type = options_.mixture != nullptr ? options_.mixture->type : options_.type;
  if (fitting_format(type, hidden) == type) return std::nullopt;
  const std::uint64_t narrow_row = row_bytes(fitting_format(type, hidden), hidden);
  return row_bytes(type, wide) < narrow_row ? std::optional(wide) : std::nullopt;
}

inline void quantize_model_job::take_mixture() {
  if (options_.mixture == nullptr) return;
  settings_.type = options_.mixture->type;
  settings_.exact = recipe_formats(*options_.mixture, source_);
}

/// Of plain rounding, by the mean squares of what each matrix multiplies: of all matrices, or of
/// those that GPTQ and AWQ leave, embedding and output.
template <class> void quantize_model_job::weigh_columns(calibrated_model& model) {
  if (settings_.scale.rule != scale_rule::mse) return;
  transformer network(model.weights, options_.threads);
  const auto seen = calibrate(network, model.text.tokens, model.text.bos,
                              chunk_context(model.weights, model.text));
  for (const auto& [name, statistics] : seen.all()) importance_[name] = statistics.mean_squares();
  settings_.importance = &importance_;
}

/// The formats of a plan from a file; what --keep names stays out of the plan and of the mixture.
inline void quantize_model_job::take_plan() {
  take_mixture();
  if (!options_.plan.empty()) settings_.exact = read_plan(options_.plan);
  if (settings_.exact.empty()) return;
  const auto rules = deciding_rules(source_, options_.keep);
  for (std::size_t i = 0; i < rules.size(); ++i)
    if (rules[i] != nullptr) settings_.exact.erase(source_.tensors[i].stored.name);
}

/// Matrices that were rounded before and are rounded once more.
inline void quantize_model_job::note_requantized() {
  std::size_t count = 0;
  std::string names;
  const auto plans = plan_formats(source_, settings_.type, settings_.keep, settings_.exact);
  for (std::size_t i = 0; i < plans.size(); ++i) {
    const format from = source_.tensors[i].stored.type;
    if (!is_block_format(from) || !is_block_format(plans[i].type) || from == plans[i].type)
      continue;
    ++count;
    const std::string name(name_of(from));
    if (names.find(name) == names.npos) names += (names.empty() ? "" : ", ") + name;
  }
  if (count != 0)
    notes_.push_back(
        std::to_string(count) + (count == 1 ? " matrix" : " matrices") + " of the source " +
        (count == 1 ? "is" : "are") + " quantized already (" + names +
        "): rounding once more adds its error to theirs; start from f16 where you can");
}

inline encoded_tensors quantize_model_job::kept(const char* folder, const calibration_text& text,
                                                const named_formats& formats) const {
  if (options_.resume.empty() || options_.dry_run) return {};
  std::string settings = name_of(method_) + ", " + to_string(options_.scale) + ", context " +
                         std::to_string(text.context) + ", " + folder;
  for (const auto type : options_.candidates)
    settings += std::string(" ") + std::string(name_of(type));
  // The tensors of the plan lie in the folder itself.
  const auto place = *folder == '\0' ? options_.resume : options_.resume / folder;
  return {place, job_key(source_, text, formats, settings)};
}

/// The divergence of every candidate, in one pass; where an earlier run has found them all, from
/// there.
template <class> void quantize_model_job::weigh_by_gradients(calibrated_model& model) {
  auto before = kept("divergence", model.text, {});
  const auto known = divergences_in(before);
  const auto key = [](const layer_sensitivity& layer, const format_loss& c) {
    return layer.name + " " + std::string(name_of(c.type));
  };
  if (before.size() != 0) {
    result_.layers =
        analyze_model(model.weights, {}, options_.candidates, options_.threads, listener_);
    bool complete = true;
    for (auto& layer : result_.layers)
      for (auto& c : layer.candidates) {
        c.kl = known.find(key(layer, c));
        complete = complete && c.kl;
      }
    if (complete) return;
  }
  result_.layers = analyze_by_gradients(model.weights, model.text, options_.candidates,
                                        {.adapted = method_.gptq && method_.guided,
                                         .keeps_codes = !method_.awq,
                                         .threads = options_.threads},
                                        &products_, listener_);
  for (const auto& layer : result_.layers)
    for (const auto& c : layer.candidates) known.put(key(layer, c), *c.kl);
}

template <class> void quantize_model_job::plan_for(calibrated_model& model) {
  budget_options limits{*options_.budget, options_.sensitivity};
  if (options_.sensitivity == loss_measure::fisher) {
    weigh_by_gradients(model);
  } else {
    result_.layers =
        analyze_model(model.weights, model.text, options_.candidates, options_.threads, listener_);
    if (method_.gptq) limits.layer_factor = gptq_loss_factor;
  }
  if (options_.sensitivity == loss_measure::kld) {
    auto known = kept("divergence", model.text, {});
    measure_divergence(model.weights, model.text, 2048, result_.layers, options_.threads, listener_,
                       divergences_in(known));
  }
  result_.plan = plan_for_budget(source_, settings_, result_.layers, limits);
  settings_.exact = result_.plan->formats;
  if (!products_.is_empty()) result_.plan->predicted = products_.of(result_.plan->formats);
}

template <class> void quantize_model_job::encode(calibrated_model& model) {
  const auto formats = planned_formats(source_, settings_);
  encoded_ = kept("", model.text, formats);
  encode_layers(model.weights, model.text, formats, method_, encoded_, listener_);
}

/// Says what the plan does on tokens that it has not seen. Divergences from gradients are of the
/// whole model; of other measures, which know single tensors, the better one of the plan and a
/// uniform format of at most its size is written.
template <class> void quantize_model_job::judge(calibrated_model& model) {
  plan_check check(source_, model, settings_, method_, listener_);
  if (options_.sensitivity == loss_measure::fisher) {
    const auto measured = check.measure(encoded_);
    if (!measured) return;
    result_.plan->measured = *measured;
    std::string note = "on " + std::to_string(model.held_out.size()) +
                       " tokens behind the calibration text the plan has a KL divergence of " +
                       general_text(*measured, 4) + " nats";
    if (const auto predicted = result_.plan->predicted)
      note += ", predicted " + general_text(predicted->value, 4) + " +- " +
              general_text(predicted->error, 2);
    notes_.push_back(std::move(note));
    return;
  }
  const auto uniform = check.best_uniform(options_.candidates, result_.plan->file_bytes);
  if (!uniform) return;
  encoded_tensors other = kept("uniform", model.text, planned_formats(source_, *uniform));
  const auto verdict = check.compare(encoded_, *uniform, other);
  if (!verdict) return;
  notes_.push_back(verdict->note);
  if (!verdict->uniform_wins) return;
  encoded_ = std::move(other);
  settings_.type = uniform->type;
  settings_.exact = {};
  for (auto& [name, type] : result_.plan->formats)
    type = planned_formats(source_, settings_).at(name);
}

template <class> void quantize_model_job::tune_encoded(const calibrated_model& model) {
  encoded_.leave_folder();
  const auto formats = planned_formats(source_, settings_);
  model_weights weights(model.weights.file());
  round_rest(weights, formats, settings_, encoded_)
      .for_each([&](const std::string& name, encoded_tensors::tensor& t) {
        encoded_.put(name, std::move(t));
      });
  install(weights, encoded_);
  auto tuning = options_.tuning;
  if (tuning.threads == 0) tuning.threads = options_.threads;
  result_.tuning = tune(weights, tuning_text_, formats, tuning, encoded_, listener_);
  const auto& curve = result_.tuning->curve;
  notes_.push_back("tuning took the KL divergence on the last tokens of its text from " +
                   general_text(curve.front().divergence, 4) + " to " +
                   general_text(curve[result_.tuning->best].divergence, 4) + " nats, in " +
                   counted(curve.back().steps, "step") + " and " +
                   counted(result_.tuning->moves, "move") + " of codes");
}

inline std::string quantize_model_job::report_text() const {
  if (options_.report.extension() != ".html") return to_json(result_.report).dump(2) + "\n";
  report_details details{.layers = result_.layers, .method = name_of(method_)};
  if (result_.plan) details.plan = &*result_.plan;
  details.measure = options_.sensitivity;
  return report_page(result_.report, details);
}

template <class> quantize_model_result quantize_model_job::run() {
  // Opened first: a wrong path costs no work.
  std::optional<output_file> report, plan;
  if (!options_.report.empty() && !options_.dry_run) report.emplace(options_.report);
  if (!options_.plan_output.empty() && !options_.dry_run) plan.emplace(options_.plan_output);
  take_plan();
  const bool tunes = !options_.tune.empty();
  if (by_text() || options_.budget || !options_.calibration.text.empty() || tunes) {
    auto calibration = options_.calibration;
    if (options_.budget) calibration.held_out = held_out_tokens;
    auto model =
        open_calibrated(source_, source_.path, output_, calibration, options_.threads, listener_);
    if (tunes) { // a wrong text costs no work either
      tuning_text_ = read_tokens(model.weights, source_.name, options_.tune, options_.tune_tokens);
      (void)tuning_sequences(model.weights, tuning_text_, options_.tuning);
    }
    if (options_.budget) plan_for(model);
    if (!model.text.tokens.empty() && !options_.dry_run) weigh_columns(model);
    if (by_text() && !options_.dry_run) encode(model);
    if (options_.budget && !options_.dry_run) judge(model);
    if (tunes && !options_.dry_run) tune_encoded(model);
  }
  if (encoded_.size() != 0) settings_.encoded = &encoded_;
  note_requantized();
  result_.report = compress(source_, output_, settings_, listener_);
  result_.report.notes.insert(result_.report.notes.end(), notes_.begin(), notes_.end());
  if (plan) write_text(*plan, to_json(*result_.plan, result_.layers).dump(2) + "\n");
  if (report) write_text(*report, report_text());
  return std::move(result_);
}

} // namespace compression::detail

template <class>
quantize_model_result
quantize_model(const model_source& source, const std::filesystem::path& output,
               const quantize_model_options& options, const progress_callback& listener) {
  compression::detail::quantize_model_job job(source, output, options, listener);
  job.check();
  const auto hidden = job.widened_size();
  if (!hidden) return job.run();
  const model_source wide = widen_model(source, *hidden, output);
  return compression::detail::quantize_model_job(wide, output, options, listener).run();
}

} // namespace edgequant::inline EDGEQUANT_ABI
