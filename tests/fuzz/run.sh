#!/usr/bin/env bash
# Fuzzes the parsers: tests/fuzz/run.sh SECONDS [TARGET...]
#
# Builds the targets (all, or those named), runs each for SECONDS and prints a line for each. Exits with 1 when
# an input crashed, hung for 5 s, leaked or asked for too much memory; that input lies in tests/fuzz/artifacts.
#
# Needs, besides rustup and a C++ compiler:
#   rustup toolchain install nightly --profile minimal     (FUZZ_TOOLCHAIN names another one)
#   cargo install cargo-fuzz --locked
# Network: crates.io only, the versions of tests/fuzz/Cargo.lock. Only tests/fuzz/target and tests/fuzz/artifacts
# are written, both ignored by git. Inputs found on the way are kept when FUZZ_CORPUS names a folder for them.
set -euo pipefail

usage="usage: $0 SECONDS [TARGET...]"
seconds=${1:?$usage}
[[ $seconds =~ ^[1-9][0-9]*$ ]] || { echo "$usage" >&2; exit 2; }
shift
cd "$(dirname "$0")"
toolchain=${FUZZ_TOOLCHAIN:-nightly}
known=$(sed -n '/^\[\[bin\]\]/,$ s/^name = "\(.*\)"/\1/p' Cargo.toml)
if [[ $# -eq 0 ]]; then
    # shellcheck disable=SC2086  # names are words
    set -- $known
fi
for target; do
    grep -qx -- "$target" <<<"$known" || { echo "no target $target; there are:" $known >&2; exit 2; }
done

# A build would otherwise bring an outdated lock file up to date, which is for a commit to do.
cargo "+$toolchain" metadata --locked --format-version 1 >/dev/null || {
    echo "tests/fuzz/Cargo.lock is outdated: run cargo update --workspace in tests/fuzz" >&2
    exit 2
}
host=$(rustc "+$toolchain" -vV | sed -n 's/^host: //p')
for target; do
    cargo "+$toolchain" fuzz build --fuzz-dir . --target "$host" --target-dir target "$target"
done

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
found=${FUZZ_CORPUS:-$scratch/corpus}
log=$scratch/log
stat() { sed -n "s/^stat::$1: *//p" "$log"; }
# The last count of this name in a status line of libFuzzer.
count() { sed -n "s/^#.* $1: \([0-9]*\).*/\1/p" "$log" | tail -n 1; }
row() { printf '%-14s %8s %11s %8s %9s %9s %8s  %s\n' "$@"; }

row target seconds executions exec/s edges features peak_MB result
failed=0
for target; do
    mkdir -p "$found/$target" "artifacts/$target"
    options=(-max_total_time="$seconds" -max_len=65536 -timeout=5 -rss_limit_mb=1024 -malloc_limit_mb=512
        -print_final_stats=1 -artifact_prefix="artifacts/$target/")
    [[ -f dictionaries/$target.dict ]] && options+=(-dict="dictionaries/$target.dict")
    started=$SECONDS
    code=0
    "target/$host/release/$target" "${options[@]}" "$found/$target" "corpus/$target" >"$log" 2>&1 || code=$?
    case $code in
        0) result=clean ;;
        70) result=timeout ;;
        71) result="out of memory" ;;
        *) result="crash (exit code $code)" ;;
    esac
    row "$target" $((SECONDS - started)) "$(stat number_of_executed_units)" "$(stat average_exec_per_sec)" \
        "$(count cov)" "$(count ft)" "$(stat peak_rss_mb)" "$result"
    if [[ $code -ne 0 ]]; then
        failed=1
        tail -n 60 "$log"
    fi
done
exit $failed
