// SPDX-License-Identifier: MIT
#include "inputs.hpp"
#include "plan/support.hpp"

#include <edgequant/model/evaluate.hpp>

namespace {
using namespace plan_test;

class layer_encoding : public plans {
protected:
  eq::compress_options options;
  std::string name = "gptq";
  bool compensate = true, guided = true;
  layer_encoding() { options.keep = {eq::parse_keep("blk.1.ffn_up=f16")}; }

  void encode(eq::encoded_tensors& encoded, unsigned threads = 1,
              const eq::progress_callback& listener = {}) const {
    auto ready = open();
    auto method = eq::parse_method(name);
    method.options.threads = threads;
    method.compensate = compensate;
    method.guided = guided;
    eq::encode_layers(ready.weights, ready.text, eq::planned_formats(source, options), method,
                      encoded, listener);
  }
  std::string file_of(const eq::encoded_tensors& encoded) {
    options.encoded = &encoded;
    (void)eq::compress(source, folder / "out.gguf", options);
    return eq::read_text_file(folder / "out.gguf");
  }
  std::string key() const {
    return eq::job_key(source, open().text, eq::planned_formats(source, options), "gptq");
  }
  /// Output error of a tensor's bytes on inputs that the layers before give it.
  static double squared(const Eigen::MatrixXd& gram, const eq::matrix_f& w, const eq::matrix_f& q) {
    const Eigen::MatrixXd off = (w - q).cast<double>();
    return (off * gram.selfadjointView<Eigen::Lower>()).cwiseProduct(off).sum();
  }
};

/// In the first layer, where the embedding is exact and nothing has diverged.
TEST_F(layer_encoding, encodes_a_layer_better_than_rounding) {
  compensate = guided = false;
  eq::encoded_tensors encoded;
  encode(encoded);
  EXPECT_EQ(encoded.size(), 14u);
  EXPECT_EQ(encoded.find("blk.1.ffn_up.weight")->type, format::f16); // pinned
  auto ready = open();
  eq::layer_walk walk(ready.weights, ready.text.tokens, ready.text.bos, 64, 1);
  for (; walk.layer() == 0; walk.advance()) {
    const eq::sublayer_matrices part(ready.weights, 0, walk.part());
    for (const auto end : {eq::sublayer_end::in, eq::sublayer_end::out}) {
      const auto gram = walk.statistics(end).gram;
      for (const auto* w : part.at(end)) {
        const eq::matrix_f exact =
            eq::decode_matrix(w->view.type, w->view.data, w->view.rows, w->view.columns);
        const auto* t = encoded.find(w->name);
        ASSERT_NE(t, nullptr);
        const auto rows = w->view.rows, columns = w->view.columns;
        const auto plain = eq::encode_matrix(t->type, eq::scale_rule::mse, exact, "w");
        const auto ours = eq::decode_matrix(t->type, t->bytes.data(), rows, columns);
        EXPECT_LT(squared(gram, exact, ours),
                  0.8 *
                      squared(gram, exact, eq::decode_matrix(t->type, plain.data(), rows, columns)))
            << w->name;
        // The writer reads what the encoded readers give.
        ready.weights.replace(w->name, {t->type, rows, columns, t->bytes.data()});
      }
    }
  }
}

/// Layers that make up for what those before them have changed: f16 ones too.
TEST_F(layer_encoding, compensation_brings_the_model_nearer_to_the_original) {
  const auto divergence = [&](bool with) {
    compensate = with;
    eq::encoded_tensors encoded;
    encode(encoded);
    (void)file_of(encoded);
    const eq::model_weights changed(eq::read_gguf(folder / "out.gguf"));
    const eq::model_weights exact(eq::read_gguf(model));
    eq::transformer a(changed, 1), b(exact, 1);
    return eq::score_text(a, open().text.tokens, {.context = 64, .bos = open().text.bos}, &b)
        .from_reference->kl_mean;
  };
  const double without = divergence(false);
  EXPECT_LT(divergence(true), 0.9 * without);
}

/// Tokens by their gradients, and the embedding by GPTQ: on a real text, with everything in 4 bits.
TEST(guided_encoding, brings_a_real_model_nearer_to_the_original) {
  const fs::path data = fs::path(EDGEQUANT_SOURCE_DIR) / "examples/data";
  const auto file = data / "stories-2m-f16.gguf";
  const auto source = eq::open_model(file);
  const auto divergence = [&](bool guided) {
    auto ready = eq::open_calibrated(source, file, "unused", {data / "story.txt", 297}, 0);
    ready.text.context = 64;
    eq::compress_options options;
    options.keep = {eq::parse_keep("token_embd=q4_0")};
    const auto formats = eq::planned_formats(source, options);
    eq::encoded_tensors encoded;
    eq::encode_layers(ready.weights, ready.text, formats,
                      {.gptq = true, .guided = guided, .options = {.passes = 0}}, encoded);
    EXPECT_EQ(encoded.find("token_embd.weight") != nullptr, guided);
    std::vector<std::byte> rounded;
    if (!guided) {
      const auto w = ready.weights.find_matrix("token_embd.weight");
      rounded = eq::encode_matrix(format::q4_0, eq::scale_rule::mse,
                                  eq::decode_matrix(w.type, w.data, w.rows, w.columns), "e");
      ready.weights.replace("token_embd.weight", {format::q4_0, w.rows, w.columns, rounded.data()});
    }
    const eq::model_weights exact(eq::read_gguf(file));
    eq::transformer a(ready.weights), b(exact);
    return eq::score_text(a, ready.text.tokens, {.context = 64, .bos = ready.text.bos}, &b)
        .from_reference->kl_mean;
  };
  EXPECT_LT(divergence(true), 0.8 * divergence(false));
}

/// Experts are encoded one by one, on the tokens that come to them; the router stays as it is.
TEST_F(layer_encoding, experts_by_gptq_are_nearer_to_the_original_than_rounded_ones) {
  for (const char* architecture : {"qwen3moe", "gpt-oss"}) {
    SCOPED_TRACE(architecture);
    toy_options o;
    o.architecture = architecture, o.biases = architecture == std::string("gpt-oss");
    o.experts = 5;
    write_toy(folder / "toy.gguf", speaking(o));
    const auto text = open().text;
    const auto toy = eq::open_model(folder / "toy.gguf");
    options = {};
    const auto formats = eq::planned_formats(toy, options);
    EXPECT_EQ(formats.at("blk.0.ffn_gate_inp.weight"), format::f32);
    const auto divergence = [&](bool gptq) {
      eq::model_weights weights(eq::read_gguf(folder / "toy.gguf"));
      eq::encoded_tensors encoded;
      eq::encode_layers(weights, text, formats, {.gptq = gptq, .options = {.threads = 2}}, encoded);
      EXPECT_EQ(encoded.find("blk.1.ffn_down_exps.weight") != nullptr, gptq);
      std::vector<std::vector<std::byte>> rounded;
      for (const auto& [name, type] : formats)
        if (encoded.find(name) == nullptr && weights.has_matrix(name)) {
          const auto w = weights.find_matrix(name);
          rounded.push_back(eq::encode_matrix(type, eq::scale_rule::mse,
                                              eq::decode_matrix(w.type, w.data, w.rows, w.columns),
                                              name));
          weights.replace(name, {type, w.rows, w.columns, rounded.back().data()});
        }
      const eq::model_weights exact(eq::read_gguf(folder / "toy.gguf"));
      eq::transformer a(weights, 1), b(exact, 1);
      return eq::score_text(a, text.tokens, {.context = 64, .bos = text.bos}, &b)
          .from_reference->kl_mean;
    };
    EXPECT_LT(divergence(true), 0.8 * divergence(false));
  }
}

/// Where one of the three stays as it is, the others are encoded all the same.
TEST_F(layer_encoding, experts_with_a_matrix_that_stays) {
  toy_options o;
  o.architecture = "qwen3moe", o.experts = 5, o.type = format::q8_0;
  write_toy(folder / "toy.gguf", speaking(o));
  for (const char* stays : {"ffn_gate_exps", "ffn_down_exps"}) {
    options = {}, options.keep = {eq::parse_keep(std::string(stays) + "=q8_0")};
    eq::model_weights weights(eq::read_gguf(folder / "toy.gguf"));
    eq::encoded_tensors encoded;
    eq::encode_layers(weights, open().text,
                      eq::planned_formats(eq::open_model(folder / "toy.gguf"), options),
                      {.gptq = true, .options = {.threads = 1}}, encoded);
    for (const char* name : {"ffn_gate_exps", "ffn_up_exps", "ffn_down_exps"})
      EXPECT_EQ(encoded.find("blk.1." + std::string(name) + ".weight") == nullptr,
                name == std::string(stays))
          << name;
  }
}

/// The matrices of an expert as GPTQ has them on the tokens that the router sends there, each by
/// its weight in the loss and the square of its weight among the token's experts.
TEST_F(layer_encoding, an_expert_is_encoded_on_its_own_tokens) {
  toy_options o;
  o.architecture = "qwen3moe", o.experts = 5;
  write_toy(folder / "toy.gguf", speaking(o));
  const auto text = open().text;
  eq::model_weights weights(eq::read_gguf(folder / "toy.gguf"));
  const auto by_loss = eq::measure_loss_weights(weights, text, 1);
  const auto toy = eq::open_model(folder / "toy.gguf");
  options = {};
  const auto formats = eq::planned_formats(toy, options);
  const eq::layer_method method{.gptq = true, .options = {.threads = 1}};
  eq::encoded_tensors encoded;
  eq::layer_walk walk(weights, text.tokens, text.bos, 64, 1);
  walk.advance();
  eq::compression::detail::expert_encoder(weights, 0, formats, method, by_loss, encoded)
      .encode(walk);
  const auto& layer = weights.layers()[0];
  const auto values = [](const eq::weight_view& w) {
    return eq::decode_matrix(w.type, w.data, w.rows, w.columns);
  };
  const eq::matrix_f router = values(layer.router.view);
  const auto token_weights = by_loss.of("blk.0.ffn_down_exps.weight");
  constexpr std::size_t expert = 2;
  struct seen {
    Eigen::VectorXf x;
    double weight;
  };
  std::vector<seen> tokens;
  std::size_t token = 0;
  for (std::size_t chunk = 0; chunk < walk.chunks(); ++chunk) {
    const auto x = walk.inputs(chunk, eq::sublayer_end::in);
    for (std::size_t t = 0; t < x.size() / 64; ++t, ++token) {
      const Eigen::VectorXf n = Eigen::Map<const Eigen::VectorXf>(x.data() + t * 64, 64);
      const Eigen::VectorXf logits = router * n;
      std::size_t larger = 0; // two experts a token
      for (Eigen::Index e = 0; e < 5; ++e) larger += logits[e] > logits[expert];
      if (larger > 1) continue;
      Eigen::VectorXf sorted = logits;
      std::sort(sorted.begin(), sorted.end(), std::greater<>());
      const float sum = std::exp(sorted[0]) + std::exp(sorted[1]);
      const double share = double{std::exp(logits[expert]) / sum};
      tokens.push_back({n, double{token_weights[token]} * share * share});
    }
  }
  // The share of bytes in which a matrix differs from GPTQ on such inputs.
  const auto different = [&](const eq::biased_weight& w, bool weighed, const auto& input_of) {
    const auto columns = static_cast<Eigen::Index>(w.view.columns);
    Eigen::MatrixXd gram = Eigen::MatrixXd::Zero(columns, columns);
    for (const auto& t : tokens) {
      const Eigen::VectorXf n = input_of(t.x);
      gram += (weighed ? t.weight : 1) * (n * n.transpose()).cast<double>();
    }
    const std::size_t rows = w.view.rows / 5;
    const auto bytes =
        eq::gptq_matrix(format::q4_0, values(eq::rows_of(w.view, expert * rows, rows)),
                        eq::gptq_columns(gram, method.options.damping), method.options, "w");
    const auto& all = encoded.find(w.name)->bytes;
    std::size_t count = 0;
    for (std::size_t i = 0; i < bytes.size(); ++i)
      count += bytes[i] != all[expert * bytes.size() + i];
    return static_cast<double>(count) / static_cast<double>(bytes.size());
  };
  const auto& gate = layer.feed_forward_inputs[0];
  const auto& up = layer.feed_forward_inputs[1];
  const auto as_it_is = [](const Eigen::VectorXf& x) { return x; };
  EXPECT_LT(different(gate, true, as_it_is), 0.02); // sums in another order may move a code
  EXPECT_GT(different(gate, false, as_it_is), 0.05);
  // The last matrix reads what the first two give, as they have been encoded.
  const auto behind = [&](bool with_encoded) {
    const auto matrix = [&](const eq::biased_weight& w) {
      if (!with_encoded) return values(eq::rows_of(w.view, expert * 96, 96));
      return values(eq::rows_of(
          {format::q4_0, w.view.rows, w.view.columns, encoded.find(w.name)->bytes.data()},
          expert * 96, 96));
    };
    return [g = matrix(gate), u = matrix(up)](const Eigen::VectorXf& x) {
      const Eigen::ArrayXf y = (g * x).array();
      return Eigen::VectorXf(y / (1 + (-y).exp()) * (u * x).array());
    };
  };
  EXPECT_LT(different(layer.down, true, behind(true)), 0.02);
  EXPECT_GT(different(layer.down, true, behind(false)), 0.05);
}

/// An output matrix of its own is encoded last.
TEST_F(layer_encoding, an_output_matrix_by_gptq_is_better_than_rounded) {
  toy_options o;
  o.own_output = true;
  write_toy(folder / "toy.gguf", speaking(o));
  const auto text = open().text;
  options = {}, options.type = format::q8_0,
  options.keep = {eq::parse_keep("^output\\.weight=q4_0")};
  const auto formats = eq::planned_formats(eq::open_model(folder / "toy.gguf"), options);
  eq::model_weights weights(eq::read_gguf(folder / "toy.gguf"));
  eq::encoded_tensors encoded;
  eq::encode_layers(weights, text, formats, {.gptq = true, .options = {.threads = 1}}, encoded);
  const auto* t = encoded.find("output.weight");
  ASSERT_NE(t, nullptr);
  const eq::model_weights exact(eq::read_gguf(folder / "toy.gguf"));
  const auto w = exact.output().view;
  const auto rounded = eq::encode_matrix(format::q4_0, eq::scale_rule::mse,
                                         eq::decode_matrix(w.type, w.data, w.rows, w.columns), "o");
  const auto divergence = [&](const std::vector<std::byte>& bytes) {
    weights.replace("output.weight", {format::q4_0, w.rows, w.columns, bytes.data()});
    eq::transformer a(weights, 1), b(exact, 1);
    return eq::score_text(a, text.tokens, {.context = 64, .bos = text.bos}, &b)
        .from_reference->kl_mean;
  };
  EXPECT_LT(divergence(t->bytes), 0.8 * divergence(rounded));
}

/// A second rounding could only lose: the bytes of the file that was read are written.
TEST_F(layer_encoding, matrices_that_have_their_format_stay) {
  toy_options o;
  o.type = format::q8_0;
  write_toy(folder / "toy.gguf", speaking(o));
  const auto source = eq::open_model(folder / "toy.gguf");
  const auto text = open().text;
  options = {}, options.type = format::q4_0, options.keep = {eq::parse_keep("ffn_down=q8_0")};
  eq::model_weights weights(eq::read_gguf(folder / "toy.gguf"));
  eq::encoded_tensors encoded;
  eq::encode_layers(weights, text, eq::planned_formats(source, options),
                    {.gptq = true, .options = {.threads = 1}}, encoded);
  constexpr const char* down = "blk.1.ffn_down.weight";
  EXPECT_NE(encoded.find("blk.1.ffn_up.weight"), nullptr);
  EXPECT_EQ(encoded.find(down), nullptr);
  options.encoded = &encoded;
  (void)eq::compress(source, folder / "out.gguf", options);
  const auto bytes_in = [&](const char* file) {
    const eq::model_weights of(eq::read_gguf(folder / file));
    const auto view = of.find_matrix(down);
    return std::vector<std::byte>(view.data,
                                  view.data + view.rows * eq::row_bytes(view.type, view.columns));
  };
  EXPECT_EQ(bytes_in("toy.gguf"), bytes_in("out.gguf"));
}

/// How much tokens count, from the gradients themselves; chunk by chunk, BOS included.
TEST_F(layer_encoding, loss_weights_are_squares_of_gradients) {
  auto ready = open();
  ready.text.context = 40; // several chunks
  const auto weights = eq::measure_loss_weights(ready.weights, ready.text, 2);
  std::vector<std::vector<std::int32_t>> chunks;
  eq::for_each_chunk(ready.text.tokens, 40, ready.text.bos, [&](auto chunk, std::size_t) {
    chunks.emplace_back(chunk.begin(), chunk.end());
  });
  struct squares : eq::gradient_visitor {
    std::map<std::string, std::map<std::size_t, std::vector<double>>> of; // by sequence
    Eigen::MatrixXd embedding = Eigen::MatrixXd::Zero(64, 64);
    void matrix(std::size_t sequence, const eq::matrix_gradient& g) override {
      for (Eigen::Index t = 0; t < g.gradients.rows(); ++t) {
        const double square = double{g.gradients.row(t).squaredNorm()};
        of[std::string(g.name)][sequence].push_back(square);
        const Eigen::VectorXd x = g.inputs.row(t).transpose().cast<double>();
        if (g.name == "token_embd.weight") embedding += square * x * x.transpose();
      }
    }
    void lookup(std::size_t, const eq::lookup_gradient& g) override {
      const Eigen::MatrixXd rows = g.gradients.cast<double>();
      embedding += rows.transpose() * rows;
    }
  } walk;
  eq::walk_gradients(ready.weights, chunks, {}, walk); // one label a token, the same seed
  for (const char* matrix : {"blk.0.attn_v.weight", "blk.1.ffn_down.weight", "token_embd.weight"}) {
    std::vector<double> expected;
    double sum = 0;
    for (const auto& [sequence, list] : walk.of.at(matrix))
      for (const double x : list) expected.push_back(x), sum += x;
    const auto list = weights.of(matrix);
    ASSERT_EQ(list.size(), expected.size()) << matrix;
    for (std::size_t i = 0; i < list.size(); ++i)
      EXPECT_NEAR(list[i], expected[i] * static_cast<double>(list.size()) / sum, 1e-4 * list[i]);
  }
  EXPECT_TRUE(weights.of("blk.0.attn_norm.weight").empty());
  // Tied: lookups, and what the output matrix reads.
  const Eigen::MatrixXd gram = weights.embedding_gram().selfadjointView<Eigen::Lower>();
  EXPECT_TRUE(gram.isApprox(walk.embedding, 1e-4));
}

TEST_F(layer_encoding, gives_the_same_bytes_on_any_threads) {
  for (const char* method : {"awq+gptq", "gptq", "awq"}) {
    name = method;
    eq::encoded_tensors one, three;
    encode(one, 1);
    encode(three, 3);
    EXPECT_EQ(file_of(one), file_of(three)) << method;
    if (inputs::sanitized) break; // the first has the code of all
  }
}

/// What AWQ takes out of norms, v and up it puts into the columns behind them: at 8 bits, where
/// rounding hardly counts, the model says the same, with shared heads and with biases.
TEST_F(layer_encoding, scales_cancel) {
  for (const int biases : {0, 1, 2}) { // none, those of q, k and v, all
    toy_options o;
    o.biases = biases != 0;
    if (biases == 2) o.other_biases = {"attn_output", "ffn_gate", "ffn_up", "ffn_down"};
    o.change_tensor = [](eq::tensor_info& t, std::vector<float>& values) {
      if (t.name.ends_with("norm.weight"))
        for (std::size_t i = 0; i < values.size(); i += 7) values[i] *= 20; // outliers
      return true;
    };
    write_toy(model, speaking(o));
    source = eq::open_model(model);
    options.type = format::q8_0;
    const auto divergence = [&](const char* method) {
      name = method;
      eq::encoded_tensors encoded;
      encode(encoded);
      if (const auto* norm = encoded.find("blk.0.attn_norm.weight")) {
        EXPECT_NE(norm->bytes, bytes_from(open().weights.layers()[0].attention_norm));
        EXPECT_EQ(encoded.find("blk.1.attn_v.bias") != nullptr, biases != 0);
        EXPECT_EQ(encoded.find("blk.1.ffn_up.bias") != nullptr, biases == 2);
        for (const char* kept : {"attn_output", "ffn_gate", "ffn_down", "attn_q", "attn_k"})
          EXPECT_EQ(encoded.find("blk.1." + std::string(kept) + ".bias"), nullptr);
      }
      (void)file_of(encoded);
      const eq::model_weights changed(eq::read_gguf(folder / "out.gguf"));
      const eq::model_weights exact(eq::read_gguf(model));
      eq::transformer a(changed, 1), b(exact, 1);
      return eq::score_text(a, open().text.tokens, {.context = 64, .bos = open().text.bos}, &b)
          .from_reference->kl_mean;
    };
    const double unscaled = divergence("gptq");
    EXPECT_LT(divergence("awq"), 2 * unscaled);
    EXPECT_LT(divergence("awq+gptq"), 2 * unscaled);
  }
}

/// The same where v and up are rows of one matrix, where norms stand behind the writers, and where
/// there is none before the readers, so that nothing can take their scales.
TEST_F(layer_encoding, scales_cancel_in_every_architecture) {
  for (const auto& row : eq::architecture_table) {
    if (row.experts) continue;
    SCOPED_TRACE(row.name);
    toy_options o;
    o.architecture = row.name, o.biases = row.qkv_bias;
    write_toy(folder / "toy.gguf", speaking(o));
    const auto tokens = open().text;
    const auto toy = eq::open_model(folder / "toy.gguf");
    options.type = format::q8_0;
    const auto divergence = [&](const char* method_name) {
      eq::model_weights weights(eq::read_gguf(folder / "toy.gguf"));
      auto method = eq::parse_method(method_name);
      method.options.threads = 1;
      method.guided = false; // what only gptq has
      eq::encoded_tensors encoded;
      options.encoded = nullptr;
      eq::encode_layers(weights, tokens, eq::planned_formats(toy, options), method, encoded);
      options.encoded = &encoded;
      (void)eq::compress(toy, folder / "out.gguf", options);
      const eq::model_weights changed(eq::read_gguf(folder / "out.gguf"));
      const eq::model_weights exact(eq::read_gguf(folder / "toy.gguf"));
      eq::transformer a(changed, 1), b(exact, 1);
      return eq::score_text(a, tokens.tokens, {.context = 64, .bos = tokens.bos}, &b)
          .from_reference->kl_mean;
    };
    const double unscaled = divergence("gptq");
    EXPECT_LT(divergence("awq"), 2 * unscaled);
    EXPECT_LT(divergence("awq+gptq"), 2 * unscaled);
    options.encoded = nullptr;
  }
}

/// The rows of up and v and the values of their biases are divided by the same factors.
TEST_F(layer_encoding, biases_are_scaled_like_their_rows) {
  compensate = false; // it moves rows too
  toy_options o;
  o.hidden = 64, o.feed_forward = 96, o.kv_heads = 4, o.words = 258, o.biases = true;
  o.other_biases = {"ffn_up", "ffn_gate"};
  o.change_tensor = [](eq::tensor_info& t, std::vector<float>& values) {
    if (t.name.ends_with("ffn_up.weight") || t.name.ends_with("attn_v.weight"))
      for (std::size_t i = 0; i < values.size(); ++i) // some rows with large outputs
        if (i / 64 % 9 == 0) values[i] *= 8;
    return true;
  };
  write_toy(model, speaking(o));
  source = eq::open_model(model);
  options.keep = {};
  const auto exact = open();
  const auto& layer = exact.weights.layers()[1];
  for (const auto& [type, method] :
       {std::pair(format::q8_0, "awq+gptq"), std::pair(format::q4_0, "awq")}) {
    options.type = type, name = method;
    eq::encoded_tensors encoded;
    encode(encoded);
    const auto check = [&](const eq::named_weight& unscaled, const eq::named_weight& scaled,
                           const std::string& bias_name, const std::vector<float>& bias) {
      const auto values = [&](const eq::named_weight& w) {
        const auto& t = *encoded.find(w.name);
        return eq::decode_matrix(t.type, t.bytes.data(), w.view.rows, w.view.columns);
      };
      const auto original = [](const eq::named_weight& w) {
        return eq::decode_matrix(w.view.type, w.view.data, w.view.rows, w.view.columns);
      };
      // A reader whose rows stay says what the columns of both were multiplied by.
      const eq::matrix_f reader = original(unscaled);
      const Eigen::RowVectorXf columns =
          values(unscaled).cwiseProduct(reader).colwise().sum().array() /
          reader.colwise().squaredNorm().array();
      const eq::matrix_f now = values(scaled), before = original(scaled) * columns.asDiagonal();
      const auto* coded = encoded.find(bias_name);
      ASSERT_NE(coded, nullptr) << bias_name;
      std::vector<float> divided(bias.size());
      std::memcpy(divided.data(), coded->bytes.data(), coded->bytes.size());
      float least = 1e9f, most = 0;
      for (Eigen::Index r = 0; r < now.rows(); ++r) {
        const auto i = static_cast<std::size_t>(r);
        const float factor = now.row(r).dot(before.row(r)) / before.row(r).squaredNorm();
        const float ratio = divided[i] / bias[i];
        least = std::min(least, ratio), most = std::max(most, ratio);
        // 64 codes with an error of up to 1 / 15 of the largest, or of 1 / 254.
        EXPECT_NEAR(factor / ratio, 1, options.type == format::q8_0 ? 0.02 : 0.15)
            << bias_name << r;
      }
      EXPECT_GT(most / least, 1.5f) << bias_name << name; // the factors are not all 1
    };
    const auto &ffn = layer.feed_forward_inputs, &attention = layer.attention_inputs;
    check(ffn[0], ffn[1], "blk.1.ffn_up.bias", ffn[1].bias);
    check(attention[0], attention[2], "blk.1.attn_v.bias", attention[2].bias);
  }
}

TEST_F(layer_encoding, goes_on_where_it_stopped) {
  eq::encoded_tensors whole;
  encode(whole);
  const std::string expected = file_of(whole);
  for (int stop = 1; stop < 13; stop += 4) {
    const auto parts = folder / ("parts" + std::to_string(stop));
    int left = stop;
    try {
      eq::encoded_tensors some(parts, key());
      encode(some, 1, [&](const eq::progress& p) {
        if (p.stage == "encode" && left-- == 0) throw std::runtime_error("the power goes");
      });
      FAIL();
    } catch (const std::runtime_error&) {
    }
    eq::encoded_tensors rest(parts, key());
    EXPECT_EQ(rest.size(), static_cast<std::size_t>(stop));
    encode(rest);
    EXPECT_EQ(file_of(rest), expected);
  }
}

TEST_F(layer_encoding, parts_of_another_job_are_refused) {
  const auto parts = folder / "parts";
  { eq::encoded_tensors some(parts, "a job\n"); }
  EXPECT_EQ(message_of([&] { eq::encoded_tensors other(parts, key()); }),
            parts.string() + ": belongs to another job (other input, options or calibration text)");
  { eq::encoded_tensors again(parts, "a job\n"); }
  std::ofstream(parts / "x.tensor") << "abc";
  EXPECT_EQ(message_of([&] { eq::encoded_tensors again(parts, "a job\n"); }),
            (parts / "x.tensor").string() + ": no tensor of an earlier run");
}

TEST_F(layer_encoding, tensors_in_another_format_than_planned_are_refused) {
  eq::encoded_tensors encoded;
  encode(encoded);
  options.type = format::q8_0;
  EXPECT_EQ(message_of([&] { (void)file_of(encoded); }),
            model.string() + ": tensor 'blk.0.attn_q.weight': encoded as q4_0, planned as q8_0");
}

TEST_F(layer_encoding, a_checkpoint_runs_from_a_copy_that_goes_away) {
  const auto stories = fs::path(EDGEQUANT_SOURCE_DIR) / "../shared/data/models/stories-2m";
  if (!fs::exists(stories)) GTEST_SKIP() << "no " << stories;
  const auto checkpoint = eq::open_model(stories);
  if (!checkpoint.metadata.find("tokenizer.ggml.tokens")) GTEST_SKIP() << "no vocabulary there";
  (void)eq::open_calibrated(checkpoint, stories, folder / "x.gguf", {text, 10}, 1);
  EXPECT_FALSE(fs::exists(folder / "x.gguf.calibration"));
}

TEST_F(layer_encoding, texts_that_say_nothing_are_refused) {
  std::ofstream(folder / "empty.txt") << "";
  const auto message = message_of([&] {
    (void)eq::open_calibrated(source, model, folder / "x.gguf", {folder / "empty.txt", 10}, 1);
  });
  EXPECT_TRUE(is_one_line(message)) << message;
  EXPECT_NE(message, "");
}

} // namespace
