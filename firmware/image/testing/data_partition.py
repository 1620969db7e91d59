"""The data partition of a disk image, looked at from the host without mounting it."""

import os
import shutil
import sqlite3
import struct
import subprocess
import tempfile

from .machine import Failure

NUMBER = 4
DATABASE = "/portolan/portolan.db"
_SECTOR = 512


def tool(name):
    """Where a program is that users without root rights may not have in their PATH."""
    return shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin") or name


def bounds(disk, number=NUMBER):
    """(offset, size) of a partition in bytes. `disk` is the image, or the first sector of it."""
    if isinstance(disk, str):
        with open(disk, "rb") as file:
            disk = file.read(_SECTOR)
    entry = disk[446 + 16 * (number - 1):446 + 16 * number]
    start, size = struct.unpack("<II", entry[8:16])
    return start * _SECTOR, size * _SECTOR


def extract(disk, to):
    offset, size = bounds(disk)
    with open(disk, "rb") as source, open(to, "wb") as target:
        source.seek(offset)
        while size:
            piece = source.read(min(size, 1 << 20))
            if any(piece):
                target.write(piece)
            else:
                target.seek(len(piece), os.SEEK_CUR)
            size -= len(piece)
        target.truncate()


def _run(name, *arguments):
    return subprocess.run([tool(name), *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, timeout=120, text=True, errors="replace", check=False)


class Partition:
    """A copy of the data partition in a file of its own. Use as a context: it is deleted."""

    def __init__(self, disk=None, content=None):
        self._folder = tempfile.mkdtemp(prefix="portolan-data-")
        self.path = os.path.join(self._folder, "data.ext4")
        if disk:
            extract(disk, self.path)
        else:
            with open(self.path, "wb") as file:
                file.write(content)

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        shutil.rmtree(self._folder, ignore_errors=True)

    def was_unmounted(self):
        """Whether there is nothing to recover: it was unmounted in order."""
        head = _run("dumpe2fs", "-h", self.path).stdout
        return "needs_recovery" not in head and "state:         clean" in head

    def repair(self):
        """As the device does when it starts; fails when damage remains. Answers what e2fsck had to say."""
        first = _run("e2fsck", "-p", self.path)
        if first.returncode >= 4:
            raise Failure(f"e2fsck -p cannot repair the data partition:\n{first.stdout}")
        second = _run("e2fsck", "-fn", self.path)
        if second.returncode != 0:
            raise Failure(f"the data partition is damaged behind what e2fsck repaired:\n{second.stdout}")
        return first.stdout

    def read_file(self, name):
        """Its content, or None without it."""
        copy = os.path.join(self._folder, "file")
        if os.path.exists(copy):
            os.unlink(copy)
        _run("debugfs", "-R", f"dump {name} {copy}", self.path)
        if not os.path.exists(copy):
            return None
        with open(copy, "rb") as file:
            return file.read()

    def database(self):
        """A connection to a copy of the database and its log, checked; None when there is no database yet."""
        path = os.path.join(self._folder, "portolan.db")
        for suffix in ("", "-wal"):
            content = self.read_file(DATABASE + suffix)
            if content is None or (not suffix and not content):
                if not suffix:
                    return None
                continue
            with open(path + suffix, "wb") as file:
                file.write(content)
        connection = sqlite3.connect(path)
        verdict = connection.execute("PRAGMA integrity_check").fetchone()[0]
        if verdict != "ok":
            raise Failure(f"the database is damaged: {verdict}")
        return connection

    def messages(self, service="echo"):
        """How many messages of `service` the database knows of."""
        connection = self.database()
        if not connection:
            return 0
        try:
            if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'service_minutes'").fetchone():
                return 0  # cut while the schema was made: nothing of it is there, as it should be
            return connection.execute("SELECT coalesce(sum(messages), 0) FROM service_totals WHERE service = ?",
                                      (service,)).fetchone()[0]
        finally:
            connection.close()
