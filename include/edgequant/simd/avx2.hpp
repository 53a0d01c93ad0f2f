// SPDX-License-Identifier: MIT
/// The sixteen-lane vocabulary in AVX2 with F16C; scalar.hpp says what each op means.
#pragma once

#include "../core/float_types.hpp"
#include "../core/rounded.hpp"
#include "avx2_codes.hpp"

#include <immintrin.h>

#include <cstring>
#include <string_view>

namespace edgequant::inline EDGEQUANT_ABI::simd {

struct avx2 : avx2_codes {
  static constexpr std::string_view name =
#if defined(__AVXVNNI__)
      "avx2_vnni";
#else
      "avx2";
#endif
  static constexpr int registers = 8;
  static constexpr bool free_stores = true;

  struct f32 {
    __m256 a, b;
  };
  struct f64 {
    __m256d a, b, c, d;
  };

  static f32 load(const float* p) noexcept { return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }
  static void store(float* p, f32 x) noexcept {
    _mm256_storeu_ps(p, x.a);
    _mm256_storeu_ps(p + 8, x.b);
  }
  static f32 broadcast(float x) noexcept { return {_mm256_set1_ps(x), _mm256_set1_ps(x)}; }
  static f32 add(f32 x, f32 y) noexcept {
    return {_mm256_add_ps(x.a, y.a), _mm256_add_ps(x.b, y.b)};
  }
  static f32 mul(f32 x, f32 y) noexcept {
    return {_mm256_mul_ps(x.a, y.a), _mm256_mul_ps(x.b, y.b)};
  }
  static f32 sub(f32 x, f32 y) noexcept {
    return {_mm256_sub_ps(x.a, y.a), _mm256_sub_ps(x.b, y.b)};
  }
  static f32 div(f32 x, f32 y) noexcept {
    return {_mm256_div_ps(x.a, y.a), _mm256_div_ps(x.b, y.b)};
  }
  static f32 min(f32 x, f32 y) noexcept {
    return {_mm256_min_ps(x.a, y.a), _mm256_min_ps(x.b, y.b)};
  }
  static f32 max(f32 x, f32 y) noexcept {
    return {_mm256_max_ps(x.a, y.a), _mm256_max_ps(x.b, y.b)};
  }
  static f32 multiply_add(f32 x, f32 y, f32 z) noexcept {
    return {_mm256_fmadd_ps(x.a, y.a, z.a), _mm256_fmadd_ps(x.b, y.b, z.b)};
  }
  static f32 round_even(f32 x) noexcept {
    constexpr int mode = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
    return {_mm256_round_ps(x.a, mode), _mm256_round_ps(x.b, mode)};
  }
  static f32 times_power_of_2(f32 x, f32 n) noexcept {
    const auto power = [](__m256 truncated) {
      const __m256i biased =
          _mm256_add_epi32(_mm256_cvtps_epi32(truncated), _mm256_set1_epi32(127));
      return _mm256_castsi256_ps(_mm256_slli_epi32(biased, 23));
    };
    return {_mm256_mul_ps(x.a, power(n.a)), _mm256_mul_ps(x.b, power(n.b))};
  }
  static std::uint32_t less(f32 x, f32 y) noexcept {
    const int a = _mm256_movemask_ps(_mm256_cmp_ps(x.a, y.a, _CMP_LT_OQ));
    const int b = _mm256_movemask_ps(_mm256_cmp_ps(x.b, y.b, _CMP_LT_OQ));
    return static_cast<std::uint32_t>(a | b << 8);
  }
  static f32 where_less(f32 x, f32 y, f32 z) noexcept {
    return {_mm256_and_ps(_mm256_cmp_ps(x.a, y.a, _CMP_LT_OQ), z.a),
            _mm256_and_ps(_mm256_cmp_ps(x.b, y.b, _CMP_LT_OQ), z.b)};
  }
  static f32 choose(std::uint32_t bits, f32 x, f32 y) noexcept {
    const __m256i bit = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
    const auto lanes = [bit](std::uint32_t eight, __m256 u, __m256 v) {
      const __m256i set = _mm256_and_si256(_mm256_set1_epi32(static_cast<int>(eight)), bit);
      return _mm256_blendv_ps(v, u, _mm256_castsi256_ps(_mm256_cmpeq_epi32(set, bit)));
    };
    return {lanes(bits, x.a, y.a), lanes(bits >> 8, x.b, y.b)};
  }
  static f32 rounded(f32 x) noexcept { return {edgequant::rounded(x.a), edgequant::rounded(x.b)}; }
  static f32 abs(f32 x) noexcept {
    const __m256 mask = _mm256_castsi256_ps(_mm256_set1_epi32(0x7fffffff));
    return {_mm256_and_ps(x.a, mask), _mm256_and_ps(x.b, mask)};
  }
  static f32 clamp(f32 x, float lowest, float highest) noexcept {
    const __m256 lo = _mm256_set1_ps(lowest), hi = _mm256_set1_ps(highest);
    return {_mm256_min_ps(_mm256_max_ps(x.a, lo), hi), _mm256_min_ps(_mm256_max_ps(x.b, lo), hi)};
  }

  static i32 bits(f32 x) noexcept { return {_mm256_castps_si256(x.a), _mm256_castps_si256(x.b)}; }
  static i32 max(i32 x, i32 y) noexcept {
    return {_mm256_max_epi32(x.a, y.a), _mm256_max_epi32(x.b, y.b)};
  }
  static std::int32_t reduce_max(i32 x) noexcept {
    const __m256i y = _mm256_max_epi32(x.a, x.b);
    __m128i z = _mm_max_epi32(_mm256_castsi256_si128(y), _mm256_extracti128_si256(y, 1));
    z = _mm_max_epi32(z, _mm_shuffle_epi32(z, 0x4e));
    z = _mm_max_epi32(z, _mm_shuffle_epi32(z, 0xb1));
    return _mm_cvtsi128_si32(z);
  }

  static f32 max_of_each(const f32* v) noexcept {
    return combine_each(v, [](__m256 x, __m256 y) { return _mm256_max_ps(x, y); });
  }
  static f32 sum_of_each(const f32* v) noexcept {
    return combine_each(v, [](__m256 x, __m256 y) { return _mm256_add_ps(x, y); });
  }

  static i32 clamp_round(f32 x, float lowest, float highest) noexcept {
    const f32 y = clamp(x, lowest, highest);
    return {_mm256_cvtps_epi32(y.a), _mm256_cvtps_epi32(y.b)};
  }
  static i32 round_away(f32 x) noexcept { return {round_away(x.a), round_away(x.b)}; }
  static i32 truncate(f32 x) noexcept {
    return {_mm256_cvttps_epi32(x.a), _mm256_cvttps_epi32(x.b)};
  }
  static f32 to_f32(i32 x) noexcept { return {_mm256_cvtepi32_ps(x.a), _mm256_cvtepi32_ps(x.b)}; }
  static i32 load(const std::int32_t* p) noexcept { return {load_256(p), load_256(p + 8)}; }
  static void store(std::int32_t* p, i32 x) noexcept {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), x.a);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p + 8), x.b);
  }
  static i32 broadcast(std::int32_t x) noexcept {
    return {_mm256_set1_epi32(x), _mm256_set1_epi32(x)};
  }

  static void store_i8(std::int8_t* p, i32 x) noexcept {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), to_bytes(x));
  }
  static i32 load_i8(const std::int8_t* p) noexcept { return from_signed(load_bytes(p)); }

  static void store_nibbles(std::uint8_t* p, i32 low, i32 high, std::uint8_t flip) noexcept {
    const __m128i mask = _mm_set1_epi8(15);
    const __m128i l = _mm_and_si128(to_bytes(low), mask);
    const __m128i h = _mm_slli_epi16(_mm_and_si128(to_bytes(high), mask), 4);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p),
                     _mm_xor_si128(_mm_or_si128(l, h), _mm_set1_epi8(static_cast<char>(flip))));
  }
  static i32 load_low_nibbles(const std::uint8_t* p, std::uint8_t flip) noexcept {
    return from_nibbles(_mm_and_si128(flipped(load_bytes(p), flip), _mm_set1_epi8(15)));
  }
  static i32 load_high_nibbles(const std::uint8_t* p, std::uint8_t flip) noexcept {
    const __m128i x = _mm_srli_epi16(flipped(load_bytes(p), flip), 4);
    return from_nibbles(_mm_and_si128(x, _mm_set1_epi8(15)));
  }
  static void store_nibble_pairs(std::uint8_t* p, i32 x, std::uint8_t flip) noexcept {
    const __m128i nibbles = _mm_and_si128(to_bytes(x), _mm_set1_epi8(15));
    const __m128i pairs = _mm_or_si128(nibbles, _mm_srli_epi16(nibbles, 4)); // in the low bytes
    const __m128i bytes = _mm_and_si128(pairs, _mm_set1_epi16(255));
    _mm_storel_epi64(reinterpret_cast<__m128i*>(p), flipped(_mm_packus_epi16(bytes, bytes), flip));
  }
  static i32 load_nibble_pairs(const std::uint8_t* p, std::uint8_t flip) noexcept {
    const __m128i x = flipped(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)), flip);
    const __m128i mask = _mm_set1_epi8(15);
    const __m128i low = _mm_and_si128(x, mask), high = _mm_and_si128(_mm_srli_epi16(x, 4), mask);
    return from_nibbles(_mm_unpacklo_epi8(low, high));
  }

  static f32 load_f16(const std::uint16_t* p) noexcept {
    return {_mm256_cvtph_ps(load_bytes(p)), _mm256_cvtph_ps(load_bytes(p + 8))};
  }
  static void store_f16(std::uint16_t* p, f32 x) noexcept {
    auto* out = reinterpret_cast<__m128i*>(p);
    _mm_storeu_si128(out, _mm256_cvtps_ph(x.a, _MM_FROUND_TO_NEAREST_INT));
    _mm_storeu_si128(out + 1, _mm256_cvtps_ph(x.b, _MM_FROUND_TO_NEAREST_INT));
  }
  static f32 load_bf16(const std::uint16_t* p) noexcept {
    const auto widen_bits = [](__m128i x) {
      return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(x), 16));
    };
    return {widen_bits(load_bytes(p)), widen_bits(load_bytes(p + 8))};
  }
  static void store_bf16(std::uint16_t* p, f32 x) noexcept {
    const __m256i packed = _mm256_packus_epi32(bf16_bits(x.a), bf16_bits(x.b));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm256_permute4x64_epi64(packed, 0xd8));
  }

  // The bits of 1.5 * 2^23: as a float a sum is that much too large, and is not converted.
  static constexpr std::int32_t first_sum = 0x4b400000;
  static f32 shift_of(f32 scale) noexcept { return mul(scale, broadcast(-12582912.0f)); } // exact
  static f32 scale_sum(i32 sum, f32 scale, f32 shift) noexcept {
    return multiply_add({_mm256_castsi256_ps(sum.a), _mm256_castsi256_ps(sum.b)}, scale, shift);
  }
  static float reduce_add(f32 x) noexcept {
    const __m256 y = _mm256_add_ps(x.a, x.b);
    __m128 z = _mm_add_ps(_mm256_castps256_ps128(y), _mm256_extractf128_ps(y, 1));
    z = _mm_add_ps(z, _mm_movehl_ps(z, z));
    return _mm_cvtss_f32(_mm_add_ss(z, _mm_movehdup_ps(z)));
  }

  static f64 widen(f32 x) noexcept {
    return {_mm256_cvtps_pd(_mm256_castps256_ps128(x.a)),
            _mm256_cvtps_pd(_mm256_extractf128_ps(x.a, 1)),
            _mm256_cvtps_pd(_mm256_castps256_ps128(x.b)),
            _mm256_cvtps_pd(_mm256_extractf128_ps(x.b, 1))};
  }
  static f32 narrow(f64 x) noexcept {
    return {_mm256_set_m128(_mm256_cvtpd_ps(x.b), _mm256_cvtpd_ps(x.a)),
            _mm256_set_m128(_mm256_cvtpd_ps(x.d), _mm256_cvtpd_ps(x.c))};
  }
  static f64 broadcast(double x) noexcept {
    const __m256d v = _mm256_set1_pd(x);
    return {v, v, v, v};
  }
  static f64 add(f64 x, f64 y) noexcept {
    return {_mm256_add_pd(x.a, y.a), _mm256_add_pd(x.b, y.b), _mm256_add_pd(x.c, y.c),
            _mm256_add_pd(x.d, y.d)};
  }
  static f64 sub(f64 x, f64 y) noexcept {
    return {_mm256_sub_pd(x.a, y.a), _mm256_sub_pd(x.b, y.b), _mm256_sub_pd(x.c, y.c),
            _mm256_sub_pd(x.d, y.d)};
  }
  static f64 mul(f64 x, f64 y) noexcept {
    return {_mm256_mul_pd(x.a, y.a), _mm256_mul_pd(x.b, y.b), _mm256_mul_pd(x.c, y.c),
            _mm256_mul_pd(x.d, y.d)};
  }
  static f64 rounded(f64 x) noexcept {
    return {edgequant::rounded(x.a), edgequant::rounded(x.b), edgequant::rounded(x.c),
            edgequant::rounded(x.d)};
  }
  static f64 clamp_round(f64 x, double lowest, double highest) noexcept {
    const __m256d lo = _mm256_set1_pd(lowest), hi = _mm256_set1_pd(highest);
    const auto one = [&](__m256d v) {
      return _mm256_round_pd(_mm256_min_pd(_mm256_max_pd(v, lo), hi),
                             _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    };
    return {one(x.a), one(x.b), one(x.c), one(x.d)};
  }
  static double reduce_add(f64 x) noexcept {
    const __m256d y = _mm256_add_pd(_mm256_add_pd(x.a, x.c), _mm256_add_pd(x.b, x.d));
    const __m128d z = _mm_add_pd(_mm256_castpd256_pd128(y), _mm256_extractf128_pd(y, 1));
    return _mm_cvtsd_f64(_mm_add_sd(z, _mm_unpackhi_pd(z, z)));
  }
  static void store(double* p, f64 x) noexcept {
    _mm256_storeu_pd(p, x.a);
    _mm256_storeu_pd(p + 4, x.b);
    _mm256_storeu_pd(p + 8, x.c);
    _mm256_storeu_pd(p + 12, x.d);
  }

private:
  template <class Op> static f32 combine_each(const f32* v, Op op) noexcept {
    // A tree that halves what is left of each vector and keeps the results beside each other.
    __m256 four[4];
    for (int i = 0; i < 4; ++i) {
      __m256 x[4];
      for (int k = 0; k < 4; ++k) x[k] = op(v[4 * i + k].a, v[4 * i + k].b);
      const __m256 ab = op(_mm256_unpacklo_ps(x[0], x[1]), _mm256_unpackhi_ps(x[0], x[1]));
      const __m256 cd = op(_mm256_unpacklo_ps(x[2], x[3]), _mm256_unpackhi_ps(x[2], x[3]));
      four[i] = op(_mm256_shuffle_ps(ab, cd, 0x44), _mm256_shuffle_ps(ab, cd, 0xee));
    }
    const auto both = [op](__m256 x, __m256 y) {
      return op(_mm256_permute2f128_ps(x, y, 0x20), _mm256_permute2f128_ps(x, y, 0x31));
    };
    return {both(four[0], four[1]), both(four[2], four[3])};
  }
  static __m128i load_bytes(const void* p) noexcept {
    return _mm_loadu_si128(static_cast<const __m128i*>(p));
  }
  static __m128i flipped(__m128i x, std::uint8_t flip) noexcept {
    return _mm_xor_si128(x, _mm_set1_epi8(static_cast<char>(flip)));
  }
  static i32 from_signed(__m128i x) noexcept {
    return {_mm256_cvtepi8_epi32(x), _mm256_cvtepi8_epi32(_mm_srli_si128(x, 8))};
  }
  static i32 from_nibbles(__m128i x) noexcept { // bytes 0..15 as two's complement of four bits
    const __m128i eight = _mm_set1_epi8(8);
    return from_signed(_mm_sub_epi8(_mm_xor_si128(x, eight), eight));
  }
  static __m128i to_bytes(i32 x) noexcept { // lanes within -128..127: the packs cannot saturate
    const __m256i words = _mm256_permute4x64_epi64(_mm256_packs_epi32(x.a, x.b), 0xd8);
    return _mm_packs_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
  }
  static __m256i round_away(__m256 x) noexcept {
    const __m256i truncated = _mm256_cvttps_epi32(x);
    const __m256 rest = _mm256_sub_ps(x, _mm256_cvtepi32_ps(truncated)); // exact
    const __m256 up = _mm256_cmp_ps(rest, _mm256_set1_ps(0.5f), _CMP_GE_OQ);
    const __m256 down = _mm256_cmp_ps(rest, _mm256_set1_ps(-0.5f), _CMP_LE_OQ);
    return _mm256_add_epi32(_mm256_sub_epi32(truncated, _mm256_castps_si256(up)),
                            _mm256_castps_si256(down));
  }
  static __m256i bf16_bits(__m256 x) noexcept {
    const __m256i u = _mm256_castps_si256(x);
    const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(u, 16), _mm256_set1_epi32(1));
    const __m256i up = _mm256_add_epi32(_mm256_add_epi32(u, _mm256_set1_epi32(0x7fff)), odd);
    return _mm256_srli_epi32(up, 16);
  }
};

} // namespace edgequant::inline EDGEQUANT_ABI::simd
