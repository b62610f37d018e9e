#!/usr/bin/env bash
# Compiles and runs the C and C++ users of the library: link.sh TARGET_DIR
set -euo pipefail
cd "$(dirname "$0")/../.."
target="$1"
out="$(mktemp -d)"
trap 'rm -rf "$out"' EXIT
system_libraries=(-lgcc_s -lutil -lrt -lpthread -lm -ldl -lc)

cc -std=c99 -Wall -Wextra -Wpedantic -Werror -Icapi/include capi/examples/c/version.c \
  -L"$target" -lbevfusion_capi -Wl,-rpath,"$PWD/$target" -o "$out/shared"
"$out/shared"
cc -std=c99 -Wall -Wextra -Wpedantic -Werror -Icapi/include capi/examples/c/version.c \
  "$target/libbevfusion_capi.a" "${system_libraries[@]}" -o "$out/static"
"$out/static"
c++ -std=c++17 -Wall -Wextra -Wpedantic -Werror -x c++ -Icapi/include -fsyntax-only capi/include/bevfusion.h
printf '#include <bevfusion.h>\n#include <bevfusion.h>\nint main() { return bev_abi_version() == BEV_ABI_VERSION ? 0 : 1; }\n' > "$out/twice.cpp"
c++ -std=c++17 -Wall -Wextra -Wpedantic -Werror -Icapi/include "$out/twice.cpp" \
  -L"$target" -lbevfusion_capi -Wl,-rpath,"$PWD/$target" -o "$out/twice"
"$out/twice"
echo "C ABI: shared, static and C++ users run"
