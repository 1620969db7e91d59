#!/usr/bin/env bash
# The rules of the tree that CONTRIBUTING.md states: names, sizes, who may include what, and that links lead somewhere.
# Usage: tree_test.sh ROOT. Says everything that is wrong, not the first only.
set -euo pipefail
cd "$1"

wrong=0
complain() {
  printf '%s\n' "$*"
  wrong=1
}

# Files of the project: not what was built, nor what belongs to git.
files() { find . \( -path ./build -o -path ./.git -o -path ./.cache \) -prune -o -type f -print; }
mapfile -t all < <(files | sort)
((${#all[@]} > 50)) || complain "only ${#all[@]} files below $PWD: this test looks at the wrong folder"

for file in "${all[@]}"; do
  if [[ $file/ =~ [/_-](utils?|misc|common|helpers?)[./_-] ]]; then
    complain "$file: a name that says nothing; call it by what is in it"
  fi
  case $file in
    *.cc | *.h | *.lua | *.sh | *.sql | */dev)
      lines=$(wc -l <"$file")
      ((lines <= 600)) || complain "$file: $lines lines, more than 600: perhaps two rooms in one"
      ;;
  esac
  case $file in
    ./core/event/*) ;;
    *.cc | *.h)
      if grep -nE '^[[:space:]]*#[[:space:]]*include[[:space:]]*[<"](event2/|event\.h|ev(http|dns|util|rpc)\.h)' "$file"; then
        complain "$file: includes libevent; only core/event/ does"
      fi
      ;;
  esac
done

read -ra plugins < <(sed -n 's/^set(portolan_plugins_all \(.*\))$/\1/p' plugins/list.cmake)
((${#plugins[@]})) || complain "plugins/list.cmake names no plugin"
for plugin in "${plugins[@]}"; do
  [[ -d plugins/$plugin ]] || complain "plugins/list.cmake: there is no folder plugins/$plugin"
done
for folder in plugins/*/; do
  name=$(basename "$folder")
  [[ -f $folder/README.md ]] || complain "$folder: has no README.md"
  [[ " ${plugins[*]} " == *" $name "* ]] || complain "$folder: not in plugins/list.cmake"
  [[ -d tests/plugins/$name ]] || complain "$folder: has no tests in tests/plugins/$name"
done

# The README's tables of keys and their defaults say what the schema says.
while IFS=$'\t' read -r key fallback; do
  row=$(grep -E "^\| \`([a-z_]+\.)?$key\` \|" README.md || true)
  if [[ -z $row ]]; then
    complain "README.md: the configuration's tables have no key $key"
  elif [[ -n $fallback && $row != *"| \`$fallback\` |"* ]]; then
    complain "README.md: the default of $key is $fallback"
  fi
done < <(perl -0777 -ne '
  while (/\{\.key = "(\w+)",(.*?)\.help/sg) {
    my ($key, $rest) = ($1, $2);
    print "$key\t", $rest =~ /\.fallback = "([^"]*)"/ ? $1 : "", "\n";
  }' core/config/core_schema.cc core/config/{limit,proxy,store}_schema.h)

# Links between pages.
for file in "${all[@]}"; do
  [[ $file == *.md ]] || continue
  # shellcheck disable=SC2016  # backticks of Markdown
  while IFS= read -r link; do
    target=${link%%#*}
    [[ -z $target || $target == *://* || $target == mailto:* ]] && continue
    [[ -e $(dirname "$file")/$target ]] || complain "$file: the link to $target leads nowhere"
  done < <(sed '/^```/,/^```/d' "$file" | sed 's/`[^`]*`//g' | grep -oE '\]\([^) ]+\)' | sed 's/^](//; s/)$//')
done

((wrong == 0)) && echo "${#all[@]} files, ${#plugins[@]} plugins: in order"
exit "$wrong"
