#!/usr/bin/env bash
# firmware/debian/test.sh DEB [SYSROOT]: what the package does to a machine. A line for each check, exit code 1 at the
# first that fails.
#
# A package of this machine's architecture is installed, used, upgraded, removed and purged in a minimal Debian 12 that
# is made for it and booted with systemd as its first process (systemd-nspawn; needs root). One of another
# architecture is unpacked and its program run under qemu-user, with the libraries of SYSROOT (cross/sysroot.sh).
set -euo pipefail

(($# == 1 || $# == 2)) || { echo "usage: firmware/debian/test.sh DEB [SYSROOT]" >&2; exit 2; }
deb=$(realpath -- "$1")
architecture=$(dpkg-deb -f "$deb" Architecture)

work=$(mktemp -d)
machine=  # the process id of systemd-nspawn
daemon=   # of the program under qemu-user
cleanup() {
  [[ -z $daemon ]] || kill -KILL "$daemon" 2>/dev/null || true
  if [[ -n $machine ]]; then
    kill -KILL "$machine" 2>/dev/null || true  # and with it all that it started
    wait "$machine" 2>/dev/null || true
  fi
  rm -rf --one-file-system -- "$work"
}
trap cleanup EXIT

passed() { printf 'ok    %s\n' "$*"; }
failed() {
  printf 'FAIL  %s\n' "$*"
  [[ ! -s $work/answer ]] || sed 's/^/      /' "$work/answer"
  if [[ -n $machine ]]; then
    in_machine journalctl --no-pager -u portolan.service -n 30 2>/dev/null | sed 's/^/      /' || true
  fi
  exit 1
}
# check WHAT COMMAND...: passes when the command does; what it printed is shown when it does not.
check() {
  local what=$1
  shift
  "$@" >"$work/answer" 2>&1 || failed "$what: $*"
  passed "$what"
}
# until SECONDS COMMAND...: true as soon as the command is.
until_true() {
  local deadline=$((SECONDS + $1))
  shift
  until "$@" >/dev/null 2>&1; do
    ((SECONDS < deadline)) || return 1
    sleep 0.1
  done
}

# ---- The package as a file -------------------------------------------------------------------------------------

has_files() {
  local path
  dpkg-deb -c "$deb" | awk '{ print $6 }' >"$work/files"
  for path in "$@"; do
    grep -qxF ".$path" "$work/files" || { echo "there is no $path in it"; return 1; }
  done
}
scripts_parse() {
  dpkg-deb -e "$deb" "$work/control"
  for script in postinst prerm postrm; do sh -n "$work/control/$script" || return 1; done
}

echo "== $(basename -- "$deb"): $(dpkg-deb -f "$deb" Package Version Architecture | paste -sd ' ')"
echo "      $(dpkg-deb -f "$deb" Depends)"
check "holds what it should" has_files /usr/bin/portolan /etc/portolan/portolan.lua /lib/systemd/system/portolan.service \
  /usr/lib/systemd/user/portolan.service /usr/include/portolan/plugin/descriptor.h /usr/share/man/man1/portolan.1.gz \
  /usr/share/man/man5/portolan.lua.5.gz /usr/share/bash-completion/completions/portolan \
  /usr/share/zsh/vendor-completions/_portolan /usr/share/fish/vendor_completions.d/portolan.fish \
  /usr/share/doc/portolan/examples/default.lua /usr/share/doc/portolan/copyright
check "its scripts parse" scripts_parse
command -v lintian >/dev/null || failed "lintian is not installed"
check "lintian has no errors and no warnings" lintian --allow-root --fail-on error,warning "$deb"

# ---- Another architecture: under qemu-user ---------------------------------------------------------------------

depends_are_in() {
  local package
  for package in $(dpkg-deb -f "$deb" Depends | tr ',' '\n' | awk '{ print $1 }'); do
    [[ -e $1/usr/share/doc/$package ]] || { echo "$package is not in $1"; return 1; }
  done
}
serves_under() {
  local address
  sed 's/:7007"/:0"/g' "$work/root/etc/portolan/portolan.lua" >"$work/test.lua"
  mkdir -p "$work/state"
  (cd "$work/state" && exec "$@" run -c "$work/test.lua" --state-dir "$work/state") >"$work/output" 2>"$work/log" &
  daemon=$!
  until_true 60 grep -qx ready "$work/output" || { cat "$work/log"; return 1; }
  address=$(sed -n 's,^listening echo tcp://127.0.0.1:,,p' "$work/output")
  echo_round_trip "$address" HELLO || return 1
  "$@" status --socket "$work/state/portolan.sock" || return 1
  "$@" stats --socket "$work/state/portolan.sock" --json | grep '"messages": 2' || return 1
  kill -TERM "$daemon"
  wait "$daemon" || return 1
  daemon=
}
# Two messages: hello and quit.
# echo_round_trip PORT ANSWER: "hello" comes back as ANSWER.
echo_round_trip() {
  local answer
  # shellcheck disable=SC2016  # for the inner shell
  answer=$(timeout 60 bash -c 'exec 3<>"/dev/tcp/127.0.0.1/$0" && printf "hello\nquit\n" >&3 && cat <&3' "$1")
  [[ $answer == "$2" ]] || { echo "\"hello\" came back as \"$answer\", not \"$2\""; return 1; }
}

if [[ $architecture != "$(dpkg --print-architecture)" ]]; then
  sysroot=${2:?a package of $architecture needs the sysroot that it was built with as a second argument}
  case $architecture in
    arm64) emulator=qemu-aarch64-static ;;
    armhf | armel) emulator=qemu-arm-static ;;
    *) failed "there is no emulator for $architecture here" ;;
  esac
  dpkg-deb -x "$deb" "$work/root"
  portolan=("$emulator" -L "$sysroot" "$work/root/usr/bin/portolan")
  check "what it depends on is Debian's" depends_are_in "$sysroot"
  check "its program runs under $emulator" "${portolan[@]}" version
  check "its configuration is right" "${portolan[@]}" check "$work/root/etc/portolan/portolan.lua"
  check "it serves, answers status and stats, and stops" serves_under "${portolan[@]}"
  echo "== $architecture: all checks passed"
  exit 0
fi

# ---- This machine's architecture: a machine of its own ---------------------------------------------------------

((EUID == 0)) || failed "only root can boot a machine with systemd-nspawn"
root=$work/machine
in_machine() {
  nsenter --target "$leader" --all -- env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin DEBIAN_FRONTEND=noninteractive "$@"
}

# Packages by names: those that the package depends on are found by apt. No network is needed afterwards.
names=$(dpkg-deb -f "$deb" Depends | tr ',' '\n' | awk '{ print $1 }' | paste -sd ,)
mmdebstrap --quiet --variant=minbase --include="systemd,systemd-sysv,$names" --format=directory bookworm "$root" \
  >"$work/answer" 2>&1 || failed "a Debian 12 could not be made"
passed "a minimal Debian 12, with what the package depends on by apt"
cp -- "$deb" "$root/root/portolan.deb"

# systemd-nspawn wants /run in memory; here it has one of its own, which does not outlive it.
# shellcheck disable=SC2016  # for the inner shell
unshare --mount --propagation private -- sh -c 'mount -t tmpfs tmpfs /run && exec systemd-nspawn --quiet --boot \
  --directory="$0" --register=no --keep-unit --link-journal=no --private-network --console=pipe' \
  "$root" </dev/null >"$work/console" 2>&1 &
machine=$!
leader=
machine_is_up() {
  kill -0 "$machine" 2>/dev/null || return 0  # it died: what follows says so
  leader=$(pgrep -P "$machine" -x systemd) || return 1
  [[ $(in_machine systemctl is-system-running) =~ ^(running|degraded)$ ]]
}
until_true 90 machine_is_up && kill -0 "$machine" 2>/dev/null || { cp "$work/console" "$work/answer"; failed "it does not boot with systemd"; }
passed "it boots: $(in_machine systemctl --version | head -n 1), as process 1"

# What is on its disk, but for logs and dpkg's own records.
listing() {
  in_machine find / -xdev \( -path /proc -o -path /sys -o -path /dev -o -path /run -o -path /tmp -o -path /var/tmp \
    -o -path /var/log -o -path /var/lib/dpkg \) -prune -o -printf '%p %y %l\n' | LC_ALL=C sort
}
process_status() { in_machine sed -n "s/^$1:[[:space:]]*//p" "/proc/$(in_machine systemctl show -P MainPID portolan)/status"; }
is_hardened() {
  local uid
  uid=$(process_status Uid | cut -f 1)
  ((uid >= 61184)) || { echo "its user is $uid: not a dynamic one"; return 1; }
  [[ $(process_status NoNewPrivs) == 1 ]] || { echo "it may gain privileges"; return 1; }
  [[ $(process_status Seccomp) == 2 ]] || { echo "its system calls are not filtered"; return 1; }
  # CAP_NET_BIND_SERVICE at most.
  (((16#$(process_status CapBnd) & ~0x400) == 0)) || { echo "its capabilities are $(process_status CapBnd)"; return 1; }
  in_machine systemd-analyze security --no-pager --threshold=20 portolan.service | tail -n 1
}
echoes() {
  # shellcheck disable=SC2016  # for the inner shell
  local answer
  answer=$(in_machine timeout 60 bash -c \
    'exec 3<>/dev/tcp/127.0.0.1/7007 && printf "hello\nquit\n" >&3 && cat <&3') || return 1
  [[ $answer == "$1" ]] || { echo "\"hello\" came back as \"$answer\", not \"$1\""; return 1; }
}
# How many messages the statistics know of.
messages() { in_machine portolan stats echo --since 0 --json | awk -F '[:,]' '/"messages"/ { sum += $2 } END { print sum + 0 }'; }
counted() { (($(messages) == $1)) || { echo "$(messages) messages in the statistics, not $1"; return 1; }; }

listing >"$work/before"
check "dpkg -i installs it" in_machine dpkg -i /root/portolan.deb
check "the service is active" in_machine systemctl is-active portolan.service
check "the service starts with the machine" in_machine systemctl is-enabled portolan.service
check "the service is hardened" is_hardened
sed 's/^/      /' "$work/answer"
check "its units are in order" in_machine systemd-analyze verify --man=no /lib/systemd/system/portolan.service
check "the user's unit is in order" in_machine env HOME=/root XDG_RUNTIME_DIR=/run \
  systemd-analyze --user verify --man=no /usr/lib/systemd/user/portolan.service
check "portolan status answers" in_machine portolan status
check "echo answers" echoes HELLO
check "portolan stats knows" counted 2
check "the state is where systemd puts it" in_machine test -s /var/lib/private/portolan/portolan.db

edit() { in_machine sed -i "$1" /etc/portolan/portolan.lua; }
edit 's/transform = "upper"/transform = "none"/'
check "systemctl reload takes a change" in_machine systemctl reload portolan.service
check "echo answers as changed" echoes hello
edit 's/transform = "none"/transform = "nonsense"/'
if in_machine systemctl reload portolan.service >"$work/answer" 2>&1; then failed "a reload took a mistake"; fi
check "a reload refuses a mistake, and echo answers as before" echoes hello
edit 's/transform = "nonsense"/transform = "none"/'

process=$(in_machine systemctl show -P MainPID portolan)
check "dpkg -i upgrades it" in_machine dpkg -i /root/portolan.deb
[[ $(in_machine systemctl show -P MainPID portolan) != "$process" ]] || failed "the old daemon still runs"
passed "the new daemon runs"
check "the edited configuration is kept" echoes hello
check "the statistics are kept" counted 8

# only_these PATTERN...: what is there beside what was before the installation.
only_these() {
  local pattern
  listing >"$work/after"
  LC_ALL=C comm -3 "$work/before" "$work/after" | sed 's/^\t//' >"$work/beside"
  for pattern in "$@"; do sed -i "\#^$pattern #d" "$work/beside" || return 1; done
  [[ ! -s $work/beside ]] || { cat "$work/beside"; return 1; }
}
# Data, configuration, and that it was enabled, which a later installation wants to know.
check "dpkg -r removes it" in_machine dpkg -r portolan
if in_machine systemctl is-active portolan.service >"$work/answer" 2>&1; then failed "the service still runs"; fi
if in_machine sh -c 'grep -lx portolan /proc/[0-9]*/comm' >"$work/answer" 2>&1; then failed "a process of it still runs"; fi
passed "the service is stopped"
check "what stays is data and configuration" only_these /etc/portolan /etc/portolan/portolan.lua /var/lib/portolan \
  /var/lib/private/portolan '/var/lib/private/portolan/portolan\.db[^/]*' \
  /etc/systemd/system/multi-user.target.wants/portolan.service \
  '/var/lib/systemd/deb-systemd-helper-enabled/.*portolan\.service[^/]*'
check "dpkg -P purges it" in_machine dpkg -P portolan
check "nothing stays" only_these
in_machine systemctl poweroff >/dev/null 2>&1 || true
wait "$machine" 2>/dev/null || true
machine=
echo "== $architecture: all checks passed"
