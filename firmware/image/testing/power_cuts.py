"""Power cuts at any point of a run, put together from the record of all that the guest wrote.

A disk that loses its power keeps what was flushed. Of what came later it keeps any part: here each piece of 4 KiB by the
throw of a coin, so that writes are reordered and torn.
"""

import os
import random
import shutil

from . import block_log, service
from .data_partition import Partition, bounds
from .life import FLUSH_EVERY_S, MESSAGES_PER_S
from .machine import Failure, Machine
from .traffic import Traffic

ACKNOWLEDGEMENTS = 15
_PIECE = 4096


def _record(image, disk, log):
    """Runs a machine under traffic. Answers [(entries of the log, messages acknowledged by then)], in order."""
    acknowledged = [(0, 0)]
    with Machine(image, disk, block_log=log) as machine:
        service.wait_for_service(machine)
        machine.log_in()
        service.write_configuration(machine, "none", f"{FLUSH_EVERY_S}s")
        machine.run("portolan-reload")
        traffic = Traffic(machine.ports["echo"], MESSAGES_PER_S)
        for _ in range(ACKNOWLEDGEMENTS):
            # What stats tells of is written; the log has it as soon as the guest knows.
            messages = service.stats(machine).get("echo", {"messages": 0})["messages"]
            acknowledged.append((block_log.entry_count(log), messages))
            if traffic.error:
                raise Failure(f"the traffic ended: {traffic.error}\n{machine.console_tail()}")
        machine.kill()
        traffic.stop()
    return acknowledged


def _apply(content, write, keep, offset):
    """Writes the pieces for which `keep()` says so into the partition's content."""
    for start in range(0, write.size, _PIECE):
        at = write.offset + start - offset
        if 0 <= at < len(content) and keep():
            piece = write.data[start:start + _PIECE]
            content[at:at + len(piece)] = piece


def check(image, disk, cuts, seed, report):
    report.step(f"{cuts} power cuts, seed {seed}")
    log = disk + ".log"
    try:
        acknowledged = _record(image, disk, log)
        entries = list(block_log.read(log))
    finally:
        if os.path.exists(log):
            os.unlink(log)
    shutil.copyfile(image["disk"], disk)
    offset, size = bounds(disk)
    with open(disk, "rb") as file:
        file.seek(offset)
        flushed = bytearray(file.read(size))

    chance = random.Random(seed)
    first = next((number for number, entry in enumerate(entries)
                  if entry.size and offset <= entry.offset < offset + size), 0)
    points = sorted(chance.randrange(first, len(entries) + 1) for _ in range(cuts))
    safe = repaired = most = 0  # entries before `safe` are in `flushed`
    for point in points:
        last_flush = max((number for number in range(safe, point) if entries[number].flush), default=safe)
        for number in range(safe, last_flush):
            _apply(flushed, entries[number], lambda: True, offset)
        safe = last_flush
        content = bytearray(flushed)
        for number in range(safe, point):
            _apply(content, entries[number], lambda: chance.random() < 0.5, offset)
        wanted = max(messages for entry_count, messages in acknowledged if entry_count <= point)
        try:
            with Partition(content=content) as partition:
                repaired += "recovering journal" in partition.repair()
                found = partition.messages()
        except Failure as failure:
            raise Failure(f"power cut behind entry {point} of {len(entries)}, seed {seed}: {failure}") from None
        if found < wanted:
            raise Failure(f"power cut behind entry {point} of {len(entries)}, seed {seed}: {wanted} messages were"
                          f" acknowledged as written, and {found} are there")
        most = max(most, found)
    if not most:
        raise Failure("no power cut came after a message was written: this run shows nothing")
    report.row("power cuts without damage or loss of what was acknowledged", len(points))
    report.row("of them, with a journal to recover", repaired)
