#!/usr/bin/env bash
# cross/build.sh TARGET SHAPE [GOAL...]: builds one shape of the program for one target in build/cross/TARGET-SHAPE, on
# the sysroot build/cross/sysroot-TARGET. `./dev cross` prepares both and calls this.
set -euo pipefail
root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
target=$1 shape=$2
shift 2
folder=$root/build/cross/$target-$shape
log=$folder.configure.log

# Always said: cmake would remember the choice of another day.
plugins=(-UPORTOLAN_PLUGINS)
[[ -z ${PORTOLAN_PLUGINS:-} ]] || plugins=(-DPORTOLAN_PLUGINS="$PORTOLAN_PLUGINS")
# -O2: smaller than CMake's -O3, and quicker to compile.
cmake -S "$root" -B "$folder" -G Ninja -DCMAKE_BUILD_TYPE=Release -DCMAKE_CXX_FLAGS_RELEASE="-O2 -DNDEBUG" \
  -DCMAKE_TOOLCHAIN_FILE="$root/cross/toolchain.cmake" \
  -DPORTOLAN_TARGET="$target" -DPORTOLAN_SYSROOT="$root/build/cross/sysroot-$target" -DPORTOLAN_SHAPE="$shape" \
  "${plugins[@]}" >"$log" 2>&1 ||
  { tail -n 30 "$log" >&2; echo "cross/build.sh: cmake could not configure $target $shape (all of it: $log)" >&2; exit 1; }
quiet=()
[[ -t 1 ]] || quiet=(-- --quiet)
cmake --build "$folder" --target "${@:-portolan}" "${quiet[@]}"
