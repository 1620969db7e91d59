"""The services of a running image: what every part of the test does first."""

import json
import time

from . import clients
from .budget import budget
from .machine import BOOT_LIMIT_S, Failure

RSS_LIMIT_KB = budget("rss") // 1024


def expect(what, found, wanted):
    if found != wanted:
        raise Failure(f"{what}: expected {wanted!r}, found {found!r}")


def wait_for_service(machine, limit_s=BOOT_LIMIT_S):
    """Seconds from the start of QEMU to the first line that is echoed."""
    deadline = machine.started + limit_s
    while True:
        try:
            # The forwarding answers before the guest does.
            clients.echo(machine.ports["echo"], b"hello\n", timeout_s=2)
            return time.monotonic() - machine.started
        except OSError as error:
            machine.check_running()
            if time.monotonic() > deadline:
                raise Failure(f"no answer in {limit_s} s ({error})\n{machine.console_tail()}") from None
            time.sleep(0.05)


def talk(machine, answer=b"Hello\n"):
    """A conversation over each transport; `answer`: what "Hello" comes back as."""
    ports = machine.ports
    # A datagram is a message, with or without its line's end.
    for what, ask, wanted in (
        ("echo over TCP", lambda: clients.echo(ports["echo"], b"Hello\n"), answer),
        ("echo over UDP", lambda: clients.echo_udp(ports["echo_udp"], b"Hello\n").rstrip(b"\n"), answer.rstrip(b"\n")),
        ("echo over TLS", lambda: clients.echo(ports["echo_tls"], b"Hello\n", tls=True), answer),
        ("binary, type 1", lambda: clients.binary(ports["binary"], 1, b"frame"), (1, b"frame")),
        ("binary, type 2", lambda: clients.binary(ports["binary"], 2, b"frame"), (2, b"emarf")),
    ):
        try:
            expect(what, ask(), wanted)
        except OSError as error:
            raise Failure(f"{what}: {error}\n{machine.console_tail()}") from None


def stats(machine):
    """`portolan stats` of the guest, which has the daemon write first: {service: row}."""
    text = machine.run("portolan stats --json")
    try:
        rows = json.loads(text[text.index("{"):text.rindex("}") + 1])["rows"]
    except ValueError:
        raise Failure(f"`portolan stats --json` printed no JSON:\n{text}") from None
    return {row["service"]: row for row in rows}


def daemon_pid(machine):
    return int(machine.run("pidof portolan").split()[0])


def memory_kb(machine, what):
    """VmRSS, VmHWM or another line of the daemon's /proc/PID/status."""
    text = machine.run(f"grep {what}: /proc/$(pidof portolan)/status")
    return int(text.split()[1])


def write_configuration(machine, transform, flush_every="2s", path="/data/portolan.lua"):
    """The built-in configuration with two values changed, as a user would write his own."""
    machine.run(f"sed -e 's/transform = \"none\"/transform = \"{transform}\"/' "
                f"-e 's/flush_every = \"[^\"]*\"/flush_every = \"{flush_every}\"/' "
                f"/etc/portolan/portolan.lua > {path} && sync")
