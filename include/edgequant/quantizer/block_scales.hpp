// SPDX-License-Identifier: MIT
/// The mse rule for a block of any encodable format: the proven optimum where there is one.
#pragma once

#include "block_search.hpp"
#include "scale.hpp"

#include <variant>

namespace edgequant::inline EDGEQUANT_ABI {

namespace quantizer::detail {

/// Halves and steps of a block by the mse rule: the proven optimum where a format has one half a
/// group and symmetric codes, else that of block_search.
template <class = void> class block_scales {
public:
  block_scales(format type, const block_layout& layout) : search_(layout) {
    visit_block_format(type, [&]<class F>(F) {
      exact_.template emplace<scale_chooser<F::bits, typename F::scale, F::group_length>>(
          scale_rule::mse);
    });
  }

  /// False where a scale cannot be stored; the block is then as it was.
  [[nodiscard]] bool choose(std::span<const float> values, std::span<const float> importance,
                            encoded_block& block) {
    encoded_block chosen;
    const bool stored = std::visit(
        [&]<class C>(C& chooser) {
          if constexpr (std::same_as<C, std::monostate>) {
            return search_(values.data(), importance.data(), chosen);
          } else {
            const group_scale s = chooser(values, importance);
            if (!is_finite(s.stored)) return false;
            chosen.scale = static_cast<half>(s.stored);
            chosen.scale_steps[0] = 1;
            return true;
          }
        },
        exact_);
    if (stored) block = chosen;
    return stored;
  }

  /// Steps of a group of a block whose halves stay. Nothing where the halves are all there is.
  void refit(std::span<const float> values, std::span<const float> importance, std::size_t g,
             encoded_block& block) {
    if (exact_.index() == 0) search_.refit(values.data(), importance.data(), g, block);
  }

private:
  template <class Formats> struct choosers;
  template <class... F> struct choosers<format_list<F...>> {
    using type =
        std::variant<std::monostate, scale_chooser<F::bits, typename F::scale, F::group_length>...>;
  };
  typename choosers<block_formats>::type exact_;
  block_search search_;
};
} // namespace quantizer::detail

} // namespace edgequant::inline EDGEQUANT_ABI
