// SPDX-License-Identifier: MIT
/// The specification of the sixteen-lane vocabulary: what each op means, in plain C++.
#pragma once

#include "../core/float_types.hpp"
#include "../core/rounded.hpp"

#include <algorithm>
#include <cstring>
#include <numeric>
#include <string_view>

namespace edgequant::inline EDGEQUANT_ABI::simd {

/// Every backend has these types and functions with these meanings, bit for bit. A vector is always
/// 16 lanes; pointers need no alignment and name exactly the elements that the op touches. Floats
/// in and out of arithmetic are finite.
struct scalar {
  static constexpr std::string_view name = "scalar";
  /// Vector registers, in units of sixteen floats: how much a loop may keep at hand.
  static constexpr int registers = 8;
  /// Whether stores leave the units that compute alone: a loop may keep more than registers hold.
  static constexpr bool free_stores = true;

  struct f32 {
    float lane[16];
  };
  struct i32 {
    std::int32_t lane[16];
  };
  struct i8 { // 64 codes
    std::int8_t lane[64];
  };
  struct f64 {
    double lane[16];
  };

  static f32 load(const float* p) noexcept {
    f32 x;
    std::memcpy(x.lane, p, sizeof x);
    return x;
  }
  static void store(float* p, f32 x) noexcept { std::memcpy(p, x.lane, sizeof x); }
  static f32 broadcast(float x) noexcept {
    return each<f32>([&](int) { return x; });
  }
  static f32 add(f32 a, f32 b) noexcept {
    return each<f32>([&](int i) { return a.lane[i] + b.lane[i]; });
  }
  static f32 mul(f32 a, f32 b) noexcept {
    return each<f32>([&](int i) { return a.lane[i] * b.lane[i]; });
  }
  static f32 sub(f32 a, f32 b) noexcept {
    return each<f32>([&](int i) { return a.lane[i] - b.lane[i]; });
  }
  static f32 div(f32 a, f32 b) noexcept {
    return each<f32>([&](int i) { return a.lane[i] / b.lane[i]; });
  }
  static f32 min(f32 a, f32 b) noexcept {
    return each<f32>([&](int i) { return a.lane[i] < b.lane[i] ? a.lane[i] : b.lane[i]; });
  }
  static f32 max(f32 a, f32 b) noexcept {
    return each<f32>([&](int i) { return a.lane[i] > b.lane[i] ? a.lane[i] : b.lane[i]; });
  }
  /// a * b + c with one rounding or two, as is fastest: for bounds only, never for results.
  static f32 multiply_add(f32 a, f32 b, f32 c) noexcept {
    return each<f32>([&](int i) { return a.lane[i] * b.lane[i] + c.lane[i]; });
  }
  /// Rounds half to even where |x| <= 2^22; beyond, some value within 2^-22 of x, relatively. A
  /// product may be rounded as if it were exact: for bounds only.
  static f32 round_even(f32 a) noexcept {
    constexpr float magic = 12582912.0f;
    return each<f32>([&](int i) { return a.lane[i] + magic - magic; });
  }
  /// a * 2^n, for whole n within -126..127.
  static f32 times_power_of_2(f32 a, f32 n) noexcept {
    constexpr float magic = 12582912.0f; // as in clamp_round()
    return each<f32>([&](int i) {
      const auto truncated = std::bit_cast<std::uint32_t>(n.lane[i] + magic) - 0x4b400000u;
      return a.lane[i] * std::bit_cast<float>((truncated + 127u) << 23);
    });
  }
  /// Bit i says whether a < b in lane i.
  static std::uint32_t less(f32 a, f32 b) noexcept {
    std::uint32_t mask = 0;
    for (int i = 0; i < 16; ++i) mask |= static_cast<std::uint32_t>(a.lane[i] < b.lane[i]) << i;
    return mask;
  }
  /// x in the lanes where a < b, 0 in the others.
  static f32 where_less(f32 a, f32 b, f32 x) noexcept {
    return each<f32>([&](int i) { return a.lane[i] < b.lane[i] ? x.lane[i] : 0.0f; });
  }
  /// x in the lanes i where bit i is set, y in the others.
  static f32 choose(std::uint32_t bits, f32 x, f32 y) noexcept {
    return each<f32>([&](int i) { return (bits >> i & 1) != 0 ? x.lane[i] : y.lane[i]; });
  }
  /// The value itself; a product that passes it is rounded before anything is added to it.
  static f32 rounded(f32 a) noexcept {
    return each<f32>([&](int i) { return edgequant::rounded(a.lane[i]); });
  }
  static f32 abs(f32 a) noexcept {
    return each<f32>([&](int i) { return std::bit_cast<float>(abs_bits(a.lane[i])); });
  }
  static f32 clamp(f32 a, float lowest, float highest) noexcept {
    return each<f32>([&](int i) {
      const float x = a.lane[i] < lowest ? lowest : a.lane[i];
      return x > highest ? highest : x;
    });
  }

  /// The bit pattern of each lane; of non-negative floats it orders like the floats.
  static i32 bits(f32 a) noexcept {
    return each<i32>([&](int i) { return std::bit_cast<std::int32_t>(a.lane[i]); });
  }
  static i32 max(i32 a, i32 b) noexcept {
    return each<i32>([&](int i) { return std::max(a.lane[i], b.lane[i]); });
  }
  static std::int32_t reduce_max(i32 a) noexcept { return *std::max_element(a.lane, a.lane + 16); }
  /// Lane i holds the largest lane of v[i], for the sixteen of v; no NaN. A zero has either sign.
  static f32 max_of_each(const f32* v) noexcept {
    return each<f32>([&](int i) { return *std::max_element(v[i].lane, v[i].lane + 16); });
  }
  /// Lane i holds the sum of the lanes of v[i], for the sixteen of v, where every sum of some of
  /// them is exact.
  static f32 sum_of_each(const f32* v) noexcept {
    return each<f32>([&](int i) { return std::accumulate(v[i].lane, v[i].lane + 16, 0.0f); });
  }

  /// Clamps, then rounds half to even. Bounds are integers within +-2^22.
  static i32 clamp_round(f32 a, float lowest, float highest) noexcept {
    // Adding 1.5 * 2^23 leaves the rounded integer in the low bits of the sum. The clamp between
    // a product and this sum keeps the compiler from fusing the two.
    constexpr float magic = 12582912.0f;
    const f32 x = clamp(a, lowest, highest);
    return each<i32>([&](int i) {
      return std::bit_cast<std::int32_t>(x.lane[i] + magic) - std::bit_cast<std::int32_t>(magic);
    });
  }
  /// Rounds half away from zero; |x| < 2^23, and x is no unrounded product.
  static i32 round_away(f32 a) noexcept {
    return each<i32>([&](int i) {
      const auto truncated = static_cast<std::int32_t>(a.lane[i]);
      const float rest = a.lane[i] - static_cast<float>(truncated); // exact
      return truncated + (rest >= 0.5f) - (rest <= -0.5f);
    });
  }
  /// Rounds towards zero; |x| < 2^31.
  static i32 truncate(f32 a) noexcept {
    return each<i32>([&](int i) { return static_cast<std::int32_t>(a.lane[i]); });
  }
  static f32 to_f32(i32 a) noexcept {
    return each<f32>([&](int i) { return static_cast<float>(a.lane[i]); });
  }
  static i32 load(const std::int32_t* p) noexcept {
    i32 x;
    std::memcpy(x.lane, p, sizeof x);
    return x;
  }
  static void store(std::int32_t* p, i32 x) noexcept { std::memcpy(p, x.lane, sizeof x); }
  static i32 broadcast(std::int32_t x) noexcept {
    return each<i32>([&](int) { return x; });
  }

  /// Codes within -128..127.
  static void store_i8(std::int8_t* p, i32 a) noexcept {
    for (int i = 0; i < 16; ++i) p[i] = static_cast<std::int8_t>(a.lane[i]);
  }
  static i32 load_i8(const std::int8_t* p) noexcept {
    return each<i32>([&](int i) { return std::int32_t{p[i]}; });
  }

  /// 16 bytes: code i of `low` in the low nibble of byte i, that of `high` in the high nibble, in
  /// two's complement, xor `flip` (0x88 turns -8..7 into 0..15).
  static void store_nibbles(std::uint8_t* p, i32 low, i32 high, std::uint8_t flip) noexcept {
    for (int i = 0; i < 16; ++i)
      p[i] = static_cast<std::uint8_t>(((low.lane[i] & 15) | (high.lane[i] & 15) << 4) ^ flip);
  }
  static i32 load_low_nibbles(const std::uint8_t* p, std::uint8_t flip) noexcept {
    return each<i32>([&](int i) { return ((((p[i] ^ flip) & 15) ^ 8) - 8); });
  }
  static i32 load_high_nibbles(const std::uint8_t* p, std::uint8_t flip) noexcept {
    return each<i32>([&](int i) { return (((p[i] ^ flip) >> 4) ^ 8) - 8; });
  }
  /// 8 bytes: code 2i in the low nibble of byte i, code 2i + 1 in the high one.
  static void store_nibble_pairs(std::uint8_t* p, i32 a, std::uint8_t flip) noexcept {
    for (int i = 0; i < 8; ++i)
      p[i] =
          static_cast<std::uint8_t>(((a.lane[2 * i] & 15) | (a.lane[2 * i + 1] & 15) << 4) ^ flip);
  }
  static i32 load_nibble_pairs(const std::uint8_t* p, std::uint8_t flip) noexcept {
    return each<i32>([&](int i) { return (((((p[i / 2] ^ flip) >> (i % 2 * 4)) & 15) ^ 8) - 8); });
  }

  /// What add_dot() wants to have been added to the int8 codes of weights.
  static constexpr int code_offset = 0;
  static i8 load_codes(const std::int8_t* p) noexcept {
    i8 r;
    std::memcpy(r.lane, p, sizeof r);
    return r;
  }
  /// Codes 4k .. 4k + 3 of a multiple of 16, sixteen times, as add_dot() takes them.
  static i8 broadcast_codes(const std::int8_t* p, int k) noexcept {
    i8 r;
    for (int i = 0; i < 64; ++i) r.lane[i] = p[4 * k + i % 4];
    return r;
  }
  /// The low nibbles of 64 bytes, and the high ones, 0..15 each.
  static i8 load_low_codes(const std::uint8_t* p) noexcept {
    i8 r;
    for (int i = 0; i < 64; ++i) r.lane[i] = static_cast<std::int8_t>(p[i] & 15);
    return r;
  }
  static i8 load_high_codes(const std::uint8_t* p) noexcept {
    i8 r;
    for (int i = 0; i < 64; ++i) r.lane[i] = static_cast<std::int8_t>(p[i] >> 4);
    return r;
  }
  static void store_codes(std::int8_t* p, i8 x) noexcept { std::memcpy(p, x.lane, sizeof x); }
  /// `Bits` bits of each byte, from bit `Shift` on.
  template <int Shift, int Bits> static i8 field(i8 x) noexcept {
    return each_code(
        [&](int i) { return static_cast<std::uint8_t>(x.lane[i]) >> Shift & ((1 << Bits) - 1); });
  }
  /// Each byte times 2^Shift; no set bit leaves its byte.
  template <int Shift> static i8 shift_up(i8 x) noexcept {
    return each_code([&](int i) { return static_cast<std::uint8_t>(x.lane[i]) << Shift; });
  }
  /// The bits of both.
  static i8 merge(i8 a, i8 b) noexcept {
    return each_code([&](int i) { return a.lane[i] | b.lane[i]; });
  }
  /// table[index] of each byte; sixteen entries, indices 0..15.
  static i8 look_up(const std::int8_t* table, i8 index) noexcept {
    return each_code([&](int i) { return table[index.lane[i]]; });
  }

  /// Dot products of codes: sums begin with begin_dots(), take at most eight add_dot() and end with
  /// end_dots(), which is given the same start. Bits is 4, 5 or 6 where w is within 0..2^Bits - 1,
  /// else 8, where w is any code with code_offset added to it; x is within -127..127. A backend may
  /// have add_dots(), which adds the dot products of w[dots_together<Bits>] and as many x.
  template <int Bits> static i32 begin_dots(std::int32_t start) noexcept {
    return broadcast(start);
  }
  /// Lane i: sum + the products w * x of codes 4i .. 4i + 3, exactly.
  template <int Bits> static i32 add_dot(i32 sum, i8 w, i8 x) noexcept {
    return each<i32>([&](int i) {
      std::int32_t s = sum.lane[i];
      for (int k = 4 * i; k < 4 * i + 4; ++k) s += w.lane[k] * x.lane[k];
      return s;
    });
  }
  template <int Bits> static i32 end_dots(i32 sum, std::int32_t) noexcept { return sum; }
  /// Where sums of dot products start, so that scale_sum() is cheap: |sum - first_sum| < 2^22.
  static constexpr std::int32_t first_sum = 0;
  /// What scale_sum() takes beside a scale.
  static f32 shift_of(f32 scale) noexcept { return scale; }
  /// (sum - first_sum) * scale, rounded once.
  static f32 scale_sum(i32 sum, f32 scale, f32) noexcept { return mul(to_f32(sum), scale); }
  /// The sum of all lanes, in a fixed tree: of i and i + 8, then i + 4, i + 2, i + 1.
  static float reduce_add(f32 a) noexcept {
    for (int width = 8; width > 0; width /= 2)
      for (int i = 0; i < width; ++i) a.lane[i] += a.lane[i + width];
    return a.lane[0];
  }

  /// 16-bit floats as their bits. Stores round half to even; |x| stays below the format's infinity.
  static f32 load_f16(const std::uint16_t* p) noexcept {
    return each<f32>(
        [&](int i) { return static_cast<float>(Eigen::numext::bit_cast<half>(p[i])); });
  }
  static void store_f16(std::uint16_t* p, f32 a) noexcept {
    for (int i = 0; i < 16; ++i) p[i] = Eigen::numext::bit_cast<std::uint16_t>(half(a.lane[i]));
  }
  static f32 load_bf16(const std::uint16_t* p) noexcept {
    return each<f32>([&](int i) { return std::bit_cast<float>(std::uint32_t{p[i]} << 16); });
  }
  static void store_bf16(std::uint16_t* p, f32 a) noexcept {
    for (int i = 0; i < 16; ++i) {
      const auto u = std::bit_cast<std::uint32_t>(a.lane[i]);
      p[i] = static_cast<std::uint16_t>((u + 0x7fffu + (u >> 16 & 1u)) >> 16);
    }
  }

  static f64 widen(f32 a) noexcept {
    return each<f64>([&](int i) { return double{a.lane[i]}; });
  }
  static f32 narrow(f64 a) noexcept {
    return each<f32>([&](int i) { return static_cast<float>(a.lane[i]); });
  }
  static f64 broadcast(double x) noexcept {
    return each<f64>([&](int) { return x; });
  }
  static f64 add(f64 a, f64 b) noexcept {
    return each<f64>([&](int i) { return a.lane[i] + b.lane[i]; });
  }
  static f64 sub(f64 a, f64 b) noexcept {
    return each<f64>([&](int i) { return a.lane[i] - b.lane[i]; });
  }
  static f64 mul(f64 a, f64 b) noexcept {
    return each<f64>([&](int i) { return a.lane[i] * b.lane[i]; });
  }
  static f64 rounded(f64 a) noexcept {
    return each<f64>([&](int i) { return edgequant::rounded(a.lane[i]); });
  }
  /// Clamps, then rounds half to even. Bounds within +-2^50.
  static f64 clamp_round(f64 a, double lowest, double highest) noexcept {
    constexpr double magic = 0x1.8p52; // as for floats
    return each<f64>([&](int i) {
      const double x = a.lane[i] < lowest ? lowest : a.lane[i];
      return (x > highest ? highest : x) + magic - magic;
    });
  }
  /// The sum of the lanes by a fixed tree: lane i and lane i + 8, then i and i + 4, 2, 1.
  static double reduce_add(f64 a) noexcept {
    for (int width = 8; width > 0; width /= 2)
      for (int i = 0; i < width; ++i) a.lane[i] += a.lane[i + width];
    return a.lane[0];
  }
  static void store(double* p, f64 a) noexcept { std::memcpy(p, a.lane, sizeof a); }

private:
  template <class F> static i8 each_code(F f) noexcept {
    i8 r;
    for (int i = 0; i < 64; ++i) r.lane[i] = static_cast<std::int8_t>(f(i));
    return r;
  }
  template <class V, class F> static V each(F f) noexcept {
    V r;
    for (int i = 0; i < 16; ++i) r.lane[i] = f(i);
    return r;
  }
};

} // namespace edgequant::inline EDGEQUANT_ABI::simd
