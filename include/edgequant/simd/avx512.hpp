// SPDX-License-Identifier: MIT
/// The sixteen-lane vocabulary in AVX-512 (F, BW, VL); scalar.hpp says what each op means.
#pragma once

#include "../core/float_types.hpp"
#include "../core/rounded.hpp"

// GCC 12's own intrinsics start from undefined vectors and trip these warnings where they inline;
// without optimisation they are macros, whose masks change their sign.
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wsign-conversion"
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif

#include <immintrin.h>

#include <cstring>
#include <string_view>

namespace edgequant::inline EDGEQUANT_ABI::simd {

struct avx512 {
  static constexpr std::string_view name = "avx512";
  static constexpr int registers = 32;
  static constexpr bool free_stores = true;

  using f32 = __m512;
  struct i32 { // a type of its own: add(f64) and friends overload on it
    __m512i v;
  };
  struct i8 {
    __m512i v;
  };
  struct f64 {
    __m512d a, b;
  };

  static f32 load(const float* p) noexcept { return _mm512_loadu_ps(p); }
  static void store(float* p, f32 x) noexcept { _mm512_storeu_ps(p, x); }
  static f32 broadcast(float x) noexcept { return _mm512_set1_ps(x); }
  static f32 add(f32 x, f32 y) noexcept { return _mm512_add_ps(x, y); }
  static f32 mul(f32 x, f32 y) noexcept { return _mm512_mul_ps(x, y); }
  static f32 sub(f32 x, f32 y) noexcept { return _mm512_sub_ps(x, y); }
  static f32 div(f32 x, f32 y) noexcept { return _mm512_div_ps(x, y); }
  static f32 min(f32 x, f32 y) noexcept { return _mm512_min_ps(x, y); }
  static f32 max(f32 x, f32 y) noexcept { return _mm512_max_ps(x, y); }
  static f32 multiply_add(f32 x, f32 y, f32 z) noexcept { return _mm512_fmadd_ps(x, y, z); }
  static f32 round_even(f32 x) noexcept {
    return _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  }
  static f32 times_power_of_2(f32 x, f32 n) noexcept {
    const __m512i biased = _mm512_add_epi32(_mm512_cvtps_epi32(n), _mm512_set1_epi32(127));
    return _mm512_mul_ps(x, _mm512_castsi512_ps(_mm512_slli_epi32(biased, 23)));
  }
  static std::uint32_t less(f32 x, f32 y) noexcept { return _mm512_cmp_ps_mask(x, y, _CMP_LT_OQ); }
  static f32 where_less(f32 x, f32 y, f32 z) noexcept {
    return _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(x, y, _CMP_LT_OQ), z);
  }
  static f32 choose(std::uint32_t bits, f32 x, f32 y) noexcept {
    return _mm512_mask_blend_ps(static_cast<__mmask16>(bits & 0xffff), y, x);
  }
  static f32 rounded(f32 x) noexcept { return edgequant::rounded(x); }
  static f32 abs(f32 x) noexcept { return _mm512_abs_ps(x); }
  static f32 clamp(f32 x, float lowest, float highest) noexcept {
    return _mm512_min_ps(_mm512_max_ps(x, _mm512_set1_ps(lowest)), _mm512_set1_ps(highest));
  }

  static i32 bits(f32 x) noexcept { return {_mm512_castps_si512(x)}; }
  static i32 max(i32 x, i32 y) noexcept { return {_mm512_max_epi32(x.v, y.v)}; }
  static std::int32_t reduce_max(i32 x) noexcept { return _mm512_reduce_max_epi32(x.v); }
  static f32 max_of_each(const f32* v) noexcept {
    return combine_each(v, [](f32 x, f32 y) { return max(x, y); });
  }
  static f32 sum_of_each(const f32* v) noexcept {
    return combine_each(v, [](f32 x, f32 y) { return add(x, y); });
  }

  static i32 clamp_round(f32 x, float lowest, float highest) noexcept {
    // From below, out of range is INT_MIN: that bound is cheaper on integers.
    const __m512i rounded = _mm512_cvtps_epi32(_mm512_min_ps(x, _mm512_set1_ps(highest)));
    return {_mm512_max_epi32(rounded, _mm512_set1_epi32(static_cast<int>(lowest)))};
  }
  static i32 round_away(f32 x) noexcept {
    const __m512i truncated = _mm512_cvttps_epi32(x);
    const __m512 rest = _mm512_sub_ps(x, _mm512_cvtepi32_ps(truncated)); // exact
    const __mmask16 up = _mm512_cmp_ps_mask(rest, _mm512_set1_ps(0.5f), _CMP_GE_OQ);
    const __mmask16 down = _mm512_cmp_ps_mask(rest, _mm512_set1_ps(-0.5f), _CMP_LE_OQ);
    const __m512i one = _mm512_set1_epi32(1);
    return {_mm512_mask_sub_epi32(_mm512_mask_add_epi32(truncated, up, truncated, one), down,
                                  truncated, one)};
  }
  static i32 truncate(f32 x) noexcept { return {_mm512_cvttps_epi32(x)}; }
  static f32 to_f32(i32 x) noexcept { return _mm512_cvtepi32_ps(x.v); }
  static i32 load(const std::int32_t* p) noexcept { return {_mm512_loadu_si512(p)}; }
  static void store(std::int32_t* p, i32 x) noexcept { _mm512_storeu_si512(p, x.v); }
  static i32 broadcast(std::int32_t x) noexcept { return {_mm512_set1_epi32(x)}; }

  static void store_i8(std::int8_t* p, i32 x) noexcept {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_cvtepi32_epi8(x.v));
  }
  static i32 load_i8(const std::int8_t* p) noexcept { return {_mm512_cvtepi8_epi32(load_128(p))}; }

  static void store_nibbles(std::uint8_t* p, i32 low, i32 high, std::uint8_t flip) noexcept {
    const __m512i mask = _mm512_set1_epi32(15);
    const __m512i l = _mm512_and_si512(low.v, mask);
    const __m512i h = _mm512_slli_epi32(_mm512_and_si512(high.v, mask), 4);
    const __m512i byte = _mm512_xor_si512(_mm512_or_si512(l, h), _mm512_set1_epi32(flip));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_cvtepi32_epi8(byte));
  }
  static i32 load_low_nibbles(const std::uint8_t* p, std::uint8_t flip) noexcept {
    return from_nibbles(_mm512_cvtepu8_epi32(flipped(load_128(p), flip)));
  }
  static i32 load_high_nibbles(const std::uint8_t* p, std::uint8_t flip) noexcept {
    return from_nibbles(_mm512_srli_epi32(_mm512_cvtepu8_epi32(flipped(load_128(p), flip)), 4));
  }
  static void store_nibble_pairs(std::uint8_t* p, i32 x, std::uint8_t flip) noexcept {
    const __m512i nibbles = _mm512_and_si512(x.v, _mm512_set1_epi32(15));
    const __m512i pairs = _mm512_or_si512(nibbles, _mm512_srli_epi64(nibbles, 28));
    _mm_storel_epi64(reinterpret_cast<__m128i*>(p), flipped(_mm512_cvtepi64_epi8(pairs), flip));
  }
  static i32 load_nibble_pairs(const std::uint8_t* p, std::uint8_t flip) noexcept {
    const __m128i x = flipped(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)), flip);
    const __m128i low = x, high = _mm_srli_epi16(x, 4);
    return from_nibbles(_mm512_cvtepu8_epi32(_mm_unpacklo_epi8(low, high)));
  }

  static f32 load_f16(const std::uint16_t* p) noexcept { return _mm512_cvtph_ps(load_256(p)); }
  static void store_f16(std::uint16_t* p, f32 x) noexcept {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p),
                        _mm512_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT));
  }
  static f32 load_bf16(const std::uint16_t* p) noexcept {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(load_256(p)), 16));
  }
  static void store_bf16(std::uint16_t* p, f32 x) noexcept {
    const __m512i u = _mm512_castps_si512(x);
    const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(u, 16), _mm512_set1_epi32(1));
    const __m512i up = _mm512_add_epi32(_mm512_add_epi32(u, _mm512_set1_epi32(0x7fff)), odd);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p),
                        _mm512_cvtepi32_epi16(_mm512_srli_epi32(up, 16)));
  }

  static constexpr int code_offset = 128; // the instruction wants weights without a sign
  static i8 load_codes(const std::int8_t* p) noexcept { return {_mm512_loadu_si512(p)}; }
  static i8 broadcast_codes(const std::int8_t* p, int k) noexcept {
    std::int32_t four;
    std::memcpy(&four, p + 4 * k, 4);
    return {_mm512_set1_epi32(four)};
  }
  static i8 load_low_codes(const std::uint8_t* p) noexcept {
    return {_mm512_and_si512(_mm512_loadu_si512(p), _mm512_set1_epi8(15))};
  }
  static i8 load_high_codes(const std::uint8_t* p) noexcept {
    const __m512i x = _mm512_srli_epi16(_mm512_loadu_si512(p), 4);
    return {_mm512_and_si512(x, _mm512_set1_epi8(15))};
  }
  static void store_codes(std::int8_t* p, i8 x) noexcept { _mm512_storeu_si512(p, x.v); }
  template <int Shift, int Bits> static i8 field(i8 x) noexcept {
    return {_mm512_and_si512(_mm512_srli_epi16(x.v, Shift), _mm512_set1_epi8((1 << Bits) - 1))};
  }
  template <int Shift> static i8 shift_up(i8 x) noexcept { return {_mm512_slli_epi16(x.v, Shift)}; }
  static i8 merge(i8 a, i8 b) noexcept { return {_mm512_or_si512(a.v, b.v)}; }
  static i8 look_up(const std::int8_t* table, i8 index) noexcept {
    const __m128i entries = _mm_loadu_si128(reinterpret_cast<const __m128i*>(table));
    return {_mm512_shuffle_epi8(_mm512_broadcast_i32x4(entries), index.v)};
  }
  template <int Bits> static i32 begin_dots(std::int32_t start) noexcept {
    return broadcast(start);
  }
  template <int Bits> static i32 add_dot(i32 sum, i8 w, i8 x) noexcept {
    return {_mm512_dpbusd_epi32(sum.v, w.v, x.v)};
  }
  template <int Bits> static i32 end_dots(i32 sum, std::int32_t) noexcept { return sum; }
  // The bits of 1.5 * 2^23: as a float a sum is that much too large, and is not converted.
  static constexpr std::int32_t first_sum = 0x4b400000;
  static f32 shift_of(f32 scale) noexcept { // exact for halves
    return _mm512_mul_ps(scale, _mm512_set1_ps(-12582912.0f));
  }
  static f32 scale_sum(i32 sum, f32 scale, f32 shift) noexcept {
    return _mm512_fmadd_ps(_mm512_castsi512_ps(sum.v), scale, shift);
  }
  static float reduce_add(f32 x) noexcept {
    const __m256d high = _mm512_extractf64x4_pd(_mm512_castps_pd(x), 1); // without AVX-512 DQ
    const __m256 y = _mm256_add_ps(_mm512_castps512_ps256(x), _mm256_castpd_ps(high));
    __m128 z = _mm_add_ps(_mm256_castps256_ps128(y), _mm256_extractf128_ps(y, 1));
    z = _mm_add_ps(z, _mm_movehl_ps(z, z));
    return _mm_cvtss_f32(_mm_add_ss(z, _mm_movehdup_ps(z)));
  }

  static f64 widen(f32 x) noexcept {
    return {_mm512_cvtps_pd(_mm512_castps512_ps256(x)), _mm512_cvtps_pd(upper(x))};
  }
  static f32 narrow(f64 x) noexcept {
    const __m512d a = _mm512_castps_pd(_mm512_castps256_ps512(_mm512_cvtpd_ps(x.a)));
    return _mm512_castpd_ps(_mm512_insertf64x4(a, _mm256_castps_pd(_mm512_cvtpd_ps(x.b)), 1));
  }
  static f64 broadcast(double x) noexcept { return {_mm512_set1_pd(x), _mm512_set1_pd(x)}; }
  static f64 add(f64 x, f64 y) noexcept {
    return {_mm512_add_pd(x.a, y.a), _mm512_add_pd(x.b, y.b)};
  }
  static f64 sub(f64 x, f64 y) noexcept {
    return {_mm512_sub_pd(x.a, y.a), _mm512_sub_pd(x.b, y.b)};
  }
  static f64 mul(f64 x, f64 y) noexcept {
    return {_mm512_mul_pd(x.a, y.a), _mm512_mul_pd(x.b, y.b)};
  }
  static f64 rounded(f64 x) noexcept { return {edgequant::rounded(x.a), edgequant::rounded(x.b)}; }
  static f64 clamp_round(f64 x, double lowest, double highest) noexcept {
    const __m512d lo = _mm512_set1_pd(lowest), hi = _mm512_set1_pd(highest);
    const auto one = [&](__m512d v) {
      return _mm512_roundscale_pd(_mm512_min_pd(_mm512_max_pd(v, lo), hi),
                                  _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    };
    return {one(x.a), one(x.b)};
  }
  static double reduce_add(f64 x) noexcept {
    const __m512d sum = _mm512_add_pd(x.a, x.b);
    const __m256d y = _mm256_add_pd(_mm512_castpd512_pd256(sum), _mm512_extractf64x4_pd(sum, 1));
    const __m128d z = _mm_add_pd(_mm256_castpd256_pd128(y), _mm256_extractf128_pd(y, 1));
    return _mm_cvtsd_f64(_mm_add_sd(z, _mm_unpackhi_pd(z, z)));
  }
  static void store(double* p, f64 x) noexcept {
    _mm512_storeu_pd(p, x.a);
    _mm512_storeu_pd(p + 8, x.b);
  }

private:
  template <class Op> static f32 combine_each(const f32* v, Op op) noexcept {
    // A tree that halves what is left of each vector and keeps the results beside each other.
    __m512 four[4], half[2];
    for (int i = 0; i < 4; ++i) {
      const __m512 *x = v + 4 * i,
                   ab = op(_mm512_unpacklo_ps(x[0], x[1]), _mm512_unpackhi_ps(x[0], x[1])),
                   cd = op(_mm512_unpacklo_ps(x[2], x[3]), _mm512_unpackhi_ps(x[2], x[3]));
      four[i] = op(_mm512_shuffle_ps(ab, cd, 0x44), _mm512_shuffle_ps(ab, cd, 0xee));
    }
    for (int i = 0; i < 2; ++i)
      half[i] = op(_mm512_shuffle_f32x4(four[2 * i], four[2 * i + 1], 0x88),
                   _mm512_shuffle_f32x4(four[2 * i], four[2 * i + 1], 0xdd));
    return op(_mm512_shuffle_f32x4(half[0], half[1], 0x88),
              _mm512_shuffle_f32x4(half[0], half[1], 0xdd));
  }
  static __m128i load_128(const void* p) noexcept {
    return _mm_loadu_si128(static_cast<const __m128i*>(p));
  }
  static __m256i load_256(const void* p) noexcept {
    return _mm256_loadu_si256(static_cast<const __m256i*>(p));
  }
  static __m128i flipped(__m128i x, std::uint8_t flip) noexcept {
    return _mm_xor_si128(x, _mm_set1_epi8(static_cast<char>(flip)));
  }
  static i32 from_nibbles(__m512i x) noexcept { // two's complement in the lowest four bits
    return {_mm512_srai_epi32(_mm512_slli_epi32(x, 28), 28)};
  }
  static __m256 upper(__m512 x) noexcept { // extractf32x8 would need DQ
    return _mm256_castpd_ps(_mm512_extractf64x4_pd(_mm512_castps_pd(x), 1));
  }
};

} // namespace edgequant::inline EDGEQUANT_ABI::simd

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic pop
#endif
