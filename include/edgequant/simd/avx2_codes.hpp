// SPDX-License-Identifier: MIT
/// The part of AVX2's vocabulary that products of codes use.
#pragma once

#include "../config.hpp"

#include <immintrin.h>

#include <cstdint>
#include <cstring>

namespace edgequant::inline EDGEQUANT_ABI::simd {

struct avx2_codes {
  struct i32 {
    __m256i a, b;
  };
  struct i8 {
    __m256i a, b;
  };

#if defined(__AVXVNNI__)
  static constexpr int code_offset = 128; // the instruction wants weights without a sign
#else
  static constexpr int code_offset = 0;
#endif
  static i8 load_codes(const std::int8_t* p) noexcept { return {load_256(p), load_256(p + 32)}; }
  static i8 broadcast_codes(const std::int8_t* p, int k) noexcept {
    std::int32_t four;
    std::memcpy(&four, p + 4 * k, 4);
    return {_mm256_set1_epi32(four), _mm256_set1_epi32(four)};
  }
  static i8 load_low_codes(const std::uint8_t* p) noexcept {
    const __m256i mask = _mm256_set1_epi8(15);
    return {_mm256_and_si256(load_256(p), mask), _mm256_and_si256(load_256(p + 32), mask)};
  }
  static i8 load_high_codes(const std::uint8_t* p) noexcept {
    const __m256i mask = _mm256_set1_epi8(15);
    return {_mm256_and_si256(_mm256_srli_epi16(load_256(p), 4), mask),
            _mm256_and_si256(_mm256_srli_epi16(load_256(p + 32), 4), mask)};
  }
  template <int Shift, int Bits> static i8 field(i8 x) noexcept {
    const __m256i mask = _mm256_set1_epi8((1 << Bits) - 1);
    return {_mm256_and_si256(_mm256_srli_epi16(x.a, Shift), mask),
            _mm256_and_si256(_mm256_srli_epi16(x.b, Shift), mask)};
  }
  template <int Shift> static i8 shift_up(i8 x) noexcept {
    return {_mm256_slli_epi16(x.a, Shift), _mm256_slli_epi16(x.b, Shift)};
  }
  static i8 merge(i8 a, i8 b) noexcept {
    return {_mm256_or_si256(a.a, b.a), _mm256_or_si256(a.b, b.b)};
  }
  static i8 look_up(const std::int8_t* table, i8 index) noexcept {
    const __m128i half = _mm_loadu_si128(reinterpret_cast<const __m128i*>(table));
    const __m256i entries = _mm256_broadcastsi128_si256(half);
    return {_mm256_shuffle_epi8(entries, index.a), _mm256_shuffle_epi8(entries, index.b)};
  }
  static void store_codes(std::int8_t* p, i8 x) noexcept {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), x.a);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p + 32), x.b);
  }
#if defined(__AVXVNNI__)
  template <int Bits> static i32 begin_dots(std::int32_t start) noexcept { return set_all(start); }
  template <int Bits> static i32 add_dot(i32 sum, i8 w, i8 x) noexcept {
    return {_mm256_dpbusd_avx_epi32(sum.a, w.a, x.a), _mm256_dpbusd_avx_epi32(sum.b, w.b, x.b)};
  }
  template <int Bits> static i32 end_dots(i32 sum, std::int32_t) noexcept { return sum; }
#else
  struct i16 { // sums of pairs of products
    __m256i a, b;
  };
  template <int Bits> static auto begin_dots(std::int32_t start) noexcept {
    if constexpr (Bits == 4)
      return i16{_mm256_setzero_si256(), _mm256_setzero_si256()};
    else
      return set_all(start);
  }
  // Eight sums of two products of 4 bits reach 8 * 2 * 15 * 127 = 30480: they fit in 16 bits.
  template <int Bits> static i16 add_dot(i16 sum, i8 w, i8 x) noexcept {
    static_assert(Bits == 4);
    return {in_order(_mm256_add_epi16(sum.a, _mm256_maddubs_epi16(w.a, x.a))),
            in_order(_mm256_add_epi16(sum.b, _mm256_maddubs_epi16(w.b, x.b)))};
  }
  template <int Bits> static i32 add_dot(i32 sum, i8 w, i8 x) noexcept {
    static_assert(Bits > 4);
    return {in_order(_mm256_add_epi32(sum.a, dot(w.a, x.a))),
            in_order(_mm256_add_epi32(sum.b, dot(w.b, x.b)))};
  }
  // Codes of 5 and 6 bits have no sign to move, and 16 bits hold four sums of two products of the
  // first, 4 * 2 * 31 * 127 = 31496, and two of the second, 2 * 2 * 63 * 127 = 32004.
  template <int Bits> static constexpr int dots_together = Bits == 5 ? 4 : Bits == 6 ? 2 : 1;
  template <int Bits> static i32 add_dots(i32 sum, const i8* w, const i8* x) noexcept {
    __m256i a = _mm256_maddubs_epi16(w[0].a, x[0].a), b = _mm256_maddubs_epi16(w[0].b, x[0].b);
    EDGEQUANT_UNROLL
    for (int i = 1; i < dots_together<Bits>; ++i) {
      a = in_order(_mm256_add_epi16(a, _mm256_maddubs_epi16(w[i].a, x[i].a)));
      b = in_order(_mm256_add_epi16(b, _mm256_maddubs_epi16(w[i].b, x[i].b)));
    }
    const __m256i one = _mm256_set1_epi16(1);
    return {in_order(_mm256_add_epi32(sum.a, _mm256_madd_epi16(a, one))),
            in_order(_mm256_add_epi32(sum.b, _mm256_madd_epi16(b, one)))};
  }
  template <int Bits> static i32 end_dots(i32 sum, std::int32_t) noexcept { return sum; }
  template <int Bits> static i32 end_dots(i16 sum, std::int32_t start) noexcept {
    const __m256i one = _mm256_set1_epi16(1), first = _mm256_set1_epi32(start);
    return {_mm256_add_epi32(_mm256_madd_epi16(sum.a, one), first),
            _mm256_add_epi32(_mm256_madd_epi16(sum.b, one), first)};
  }
#endif

protected:
  static __m256i load_256(const void* p) noexcept {
    return _mm256_loadu_si256(static_cast<const __m256i*>(p));
  }
  // GCC would add the products of a group as a tree, and keep them all in memory until then: an
  // accumulator has to exist after each addition.
  static __m256i in_order(__m256i sum) noexcept {
    asm("" : "+x"(sum));
    return sum;
  }
  static __m256i dot(__m256i w, __m256i x) noexcept {
    // The instruction wants one side unsigned: |w|, with the sign of w moved to x. Its sums of two
    // products reach 2 * 128 * 127 = 32512: they do not saturate.
    const __m256i pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(w), _mm256_sign_epi8(x, w));
    return _mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
  }

private:
  static i32 set_all(std::int32_t x) noexcept {
    return {_mm256_set1_epi32(x), _mm256_set1_epi32(x)};
  }
};

} // namespace edgequant::inline EDGEQUANT_ABI::simd
