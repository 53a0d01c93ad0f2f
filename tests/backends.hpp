// SPDX-License-Identifier: MIT
/// The backends of this build as a type list: each is held against simd::scalar.
#pragma once

#include <edgequant/simd/simd.hpp>

#include <gtest/gtest.h>

using backends = testing::Types<
#if defined(EDGEQUANT_HAS_AVX2)
    edgequant::simd::avx2,
#endif
#if defined(EDGEQUANT_HAS_AVX512)
    edgequant::simd::avx512,
#endif
#if defined(EDGEQUANT_HAS_NEON)
    edgequant::simd::neon,
#endif
    edgequant::simd::scalar>;
