#!/usr/bin/env bash
# cross/sizes.sh: the stripped size of each program that is in build/cross, beside its budget in cross/size-budget.tsv.
# Exit code 1 when one is over it.
set -euo pipefail
root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
over=0 found=0
printf '%-8s %-12s %12s %12s\n' target shape 'bytes' 'budget'
while IFS=$'\t' read -r target shape budget _; do
  [[ -n $target && $target != \#* ]] || continue
  program=$root/build/cross/$target-$shape/portolan
  [[ -f $program ]] || continue
  found=1
  case $target in
    arm64) strip=aarch64-linux-gnu-strip ;;
    armhf) strip=arm-linux-gnueabihf-strip ;;
    armel) strip=arm-linux-gnueabi-strip ;;
    *) strip="strip" ;;
  esac
  "$strip" -o "$program.stripped" "$program"
  bytes=$(stat -c %s "$program.stripped")
  mark=
  ((bytes <= budget)) || { mark='  over the budget'; over=1; }
  printf '%-8s %-12s %12d %12d%s\n' "$target" "$shape" "$bytes" "$budget" "$mark"
done <"$root/cross/size-budget.tsv"
((found)) || { echo "cross/sizes.sh: there is nothing in build/cross yet: ./dev cross TARGET" >&2; exit 1; }
((!over)) || echo "cross/sizes.sh: over the budget: make it smaller, or say in cross/size-budget.tsv why it is worth it" >&2
exit "$over"
