#!/usr/bin/env bash
# Compiles every C++ block of README.md and runs its command lines. A block without main() becomes a
# function of one program, behind what a comment `<!-- given: CODE -->` before it declares; those
# behind `<!-- run -->` are called. Shell blocks behind a comment that begins with `not run` are
# skipped, and of the two scripts that build everything only the syntax is checked.
# Expects SOURCE, BUILD (with the examples), CXX, EIGEN.
set -euo pipefail
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
mkdir -p "$out/here/build" "$out/blocks"
for name in examples include tests CMakeLists.txt .cmake LICENSE README.md; do ln -s "$SOURCE/$name" "$out/here/$name"; done
export PATH="$BUILD/examples:$PATH"
[ -x "$BUILD/examples/quantize_model" ] || { echo "the examples are not built"; exit 77; }

# blocks/N.LANGUAGE, and blocks/N.comment with the comment before it.
awk -v out="$out/blocks" '
  /^<!--/ { comment = $0; next }
  /^```[a-z]+$/ { language = substr($0, 4); file = sprintf("%s/%02d.%s", out, ++n, language); printf "" >file
                  print comment >(out "/" sprintf("%02d", n) ".comment"); inside = 1; next }
  /^```$/ { inside = 0; comment = ""; close(file); next }
  inside { print >file }
  !inside && NF { comment = "" }' "$SOURCE/README.md"
[ "$(ls "$out/blocks"/*.cpp | wc -l)" -ge 5 ] || { echo "README.md has too few C++ blocks: the reader is broken"; exit 1; }

{
  echo '#include <edgequant/edgequant.hpp>'
  echo '#include <iostream>'
  echo 'namespace eq = edgequant;'
} >"$out/all.cpp"
calls=
for block in "$out/blocks"/*.cpp; do
  name=$(basename "$block" .cpp) comment=$(cat "${block%.cpp}.comment")
  if grep -q 'int main()' "$block"; then
    "$CXX" -std=c++20 -Wall -Wextra -Werror -I"$SOURCE/include" -isystem "$EIGEN" "$block" -o "$out/program"
    "$out/program" >"$out/printed.txt"
    [ "$(wc -l <"$out/printed.txt")" -eq 3 ] || { echo "the first program prints something else"; exit 1; }
    continue
  fi
  given=$(sed -n 's/^<!-- given: \(.*\) -->$/\1/p' <<<"$comment")
  { echo "void block_$name() {"; echo "$given"; cat "$block"; echo "}"; } >>"$out/all.cpp"
  [ "$comment" = "<!-- run -->" ] && calls+="block_$name();"
done
echo "int main() { $calls }" >>"$out/all.cpp"
flags=(-std=c++20 -I"$SOURCE/include" -isystem "$EIGEN")
"$CXX" "${flags[@]}" -Wall -Wextra -Werror -Wno-unused -fsyntax-only "$out/all.cpp"
"$CXX" "${flags[@]}" -w -O1 -march=native "$out/all.cpp" -o "$out/all" # without optimisation GPTQ takes minutes
cd "$out/here"
"$out/all" >/dev/null
echo "C++ blocks: compiled, those that are marked were run"

lines=0
for block in "$out/blocks"/*.sh; do
  if grep -q '^<!-- not run' "${block%.sh}.comment"; then bash -n "$block" && continue; fi
  while IFS= read -r line; do
    case $line in
    "bash examples/demo.sh"* | "bash tests/run.sh"*) set -- $line; bash -n "$2" ;;
    *) bash -c "$line" >"$out/printed.txt" 2>&1 || { echo "failed: $line"; cat "$out/printed.txt"; exit 1; } ;;
    esac
    lines=$((lines + 1))
  done <"$block"
done
[ "$lines" -ge 15 ] || { echo "only $lines command lines: the reader is broken"; exit 1; }
echo "$lines command lines ran"
