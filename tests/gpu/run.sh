#!/usr/bin/env bash
# Runs the prebuilt GPU suite and the memory checkers, and writes one report. On the machine with the GPU:
#   run.sh [FOLDER] [OPTIONS]      FOLDER: what tests/gpu/package.sh made (default: where build.json lies)
# In the repository, without a GPU:
#   tests/gpu/run.sh --check       does the committed report pass, and is it of these sources?
#
#   --frames N       frames of the steady run (default 10000)
#   --golden DIR     golden set with models/ (default FOLDER/golden)
#   --data DIR       voxel sets (default FOLDER/data)
#   --output FILE    the report (default FOLDER/report.json)
#   --parts LIST     only these of suite,memcheck,racecheck,initcheck,synccheck; what an earlier call left in
#                    the results folder goes into the report too, so that a long run can be cut in pieces
#   --results DIR    where parts leave their results (default FOLDER/results)
#   --no-sanitizer   the suite only; such a report does not pass --check
#   --brief          failures only
#
# Needs python3 (no packages), nvidia-smi, and compute-sanitizer on PATH or named in COMPUTE_SANITIZER.
# Exits with 1 when anything failed.
set -euo pipefail
usage() { sed -n '2,18s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; }
fail() { echo "error: $*" >&2; exit 2; }
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
merge="$here/report.py"

if [[ ${1:-} = --check ]]; then
    [[ $# -eq 1 ]] || { usage >&2; exit 2; }
    [[ -x $here/sources.sh ]] || fail "--check is for the repository: there is no $here/sources.sh"
    sources="$("$here/sources.sh")"
    exec python3 "$merge" check "$here/report.json" "$sources"
fi

folder="" golden="" data="" output="" results="" frames=10000 brief=()
groups=(conv points head image view swin cameras models)
all=(suite memcheck racecheck initcheck synccheck)
parts=()
sanitizer=true
while [[ $# -gt 0 ]]; do
    case "$1" in
        --help | -h) usage; exit ;;
        --no-sanitizer) sanitizer=false; shift ;;
        --brief) brief=(--brief); shift ;;
        --frames | --golden | --data | --output | --results | --parts)
            [[ $# -ge 2 ]] || fail "$1 needs a value"
            case "$1" in
                --parts) IFS=, read -ra parts <<<"$2" ;;
                *) printf -v "${1#--}" '%s' "$2" ;;
            esac
            shift 2
            ;;
        -*) echo "error: unknown option $1" >&2; usage >&2; exit 2 ;;
        *) [[ -z $folder ]] || fail "one FOLDER only: $folder or $1"; folder="$1"; shift ;;
    esac
done

if [[ -z $folder ]]; then
    folder="$here"
    if [[ ! -f $here/build.json && -f $here/../../carry/gpu/build.json ]]; then folder="$here/../../carry/gpu"; fi
fi
[[ -f $folder/build.json ]] || fail "no build.json in $folder: run tests/gpu/package.sh first, or name its folder"
folder="$(cd "$folder" && pwd)"
golden="${golden:-$folder/golden}" data="${data:-$folder/data}"
output="${output:-$folder/report.json}" results="${results:-$folder/results}"
[[ $frames =~ ^[1-9][0-9]*$ ]] || fail "--frames takes a number above 0, not $frames"
# gpu-suite leaves out what it gets no folder for; a report needs everything.
[[ -d $golden/models ]] || fail "no folder $golden/models: --golden names the golden set"
[[ -f $data/points_105k.bin ]] || fail "no $data/points_105k.bin: --data names the voxel sets of tests/gpu/package.sh"
[[ -x $folder/gpu-suite ]] || fail "$folder/gpu-suite is missing or not executable"
for part in "${parts[@]}"; do
    [[ " ${all[*]} " = *" $part "* ]] || fail "no part $part; there are: ${all[*]}"
done

if [[ ${#parts[@]} -eq 0 ]]; then
    parts=("${all[@]}")
    $sanitizer || parts=(suite)
    # The results of a call without --parts are its own.
    for part in "${all[@]}"; do rm -f "$results/$part.json" "$results/$part.log" "$results/$part-cases.json"; done
elif ! $sanitizer; then
    fail "--no-sanitizer and --parts exclude each other: use --parts suite"
fi
checker="${COMPUTE_SANITIZER:-compute-sanitizer}"
if [[ ${parts[*]} != suite ]] && ! command -v "$checker" >/dev/null; then
    fail "no compute-sanitizer: install it, name it in COMPUTE_SANITIZER, or leave it out with --no-sanitizer"
fi
mkdir -p "$results" "$(dirname "$output")"

field() { python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))[sys.argv[2]])' "$folder/build.json" "$1"; }
commit="$(field commit)" sources="$(field sources)"
if [[ $(field dirty) = True ]]; then commit="$commit and local changes"; fi
about=(--commit "$commit" --sources "$sources" "${brief[@]}")

for part in "${parts[@]}"; do
    printf '\n== %s\n' "$part"
    cases="$results/$part-cases.json" log="$results/$part.log"
    rm -f "$cases" "$results/$part.json"
    started=$SECONDS code=0
    if [[ $part = suite ]]; then
        "$folder/gpu-suite" --golden "$golden" --report "$cases" "${about[@]}" --data "$data" --frames "$frames" \
            2>&1 | tee "$log" || code="${PIPESTATUS[0]}"
    else
        # Checkers keep one core busy: the groups run side by side.
        runs=()
        ran=()
        for group in "${groups[@]}"; do
            # Pipeline after pipeline, of kernels that the other groups hold: too long under racecheck.
            if [[ $part = racecheck && $group = cameras ]]; then continue; fi
            ran+=("$group")
            name="$results/$part-$group"
            rm -f "$name-cases.json"
            "$checker" --tool "$part" --error-exitcode 9 "$folder/gpu-suite" --golden "$golden" "${about[@]}" \
                --quick --only "$group" --report "$name-cases.json" >"$name.log" 2>&1 &
            runs+=($!)
        done
        for run in "${runs[@]}"; do wait "$run" || code=$?; done
        for group in "${ran[@]}"; do cat "$results/$part-$group.log"; done | tee "$log"
        python3 "$merge" join "$cases" "${ran[@]/#/$results/$part-}" || code=$?
    fi
    python3 "$merge" part "$part" "$code" "$((SECONDS - started))" "$sources" "$results"
done
python3 "$merge" merge "$folder/build.json" "$results" "$output" "${parts[@]}"
