// SPDX-License-Identifier: MIT
/// Version, the instruction set this translation unit is compiled for, and the floating-point
/// guard.
#pragma once

#define EDGEQUANT_VERSION_MAJOR 0
#define EDGEQUANT_VERSION_MINOR 1
#define EDGEQUANT_VERSION_PATCH 0

// Results are the same bits on every machine. That holds only while the compiler keeps IEEE order.
#if defined(__FAST_MATH__) || defined(__ASSOCIATIVE_MATH__) || defined(__RECIPROCAL_MATH__) ||     \
    (defined(__FINITE_MATH_ONLY__) && __FINITE_MATH_ONLY__ == 1)
#error "EdgeQuant needs IEEE arithmetic: compile without -ffast-math and its parts"
#endif

// The instruction sets of this translation unit: found here and nowhere else. Each has a backend in
// simd/.
#if !defined(EDGEQUANT_FORCE_SCALAR)
#if defined(__AVX2__) && defined(__FMA__) && defined(__F16C__)
#define EDGEQUANT_HAS_AVX2 1
#endif
#if defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512VL__) &&                      \
    defined(__AVX512VNNI__)
#define EDGEQUANT_HAS_AVX512 1
#if defined(__AMX_TILE__) && defined(__AMX_INT8__) && defined(__linux__) && defined(__x86_64__)
#define EDGEQUANT_HAS_AMX 1
#endif
#endif
#if defined(__aarch64__)
#define EDGEQUANT_HAS_NEON 1
#endif
#endif

// This word becomes part of the inline namespace, so that translation units built with different
// -m flags can be linked into one program.
#if defined(EDGEQUANT_HAS_AMX)
#define EDGEQUANT_ISA avx512_amx
#elif defined(EDGEQUANT_HAS_AVX512)
#define EDGEQUANT_ISA avx512
#elif defined(EDGEQUANT_HAS_AVX2) && defined(__AVXVNNI__)
#define EDGEQUANT_ISA avx2_vnni
#elif defined(EDGEQUANT_HAS_AVX2)
#define EDGEQUANT_ISA avx2
#elif defined(EDGEQUANT_HAS_NEON) && defined(__ARM_FEATURE_MATMUL_INT8)
#define EDGEQUANT_ISA neon_i8mm
#elif defined(EDGEQUANT_HAS_NEON) && defined(__ARM_FEATURE_DOTPROD)
#define EDGEQUANT_ISA neon_dotprod
#elif defined(EDGEQUANT_HAS_NEON)
#define EDGEQUANT_ISA neon
#else
#define EDGEQUANT_ISA scalar
#endif

#if defined(_OPENMP)
#define EDGEQUANT_THREADING _omp
#else
#define EDGEQUANT_THREADING
#endif

#if defined(__cpp_exceptions)
#define EDGEQUANT_FAILURE
#else
#define EDGEQUANT_FAILURE _noexcept
#endif

#define EDGEQUANT_JOIN_(a, b, c, d) a##b##c##d
#define EDGEQUANT_JOIN(a, b, c, d) EDGEQUANT_JOIN_(a, b, c, d)
/// Name of the inline namespace, for example `v0_1_avx2_omp`.
#define EDGEQUANT_ABI EDGEQUANT_JOIN(v0_1_, EDGEQUANT_ISA, EDGEQUANT_THREADING, EDGEQUANT_FAILURE)

/// Before a loop of few and known rounds over what must stay in registers: GCC leaves such loops
/// rolled at -O2, and then keeps arrays in memory.
#define EDGEQUANT_UNROLL _Pragma("GCC unroll 16")
