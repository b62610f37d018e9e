#!/usr/bin/env bash
# Holds the exported ONNX files of small models to onnx's checker and to onnxruntime: check.sh TARGET_DIR
# TARGET_DIR holds the built `onnx-cases`; python on PATH needs onnx, onnxruntime, numpy, safetensors.
set -euo pipefail
target="$1"
here="$(dirname "$0")"
out="$(mktemp -d)"
trap 'rm -rf "$out"' EXIT
"$target/onnx-cases" "$out"
python "$here/check.py" "$out"
