#!/usr/bin/env bash
# Every configuration that is shipped or shown loads: config/*.lua, and the code blocks of the Markdown pages that are
# whole configurations (```lua with a `return {` at the start of a line).
# Usage: configurations_test.sh ROOT PORTOLAN, or what runs a PORTOLAN of another architecture before it
set -euo pipefail
root=$1
portolan=("${@:2}")
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"

wrong=0
checked=0
check() {
  checked=$((checked + 1))
  local code=0
  "${portolan[@]}" check "$1" >answer 2>&1 || code=$?
  if ((code)); then
    printf '%s: portolan check ended with %s:\n' "$2" "$code"
    sed 's/^/    /' answer
    wrong=1
  fi
}

for file in "$root"/config/*.lua; do check "$file" "$file"; done
((checked >= 4)) || { echo "only $checked files in config/"; wrong=1; }

while IFS= read -r page; do
  rm -f block.*.lua
  awk '/^```/ { if (on) { close(name); on = 0 } else if ($0 == "```lua") { on = 1; name = "block." FNR ".lua" } next }
       on { print > name }' "$page"
  for block in block.*.lua; do
    if [[ -f $block ]] && grep -q '^return {' "$block"; then
      line=${block#block.}
      check "$block" "$page:${line%.lua}"
    fi
  done
done < <(find "$root" \( -path "$root/build" -o -path "$root/.git" \) -prune -o -name '*.md' -print)

# A test that cannot fail proves nothing: what is wrong is refused.
printf 'return { services = { { plugin = "echo", idle_timout = "5s" } } }\n' >wrong.lua
if "${portolan[@]}" check wrong.lua >answer 2>&1; then
  echo "portolan check took an unknown key"
  wrong=1
fi

((wrong == 0)) && echo "$checked configurations load"
exit "$wrong"
