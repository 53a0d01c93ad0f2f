// SPDX-License-Identifier: MIT
/// The vocabulary of the kernels: every type and operation that a backend must have. scalar.hpp
/// says what each means.
#pragma once

#include "../config.hpp"

#include <concepts>
#include <cstdint>
#include <string_view>

namespace edgequant::inline EDGEQUANT_ABI::simd {

/// Vectors of sixteen lanes (i8: of 64 codes), and what a loop may count on.
template <class S>
concept backend_types = requires {
  typename S::f32;
  typename S::f64;
  typename S::i32;
  typename S::i8;
  { S::name } -> std::convertible_to<std::string_view>;
  { S::registers } -> std::convertible_to<int>;
  { S::free_stores } -> std::convertible_to<bool>;
};

/// Memory to lanes and back: floats, doubles, integers, 16-bit floats as their bits.
template <class S>
concept backend_memory = requires(typename S::f32 x, typename S::f64 d, typename S::i32 n,
                                  const float* in, float* out, double* out64,
                                  const std::int32_t* in32, std::int32_t* out32,
                                  const std::uint16_t* in16, std::uint16_t* out16) {
  { S::load(in) } -> std::same_as<typename S::f32>;
  { S::load(in32) } -> std::same_as<typename S::i32>;
  { S::store(out, x) } -> std::same_as<void>;
  { S::store(out64, d) } -> std::same_as<void>;
  { S::store(out32, n) } -> std::same_as<void>;
  { S::broadcast(1.0f) } -> std::same_as<typename S::f32>;
  { S::broadcast(1.0) } -> std::same_as<typename S::f64>;
  { S::broadcast(std::int32_t{1}) } -> std::same_as<typename S::i32>;
  { S::load_f16(in16) } -> std::same_as<typename S::f32>;
  { S::load_bf16(in16) } -> std::same_as<typename S::f32>;
  { S::store_f16(out16, x) } -> std::same_as<void>;
  { S::store_bf16(out16, x) } -> std::same_as<void>;
};

/// Arithmetic in float.
template <class S>
concept backend_float = requires(typename S::f32 x, const typename S::f32* sixteen) {
  { S::add(x, x) } -> std::same_as<typename S::f32>;
  { S::sub(x, x) } -> std::same_as<typename S::f32>;
  { S::mul(x, x) } -> std::same_as<typename S::f32>;
  { S::div(x, x) } -> std::same_as<typename S::f32>;
  { S::min(x, x) } -> std::same_as<typename S::f32>;
  { S::max(x, x) } -> std::same_as<typename S::f32>;
  { S::abs(x) } -> std::same_as<typename S::f32>;
  { S::clamp(x, -1.0f, 1.0f) } -> std::same_as<typename S::f32>;
  { S::rounded(x) } -> std::same_as<typename S::f32>; // a barrier: no product is fused over it
  // For bounds and for products in float, not for results that are the same on every machine.
  { S::multiply_add(x, x, x) } -> std::same_as<typename S::f32>;
  { S::round_even(x) } -> std::same_as<typename S::f32>;
  { S::times_power_of_2(x, x) } -> std::same_as<typename S::f32>;
  // Comparisons: a bit a lane, or lanes that are kept.
  { S::less(x, x) } -> std::same_as<std::uint32_t>;
  { S::where_less(x, x, x) } -> std::same_as<typename S::f32>;
  { S::choose(std::uint32_t{1}, x, x) } -> std::same_as<typename S::f32>;
  // Reductions in a fixed tree: to one number, or of sixteen vectors to a lane each.
  { S::reduce_add(x) } -> std::same_as<float>;
  { S::max_of_each(sixteen) } -> std::same_as<typename S::f32>;
  { S::sum_of_each(sixteen) } -> std::same_as<typename S::f32>;
};

/// Sums in double: of errors.
template <class S>
concept backend_double = requires(typename S::f32 x, typename S::f64 d) {
  { S::widen(x) } -> std::same_as<typename S::f64>;
  { S::narrow(d) } -> std::same_as<typename S::f32>;
  { S::add(d, d) } -> std::same_as<typename S::f64>;
  { S::sub(d, d) } -> std::same_as<typename S::f64>;
  { S::mul(d, d) } -> std::same_as<typename S::f64>;
  { S::rounded(d) } -> std::same_as<typename S::f64>;
  { S::clamp_round(d, -1.0, 1.0) } -> std::same_as<typename S::f64>;
  { S::reduce_add(d) } -> std::same_as<double>;
};

/// Floats to codes and back, and codes in memory: a byte or a nibble each.
template <class S>
concept backend_codes = requires(typename S::f32 x, typename S::i32 n, const std::int8_t* in,
                                 std::int8_t* out, const std::uint8_t* packed, std::uint8_t* pack,
                                 std::uint8_t flip) {
  { S::clamp_round(x, -1.0f, 1.0f) } -> std::same_as<typename S::i32>;
  { S::round_away(x) } -> std::same_as<typename S::i32>;
  { S::truncate(x) } -> std::same_as<typename S::i32>;
  { S::to_f32(n) } -> std::same_as<typename S::f32>;
  { S::bits(x) } -> std::same_as<typename S::i32>;
  { S::max(n, n) } -> std::same_as<typename S::i32>;
  { S::reduce_max(n) } -> std::same_as<std::int32_t>;
  { S::load_i8(in) } -> std::same_as<typename S::i32>;
  { S::store_i8(out, n) } -> std::same_as<void>;
  { S::load_low_nibbles(packed, flip) } -> std::same_as<typename S::i32>;
  { S::load_high_nibbles(packed, flip) } -> std::same_as<typename S::i32>;
  { S::store_nibbles(pack, n, n, flip) } -> std::same_as<void>;
  { S::load_nibble_pairs(packed, flip) } -> std::same_as<typename S::i32>;
  { S::store_nibble_pairs(pack, n, flip) } -> std::same_as<void>;
};

/// Dot products of codes of `Bits` bits with int8 activations, accumulated in integers. What
/// begin_dots() returns is the backend's own accumulator.
template <class S, int Bits>
concept backend_dots = requires(typename S::i8 w, std::int32_t start) {
  {
    S::template end_dots<Bits>(S::template add_dot<Bits>(S::template begin_dots<Bits>(start), w, w),
                               start)
    } -> std::same_as<typename S::i32>;
};

/// Operands and results of dot products.
template <class S>
concept backend_products = backend_dots<S, 4> && backend_dots<S, 8> &&
    requires(typename S::f32 x, typename S::i32 n, typename S::i8 w, const std::int8_t* in,
             std::int8_t* out, const std::uint8_t* packed) {
  { S::code_offset } -> std::convertible_to<int>;
  { S::first_sum } -> std::convertible_to<std::int32_t>;
  { S::load_codes(in) } -> std::same_as<typename S::i8>;
  { S::store_codes(out, w) } -> std::same_as<void>;
  { S::load_low_codes(packed) } -> std::same_as<typename S::i8>;
  { S::load_high_codes(packed) } -> std::same_as<typename S::i8>;
  { S::template field<2, 2>(w) } -> std::same_as<typename S::i8>;
  { S::template shift_up<4>(w) } -> std::same_as<typename S::i8>;
  { S::merge(w, w) } -> std::same_as<typename S::i8>;
  { S::look_up(in, w) } -> std::same_as<typename S::i8>;
  { S::shift_of(x) } -> std::same_as<typename S::f32>;
  { S::scale_sum(n, x, x) } -> std::same_as<typename S::f32>;
};

/// A type with all of it.
template <class S>
concept backend = backend_types<S> && backend_memory<S> && backend_float<S> && backend_double<S> &&
    backend_codes<S> && backend_products<S>;

/// Optional: dot products of two rows with two tokens at once (SMMLA).
template <class S>
concept pair_backend = backend<S> &&
    requires(typename S::i32_pair pair, typename S::i8 w, std::int8_t* out,
             const std::int8_t* codes, std::int32_t start) {
  { S::store_row_pairs(out, w, w) } -> std::same_as<void>;
  { S::begin_pair(start, start) } -> std::same_as<typename S::i32_pair>;
  { S::add_pair(pair, codes, codes, codes) } -> std::same_as<typename S::i32_pair>;
  { S::first_of(pair) } -> std::same_as<typename S::i32>;
  { S::second_of(pair) } -> std::same_as<typename S::i32>;
};

/// Optional: a unit that multiplies tiles of sixteen rows and sixteen tokens (AMX).
template <class S>
concept tile_backend = backend<S> &&
    requires(std::int32_t* sums, const std::int32_t* first, const std::int8_t* codes,
             typename S::i8 w, typename S::i32 n) {
  typename S::template tile_unit<32>;
  typename S::template tile_unit<64>;
  { S::tiles_ready() } -> std::same_as<bool>;
  { S::template zero_tile<0>() } -> std::same_as<void>;
  { S::template load_tile<0>(first) } -> std::same_as<void>;
  { S::template store_tile<0>(sums) } -> std::same_as<void>;
  { S::template load_tokens<0, 32>(codes) } -> std::same_as<void>;
  { S::template load_rows<0>(codes) } -> std::same_as<void>;
  { S::template add_product<0>() } -> std::same_as<void>;
  { S::template add_offset_product<0>() } -> std::same_as<void>;
  { S::template without_offset<8>(w) } -> std::same_as<typename S::i8>;
  { S::after_first(n) } -> std::same_as<typename S::i32>;
};

} // namespace edgequant::inline EDGEQUANT_ABI::simd
