"""What a user does to the boot partition: right, and all of it wrong."""

import os
import subprocess
import tempfile

from . import service
from .data_partition import bounds
from .machine import Failure, Machine
from .service import expect

# Lines of an appliance.conf: what comes out of it, and how many mistakes are found.
SETTINGS = [
    (b"", {}, 0),
    (b"# nothing\n\n   \n", {}, 0),
    (b"\xef\xbb\xbfhostname=box\r\naddress=dhcp\r\n", {"hostname": "box"}, 0),
    (b"  hostname =  box-7  \n", {"hostname": "box-7"}, 0),
    (b"address=192.168.1.20/24\ngateway=192.168.1.1\ndns=192.168.1.1 9.9.9.9",
     {"address": "192.168.1.20/24", "gateway": "192.168.1.1", "dns": "192.168.1.1 9.9.9.9"}, 0),
    (b"hostname=$(reboot)\nhostname=`reboot`\nhostname=a;reboot\nhostname=\"a\"\nhostname=-a\nhostname=Box\n", {}, 6),
    (b"hostname=" + b"a" * 64, {}, 1),
    (b"address=10.0.0.300/24\naddress=10.0.0.1\naddress=10.0.0.1/33\naddress=10.0.0.1/0\naddress=1.2.3/8\n", {}, 5),
    (b"address=010.0.0.1/24\naddress=127.0.0.1/8\naddress=224.0.0.1/4\naddress=*\naddress=\n", {}, 5),
    (b"address=10.0.0.2/24\ngateway=10.0.1.1\n", {"address": "10.0.0.2/24"}, 1),
    (b"address=10.0.0.2/16\ngateway=10.0.1.1\ndns=*\n", {"address": "10.0.0.2/16", "gateway": "10.0.1.1"}, 1),
    (b"address=10.0.0.2/24\ndns=1.1.1.1 2.2.2.2 3.3.3.3 4.4.4.4\n", {"address": "10.0.0.2/24"}, 1),
    (b"gateway=10.0.0.1\n", {}, 1),
    (b"hostname=a\nhostname=b\n", {"hostname": "a"}, 1),
    (b"reboot\n; reboot\npassword=x\n=x\n", {}, 4),
    (b"\0\1\2\377\n" + b"x" * 20000, {}, 3),
    (b"hostname=x" + b" " * 16000 + b"\naddress=10.0.0.2/24\n", {"address": "10.0.0.2/24"}, 1),
    (b"a=b\n" * 4000 + b"hostname=late\n", {}, 21),
]
DEFAULTS = {"hostname": "portolan", "address": "dhcp", "gateway": "", "dns": ""}


def check_reader(report):
    """root/lib/appliance/read-settings on the host: the same shell script, by the host's shell."""
    script = os.path.join(os.path.dirname(__file__), "..", "root", "lib", "appliance", "read-settings")
    with tempfile.TemporaryDirectory(prefix="portolan-settings-") as folder:
        path = os.path.join(folder, "appliance.conf")
        for content, wanted, mistakes in SETTINGS:
            with open(path, "wb") as file:
                file.write(content)
            done = subprocess.run(["sh", script, path], capture_output=True, timeout=60, check=True, cwd=folder)
            found = dict(line.split("=", 1) for line in done.stdout.decode().splitlines())
            expect(f"the settings of {content[:200]!r}", found, {**DEFAULTS, **wanted})
            said = done.stderr.decode(errors="replace").splitlines()
            expect(f"the mistakes of {content[:200]!r} ({said})", len(said), mistakes)
    report.row("appliance.conf files read as they should be", len(SETTINGS))


def _put(disk, name, content):
    """A file onto the boot partition, as a card reader would."""
    offset, _ = bounds(disk, 1)
    subprocess.run(["mcopy", "-o", "-i", f"{disk}@@{offset}", "-", f"::{name}"], input=content, check=True, timeout=60)


def own_settings(image, disk, report):
    report.step("settings and a configuration on the boot partition")
    configuration = _built_in().replace(b'transform = "none"', b'transform = "upper"')
    _put(disk, "appliance.conf", b"# mine\r\nhostname=box-7\r\naddress=10.0.2.15/24\r\ngateway=10.0.2.2\r\n")
    _put(disk, "portolan.lua", configuration)
    with Machine(image, disk) as machine:
        service.wait_for_service(machine)
        service.talk(machine, b"HELLO\n")
        machine.log_in()
        expect("the host's name", machine.run("hostname").strip(), "box-7")
        if "default via 10.0.2.2" not in machine.run("ip route"):
            raise Failure("the gateway of appliance.conf is not used")
        if machine.run("pidof udhcpc", may_fail=True).strip():
            raise Failure("with an address of its own, it asks for one all the same")
        expect("problems", machine.run("cat /run/problems 2>/dev/null", may_fail=True).strip(), "")


def all_wrong(image, disk, report):
    report.step("every setting wrong, the configuration wrong, the data partition destroyed: it serves all the same")
    _put(disk, "appliance.conf", b"hostname=$(reboot)\naddress=10.0.2.999/24\nreboot\n")
    _put(disk, "portolan.lua", b"return {")
    offset, size = bounds(disk)
    with open(disk, "r+b") as file:
        file.seek(offset)
        file.write(b"\xa5" * size)
    with Machine(image, disk) as machine:
        service.wait_for_service(machine)
        service.talk(machine)
        machine.log_in()
        problems = machine.run("cat /run/problems")
        for wanted in ("line 1: hostname", "line 2: address", "line 3: expected", "/boot/portolan.lua is not used",
                       "THE DATA PARTITION CANNOT BE USED"):
            if wanted not in problems:
                raise Failure(f"it does not say \"{wanted}\":\n{problems}")
        expect("the host's name", machine.run("hostname").strip(), "portolan")
        # The statistics work, in memory.
        if service.stats(machine)["echo"]["messages"] < 3:
            raise Failure("without a data partition, portolan stats counts nothing")


def cannot_start(image, disk, report):
    report.step("a configuration that portolan check takes, and with which the daemon cannot start")
    _put(disk, "portolan.lua", b'return { services = { { plugin = "echo", listen = "tcp://192.0.2.77:7007" } } }')
    with Machine(image, disk) as machine:
        service.wait_for_service(machine)
        service.talk(machine)
        machine.log_in()
        problems = machine.run("cat /run/problems")
        if "/boot/portolan.lua gives way" not in problems:
            raise Failure(f"it does not say which configuration it gave up:\n{problems}")


def _built_in():
    path = os.path.join(os.path.dirname(__file__), "..", "root", "etc", "portolan", "portolan.lua")
    with open(path, "rb") as file:
        return file.read()
