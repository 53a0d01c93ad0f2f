// SPDX-License-Identifier: MIT
/// Products of a stored weight matrix with float activations: y = W x for one or many tokens.
#pragma once

#include "product_tasks.hpp"

#include <span>

namespace edgequant::inline EDGEQUANT_ABI {

/// y[tokens][w.rows] = x[tokens][columns] times the transpose of w, for each of the products, which
/// share the quantized activations and the threads. Each w has x.length() columns. i8 weights take
/// activations that are quantized per token, so that all of the products are i8 or none; they have
/// at most gemm::most_channel_columns columns. For one instruction set the result depends neither
/// on the layout nor on the number of threads. A token's result does not depend on the other tokens
/// where weights are quantized; for f32, f16 and bf16 it depends on whether there are
/// gemm::min_float_tile_tokens of them.
///
/// Both are templates so that programs that multiply nothing do not compile the products.
/// `Only` is a format that all weights are in, so that the products of others are not compiled.
template <simd::backend S = simd::native, class Only = void>
void multiply(std::span<const weight_product> products, activations& x, unsigned threads);

template <simd::backend S = simd::native, class Only = void>
void multiply(const weight_view& w, activations& x, float* y, unsigned threads) {
  const weight_product one{w, y};
  multiply<S, Only>(std::span<const weight_product>(&one, 1), x, threads);
}

template <simd::backend S, class Only>
void multiply(std::span<const weight_product> products, activations& x, unsigned threads) {
  static_assert(std::same_as<S, simd::native>);
  if (x.length() == 0) {
    for (const auto& p : products) std::fill_n(p.y, x.count() * p.w.rows, 0.0f);
    return;
  }
  std::size_t tasks = 0;
  for (const auto& p : products) {
    assert(p.w.columns == x.length() && (can_multiply(p.w.type) || p.w.scales != nullptr));
    assert((p.w.type == format::i8) == (products[0].w.type == format::i8));
    assert(p.w.type != format::i8 || p.w.columns <= gemm::most_channel_columns);
    if (is_coded(p.w.type))
      x.template encode<S>(p.w.type == format::i8 ? activation_coding::per_token
                                                  : activation_coding::per_group,
                           threads);
    else if (x.count() >= gemm::min_float_tile_tokens)
      x.template interleave<S>(threads);
    gemm::detail::visit_product<Only>(p, x, [&](const auto& product) { tasks += product.tasks(); });
  }
  parallel_for(tasks, threads, [&](std::size_t task) {
    for (const auto& p : products) {
      bool done = false;
      gemm::detail::visit_product<Only>(p, x, [&](const auto& product) {
        const std::size_t own = product.tasks();
        done = task < own;
        if (done)
          product.run(task);
        else
          task -= own;
      });
      if (done) return;
    }
  });
}

} // namespace edgequant::inline EDGEQUANT_ABI
