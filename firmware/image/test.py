#!/usr/bin/env python3
"""Starts an image of `./dev image` in QEMU and does to it what users and power cuts do. README.md says what is looked at.

Ends with a table of sizes and times, exit code 0; or with what went wrong and exit code 1. Needs no root rights, uses free
ports of the loopback address only, and leaves the image as it is: it works on copies.
"""

import argparse
import os
import random
import shutil
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
sys.dont_write_bytecode = True

from testing import life, power_cuts, settings, wear  # noqa: E402
from testing.budget import budget  # noqa: E402
from testing.machine import Failure, read_image  # noqa: E402
from testing.report import Report  # noqa: E402

IMAGE_LIMIT_BYTES = budget("image")


def arguments():
    parser = argparse.ArgumentParser(description="Tests an image that firmware/image/build.sh has made.")
    parser.add_argument("--image", required=True, metavar="FOLDER", help="where build.sh has put it")
    parser.add_argument("--portolan", metavar="BINARY",
                        help="the static binary that the image was made with: it is made again, and has to be the same")
    parser.add_argument("--quick", action="store_true", help="without wear: what fits into two minutes")
    parser.add_argument("--power-cuts", type=int, metavar="N", help="so many power cuts at random points (50; quick: 0)")
    parser.add_argument("--seed", type=int, help="of the power cuts; default: another one each time, which is printed")
    parser.add_argument("--only", choices=["sizes", "again", "life", "settings", "cuts", "idle", "day"],
                        action="append", help="only this part; may be given more than once")
    chosen = parser.parse_args()
    if chosen.power_cuts is None:
        chosen.power_cuts = 0 if chosen.quick else 50
    if chosen.seed is None:
        chosen.seed = random.SystemRandom().randrange(1 << 31)
    return chosen


def check_sizes(folder, image, report):
    report.row("portolan, static", int(image["portolan_size"]), "bytes")
    for name, limit in (("kernel", None), ("initramfs", None), ("disk.img", None), ("disk.img.xz", IMAGE_LIMIT_BYTES)):
        report.row(name, os.path.getsize(os.path.join(folder, name)), "bytes", limit=limit)
    report.row("root file system", int(image["root_size"]), "bytes")


def check_again(image, portolan, work, report):
    """The same image, made elsewhere by somebody with other settings."""
    report.step("the image is made again")
    build = os.path.join(os.path.dirname(os.path.abspath(__file__)), "build.sh")
    out = os.path.join(work, "made", "again")
    environment = {**os.environ, "TZ": "Asia/Kolkata", "LC_ALL": "C.UTF-8"}
    done = subprocess.run(["bash", "-c", 'umask 077; exec "$@"', "again", build, image["board"], "--disk-only",
                           "--portolan", portolan, "--out", out],
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          env=environment, timeout=600, check=False)
    if done.returncode:
        raise Failure(f"the image cannot be made again:\n{done.stdout}")
    found = read_image(out)["sha256"]
    if found != image["sha256"]:
        raise Failure(f"made twice, the image is not the same: {image['sha256']} and {found}")
    report.row("made twice", "the same sha256")


def main():
    options = arguments()
    image = read_image(options.image)
    report = Report()
    wanted = set(options.only or ["sizes", "again", "life", "settings"] + ([] if options.quick else ["idle", "day"]) +
                 (["cuts"] if options.power_cuts else []))
    with tempfile.TemporaryDirectory(prefix="portolan-image-", dir=os.environ.get("TMPDIR", "/var/tmp")) as work:
        disk = os.path.join(work, "disk.img")

        def fresh():
            shutil.copyfile(image["disk"], disk)
            return disk

        try:
            if "sizes" in wanted:
                check_sizes(options.image, image, report)
            if "again" in wanted and options.portolan:
                check_again(image, options.portolan, work, report)
            if "life" in wanted:
                acknowledged, answered = life.first_start(image, fresh(), report)
                written = life.check_after_cut(disk, acknowledged, answered, report)
                life.second_start(image, disk, written, report)
            if "settings" in wanted:
                settings.check_reader(report)
                settings.own_settings(image, fresh(), report)
                settings.all_wrong(image, fresh(), report)
                settings.cannot_start(image, fresh(), report)
            if "cuts" in wanted:
                power_cuts.check(image, fresh(), options.power_cuts or 50, options.seed, report)
            if "idle" in wanted:
                wear.idle(image, fresh(), report)
            if "day" in wanted:
                wear.day(image, fresh(), report)
        except (Failure, OSError, subprocess.SubprocessError) as failure:
            report.print()
            print(f"firmware/image/test.py: {failure}", file=sys.stderr)
            return 1
    report.print()
    return 0


if __name__ == "__main__":
    sys.exit(main())
