// SPDX-License-Identifier: MIT
/// The backends that this translation unit can use, and `native`, the best of them. config.hpp
/// finds out which they are.
#pragma once

#include "backend.hpp"
#include "scalar.hpp"

#if defined(EDGEQUANT_HAS_AVX2)
#include "avx2.hpp"
#endif
#if defined(EDGEQUANT_HAS_AVX512)
#include "avx512.hpp"
#endif
#if defined(EDGEQUANT_HAS_AMX)
#include "amx.hpp"
#endif
#if defined(EDGEQUANT_HAS_NEON)
#include "neon.hpp"
#endif

namespace edgequant::inline EDGEQUANT_ABI::simd {

#if defined(EDGEQUANT_HAS_AMX)
using native = avx512_amx;
static_assert(tile_backend<native>);
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
