// SPDX-License-Identifier: MIT
/// The backends that this translation unit can use, and `native`, the best of them.
#pragma once

#include "scalar.hpp"

#if !defined(EDGEQUANT_FORCE_SCALAR)
#if defined(__AVX2__) && defined(__FMA__) && defined(__F16C__)
#include "avx2.hpp"
#define EDGEQUANT_HAS_AVX2 1
#endif
#if defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512VL__) &&                      \
    defined(__AVX512VNNI__)
#include "avx512.hpp"
#define EDGEQUANT_HAS_AVX512 1
#if defined(__AMX_TILE__) && defined(__AMX_INT8__) && defined(__linux__) && defined(__x86_64__)
#include "amx.hpp"
#define EDGEQUANT_HAS_AMX 1
#endif
#endif
#if defined(__aarch64__)
#include "neon.hpp"
#define EDGEQUANT_HAS_NEON 1
#endif
#endif

#include <concepts>

namespace edgequant::inline EDGEQUANT_ABI::simd {

/// A type with the sixteen-lane vocabulary of simd::scalar.
template <class S>
concept backend = requires(typename S::f32 x, typename S::i32 i, typename S::f64 d,
                           const float* p) {
  { S::load(p) } -> std::same_as<typename S::f32>;
  { S::clamp_round(x, 0.0f, 0.0f) } -> std::same_as<typename S::i32>;
  { S::widen(x) } -> std::same_as<typename S::f64>;
  { S::reduce_max(i) } -> std::same_as<std::int32_t>;
  { S::narrow(d) } -> std::same_as<typename S::f32>;
};

#if defined(EDGEQUANT_HAS_AMX)
using native = avx512_amx;
#elif defined(EDGEQUANT_HAS_AVX512)
using native = avx512;
#elif defined(EDGEQUANT_HAS_AVX2)
using native = avx2;
#elif defined(EDGEQUANT_HAS_NEON)
using native = neon;
#else
using native = scalar;
#endif

static_assert(backend<native> && backend<scalar>);

} // namespace edgequant::inline EDGEQUANT_ABI::simd
