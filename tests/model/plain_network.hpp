// SPDX-License-Identifier: MIT
/// The network from its formulas, to hold the engine against.
#pragma once

#include "model/support.hpp"

#include <edgequant/io/split_gguf.hpp>
#include <edgequant/model/model_shape.hpp>

#include <cmath>
#include <map>
#include <numbers>
#include <numeric>

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

  /// Logits behind the last token; `cache`: tokens that the cache has room for.
  std::vector<double> operator()(const std::vector<std::int32_t>& tokens, std::size_t cache = 0) {
    return each(tokens, cache).back();
  }
  /// Logits behind each token.
  std::vector<std::vector<double>> each(const std::vector<std::int32_t>& tokens,
                                        std::size_t cache = 0) {
    cache_ = cache;
    keys_.assign(shape_.layers.size(), {});
    values_.assign(shape_.layers.size(), {});
    std::vector<std::vector<double>> all;
    for (std::size_t p = 0; p < tokens.size(); ++p) all.push_back(logits(position(tokens[p], p)));
    return all;
  }
  /// The values of each tensor, which may be changed.
  std::map<std::string, std::vector<float>>& tensors() noexcept { return tensors_; }

private:
  using vec = std::vector<double>;

  vec logits(vec x) const {
    x = norm(x, "output_norm.weight");
    x = times(tensors_.count("output.weight") ? "output.weight" : "token_embd.weight", x);
    for (double& v : x) {
      v /= double{shape_.logit_divisor};
      if (const double cap = shape_.logit_softcap; cap != 0) v = cap * std::tanh(v / cap);
    }
    return x;
  }

  vec position(std::int32_t token, std::size_t p) {
    vec x;
    for (std::size_t i = 0; i < shape_.hidden; ++i)
      x.push_back(
          double{shape_.embedding_scale} *
          tensors_.at("token_embd.weight")[static_cast<std::size_t>(token) * shape_.hidden + i]);
    for (std::size_t l = 0; l < shape_.layers.size(); ++l) {
      const std::string at = "blk." + std::to_string(l) + ".";
      if (shape_.layers[l].heads != 0) {
        const vec out = biased(at + "attn_output", attend(inputs(at, "attn_norm", x), l, p));
        add(x, behind(at + "post_attention_norm", out, shape_.architecture->renamed_norm));
      }
      if (shape_.layers[l].feed_forward != 0) {
        const bool renamed = shape_.architecture->renamed_norm;
        const vec n = inputs(at, renamed ? "post_attention_norm" : "ffn_norm", x);
        add(x, behind(at + "post_ffw_norm", feed_forward(at, n, l)));
      }
    }
    return x;
  }
  /// What a sublayer reads, and what it adds.
  vec inputs(const std::string& at, const std::string& name, const vec& x) const {
    return tensors_.count(at + name + ".weight") ? norm(x, at + name + ".weight") : x;
  }
  vec behind(const std::string& name, vec y, bool is_other = false) const {
    if (!is_other && tensors_.count(name + ".weight")) y = norm(y, name + ".weight");
    for (double& v : y) v *= double{shape_.residual_scale};
    return y;
  }
  vec feed_forward(const std::string& at, const vec& n, std::size_t l) const {
    const auto& layer = shape_.layers[l];
    if (layer.experts != 0) return experts(at, n, layer);
    vec up = biased(at + "ffn_up", n), gate;
    if (shape_.architecture->fused)
      gate.assign(up.begin(), up.begin() + static_cast<std::ptrdiff_t>(layer.feed_forward)),
          up.erase(up.begin(), up.begin() + static_cast<std::ptrdiff_t>(layer.feed_forward));
    else
      gate = biased(at + "ffn_gate", n);
    return biased(at + "ffn_down", gated(gate, up));
  }
  vec gated(vec gate, const vec& up) const {
    for (std::size_t i = 0; i < gate.size(); ++i) {
      const double g = gate[i], sharp = std::min(g, 7.0);
      switch (shape_.architecture->activation) {
      case eq::gate_activation::silu:
        gate[i] = up[i] * g / (1 + std::exp(-g));
        break;
      case eq::gate_activation::gelu:
        gate[i] = up[i] * g / 2 *
                  (1 + std::tanh(std::sqrt(2 / std::numbers::pi) * (g + 0.044715 * g * g * g)));
        break;
      case eq::gate_activation::clamped_silu:
        gate[i] = sharp / (1 + std::exp(-1.702 * sharp)) * (std::clamp(up[i], -7.0, 7.0) + 1);
      }
    }
    return gate;
  }
  vec experts(const std::string& at, const vec& n, const eq::layer_shape& layer) const {
    const vec logits = biased(at + "ffn_gate_inp", n);
    std::vector<std::size_t> order(layer.experts);
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::sort(order.begin(), order.end(),
              [&](std::size_t a, std::size_t b) { return logits[a] > logits[b]; });
    order.resize(layer.experts_used);
    double sum = 0;
    for (const auto e : order) sum += std::exp(logits[e]);
    vec y(n.size());
    for (const auto e : order) {
      const vec up = biased(at + "ffn_up_exps", n, e, layer.feed_forward);
      const vec gate = biased(at + "ffn_gate_exps", n, e, layer.feed_forward);
      vec out = biased(at + "ffn_down_exps", gated(gate, up), e, n.size());
      for (double& v : out) v *= std::exp(logits[e]) / sum;
      add(y, out);
    }
    return y;
  }
  vec attend(const vec& n, std::size_t l, std::size_t p) {
    const std::string at = "blk." + std::to_string(l) + ".";
    const auto& layer = shape_.layers[l];
    const std::size_t d = shape_.head_size;
    vec q, k, v;
    if (shape_.architecture->fused) {
      const vec all = biased(at + "attn_qkv", n);
      const auto part = [&](std::size_t first, std::size_t count) {
        const auto begin = all.begin() + static_cast<std::ptrdiff_t>(first * d);
        return vec(begin, begin + static_cast<std::ptrdiff_t>(count * d));
      };
      q = part(0, layer.heads), k = part(layer.heads, layer.kv_heads);
      v = part(layer.heads + layer.kv_heads, layer.kv_heads);
    } else {
      q = biased(at + "attn_q", n), k = biased(at + "attn_k", n), v = biased(at + "attn_v", n);
    }
    place(q, at + "attn_q_norm.weight", layer, p);
    place(k, at + "attn_k_norm.weight", layer, p);
    keys_[l].push_back(k);
    values_[l].push_back(v);
    vec out(q.size());
    for (std::size_t h = 0; h < layer.heads; ++h) {
      const std::size_t kv = h / (layer.heads / layer.kv_heads) * d;
      const std::size_t first = layer.window != 0 && p >= layer.window ? p + 1 - layer.window : 0;
      vec weights;
      const auto sinks = tensors_.find(at + "attn_sinks.weight");
      double sum = sinks != tensors_.end() ? std::exp(double{sinks->second[h]}) : 0;
      for (std::size_t t = first; t <= p; ++t) {
        double score = 0;
        for (std::size_t i = 0; i < d; ++i) score += q[h * d + i] * keys_[l][t][kv + i];
        score *= double{shape_.attention_scale};
        if (const double cap = shape_.attention_softcap; cap != 0)
          score = cap * std::tanh(score / cap);
        weights.push_back(std::exp(score));
        sum += weights.back();
      }
      for (std::size_t t = first; t <= p; ++t)
        for (std::size_t i = 0; i < d; ++i)
          out[h * d + i] += weights[t - first] / sum * values_[l][t][kv + i];
    }
    return out;
  }
  /// Normalises and turns the heads of a token.
  void place(vec& heads, const std::string& norm_name, const eq::layer_shape& layer,
             std::size_t p) const {
    const std::size_t d = shape_.head_size;
    const auto weights = tensors_.find(norm_name);
    const std::size_t part = weights == tensors_.end() ? 0 : weights->second.size();
    for (std::size_t begin = 0; part != 0 && begin < heads.size(); begin += part) {
      const auto from = heads.begin() + static_cast<std::ptrdiff_t>(begin);
      const vec normed = norm(vec(from, from + static_cast<std::ptrdiff_t>(part)), norm_name);
      std::copy(normed.begin(), normed.end(), from);
    }
    for (std::size_t h = 0; layer.has_rope && h < heads.size(); h += d) rotate(heads, h, layer, p);
  }
  void rotate(vec& v, std::size_t head, const eq::layer_shape& layer, std::size_t p) const {
    const std::size_t d = shape_.rope_size; // the rest of a head stays
    const eq::rope_shape& rope = layer.window != 0 ? shape_.local_rope : shape_.rope;
    for (std::size_t i = 0; i < d / 2; ++i) {
      const double exponent = 2.0 * static_cast<double>(i) / static_cast<double>(d);
      double frequency = 1 / rope.scale / std::pow(rope.base, exponent);
      const char* factors = !tensors_.count("rope_factors_long.weight") ? "rope_freqs.weight"
                            : cache_ > shape_.original_context          ? "rope_factors_long.weight"
                                                               : "rope_factors_short.weight";
      if (const auto f = tensors_.find(factors); f != tensors_.end()) frequency /= f->second[i];
      if (rope.yarn) {
        const auto bound = [&](double turns) {
          return static_cast<double>(d) *
                 std::log(rope.yarn->original_context / turns / (2 * std::numbers::pi)) /
                 (2 * std::log(rope.base));
        };
        const double low = std::max(std::floor(bound(rope.yarn->beta_fast)), 0.0);
        const double high =
            std::min(std::ceil(bound(rope.yarn->beta_slow)), static_cast<double>(d - 1));
        const double ramp =
            std::clamp((static_cast<double>(i) - low) / std::max(high - low, 0.001), 0.0, 1.0);
        frequency = frequency / rope.yarn->factor * ramp + frequency * (1 - ramp);
      }
      const double angle = static_cast<double>(p) * frequency;
      const bool pairs = shape_.architecture->rope == eq::rope_order::pairs;
      double &a = v[head + (pairs ? 2 * i : i)], &b = v[head + (pairs ? 2 * i + 1 : i + d / 2)];
      const double x = a, y = b;
      a = (x * std::cos(angle) - y * std::sin(angle)) * rope.magnitude;
      b = (x * std::sin(angle) + y * std::cos(angle)) * rope.magnitude;
    }
  }
  vec norm(const vec& x, const std::string& name) const {
    double sum = 0;
    for (const double v : x) sum += v * v;
    const double factor =
        1 / std::sqrt(sum / static_cast<double>(x.size()) + double{shape_.rms_epsilon});
    vec y(x);
    for (std::size_t i = 0; i < x.size(); ++i) y[i] *= factor * double{tensors_.at(name)[i]};
    return y;
  }
  vec times(const std::string& name, const vec& x) const {
    return times(name, x, 0, tensors_.at(name).size() / x.size());
  }
  vec times(const std::string& name, const vec& x, std::size_t first, std::size_t rows) const {
    const float* w = tensors_.at(name).data() + first * x.size();
    vec y(rows);
    for (std::size_t i = 0; i < rows * x.size(); ++i)
      y[i / x.size()] += double{w[i]} * x[i % x.size()];
    return y;
  }
  vec biased(const std::string& name, const vec& x) const {
    return biased(name, x, 0, tensors_.at(name + ".weight").size() / x.size());
  }
  /// Of one of the matrices that lie behind each other.
  vec biased(const std::string& name, const vec& x, std::size_t index, std::size_t rows) const {
    vec y = times(name + ".weight", x, index * rows, rows);
    if (const auto b = tensors_.find(name + ".bias"); b != tensors_.end())
      for (std::size_t i = 0; i < rows; ++i) y[i] += double{b->second[index * rows + i]};
    return y;
  }
  static void add(vec& x, const vec& y) {
    for (std::size_t i = 0; i < x.size(); ++i) x[i] += y[i];
  }

  eq::gguf_file file_;
  eq::model_shape shape_;
  std::map<std::string, std::vector<float>> tensors_;
  std::vector<std::vector<vec>> keys_, values_;
  std::size_t cache_ = 0;
};

} // namespace model_test
