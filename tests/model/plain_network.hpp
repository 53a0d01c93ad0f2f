// SPDX-License-Identifier: MIT
/// The network from its formulas, to hold the engine against.
#pragma once

#include "model/support.hpp"

#include <edgequant/io/split_gguf.hpp>
#include <edgequant/model/architecture.hpp>

#include <cmath>
#include <map>

namespace model_test {

/// The network once more, in double, position by position, straight from its formulas.
class plain_network {
public:
  explicit plain_network(const fs::path& path)
      : file_(eq::read_model_gguf(path)), shape_(eq::read_model_shape(file_.metadata)) {
    for (const auto& t : file_.tensors) {
      auto& values = tensors_[t.name];
      values.resize(t.values());
      std::memcpy(values.data(), t.data.data(), t.data.size());
    }
  }

  /// Logits behind the last token.
  std::vector<double> operator()(const std::vector<std::int32_t>& tokens) {
    keys_.assign(shape_.layers, {});
    values_.assign(shape_.layers, {});
    std::vector<double> x;
    for (std::size_t p = 0; p < tokens.size(); ++p) x = position(tokens[p], p);
    x = norm(x, "output_norm.weight");
    return times(tensors_.count("output.weight") ? "output.weight" : "token_embd.weight", x);
  }

private:
  using vec = std::vector<double>;

  vec position(std::int32_t token, std::size_t p) {
    vec x;
    for (std::size_t i = 0; i < shape_.hidden; ++i)
      x.push_back(
          tensors_.at("token_embd.weight")[static_cast<std::size_t>(token) * shape_.hidden + i]);
    for (std::size_t l = 0; l < shape_.layers; ++l) {
      const std::string at = "blk." + std::to_string(l) + ".";
      const vec h = norm(x, at + "attn_norm.weight");
      vec q = biased(at + "attn_q", h), k = biased(at + "attn_k", h);
      for (std::size_t i = 0; i < shape_.heads; ++i) rotate(q, i * shape_.head_size, p);
      for (std::size_t i = 0; i < shape_.kv_heads; ++i) rotate(k, i * shape_.head_size, p);
      keys_[l].push_back(k);
      values_[l].push_back(biased(at + "attn_v", h));
      add(x, biased(at + "attn_output", attend(q, l)));
      const vec n = norm(x, at + "ffn_norm.weight");
      vec gate = biased(at + "ffn_gate", n);
      const vec up = biased(at + "ffn_up", n);
      for (std::size_t i = 0; i < gate.size(); ++i) gate[i] *= up[i] / (1 + std::exp(-gate[i]));
      add(x, biased(at + "ffn_down", gate));
    }
    return x;
  }
  vec attend(const vec& q, std::size_t l) const {
    const std::size_t d = shape_.head_size;
    vec out(q.size());
    for (std::size_t h = 0; h < shape_.heads; ++h) {
      const std::size_t kv = h / (shape_.heads / shape_.kv_heads) * d;
      vec weights;
      double sum = 0;
      for (const vec& k : keys_[l]) {
        double score = 0;
        for (std::size_t i = 0; i < d; ++i) score += q[h * d + i] * k[kv + i];
        weights.push_back(std::exp(score / std::sqrt(static_cast<double>(d))));
        sum += weights.back();
      }
      for (std::size_t t = 0; t < weights.size(); ++t)
        for (std::size_t i = 0; i < d; ++i)
          out[h * d + i] += weights[t] / sum * values_[l][t][kv + i];
    }
    return out;
  }
  void rotate(vec& v, std::size_t head, std::size_t p) const {
    const std::size_t d = shape_.head_size;
    for (std::size_t i = 0; i < d / 2; ++i) {
      double angle = static_cast<double>(p) / shape_.rope_scale /
                     std::pow(500.0, 2.0 * static_cast<double>(i) / static_cast<double>(d));
      if (const auto f = tensors_.find("rope_freqs.weight"); f != tensors_.end())
        angle /= f->second[i];
      const bool llama = shape_.architecture->name == "llama";
      double &a = v[head + (llama ? 2 * i : i)], &b = v[head + (llama ? 2 * i + 1 : i + d / 2)];
      const double x = a, y = b;
      a = x * std::cos(angle) - y * std::sin(angle);
      b = x * std::sin(angle) + y * std::cos(angle);
    }
  }
  vec norm(const vec& x, const std::string& name) const {
    double sum = 0;
    for (const double v : x) sum += v * v;
    const double factor = 1 / std::sqrt(sum / static_cast<double>(x.size()) + double{1e-5f});
    vec y(x);
    for (std::size_t i = 0; i < x.size(); ++i) y[i] *= factor * double{tensors_.at(name)[i]};
    return y;
  }
  vec times(const std::string& name, const vec& x) const {
    const auto& w = tensors_.at(name);
    vec y(w.size() / x.size());
    for (std::size_t i = 0; i < w.size(); ++i) y[i / x.size()] += double{w[i]} * x[i % x.size()];
    return y;
  }
  vec biased(const std::string& name, const vec& x) const {
    vec y = times(name + ".weight", x);
    if (const auto b = tensors_.find(name + ".bias"); b != tensors_.end())
      for (std::size_t i = 0; i < y.size(); ++i) y[i] += double{b->second[i]};
    return y;
  }
  static void add(vec& x, const vec& y) {
    for (std::size_t i = 0; i < x.size(); ++i) x[i] += y[i];
  }

  eq::gguf_file file_;
  eq::model_shape shape_;
  std::map<std::string, std::vector<float>> tensors_;
  std::vector<std::vector<vec>> keys_, values_;
};

} // namespace model_test
