#!/usr/bin/env bash
# Every architecture beside Hugging Face transformers, from a checkpoint: our perplexity of a tiny
# random one may differ by a part in 20,000.
#   architectures.sh QUANTIZE_MODEL PERPLEXITY TOKENIZER.model TEXT
# Needs Python with torch, transformers and sentencepiece, of 2 GB: it is no part of the tests, and
# PYTHON names the interpreter. Exit status 1 if a row differs.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
failed=0
while read -r name expected; do
  "$1" "$folder/$name" "$folder/$name.gguf" --format f32 >/dev/null
  found=$("$2" "$folder/$name.gguf" "$4" --all-tokens --context 256 --max-tokens 510 --json |
    sed -n 's/.*"perplexity": \([0-9.]*\).*/\1/p')
  verdict=$(awk -v a="$found" -v b="$expected" \
    'BEGIN { d = a / b - 1; print (d < 0 ? -d : d) < 5e-5 ? "ok" : "FAILED" }')
  printf '%-14s transformers %s, ours %s %s\n' "$name" "$expected" "$found" "$verdict"
  [ "$verdict" = ok ] || failed=1
done < <("${PYTHON:-python3}" "$here/tiny_checkpoints.py" "$3" "$4" "$folder" 2>"$folder/log" ||
  { tail -3 "$folder/log" >&2; echo "failed 0"; })
exit $failed
