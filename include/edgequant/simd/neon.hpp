// SPDX-License-Identifier: MIT
/// The sixteen-lane vocabulary in NEON (armv8-a, 64 bit); scalar.hpp says what each op means.
#pragma once

#include "../core/float_types.hpp"
#include "../core/rounded.hpp"

#include <arm_neon.h>

#include <cstring>
#include <iterator>
#include <string_view>

namespace edgequant::inline EDGEQUANT_ABI::simd {

struct neon {
  static constexpr std::string_view name =
#if defined(__ARM_FEATURE_MATMUL_INT8)
      "neon_i8mm";
#elif defined(__ARM_FEATURE_DOTPROD)
      "neon_dotprod";
#else
      "neon";
#endif
  static constexpr int registers = 8;
  static constexpr bool free_stores = false;

  struct f32 {
    float32x4_t v[4];
  };
  struct i32 {
    int32x4_t v[4];
  };
  struct i8 {
    int8x16_t v[4];
  };
  struct f64 {
    float64x2_t v[8];
  };

  static f32 load(const float* p) noexcept {
    return each<f32>([&](int i) { return vld1q_f32(p + 4 * i); });
  }
  static void store(float* p, f32 x) noexcept {
    for (int i = 0; i < 4; ++i) vst1q_f32(p + 4 * i, x.v[i]);
  }
  static f32 broadcast(float x) noexcept {
    return each<f32>([&](int) { return vdupq_n_f32(x); });
  }
  static f32 add(f32 x, f32 y) noexcept {
    return each<f32>([&](int i) { return vaddq_f32(x.v[i], y.v[i]); });
  }
  static f32 mul(f32 x, f32 y) noexcept {
    return each<f32>([&](int i) { return vmulq_f32(x.v[i], y.v[i]); });
  }
  static f32 sub(f32 x, f32 y) noexcept {
    return each<f32>([&](int i) { return vsubq_f32(x.v[i], y.v[i]); });
  }
  static f32 div(f32 x, f32 y) noexcept {
    return each<f32>([&](int i) { return vdivq_f32(x.v[i], y.v[i]); });
  }
  static f32 min(f32 x, f32 y) noexcept {
    return each<f32>([&](int i) { return vminq_f32(x.v[i], y.v[i]); });
  }
  static f32 max(f32 x, f32 y) noexcept {
    return each<f32>([&](int i) { return vmaxq_f32(x.v[i], y.v[i]); });
  }
  static f32 multiply_add(f32 x, f32 y, f32 z) noexcept {
    return each<f32>([&](int i) { return vfmaq_f32(z.v[i], x.v[i], y.v[i]); });
  }
  static f32 round_even(f32 x) noexcept {
    return each<f32>([&](int i) { return vrndnq_f32(x.v[i]); });
  }
  static f32 times_power_of_2(f32 x, f32 n) noexcept {
    return each<f32>([&](int i) {
      const int32x4_t biased = vaddq_s32(vcvtnq_s32_f32(n.v[i]), vdupq_n_s32(127));
      return vmulq_f32(x.v[i], vreinterpretq_f32_s32(vshlq_n_s32(biased, 23)));
    });
  }
  static std::uint32_t less(f32 x, f32 y) noexcept {
    const int32x4_t bit = {1, 2, 4, 8};
    std::uint32_t mask = 0;
    for (int i = 0; i < 4; ++i) {
      const uint32x4_t lanes = vandq_u32(vcltq_f32(x.v[i], y.v[i]), vreinterpretq_u32_s32(bit));
      mask |= vaddvq_u32(lanes) << (4 * i);
    }
    return mask;
  }
  static f32 where_less(f32 x, f32 y, f32 z) noexcept {
    return each<f32>([&](int i) {
      const uint32x4_t lanes = vcltq_f32(x.v[i], y.v[i]);
      return vreinterpretq_f32_u32(vandq_u32(lanes, vreinterpretq_u32_f32(z.v[i])));
    });
  }
  static f32 choose(std::uint32_t bits, f32 x, f32 y) noexcept {
    const uint32x4_t bit = {1, 2, 4, 8};
    return each<f32>([&](int i) {
      return vbslq_f32(vtstq_u32(vdupq_n_u32(bits >> (4 * i)), bit), x.v[i], y.v[i]);
    });
  }
  static f32 rounded(f32 x) noexcept {
    return each<f32>([&](int i) { return edgequant::rounded(x.v[i]); });
  }
  static f32 abs(f32 x) noexcept {
    return each<f32>([&](int i) { return vabsq_f32(x.v[i]); });
  }
  static f32 clamp(f32 x, float lowest, float highest) noexcept {
    const float32x4_t lo = vdupq_n_f32(lowest), hi = vdupq_n_f32(highest);
    return each<f32>([&](int i) { return vminq_f32(vmaxq_f32(x.v[i], lo), hi); });
  }

  static i32 bits(f32 x) noexcept {
    return each<i32>([&](int i) { return vreinterpretq_s32_f32(x.v[i]); });
  }
  static i32 max(i32 x, i32 y) noexcept {
    return each<i32>([&](int i) { return vmaxq_s32(x.v[i], y.v[i]); });
  }
  static std::int32_t reduce_max(i32 x) noexcept {
    return vmaxvq_s32(vmaxq_s32(vmaxq_s32(x.v[0], x.v[1]), vmaxq_s32(x.v[2], x.v[3])));
  }

  static f32 max_of_each(const f32* v) noexcept {
    return combine_each(
        v, [](float32x4_t x, float32x4_t y) { return vmaxq_f32(x, y); },
        [](float32x4_t x, float32x4_t y) { return vpmaxq_f32(x, y); });
  }
  static f32 sum_of_each(const f32* v) noexcept {
    return combine_each(
        v, [](float32x4_t x, float32x4_t y) { return vaddq_f32(x, y); },
        [](float32x4_t x, float32x4_t y) { return vpaddq_f32(x, y); });
  }

  static i32 clamp_round(f32 x, float lowest, float highest) noexcept {
    const f32 y = clamp(x, lowest, highest);
    return each<i32>([&](int i) { return vcvtnq_s32_f32(y.v[i]); });
  }
  static i32 round_away(f32 x) noexcept {
    return each<i32>([&](int i) { return vcvtaq_s32_f32(x.v[i]); });
  }
  static i32 truncate(f32 x) noexcept {
    return each<i32>([&](int i) { return vcvtq_s32_f32(x.v[i]); });
  }
  static f32 to_f32(i32 x) noexcept {
    return each<f32>([&](int i) { return vcvtq_f32_s32(x.v[i]); });
  }
  static i32 load(const std::int32_t* p) noexcept {
    return each<i32>([&](int i) { return vld1q_s32(p + 4 * i); });
  }
  static void store(std::int32_t* p, i32 x) noexcept {
    for (int i = 0; i < 4; ++i) vst1q_s32(p + 4 * i, x.v[i]);
  }
  static i32 broadcast(std::int32_t x) noexcept {
    return each<i32>([&](int) { return vdupq_n_s32(x); });
  }

  static void store_i8(std::int8_t* p, i32 x) noexcept { vst1q_s8(p, to_bytes(x)); }
  static i32 load_i8(const std::int8_t* p) noexcept { return from_signed(vld1q_s8(p)); }

  static void store_nibbles(std::uint8_t* p, i32 low, i32 high, std::uint8_t flip) noexcept {
    const uint8x16_t l = vreinterpretq_u8_s8(to_bytes(low));
    const uint8x16_t h = vreinterpretq_u8_s8(to_bytes(high));
    vst1q_u8(p, veorq_u8(vsliq_n_u8(vandq_u8(l, vdupq_n_u8(15)), h, 4), vdupq_n_u8(flip)));
  }
  static i32 load_low_nibbles(const std::uint8_t* p, std::uint8_t flip) noexcept {
    const uint8x16_t x = veorq_u8(vld1q_u8(p), vdupq_n_u8(flip));
    return from_signed(vshrq_n_s8(vreinterpretq_s8_u8(vshlq_n_u8(x, 4)), 4));
  }
  static i32 load_high_nibbles(const std::uint8_t* p, std::uint8_t flip) noexcept {
    const uint8x16_t x = veorq_u8(vld1q_u8(p), vdupq_n_u8(flip));
    return from_signed(vshrq_n_s8(vreinterpretq_s8_u8(x), 4));
  }
  static void store_nibble_pairs(std::uint8_t* p, i32 x, std::uint8_t flip) noexcept {
    const uint8x16_t bytes = vreinterpretq_u8_s8(to_bytes(x));
    const uint8x8_t even = vmovn_u16(vreinterpretq_u16_u8(bytes));
    const uint8x8_t odd = vshrn_n_u16(vreinterpretq_u16_u8(bytes), 8);
    vst1_u8(p, veor_u8(vsli_n_u8(vand_u8(even, vdup_n_u8(15)), odd, 4), vdup_n_u8(flip)));
  }
  static i32 load_nibble_pairs(const std::uint8_t* p, std::uint8_t flip) noexcept {
    const uint8x8_t x = veor_u8(vld1_u8(p), vdup_n_u8(flip));
    const int8x8_t low = vshr_n_s8(vreinterpret_s8_u8(vshl_n_u8(x, 4)), 4);
    const int8x8_t high = vshr_n_s8(vreinterpret_s8_u8(x), 4);
    return from_signed(vcombine_s8(vzip1_s8(low, high), vzip2_s8(low, high)));
  }

  static f32 load_f16(const std::uint16_t* p) noexcept {
    return each<f32>(
        [&](int i) { return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p + 4 * i))); });
  }
  static void store_f16(std::uint16_t* p, f32 x) noexcept {
    for (int i = 0; i < 4; ++i) vst1_u16(p + 4 * i, vreinterpret_u16_f16(vcvt_f16_f32(x.v[i])));
  }
  static f32 load_bf16(const std::uint16_t* p) noexcept {
    return each<f32>(
        [&](int i) { return vreinterpretq_f32_u32(vshll_n_u16(vld1_u16(p + 4 * i), 16)); });
  }
  static void store_bf16(std::uint16_t* p, f32 x) noexcept {
    for (int i = 0; i < 4; ++i) {
      const uint32x4_t u = vreinterpretq_u32_f32(x.v[i]);
      const uint32x4_t odd = vandq_u32(vshrq_n_u32(u, 16), vdupq_n_u32(1));
      const uint32x4_t up = vaddq_u32(vaddq_u32(u, vdupq_n_u32(0x7fff)), odd);
      vst1_u16(p + 4 * i, vshrn_n_u32(up, 16));
    }
  }

  static constexpr int code_offset = 0;
  static i8 load_codes(const std::int8_t* p) noexcept {
    asm volatile(""); // else GCC loads the weights of all k at once, and then spills sums
    return each<i8>([&](int i) { return vld1q_s8(p + 16 * i); });
  }
#if defined(__ARM_FEATURE_DOTPROD)
  struct i8_lane { // the instruction takes four codes out of sixteen
    int8x16_t v;
    int lane;
  };
  static i8_lane broadcast_codes(const std::int8_t* p, int k) noexcept {
    return {vld1q_s8(p + k / 4 * 16), k % 4};
  }
#else
  static i8 broadcast_codes(const std::int8_t* p, int k) noexcept {
    std::int32_t four;
    std::memcpy(&four, p + 4 * k, 4);
    const int8x16_t x = vreinterpretq_s8_s32(vdupq_n_s32(four));
    return {{x, x, x, x}};
  }
#endif
  static i8 load_low_codes(const std::uint8_t* p) noexcept {
    asm volatile(""); // else GCC loads the weights of all k at once, and then spills sums
    return each<i8>(
        [&](int i) { return vreinterpretq_s8_u8(vandq_u8(vld1q_u8(p + 16 * i), vdupq_n_u8(15))); });
  }
  static i8 load_high_codes(const std::uint8_t* p) noexcept {
    return each<i8>(
        [&](int i) { return vreinterpretq_s8_u8(vshrq_n_u8(vld1q_u8(p + 16 * i), 4)); });
  }
  template <int Shift, int Bits> static i8 field(i8 x) noexcept {
    return each<i8>([&](int i) {
      uint8x16_t bytes = vreinterpretq_u8_s8(x.v[i]);
      if constexpr (Shift != 0) bytes = vshrq_n_u8(bytes, Shift);
      return vreinterpretq_s8_u8(vandq_u8(bytes, vdupq_n_u8((1 << Bits) - 1)));
    });
  }
  template <int Shift> static i8 shift_up(i8 x) noexcept {
    return each<i8>([&](int i) { return vshlq_n_s8(x.v[i], Shift); });
  }
  static i8 merge(i8 a, i8 b) noexcept {
    return each<i8>([&](int i) { return vorrq_s8(a.v[i], b.v[i]); });
  }
  static i8 look_up(const std::int8_t* table, i8 index) noexcept {
    return each<i8>(
        [&](int i) { return vqtbl1q_s8(vld1q_s8(table), vreinterpretq_u8_s8(index.v[i])); });
  }
  static void store_codes(std::int8_t* p, i8 x) noexcept {
    for (int i = 0; i < 4; ++i) vst1q_s8(p + 16 * i, x.v[i]);
  }
  template <int Bits> static i32 begin_dots(std::int32_t start) noexcept {
    return broadcast(start);
  }
  template <int Bits> static i32 add_dot(i32 sum, i8 w, i8 x) noexcept {
    return each<i32>([&](int i) {
#if defined(__ARM_FEATURE_DOTPROD)
      return vdotq_s32(sum.v[i], w.v[i], x.v[i]);
#else
      const int16x8_t low = vmull_s8(vget_low_s8(w.v[i]), vget_low_s8(x.v[i]));
      const int16x8_t high = vmull_high_s8(w.v[i], x.v[i]);
      return vaddq_s32(sum.v[i], vpaddq_s32(vpaddlq_s16(low), vpaddlq_s16(high)));
#endif
    });
  }
#if defined(__ARM_FEATURE_DOTPROD)
  template <int Bits> static i32 add_dot(i32 sum, i8 w, i8_lane x) noexcept {
    return each<i32>([&](int i) {
      switch (x.lane) { // known where loops are unrolled
      case 0:
        return vdotq_laneq_s32(sum.v[i], w.v[i], x.v, 0);
      case 1:
        return vdotq_laneq_s32(sum.v[i], w.v[i], x.v, 1);
      case 2:
        return vdotq_laneq_s32(sum.v[i], w.v[i], x.v, 2);
      default:
        return vdotq_laneq_s32(sum.v[i], w.v[i], x.v, 3);
      }
    });
  }
#endif
#if defined(__ARM_FEATURE_MATMUL_INT8)
  // Beside the vocabulary: SMMLA takes eight codes each of two rows and of two tokens.
  struct i32_pair { // sums of rows 2i and 2i + 1, of the first token and of the second
    int32x4_t v[8];
  };
  /// 128 bytes for add_pair(): codes 4k .. 4k + 3 of sixteen rows, and those that follow them.
  static void store_row_pairs(std::int8_t* p, i8 a, i8 b) noexcept {
    for (int i = 0; i < 4; ++i) {
      const int32x4_t x = vreinterpretq_s32_s8(a.v[i]), y = vreinterpretq_s32_s8(b.v[i]);
      vst1q_s8(p + 32 * i, vreinterpretq_s8_s32(vzip1q_s32(x, y)));
      vst1q_s8(p + 32 * i + 16, vreinterpretq_s8_s32(vzip2q_s32(x, y)));
    }
  }
  static i32_pair begin_pair(std::int32_t first, std::int32_t second) noexcept {
    const int32x4_t x = vzip1q_s32(vdupq_n_s32(first), vdupq_n_s32(second));
    return each<i32_pair>([&](int) { return x; });
  }
  /// Adds the products of eight codes a row and a token.
  static i32_pair add_pair(i32_pair sum, const std::int8_t* w, const std::int8_t* first,
                           const std::int8_t* second) noexcept {
    asm volatile(""); // as in load_codes()
    const int8x16_t x = vcombine_s8(vld1_s8(first), vld1_s8(second));
    return each<i32_pair>([&](int i) { return vmmlaq_s32(sum.v[i], vld1q_s8(w + 16 * i), x); });
  }
  static i32 first_of(i32_pair x) noexcept {
    return each<i32>([&](int i) { return vuzp1q_s32(x.v[2 * i], x.v[2 * i + 1]); });
  }
  static i32 second_of(i32_pair x) noexcept {
    return each<i32>([&](int i) { return vuzp2q_s32(x.v[2 * i], x.v[2 * i + 1]); });
  }
#endif
  template <int Bits> static i32 end_dots(i32 sum, std::int32_t) noexcept { return sum; }
  // The bits of 1.5 * 2^23: as a float a sum is that much too large, and is not converted.
  static constexpr std::int32_t first_sum = 0x4b400000;
  static f32 shift_of(f32 scale) noexcept { return scale; }
  static f32 scale_sum(i32 sum, f32 scale, f32) noexcept { // a fused one overwrites its shift
    return each<f32>([&](int i) {
      const float32x4_t x = vreinterpretq_f32_s32(sum.v[i]);
      return vmulq_f32(vsubq_f32(x, vdupq_n_f32(12582912.0f)), scale.v[i]); // one is exact
    });
  }
  static float reduce_add(f32 x) noexcept {
    const float32x4_t y = vaddq_f32(vaddq_f32(x.v[0], x.v[2]), vaddq_f32(x.v[1], x.v[3]));
    const float32x2_t z = vadd_f32(vget_low_f32(y), vget_high_f32(y));
    return vget_lane_f32(z, 0) + vget_lane_f32(z, 1);
  }
  static f64 widen(f32 x) noexcept {
    return each<f64>([&](int i) {
      return i % 2 == 0 ? vcvt_f64_f32(vget_low_f32(x.v[i / 2])) : vcvt_high_f64_f32(x.v[i / 2]);
    });
  }
  static f32 narrow(f64 x) noexcept {
    return each<f32>(
        [&](int i) { return vcvt_high_f32_f64(vcvt_f32_f64(x.v[2 * i]), x.v[2 * i + 1]); });
  }
  static f64 broadcast(double x) noexcept {
    return each<f64>([&](int) { return vdupq_n_f64(x); });
  }
  static f64 add(f64 x, f64 y) noexcept {
    return each<f64>([&](int i) { return vaddq_f64(x.v[i], y.v[i]); });
  }
  static f64 sub(f64 x, f64 y) noexcept {
    return each<f64>([&](int i) { return vsubq_f64(x.v[i], y.v[i]); });
  }
  static f64 mul(f64 x, f64 y) noexcept {
    return each<f64>([&](int i) { return vmulq_f64(x.v[i], y.v[i]); });
  }
  static f64 rounded(f64 x) noexcept {
    return each<f64>([&](int i) { return edgequant::rounded(x.v[i]); });
  }
  static f64 clamp_round(f64 x, double lowest, double highest) noexcept {
    const float64x2_t lo = vdupq_n_f64(lowest), hi = vdupq_n_f64(highest);
    return each<f64>([&](int i) { return vrndnq_f64(vminq_f64(vmaxq_f64(x.v[i], lo), hi)); });
  }
  static double reduce_add(f64 x) noexcept {
    for (int width = 4; width > 0; width /= 2)
      for (int i = 0; i < width; ++i) x.v[i] = vaddq_f64(x.v[i], x.v[i + width]);
    return vgetq_lane_f64(x.v[0], 0) + vgetq_lane_f64(x.v[0], 1);
  }
  static void store(double* p, f64 x) noexcept {
    for (int i = 0; i < 8; ++i) vst1q_f64(p + 2 * i, x.v[i]);
  }

private:
  /// `op` combines lane by lane, `pairs` neighbours of x, then those of y.
  template <class Op, class Pairs>
  static f32 combine_each(const f32* v, Op op, Pairs pairs) noexcept {
    return each<f32>([&](int i) {
      float32x4_t x[4];
      for (int k = 0; k < 4; ++k) {
        const auto& w = v[4 * i + k].v;
        x[k] = op(op(w[0], w[1]), op(w[2], w[3]));
      }
      return pairs(pairs(x[0], x[1]), pairs(x[2], x[3]));
    });
  }
  template <class V, class F> static V each(F f) noexcept {
    V r;
    constexpr int count = sizeof r / 16;
    EDGEQUANT_UNROLL
    for (int i = 0; i < count; ++i) r.v[i] = f(i);
    return r;
  }
  static int8x16_t to_bytes(i32 x) noexcept {
    const int16x8_t low = vcombine_s16(vmovn_s32(x.v[0]), vmovn_s32(x.v[1]));
    const int16x8_t high = vcombine_s16(vmovn_s32(x.v[2]), vmovn_s32(x.v[3]));
    return vcombine_s8(vmovn_s16(low), vmovn_s16(high));
  }
  static i32 from_signed(int8x16_t x) noexcept {
    const int16x8_t low = vmovl_s8(vget_low_s8(x)), high = vmovl_high_s8(x);
    return {{vmovl_s16(vget_low_s16(low)), vmovl_high_s16(low), vmovl_s16(vget_low_s16(high)),
             vmovl_high_s16(high)}};
  }
};

} // namespace edgequant::inline EDGEQUANT_ABI::simd
