#!/usr/bin/env bash
# Compiles every kernel file for every GPU that the build script embeds, and lists what each kernel takes:
# registers, spills, shared memory, stack. Needs no GPU.
#
#   kernels/check.sh NVCC            compile, warnings are errors, print the list
#   kernels/check.sh --check NVCC    and compare it with kernels/resources.tsv
#   kernels/check.sh --update NVCC   and write it there
#
# The list is of one compiler: other versions of it choose other registers.
set -euo pipefail
from="$PWD"
cd "$(dirname "$0")"
export LC_ALL=C
pinned="V13.0.88"
snapshot="resources.tsv"

mode="print"
case "${1:-}" in --check | --update) mode="${1#--}"; shift ;; esac
[ $# -eq 1 ] || { sed -n '2,9s/^# \{0,1\}//p' "$(basename "$0")" >&2; exit 2; }
nvcc="$1"
if [ -x "$from/$nvcc" ]; then nvcc="$from/$nvcc"; fi
version="$("$nvcc" --version)"
if [ "$mode" != print ] && ! grep -q "$pinned" <<<"$version"; then
    echo "kernels/$snapshot is of nvcc $pinned; this is $(grep -o 'V[0-9.]*$' <<<"$version")" >&2
    exit 2
fi

# The build script's own list, less what this compiler does not know.
known="$("$nvcc" --list-gpu-arch)"
archs=()
for arch in $(sed -n 's/^const MACHINE_CODE.*= \[\(.*\)\];/\1/p' build/nvcc.rs | tr -d '",'); do
    grep -qx "compute_${arch%a}" <<<"$known" && archs+=("$arch")
done
[ ${#archs[@]} -gt 0 ] || { echo "no architecture found in kernels/build/nvcc.rs" >&2; exit 2; }

work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
export nvcc work

# FILE ARCH: leaves the lines of the list, or fails with the compiler's words.
one() {
    local stem log
    stem="$(basename "$1" .cu)"
    log="$work/$stem.$2.log"
    if ! "$nvcc" -cubin -O3 -std=c++17 -lineinfo -Isrc/cuda -Werror all-warnings -Xptxas -v \
        "-gencode=arch=compute_$2,code=sm_$2" -o "$work/$stem.$2.cubin" "$1" >"$log" 2>&1; then
        { echo "$1 for sm_$2:"; cat "$log"; } >&2
        return 1
    fi
    # ptxas names a kernel, then the stack of it and of functions that it calls, then its registers.
    awk -v OFS='\t' -v stem="$stem" -v arch="sm_$2" '
        /Compiling entry function/ { split($0, part, "\047"); kernel = part[2]; stack = stores = loads = 0 }
        /Function properties for/ { current = $NF }
        /bytes stack frame/ && current == kernel { stack = $1; stores = $5; loads = $9 }
        /Used [0-9]+ registers/ {
            shared = 0
            for (i = 1; i <= NF; i++) {
                if ($i == "Used") registers = $(i + 1)
                if ($i ~ /^smem/) shared = $(i - 2)
            }
            print stem "::" kernel, arch, registers, stores, loads, shared, stack
        }' "$log" >"$work/$stem.$2.tsv"
}
export -f one

shopt -s nullglob
sources=(src/cuda/*.cu)
for source in "${sources[@]}"; do
    for arch in "${archs[@]}"; do printf '%s %s\n' "$source" "$arch"; done
done | xargs -r -P "$(nproc)" -L 1 bash -c 'one "$@"' _

found="$work/found"
parts=("$work"/*.tsv)
{
    printf 'kernel\tarch\tregisters\tspill_stores\tspill_loads\tshared\tstack\n'
    [ ${#parts[@]} -eq 0 ] || cat "${parts[@]}" | sort
} >"$found"
echo "${#sources[@]} kernel files compile for ${archs[*]} ($(grep -o 'V[0-9.]*$' <<<"$version"), ${SECONDS}s)"
case "$mode" in
    print) cat "$found" ;;
    update) cp "$found" "$snapshot" ;;
    check)
        if ! diff -u "$snapshot" "$found"; then
            echo "kernels/$snapshot differs from what is compiled; if that is meant: kernels/check.sh --update NVCC" >&2
            exit 1
        fi
        ;;
esac
