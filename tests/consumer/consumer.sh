#!/usr/bin/env bash
# Uses the library as its users do; every way ends in a program that runs.
#   consumer.sh package | subdirectory | fetch   the project in app/, built by CMake
#   consumer.sh pkg-config      its program by plain compiler calls, without and with OpenMP
#   consumer.sh no-exceptions   rooms core to metric with -fno-exceptions, by clang++ too if it is there
# ctest sets SOURCE and BUILD, the library's folders; EIGEN, its headers; CXX; OPENMP, the flag or nothing.
set -euo pipefail
unset CXXFLAGS CPPFLAGS LDFLAGS # what the user's command lines hold comes from the library alone
way=$1 here=$SOURCE/tests/consumer out=$BUILD/consumer/$1
rm -rf "$out"
mkdir -p "$out"

fail() { echo "$way: $*" >&2; exit 1; }
install_library() { cmake --install "$BUILD" --prefix "$out/prefix" >"$out/install.log"; }
# Fails unless the options among the words of stdin all match the pattern.
only_options() {
  local others
  others=$(grep -oE '(^|[[:space:]])-[^[:space:]]+' | tr -d '[:blank:]' | sort -u | grep -vE "^($1)\$" || true)
  [ -z "$others" ] || fail "the library brings options: $others"
}

case $way in
package | subdirectory | fetch)
  where=-DEDGEQUANT=$SOURCE
  if [ "$way" = package ]; then install_library && where=-DCMAKE_PREFIX_PATH=$out/prefix; fi
  cmake -S "$here/app" -B "$out/build" -DFROM="$way" "$where"
  cmake --build "$out/build" --verbose | tee "$out/build.log"
  grep -qE ' -c .*app\.cpp' "$out/build.log" || fail "no compile command found"
  grep 'app\.cpp\.o' "$out/build.log" | only_options '-I.*|-isystem|-std=(c|gnu)\+\+20|-o|-c|-MD|-MT|-MF'
  "$out/build/app"
  ;;

pkg-config)
  command -v pkg-config >/dev/null || { echo "skipped: no pkg-config"; exit 77; }
  install_library
  mv "$out/prefix" "$out/moved" # the tree does not know where it lies
  export PKG_CONFIG_PATH=$out/moved/share/pkgconfig
  flags=$(pkg-config --cflags --libs edgequant)
  only_options '-I.*' <<<"$flags"
  for threading in "" ${OPENMP:+"$OPENMP"}; do
    # shellcheck disable=SC2086
    "$CXX" -std=c++20 $threading "$here/app/app.cpp" $flags -o "$out/app$threading"
    "$out/app$threading" | tee "$out/app$threading.txt"
  done
  grep -qx "version $(pkg-config --modversion edgequant)" "$out/app.txt" || fail "edgequant.pc has another version"
  if [ -n "${OPENMP:-}" ]; then
    grep -q '^build .*_omp$' "$out/app$OPENMP.txt" || fail "OpenMP is not in use"
    cmp <(tail -n +3 "$out/app.txt") <(tail -n +3 "$out/app$OPENMP.txt") || fail "OpenMP changes results"
  fi
  ;;

no-exceptions)
  ulimit -c 0
  for room in core system format simd kernel gemm quantizer metric; do
    for header in "$SOURCE/include/edgequant/$room"/*.hpp; do
      case $header in */simd/*) [ "${header##*/}" = simd.hpp ] || continue ;; esac # it picks the others
      echo "#include \"$header\""
    done
  done >"$out/rooms.hpp"
  for header in engine_selector requirement npu_operators; do # a rule of the user's cannot throw then
    echo "#include \"$SOURCE/include/edgequant/advise/$header.hpp\""
  done >>"$out/rooms.hpp"
  run() { # run COMPILER [OPTION...]
    "$@" -std=c++20 -fno-exceptions -Wall -Wextra -Werror -isystem "$EIGEN" -include "$out/rooms.hpp" \
      "$here/no_exceptions.cpp" -o "$out/program"
    "$out/program" || fail "$*: good input: status $?"
    local handler status
    for handler in default own; do
      status=0
      (exec "$out/program" "$handler") 2>"$out/$handler.txt" || status=$?
      [ "$status" -eq 134 ] || fail "$*: $handler: status $status, not that of abort()"
    done
    grep -qx 'edgequant: bad.weight: value at index 133 is NaN' "$out/default.txt" || fail "$*: $(cat "$out/default.txt")"
    grep -qx 'own handler, code 1: bad.weight: value at index 133 is NaN' "$out/own.txt" || fail "$*: $(cat "$out/own.txt")"
    echo "$*: runs, and aborts where it should"
  }
  run "$CXX"
  if [ -n "${OPENMP:-}" ]; then run "$CXX" "$OPENMP"; fi
  if command -v clang++ >/dev/null && ! "$CXX" --version | grep -q clang; then run clang++; fi
  ;;

*) fail "unknown way" ;;
esac
