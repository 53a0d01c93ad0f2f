// SPDX-License-Identifier: MIT
/// Which experts see which tokens.
#pragma once

#include "../config.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <numeric>
#include <vector>

namespace edgequant::inline EDGEQUANT_ABI {

/// That a token goes to an expert, whose output counts so much.
struct expert_route {
  std::size_t expert, token;
  float weight;
};

/// routes = the `used` experts of largest logit for each of `count` tokens, ordered by expert. The
/// weights of a token's experts add up to 1: the softmax of their logits. `logits`:
/// [count][experts]; `order` is scratch memory.
inline void route_tokens(const float* logits, std::size_t count, std::size_t experts,
                         std::size_t used, std::vector<expert_route>& routes,
                         std::vector<std::size_t>& order) {
  routes.clear();
  order.resize(experts);
  for (std::size_t t = 0; t < count; ++t, logits += experts) {
    std::iota(order.begin(), order.end(), std::size_t{0});
    const auto end = order.begin() + static_cast<std::ptrdiff_t>(used);
    std::partial_sort(order.begin(), end, order.end(), [&](std::size_t a, std::size_t b) {
      return logits[a] > logits[b] || (logits[a] == logits[b] && a < b);
    });
    float sum = 0;
    const std::size_t first = routes.size();
    for (auto e = order.begin(); e != end; ++e) {
      routes.push_back({*e, t, std::exp(logits[*e] - logits[order[0]])});
      sum += routes.back().weight;
    }
    for (std::size_t i = first; i < routes.size(); ++i) routes[i].weight /= sum;
  }
  std::sort(routes.begin(), routes.end(), [](const expert_route& a, const expert_route& b) {
    return a.expert != b.expert ? a.expert < b.expert : a.token < b.token;
  });
}

} // namespace edgequant::inline EDGEQUANT_ABI
