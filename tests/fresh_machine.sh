#!/usr/bin/env bash
# Proves the README's promise on a Debian 12 with nothing installed by hand: makes one in a folder (mmdebstrap, the
# smallest variant), puts a clone of this repository into it, runs `./dev run` there, types every line that it prints
# under "Try it", and stops it by SIGINT. With --tests it runs `./dev test` as well.
#
# usage: tests/fresh_machine.sh [--tests] [--uncommitted] [--keep]
#   --uncommitted  the files as they are here, instead of what is committed
#   --keep         leaves the folder, and says where it is
#
# Needs root, mmdebstrap and a network, and the ports of config/default.lua free (the network is this machine's).
# By hand only: it takes about 5 minutes, 30 with --tests, and 3 GB below $TMPDIR.
set -euo pipefail
root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)

tests=0 uncommitted=0 keep=0
for argument in "$@"; do
  case $argument in
    --tests) tests=1 ;;
    --uncommitted) uncommitted=1 ;;
    --keep) keep=1 ;;
    *) echo "fresh_machine.sh: there is no option $argument" >&2; exit 2 ;;
  esac
done
((EUID == 0)) || { echo "fresh_machine.sh: needs root, for chroot" >&2; exit 1; }
command -v mmdebstrap >/dev/null || { echo "fresh_machine.sh: needs mmdebstrap: apt-get install mmdebstrap" >&2; exit 1; }

# Mounts of our own, that end with this process.
if [[ -z ${PORTOLAN_FRESH_MACHINE:-} ]]; then
  PORTOLAN_FRESH_MACHINE=1 exec unshare --mount --propagation private "$0" "$@"
fi

work=$(mktemp -d)
machine=$work/machine
runner=
# shellcheck disable=SC2317  # the trap calls it
finish() {
  [[ -z $runner ]] || kill "$runner" 2>/dev/null || true
  umount -R "$machine/proc" "$machine/dev" 2>/dev/null || true
  if ((keep)); then
    echo "== left in $work"
  else
    rm -rf --one-file-system "$work"
  fi
}
trap finish EXIT

echo "== making a Debian 12 in $machine"
mmdebstrap --quiet --variant=minbase bookworm "$machine"
mkdir -p "$machine/src"
if ((uncommitted)); then
  (cd "$root" && git ls-files -z --cached --others --exclude-standard | tar --null -T - -c) | tar -C "$machine/src" -x
else
  git clone --quiet "$root" "$machine/src"
fi
cp /etc/resolv.conf "$machine/etc/resolv.conf"
mount -t proc proc "$machine/proc"
mount --rbind /dev "$machine/dev"

inside=(chroot "$machine" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8)

echo "== ./dev run"
began=$SECONDS
# From another folder than the clone's: it works from anywhere.
"${inside[@]}" /src/dev run >"$work/output" 2>"$work/log" &
runner=$!
until grep -q '^Ctrl-C stops it' "$work/output"; do
  if ! kill -0 "$runner" 2>/dev/null || ((SECONDS - began > 1800)); then
    cat "$work/output" "$work/log"
    echo "== ./dev run did not serve" >&2
    exit 1
  fi
  sleep 1
done
echo "== serves after $((SECONDS - began)) s"
cat "$work/output"

wrong=0
tried=0
while IFS= read -r line; do
  tried=$((tried + 1))
  answer=$("${inside[@]}" timeout 20 bash -c "cd / && ${line#  }" 2>&1) || true
  case $line in
    *hello*) wanted=HELLO ;;
    *68656c6c6f*) wanted=olleh ;;
    *curl*) wanted=portolan_ ;;
    *) wanted='echo' ;;  # stats, the store: filled at the first flush, within 10 s
  esac
  for ((again = 0; again < 15; ++again)); do
    [[ $answer == *$wanted* ]] && break
    sleep 1
    answer=$("${inside[@]}" timeout 20 bash -c "cd / && ${line#  }" 2>&1) || true
  done
  if [[ $answer == *$wanted* ]]; then
    echo "ok: ${line#  }"
  else
    printf 'WRONG: %s\n%s\n' "${line#  }" "$answer"
    wrong=1
  fi
done < <(sed -n '/^Try it/,/^Ctrl-C/p' "$work/output" | grep '^  ')
((tried >= 10)) || { echo "WRONG: only $tried lines to try"; wrong=1; }

kill -INT "$runner"
code=0
wait "$runner" || code=$?
runner=
echo "== stopped with $code"
((code == 0)) || { cat "$work/log"; wrong=1; }

if ((tests && !wrong)); then
  echo "== ./dev test"
  "${inside[@]}" /src/dev test || wrong=1
fi
exit "$wrong"
