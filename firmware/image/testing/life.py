"""The life of a device: started for the first time, used, changed, cut off from its power, started again, restarted."""

import re
import time

from . import service
from .data_partition import Partition
from .machine import Failure, Machine, wait_for
from .service import RSS_LIMIT_KB, expect
from .traffic import Traffic

FLUSH_EVERY_S = 2
MESSAGES_PER_S = 25
MESSAGES = 16 * MESSAGES_PER_S


def first_start(image, disk, report):
    """Ends with a kill in the middle of traffic. Answers what has to be found on the disk:
    (messages that were acknowledged as written, messages that were answered)."""
    report.step("first start, with 64 MiB of memory")
    with Machine(image, disk) as machine:
        report.row("start to the first answer", service.wait_for_service(machine), "s", goal=10)
        service.talk(machine)
        machine.log_in()
        _check_system(machine)
        rows = service.stats(machine)
        for name, least in (("echo", 4), ("binary", 2)):
            if rows.get(name, {"messages": 0})["messages"] < least:
                raise Failure(f"portolan stats knows of fewer than {least} messages of {name}: {rows.get(name)}")
        report.row("RSS of the daemon, idle", service.memory_kb(machine, "VmRSS"), "KiB", limit=RSS_LIMIT_KB)
        report.row("of it, not of the file", service.memory_kb(machine, "RssAnon"), "KiB")
        report.row("the most that it was", service.memory_kb(machine, "VmHWM"), "KiB")
        available = machine.run("sed -n 's/^MemAvailable: *//p' /proc/meminfo").split()[0]
        report.row("memory that is available then", int(available), "KiB")
        _check_reload(machine, report)
        _check_respawn(machine, report)
        return _cut_off(machine, report)


def _check_system(machine):
    mounts = {line.split()[1]: line.split() for line in machine.run("cat /proc/mounts").splitlines() if line.strip()}
    for folder, kind, mode in (("/", "squashfs", "ro"), ("/boot", "vfat", "ro"), ("/data", "ext4", "rw"),
                               ("/run", "tmpfs", "rw"), ("/tmp", "tmpfs", "rw")):
        if folder not in mounts:
            raise Failure(f"{folder} is not mounted")
        expect(f"the file system at {folder}", (mounts[folder][2], mounts[folder][3].split(",")[0]), (kind, mode))
    status = machine.run("grep -E '^(Uid|CapEff|CapBnd|NoNewPrivs)' /proc/$(pidof portolan)/status")
    if not re.search(r"^Uid:\t100\t100\t100\t100$", status, re.MULTILINE):
        raise Failure(f"the daemon does not run as user portolan:\n{status}")
    problems = machine.run("cat /run/problems 2>/dev/null", may_fail=True).strip()
    expect("problems of a start with nothing wrong", problems, "")


def _check_reload(machine, report):
    report.step("a new configuration, one that changes, one with a mistake, a reload each")
    pid = service.daemon_pid(machine)
    service.write_configuration(machine, "upper", f"{FLUSH_EVERY_S}s")
    machine.run("portolan-reload")
    service.talk(machine, b"HELLO\n")
    # The daemon reads the same file from now on.
    service.write_configuration(machine, "prefix", f"{FLUSH_EVERY_S}s")
    machine.run("portolan reload")
    service.talk(machine, b"Echo: Hello\n")
    machine.run("echo 'return { services = 7 }' > /data/portolan.lua")
    machine.run("! portolan reload")
    service.talk(machine, b"Echo: Hello\n")  # refused: the one before it goes on
    machine.run("portolan-reload")
    said = machine.run("cat /run/problems", may_fail=True)
    if "/data/portolan.lua is not used" not in said:
        raise Failure(f"nobody said that /data/portolan.lua has a mistake:\n{said}")
    service.talk(machine)  # the built-in one
    service.write_configuration(machine, "upper", f"{FLUSH_EVERY_S}s")
    machine.run("portolan-reload && rm /run/problems")
    service.talk(machine, b"HELLO\n")
    expect("the daemon's process after reloads", service.daemon_pid(machine), pid)


def _check_respawn(machine, report):
    report.step("the daemon dies")
    # What it had not written yet is lost with it: nothing, after this.
    service.stats(machine)
    pid = service.daemon_pid(machine)
    start = len(machine.console())
    began = time.monotonic()
    machine.run(f"kill -9 {pid}")
    machine.wait_for_console("the daemon ended with exit code 137", start)
    machine.started = began
    report.row("killed daemon to the next answer", service.wait_for_service(machine), "s")
    if service.daemon_pid(machine) == pid:
        raise Failure("the daemon was to be killed, and still runs")
    service.talk(machine, b"HELLO\n")


def _cut_off(machine, report):
    report.step("traffic, and kill -9 in the middle of it")
    before = service.stats(machine)["echo"]["messages"]
    traffic = Traffic(machine.ports["echo"], MESSAGES_PER_S)
    wait_for(f"{MESSAGES // 2} answers", lambda: traffic.answered >= MESSAGES // 2 or traffic.error, 180)
    acknowledged = service.stats(machine)["echo"]["messages"]
    wait_for(f"{MESSAGES} answers", lambda: traffic.answered >= MESSAGES or traffic.error, 180)
    if traffic.error:
        raise Failure(f"the traffic ended: {traffic.error}\n{machine.console_tail()}")
    answered = before + traffic.answered
    machine.kill()
    traffic.stop()
    if acknowledged < before + MESSAGES // 2:
        raise Failure(f"portolan stats told of {acknowledged} messages when there were {before + MESSAGES // 2} at least")
    return acknowledged, answered


def check_after_cut(disk, acknowledged, answered, report):
    """What is on the disk before it is started again. Answers how many messages there are."""
    with Partition(disk) as partition:
        partition.repair()
        written = partition.messages()
    if written < acknowledged:
        raise Failure(f"{acknowledged} messages were acknowledged as written, and {written} are there")
    # Messages are as good as time: the traffic keeps its pace or is slower. As long again for the commit itself.
    report.row("messages lost by the cut", max(0, answered - written), f"of {answered}",
               limit=2 * FLUSH_EVERY_S * MESSAGES_PER_S, goal=FLUSH_EVERY_S * MESSAGES_PER_S)
    return written


def second_start(image, disk, written, report):
    report.step("second start, after the cut; then a restart in order")
    with Machine(image, disk) as machine:
        report.row("start to the first answer, after a cut", service.wait_for_service(machine), "s", goal=10)
        service.talk(machine, b"HELLO\n")  # the setting is still there
        machine.log_in()
        found = service.stats(machine)["echo"]["messages"]
        if found < written:
            raise Failure(f"{written} messages were on the disk, and portolan stats tells of {found}")
        # Not yet written when the restart comes: it must not be lost.
        machine.run("sed -i 's/flush_every = \"2s\"/flush_every = \"1h\"/' /data/portolan.lua && portolan reload")
        found = service.stats(machine)["echo"]["messages"]
        service.talk(machine, b"HELLO\n")
        began = time.monotonic()
        machine.send("reboot\n")
        machine.wait_for_exit()
        report.row("restart: command to the end", time.monotonic() - began, "s")
    with Partition(disk) as partition:
        if not partition.was_unmounted():
            raise Failure("a restart in order left the data partition mounted")
        partition.repair()
        written = partition.messages()
    if written < found + 3:
        raise Failure(f"a restart in order lost messages: {found + 3} at least were there, {written} were written")
