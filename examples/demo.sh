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
for format in q8_0 q4_0; do
  echo
  echo "== quantize_model: the demo model as $format"
  build/release/examples/quantize_model examples/data/stories-2m-f16.gguf "build/stories-2m-$format.gguf" --format "$format"
done
for model in examples/data/stories-2m-f16 build/stories-2m-q8_0 build/stories-2m-q4_0; do
  echo
  echo "== generate and perplexity: $model.gguf, $(wc -c <"$model.gguf") bytes"
  build/release/examples/generate "$model.gguf" --prompt "Once upon a time" --tokens 80
  build/release/examples/perplexity "$model.gguf" examples/data/story.txt --reference examples/data/stories-2m-f16.gguf
done
