#!/usr/bin/env bash
# PORTOLAN_PLUGINS: a plugin that is not named leaves nothing in what is built, and one that does not exist is refused.
# Usage: plugins_test.sh ROOT CMAKE [CMAKE OPTIONS]
set -euo pipefail
root=$1 cmake=$2
shift 2
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

configure() { "$cmake" -S "$root" -B "$folder/build" -G Ninja -DPORTOLAN_TESTS=OFF "$@" >"$folder/log" 2>&1; }

configure "$@" -DPORTOLAN_PLUGINS=echo || { cat "$folder/log"; exit 1; }
list=$folder/build/generated/plugins/built_in.def
[[ $(grep -c '^PORTOLAN_PLUGIN(' "$list") == 1 ]] && grep -qx 'PORTOLAN_PLUGIN(echo)' "$list" ||
  { echo "the list of PORTOLAN_PLUGINS=echo is:"; cat "$list"; exit 1; }
grep -q 'plugins/echo/echo_plugin.cc' "$folder/build/build.ninja" || { echo "echo is not built"; exit 1; }
if grep -q 'plugins/binary/' "$folder/build/build.ninja"; then
  echo "binary was not asked for, and is built"
  exit 1
fi

if configure "$@" "-DPORTOLAN_PLUGINS=echo;ecko"; then
  echo "a plugin that does not exist was taken"
  exit 1
fi
grep -q '"ecko"' "$folder/log" || { echo "what is said of an unknown plugin does not name it:"; cat "$folder/log"; exit 1; }
