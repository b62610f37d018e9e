#!/usr/bin/env bash
# Times frames and dense networks on this machine's CPU; raw samples and a table go to benches/results/cpu.
# usage: benches/cpu.sh [DATAROOT]      (DATAROOT: a nuScenes folder with sample ca9a282c; without: a made-up frame)
# Needs python3 with numpy and onnxruntime on PATH, or its path in PYTHON.
set -euo pipefail
cd "$(dirname "$0")/.."
data=()
if [ $# -gt 0 ]; then data=(--dataroot "$1" --sample ca9a282c); fi
python="${PYTHON:-python3}"
threads="${THREADS:-$(nproc)}"
export RAYON_NUM_THREADS="$threads"
out=benches/results/cpu
commit="$(git rev-parse HEAD 2>/dev/null || echo unknown)"
if [ -n "$(git status --porcelain -- Cargo.lock Cargo.toml kernels runtime benches/src 2>/dev/null)" ]; then commit="$commit and local changes"; fi

cargo build --release -p bevfusion-benches -p bevfusion-tests
mkdir -p "$out"
rm -f "$out/frames.json" "$out/dense.json"
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
for model in nuscenes_L nuscenes_CL; do
  # Values by formula: the networks do the same operations whatever the values.
  target/release/formula-weights --model-toml "runtime/src/config/models/$model.toml" -o "$work/$model"
  target/release/frame --weights "$work/$model" "${data[@]}" --threads "$threads" \
    --warmup 2 --iterations "${ITERATIONS:-15}" --commit "$commit" --json "$out/frames.json"
  target/release/dense --weights "$work/$model" --onnx "$work/onnx-$model" --threads "$threads" \
    --runs "${RUNS:-15}" --peer "$python benches/onnxruntime_dense.py" --commit "$commit" --json "$out/dense.json"
done
"$python" benches/table.py "$out" > "$out/README.md"
