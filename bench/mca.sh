#!/bin/bash
# SPDX-License-Identifier: MIT
# The inner loops of integer products on NEON, without a device: cycles of a group of 32 codes as
# llvm-mca sees them beside the bound from the core's port counts, the share of them that the dot
# instructions alone would take, and instructions per multiply-add, which qemu counts. Needs aarch64-linux-gnu-g++, qemu-aarch64 and llvm-mca 19 or
# newer (older ones take their Neoverse cores from another core's model).
# EDGEQUANT_CXXFLAGS replaces -O3.
set -euo pipefail
cd "$(dirname "$0")/.."

for mca in llvm-mca-{25..19} llvm-mca; do
  version=$({ $mca --version || true; } 2>/dev/null | sed -n 's/.*LLVM version \([0-9]*\).*/\1/p')
  [[ ${version:-0} -lt 19 ]] || break
done
[[ ${version:-0} -ge 19 ]] || { echo "mca.sh: no llvm-mca of version 19 or newer" >&2; exit 1; }
for tool in aarch64-linux-gnu-g++ qemu-aarch64; do
  command -v $tool >/dev/null || { echo "mca.sh: no $tool" >&2; exit 1; }
done
scratch=$(mktemp -d)
trap 'rm -r "$scratch"' EXIT

cat >"$scratch/loops.cpp" <<'CPP'
#include <edgequant/gemm/channel_panel.hpp>
#include <cstdlib>
using namespace edgequant::gemm;

alignas(64) static std::byte panels[1 << 20], columns[1 << 20];
static float out[16 * 8];
static std::int32_t sums[16 * 8];

constexpr std::size_t tile = tile_tokens<edgequant::simd::native>;

#define MULTIPLY(name, panel, n)                                                                 \
  extern "C" [[gnu::noinline, gnu::flatten]] void name(std::size_t groups) {                     \
    multiply_panels<1, n>(reinterpret_cast<const panel*>(panels), groups,                        \
                          reinterpret_cast<const activation_group<n>*>(columns), false, out, 16);    \
  }
#define ADD(name, n)                                                                             \
  extern "C" [[gnu::noinline, gnu::flatten]] void name(std::size_t groups) {                     \
    add_channels<1, n>(reinterpret_cast<const channel_panel*>(panels), groups,                   \
                       reinterpret_cast<const activation_group<n>*>(columns), sums);                 \
  }
MULTIPLY(q4_0_one, panel_q4_0, 1)
MULTIPLY(q4_0_tile, panel_q4_0, tile)
MULTIPLY(q8_0_one, panel_q8_0, 1)
MULTIPLY(q8_0_tile, panel_q8_0, tile)
MULTIPLY(ready_4_one, expanded_panel<4>, 1)
MULTIPLY(ready_4_tile, expanded_panel<4>, tile)
MULTIPLY(ready_8_one, expanded_panel<8>, 1)
MULTIPLY(ready_8_tile, expanded_panel<8>, tile)
ADD(channel_one, 1)
ADD(channel_tile, tile)

int main(int count, char** argv) { // without groups: how many columns a tile has
  if (count < 2) return tile;
  LOOP(std::strtoul(argv[1], nullptr, 10));
}
CPP

# Prints the longest stretch between a label and a branch back to it in function $1 of file $2.
group_loop() {
  awk -v name="$1" '
    $0 == name ":" { inside = 1 }
    !inside { next }
    /^\.L[0-9]+:/ { at[substr($1, 1, length($1) - 1)] = n }
    { line[n++] = $0 }
    /^\t(b|cb|tb)[a-z.]*\t.*\.L[0-9]+$/ && ($NF in at) && n - at[$NF] > end - begin {
      begin = at[$NF]; end = n
    }
    /^\t\.size/ {
      for (i = begin; i < end; ++i) if (line[i] ~ /^\t[a-z]/) print line[i]
      exit
    }' "$2"
}

executed() { # instructions of a run over $1 groups
  qemu-aarch64 -cpu max -singlestep -d exec,nochain -D "$scratch/trace" \
    "$scratch/loop" "$1"
  grep -c '^Trace' "$scratch/trace"
}

compile() {
  aarch64-linux-gnu-g++ -std=c++20 ${EDGEQUANT_CXXFLAGS:--O3} -DNDEBUG -march="$march" \
    -Iinclude -isystem "${EIGEN3_INCLUDE_DIR:-/usr/include/eigen3}" "$@" \
    "$scratch/loops.cpp"
}

printf '%-8s %-13s %-11s %7s %7s %6s %6s  %s\n' build loop core cycles bound share dots \
  instructions/MAC
for build in dotprod i8mm; do
  march=armv8.2-a+fp16+dotprod
  [[ $build == dotprod ]] || march+=+i8mm
  compile -DLOOP=q4_0_one -S -o "$scratch/loops.s"
  for loop in {q4_0,q8_0,ready_4,ready_8,channel}_{one,tile}; do
    compile -static -DLOOP=$loop -o "$scratch/loop"
    columns=1
    [[ $loop == *_one ]] || qemu-aarch64 -cpu max "$scratch/loop" || columns=$?
    ratio=$(awk -v n=$(($(executed 192) - $(executed 128))) -v c=$columns \
      'BEGIN { printf "%.4f", n / (64 * 512 * c) }')
    group_loop $loop "$scratch/loops.s" |
      sed 's/prfm\(.*, -\)/prfum\1/' >"$scratch/group.s" # as GNU's assembler reads it
    for core in neoverse-n1 neoverse-v1; do
      [[ $build == dotprod || $core != neoverse-n1 ]] || continue # it has no SMMLA
      $mca -mtriple=aarch64 -mcpu=$core -mattr=+dotprod,+i8mm -iterations=400 "$scratch/group.s" |
        awk -v row="$(printf '%-8s %-13s %-11s' $build $loop $core)" -v ratio="$ratio" \
        -v dots="$(grep -cE 'sdot|smmla' "$scratch/group.s")" '
          /^Total Cycles/ { cycles = $3 / 400 }
          /^Block RThroughput/ { bound = $3 } # leaves out of a group what one of its units takes
          /^\[.*\] +- / && match($3, /Unit[A-Z]/) { kind[$1] = substr($3, RSTART + 4, 1) }
          /^Resource pressure per iteration/ {
            getline; n = split($0, unit)
            getline; split($0, use)
            for (i = 1; i <= n; ++i) { sum[kind[unit[i]]] += use[i]; ++units[kind[unit[i]]] }
            for (k in sum) if (k ~ /[VL]/ && sum[k] / units[k] > bound) bound = sum[k] / units[k]
          }
          END { printf "%s %7.1f %7.1f %5.0f%% %5.0f%%  %s\n", row, cycles, bound, 100 * bound / cycles,
              100 * dots / units["V"] / cycles, ratio }'
    done
  done
done
