// SPDX-License-Identifier: MIT
#include "plan/support.hpp"

#include <edgequant/compress/prune_model.hpp>

#include <sstream>

namespace {
using namespace plan_test;

class pruning : public testing::Test {
protected:
  temporary_folder folder;
  const fs::path data = fs::path(EDGEQUANT_SOURCE_DIR) / "examples/data";
  const fs::path file = data / "stories-2m-f16.gguf";
  eq::model_source source = eq::open_model(file);
  eq::model_weights weights{eq::read_gguf(file)};
  eq::calibration_text text = eq::read_tokens(weights, "stories", data / "story.txt", 297);
  eq::prune_options options;

  pruning() {
    text.context = 64;
    options.calibration = {data / "story.txt", 240, 48, 48};
    options.remove = 0.2;
  }
  eq::prune_result run(const char* name) { return eq::prune_model(source, folder / name, options); }
  std::string bytes_of(const char* name) const {
    std::ifstream in(folder / name, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
  }
  std::vector<eq::kept_layer> whole() const {
    std::vector<eq::kept_layer> kept;
    for (const auto& layer : weights.shape().layers) kept.push_back(eq::whole_layer(layer));
    return kept;
  }
};

TEST_F(pruning, options_are_nested_and_cost_more_and_more) {
  const auto removals = eq::measure_removals(weights, text, {.sequences = 4, .tokens = 64});
  ASSERT_EQ(removals.size(), 4u);
  for (std::size_t i = 0; i < removals.size(); ++i) {
    const auto& channels = removals[i].feed_forward.options;
    ASSERT_EQ(channels.size(), 17u); // 512, 480, ... 32, 0
    const auto& shape = weights.shape().layers[i];
    for (std::size_t k = 1; k < channels.size(); ++k) {
      const auto &now = channels[k].kept.channels, &before = channels[k - 1].kept.channels;
      EXPECT_EQ(now.size() + 32, before.size());
      EXPECT_TRUE(std::includes(before.begin(), before.end(), now.begin(), now.end()));
      EXPECT_GE(channels[k].loss, channels[k - 1].loss * (1 - 1e-6));
    }
    const auto& heads = removals[i].attention.options; // all; one group; one query a group; none
    ASSERT_EQ(heads.size(), 4u);
    EXPECT_EQ(heads[0].kept,
              (eq::kept_layer{eq::whole_layer(shape).kv_heads, eq::whole_layer(shape).heads, {}}));
    EXPECT_EQ(heads[1].kept.kv_heads.size(), 1u);
    EXPECT_EQ(heads[1].kept.heads.size(), 2u);
    EXPECT_EQ(heads[2].kept.kv_heads.size(), 2u);
    EXPECT_EQ(heads[2].kept.heads.size(), 2u);
    EXPECT_TRUE(heads[3].kept.is_gone());
    for (const auto& h : heads) EXPECT_LE(h.loss, heads[3].loss);
  }
}

// A sublayer that is scaled down a little loses what its change says: the divergence of the model
// with the writing matrix times 1 - e is half the mean square of e times the changes.
TEST_F(pruning, changes_are_those_of_the_log_probability) {
  const auto removals = eq::measure_removals(
      weights, text, {.sequences = 4, .tokens = 64, .samples = 64, .skipping_alone = true});
  const auto sequences = eq::gradient_sequences(text, 4, 64);
  eq::kept_predictions<> reference(weights, sequences);
  constexpr float e = 0.1f;
  for (const eq::sublayer_place place : {eq::sublayer_place{0, eq::sublayer::attention},
                                         {1, eq::sublayer::feed_forward},
                                         {3, eq::sublayer::attention}}) {
    const auto& changes = removals[place.layer].of(place.part).changes;
    ASSERT_EQ(changes.size(), 4u * 64);
    double predicted = 0;
    for (const double c : changes) predicted += c * c / 2 * e * e / double(changes.size());
    const auto& layer = weights.layers()[place.layer];
    const auto& w = place.part == eq::sublayer::attention ? layer.attention_output : layer.down;
    eq::matrix_f values =
        (1 - e) * eq::decode_matrix(w.view.type, w.view.data, w.view.rows, w.view.columns, 1);
    eq::model_weights changed(eq::read_gguf(file));
    changed.replace(w.name, {format::f32, w.view.rows, w.view.columns,
                             reinterpret_cast<const std::byte*>(values.data())});
    // 256 squares of normal numbers have a relative error of 0.09; the third order adds some of e.
    EXPECT_NEAR(eq::mean_divergence(changed, reference, sequences, 0) / predicted, 1, 0.35)
        << w.name;
  }
}

TEST_F(pruning, a_network_that_skips_is_the_one_that_is_cut) {
  const auto sequences = eq::gradient_sequences(text, 4, 64);
  eq::skipping_meter<> meter(weights, sequences);
  eq::kept_predictions<> reference(weights, sequences);
  auto kept = whole();
  kept[2] = {};
  kept[1].heads.clear(), kept[1].kv_heads.clear();
  const eq::model_weights cut(eq::cut_model(weights.file(), kept, folder / "out.gguf"));
  const double exact = eq::mean_divergence(cut, reference, sequences, 0);
  const eq::sublayer_set first{{2, eq::sublayer::attention}, {2, eq::sublayer::feed_forward}};
  const eq::sublayer_set second{{1, eq::sublayer::attention}};
  // Tokens that get a thousandth together are left out.
  meter.set_skipped(first);
  EXPECT_NEAR(meter.without(second) / exact, 1, 0.02);
  meter.set_skipped(second);
  EXPECT_NEAR(meter.without(first) / exact, 1, 0.02);
  meter.set_skipped({});
  EXPECT_NEAR(meter.without({}), 0, 1e-6);
}

TEST_F(pruning, each_removal_is_the_one_that_costs_least_for_its_weights) {
  const auto removals =
      eq::measure_removals(weights, text, {.sequences = 4, .tokens = 64, .skipping_alone = true});
  const auto sequences = eq::gradient_sequences(text, 4, 64);
  eq::skipping_meter<> meter(weights, sequences);
  const auto steps =
      eq::remove_layers(meter, weights.shape(), removals, {.remove = 0.5, .measured = 99});
  ASSERT_GE(steps.size(), 2u);
  eq::skipping_meter<> again(weights, sequences);
  double before = 0;
  std::uint64_t gone = 0;
  for (const auto& step : steps) {
    const double own = (step.divergence - before) / double(step.weights);
    EXPECT_EQ(again.without(step.gone), step.divergence);
    for (std::size_t i = 1; i < 4; ++i)
      for (const auto& set :
           {eq::sublayer_set{{i, eq::sublayer::attention}},
            eq::sublayer_set{{i, eq::sublayer::attention}, {i, eq::sublayer::feed_forward}}}) {
        eq::sublayer_set left = set;
        for (const auto& p : again.skipped()) left.erase(p);
        const auto count = eq::compression::detail::weights_of(weights.shape(), left);
        if (count != 0) {
          EXPECT_GE((again.without(left) - before) / double(count), own);
        }
      }
    auto skipped = again.skipped();
    skipped.insert(step.gone.begin(), step.gone.end());
    again.set_skipped(skipped);
    before = step.divergence;
    gone += step.weights;
  }
  EXPECT_GE(gone, 2359296u / 2);
}

TEST_F(pruning, what_stays_is_refitted_and_the_file_runs) {
  for (const auto what : {eq::prune_target::layers, eq::prune_target::heads,
                          eq::prune_target::channels, eq::prune_target::all}) {
    options.what = what;
    const auto result = run("out.gguf");
    EXPECT_EQ(result.weights_before, 2359296u);
    EXPECT_LE(result.weights_after, 0.8 * 2359296);
    EXPECT_LT(result.refit_divergence, result.cut_divergence);
    const eq::model_weights pruned(eq::read_gguf(folder / "out.gguf"));
    std::uint64_t left = 0;
    for (const auto& layer : pruned.layers())
      eq::layer_weights::for_each_matrix(layer, [&](const eq::named_weight& w) {
        left += w.view.rows * w.view.columns;
        EXPECT_EQ(w.view.type, format::f16);
      });
    EXPECT_EQ(left, result.weights_after);
    std::ostringstream table;
    eq::print_pruning(table, result);
    EXPECT_NE(table.str().find("weights of the layers' matrices: 2359296 -> "), std::string::npos);
    EXPECT_EQ(eq::to_json(result)["layers"].size(), 4u);
  }
}

TEST_F(pruning, bytes_do_not_depend_on_threads) {
  options.healing = {.steps = 2, .step_tokens = 64, .sequence_tokens = 32, .held_out = 32};
  options.heal = data / "story.txt";
  options.threads = 1;
  (void)run("one.gguf");
  options.threads = 2;
  (void)run("two.gguf");
  EXPECT_TRUE(bytes_of("one.gguf") == bytes_of("two.gguf"));
}

TEST_F(pruning, healing_brings_it_nearer) {
  options.what = eq::prune_target::layers;
  options.heal = data / "endings.jsonl"; // a longer text
  options.heal_tokens = 2000;
  options.healing = {.steps = 16,
                     .step_tokens = 128,
                     .sequence_tokens = 32,
                     .held_out = 128,
                     .learning_rate = 1e-3};
  const auto result = run("out.gguf");
  ASSERT_TRUE(result.healing);
  const auto& curve = result.healing->curve;
  EXPECT_LT(curve[result.healing->best].divergence, 0.9 * curve[0].divergence);
  const eq::model_weights pruned(eq::read_gguf(folder / "out.gguf"));
  const auto judging = eq::gradient_sequences(
      {{text.tokens.begin() + 240, text.tokens.begin() + 288}, text.bos}, 9, 48);
  eq::kept_predictions<> reference(weights, judging);
  EXPECT_NEAR(eq::mean_divergence(pruned, reference, judging, 0), result.divergence,
              0.02 * result.divergence); // f16
}

// A text that calibrates may heal: what judges is taken out of it.
TEST_F(pruning, what_judges_is_not_learnt_from) {
  options.what = eq::prune_target::layers;
  options.heal = data / "story.txt";
  options.healing = {.steps = 1, .step_tokens = 32, .sequence_tokens = 32, .held_out = 32};
  options.calibration = {data / "story.txt", 240, 48, 48};
  // 297 tokens less 48: eight sequences of 31 and a part of one.
  EXPECT_EQ(run("out.gguf").healing->tokens, 32u);
  options.healing.sequence_tokens = 33; // 8 * 32 > 249
  EXPECT_NE(message_of([&] { (void)run("out.gguf"); }).find("249 tokens; expected at least 256"),
            std::string::npos);
}

TEST_F(pruning, one_size_keeps_the_architecture) {
  options.uniform = true;
  const auto result = run("out.gguf");
  for (const auto& layer : result.kept) {
    EXPECT_EQ(layer.heads.size(), result.kept[0].heads.size());
    EXPECT_EQ(layer.channels.size(), result.kept[0].channels.size());
  }
  EXPECT_EQ(eq::read_gguf(folder / "out.gguf").metadata.get_string("general.architecture"),
            "llama");
}

TEST_F(pruning, a_dry_run_writes_nothing_and_what_it_lacks_is_refused) {
  options.dry_run = true;
  (void)run("out.gguf");
  EXPECT_FALSE(fs::exists(folder / "out.gguf"));
  const auto refusal = [&] { return message_of([&] { (void)run("out.gguf"); }); };
  options.remove = 1;
  EXPECT_EQ(refusal(), "remove: expected a share above 0 and below 1");
  options.remove = 0.2;
  options.heal = data / "story.txt";
  options.healing.sequence_tokens = 256;
  EXPECT_NE(refusal().find("text: "), std::string::npos);
  options.heal.clear();
  options.calibration.text.clear();
  EXPECT_EQ(refusal(), "calibration: a text is needed");
  EXPECT_NE(
      message_of([] { (void)eq::parse_prune_target("width"); }).find("expected layers, heads"),
      std::string::npos);
  options.calibration = {data / "story.txt", 240, 48, 48};
  fs::copy_file(data / "story.txt", folder / "text.txt");
  options.calibration.text = folder / "text.txt";
  EXPECT_NE(
      message_of([&] { (void)eq::prune_model(source, folder / "text.txt", options); }).find("OUT"),
      std::string::npos);
  options.type = format::q4_0;
  EXPECT_EQ(refusal(), "format q4_0: expected f16, bf16 or f32; quantize_model makes the others of "
                       "the result");
}

} // namespace
