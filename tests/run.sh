#!/usr/bin/env bash
# Installs what is missing, then builds and runs the tests on every instruction set that this
# machine can run: natively, or under qemu-user for NEON.
#   bash tests/run.sh                 natively, with sanitizers, scalar, and NEON by emulation
#   bash tests/run.sh all             every instruction set that can run here, all rooms and tests on
#                                     each, and the benchmarks
#   bash tests/run.sh PRESET...       these
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. examples/install_packages.sh
install_packages g++ cmake ninja-build libeigen3-dev nlohmann-json3-dev libcli11-dev \
  libgtest-dev googletest libbenchmark-dev pkg-config

has_flags() { local f; for f in "$@"; do grep -qw "$f" /proc/cpuinfo || return 1; done; }
native=scalar # what -march=native makes of this machine
if has_flags avx2 fma f16c; then native=avx2; fi
if has_flags avx512f avx512bw avx512vl avx512_vnni; then native=avx512; fi
if [ "$native" = avx512 ] && has_flags amx_tile amx_int8; then native=avx512_amx; fi
presets=("$@") bench=ON
if [ "${#presets[@]}" -eq 0 ]; then
  presets=(release debug scalar) bench=OFF
  # On a machine without AVX-512 release is the AVX2 leg.
  case $native in avx512*) presets+=(avx2) ;; esac
  if [ "$(uname -m)" = x86_64 ]; then presets+=(neon); fi
elif [ "${presets[*]}" = all ]; then
  presets=(release debug scalar)
  # The avx512 leg has no more than the flags that the backend asks for, as native has not.
  case $native in avx512*) presets+=(avx2 avx512) ;; esac
  if [ "$(uname -m)" = x86_64 ]; then presets+=(neon neon-i8mm); fi
fi
case " ${presets[*]} " in *" neon"*) install_packages g++-aarch64-linux-gnu qemu-user ;; esac

slow_with_sanitizers='scales_cancel|threads_change_no_bit|budget_is_kept_at_any_alignment'
slow_with_sanitizers+='|same_bytes_on_any_threads|biases_are_scaled|without_an_embedding|measured_beside'
slow_with_sanitizers+='|no_allocation_per_decoded|integers_are_exact_in_all_shapes|bit_scale_is_the_optimum'
mkdir -p build
failed=() passed=0
for preset in "${presets[@]}"; do
  echo "== $preset: configure and build"
  log="build/$preset-build.log"
  options=()
  # Compile time is most of a leg: only the kernels of the release leg are optimised fully, by
  # tests/CMakeLists.txt, and benchmarks are only compiled. `cmake --preset release` makes all of it
  # fast again.
  if [ "$preset" != debug ]; then options=("-DCMAKE_CXX_FLAGS_RELEASE=-O1 -DNDEBUG" -DEDGEQUANT_BENCH_FLAGS=-O0); fi
  if [ "$preset" = release ]; then options+=("-DEDGEQUANT_BENCH=$bench"); fi
  # What the quantizers of an instruction set give is held against stored hashes (tests/golden).
  case $preset in scalar | avx2 | neon)
    if [ "$bench" = OFF ]; then options+=("-DEDGEQUANT_TEST_ROOMS=simd;kernel;gemm"); fi ;;
  esac
  if [ "$preset" = debug ]; then
    rooms=$(sed -n 's/^set(EDGEQUANT_TEST_ROOMS "\(.*\)" CACHE.*/\1/p' tests/CMakeLists.txt)
    # Plans, tables and pages allocate little and compile slowly.
    if [ "$bench" = OFF ]; then for room in train plan report compress run advise; do rooms=${rooms/;$room/}; done; fi
    options+=("-DEDGEQUANT_TEST_ROOMS=$rooms")
  fi
  case $preset in release | debug) if [ "$(uname -m)" = x86_64 ]; then options+=("-DEDGEQUANT_EXPECT_ISA=$native"); fi ;; esac
  if ! { cmake --preset "$preset" "${options[@]}" && cmake --build --preset "$preset"; } >"$log" 2>&1; then
    tail -n 40 "$log" >&2
    failed+=("$preset (build)")
    continue
  fi
  echo "== $preset: tests"
  log="build/$preset-tests.log"
  skip=()
  # With sanitizers some tests of figures take minutes; others run the same code.
  if [ "$preset" = debug ] && [ "$bench" = OFF ]; then skip=(-E "$slow_with_sanitizers"); fi
  if ctest --preset "$preset" -j "$(nproc)" "${skip[@]}" >"$log" 2>&1; then
    passed=$((passed + 1))
  else
    failed+=("$preset (tests)")
    grep -vE '^ *(Start|[0-9]+/[0-9]+ Test).*(Passed|Start)' "$log" | tail -n 60 >&2
  fi
  # What was skipped, and why, belongs to the result.
  grep -E 'Skipped$' "$log" | sed 's/^ *//' | sort -u | head -n 20 || true
  grep -E 'tests passed' "$log" || true
done

echo
for name in "${failed[@]}"; do echo "FAILED: $name" >&2; done
echo "$passed passed, ${#failed[@]} failed"
[ "${#failed[@]}" -eq 0 ]
