#!/usr/bin/env bash
# cross/sysroot.sh TARGET FOLDER PACKAGE...: unpacks Debian 12's packages of another architecture, and all they depend
# on, into FOLDER. Nothing is installed on the host, nothing of the target is run, and no root rights are needed.
#
# FOLDER/packages.stamp tells what is in it, and of which month: with the same list, nothing is done until the next month,
# when it is made anew for the security updates of the libraries (one that had to do without: the next day). When that
# fails, the old one is used, and that is said.
set -euo pipefail

(($# >= 3)) || { echo "usage: cross/sysroot.sh TARGET FOLDER PACKAGE..." >&2; exit 2; }
target=$1 folder=$2
shift 2
packages=("$@")
stamp="$target $(date -u +%Y-%m) ${packages[*]}"
if [[ -f $folder/packages.stamp ]]; then
  has=$(<"$folder/packages.stamp")
  [[ $has != "$stamp" && $has != "$target $(date -u +%Y-%m-%d) without security updates ${packages[*]}" ]] || exit 0
fi

new=$folder.new log=$folder.log
mkdir -p -- "$(dirname -- "$folder")"
# chrootless: the other modes without root rights leave files that are not ours.
mode=(--mode=chrootless)
((EUID != 0)) || mode=()
unpack() {
  rm -rf -- "$new"
  local list
  list=$(IFS=,; echo "${packages[*]}")
  # Not /dev, and no device node: a sysroot is read by compilers, and made without root rights as well.
  mmdebstrap "${mode[@]}" --architectures="$target" --variant=extract --include="$list" \
    --skip=output/dev --skip=output/mknod "$@" bookworm "$new" >"$log" 2>&1
}

printf '%s\n' "== unpacking ${#packages[@]} packages of $target and what they need (${folder##*/})"
done=0
if unpack; then
  done=1
elif grep -q '^E: .*-security' "$log"; then
  # mmdebstrap takes any index that fails for the end of the world; the one of the security updates of an architecture
  # that is not the host's is broken or late now and then.
  echo "== the security updates of $target cannot be read now, so its sysroot is of the last point release:" >&2
  grep '^E: .*-security' "$log" | head -n 2 | cut -c 1-240 >&2
  stamp="$target $(date -u +%Y-%m-%d) without security updates ${packages[*]}"  # tried again the next day
  # shellcheck disable=SC2016  # "$1" is mmdebstrap's
  if unpack --setup-hook='sed -i /-security/d "$1"/etc/apt/sources.list'; then done=1; fi
fi
if ((!done)); then
  tail -n 20 "$log" >&2
  rm -rf -- "$new"
  if [[ -f $folder/packages.stamp && $(<"$folder/packages.stamp") == "$target "*" ${packages[*]}" ]]; then
    echo "== the packages of $target could not be unpacked: going on with those of an earlier month" >&2
    exit 0
  fi
  echo "cross/sysroot.sh: the packages of $target could not be unpacked (all of it: $log)" >&2
  exit 1
fi
# Links to an absolute path lead to the host's files.
while IFS= read -r -d '' link; do
  goal=$(readlink -- "$link")
  ln -sfn -- "$(realpath -ms --relative-to="$(dirname -- "$link")" "$new$goal")" "$link"
done < <(find "$new/usr/lib" "$new/lib" -type l -lname '/*' -print0 2>/dev/null)
printf '%s\n' "$stamp" >"$new/packages.stamp"
rm -rf -- "$folder"
mv -- "$new" "$folder"
