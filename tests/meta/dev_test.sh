#!/usr/bin/env bash
# The parts of ./dev that can be tried without building: its command line, and the list of packages.
# Usage: dev_test.sh ROOT
set -euo pipefail
root=$1
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"  # it works from anywhere

wrong=0
# expect CODE TEXT ARGUMENT...: the exit code, and a part of what is said.
expect() {
  local code=0 wanted=$1 text=$2
  shift 2
  "$root/dev" "$@" >answer 2>&1 || code=$?
  if ((code != wanted)) || ! grep -qF -- "$text" answer; then
    printf './dev %s: ended with %s, not %s, or did not say "%s":\n' "$*" "$code" "$wanted" "$text"
    cat answer
    wrong=1
  fi
}
expect 0 "usage: ./dev COMMAND" help
expect 0 "usage: ./dev COMMAND"
expect 2 'there is no command "tset"' tset
expect 2 'there is no preset "relase"' build relase
expect 2 'there are no tests of "release"' test release
expect 2 "which bench?" bench
expect 2 "whole number" fuzz line_codec forever
expect 2 "cross takes a target" cross
expect 2 'there is no target "arm65"' cross arm65
expect 2 'there is no shape "statik"' cross arm64 statik
expect 2 "amd64 is built static only" cross amd64 dynamic
expect 2 "which image?" image raspberry
expect 2 "fmt takes --check" fmt --chekc

for script in "$root/dev" "$root/.ci/run" "$root"/tests/*.sh "$root"/tests/meta/*.sh "$root"/cross/*.sh \
  "$root"/firmware/*/*.sh; do
  bash -n "$script" || wrong=1
done
for script in dev .ci/run cross/{build,sizes,sysroot}.sh firmware/debian/test.sh firmware/image/{build.sh,test.py}; do
  [[ -x $root/$script ]] || { echo "$script is not executable"; wrong=1; }
done

# Package names only, one a line, none twice in a section.
awk '/^[[:space:]]*(#|$)/ { next }
     /^\[[a-z0-9-]+\]$/ { section = $0; next }
     !section || !/^[a-z0-9][a-z0-9.+-]+$/ || seen[section, $0]++ { print "packages.txt:" FNR ": " $0; bad = 1 }
     END { exit bad }' "$root/packages.txt" || wrong=1

exit "$wrong"
