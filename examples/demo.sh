#!/usr/bin/env bash
# Installs what is missing, builds the examples, quantizes the demo model to INT8 and INT4, and lets
# all three tell a story.
# Everything that it makes lies in build/.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. examples/install_packages.sh
install_packages g++ cmake ninja-build libeigen3-dev nlohmann-json3-dev libcli11-dev

mkdir -p build
cmake --preset release -DEDGEQUANT_TESTS=OFF -DEDGEQUANT_BENCH=OFF >build/demo-configure.log 2>&1 ||
  { cat build/demo-configure.log >&2; exit 1; }
cmake --build --preset release --target quickstart quantize_model generate perplexity

echo
echo "== quickstart: one matrix"
build/release/examples/quickstart
demo=examples/data/stories-2m-f16.gguf bin=build/release/examples

echo
echo "== generate: a text to calibrate with, told by the model itself"
: >build/calibration.txt
for seed in $(seq 1 40); do
  "$bin/generate" "$demo" --prompt "Once upon a time" --tokens 200 --temperature 1 --seed "$seed" --json |
    sed -n 's/^  "text": "\(.*\)",$/\1/p' >>build/calibration.txt
done
wc build/calibration.txt

# make NAME OPTION...: build/stories-2m-NAME.gguf
make() {
  echo
  echo "== quantize_model: ${*:2}"
  "$bin/quantize_model" "$demo" "build/stories-2m-$1.gguf" "${@:2}"
}
make q8_0 --format q8_0
make q4_0 --format q4_0
make best --calibration build/calibration.txt --method gptq --budget 1700000
for model in "$demo" build/stories-2m-q8_0.gguf build/stories-2m-q4_0.gguf build/stories-2m-best.gguf; do
  echo
  echo "== generate and perplexity: $model, $(wc -c <"$model") bytes"
  "$bin/generate" "$model" --prompt "Once upon a time" --tokens 80
  "$bin/perplexity" "$model" examples/data/story.txt --reference "$demo"
done

# field NAME: of a JSON object, one member a line
field() { sed -n "s/^ *\"$1\": \"\{0,1\}\([^\",]*\).*/\1/p"; }
echo
printf '%-36s %9s %11s %9s  %s\n' model bytes perplexity KL "Once upon a time"
for model in "$demo" build/stories-2m-q8_0.gguf build/stories-2m-q4_0.gguf build/stories-2m-best.gguf; do
  score=$("$bin/perplexity" "$model" examples/data/story.txt --reference "$demo" --all-tokens --json)
  text=$("$bin/generate" "$model" --prompt "Once upon a time" --tokens 16 --json | sed -n 's/^  "text": "\(.*\)",$/\1/p')
  printf '%-36s %9s %11.4f %9.5f  %s\n' "$(basename "$model")" "$(wc -c <"$model")" \
    "$(field perplexity <<<"$score")" "$(field kl_mean <<<"$score")" "$text"
done
