#!/usr/bin/env bash
# Prints one SHA-256 over paths and contents of all that decides what a GPU report says: kernels, driver, build
# script, CUDA engine, GPU suite. Files that git does not track do not count.
#
#   tests/gpu/sources.sh           the hash
#   tests/gpu/sources.sh --paths   the files and folders that it covers, one a line
set -euo pipefail
cd "$(dirname "$0")/../.."
export LC_ALL=C
paths=(kernels/src/cuda kernels/src/driver kernels/src/nvrtc kernels/build runtime/src/cuda tests/src/gpu
    tests/src/bin/gpu-suite.rs)

case "${1:-}" in
    "") ;;
    --paths) printf '%s\n' "${paths[@]}"; exit ;;
    *) sed -n '2,6s/^# \{0,1\}//p' tests/gpu/sources.sh; [[ $1 = --help ]] && exit 0; exit 2 ;;
esac
git rev-parse --is-inside-work-tree >/dev/null 2>&1 || { echo "$PWD is no git checkout: clone the repository" >&2; exit 2; }

mapfile -d '' -t files < <(git ls-files -z -- "${paths[@]}" | sort -z)
present=()
for file in "${files[@]}"; do
    # One that was removed and not committed yet counts as gone.
    if [[ -f $file ]]; then present+=("$file"); fi
done
[[ ${#present[@]} -gt 0 ]] || { echo "git tracks none of: ${paths[*]}" >&2; exit 2; }
sha256sum -- "${present[@]}" | sha256sum | cut -d ' ' -f 1
