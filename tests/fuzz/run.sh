#!/usr/bin/env bash
# Installs what is missing, then builds the fuzz targets with Clang, ASan and UBSan, and runs each
# for MINUTES on its stored inputs and what follows from them.
#   bash tests/fuzz/run.sh MINUTES [target...]   default: all targets; as many at once as there are CPUs
# Exit status: 0, or 1 if a target did not build or ended in anything but time. Programs, logs and
# the inputs that broke something are in build/fuzz; so is the grown corpus, which the next run uses.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
all=(gguf model safetensors sentencepiece tokenizer_json config codec search)

usage() {
  echo "usage: bash tests/fuzz/run.sh MINUTES [${all[*]}]" >&2
  exit 2
}
[[ "${1:-}" =~ ^[0-9]+([.][0-9]+)?$ ]] || usage
seconds=$(awk -v m="$1" 'BEGIN { printf "%d", m * 60 }')
shift
targets=("$@")
if [ "${#targets[@]}" -eq 0 ]; then targets=("${all[@]}"); fi
for target in "${targets[@]}"; do
  case " ${all[*]} " in *" $target "*) ;; *) usage ;; esac
done

. examples/install_packages.sh
install_packages clang cmake ninja-build libeigen3-dev nlohmann-json3-dev libgtest-dev
# The runtime library comes with the compiler's version.
version=$(clang++ -dumpversion)
if apt-cache show "libclang-rt-${version%%.*}-dev" >/dev/null 2>&1; then
  install_packages "libclang-rt-${version%%.*}-dev"
else
  install_packages libclang-rt-dev
fi

out=build/fuzz
mkdir -p "$out/logs"
echo "== build"
if ! { cmake -S . -B "$out" -G Ninja -DCMAKE_CXX_COMPILER=clang++ -DCMAKE_BUILD_TYPE=None \
  "-DCMAKE_CXX_FLAGS=-O2 -g -march=native -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer" \
  -DEDGEQUANT_FUZZ=ON -DEDGEQUANT_WARNINGS=ON -DEDGEQUANT_EXAMPLES=OFF -DEDGEQUANT_BENCH=OFF \
  -DEDGEQUANT_TESTS=ON -DEDGEQUANT_TEST_ROOMS=io &&
  cmake --build "$out" --target "${targets[@]/%/_fuzz}"; } >"$out/logs/build.log" 2>&1; then
  tail -n 40 "$out/logs/build.log" >&2
  exit 1
fi

# fuzz TARGET: its libFuzzer run, then one line of numbers.
fuzz() {
  local target=$1 log="$out/logs/$1.log" corpus="$out/corpus/$1" status=0 length=1024
  if [ "$target" = model ]; then length=8192; fi # the smallest are 2,000 bytes
  mkdir -p "$corpus" "$out/crashes"
  "$out/fuzz/${target}_fuzz" "$corpus" "tests/fuzz/corpus/$target" -max_total_time="$seconds" \
    -max_len="$length" -timeout=10 -rss_limit_mb=1024 -print_final_stats=1 \
    -artifact_prefix="$out/crashes/$target-" >"$log" 2>&1 || status=$?
  printf '%-14s %12s executions %8s exec/s  %s\n' "$target" \
    "$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")" \
    "$(sed -n 's/^stat::average_exec_per_sec: *//p' "$log")" \
    "$([ "$status" -eq 0 ] && echo clean || echo "FAILED, see $log")"
  return "$status"
}

echo "== fuzz"
jobs=$(nproc)
failed=0
running=0
for target in "${targets[@]}"; do
  if [ "$running" -ge "$jobs" ]; then
    wait -n || failed=1
    running=$((running - 1))
  fi
  fuzz "$target" &
  running=$((running + 1))
done
while [ "$running" -gt 0 ]; do
  wait -n || failed=1
  running=$((running - 1))
done
exit "$failed"
