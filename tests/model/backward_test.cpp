// SPDX-License-Identifier: MIT
#include "model/plain_network.hpp"
#include "model/toy_model.hpp"

#include <edgequant/model/gradient_walk.hpp>

namespace {
using namespace model_test;
using eq::matrix_f;

const std::vector<std::int32_t> text{1, 5, 39, 0, 7, 7, 12, 30, 2, 21, 8, 8, 3, 17, 33, 4, 9, 11};

/// Gradients of tensors by their names, with the shapes that files have.
struct gradient_sums {
  std::map<std::string, std::vector<double>> all;
  std::size_t sample = 0;

  void add(const eq::matrix_gradient& g, std::size_t total_rows) {
    auto& sum = all[std::string(g.name)];
    const auto columns = static_cast<std::size_t>(g.inputs.cols());
    sum.resize(total_rows * columns);
    const Eigen::Index tokens = g.inputs.rows();
    for (Eigen::Index t = 0; t < tokens; ++t)
      for (Eigen::Index r = 0; r < g.gradients.cols(); ++r)
        for (Eigen::Index c = 0; c < g.inputs.cols(); ++c)
          sum[g.row(static_cast<std::size_t>(r)) * columns + static_cast<std::size_t>(c)] +=
              double{g.gradients(static_cast<Eigen::Index>(sample) * tokens + t, r)} *
              double{g.inputs(t, c)};
  }
  void add(const eq::lookup_gradient& g, std::size_t words) {
    auto& sum = all[std::string(g.name)];
    const auto hidden = static_cast<std::size_t>(g.gradients.cols());
    sum.resize(words * hidden);
    for (std::size_t t = 0; t < g.tokens.size(); ++t)
      for (std::size_t i = 0; i < hidden; ++i)
        sum[static_cast<std::size_t>(g.tokens[t]) * hidden + i] += double{g.gradients(
            static_cast<Eigen::Index>(sample * g.tokens.size() + t), static_cast<Eigen::Index>(i))};
  }
};

/// sum of c * logits, for fixed numbers c.
double loss(plain_network& network, const matrix_f& c) {
  double sum = 0;
  const auto logits = network.each(text);
  for (std::size_t t = 0; t < logits.size(); ++t)
    for (std::size_t i = 0; i < logits[t].size(); ++i)
      sum += double{c(static_cast<Eigen::Index>(t), static_cast<Eigen::Index>(i))} * logits[t][i];
  return sum;
}

class backward : public testing::Test {
protected:
  temporary_folder folder;

  /// Runs two samples at once; the second, twice the first, must give twice its gradients.
  gradient_sums gradients_of(const eq::model_weights& weights, const matrix_f& c,
                             std::size_t sample) {
    const auto hidden = static_cast<Eigen::Index>(weights.shape().hidden);
    const auto tokens = static_cast<Eigen::Index>(text.size());
    eq::transformer forward(weights, 1);
    eq::kv_pool pool = forward.make_pool(eq::kv_format::f32, text.size());
    eq::kv_sequence cache(pool);
    cache.extend(text.size());
    struct step {
      std::size_t layer;
      eq::sublayer part;
      matrix_f x;
    };
    std::vector<step> steps;
    std::vector<float> x = forward.embedded(text);
    const auto now = [&] { return matrix_f(Eigen::Map<matrix_f>(x.data(), tokens, hidden)); };
    for (std::size_t layer = 0; layer < weights.layers().size(); ++layer)
      for (const auto part : {eq::sublayer::attention, eq::sublayer::feed_forward}) {
        steps.push_back({layer, part, now()});
        forward.run_sublayer(layer, part, x, cache);
      }
    gradient_sums sums;
    sums.sample = sample;
    const eq::gradient_taps taps{
        [&](const eq::matrix_gradient& g) {
          std::size_t rows = weights.embedding().view.rows;
          if (g.name.starts_with("blk.")) rows = weights.find_matrix(g.name).rows;
          sums.add(g, rows);
        },
        [&](const eq::lookup_gradient& g) { sums.add(g, weights.embedding().view.rows); },
        [&](const std::string& name, std::span<const double> g) {
          for (const double v : g) sums.all[name].push_back(v / 3); // of both samples
        }};
    eq::backward_pass<> back(weights, 2);
    const matrix_f logits = back.logits(now());
    matrix_f both(2 * tokens, c.cols());
    both << c, 2 * c;
    std::vector<std::size_t> rows(weights.vocabulary());
    std::iota(rows.begin(), rows.end(), std::size_t{0});
    matrix_f gradient = back.run_output(now(), logits, rows, both, taps);
    for (auto s = steps.rbegin(); s != steps.rend(); ++s)
      back.run_sublayer(s->layer, s->part, s->x, gradient, taps);
    back.run_embedding(text, gradient, taps);
    return sums;
  }

  void expect_differences(const toy_options& o) {
    SCOPED_TRACE(o.architecture);
    write_toy(folder / "toy.gguf", o);
    const eq::model_weights weights(eq::read_gguf(folder / "toy.gguf"));
    plain_network network(folder / "toy.gguf");
    const auto words = static_cast<Eigen::Index>(o.words);
    const auto numbers = inputs::make(inputs::gaussian, text.size() * o.words, 7);
    const matrix_f c =
        Eigen::Map<const matrix_f>(numbers.data(), static_cast<Eigen::Index>(text.size()), words);
    const auto sums = gradients_of(weights, c, 0), twice = gradients_of(weights, c, 1);
    for (auto& [name, values] : network.tensors()) {
      if (name.starts_with("rope_")) continue;
      if (name.find("attn_sinks") != name.npos) continue; // no gradient is asked of them
      if (name.find("_exps.bias") != name.npos) continue; // likewise
      SCOPED_TRACE(name);
      ASSERT_TRUE(sums.all.count(name));
      const auto& g = sums.all.at(name);
      ASSERT_EQ(g.size(), values.size());
      double length = 0;
      for (const double v : g) length += v * v;
      length = std::sqrt(length);
      // Along the gradient and across it.
      const auto noise = inputs::make(inputs::gaussian, g.size(), 3);
      const auto before = values;
      std::vector<float> up(values), down(values);
      const double step = 5e-6 * std::sqrt(static_cast<double>(g.size()));
      for (std::size_t i = 0; i < g.size(); ++i) {
        const double e = step * (length > 0 ? g[i] / length : 0) + 5e-6 * 50 * noise[i];
        up[i] += static_cast<float>(e), down[i] -= static_cast<float>(e);
      }
      double expected = 0, moved = 0;
      for (std::size_t i = 0; i < g.size(); ++i) {
        const double e = double{up[i]} - double{down[i]};
        expected += g[i] * e, moved += e * e;
      }
      values = up;
      const double above = loss(network, c);
      values = down;
      const double below = loss(network, c);
      values = before;
      // Floats of a hundred operations: 1e-5 of the gradient's length; the cubic term of such
      // steps is smaller.
      EXPECT_NEAR(above - below, expected, 2e-4 * length * std::sqrt(moved) + 1e-9);
      if (twice.all.at(name).size() != g.size() || !name.ends_with("weight")) continue;
      if (name.find("norm") != name.npos) continue; // summed over samples
      for (std::size_t i = 0; i < g.size(); ++i)
        ASSERT_NEAR(twice.all.at(name)[i], 2 * g[i], 1e-4 * length);
    }
  }
};

TEST_F(backward, agrees_with_differences_in_double_for_every_architecture) {
  for (const auto& row : eq::architecture_table) {
    toy_options o = toy_of(row);
    if (row.experts) o.experts = 4; // so that no token stands between two experts
    expect_differences(o);
  }
}

TEST_F(backward, agrees_with_differences_where_a_model_has_more) {
  toy_options o;
  o.own_output = true, o.divisors = true, o.biases = true;
  o.other_biases = {"attn_output", "ffn_gate", "ffn_up", "ffn_down"};
  expect_differences(o);
  toy_options gemma;
  gemma.architecture = "gemma3", gemma.window = 5, gemma.layers = 3;
  gemma.change_keys = [](eq::gguf_metadata& keys) {
    keys.set("gemma3.final_logit_softcapping", 3.0f);
    keys.set("gemma3.attn_logit_softcapping", 2.0f);
  };
  expect_differences(gemma);
}

/// Adds up the gradients of a walk.
struct summing : eq::gradient_visitor {
  const eq::model_weights& weights;
  gradient_sums sums;
  std::vector<std::string> begun;
  explicit summing(const eq::model_weights& w) : weights(w) {}
  void begin(std::span<const eq::named_weight* const> matrices) override {
    for (const auto* m : matrices) begun.push_back(m->name);
  }
  void matrix(std::size_t, const eq::matrix_gradient& g) override {
    sums.add(g, g.name.starts_with("blk.") ? weights.find_matrix(g.name).rows
                                           : weights.embedding().view.rows);
  }
  void lookup(std::size_t, const eq::lookup_gradient& g) override {
    sums.add(g, weights.embedding().view.rows);
  }
};

// The loss of a text is -log p of what follows; the walk tells gradients of log p.
TEST_F(backward, a_walk_tells_the_gradients_of_a_text) {
  toy_options o;
  o.own_output = true;
  write_toy(folder / "toy.gguf", o);
  const eq::model_weights weights(eq::read_gguf(folder / "toy.gguf"));
  summing walk(weights);
  const std::vector<std::vector<std::int32_t>> texts{text};
  eq::walk_gradients(weights, texts, {.labels = eq::gradient_labels::text}, walk);
  plain_network network(folder / "toy.gguf");
  const auto log_p = [&] {
    double sum = 0;
    const auto logits = network.each(text);
    for (std::size_t t = 0; t + 1 < text.size(); ++t) {
      double all = 0;
      for (const double l : logits[t]) all += std::exp(l);
      sum += logits[t][static_cast<std::size_t>(text[t + 1])] - std::log(all);
    }
    return sum;
  };
  for (const auto& [name, g] : walk.sums.all) {
    SCOPED_TRACE(name);
    EXPECT_NE(std::find(walk.begun.begin(), walk.begun.end(), name), walk.begun.end());
    auto& values = network.tensors().at(name);
    const auto largest = static_cast<std::size_t>(
        std::max_element(g.begin(), g.end(),
                         [](double a, double b) { return std::fabs(a) < std::fabs(b); }) -
        g.begin());
    const float before = values[largest];
    values[largest] = before + 1e-3f;
    const double up = log_p(), upper = values[largest];
    values[largest] = before - 1e-3f;
    const double slope = (up - log_p()) / (upper - double{values[largest]});
    values[largest] = before;
    EXPECT_NEAR(slope, g[largest], 1e-3 * std::fabs(slope));
  }
}

// Labels that are drawn have each token's own probabilities: their gradients' mean is 0, and that
// of their squares what the softmax says, p (1 - p) for a logit.
TEST_F(backward, drawn_labels_follow_the_model) {
  write_toy(folder / "toy.gguf", {});
  const eq::model_weights weights(eq::read_gguf(folder / "toy.gguf"));
  struct moments : eq::gradient_visitor {
    matrix_f seen;
    std::vector<std::size_t> rows;
    void matrix(std::size_t, const eq::matrix_gradient& g) override {
      if (seen.size() != 0) return;
      seen = g.gradients;
      for (std::size_t i = 0; i < static_cast<std::size_t>(seen.cols()); ++i)
        rows.push_back(g.row(i));
    }
  } walk;
  const std::vector<std::vector<std::int32_t>> texts{{1, 5, 7}};
  constexpr Eigen::Index samples = 4000;
  eq::walk_gradients(weights, texts, {.samples = samples}, walk);
  plain_network network(folder / "toy.gguf");
  const auto logits = network.each(texts[0]);
  for (Eigen::Index t = 0; t < 3; ++t) {
    double all = 0;
    for (const double l : logits[static_cast<std::size_t>(t)]) all += std::exp(l);
    for (Eigen::Index w = 0; w < walk.seen.cols(); ++w) {
      const double p =
          std::exp(logits[static_cast<std::size_t>(t)][walk.rows[static_cast<std::size_t>(w)]]) /
          all;
      double mean = 0, square = 0;
      for (Eigen::Index s = 0; s < samples; ++s) {
        const double g = walk.seen(s * 3 + t, w);
        mean += g / samples, square += g * g / samples;
      }
      // Five standard errors.
      EXPECT_NEAR(mean, 0, 5 * std::sqrt(p * (1 - p) / samples) + 1e-6);
      EXPECT_NEAR(square, p * (1 - p), 5 * std::sqrt(p / samples) + 1e-6);
    }
  }
}

TEST(unlikely_bound, keeps_all_but_a_mass) {
  const auto bound = [](std::initializer_list<double> p, double mass) {
    const std::vector<double> list(p);
    return eq::model::detail::unlikely_bound(
        Eigen::Map<const Eigen::VectorXd>(list.data(), static_cast<Eigen::Index>(list.size())),
        mass);
  };
  EXPECT_EQ(bound({0.5, 0.25, 0.25}, 0.1), 0.25); // by powers of 2: 0.25 to 0.5 would be too much
  EXPECT_EQ(bound({0.9, 0.06, 0.03, 0.01}, 0.011), 0x1p-6);
  EXPECT_EQ(bound({0.9, 0.06, 0.03, 0.01}, 0.05), 0x1p-5); // not all below 0.0625: that is 0.1
  EXPECT_EQ(bound({1, 0, 0}, 0.001), 1);                   // nothing is lost with the zeros
  EXPECT_EQ(bound({0.5, 0.5}, 0), 0.5);
  EXPECT_EQ(bound({1, 1e-30}, 0), 0); // no mass may be lost
}

// An output matrix far from flat: of each token at most 2^-10 is left out, and what is told is
// that of the whole softmax.
TEST_F(backward, unlikely_rows_are_left_out) {
  toy_options o;
  o.own_output = true;
  o.change_tensor = [](eq::tensor_info& t, std::vector<float>& values) {
    if (t.name == "output.weight")
      for (float& v : values) v *= 60;
    return true;
  };
  write_toy(folder / "toy.gguf", o);
  const eq::model_weights weights(eq::read_gguf(folder / "toy.gguf"));
  struct collecting : eq::gradient_visitor {
    std::vector<std::size_t> rows;
    matrix_f gradients;
    void matrix(std::size_t, const eq::matrix_gradient& g) override {
      if (g.name != "output.weight") return;
      for (std::size_t i = 0; i < static_cast<std::size_t>(g.gradients.cols()); ++i)
        rows.push_back(g.row(i));
      gradients = g.gradients;
    }
  } walk;
  const std::vector<std::vector<std::int32_t>> texts{{1, 5}};
  eq::walk_gradients(weights, texts, {.labels = eq::gradient_labels::text}, walk);
  const auto words = static_cast<std::size_t>(o.words);
  ASSERT_LT(walk.rows.size(), words);
  ASSERT_TRUE(std::is_sorted(walk.rows.begin(), walk.rows.end()));
  ASSERT_NE(std::find(walk.rows.begin(), walk.rows.end(), 5u), walk.rows.end()); // the label
  plain_network network(folder / "toy.gguf");
  const auto logits = network.each(texts[0])[0];
  const double largest = *std::max_element(logits.begin(), logits.end());
  double all = 0, told = 0;
  for (const double l : logits) all += std::exp(l - largest);
  for (std::size_t i = 0; i < walk.rows.size(); ++i) {
    const double p = std::exp(logits[walk.rows[i]] - largest) / all;
    told += p;
    EXPECT_NEAR(double{walk.gradients(0, static_cast<Eigen::Index>(i))},
                (walk.rows[i] == 5 ? 1 : 0) - p, 1e-4);
  }
  EXPECT_GE(told, 1 - 0x1p-10);
}

TEST_F(backward, a_walk_refuses_what_it_cannot_tell) {
  write_toy(folder / "toy.gguf", {});
  const eq::model_weights weights(eq::read_gguf(folder / "toy.gguf"));
  struct final : eq::gradient_visitor {
    void matrix(std::size_t, const eq::matrix_gradient&) override { ADD_FAILURE(); }
  } nobody;
  const auto refusal = [&](std::vector<std::int32_t> tokens, const eq::gradient_options& o) {
    const std::vector<std::vector<std::int32_t>> texts{std::move(tokens)};
    return message_of([&] { eq::walk_gradients(weights, texts, o, nobody); });
  };
  const std::string samples =
      "samples: expected at least one, and one where the labels are the text's own";
  EXPECT_EQ(refusal({1}, {.samples = 0}), samples);
  EXPECT_EQ(refusal({1}, {.labels = eq::gradient_labels::text, .samples = 2}), samples);
  EXPECT_EQ(refusal({1, 40}, {}), "text: token 40 of a vocabulary of 40");
  EXPECT_EQ(refusal({-1}, {}), "text: token -1 of a vocabulary of 40");
}

} // namespace
