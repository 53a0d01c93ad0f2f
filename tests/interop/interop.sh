#!/usr/bin/env bash
# Other people's software reads what we write. Both judges come from npm, into the build folder.
#   interop.sh llama SOURCE QUANTIZE_MODEL   stock llama.cpp loads our GGUF files and evaluates them
#   interop.sh engine SOURCE QUANTIZE_MODEL GENERATE PERPLEXITY   llama.cpp and our engine agree
#   interop.sh speed ENGINE_BENCH MODEL.gguf...   tokens per second beside llama.cpp's; no test
#   interop.sh quality QUANTIZE_MODEL MODEL CALIBRATION TEXT SIZE|OTHER.gguf...   KL divergence by
#     method and plan at equal size; no test
#   interop.sh onnxruntime MATMUL_NBITS      ONNX Runtime multiplies with our INT4 codes
# Runs in the folder of the packages. Exit status 77, with the reason, where they cannot be had.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
skip() { echo "skipped: $*"; exit 77; }

install_judges() {
  if ! command -v node >/dev/null || ! command -v npm >/dev/null; then skip "no Node.js"; fi
  local version
  version=$(node -p 'process.versions.node')
  [ "${version%%.*}" -ge 20 ] || skip "Node.js $version, but 20 or newer is needed"
  [ "$(uname -sm)" = "Linux x86_64" ] || skip "no packages for $(uname -sm)"
  cp "$here"/*.mjs .
  cmp -s "$here/package.json" installed.json && return # what is there is reused
  cp "$here/package.json" .
  timeout 240 npm install --ignore-scripts --omit=optional --no-audit --no-fund --no-package-lock \
    --fetch-retries=1 --fetch-retry-mintimeout=2000 --fetch-timeout=30000 >npm.log 2>&1 || skip "npm install failed: $(grep -m1 -i error npm.log || echo timeout)"
  cp package.json installed.json
}

# each_model SOURCE QUANTIZE_MODEL FUNCTION: calls FUNCTION MODEL after writing MODEL.FORMAT.gguf for
# the models that are there; the checkpoint also proves the way from safetensors and its tokenizer.
each_model() {
  local model input format
  for model in stories-2m-f16 stories-2m stories260K-f32; do
    case $model in
    stories-2m-f16) input=$1/examples/data/$model.gguf ;;
    stories-2m) input=$1/../shared/data/models/$model ;;
    stories260K-f32) input=$1/../shared/data/models/stories260K/$model.gguf ;;
    esac
    [ -e "$input" ] || continue
    for format in f32 f16 q8_0 q5_0 q4_0 $(searched "$model" | sed 's/=.*//'); do
      "$2" "$input" "$model.$format.gguf" --format "$format" >"$model.$format.log"
    done
    "$3" "$model"
  done
}

# The other formats that llama.cpp's package knows, and by how much the perplexity of the demo
# model, whose rows they fit, may change.
searched() {
  if [ "$1" != stories-2m-f16 ]; then return; fi
  printf '%s\n' q4_1=0.02 q5_1=0.02 q2_K=0.15 q3_K=0.05 q4_K=0.02 q5_K=0.02 q6_K=0.02 \
    iq4_nl=0.03 iq4_xs=0.03 mxfp4=0.05 tq1_0=1 tq2_0=0.5 Q4_K_M=0.02
}

judge_files() {
  local more=() row
  for row in $(searched "$1"); do more+=("${row#*=}" "$1.${row%=*}.gguf"); done
  node llama.mjs "$story" "$1.f32.gguf" 0.001 "$1.f16.gguf" 0.02 "$1.q8_0.gguf" 0.05 "$1.q5_0.gguf" \
    0.1 "$1.q4_0.gguf" "${more[@]}"
}

# Activations that meet super-blocks have one scale for 256 of them in llama.cpp, for 32 in ours.
judge_engine() {
  local more=() row
  for row in $(searched "$1"); do more+=(0.01 "$1.${row%=*}.gguf"); done
  node engine.mjs "$generate" "$perplexity" "$story" 0.0005 "$1.f32.gguf" 0.0005 "$1.f16.gguf" \
    0.005 "$1.q8_0.gguf" 0.005 "$1.q5_0.gguf" 0.005 "$1.q4_0.gguf" "${more[@]}"
}

install_judges
case $1 in
llama) story=$2/examples/data/story.txt && each_model "$2" "$3" judge_files ;;
engine) story=$2/examples/data/story.txt generate=$4 perplexity=$5 && each_model "$2" "$3" judge_engine ;;
speed) node speed.mjs "${@:2}" ;;
quality) node quality.mjs "${@:2}" ;;
onnxruntime)
  "$2" matmul_nbits
  node onnxruntime.mjs matmul_nbits
  ;;
esac
