#!/usr/bin/env bash
# What the README's first program costs a compiler with either header: prints seconds of processor
# time. The bounds are generous, since machines differ and are busy; the lines are for people.
set -euo pipefail
scratch=$(mktemp -d)
trap 'rm -r "$scratch"' EXIT
TIMEFORMAT=%U
status=0
for line in "quantize 30" "edgequant 90"; do
  read -r header most <<<"$line"
  sed "s|edgequant/quantize.hpp|edgequant/$header.hpp|" "$SOURCE/examples/quickstart.cpp" >"$scratch/$header.cpp"
  grep -q "edgequant/$header.hpp" "$scratch/$header.cpp"
  includes=()
  for folder in $EIGEN $JSON; do
    # The compiler's own folder must keep its place behind those of the standard library.
    if [ "$folder" != /usr/include ]; then includes+=(-isystem "$folder"); fi
  done
  seconds=$({ time $CXX -std=c++20 -O2 -march=native "-I$SOURCE/include" "${includes[@]}" -c "$scratch/$header.cpp" \
    -o "$scratch/$header.o" 2>"$scratch/errors"; } 2>&1) || { cat "$scratch/errors"; exit 1; }
  echo "edgequant/$header.hpp: $seconds s (bound: $most s)"
  awk -v s="$seconds" -v most="$most" 'BEGIN { exit !(s <= most) }' || status=1
done
exit $status
