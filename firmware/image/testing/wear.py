"""How much is written to the flash: when nothing happens, and on a busy day."""

import json
import os
import re
import time

from . import block_log, service
from .data_partition import Partition
from .machine import Failure, Machine, wait_for

IDLE_S = 60
SETTLING_S = 45  # so long without a write before the idle time begins; the kernel keeps what is dirty for 30 s
SETTLED_LIMIT_S = 240
SESSIONS_PER_MINUTE = 100
DAY_LIMIT_BYTES = 10_000_000
_DAY_S = 86400


def idle(image, disk, report, seconds=IDLE_S):
    """No block is written when nothing happens, by the configuration that the image is shipped with."""
    report.step(f"nothing happens for {seconds} s")
    log = disk + ".log"
    with Machine(image, disk, block_log=log) as machine:
        service.wait_for_service(machine)
        service.talk(machine)
        machine.log_in()
        # A session is recorded when it ends, and a UDP peer is one until it has been silent for a while.
        wait_for("the sessions to end", lambda: not json.loads(
            re.search(r"[\[{].*", machine.run("portolan sessions --json"), re.DOTALL)[0]).get("sessions"), 120, step_s=2)
        service.stats(machine)  # has it written
        settled = time.monotonic()
        deadline = settled + SETTLED_LIMIT_S
        count = block_log.entry_count(log)
        while time.monotonic() - settled < SETTLING_S:
            if time.monotonic() > deadline:
                raise Failure(f"it still writes {SETTLED_LIMIT_S} s after the last session")
            time.sleep(0.5)
            if block_log.entry_count(log) != count:
                count, settled = block_log.entry_count(log), time.monotonic()
        time.sleep(seconds)
        machine.check_running()
        written = [write for write in block_log.read(log, count) if write.size]
        service.talk(machine)  # it was idle, and not dead
    os.unlink(log)
    if written:
        print("written:", ", ".join(f"{write.size} bytes at {write.offset}" for write in written[:20]))
    report.row(f"writes in {seconds} idle seconds", len(written), limit=0)


# Runs in the guest: sessions spread evenly over each minute of its clock, which is ahead of ours.
_BUSY_DAY = f"""
printf 'hello\\nquit\\n' > /tmp/lines
now() {{ read -r up rest < /proc/uptime; echo "${{up%.*}}"; }}
minute() {{
  begin=$(now); i=0
  while [ $i -lt {SESSIONS_PER_MINUTE} ]; do
    nc 127.0.0.1 7007 < /tmp/lines > /dev/null
    i=$((i+1))
    usleep {60_000_000 // SESSIONS_PER_MINUTE * 8 // 10}
  done
  left=$((begin + 60 - $(now)))
  [ $left -le 0 ] || sleep $left
}}
minutes() {{ n=0; while [ $n -lt $1 ]; do minute; n=$((n+1)); done; }}
"""


# Commits until the database's log is as long as it gets, and is written over from then on.
_COMMITS_BEFORE = 50


def day(image, disk, report, minutes=40):
    """A busy time, by the configuration that the image is shipped with and by a clock that skips what is idle."""
    report.step(f"{minutes} minutes of the guest's at {SESSIONS_PER_MINUTE} sessions a minute")
    log = disk + ".log"
    with Machine(image, disk, block_log=log, virtual_time=True) as machine:
        service.wait_for_service(machine)
        machine.log_in()
        machine.run(f"cat > /tmp/day <<'END'\n{_BUSY_DAY}\nEND\n. /tmp/day")
        machine.run(f"i=0; while [ $i -lt {_COMMITS_BEFORE} ]; do i=$((i+1)); nc 127.0.0.1 7007 < /tmp/lines >/dev/null;"
                    " portolan stats >/dev/null; done; minutes 1; portolan stats >/dev/null; sleep 60", limit_s=1800)
        count = block_log.entry_count(log)
        before = service.stats(machine)["echo"]["sessions"]
        began = float(machine.run("cut -d' ' -f1 /proc/uptime"))
        machine.run(f"minutes {minutes}", limit_s=1800)
        elapsed = float(machine.run("cut -d' ' -f1 /proc/uptime")) - began
        entries = list(block_log.read(log, count))
        sessions = service.stats(machine)["echo"]["sessions"] - before
    os.unlink(log)
    rate = sessions * 60 / elapsed
    if rate < 0.9 * SESSIONS_PER_MINUTE:
        raise Failure(f"{rate:.0f} sessions a minute came through, and {SESSIONS_PER_MINUTE} were meant to")
    report.row("sessions a minute", rate, "", goal=SESSIONS_PER_MINUTE)
    report.row("flushes of the disk in an hour", sum(1 for entry in entries if entry.flush) * 3600 / elapsed)
    written = sum(entry.size for entry in entries if not entry.discard)
    report.row("written in a day of them", int(written * _DAY_S / elapsed), "bytes", limit=DAY_LIMIT_BYTES)
