#!/usr/bin/env bash
# cross/sysroot.sh TARGET FOLDER PACKAGE...: unpacks Debian 12's packages of another architecture, and all they depend
# on, into FOLDER. Nothing is installed on the host, nothing of the target is run, and no root rights are needed.
#
# FOLDER/packages.stamp tells what is in it: when the list is the same, nothing is done.
set -euo pipefail

(($# >= 3)) || { echo "usage: cross/sysroot.sh TARGET FOLDER PACKAGE..." >&2; exit 2; }
target=$1 folder=$2
shift 2
packages=("$@")
stamp="$target ${packages[*]}"
[[ -f $folder/packages.stamp && $(<"$folder/packages.stamp") == "$stamp" ]] && exit 0

log=$folder.log
mkdir -p -- "$(dirname -- "$folder")"
unpack() {
  rm -rf -- "$folder"
  local list
  list=$(IFS=,; echo "${packages[*]}")
  # Not /dev, and no device node: a sysroot is read by compilers, and made without root rights as well.
  mmdebstrap --quiet --architectures="$target" --variant=extract --include="$list" --skip=output/dev --skip=output/mknod \
    "${extra[@]}" bookworm "$folder" >"$log" 2>&1
}

extra=(--components="${PORTOLAN_COMPONENTS:-main}")
printf '%s\n' "== unpacking ${#packages[@]} packages of $target and what they need (${folder##*/})"
if ! unpack; then
  # mmdebstrap takes any index that fails for the end of the world; the one of the security updates of an architecture
  # that is not the host's is broken or late now and then.
  first_failure=$(tail -n 5 "$log")
  # shellcheck disable=SC2016  # "$1" is mmdebstrap's
  extra+=(--setup-hook='sed -i /-security/d "$1"/etc/apt/sources.list')
  if ! unpack; then
    { echo "$first_failure"; echo "and without the security updates:"; tail -n 20 "$log"; } >&2
    echo "cross/sysroot.sh: the packages of $target could not be unpacked (all of it: $log)" >&2
    exit 1
  fi
  echo "== the security updates of $target could not be read: this sysroot has the packages of the last point release" >&2
fi
# Links to an absolute path lead to the host's files.
while IFS= read -r -d '' link; do
  goal=$(readlink -- "$link")
  ln -sfn -- "$(realpath -ms --relative-to="$(dirname -- "$link")" "$folder$goal")" "$link"
done < <(find "$folder/usr/lib" "$folder/lib" -type l -lname '/*' -print0 2>/dev/null)
printf '%s\n' "$stamp" >"$folder/packages.stamp"
