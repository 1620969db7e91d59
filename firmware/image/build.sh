#!/usr/bin/env bash
# Makes a bootable disk image of a board: Debian's kernel, busybox, the static daemon. README.md says what is in it.
#
# Needs no root rights and no mounts. The same tree, binary and kernel give the same bytes, whoever builds and wherever.
set -euo pipefail

here=$(cd -- "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")" && pwd)
root=$(cd -- "$here/../.." && pwd)

fail() { printf '%s\n' "firmware/image/build.sh: $*" >&2; exit 1; }
usage() {
  echo "usage: firmware/image/build.sh BOARD --portolan STATIC_BINARY --out FOLDER [--disk-only]   (boards: $(
    cd -- "$here/../boards" && printf '%s ' *.conf | sed 's/\.conf//g'))" >&2
  exit 2
}

board='' portolan='' out='' compressed=1
while (($#)); do
  case $1 in
    --portolan) portolan=${2:-} && shift 2 || usage ;;
    --out) out=${2:-} && shift 2 || usage ;;
    --disk-only) compressed=0; shift ;;
    -*) usage ;;
    *) [[ -z $board ]] || usage; board=$1; shift ;;
  esac
done
[[ -n $board && -n $portolan && -n $out && -f $here/../boards/$board.conf ]] || usage
[[ -f $portolan ]] || fail "there is no $portolan: ./dev cross arm64 static makes it"
! readelf --program-headers "$portolan" | grep -q INTERP ||
  fail "$portolan needs a loader and shared libraries, and the image has none: give a fully static one"

# shellcheck source=../boards/virt-arm64.conf
. "$here/../boards/$board.conf"

# Whatever this shell has inherited must not show in the image.
umask 022
export LC_ALL=C TZ=UTC PATH=$PATH:/usr/sbin:/sbin
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git -C "$root" log -1 --format=%ct 2>/dev/null || echo 1700000000)}
export SOURCE_DATE_EPOCH E2FSPROGS_FAKE_TIME=$SOURCE_DATE_EPOCH
# Names of the disk and its file systems: any, as long as they stay.
disk_signature=0x50726f74
data_uuid=506f7274-6f6c-416e-8000-64617461f5f5
boot_volume_id=50726f74

packages=$root/build/cross/image-$architecture
"$root/cross/sysroot.sh" "$architecture" "$packages" "$kernel_package" busybox-static e2fsck-static
kernel_version=$(cd -- "$packages/lib/modules" && printf '%s\n' * | sort -V | tail -n 1)
case $architecture in
  arm64) emulator=qemu-aarch64-static strip=aarch64-linux-gnu-strip ;;
  *) fail "boards/$board.conf: no tools are known for the architecture \"$architecture\"" ;;
esac

mkdir -p -- "$out"
out=$(cd -- "$out" && pwd)
work=$(mktemp -d -- "$out/work.XXXXXX")
trap 'rm -rf -- "$work"' EXIT

# modules_into FOLDER MODULE...: the modules and what they depend on, but for those that an earlier call has put
# somewhere else; FOLDER/modules.load names them in loading order.
placed=$work/placed
: >"$placed"
modules_into() {
  local folder=$1 name; shift
  local options=(--dirname "$packages" --set-version "$kernel_version" --show-depends --ignore-install)
  [[ -s $packages/lib/modules/$kernel_version/modules.dep ]] || depmod -b "$packages" "$kernel_version"
  mkdir -p "$folder/lib/modules"
  local list=$work/modules
  for name in "$@"; do
    modprobe "${options[@]}" "$name" || fail "the kernel $kernel_version has no module \"$name\""
  done | awk '$1 == "insmod" && !seen[$2]++ { print $2 }' | grep -vxFf "$placed" >"$list"
  cat "$list" >>"$placed"
  local file
  : >"$folder/modules.load"
  while read -r file; do
    install -m 644 "$file" "$folder/lib/modules/"
    echo "/lib/modules/${file##*/}" >>"$folder/modules.load"
  done <"$list"
}

# Links to busybox for all that it can do, but for what the image has of its own.
busybox_into() {
  local folder=$1 name
  install -m 755 "$packages/bin/busybox" "$folder/bin/busybox"
  while read -r name; do
    [[ $name == busybox || -e $folder/sbin/$name ]] || ln -s busybox "$folder/bin/$name"
  done < <("$emulator" "$folder/bin/busybox" --list)
}

same_times() { find "$1" -exec touch --no-dereference --date="@$SOURCE_DATE_EPOCH" {} +; }

# ---- The kernel and its initramfs ----------------------------------------------------------------------------

# As it is: the boot partition has room, and compressed with the rest of the image it is a quarter smaller than gzip's.
install -m 644 "$packages/boot/vmlinuz-$kernel_version" "$out/kernel"

initramfs=$work/initramfs
mkdir -p "$initramfs"/{bin,dev,proc,root}
install -m 755 "$here/initramfs/init" "$initramfs/init"
install -m 755 "$packages/bin/busybox" "$initramfs/bin/busybox"
for name in sh mount umount insmod mkdir ln usleep sleep switch_root; do ln -s busybox "$initramfs/bin/$name"; done
# shellcheck disable=SC2086  # lists of words
modules_into "$initramfs" $initramfs_modules
echo "$disks" >"$initramfs/disks"
same_times "$initramfs"
(cd -- "$initramfs" && find . | sort | cpio --quiet --create --format=newc --reproducible --owner=0:0) |
  zstd -q -19 >"$out/initramfs"

# ---- The root file system ------------------------------------------------------------------------------------

system=$work/system
mkdir -p "$system"/{bin,boot,data,dev,lib,proc,run,sbin,sys,tmp,usr/bin}
cp -R "$here/root/." "$system/"
find "$system" -type d -exec chmod 755 {} +
find "$system" -type f -exec chmod 644 {} +
chmod 755 "$system"/lib/appliance/* "$system"/sbin/*
busybox_into "$system"
ln -s ../bin/busybox "$system/sbin/init"
install -m 755 "$packages/sbin/e2fsck.static" "$system/sbin/e2fsck"
"$strip" -o "$system/usr/bin/portolan" "$portolan"
chmod 755 "$system/usr/bin/portolan"
portolan_size=$(stat -c %s "$system/usr/bin/portolan")
ln -s /run/resolv.conf "$system/etc/resolv.conf"
ln -s /proc/mounts "$system/etc/mtab"
# shellcheck disable=SC2086
modules_into "$system" $root_modules
mv "$system/modules.load" "$system/etc/modules.load"
same_times "$system"
mksquashfs "$system" "$work/root.squashfs" -quiet -no-progress -comp zstd -Xcompression-level 19 -b 128K -all-root -no-xattrs -noappend >/dev/null

# ---- Partitions ----------------------------------------------------------------------------------------------

boot=$work/boot
mkdir -p "$boot/A"
cp "$here/boot/appliance.conf" "$here/boot/README.txt" "$boot/"
# Line ends that every editor of every system shows as such.
sed -i 's/$/\r/' "$boot/appliance.conf" "$boot/README.txt"
cp "$here/root/etc/portolan/portolan.lua" "$boot/example.lua"
cp "$out/kernel" "$out/initramfs" "$boot/A/"
same_times "$boot"
truncate -s "${boot_size}M" "$work/boot.vfat"
mkfs.vfat --invariant -i "$boot_volume_id" -n BOOT "$work/boot.vfat" >/dev/null
mmd -i "$work/boot.vfat" ::A
# One by one: the order in which a folder is read is its file system's.
for file in README.txt appliance.conf example.lua A/kernel A/initramfs; do
  mcopy -m -i "$work/boot.vfat" "$boot/$file" "::$file"
done

# All of it is initialised now: the kernel would otherwise write the rest when it has nothing else to do.
truncate -s "${data_size}M" "$work/data.ext4"
mke2fs -q -t ext4 -L data -m 0 -U "$data_uuid" -b "$data_block" \
  -E "hash_seed=$data_uuid,lazy_itable_init=0,lazy_journal_init=0,nodiscard,root_owner=0:0" "$work/data.ext4"

# The second slot is for updates, and empty.
truncate -s 1M "$work/empty"
(($(stat -c %s "$work/root.squashfs") <= root_size << 20)) || fail "the system is larger than a slot (root_size in boards/$board.conf)"
cat >"$work/genimage.cfg" <<CONFIG
image disk.img {
  hdimage { align = 1M  disk-signature = $disk_signature }
  partition boot { partition-type = 0xC  bootable = true  image = "boot.vfat" }
  partition rootA { partition-type = 0x83  image = "root.squashfs"  size = ${root_size}M }
  partition rootB { partition-type = 0x83  image = "empty"  size = ${root_size}M }
  partition data { partition-type = 0x83  image = "data.ext4" }
}
CONFIG
mkdir "$work/none"
genimage --config "$work/genimage.cfg" --rootpath "$work/none" --inputpath "$work" --outputpath "$work/out" \
  --tmppath "$work/tmp" >"$out/genimage.log" 2>&1 || { tail -n 20 "$out/genimage.log" >&2; fail "genimage failed (all of it: $out/genimage.log)"; }
mv "$work/out/disk.img" "$out/disk.img"
rm -f "$out/disk.img.xz"
((!compressed)) || xz -T1 -6 -c "$out/disk.img" >"$out/disk.img.xz"

# What is needed to start it, for whoever does so: QEMU by hand, the tests, later a boot loader.
cat >"$out/image.conf" <<CONFIG
board=$board
kernel_version=$kernel_version
command_line=console=$console quiet loglevel=4 panic=5 cma=0 slot=A
portolan_size=$portolan_size
root_size=$(stat -c %s "$work/root.squashfs")
sha256=$(sha256sum <"$out/disk.img" | cut -d ' ' -f 1)
CONFIG

row() { printf '%-28s %10s\n' "$1" "$2"; }
printf '\n%s: %s\n' "$board" "$out"
row "part" "bytes"
row "kernel $kernel_version" "$(stat -c %s "$out/kernel")"
row "initramfs" "$(stat -c %s "$out/initramfs")"
row "portolan" "$portolan_size"
row "root (squashfs)" "$(stat -c %s "$work/root.squashfs")"
row "disk.img" "$(stat -c %s "$out/disk.img")"
((!compressed)) || row "disk.img.xz" "$(stat -c %s "$out/disk.img.xz")"
echo "sha256 $(sed -n 's/^sha256=//p' "$out/image.conf")"
