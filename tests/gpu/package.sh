#!/usr/bin/env bash
# Puts all that runs on a machine with a GPU into one folder: tests/gpu/package.sh [FOLDER]   (default: carry/gpu)
#
# gpu-suite and bevfusion (release, stripped), voxel sets, golden models, the scripts that run them, and
# build.json, which says what they were built from. The folder then needs neither toolkit nor repository:
#   FOLDER/run.sh      the suite and its report          FOLDER/gpu.sh      the times
#
# Needs cargo, nvcc (BEVFUSION_NVCC, else CUDA_HOME, CUDA_PATH or PATH, as docs/kernels.md says; BEVFUSION_NVCC=none
# for NVRTC on the other machine) and python3 with numpy (PYTHON names another interpreter).
# Reads BEVFUSION_DATA_DIR (default ../shared/data) and BEVFUSION_GOLDEN_DIR (default ../shared/golden).
set -euo pipefail
usage() { sed -n '2,10s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; }
fail() { echo "error: $*" >&2; exit 2; }
case "${1:-}" in
    --help | -h) usage; exit ;;
    -*) usage >&2; exit 2 ;;
esac
[[ $# -le 1 ]] || { usage >&2; exit 2; }
folder="$(realpath -m -- "${1:-$(dirname "$0")/../../carry/gpu}")"
cd "$(dirname "$0")/../.."
python="${PYTHON:-python3}"
data="${BEVFUSION_DATA_DIR:-../shared/data}/voxels"
golden="${BEVFUSION_GOLDEN_DIR:-../shared/golden}/models"

[[ -d $data ]] || fail "no folder $data: BEVFUSION_DATA_DIR names the one with voxels/"
[[ -d $golden ]] || fail "no folder $golden: BEVFUSION_GOLDEN_DIR names the one with models/"
compgen -G "$golden/*L.config.json" >/dev/null || fail "$golden has no models (*-L.*, *-CL.*)"
"$python" -c 'import numpy' 2>/dev/null || fail "$python has no numpy: pip install numpy, or set PYTHON"

mapfile -t covered < <(tests/gpu/sources.sh --paths)
untracked="$(git ls-files --others --exclude-standard -- "${covered[@]}")"
[[ -z $untracked ]] || fail "git does not track these, so the report could not speak of them (git add):"$'\n'"$untracked"

# As the build script looks for it.
nvcc="${BEVFUSION_NVCC:-}"
for home in "${CUDA_HOME:-}" "${CUDA_PATH:-}"; do
    if [[ -z $nvcc && -n $home && -x $home/bin/nvcc ]]; then nvcc="$home/bin/nvcc"; fi
done
nvcc="${nvcc:-$(command -v nvcc || true)}"
[[ -n $nvcc ]] || fail "no nvcc found: set BEVFUSION_NVCC to its path, or to none to compile on the GPU's machine"
version="none"
if [[ $nvcc != none ]]; then
    version="$("$nvcc" --version | grep -o 'V[0-9][0-9.]*$')" || fail "$nvcc --version does not answer with a version"
fi

# Taken before the build: what changes during it makes the hash, and so the report, outdated.
sources="$(tests/gpu/sources.sh)"
commit="$(git rev-parse HEAD)"
dirty=false
if [[ -n $(git status --porcelain -- Cargo.lock Cargo.toml kernels runtime tests/Cargo.toml tests/src training) ]]; then
    dirty=true
fi

BEVFUSION_NVCC="$nvcc" cargo build --release -p bevfusion-tests --bin gpu-suite
BEVFUSION_NVCC="$nvcc" cargo build --release -p bevfusion --bin bevfusion
target="${CARGO_TARGET_DIR:-target}/release"

mkdir -p "$folder/data" "$folder/golden/models" "$folder/peers"
# A report of an earlier build must not pass for one of this.
rm -rf "$folder/results" "$folder/report.json"
rm -f "$folder"/data/*.bin "$folder"/golden/models/*
for name in gpu-suite bevfusion; do strip -o "$folder/$name" "$target/$name"; done
"$python" tests/gpu/voxels.py "$data" "$folder/data"
for suffix in config.json f32_vs_f64.json inputs.safetensors safetensors weights.json; do
    cp "$golden"/*[LC]."$suffix" "$folder/golden/models/"
done
chmod -R u+w "$folder/golden"
cp tests/gpu/run.sh tests/gpu/report.py benches/gpu.sh benches/gpu_result.py "$folder/"
cp benches/peers/dense_peer.py "$folder/peers/"
printf '{\n  "commit": "%s",\n  "dirty": %s,\n  "sources": "%s",\n  "nvcc": "%s"\n}\n' \
    "$commit" "$dirty" "$sources" "$version" >"$folder/build.json"
cat "$folder/build.json"
du -sh "$folder"
