"""What a guest has written to its disk, as QEMU's blklogwrites driver records it.

The format is that of the kernel's dm-log-writes (Documentation/admin-guide/device-mapper/log-writes.rst): a sector with
the number of entries, then for each entry a sector that describes it and, but for a discard, the data.
"""

import struct
from dataclasses import dataclass

_MAGIC = 0x6A736677736872
_FLUSH, _DISCARD = 1, 4


@dataclass
class Write:
    offset: int
    size: int
    flush: bool  # what was written before it is on the disk for good
    discard: bool
    data: bytes


def entry_count(path):
    """How many entries there are: cheap, and may be asked while QEMU runs."""
    with open(path, "rb") as log:
        head = log.read(28)
    if len(head) < 28:
        return 0
    magic, _, count, _ = struct.unpack("<QQQI", head)
    if magic != _MAGIC:
        raise ValueError(f"{path} is no log of writes")
    return count


def read(path, first=0):
    """The entries from `first` on that are complete, in order."""
    with open(path, "rb") as log:
        magic, _, count, sector = struct.unpack("<QQQI", log.read(28))
        if magic != _MAGIC:
            raise ValueError(f"{path} is no log of writes")
        position = sector
        for number in range(count):
            log.seek(position)
            start, length, flags, _ = struct.unpack("<QQQQ", log.read(32))
            position += sector
            size = length * sector
            discard = bool(flags & _DISCARD)
            if number >= first:
                data = b"" if discard else _at(log, position, size)
                yield Write(start * sector, size, bool(flags & _FLUSH), discard, data)
            if not discard:
                position += size


def _at(log, position, size):
    log.seek(position)
    return log.read(size)


def bytes_written(path, first=0):
    return sum(write.size for write in read(path, first) if not write.discard)
