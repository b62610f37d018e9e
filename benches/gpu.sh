#!/usr/bin/env bash
# Times stages and frames on the GPU of this machine, and peers beside them: gpu.sh [FOLDER] [OPTIONS]
# FOLDER is what tests/gpu/package.sh made (default: where build.json lies).
#
#   --frames N        frames of the steady run (default 10000)
#   --output FILE     the raw result (default benches/results/gpu/DEVICE.json in the repository, else FOLDER/DEVICE.json);
#                     the picture of a frame lies beside it as DEVICE-timeline.svg
#   --no-peer         without PyTorch
#   --compile         PyTorch a second time behind torch.compile (minutes)
#   --peers DIR       also time the sparse encoder of spconv with DIR/run_all.py, where spconv is installed
#   --peer-data DIR   its voxel sets, voxels_*.npz (default DIR/../data/voxels)
#
# Needs python3; peers need torch (PYTHON names the interpreter that has it). A peer that cannot run is named in
# the result with the reason. Exits with 1 when a case of the steady run failed.
# The table: benches/gpu_table.py benches/results/gpu > benches/results/gpu/README.md
set -euo pipefail
usage() { sed -n '2,15s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; }
fail() { echo "error: $*" >&2; exit 2; }
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
python="${PYTHON:-python3}"

folder="" frames=10000 output="" peers="" peer_data="" dense=true compile=false
while [[ $# -gt 0 ]]; do
    case "$1" in
        --help | -h) usage; exit ;;
        --no-peer) dense=false; shift ;;
        --compile) compile=true; shift ;;
        --frames | --output | --peers | --peer-data)
            [[ $# -ge 2 ]] || fail "$1 needs a value"
            name="${1#--}"
            printf -v "${name//-/_}" '%s' "$2"
            shift 2
            ;;
        -*) echo "error: unknown option $1" >&2; usage >&2; exit 2 ;;
        *) [[ -z $folder ]] || fail "one FOLDER only: $folder or $1"; folder="$1"; shift ;;
    esac
done
if [[ -z $folder ]]; then
    folder="$here"
    if [[ ! -f $here/build.json ]]; then folder="$here/../carry/gpu"; fi
fi
[[ -f $folder/build.json ]] || fail "no build.json in $folder: run tests/gpu/package.sh first, or name its folder"
folder="$(cd "$folder" && pwd)"
[[ -x $folder/gpu-suite ]] || fail "$folder/gpu-suite is missing or not executable"
[[ -f $folder/data/points_105k.bin ]] || fail "no $folder/data/points_105k.bin: package again with BEVFUSION_DATA_DIR set"
[[ $frames =~ ^[1-9][0-9]*$ ]] || fail "--frames takes a number above 0, not $frames"
[[ -z $peers || -f $peers/run_all.py ]] || fail "no run_all.py in $peers"

work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT

# A case that fails, such as the limit on host time, is in the result beside the times.
code=0
"$folder/gpu-suite" --only times,steady --data "$folder/data" --frames "$frames" --brief \
    --report "$work/ours.json" --timeline "$work/timeline.svg" || code=$?
[[ -f $work/ours.json ]] || fail "gpu-suite ended with exit code $code and no report"
"$python" "$folder/report.py" facts >"$work/gpu.json"

# NAME COMMAND...: keeps what it printed, or the last line of why not.
peer() {
    local name="$1"
    shift
    echo "peer $name"
    if ! "$@" >"$work/$name.json" 2>"$work/$name.log"; then
        rm -f "$work/$name.json"
        tail -n 1 "$work/$name.log" >"$work/$name.why"
        echo "peer $name did not run: $(cat "$work/$name.why")" >&2
    fi
}
# shellcheck disable=SC2329  # called by peer
spconv() {
    "$python" -c 'import spconv' || return
    # With "=": the value begins with a dash.
    "$python" "$peers/run_all.py" --data "${peer_data:-$peers/../data/voxels}" --out "$work/sparse-out.json" \
        --parts sparse --sparse-args=--quick >&2 || return
    cat "$work/sparse-out.json"
}
if $dense; then
    peer dense "$python" "$here/peers/dense_peer.py"
    if $compile; then peer dense_compiled "$python" "$here/peers/dense_peer.py" --compile; fi
fi
if [[ -n $peers ]]; then peer sparse spconv; fi

default="$folder"
if [[ ! -f $here/build.json ]]; then default="$here/results/gpu"; fi
"$python" "$here/gpu_result.py" "$folder/build.json" "$work" "${output:-$default}"
exit "$code"
