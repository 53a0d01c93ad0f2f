// SPDX-License-Identifier: MIT
/// AVX-512 with AMX: a matrix unit for int8, sixteen rows by sixteen tokens at a time.
#pragma once

#include "avx512.hpp"

#include <cerrno>
#include <sys/syscall.h>
#include <unistd.h>

namespace edgequant::inline EDGEQUANT_ABI::simd {

/// The vocabulary of avx512, and products of tiles: tokens[16][Codes], 32 or 64 codes within
/// -127..127, times 16 rows of as many codes, interleaved as in gemm::panel_q8_0. The sums
/// [token][row] are exact.
struct avx512_amx : avx512 {
  static constexpr std::string_view name = "avx512_amx";

  // GCC's intrinsics do not say how much memory they read: `asm` says that all of it may be, or
  // what was stored there for them is taken for useless.

  /// Whether the operating system lets this process use tiles. Asks for it at the first call; from
  /// then on Linux wants stacks of signal handlers that hold tiles too.
  [[nodiscard]] static bool tiles_ready() noexcept {
    static const bool ready = [] {
      constexpr long request = 0x1023, tile_data = 18; // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
      const int before = errno;
      const bool granted = syscall(SYS_arch_prctl, request, tile_data) == 0;
      errno = before;
      return granted;
    }();
    return ready;
  }

  /// While one lives this thread may multiply tiles of `Codes` codes. Needs tiles_ready(). What the
  /// thread had in tiles before is lost.
  template <int Codes> class tile_unit {
  public:
    tile_unit() noexcept {
      alignas(64) struct {
        std::uint8_t palette = 1, start = 0, reserved[14] = {};
        std::uint16_t row_bytes[16] = {64, 64, 64, 64, Codes, Codes, 64, 64};
        std::uint8_t rows[16] = {16, 16, 16, 16, 16, 16, Codes / 4, Codes / 4};
      } const shapes;
      static_assert(sizeof shapes == 64);
      asm volatile("" ::"r"(&shapes) : "memory");
      _tile_loadconfig(&shapes);
    }
    ~tile_unit() { _tile_release(); }
    tile_unit(const tile_unit&) = delete;
    tile_unit& operator=(const tile_unit&) = delete;
  };

  // Tiles 0 to 3 are sums, 4 and 5 tokens, 6 and 7 rows. The intrinsics take literal numbers.
  template <int I> static void zero_tile() noexcept {
    if constexpr (I == 0) _tile_zero(0);
    if constexpr (I == 1) _tile_zero(1);
  }
  template <int I> static void load_tile(const std::int32_t* sums) noexcept {
    asm volatile("" ::: "memory");
    if constexpr (I == 0) _tile_loadd(0, sums, 64);
    if constexpr (I == 1) _tile_loadd(1, sums, 64);
    if constexpr (I == 2) _tile_loadd(2, sums, 64);
    if constexpr (I == 3) _tile_loadd(3, sums, 64);
  }
  template <int I> static void store_tile(std::int32_t* sums) noexcept {
    if constexpr (I == 0) _tile_stored(0, sums, 64);
    if constexpr (I == 1) _tile_stored(1, sums, 64);
    if constexpr (I == 2) _tile_stored(2, sums, 64);
    if constexpr (I == 3) _tile_stored(3, sums, 64);
    asm volatile("" ::: "memory");
  }
  template <int I, int Codes> static void load_tokens(const std::int8_t* codes) noexcept {
    asm volatile("" ::: "memory");
    if constexpr (I == 0) _tile_loadd(4, codes, Codes);
    if constexpr (I == 1) _tile_loadd(5, codes, Codes);
  }
  template <int I> static void load_rows(const std::int8_t* codes) noexcept {
    asm volatile("" ::: "memory");
    if constexpr (I == 0) _tile_loadd(6, codes, 64);
    if constexpr (I == 1) _tile_loadd(7, codes, 64);
  }
  /// Tile I, 0 or 1, += tokens I times rows I, whose codes have a sign.
  template <int I> static void add_product() noexcept {
    if constexpr (I == 0) _tile_dpbssd(0, 4, 6);
    if constexpr (I == 1) _tile_dpbssd(1, 5, 7);
  }
  /// Tile I, 0 to 3, += tokens I / 2 times rows I % 2, whose codes have code_offset added and so
  /// no sign.
  template <int I> static void add_offset_product() noexcept {
    if constexpr (I == 0) _tile_dpbsud(0, 4, 6);
    if constexpr (I == 1) _tile_dpbsud(1, 4, 7);
    if constexpr (I == 2) _tile_dpbsud(2, 5, 6);
    if constexpr (I == 3) _tile_dpbsud(3, 5, 7);
  }

  /// Codes of weights, with a sign: what their panel added, 8 or code_offset, is taken off.
  template <int Bits> static i8 without_offset(i8 codes) noexcept {
    constexpr auto offset = static_cast<char>(Bits == 4 ? 8 : code_offset); // modulo 256
    return {_mm512_sub_epi8(codes.v, _mm512_set1_epi8(offset))};
  }
  /// A sum as add_dot() leaves it that began with first_sum.
  static i32 after_first(i32 sum) noexcept {
    return {_mm512_add_epi32(sum.v, _mm512_set1_epi32(first_sum))};
  }
};

} // namespace edgequant::inline EDGEQUANT_ABI::simd
