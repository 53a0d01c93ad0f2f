#!/bin/bash
# SPDX-License-Identifier: MIT
# The inner loops of integer products on NEON, without a device: cycles of a group of 32 codes as
# llvm-mca sees them beside the bound from the core's port counts, and instructions per
# multiply-add, which qemu counts. Needs aarch64-linux-gnu-g++, qemu-aarch64 and llvm-mca 19 or
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
#include <edgequant/kernel/channel_panel.hpp>
#include <cstdlib>
using namespace edgequant::kernel;

alignas(64) static std::byte panels[1 << 20], columns[1 << 20];
static float out[16 * 8];
static std::int32_t sums[16 * 8];

// The name of a loop: columns times panels of it.
#define MULTIPLY(name, panel, n)                                                                 \
  extern "C" [[gnu::noinline, gnu::flatten]] void name##_x##n(std::size_t groups) {              \
    multiply_panels<1, n>(reinterpret_cast<const panel*>(panels), groups,                        \
                          reinterpret_cast<const column_group<n>*>(columns), nullptr, out, 16);  \
  }
#define ADD(name, n)                                                                             \
  extern "C" [[gnu::noinline, gnu::flatten]] void name##_x##n(std::size_t groups) {              \
    add_channels<1, n>(reinterpret_cast<const channel_panel*>(panels), groups,                   \
                       reinterpret_cast<const column_group<n>*>(columns), sums);                 \
  }
#define MANY_COLUMNS(macro, ...) macro(__VA_ARGS__)
MULTIPLY(q4_0, panel_q4_0, 1)
MANY_COLUMNS(MULTIPLY, q4_0, panel_q4_0, COLUMNS)
MULTIPLY(q8_0, panel_q8_0, 1)
MANY_COLUMNS(MULTIPLY, q8_0, panel_q8_0, COLUMNS)
MULTIPLY(ready_4, expanded_panel<4>, 1)
MANY_COLUMNS(MULTIPLY, ready_4, expanded_panel<4>, COLUMNS)
MULTIPLY(ready_8, expanded_panel<8>, 1)
MANY_COLUMNS(MULTIPLY, ready_8, expanded_panel<8>, COLUMNS)
ADD(channel, 1)
MANY_COLUMNS(ADD, channel, COLUMNS)

int main(int, char** argv) { LOOP(std::strtoul(argv[1], nullptr, 10)); }
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
  qemu-aarch64 -L /usr/aarch64-linux-gnu -cpu max -singlestep -d exec,nochain -D "$scratch/trace" \
    "$scratch/loop" "$1"
  grep -c '^Trace' "$scratch/trace"
}

compile() {
  aarch64-linux-gnu-g++ -std=c++20 ${EDGEQUANT_CXXFLAGS:--O3} -DNDEBUG -march="$march" \
    -DCOLUMNS=$columns -Iinclude -isystem "${EIGEN3_INCLUDE_DIR:-/usr/include/eigen3}" "$@" \
    "$scratch/loops.cpp"
}

columns=$(sed -n 's/.*tile_columns = .* \([0-9]*\);.*/\1/p' include/edgequant/kernel/panel.hpp)
printf '%-8s %-12s %-11s %7s %7s %6s  %s\n' build loop core cycles bound share instructions/MAC
for build in dotprod i8mm; do
  march=armv8.2-a+fp16+dotprod
  [[ $build == dotprod ]] || march+=+i8mm
  compile -DLOOP=q4_0_x1 -S -o "$scratch/loops.s"
  for loop in {q4_0,q8_0,ready_4,ready_8,channel}_x{1,$columns}; do
    compile -static -DLOOP=$loop -o "$scratch/loop"
    ratio=$(awk -v n=$(($(executed 192) - $(executed 128))) -v c="${loop##*x}" \
      'BEGIN { printf "%.4f", n / (64 * 512 * c) }')
    group_loop $loop "$scratch/loops.s" >"$scratch/group.s"
    for core in neoverse-n1 neoverse-v1; do
      [[ $build == dotprod || $core != neoverse-n1 ]] || continue # it has no SMMLA
      $mca -mtriple=aarch64 -mcpu=$core -mattr=+dotprod,+i8mm -iterations=400 "$scratch/group.s" |
        awk -v row="$(printf '%-8s %-12s %-11s' $build $loop $core)" -v ratio="$ratio" '
          /^Total Cycles/ { cycles = $3 / 400 }
          /^Block RThroughput/ { bound = $3 }
          END { printf "%s %7.1f %7.1f %5.0f%%  %s\n", row, cycles, bound, 100 * bound / cycles, ratio }'
    done
  done
done
