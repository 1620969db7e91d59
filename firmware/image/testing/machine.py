"""A QEMU that runs an image: started, spoken to over forwarded ports and the serial console, and ended in all cases."""

import atexit
import ctypes
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time

BOOT_LIMIT_S = 90
COMMAND_LIMIT_S = 60
# What the image listens on.
PORTS = {"echo": ("tcp", 7007), "echo_udp": ("udp", 7007), "echo_tls": ("tcp", 7008), "binary": ("tcp", 7009)}

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None)


class Failure(Exception):
    """The image does not do what it should; the text says what."""


def read_image(folder):
    """What build.sh wrote about the image in `folder`."""
    with open(os.path.join(folder, "image.conf"), encoding="utf-8") as file:
        values = dict(line.rstrip("\n").split("=", 1) for line in file if "=" in line)
    return {
        "kernel": os.path.join(folder, "kernel"),
        "initramfs": os.path.join(folder, "initramfs"),
        "disk": os.path.join(folder, "disk.img"),
        **values,
    }


def wait_for(what, condition, limit_s, step_s=0.05):
    """Answers the first true value of `condition()`, or fails after `limit_s`."""
    deadline = time.monotonic() + limit_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise Failure(f"waited {limit_s} s in vain for {what}")
        time.sleep(step_s)


def _free_ports():
    """A free port of the host for each of PORTS. They are let go when all are known: no two are the same."""
    sockets, ports = [], {}
    for name, (protocol, _) in PORTS.items():
        kind = socket.SOCK_DGRAM if protocol == "udp" else socket.SOCK_STREAM
        bound = socket.socket(socket.AF_INET, kind)
        bound.bind(("127.0.0.1", 0))
        sockets.append(bound)
        ports[name] = bound.getsockname()[1]
    for bound in sockets:
        bound.close()
    return ports


class Machine:
    """One run of QEMU over `disk`, which it writes. Use as a context: leaving it kills QEMU.

    `block_log`: a file that gets every write of the guest (testing/block_log.py). `virtual_time`: the guest's clock runs
    ahead whenever the guest has nothing to do, so that an hour of little work takes a minute.
    """

    def __init__(self, image, disk, memory_mb=64, block_log=None, virtual_time=False):
        self._image, self._disk, self._memory_mb = image, disk, memory_mb
        self._block_log, self._virtual_time = block_log, virtual_time
        self._process = self._console = None
        self._folder = tempfile.mkdtemp(prefix="portolan-image-")
        self._text = ""
        self._runs = 0
        self._changed = threading.Condition()
        self.ports = {}
        self.started = 0.0
        atexit.register(self.kill)

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *unused):
        self.kill()

    # ---- The process ----

    def start(self):
        # Somebody may take a port between our look and QEMU's.
        for attempt in range(3):
            self.ports = _free_ports()
            if self._try_start():
                return
            if "forwarding rule" not in self._errors() or attempt == 2:
                raise Failure(f"QEMU does not start: {self._errors().strip() or 'without a word'}")

    def _try_start(self):
        console = os.path.join(self._folder, "console")
        errors = open(os.path.join(self._folder, "errors"), "wb")
        parent = os.getpid()

        def die_with_parent():
            _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
            if os.getppid() != parent:
                os._exit(1)

        self.started = time.monotonic()
        self._process = subprocess.Popen(self._command(console), stdin=subprocess.DEVNULL, stdout=errors,
                                         stderr=subprocess.STDOUT, preexec_fn=die_with_parent)
        errors.close()
        self._console = socket.socket(socket.AF_UNIX)
        while self._process.poll() is None:
            try:
                self._console.connect(console)
                break
            except OSError:
                if time.monotonic() - self.started > BOOT_LIMIT_S:
                    return False
                time.sleep(0.02)
        else:
            return False
        threading.Thread(target=self._read_console, args=(self._console,), daemon=True).start()
        return True

    def _command(self, console):
        forwards = "".join(f",hostfwd={protocol}:127.0.0.1:{self.ports[name]}-:{port}"
                           for name, (protocol, port) in PORTS.items())
        command = ["qemu-system-aarch64", "-M", "virt,gic-version=3", "-cpu", "cortex-a53", "-smp", "1",
                   "-m", str(self._memory_mb), "-display", "none", "-no-reboot", "-nodefaults",
                   "-kernel", self._image["kernel"], "-initrd", self._image["initramfs"],
                   "-append", self._image["command_line"],
                   "-chardev", f"socket,id=console,path={console},server=on,wait=off", "-serial", "chardev:console",
                   "-netdev", f"user,id=net{forwards}", "-device", "virtio-net-device,netdev=net",
                   "-device", "virtio-rng-device", "-device", "virtio-blk-device,drive=disk"]
        if self._virtual_time:
            command += ["-icount", "shift=2,sleep=off"]
        # The host's own cache is as good as a disk to a test that kills QEMU, and not the host.
        cache = "cache.no-flush=on"
        if self._block_log:
            open(self._block_log, "wb").close()
            command += ["-blockdev", f"driver=file,node-name=file,filename={self._disk},{cache}",
                        "-blockdev", f"driver=file,node-name=log,filename={self._block_log},{cache}",
                        "-blockdev", "driver=raw,node-name=raw,file=file",
                        "-blockdev", "driver=blklogwrites,node-name=disk,file=raw,log=log,log-super-update-interval=1"]
        else:
            command += ["-blockdev", f"driver=file,node-name=file,filename={self._disk},{cache}",
                        "-blockdev", "driver=raw,node-name=disk,file=file"]
        return command

    def _errors(self):
        with open(os.path.join(self._folder, "errors"), encoding="utf-8", errors="replace") as file:
            return file.read()

    def kill(self):
        """SIGKILL, at once: what a guest sees of it is a power cut behind a disk that keeps what it was given."""
        if self._process and self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        if self._console:
            self._console.close()
        shutil.rmtree(self._folder, ignore_errors=True)
        atexit.unregister(self.kill)

    def wait_for_exit(self, limit_s=COMMAND_LIMIT_S):
        """QEMU ends by itself when the guest restarts or powers off."""
        try:
            self._process.wait(limit_s)
        except subprocess.TimeoutExpired:
            raise Failure(f"the guest did not restart in {limit_s} s\n{self.console_tail()}") from None

    def check_running(self):
        if self._process.poll() is not None:
            raise Failure(f"QEMU ended with exit code {self._process.returncode}\n{self.console_tail()}")

    # ---- The console ----

    def _read_console(self, console):
        while True:
            try:
                data = console.recv(65536)
            except OSError:
                return
            if not data:
                return
            with self._changed:
                self._text += data.decode("utf-8", "replace").replace("\r", "")
                self._changed.notify_all()

    def console(self):
        with self._changed:
            return self._text

    def console_tail(self):
        return "the end of its console:\n" + "\n".join("  | " + line for line in self.console().split("\n")[-25:])

    def wait_for_console(self, pattern, start=0, limit_s=COMMAND_LIMIT_S):
        """The first match of `pattern` behind `start` of what the console has said."""
        deadline = time.monotonic() + limit_s
        with self._changed:
            while True:
                match = re.compile(pattern, re.MULTILINE).search(self._text, start)
                if match:
                    return match
                left = deadline - time.monotonic()
                if left <= 0:
                    break
                self._changed.wait(min(left, 1))
                if self._process.poll() is not None and left < limit_s - 2:
                    break
        self.check_running()
        raise Failure(f"the console did not say /{pattern}/ in {limit_s} s\n{self.console_tail()}")

    def send(self, text):
        self._console.sendall(text.encode())

    def log_in(self):
        """Opens the shell on the console, as Enter does."""
        self.wait_for_console("Please press Enter")
        self.send("\n")
        self.wait_for_console("# (\x1b.*)?$")
        # An interactive shell would repeat what it reads; one whose output is no terminal is not.
        self.send("sh -s 2>&1 | cat\n")

    def run(self, command, limit_s=COMMAND_LIMIT_S, may_fail=False):
        """Runs it in the shell on the console, and answers what it printed there."""
        # init turns the terminal's echo on again with each program that it starts there, and what others say comes in
        # between: our lines are marked.
        self._runs += 1
        start = len(self.console())
        self.send(f"stty -echo; echo begin-$(({self._runs}+1000))\n")
        start = self.wait_for_console(f"begin-{self._runs + 1000}$", start, limit_s).end()
        self.send(f"{{ {command}\n}} >/tmp/output 2>&1\ncode=$?; sed 's/^/> /' /tmp/output;"
                  f" echo; echo end-$code-$(({self._runs}+1000))\n")
        match = self.wait_for_console(rf"end-(\d+)-{self._runs + 1000}$", start, limit_s)
        lines = self.console()[start:match.start()].split("\n")
        output = "".join(line[2:] + "\n" for line in lines if line.startswith("> "))
        if match.group(1) != "0" and not may_fail:
            raise Failure(f"in the guest, `{command}` ended with exit code {match.group(1)}:\n{output}")
        return output
